"""The pages: two of resource agents, one of a fence agent, one of the framework."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fence_lab import metadata as fence_metadata
from fence_lab import options
from fence_lab.agent import FenceAgent
from fence_lab.pve import FencePve
from lab.manpages.troff import Page
from ocf_lab.lvm_activate import LvmActivate
from ocf_lab.pgsql_storage import PgsqlStorage
from ocf_py import commands, metadata, outcomes, parameters
from ocf_py.actions import LEVELS, Action
from ocf_py.agent import Agent
from ocf_py.parameters import Parameter

TREE = Path(__file__).resolve().parents[2]
RESOURCE_AGENTS: tuple[type[Agent], ...] = (LvmActivate, PgsqlStorage)

CODES = (
    (outcomes.SUCCESS, "Done; of a monitor: running."),
    (outcomes.ERR_GENERIC, "Failed, for the reason given: Pacemaker recovers the resource, and fences for a stop."),
    (outcomes.ERR_ARGS, "A parameter is wrong on this node: not run here."),
    (outcomes.ERR_UNIMPLEMENTED, "No such action."),
    (outcomes.ERR_PERM, "No right to do what it needs: not run here."),
    (outcomes.ERR_INSTALLED, "A program that it needs is not on this node: not run here."),
    (outcomes.ERR_CONFIGURED, "A parameter is missing or wrong: run nowhere."),
    (outcomes.NOT_RUNNING, "A monitor found it cleanly stopped."),
    (outcomes.DEGRADED, "Running, with a warning: Pacemaker shows the reason and does nothing."),
)

# How a resource is created, line by line; the operations follow from the declarations.
EXAMPLES = {
    "pgsql-storage": "pcs resource create pg-db ocf:lab:pgsql-storage pgdata=/srv/pg/data pgctl=/usr/pgsql-16/bin/pg_ctl",
    "LVM-activate": "pcs resource create pg-lvm ocf:lab:LVM-activate vgname=vg1 vg_access_mode=system_id",
}
FENCE_EXAMPLE = (
    "pcs stonith create fence-rhel1 fence_pve ip=pve1.example.com,pve2.example.com \\",
    "    ca_file=/etc/pki/pve-root-ca.pem username=pacemaker@pve \\",
    "    password=@/etc/pacemaker/fence.password vmtype=qemu plug=121 vm_name=rhel1 \\",
    "    pcmk_host_list=rhel1 pcmk_action_limit=-1 op monitor interval=60s timeout=30s",
    "pcs property set priority-fencing-delay=10s",
)

FRAMEWORK_EXAMPLE = '''\
#!/usr/bin/python3 -I
from __future__ import annotations
import os
import ocf_py as ocf

class Flag(ocf.Agent):
    """Keeps a file."""

    name, version = "flag", "1.0"
    file = ocf.path("The file", required=True, unique_group="file")

    def observe(self) -> ocf.State:
        return ocf.RUNNING if os.path.exists(self.file) else ocf.STOPPED

    @ocf.action(timeout="20s")
    def start(self) -> None:
        open(self.file, "x").close()

    @ocf.action(timeout="20s")
    def stop(self) -> None:
        os.unlink(self.file)

    @ocf.monitor(timeout="20s", interval="10s")
    def there(self) -> None:
        """Nothing beyond what observe has seen."""

Flag.main()'''


def all_pages() -> dict[str, str]:
    """Return the texts of all pages by their file names."""
    pages = {f"ocf_lab_{agent.name}.7": resource_agent(agent) for agent in RESOURCE_AGENTS}
    return {**pages, "fence_pve.8": fence_agent(FencePve), "ocf_py.7": framework(PgsqlStorage.version)}


# Resource agents.


def resource_agent(agent: type[Agent]) -> str:
    short, long = metadata.described(agent.__doc__ or "")
    page = Page(f"ocf_lab_{agent.name}", 7, agent.version, "OCF resource agents", short[:1].lower() + short[1:])
    page.section("SYNOPSIS")
    page.text(f"**ocf:lab:{agent.name}**, with parameters as name=value and operations as below.")
    page.section("DESCRIPTION")
    page.text(*long.split("\n\n"))
    page.section("SUPPORTED PARAMETERS")
    for parameter in agent.parameters.values():
        page.entry(parameter.name, parameter.longdesc, "; ".join(facts(parameter)) + ".")
    page.section("SUPPORTED ACTIONS")
    page.text("Times are the least that is realistic; pcs takes them over when a resource is created. A resource may have monitors of "
              "several levels, each with an interval of its own; a level includes those below it.")  # fmt: skip
    for action in agent.actions:
        page.entry(action_title(action), first_sentence(agent, action))
    page.entry("validate-all", f"Check the parameters; at level {LEVELS[1]} (OCF_CHECK_LEVEL) also what they need on this node.")
    page.entry("meta-data", "Show all this as XML.")
    page.section("EXIT REASONS")
    page.text("What `pcs status` shows beside a failed or degraded resource, and the system's log has too. An ellipsis stands for names "
              "and numbers.")  # fmt: skip
    for forms, advice in reasons(agent):
        page.entry(" or ".join(forms), advice)
    page.section("EXIT STATUS")
    for code, meaning in CODES:
        page.entry(str(code), meaning)
    page.section("EXAMPLE")
    page.text("With a monitor for each level:")
    page.example(example(agent))
    page.text("Nothing but a fenced node is sure to write no more: a cluster without fencing is not protected by this agent.")
    page.section("SEE ALSO")
    page.text("ocf_py(7), fence_pve(8), pcs(8), pacemaker-controld(7). operations.md in the package's documentation goes from two nodes to "
              "a cluster with these agents, and from the stock agents to these; sections that are mentioned above are its.")  # fmt: skip
    return str(page)


def facts(parameter: Parameter) -> Iterator[str]:
    kind = {"Path": "an absolute path", "Integer": "an integer", "Boolean": "yes or no", "FixedSeconds": "a time",
            "AutoSeconds": "a time, or auto"}.get(type(parameter).__name__, "a text")  # fmt: skip
    choices = getattr(parameter, "options", ())
    yield f"One of {', '.join(choices)}" if choices else kind[:1].upper() + kind[1:]
    least, most = getattr(parameter, "at_least", None), getattr(parameter, "at_most", None)
    if least is not None:
        yield f"at least {least:g}"
    if most is not None:
        yield f"at most {most:g}"
    if parameter.required:
        yield "required"
    else:
        yield "no default" if parameter.default is None else f"default `{parameter.default}`"
    if parameter.unique_group:
        yield "unique among resources"
    if parameter.reloadable:
        yield "can be changed without a restart"
    if parameter.secret:
        yield "shown in no log"


def action_title(action: Action) -> str:
    level = f" level={action.level} interval={action.interval}" if action.is_monitor else ""
    return f"{action.name}{level} timeout={action.timeout}"


def first_sentence(agent: type[Agent], action: Action) -> str:
    doc = (getattr(agent, action.method).__doc__ or "").strip().splitlines()
    return doc[0] if doc else {"start": "Start, and return when the service is there."}.get(action.name, "As its name says.")


def example(agent: type[Agent]) -> Iterator[str]:
    yield EXAMPLES[agent.name] + " \\"
    monitors = [action for action in agent.actions if action.is_monitor]
    for action in monitors:
        level = f" OCF_CHECK_LEVEL={action.level}" if action.level else ""
        end = "" if action is monitors[-1] else " \\"
        yield f"    op monitor interval={action.interval} timeout={action.timeout}{level}{end}"


def reasons(agent: type[Agent]) -> Iterator[tuple[list[str], str]]:
    """Yield the exit reasons of an agent, those that both have among them: forms of one meaning, and what they ask for."""
    for title, rows in messages("operations.md"):
        if title == agent.name or title.endswith("both agents"):
            yield from rows


# Fence agents.


def fence_agent(agent: type[FenceAgent]) -> str:
    page = Page(agent.NAME, 8, agent.VERSION, "Fence agents", agent.SHORTDESC)
    page.section("SYNOPSIS")
    page.text(f"**{agent.NAME}** [options]", f"**{agent.NAME}** <options of the form name=value on standard input")
    page.section("DESCRIPTION")
    page.text(*agent.LONGDESC.split("\n\n"))
    page.text("It reports success on proof alone: every task that it knows of has ended, after that the hypervisor that owns the machine "
              "called it stopped in a fresh answer, and after that the owner was the same still. Its monitor fails when a fencing would "
              "fail, and says why.")  # fmt: skip
    page.section("PARAMETERS")
    page.text("The name on standard input and in a cluster's configuration first, then the option of the command line.")
    for option in fence_metadata.in_order(agent.options()):
        page.entry(option.name, f"`{option.mixed}`", option.help, "; ".join(fence_facts(option)) + ".")
    page.section("ACTIONS")
    page.text(", ".join(f"`{action}`" for action in options.ACTIONS) + ".")
    page.section("EXIT STATUS")
    page.entry("0", "The action has succeeded; of status: the machine is on.")
    page.entry("1", "The action has failed; the reason is on standard error and in the system's log.")
    page.entry("2", "Status: the machine is off.")
    page.section("DIAGNOSTICS")
    page.text("One line for each failure. An ellipsis stands for names and numbers.")
    for title, rows in messages("fencing.md"):
        page.subsection(title)
        for forms, advice in rows:
            page.entry(" or ".join(forms), advice)
    page.section("EXAMPLE")
    page.example(FENCE_EXAMPLE)
    page.section("SEE ALSO")
    page.text("pcs(8), pacemaker-fenced(7), stonith_admin(8). Sections that are mentioned above are those of fencing.md in the package's "
              "documentation: the user and the rights on Proxmox VE, certificates, delays, HA.")  # fmt: skip
    return str(page)


def fence_facts(option: options.Option) -> Iterator[str]:
    kind = {"integer": "an integer", "second": "seconds", "boolean": "yes or no"}.get(option.kind, "a text")
    yield f"One of {', '.join(option.choices)}" if option.choices else kind[:1].upper() + kind[1:]
    if option.required:
        yield "required"
    if option.default is not None:
        yield f"default `{option.default}`"
    if option.old:
        yield f"formerly {', '.join(option.old)}"
    if option.added:
        yield "not in the agent of ClusterLabs"


def messages(document: str) -> Iterator[tuple[str, list[tuple[list[str], str]]]]:
    """Yield the table of messages in a file of docs/, part by part: a title, and the forms of each message with what it asks for."""
    text = (TREE / "docs" / document).read_text(encoding="utf-8")
    title = ""
    rows: list[tuple[list[str], str]] = []
    for line in text[text.index("| message |") :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if cells[0].startswith("**"):
            if rows:
                yield title, rows
            title, rows = cells[0].strip("*"), []
        else:
            rows.append((re.findall(r"`([^`]+)`", cells[0]), cells[1]))
    yield title, rows


# The framework.


def framework(version: str) -> str:
    page = Page("ocf_py", 7, version, "OCF resource agents", "a framework for OCF resource agents")
    page.section("SYNOPSIS")
    page.text("**import ocf_py as ocf**")
    page.section("DESCRIPTION")
    page.text(
        "A resource agent is a class: parameters and actions are declared, and from the declarations come metadata, validation, the "
        "order of an action, idempotent start and stop, probes, time limits and logging. It needs Python 3.9 or later and nothing else.",
        "The law of the framework is that an agent never waits for what may not answer: programs are bounded (`run`), and calls that may "
        "hang are made in a child that can be left behind (`guarded`). What cannot be told is never `stopped`.",
    )
    page.section("EXAMPLE")
    page.text("An executable file in /usr/lib/ocf/resource.d/lab:")
    page.example(FRAMEWORK_EXAMPLE.splitlines())
    page.section("PARAMETERS")
    for name in ("string", "path", "integer", "boolean", "choice", "duration", "duration_or_auto"):
        doc = getattr(parameters, name).__doc__ or f"Declare {'an absolute path' if name == 'path' else f'a {name}'}."
        page.entry(f"ocf.{name}()", doc)
    page.section("METHODS")
    page.text("What an author writes beside the actions; all but `observe` may be left out.")
    for name in ("observe", "validate", "validate_here", "nothing_left", "prepare_start", "await_ready", "confirm_stopped"):
        page.entry(f"{name}()", (getattr(Agent, name).__doc__ or "").strip().split("\n\n")[0])
    page.text("What an author uses:")
    for method in (commands.Runner.run, Agent.guarded, Agent.set_promotion_score):
        page.entry(f"self.{method.__name__}()", *(method.__doc__ or "").strip().split("\n\n"))
    page.section("ERRORS")
    page.text("An action that fails raises one of these, with the exit reason as its text.")
    for error in vars(outcomes).values():
        if isinstance(error, type) and issubclass(error, outcomes.Error):
            page.entry(f"ocf.{error.__name__} ({error.code})", (error.__doc__ or "").strip().split("\n\n")[0])
    page.text("A monitor that has something to warn of returns `ocf.RUNNING.degraded(reason)`: 190, which Pacemaker takes for healthy.")
    page.section("TESTING")
    page.text("The conformance tester runs an agent in whatever language through what Pacemaker may ask of it. It starts, stops and kills "
              "the resource over and over: not on a node that serves anybody.")  # fmt: skip
    page.example(["python3 -m ocf_py.testing.conformance /usr/lib/ocf/resource.d/heartbeat/Dummy"])
    page.section("EXIT STATUS")
    for code, meaning in CODES:
        page.entry(str(code), meaning)
    page.section("USING AN AGENT")
    page.example([EXAMPLES["pgsql-storage"]])
    page.section("SEE ALSO")
    page.text("ocf_lab_pgsql-storage(7), ocf_lab_LVM-activate(7). writing-agents.md in the package's documentation goes from nothing to a "
              "tested agent.")  # fmt: skip
    return str(page)
