"""Checks of what the actions do: states, levels, parameters, roles, several at a time, and after an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import kills
from .checks_static import described
from .executor import Result
from .metadata import Parameter
from .subject import CLONE, PROMOTED, RSCTMP, RUNNING, NotApplicable, Problems, Subject, check, unlike

AT_ONCE = 10
NO_PROGRAMS = {"OCF_TESTER_FAIL_HAVE_BINARY": "1"}
# What no parameter of a type can be.
MALFORMED = {"integer": "many", "boolean": "perhaps", "select": "none-of-the-options"}
MISCONFIGURED = (2, 6)


@check(40, "probe of a stopped resource")
def probe_stopped(subject: Subject) -> Problems:
    """R6, R13: 7 from a node on which the resource was never started."""
    subject.stopped()
    yield from unlike(subject.probe(), 7)
    yield from unlike(subject.probe(meta={"interval": "0"}), 7, when="with the interval 0")


@check(41, "probe without programs", needs=("probe of a stopped resource",))
def probe_without_programs(subject: Subject) -> Problems:
    """R13: a node without the service is a node where it does not run."""
    subject.stopped()
    yield from unlike(subject.probe(environment=NO_PROGRAMS), 5, 7, when="without programs")


@check(42, "start")
def start(subject: Subject) -> Problems:
    """R4: start brings the resource up."""
    subject.stopped()
    yield from unlike(subject.call("start"), 0)


@check(43, "monitor of a running resource", needs=("start",))
def monitor_running(subject: Subject) -> Problems:
    """R4, R6: what start has called up is up, at once, and unpromoted."""
    subject.stopped()
    subject.call("start")
    yield from unlike(subject.monitor(), *RUNNING)


@check(44, "probe of a running resource", needs=("start",))
def probe_running(subject: Subject) -> Problems:
    """R6: a probe finds it as well."""
    subject.running()
    yield from unlike(subject.probe(), *RUNNING, when="as a probe")
    yield from unlike(subject.probe(meta={"interval": "0"}), *RUNNING, when="as a probe with the interval 0")


@check(45, "start twice", needs=("start",))
def start_twice(subject: Subject) -> Problems:
    """R4: starting what is up succeeds and changes nothing."""
    subject.running()
    yield from unlike(subject.call("start"), 0, when="for the second time")
    yield from unlike(subject.monitor(), *RUNNING, when="after the second start")


@check(46, "stop", needs=("start",))
def stop(subject: Subject) -> Problems:
    """R5: stop succeeds."""
    subject.running()
    yield from unlike(subject.call("stop"), 0)


@check(47, "monitor of a stopped resource", needs=("start", "stop"))
def monitor_stopped(subject: Subject) -> Problems:
    """R5: what stop has called down is down, at once."""
    subject.running()
    subject.call("stop")
    yield from unlike(subject.monitor(), 7, when="after stop")
    yield from unlike(subject.probe(), 7, when="after stop")


@check(48, "stop twice", needs=("stop",))
def stop_twice(subject: Subject) -> Problems:
    """R5: stopping what is down succeeds."""
    subject.stopped()
    yield from unlike(subject.call("stop"), 0, when="for the second time")
    yield from unlike(subject.monitor(), 7, when="after the second stop")


@check(49, "restart", needs=("start", "stop"))
def restart(subject: Subject) -> Problems:
    """A stopped resource starts again."""
    subject.running()
    subject.stopped()
    yield from unlike(subject.call("start"), 0, when="after a stop")
    yield from unlike(subject.monitor(), *RUNNING, when="after the restart")


@check(50, "levels of a running resource", needs=("start",))
def levels_running(subject: Subject) -> Problems:
    """R9: every advertised level of a healthy resource is healthy."""
    subject.running()
    for level in described(subject).levels:
        yield from unlike(subject.monitor(level), *RUNNING)


@check(51, "levels of a stopped resource", needs=("monitor of a stopped resource",))
def levels_stopped(subject: Subject) -> Problems:
    """R9: a deeper look at what is not there finds nothing."""
    subject.stopped()
    for level in described(subject).levels:
        yield from unlike(subject.monitor(level), 7, when="of a stopped resource")


@check(52, "undeclared levels", must=False, needs=("start",))
def undeclared_levels(subject: Subject) -> Problems:
    """R9: a level that the agent does not have means the next lower one."""
    subject.running()
    for level in (5, 15, 99):
        if level not in described(subject).levels:
            yield from unlike(subject.monitor(level), *RUNNING)


@check(53, "status")
def status(subject: Subject) -> Problems:
    """R3: status is an old name of monitor."""
    if not described(subject).advertises("status"):
        raise NotApplicable("not advertised")
    subject.stopped()
    yield from unlike(subject.call("status"), 7, when="of a stopped resource")
    subject.running()
    yield from unlike(subject.call("status"), *RUNNING, when="of a running resource")


@check(54, "observers change nothing", must=False)
def observers(subject: Subject) -> Problems:
    """R13: what only looks leaves the state files alone."""
    for prepare in (subject.stopped, subject.running):
        prepare()
        before = state_files()
        for action in ("monitor", "validate-all", "meta-data"):
            subject.call(action)
            after = state_files()
            if after != before:
                yield f"{action} changed {', '.join(sorted(before ^ after))}"
                before = after


def state_files() -> set[str]:
    return {str(path.relative_to(RSCTMP)) for path in RSCTMP.rglob("*")} if RSCTMP.is_dir() else set()


@check(60, "validation")
def validation(subject: Subject) -> Problems:
    """R8: parameters with which the resource runs are valid at every level."""
    if not described(subject).advertises("validate-all"):
        raise NotApplicable("validate-all is not advertised")
    for level in (None, 10):
        yield from unlike(subject.call("validate-all", level=level), 0, 3)


def validated(subject: Subject, changes: Mapping[str, str | None]) -> Result:
    """Return the answer of validate-all with some parameters set otherwise, or left out."""
    if not described(subject).advertises("validate-all"):
        raise NotApplicable("validate-all is not advertised")
    parameters = {name: value for name, value in {**subject.parameters, **changes}.items() if value is not None}
    return subject.call("validate-all", parameters=parameters)


def required(subject: Subject) -> list[Parameter]:
    """Return the required parameters; one that replaces a deprecated one may be given under the old name."""
    declared = described(subject).parameters
    return [parameter for parameter in declared if parameter.required and not parameter.replaces]


@check(61, "required parameters", needs=("validation",))
def required_parameters(subject: Subject) -> Problems:
    """R8: a required parameter that is missing or empty is a mistake in the configuration."""
    if not required(subject):
        raise NotApplicable("no parameter is required")
    for parameter in required(subject):
        for value in (None, ""):
            when = f"with {parameter.name} {'missing' if value is None else 'empty'}"
            yield from unlike(validated(subject, {parameter.name: value}), *MISCONFIGURED, when=when)


@check(62, "empty parameters", must=False, needs=("validation",))
def empty_parameters(subject: Subject) -> Problems:
    """R11: an empty parameter is one that was not given."""
    declared = described(subject).parameters
    optional = [parameter for parameter in declared if not parameter.required and parameter.name not in subject.parameters]
    if not optional:
        raise NotApplicable("no parameter is left at its default")
    for parameter in optional:
        yield from unlike(validated(subject, {parameter.name: ""}), 0, when=f"with {parameter.name} empty")


@check(63, "malformed parameters", must=False, needs=("validation",))
def malformed_parameters(subject: Subject) -> Problems:
    """R8: a value that cannot be of the declared type is a mistake in the configuration."""
    typed = [parameter for parameter in described(subject).parameters if parameter.type in MALFORMED]
    if not typed:
        raise NotApplicable("every parameter is a string")
    for parameter in typed:
        value = MALFORMED[parameter.type]
        yield from unlike(validated(subject, {parameter.name: value}), *MISCONFIGURED, when=f"with {parameter.name}={value}")


@check(64, "unknown parameters", must=False, needs=("validation",))
def unknown_parameters(subject: Subject) -> Problems:
    """A parameter that the agent does not know is none of its business: another release may have it."""
    yield from unlike(validated(subject, {"no_such_parameter": "1"}), 0, when="with an unknown parameter")


@check(65, "stop with bad parameters", must=False, needs=("stop twice",))
def stop_with_bad_parameters(subject: Subject) -> Problems:
    """R20: a failed stop fences the node; a mistake in the configuration of what never ran is no reason for that."""
    bad: list[tuple[str, str]] = [(parameter.name, "") for parameter in required(subject)]
    bad += [(p.name, MALFORMED[p.type]) for p in described(subject).parameters if p.type in MALFORMED]
    if not bad:
        raise NotApplicable("no parameter can be bad")
    for name, value in bad:
        subject.stopped()
        result = subject.call("stop", parameters={**subject.parameters, name: value})
        yield from unlike(result, 0, when=f"with {name}={value} of a stopped resource")


@check(66, "validation under pcs", needs=("validation",))
def validation_under_pcs(subject: Subject) -> Problems:
    """R8: pcs validates without PATH, check level and instance."""
    if not described(subject).advertises("validate-all"):
        raise NotApplicable("validate-all is not advertised")
    yield from unlike(subject.call("validate-all", profile="pcs"), 0, 3, when="under pcs")


@check(70, "promotion", needs=("start", "stop"))
def promotion(subject: Subject) -> Problems:
    """OCF 1.1: promote and demote, both or neither, and each may be repeated; stop ends the promoted role as well."""
    advertised = [described(subject).advertises(action) for action in ("promote", "demote")]
    if not any(advertised):
        raise NotApplicable("not promotable")
    if not all(advertised):
        yield "promote and demote are advertised both or neither"
        return
    subject.running()
    steps: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("demote", RUNNING), ("promote", PROMOTED), ("promote", PROMOTED), ("demote", RUNNING), ("demote", RUNNING), ("promote", PROMOTED),
    )  # fmt: skip
    for action, state in steps:
        yield from unlike(subject.call(action, meta=CLONE), 0)
        yield from unlike(subject.monitor(meta=CLONE), *state, when=f"after {action}")
    yield from unlike(subject.probe(meta=CLONE), *PROMOTED, when="as a probe")
    yield from unlike(subject.call("stop", meta=CLONE), 0, when="of the promoted resource")
    yield from unlike(subject.monitor(meta=CLONE), 7, when="after the stop")


@check(71, "notify")
def notify(subject: Subject) -> Problems:
    """R19: a notification cannot fail."""
    if not described(subject).advertises("notify"):
        raise NotApplicable("not advertised")
    for prepare in (subject.running, subject.stopped):
        prepare()
        for kind in ("pre", "post"):
            for operation in ("start", "stop", "promote", "demote"):
                meta = {**CLONE, "notify_type": kind, "notify_operation": operation, "notify_start_uname": "node1 node2"}
                yield from unlike(subject.call("notify", meta=meta), 0, when=f"{kind}-{operation}")


@check(72, "reload", needs=("start",))
def reload(subject: Subject) -> Problems:
    """R21: a reload succeeds and leaves the resource up."""
    advertised = [action for action in ("reload", "reload-agent") if described(subject).advertises(action)]
    if not advertised:
        raise NotApplicable("not advertised")
    for action in advertised:
        subject.running()
        yield from unlike(subject.call(action), 0, 3)
        yield from unlike(subject.monitor(), *RUNNING, when=f"after {action}")


@check(73, "migration", needs=("start", "stop"))
def migration(subject: Subject) -> Problems:
    """migrate_to and migrate_from, both or neither; one node can see no more than that both are there."""
    advertised = [described(subject).advertises(action) for action in ("migrate_to", "migrate_from")]
    if not any(advertised):
        raise NotApplicable("not migratable")
    if not all(advertised):
        yield "migrate_to and migrate_from are advertised both or neither"
        return
    subject.running()
    subject.call("migrate_to", meta={"migrate_source": "node1", "migrate_target": "node2"})
    subject.call("migrate_from", meta={"migrate_source": "node2", "migrate_target": "node1"})
    yield from unlike(subject.call("stop"), 0, when="after a migration")
    yield from unlike(subject.monitor(), 7, when="after a migration and a stop")


@check(74, "clone suffix", must=False, needs=("start", "stop"))
def clone_suffix(subject: Subject) -> Problems:
    """R22: the instances of an anonymous clone are one resource, whatever number their name ends with."""
    subject.stopped()
    anonymous: dict[str, Any] = {"meta": CLONE, "environment": {"OCF_RESOURCE_INSTANCE": f"{subject.instance}:0"}}
    yield from unlike(subject.call("start", **anonymous), 0, when="as an instance of a clone")
    yield from unlike(subject.monitor(), *RUNNING, when="without the number of the instance")
    yield from unlike(subject.call("stop", **anonymous), 0, when="as an instance of a clone")


@check(34, "advertised actions")
def advertised_actions(subject: Subject) -> Problems:
    """R3: whatever is advertised is there."""
    seen = {result.action for result in subject.results if result.status == 3}
    for action in {action.name for action in described(subject).actions}:
        if action in seen:
            yield f"{action} is advertised and not implemented"


@check(35, "unadvertised actions", must=False)
def unadvertised_actions(subject: Subject) -> Problems:
    """R3: whatever is there is advertised."""
    subject.running()
    for action in ("validate-all", "promote", "demote", "notify", "reload", "reload-agent", "migrate_to", "migrate_from"):
        if not described(subject).advertises(action):
            result = subject.call(action, strange=True)
            if result.code != 3:
                yield f"{action} is not advertised and answered {result.code}"


@check(80, "monitors side by side", needs=("start", "probe of a running resource", "probe of a stopped resource"))
def side_by_side(subject: Subject) -> Problems:
    """R10: several at once do not disturb each other."""
    for prepare, codes in ((subject.running, RUNNING), (subject.stopped, (7,))):
        prepare()
        timeout = subject.timeout("monitor")
        under_way = [subject.node().begin("monitor", interval=10.0, timeout=timeout) for _ in range(AT_ONCE)]
        for result in [call.finish() for call in under_way]:
            subject.remember(result)
            yield from unlike(result, *codes, when=f"beside {AT_ONCE - 1} others")


def interrupted(subject: Subject, action: str) -> Iterator[str]:
    """Yield a problem when a kill leaves what stop and start cannot deal with."""
    subject.stopped()
    try:
        kills.sweep(subject.node(), action, subject.kills, timeout=subject.timeout(action))
    except kills.NotRecovered as error:
        yield str(error).split("\n", 1)[0]
    finally:
        subject.acquainted()


@check(81, "killed start", needs=("start twice", "stop twice", "restart"))
def killed_start(subject: Subject) -> Problems:
    """A start that is cut off anywhere is undone by stop, and then start succeeds."""
    yield from interrupted(subject, "start")


@check(82, "killed stop", needs=("killed start",))
def killed_stop(subject: Subject) -> Problems:
    """A stop that is cut off anywhere is completed by the next one."""
    yield from interrupted(subject, "stop")


@check(83, "killed monitor", needs=("killed start",))
def killed_monitor(subject: Subject) -> Problems:
    """Pacemaker kills a recurring monitor that it cancels; that leaves nothing in the way."""
    yield from interrupted(subject, "monitor")
