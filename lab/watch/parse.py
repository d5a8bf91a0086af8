"""What the logs of Pacemaker and the history of the hypervisor tell of a run, as events of lab.report.runs.

What is not obvious of the logs:

* A recurring monitor has a line for its first result, and after that for each that differs from the one before.  When such a later
  call began is not told, so it is shown at its end, or, where it timed out, as long before that as it was given.
* The fencer tells the moment at which it runs the agent as a debug message (PCMK_debug=pacemaker-fenced), and that is CALLED.  The end
  of the delay is not: it is kept in whole seconds, and a device that is at its monitor just then lets the fencing wait.  An agent
  that fails is run a second time before that is called a failure.
* A node that wants to fence the other, and is itself shot before it comes to that, was wrong: what it says of the other from the
  moment of losing it is left out, unless its fence device was called.
* Fence devices are resources for Pacemaker, but no part of the service: their calls are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.report.runs import Call, Condition, Database, Event, Fence, NodeState, Power, Service, Step, Vip
from lab.watch import messages
from lab.watch.messages import Line

ADDRESS, DATABASE, FENCE_DEVICE = "pg-vip", "pg-db", "fence-"
HYPERVISOR = "hypervisor"
NOT_RUNNING = 7
# What Pacemaker records of an operation without an exit code, which is one that was not let end.
ERROR = 1


@dataclass(frozen=True)
class Switch:
    """What the hypervisor did to a node's power: on, off or reset."""

    at: float
    node: str
    what: str

    @property
    def on(self) -> bool:
        return self.what != "off"

    @property
    def off(self) -> bool:
        return self.what != "on"


@dataclass(frozen=True)
class Overruled:
    """`node` had lost `other` at `since`, and its own power at `until`."""

    node: str
    other: str
    since: float
    until: float

    def covers(self, line: Line, other: str) -> bool:
        return line.node == self.node and other == self.other and self.since <= line.at <= self.until


def events(
    logs: Mapping[str, Iterable[str]], history: Mapping[str, Any], began: float, active: str, injected: float
) -> tuple[Event, ...]:
    """Return the events from `began` on, when `active` had the service and all nodes were online, in order of time.

    `logs` are lines by node, the host's time before each; `history` is the keeper's.  All times are seconds since the epoch.
    """
    lines = in_time(line for node, log in logs.items() for line in messages.read(node, log))
    switches = in_time(Switch(at, node, what) for at, node, what in history["power"] if at >= began)
    void = list(overruled(lines, switches))
    called = list(calls(lines))
    found: list[Event] = [
        *called, *fences(lines, void), *conditions(lines, switches, void, logs, began), *powers(switches),
        *addresses(called, switches, active, began), *databases(called, switches, active, began),
    ]  # fmt: skip
    return tuple(in_time(relative(event, injected) for event in found))


def in_time(things: Iterable[Any]) -> list[Any]:
    return sorted(things, key=lambda thing: thing.at)


def relative(event: Event, injected: float) -> Event:
    if isinstance(event, Call) and event.ended is not None:
        event = replace(event, ended=round(event.ended - injected, 3))
    return replace(event, at=round(event.at - injected, 3))


def overruled(lines: Iterable[Line], switches: Iterable[Switch]) -> Iterator[Overruled]:
    """Yield who lost whom, and then its own power before the other one was fenced or back."""
    lost: dict[str, dict[str, tuple[float, bool]]] = {}
    for item in in_time([*lines, *switches]):
        views = lost.setdefault(item.node, {})
        if isinstance(item, Switch):
            if item.off:
                yield from (Overruled(item.node, other, since, item.at) for other, (since, called) in views.items() if not called)
                views.clear()
        elif match := membership(item):
            views.pop(match["node"], None)
            if match["state"] == "lost":
                views[match["node"]] = item.at, False
        elif match := messages.CALLED.match(item.text):
            if match["target"] in views:
                views[match["target"]] = views[match["target"]][0], True
        elif match := messages.FINISHED.match(item.text):
            views.pop(match["target"], None)


def membership(line: Line) -> re.Match[str] | None:
    """Return what the controller says of a member.  The other daemons have their own, earlier or later, and nothing follows from it."""
    return messages.MEMBERSHIP.match(line.text) if line.daemon == "controld" else None


# Operations


def calls(lines: Iterable[Line]) -> Iterator[Call]:
    pending: dict[tuple[str, str], Call] = {}
    for line in lines:
        begun, ended = messages.BEGUN.match(line.text), messages.ENDED.match(line.text)
        told = begun or ended
        if told is None or told["resource"].startswith(FENCE_DEVICE):
            continue
        before = pending.pop((line.node, told["key"]), None)
        if begun:
            if before:
                yield before
            pending[line.node, told["key"]] = Call(line.at, line.source, line.node, told["resource"], told["action"])
        elif ended and ended["outcome"] != "Cancelled":
            yield finished(before, ended, line)
    yield from pending.values()


def finished(before: Call | None, ended: re.Match[str], line: Line) -> Call:
    outcome, reason = ended["outcome"], ended["reason"] or ""
    if ended["code"] is None:
        code, reason = ERROR, f"{outcome}: {reason}" if reason else outcome
    else:
        code = int(ended["code"])
        reason = reason or (outcome if code else "")
    spent = messages.seconds(outcome) if outcome.startswith("Timed Out") else 0.0
    begun = before or Call(line.at - spent, line.source, line.node, ended["resource"], ended["action"])
    return replace(begun, ended=line.at, code=code, reason=reason)


# Fencing


def fences(lines: Iterable[Line], void: Sequence[Overruled]) -> Iterator[Fence]:
    """Yield the steps of all fencings; what both nodes tell, once."""
    told: set[tuple[str, Step]] = set()
    failed: set[str] = set()  # Targets whose device failed since the last request: that the request failed then says no more.
    said: dict[tuple[str, str], str] = {}  # By node and pid of an agent, its last word.
    for line in lines:
        if line.daemon != "fenced":
            continue
        if match := messages.STDERR.match(line.text):
            said[line.node, match["pid"]] = match["text"]
            continue
        fence, request = step(line, said)
        if fence is None or any(one.covers(line, fence.target) for one in void):
            continue
        if request and ((request, fence.step) in told or (fence.step is Step.FAILED and fence.target in failed)):
            continue
        told.add((request, fence.step))
        if fence.step is Step.REQUESTED:
            failed.discard(fence.target)
        elif fence.step is Step.FAILED:
            failed.add(fence.target)
        yield fence


def step(line: Line, said: Mapping[tuple[str, str], str]) -> tuple[Fence | None, str]:
    """Return what a line of the fencer tells, and of which request, where it tells that."""

    def fence(match: re.Match[str], what: Step, seconds: float = 0.0, reason: str = "") -> Fence:
        return Fence(line.at, line.source, match["target"], what, seconds, reason)

    if match := messages.REQUESTED.match(line.text):
        return fence(match, Step.REQUESTED), match["id"]
    if match := messages.DELAYED.match(line.text):
        return fence(match, Step.DELAYED, seconds=messages.seconds(match["seconds"])), ""
    if match := messages.CALLED.match(line.text):
        return fence(match, Step.CALLED), ""
    if (match := messages.RETURNED.match(line.text)) and match["code"] != "0":
        last = said.get((line.node, match["pid"]), f"exit code {match['code']}")
        return fence(match, Step.FAILED, reason=match["reason"] or match["status"] or last), ""
    if (match := messages.FINISHED.match(line.text)) and not match["merged"]:
        if match["exit"] == "OK":
            return fence(match, Step.CONFIRMED), match["id"]
        return fence(match, Step.FAILED, reason=f"{match['exit']} ({match['status']})"), match["id"]
    return None, ""


# Nodes


def powers(switches: Iterable[Switch]) -> Iterator[Power]:
    for switch in switches:
        if switch.off:
            yield Power(switch.at, HYPERVISOR, switch.node, on=False)
        if switch.on:
            yield Power(switch.at, HYPERVISOR, switch.node, on=True)


def conditions(
    lines: Iterable[Line], switches: Iterable[Switch], void: Sequence[Overruled], nodes: Iterable[str], began: float
) -> Iterator[NodeState]:
    """Yield what changes of the nodes.  The cluster is not heard of one that boots until it is a member again."""
    said: dict[str, Condition | None] = dict.fromkeys(nodes, Condition.ONLINE)  # None: a member, and no more is said yet.
    leaving: set[str] = set()
    yield from (NodeState(began, "the cluster's status", node, Condition.ONLINE) for node in said)
    for item in in_time([*lines, *switches]):
        if isinstance(item, Switch):
            yield NodeState(item.at, HYPERVISOR, item.node, Condition.BOOTING if item.on else Condition.OFF)
            if item.on:
                said[item.node] = Condition.OFFLINE
            continue
        node, word = status(item)
        if node not in said or any(one.covers(item, node) for one in void):
            continue
        gone = said[node] in (Condition.UNCLEAN, Condition.OFFLINE)
        now = said[node]
        if word == "shutting down":
            leaving.add(node)
        elif word == "member" and gone:
            leaving.discard(node)
            said[node] = now = None
        elif word == "lost" and now is not Condition.OFFLINE:
            now = Condition.OFFLINE if node in leaving else Condition.UNCLEAN
        elif word == "to be fenced" and now is not Condition.OFFLINE:
            now = Condition.UNCLEAN
        elif word == "fenced":
            now = Condition.OFFLINE
        elif word in ("online", "standby") and not gone:
            now = Condition(word)
        if now is not said[node]:
            said[node] = now
            if now:
                yield NodeState(item.at, item.source, node, now)


def status(line: Line) -> tuple[str, str]:
    """Return the node that a line says something of, and what; two empty texts if none."""
    if match := membership(line):
        return match["node"], match["state"]
    if line.daemon == "schedulerd":
        if match := messages.TO_BE_FENCED.match(line.text):
            return match["node"], "to be fenced"
        if match := messages.STATUS.match(line.text):
            return match["node"], match["state"]
    if (match := messages.FINISHED.match(line.text)) and match["exit"] == "OK":
        return match["target"], "fenced"
    return "", ""


# The service


def addresses(called: Iterable[Call], switches: Iterable[Switch], active: str, began: float) -> Iterator[Vip]:
    """Yield where the floating address goes."""
    holder: str | None = active
    yield Vip(began, "the cluster's status", active)
    for at, source, node, what in moments(called, switches, ADDRESS):
        now = node if what == "started" else None if node == holder and what in ("stopping", "off") else holder
        if now != holder:
            holder = now
            yield Vip(at, source, now)


def databases(called: Iterable[Call], switches: Iterable[Switch], active: str, began: float) -> Iterator[Database]:
    """Yield what the database does on each node; it is down where nothing was said."""
    now = {active: Service.ACCEPTING}
    meaning = {"starting": Service.STARTING, "started": Service.ACCEPTING}
    yield Database(began, "the cluster's status", active, Service.ACCEPTING)
    for at, source, node, what in moments(called, switches, DATABASE):
        service = meaning.get(what, Service.DOWN)
        if service is not now.get(node, Service.DOWN):
            now[node] = service
            yield Database(at, source, node, service)


def moments(called: Iterable[Call], switches: Iterable[Switch], resource: str) -> list[tuple[float, str, str, str]]:
    """Return what becomes of a resource, in order of time: moment, source, node, and what it is from then on.

    That is starting, started, not started (the start failed), stopping, not running (as a monitor found), or off with its node.
    """
    found = [(switch.at, HYPERVISOR, switch.node, "off") for switch in switches if switch.off]
    for call in called:
        if call.resource != resource:
            continue
        if call.action in ("start", "stop"):
            found.append((call.at, call.source, call.node, "starting" if call.action == "start" else "stopping"))
        if call.action == "start" and call.ended is not None:
            found.append((call.ended, call.source, call.node, "not started" if call.failed else "started"))
        if call.action == "monitor" and call.ended is not None and call.code == NOT_RUNNING:
            found.append((call.ended, call.source, call.node, "not running"))
    return sorted(found)
