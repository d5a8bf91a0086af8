"""The manual pages hold what the declarations hold, and the messages that they explain are those of the code."""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

import fence_lab
import ocf_lab
import ocf_py
from fence_lab import metadata
from fence_lab.errors import FenceError
from fence_lab.options import ACTIONS
from fence_lab.pve import FencePve
from lab.manpages import pages, troff
from ocf_lab import sql
from ocf_lab.lvm_activate import LvmActivate
from ocf_lab.pgsql_storage import PgsqlStorage
from ocf_py.agent import Agent
from ocf_py.outcomes import Error
from tests.packaging import reasons

TREE = Path(__file__).resolve().parents[2]
PAGES = pages.all_pages()
# Modules of ocf_lab that one agent alone has; the others and the framework are both agents'.
OF_ONE = {
    LvmActivate: {"access", "candidates", "dm", "lvm", "lvm_activate", "volumes"},
    PgsqlStorage: {"pgsql_storage", "postgres", "probe", "selinux", "sql", "storage"},
}
# Functions whose texts no table has, and why.
ELSEWHERE = {
    "dm.users": "the end of `is open: …`",
    "lvm.said": "the end of `lvchange: …`",
    "lvm.transient_name": "the end of `the system id here is …`",
    "lvm.why_not_active": "the end of `did not become active`",
    "lvm.why_not_found": "the end of `not found: …`",
    "pgsql_storage.answers": "the beginning of `refuses connections` and the others of postgres.ask",
    "shutdown.order": "a line of the log, no exit reason",
    "lifecycle.demote": "no agent here has the action",
    "lifecycle.migrate_to": "no agent here has the action",
    "lifecycle.promote": "no agent here has the action",
    "lifecycle.reload": "no agent here has the action",
    "lifecycle.reload_agent": "no agent here has the action",
    "metadata.write": "what shows metadata has gone away, and nobody reads it",
    "outcomes.degraded": "for the author of an agent, as TypeError is",
}
ELSEWHERE_FENCING = {
    "agent._switch": "fence_pve replaces what calls it",
    "agent.monitor": "fence_pve replaces it",
    "power._end_of": "the end of `is not … after … s: …`",
    "power._stop": "the end of `is not … after … s: …`",
    "power._unsettled": "the end of `is not … after … s: …`",
    "power._given_up": "the end of `hypervisor … is unreachable`, or of the state that is unknown",
}


def shown(page: str) -> str:
    """Return a page's text without the macros and escapes of troff."""
    text = re.sub(r"\\f[BIP]|\\&|^\.(TP|PP|IP|RS 4|RE|nf|fi)$", "", PAGES[page], flags=re.MULTILINE)
    for character, written in troff.SPECIAL.items():
        text = text.replace(written, character)
    return text


def test_there_is_a_page_for_everything_that_is_installed() -> None:
    names = {path.name for path in (TREE / "agents").iterdir() if path.is_file()}
    assert {f"ocf_lab_{name}.7" for name in names} | {"fence_pve.8", "ocf_py.7"} == set(PAGES)


@pytest.mark.parametrize("agent", pages.RESOURCE_AGENTS, ids=lambda agent: agent.name)
def test_a_resource_agents_page_has_every_parameter_and_level(agent: type[Agent]) -> None:
    text = shown(f"ocf_lab_{agent.name}.7")
    for parameter in agent.parameters.values():
        assert f"\n{parameter.name}\n{' '.join(parameter.longdesc.split())}\n" in text
        if parameter.default:
            assert f"default {parameter.default}" in text
    for action in agent.actions:
        assert f"\n{pages.action_title(action)}\n" in text
        if action.level:
            assert f"interval={action.interval} timeout={action.timeout} OCF_CHECK_LEVEL={action.level}" in text
    assert f"\npcs resource create pg-{'db' if agent.name == 'pgsql-storage' else 'lvm'} ocf:lab:{agent.name} " in text


def test_the_fence_agents_page_has_every_option_action_and_message() -> None:
    text = shown("fence_pve.8")
    for option in metadata.in_order(FencePve.options()):
        assert f"\n{option.name}\n{option.mixed}\n" in text
        assert " ".join(option.help.split()) in text
    assert all(action in text for action in ACTIONS)
    told = [" or ".join(forms) for _, rows in pages.messages("fencing.md") for forms, _ in rows]
    assert len(told) > 30
    assert all(f"\n{message}\n" in text for message in told)
    assert "\npcs stonith create " in text


@pytest.mark.parametrize("agent", pages.RESOURCE_AGENTS, ids=lambda agent: agent.name)
def test_every_exit_reason_is_one_of_the_code(agent: type[Agent]) -> None:
    source = "".join(path.read_text() for package in (ocf_lab, ocf_py) for path in modules(package))
    told = list(pages.reasons(agent))
    assert len(told) > 15
    for forms, _ in told:
        assert f"\n{' or '.join(forms)}\n" in shown(f"ocf_lab_{agent.name}.7")
        for part in filter(None, (part.strip(" :();…") for form in forms for part in form.split("…"))):
            assert part in source, part


@pytest.mark.parametrize("agent", pages.RESOURCE_AGENTS, ids=lambda agent: agent.name)
def test_every_exit_reason_of_the_code_is_explained(agent: type[Agent]) -> None:
    others = set().union(*(names for other, names in OF_ONE.items() if other is not agent))
    found = ends(path for package in (ocf_lab, ocf_py) for path in modules(package) if path.stem not in others or package is ocf_py)
    found |= {("sql.WARNINGS", text) for text in sql.WARNINGS.values() if agent is PgsqlStorage}
    assert len(found) > 60
    assert unexplained(found, [form for forms, _ in pages.reasons(agent) for form in forms], ELSEWHERE) == []


def test_every_message_of_the_fence_agent_is_explained() -> None:
    found = ends(modules(fence_lab))
    assert len(found) > 80
    told = [form for _, rows in pages.messages("fencing.md") for forms, _ in rows for form in forms]
    assert unexplained(found, told, ELSEWHERE_FENCING) == []


def test_no_exception_is_out_of_date() -> None:
    there = {where for package in (fence_lab, ocf_lab, ocf_py) for where, _ in ends(modules(package))}
    assert {*ELSEWHERE, *ELSEWHERE_FENCING} <= there
    actions = {action.name for agent in pages.RESOURCE_AGENTS for action in agent.actions}
    assert actions == {"start", "stop", "monitor"}


def test_a_text_without_a_row_is_found() -> None:
    """Most rows are the only one for some text: without them it would be missed."""
    found = ends(path for package in (ocf_lab, ocf_py) for path in modules(package))
    rows = [forms for _, part in pages.messages("operations.md") for forms, _ in part]
    explaining = [[number for number, forms in enumerate(rows) if any(reasons.explains(form, text) for form in forms)] for _, text in found]
    assert len({numbers[0] for numbers in explaining if len(numbers) == 1}) > 50
    assert unexplained({("lvm.owner", "the moon is full")}, [form for forms in rows for form in forms], ELSEWHERE)


def modules(package: object) -> list[Path]:
    return sorted(Path(str(package.__file__)).parent.glob("*.py"))  # type: ignore[attr-defined]


def ends(paths: Iterable[Path]) -> set[tuple[str, str]]:
    """Return the texts with which these modules can end an action, each with its function."""
    paths = list(paths)
    for path in paths:
        if path.stem != "__init__":
            importlib.import_module(f"{path.parent.name}.{path.stem}")  # So that its errors are known.
    errors = {*reasons.subclasses(Error), *reasons.subclasses(FenceError), "Interrupted", "ValueError"}
    return {found for path in paths for found in reasons.texts(path, errors)}


def unexplained(found: Collection[tuple[str, str]], forms: Collection[str], elsewhere: Collection[str]) -> list[tuple[str, str]]:
    return sorted({(where, text) for where, text in found
                   if where not in elsewhere and not any(reasons.explains(form, text) for form in forms)})  # fmt: skip


def test_text_is_shown_as_it_is() -> None:
    assert troff.plain(".x 'y' -z \\n") == "\\&.x \\(aqy\\(aq \\-z \\en"
    assert troff.marked("a `b-c` **d** *e* f") == "a \\fBb\\-c\\fP \\fBd\\fP \\fIe\\fP f"
    assert troff.marked("3 * 4 * 5") == "3 * 4 * 5"


def test_pages_are_the_same_for_the_same_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert pages.all_pages() == pages.all_pages()
    assert '"1970\\-01\\-02"' in pages.all_pages()["ocf_py.7"]
