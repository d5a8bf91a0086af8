"""What disruptions are split into, by runs made by hand after measured ones, where sums can be done in the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest

from lab.report import phases, verdict
from lab.report.phases import Disruption, Gap, Phase
from lab.report.runs import (
    Agents,
    Audit,
    Bound,
    Call,
    Condition,
    Database,
    Event,
    Fault,
    Fence,
    Machine,
    Malformed,
    NodeState,
    Outcome,
    Power,
    Probe,
    Profile,
    Reach,
    Run,
    Service,
    Session,
    Step,
    Vip,
    Write,
)
from lab.scenarios.stage import Broken, Stage

LOG, API = "pacemaker.log", "hypervisor"
MACHINE = Machine("kvm", 2, 23900, {"pacemaker": "2.1.5", "postgresql": "15"})
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
CLEAN = Audit(74, 0, 0, 0, 0)
FAR = 10_000.0
KEPT, CONNECT = Session


def writes(
    *away: tuple[float, float], begin: float = -5.0, end: float = 60.0, every: float = 0.5, session: Session = Session.PERSISTENT,
) -> tuple[Write, ...]:  # fmt: skip
    """Return a stream of operations: acknowledged at once but in these stretches, from the last acknowledgement to the first."""
    found = []
    for number in range(round((end - begin) / every) + 1):
        due = round(begin + number * every, 3)
        gone = any(since < due < until for since, until in away)
        found.append(Write(due, session, Outcome.UNKNOWN if gone else Outcome.OK, None if gone else 0.0))
    edges = {edge for stretch in away for edge in stretch if begin <= edge <= end}
    return (*found, *(Write(edge, session, Outcome.OK, 0.0) for edge in sorted(edges)))


def call(resource: str, action: str, began: float, ended: float, code: int = 0, reason: str = "", node: str = "rhel1") -> Call:
    return Call(began, LOG, node, resource, action, ended, code, reason)


def fenced(target: str, requested: float, delayed: float, called: float, confirmed: float) -> list[Event]:
    delay = [Fence(delayed, LOG, target, Step.DELAYED, called - delayed)] if called > delayed else []
    return [Fence(requested, LOG, target, Step.REQUESTED), *delay, Fence(called, LOG, target, Step.CALLED),
            Power(confirmed - 1, API, target, False), Fence(confirmed, LOG, target, Step.CONFIRMED)]  # fmt: skip


def serves(node: str, database: float, vip: float) -> list[Event]:
    return [Database(database, "client", node, Service.ACCEPTING), Vip(vip, LOG, node)]


STORIES: dict[str, tuple[list[Event], tuple[Write, ...]]] = {
    # Standby of the active node: served on until the VIP stops.
    "S1": ([
        NodeState(0.5, LOG, "rhel2", Condition.STANDBY), call("vip", "stop", 8.0, 9.0, node="rhel2"), Vip(9.0, LOG, None),
        call("pg-db", "stop", 9.0, 12.5, node="rhel2"), call("pg-lvm", "start", 16.0, 18.0), call("pg-db", "start", 20.0, 27.0),
        call("vip", "start", 27.0, 29.5), *serves("rhel1", 27.0, 29.5),
    ], writes((8.2, 30.0))),
    # The active node is the loser of a partition; it serves until it is shot.
    "S2a": ([
        NodeState(15.1, LOG, "rhel1", Condition.UNCLEAN), *fenced("rhel1", 15.2, 15.2, 15.2, 16.7),
        call("pg-db", "start", 20.0, 52.0, node="rhel2"), *serves("rhel2", 52.0, 55.0),
    ], writes((15.2, 56.2))),
    # The standby is: nobody misses anything.
    "S2b": ([NodeState(11.0, LOG, "rhel1", Condition.UNCLEAN), *fenced("rhel1", 11.0, 11.0, 19.0, 21.0)], writes()),
    # kill -9 of the postmaster: started again in place.
    "S4": ([
        call("pg-db", "monitor", 27.0, 28.1, 7, "not running"), call("vip", "stop", 28.2, 30.2), Vip(30.2, LOG, None),
        call("pg-db", "stop", 30.2, 33.6), call("pg-db", "start", 33.6, 42.6), call("vip", "start", 42.6, 44.0),
        *serves("rhel1", 42.0, 44.0),
    ], writes((0.6, 44.7))),
    # Both paths lost, fail: the stop of pg-lvm fails, and so the node is fenced.
    "S5": ([
        call("pg-db", "monitor", 14.0, 15.0, 7, "not running"), call("vip", "stop", 15.5, 17.0),
        call("pg-db", "start", 19.0, 20.0, 5, "not installed"), call("pg-fs", "stop", 21.0, 23.0),
        call("pg-lvm", "stop", 23.0, 25.0, 1, "failed to deactivate"), *fenced("rhel2", 25.0, 25.0, 50.0, 64.0),
        call("pg-lvm", "start", 66.0, 70.0), call("pg-db", "start", 75.0, 93.0), call("vip", "start", 93.0, 99.0),
        *serves("rhel1", 93.0, 99.0),
    ], writes((-0.4, 101.9), end=120.0)),
    # Queue, with the best that stock agents can be told: the monitor's time-out, the stop's time-out, the fencing with its delay.
    "S6 best": ([
        call("pg-fs", "monitor", 0.2, 40.2, 1, "Timed Out"), call("vip", "stop", 40.5, 41.7),
        call("pg-db", "stop", 41.8, 161.8, 1, "Timed Out"), *fenced("rhel2", 162.2, 162.2, 178.2, 192.6),
        call("pg-lvm", "start", 194.0, 200.0), call("pg-db", "start", 206.0, 221.0), call("vip", "start", 221.0, 228.0),
        *serves("rhel1", 221.0, 228.0),
    ], writes((-0.4, 228.8), end=240.0)),
    # Queue, stock: all green for as long as anybody looks.
    "S6 stock": ([call("pg-db", "monitor", float(at), at + 1.0) for at in range(5, 420, 30)], writes((-0.4, FAR), end=420.0)),
    # The path in use is cut: the write under way waits for multipath.
    "S7": ([call("pg-db", "monitor", 3.0, 9.0, 190, "slow: write 6.0 s")], writes((-0.4, 15.1))),
    # The fence device cannot be reached for a while, and then for ever.
    "S13": ([
        NodeState(11.0, LOG, "rhel2", Condition.UNCLEAN), Fence(11.0, LOG, "rhel2", Step.REQUESTED), Fence(12.0, LOG, "rhel2", Step.CALLED),
        Fence(22.0, LOG, "rhel2", Step.FAILED, reason="no answer"), Fence(30.0, LOG, "rhel2", Step.CALLED),
        Fence(34.0, LOG, "rhel2", Step.CONFIRMED), call("pg-db", "start", 35.0, 40.0), *serves("rhel1", 40.0, 41.0),
    ], writes((0.0, 42.0))),
    # The postmaster is stopped: its sessions go on, and nobody else gets in.
    "S10": ([
        call("pg-db", "monitor", 8.0, 18.0, 1, "no answer"), call("pg-db", "stop", 19.0, 22.0), call("pg-db", "start", 22.0, 30.0),
        Database(30.0, "client", "rhel2", Service.ACCEPTING),
    ], (*writes((20.0, 31.0)), *writes((0.5, 31.0), session=CONNECT))),
    # A fencing that fails, and nobody says why.
    "S3 unnamed": ([
        NodeState(11.0, LOG, "rhel2", Condition.UNCLEAN), Fence(11.0, LOG, "rhel2", Step.REQUESTED), Fence(12.0, LOG, "rhel2", Step.CALLED),
        Fence(22.0, LOG, "rhel2", Step.FAILED, reason=" "), Fence(34.0, LOG, "rhel2", Step.CONFIRMED),
    ], writes((0.0, 42.0))),
    "S13 without end": ([
        NodeState(11.0, LOG, "rhel2", Condition.UNCLEAN), Fence(11.0, LOG, "rhel2", Step.REQUESTED), Fence(12.0, LOG, "rhel2", Step.CALLED),
        Fence(22.0, LOG, "rhel2", Step.FAILED, reason="no answer"),
    ], writes((0.0, FAR))),
}  # fmt: skip

D, S, W, F, B, R, N = Phase  # detection, stop, fence delay (waiting), fencing, start (beginning), reconnect, stall (nothing)
SPLITS: list[tuple[str, float, dict[Phase, float], Phase | None]] = [
    ("S1", 21.8, {S: 7.8, B: 13.5, R: 0.5}, None),
    ("S2a", 41.0, {F: 1.5, B: 38.3, R: 1.2}, None),
    ("S2b", 0.0, {}, None),
    ("S4", 44.1, {D: 27.5, S: 5.5, B: 10.4, R: 0.7}, None),
    ("S5", 102.3, {D: 15.4, S: 10.0, W: 25.0, F: 14.0, B: 35.0, R: 2.9}, None),
    ("S6 best", 229.2, {D: 40.6, S: 122.0, W: 16.0, F: 14.4, B: 35.4, R: 0.8}, None),
    ("S6 stock", 420.4, {D: 420.4}, D),
    ("S7", 15.5, {N: 15.5}, None),
    ("S10", 30.5, {D: 17.5, S: 4.0, B: 8.0, R: 1.0}, None),
    ("S13", 42.0, {D: 11.0, W: 1.0, F: 22.0, B: 7.0, R: 1.0}, None),
    ("S13 without end", 60.0, {D: 11.0, W: 1.0, F: 48.0}, F),
]


def story(
    name: str, agents: Agents = Agents.STOCK, profile: Profile = Profile.DOCUMENT, *, again: int = 0, bound: Bound | None = None,
    audit: Audit | None = CLEAN, more: Sequence[Event] = (), later: float = 0.0,
) -> Run:  # fmt: skip
    """Return a run that this story is told of; `later` puts off all that the client saw, and `again` the day of the run."""
    events, told = STORIES[name]
    moved = tuple(Write(one.due + (later if one.due > 0 else 0), one.session, one.outcome, one.latency) for one in told)
    active = "rhel1" if name in ("S2a", "S4") else "rhel2"
    began, ident = BEGAN + timedelta(days=again), name.split(maxsplit=1)[0]
    fault = Fault(0.0, "lab", {"S4": "kill -9", "S6": "both paths lost, queue"}.get(ident, "fault"))
    probes = (Probe(-5.0, Reach.OPEN), Probe(2.0, Reach.REFUSED), Probe(30.0, Reach.NO_ROUTE), Probe(44.0, Reach.OPEN))
    watched = max(one.due for one in moved)
    return Run(ident, f"title of {ident}", agents, profile, began, began + timedelta(seconds=33), watched, active, MACHINE,
               bound or Bound(300.0), moved, (fault, *events, *more), probes, audit)  # fmt: skip


@pytest.mark.parametrize("name, seconds, parts, stood", SPLITS, ids=[split[0] for split in SPLITS])
def test_the_time_is_split_as_by_hand(name: str, seconds: float, parts: dict[Phase, float], stood: Phase | None) -> None:
    seen = phases.of(story(name))
    assert seen.seconds == pytest.approx(seconds)
    assert {phase: round(value, 3) for phase, value in seen.phases.items() if value} == pytest.approx(parts)
    assert sum(seen.phases.values()) == pytest.approx(seen.seconds)
    assert seen.open is stood
    assert seen.ended is (stood is None)


@pytest.mark.parametrize("name", STORIES)
def test_the_order_in_which_things_were_written_down_does_not_matter(name: str) -> None:
    events, told = STORIES[name]
    assert phases.split(tuple(events), told) == phases.split(tuple(reversed(events)), tuple(reversed(told)))


@pytest.mark.parametrize("told, found", [
    (writes(), ()),
    (writes((5.0, 5.9)), ()),
    (writes((5.0, 6.0)), (Gap(5.0, 6.0),)),
    (writes((-4.0, -2.0)), ()),  # Before the injection: not its work.
    (writes((-4.0, 3.0)), (Gap(-4.0, 3.0),)),
    (writes((5.0, 7.0), (20.0, 30.0)), (Gap(5.0, 7.0), Gap(20.0, 30.0))),
    (writes((5.0, 7.0), (20.0, FAR)), (Gap(5.0, 7.0), Gap(20.0, 60.0, ended=False))),
    (writes((59.5, FAR)), ()),  # The last write of all may be cut off by the end of the watch.
    # A slow answer is one all the same, and there is a gap until it comes.
    ((Write(-1.0, Session.PERSISTENT, Outcome.OK, 0.5), Write(0.0, Session.PERSISTENT, Outcome.OK, 8.0),
      Write(1.0, Session.PERSISTENT, Outcome.FAILED, 2.0)), (Gap(-0.5, 8.0),)),
])  # fmt: skip
def test_gaps(told: tuple[Write, ...], found: tuple[Gap, ...]) -> None:
    assert phases.gaps(told) == {Session.PERSISTENT: found}


def test_each_stream_has_its_gaps() -> None:
    """What one stream was told does not end the gap of the other; connecting may take longer before that is a gap."""
    kept, fresh = writes((5.0, 6.0)), writes((20.0, 22.9), (30.0, 33.0), (58.0, FAR), session=CONNECT)
    assert phases.gaps((*fresh, *kept)) == {KEPT: (Gap(5.0, 6.0),), CONNECT: (Gap(30.0, 33.0),)}
    assert phases.gaps(fresh) == {CONNECT: (Gap(30.0, 33.0),)}
    assert phases.gaps(()) == {}


def test_emulated_nodes_may_hold_each_other_up() -> None:
    told = writes((-1.0, 1.0), (5.5, 9.0), (14.1, 20.0))
    assert phases.gaps(told, "kvm") != phases.gaps(told, "tcg")
    (gap,) = phases.gaps(told, "tcg")[KEPT]
    assert gap.end - gap.begin >= phases.EMULATED


@pytest.mark.parametrize("kept, fresh, stream, alone, seconds, ended", [
    ([], [(0.0, FAR)], CONNECT, True, 60.0, False),  # Who is connected goes on; nobody else gets in.
    ([(0.0, 50.0)], [(30.0, FAR)], CONNECT, True, 30.0, False),  # Without an end is longer than any.
    ([(30.0, FAR)], [(0.0, 50.0)], KEPT, False, 30.0, False),
    ([(10.0, FAR)], [(0.0, FAR)], CONNECT, True, 60.0, False),
    ([(0.0, 40.0)], [(0.0, 40.5)], CONNECT, False, 40.5, True),  # Half a second is what it writes more seldom.
    ([(0.0, 40.0)], [(0.0, 43.0)], CONNECT, True, 43.0, True),
    ([(0.0, 40.0)], [(0.0, 40.0)], KEPT, False, 40.0, True),
    ([(0.0, 10.0), (20.0, 40.0)], [(0.0, 25.0)], KEPT, False, 30.0, True),  # The sum is what counts.
    ([(0.0, 2.0)], [(0.0, 2.0)], KEPT, False, 2.0, True),
])  # fmt: skip
def test_the_worse_stream_is_the_disruption(
    kept: list[tuple[float, float]], fresh: list[tuple[float, float]], stream: Session, alone: bool, seconds: float, ended: bool
) -> None:
    seen = phases.split((), (*writes(*kept), *writes(*fresh, session=CONNECT)))
    assert (seen.stream, seen.alone, seen.ended) == (stream, alone, ended)
    assert seen.seconds == pytest.approx(seconds)


def test_a_client_that_only_connects_has_a_disruption_too() -> None:
    seen = phases.split((), writes((0.0, 30.0), session=CONNECT))
    assert (seen.stream, seen.alone, seen.seconds) == (CONNECT, False, 30.0)


@pytest.mark.parametrize("events, parts", [
    # Nothing was told but that it was noticed: the rest is in the phase that begins there.
    ([call("pg-db", "monitor", 9.0, 10.0, 1)], {D: 10.0, S: 20.0}),
    # Where the VIP was before has nothing to do with it.
    ([Vip(-5.0, LOG, "rhel1"), call("pg-db", "monitor", 9.0, 10.0, 1)], {D: 10.0, S: 20.0}),
    # Degraded is no failure, nor is what a probe finds, nor what happened before the injection.
    ([call("pg-db", "monitor", 9.0, 10.0, 190), call("pg-db", "probe", 9.0, 10.0, 7), call("vip", "stop", -3.0, -2.0)], {N: 30.0}),
    # What was noticed after all was over has not shortened it.
    ([call("pg-db", "monitor", 39.0, 40.0, 1)], {N: 30.0}),
    # The call was not seen: the delay says when it was.
    ([Fence(10.0, LOG, "rhel1", Step.REQUESTED), Fence(10.0, LOG, "rhel1", Step.DELAYED, 5.0), Fence(18.0, LOG, "rhel1", Step.CONFIRMED)],
     {D: 10.0, W: 5.0, F: 3.0, B: 12.0}),
    # Neither was seen: both are in what was.
    ([Fence(10.0, LOG, "rhel1", Step.REQUESTED), Fence(18.0, LOG, "rhel1", Step.CONFIRMED)], {D: 10.0, F: 8.0, B: 12.0}),
    # The fencing was never confirmed, but the resources started: it was over then.
    ([Fence(10.0, LOG, "rhel1", Step.REQUESTED), Fence(11.0, LOG, "rhel1", Step.CALLED), call("pg-db", "start", 15.0, 25.0)],
     {D: 10.0, W: 1.0, F: 4.0, B: 15.0}),
    # An arrival that is told after the first write was there before it.
    ([call("vip", "stop", 10.0, 11.0), call("vip", "start", 20.0, 33.0), Vip(33.0, LOG, "rhel1")], {D: 10.0, S: 10.0, B: 10.0}),
    # The VIP may come before the database.
    ([call("vip", "stop", 10.0, 11.0), call("vip", "start", 15.0, 16.0), *serves("rhel1", 28.0, 16.0)], {D: 10.0, S: 5.0, B: 13.0, R: 2.0}),
])  # fmt: skip
def test_moments_that_were_not_seen(events: list[Event], parts: dict[Phase, float]) -> None:
    seen = phases.split(tuple(events), writes((0.0, 30.0)))
    assert {phase: value for phase, value in seen.phases.items() if value} == pytest.approx(parts)
    assert seen.ended


def test_what_was_noticed_without_a_gap() -> None:
    """The client need not miss anything for the cluster to notice; what it saw before the injection does not count."""
    events = STORIES["S2b"][0]
    assert phases.split(tuple(events), writes()).moments.noticed is None
    assert phases.noticed((*events, call("vip", "stop", -3.0, -2.0))) == 11.0
    assert phases.noticed((*STORIES["S7"][0], Fence(-2.0, LOG, "rhel1", Step.REQUESTED))) is None
    assert phases.noticed((call("pg-lvm", "start", 144.0, 150.0), call("pg-lvm", "probe", 140.0, 141.0))) == 144.0  # After a power cut.


def test_two_gaps_share_the_phases() -> None:
    """A stall while the cluster detects, service for a while, and the gap of a failover."""
    events = [call("pg-db", "monitor", 9.0, 10.0, 1), call("vip", "stop", 12.0, 13.0), call("vip", "start", 20.0, 25.0)]
    seen = phases.split((*events, *serves("rhel2", 24.0, 25.0)), writes((1.0, 4.0), (12.0, 26.0)))
    assert {phase: value for phase, value in seen.phases.items() if value} == pytest.approx({D: 3.0, S: 8.0, B: 5.0, R: 1.0})


def test_no_writes_no_run() -> None:
    run = story("S4")
    with pytest.raises(Malformed, match="no write was acknowledged before the injection"):
        dataclasses.replace(run, writes=writes(begin=0.0))


def test_when_the_fence_device_was_called() -> None:
    assert [phases.fence_called(story(name)) for name in ("S5", "S6 best", "S6 stock", "S13")] == [50.0, 178.2, None, 12.0]


OFF = Fault(0.0, "lab", "rhel2: powered off")
UNDISTURBED = [call("vip", "stop", -3.0, 1.0), call("vip", "start", 2.0, 3.0), call("pg-db", "monitor", -3.0, -1.0, 1),
               call("pg-db", "probe", 3.0, 4.0, 7)]  # fmt: skip
UNNAMED = "no fencing was told to have failed, with a reason"


def both(kept: list[tuple[float, float]], fresh: list[tuple[float, float]], bound: Bound | None = None) -> Run:
    """Return a run of two streams, with these gaps."""
    told = (*writes(*kept), *writes(*fresh, session=CONNECT))
    return dataclasses.replace(story("S7", bound=bound), writes=told, events=())


@pytest.mark.parametrize("run, found", [
    (story("S4"), ()),
    (story("S4", bound=Bound(40.0)), ("writes came back after 44.7 s, the bound is 40 s",)),
    (story("S6 stock"), ("writes never came back, watched for 420 s; it stood in: detection",)),
    (story("S2b", bound=Bound(10.0, failover=False)), ("nothing was to fail over, but rhel1 was fenced",)),
    (story("S7", bound=Bound(60.0, failover=False)), ()),
    (story("S7", bound=Bound(60.0, failover=False), more=[Vip(20.0, LOG, "rhel1")]),
     ("nothing was to fail over, but the VIP went to rhel1",)),
    (story("S7", bound=Bound(60.0, failover=False), more=[Vip(20.0, LOG, None), Vip(21.0, LOG, "rhel2"), Vip(-9.0, LOG, "rhel1")]), ()),
    (story("S2a", bound=Bound(60.0, spared="rhel1")), ("rhel1 was the one that was fenced",)),
    (story("S2a", bound=Bound(60.0, spared="rhel2")), ()),
    (story("S5", bound=Bound(120.0, fence_call=20.0)), ("the fence device was called only after 50.0 s, the bound is 20 s",)),
    (story("S7", bound=Bound(120.0, fence_call=20.0)), ("the fence device was called never, the bound is 20 s",)),
    (story("S10", bound=Bound(31.0)), ()),
    (story("S10", bound=Bound(30.0)), ("writes came back after 31.0 s, the bound is 30 s",)),
    (both([], [(0.0, FAR)]), ("writes of new connections never came back, watched for 60 s; it stood in: detection",)),
    (both([(0.0, FAR)], []), ("writes of kept sessions never came back, watched for 60 s; it stood in: detection",)),
    (both([(0.0, FAR)], [(0.0, FAR)]), ("writes never came back, watched for 60 s; it stood in: detection",)),
    # The worse stream is not the one that came back last.
    (both([(0.0, 20.0)], [(30.0, 40.0)], Bound(35.0)), ("writes came back after 40.0 s, the bound is 35 s",)),
    (story("S4", bound=Bound(60.0, noticed=28.1)), ()),
    (story("S4", bound=Bound(60.0, noticed=28.0)), ("the cluster noticed only after 28.1 s, the bound is 28 s",)),
    (story("S7", bound=Bound(60.0, noticed=28.0)), ("the cluster noticed never, the bound is 28 s",)),
    (story("S2b", bound=Bound(60.0, noticed=11.0)), ()),  # Noticed, though no client missed anything.
    (story("S13", bound=Bound(60.0, named=True)), ()),
    (story("S3 unnamed", bound=Bound(60.0, named=True)), (UNNAMED,)),
    (story("S2b", bound=Bound(60.0, named=True)), (UNNAMED,)),
    (story("S2b", bound=Bound(60.0, named=True), more=[Fence(-9.0, LOG, "rhel1", Step.FAILED, reason="before")]), (UNNAMED,)),
    (story("S7", bound=Bound(60.0, in_place=False)), ()),  # Degraded is no failure.
    (story("S7", bound=Bound(60.0, in_place=False), more=UNDISTURBED), ()),
    (story("S7", bound=Bound(60.0, in_place=False), more=[call("pg-db", "monitor", -1.0, 1.0, 1), call("vip", "stop", 9.0, 9.5)]),
     ("nothing of the service was to be disturbed, but: pg-db monitor on rhel1 failed, vip stop on rhel1",)),
    (story("S4", audit=None), ("the rows could not be read back",)),
    (story("S4", audit=Audit(9, 1, 2, 3, 4)), ("1 acknowledged rows lost", "2 rows there that were never sent or told to have failed",
                                               "3 rows twice", "4 pairs of servers that wrote in overlapping time")),
])  # fmt: skip
def test_verdict(run: Run, found: tuple[str, ...]) -> None:
    assert verdict.failings(run) == found


@pytest.mark.parametrize("events, count", [
    ([], 1),
    ([Power(-3.0, API, "rhel1", False), Power(70.0, API, "rhel2", True), Power(80.0, API, "rhel1", False)], 2),
    # What the scenario did is not the cluster's work: one switching for each deed, of that node, at that time.
    ([OFF, Power(0.8, API, "rhel2", False)], 1),
    ([OFF, Power(0.8, API, "rhel2", False), Power(3.0, API, "rhel2", False)], 2),
    ([OFF, Power(0.8, API, "rhel1", False)], 2),
    ([OFF], 1),  # The deed itself was not seen; the fencing, a minute later, was.
    ([OFF, Fault(0.2, "lab", "rhel1: powered off"), Power(0.1, API, "rhel2", False), Power(0.3, API, "rhel1", False)], 1),
])  # fmt: skip
def test_power_cycles(events: list[Event], count: int) -> None:
    assert verdict.power_cycles(story("S5", more=events)) == count


def test_the_scenarios_say_as_the_report_reads_that_they_took_the_power_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(None, "rhel2")  # type: ignore[arg-type]  # Nothing is ordered from it: the deed is left out.
    monkeypatch.setattr(Stage, "do", lambda self, what, _deed, mend=None: self.broken.append(Broken(what, 0.0, mend)))
    stage.power_off("rhel2")
    assert [fault.what for fault in stage.events()] == [OFF.what]


def test_a_disruption_tells_json() -> None:
    seen: Disruption = phases.of(story("S6 stock"))
    told = seen.plain()
    assert (told["seconds"], told["ended"], told["open"]) == (420.4, False, "detection")
    assert phases.of(story("S10")).plain()["stream"] == "connect"
