"""How long the service was away for its clients, and what the time went into.

The client writes in two streams: one keeps its sessions, the other connects for each row.  Either may fail without the other.
A *gap* of a stream is a stretch of at least LEAST seconds without any acknowledgement, EMULATED seconds where the nodes are emulated.
It lasts from the last one before it to the first one after it, and reaches beyond the injection.  It has not ended where it lasts until
the last write was due.  The *disruption* is the sum of the gaps of the worse stream: of one that has not ended, else of the one with
more seconds.

The time line is cut at *moments*, each the first of its kind after the injection, and before the last gap ends:

    noticed    a resource operation failed (its end), a stop or a start began, a node was called unclean, offline or standby, a fencing was
               requested; after a power cut, in which nobody is left to notice anything, that is the first start
    requested  a fencing was requested
    called     the fence device was called; where nobody saw that, the end of the delay
    confirmed  the fencing was confirmed
    starting   a start of a resource began, after the confirmation where there is a fencing, else after the notice
    serving    VIP and database are there: the later of the last arrival of each, at most the end of the last gap

and a phase lasts from the moment of the one before it to its own:

    detection  until noticed                            fencing    from called until confirmed
    stop       until requested; with no fencing,        start      until serving
               until starting                           reconnect  from serving until acknowledged
    fence delay  from requested until called

The seconds of a phase are the seconds of gaps that fall into it: a cluster that detects while the service still serves pays nothing.  A
moment that was not seen gives its time to the next phase; all after the last moment that was seen is in the phase that begins there.
A disruption that ends by itself, with nothing noticed, is a *stall*.  A disruption without an end is *open* in the phase where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from lab.report.runs import Call, Condition, Database, Event, Fence, NodeState, Run, Service, Session, Step, Vip, Write, in_order

# Five times what is between two writes, and what a connection takes on an emulated node that is busy.
LEAST = {Session.PERSISTENT: 1.0, Session.CONNECT: 3.0}
# Emulated nodes hold each other up for as much as three seconds, by a boot alone.
EMULATED = 5.0
STREAMS = {Session.PERSISTENT: "kept sessions", Session.CONNECT: "new connections"}
LOST = (Condition.UNCLEAN, Condition.OFFLINE, Condition.STANDBY)


class Phase(Enum):
    DETECTION = "detection"
    STOP = "stop"
    FENCE_DELAY = "fence delay"
    FENCING = "fencing"
    START = "start"
    RECONNECT = "reconnect"
    STALL = "stall"


@dataclass(frozen=True)
class Gap:
    """No write was acknowledged between these two moments; `ended` is False where none was after them either."""

    begin: float
    end: float
    ended: bool = True

    def within(self, begin: float, end: float) -> float:
        return max(0.0, min(self.end, end) - max(self.begin, begin))


@dataclass(frozen=True)
class Moments:
    noticed: float | None = None
    requested: float | None = None
    called: float | None = None
    confirmed: float | None = None
    starting: float | None = None
    serving: float | None = None


@dataclass(frozen=True)
class Disruption:
    """What the client missed.  `seconds` and `phases` of one that has not ended are what was seen of it.

    `stream` is the one whose gaps these are.  `alone` says that these are new connections, while sessions that were kept went on, or did
    so LEAST seconds longer.
    """

    gaps: tuple[Gap, ...]
    phases: Mapping[Phase, float]
    open: Phase | None
    moments: Moments
    stream: Session = Session.PERSISTENT
    alone: bool = False

    @property
    def seconds(self) -> float:
        return total(self.gaps)

    @property
    def ended(self) -> bool:
        return self.open is None

    def plain(self) -> dict[str, object]:
        """Return it for JSON, in milliseconds' precision."""
        told = {phase.value: round(seconds, 3) for phase, seconds in self.phases.items()}
        return {"seconds": round(self.seconds, 3), "ended": self.ended, "open": self.open.value if self.open else None,
                "stream": self.stream.value, "phases": told}  # fmt: skip


def gaps(writes: Sequence[Write], accelerator: str = "kvm") -> dict[Session, tuple[Gap, ...]]:
    """Return the gaps of each stream that there is."""
    streams = {session: [write for write in writes if write.session is session] for session in Session}
    return {session: _gaps(mine, EMULATED if accelerator == "tcg" else LEAST[session]) for session, mine in streams.items() if mine}


def _gaps(writes: Sequence[Write], least: float) -> tuple[Gap, ...]:
    """Return the gaps of one stream; the first write is due when the watch begins, and the last when it ends."""
    began, ended = min(write.due for write in writes), max(write.due for write in writes)
    moments = [began, *sorted(moment for write in writes if (moment := write.acknowledged) is not None)]
    found = [Gap(before, after) for before, after in zip(moments, moments[1:]) if after - before >= least and after > 0]
    if ended - moments[-1] >= least and ended > 0:
        found.append(Gap(moments[-1], ended, ended=False))
    return tuple(found)


def total(found: Iterable[Gap]) -> float:
    return sum(gap.end - gap.begin for gap in found)


def worse(found: Mapping[Session, tuple[Gap, ...]]) -> tuple[Session, bool]:
    """Return the stream with the worse gaps, and whether these are new connections alone."""
    ranks = {session: (any(not gap.ended for gap in mine), total(mine)) for session, mine in found.items()}
    stream = max(ranks, key=lambda session: ranks[session])
    endless, seconds = ranks[stream]
    kept_endless, kept = ranks.get(Session.PERSISTENT, ranks[stream])
    return stream, endless > kept_endless or seconds - kept >= LEAST[Session.CONNECT]


def first(moments: Iterable[float], since: float, until: float) -> float | None:
    return min((moment for moment in moments if since <= moment <= until), default=None)


def noticed(events: tuple[Event, ...], until: float = math.inf) -> float | None:
    """Return when the cluster first did or said anything because of the injection; None if never."""
    calls = in_order(events, Call)
    return first([
        *(call.ended for call in calls if call.failed and call.ended is not None),
        *(call.at for call in calls if call.action in ("stop", "start")),
        *(state.at for state in in_order(events, NodeState) if state.condition in LOST), *(fence.at for fence in in_order(events, Fence)),
    ], 0, until)  # fmt: skip


def moments(events: tuple[Event, ...], until: float) -> Moments:
    """Return the moments between the injection and the end of the last gap."""
    calls, fences = in_order(events, Call), in_order(events, Fence)
    begun = noticed(events, until)
    if begun is None:
        return Moments()
    requested = first((fence.at for fence in fences), begun, until)
    called = confirmed = None
    if requested is not None:
        called = first((fence.at for fence in fences if fence.step is Step.CALLED), requested, until)
        if called is None:
            called = first((fence.at + fence.seconds for fence in fences if fence.step is Step.DELAYED), requested, until)
        confirmed = first((fence.at for fence in fences if fence.step is Step.CONFIRMED), requested, until)
    base = next(moment for moment in (confirmed, called, requested, begun) if moment is not None)
    starting = first((call.at for call in calls if call.action == "start"), base, until)
    return Moments(begun, requested, called, confirmed, starting, serving(events, base, until))


def serving(events: tuple[Event, ...], since: float, until: float) -> float | None:
    """Return when VIP and database had both arrived; one that is told only after the first write came back was there by then."""
    vips = [vip.at for vip in in_order(events, Vip) if vip.node and vip.at >= since]
    databases = [state.at for state in in_order(events, Database) if state.service is Service.ACCEPTING and state.at >= since]
    arrived = [max((moment for moment in kind if moment <= until), default=until) for kind in (vips, databases) if kind]
    return max(arrived, default=None)


def split(events: tuple[Event, ...], writes: Sequence[Write], accelerator: str = "kvm") -> Disruption:
    """Return the disruption that writes show, cut by the moments that events show."""
    streams = gaps(writes, accelerator)
    nothing = dict.fromkeys(Phase, 0.0)
    if not any(streams.values()):
        return Disruption((), nothing, None, Moments())
    stream, alone = worse(streams)
    found = streams[stream]
    ended = found[-1].ended
    cut = moments(events, found[-1].end)
    if cut.noticed is None and ended:
        return Disruption(found, {**nothing, Phase.STALL: total(found)}, None, cut, stream, alone)
    ends = boundaries(cut)
    known = [phase for phase, moment in ends.items() if moment is not None]
    order = list(ends)
    last = order[order.index(known[-1]) + 1] if known else order[0]
    phases, cursor = dict(nothing), -math.inf
    for phase, moment in ends.items():
        end = math.inf if phase is last else moment
        if end is None or end < cursor:
            continue
        phases[phase] = sum(gap.within(cursor, end) for gap in found)
        cursor = end
        if phase is last:
            break
    return Disruption(found, phases, None if ended else last, cut, stream, alone)


def boundaries(cut: Moments) -> dict[Phase, float | None]:
    """Return which moment ends each phase, in their order; the last has no end of its own."""
    if cut.requested is None:
        return {Phase.DETECTION: cut.noticed, Phase.STOP: cut.starting, Phase.START: cut.serving, Phase.RECONNECT: None}
    confirmed = cut.starting if cut.confirmed is None else cut.confirmed
    return {Phase.DETECTION: cut.noticed, Phase.STOP: cut.requested, Phase.FENCE_DELAY: cut.called, Phase.FENCING: confirmed,
            Phase.START: cut.serving, Phase.RECONNECT: None}  # fmt: skip


def of(run: Run) -> Disruption:
    return split(run.events, run.writes, run.machine.accelerator)


def fence_called(run: Run) -> float | None:
    """Return when the fence device was first called after the injection; None if never."""
    return first((fence.at for fence in run.of(Fence) if fence.step is Step.CALLED), 0, math.inf)
