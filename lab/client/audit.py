"""What became of the rows: the ledger held against what the database has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from math import inf

from lab.client.journal import Row
from lab.client.ledger import NOT_SENT, OK, OUTCOMES, History, Key, Operation

# Clocks of two nodes differ: less than a second was measured between guests of one machine.
SKEW = 1.0

Server = tuple[str, float]


@dataclass(frozen=True)
class Span:
    """The rows of one life of a server: `first` and `last` by its own clock."""

    server: Server
    rows: int
    first: float
    last: float


@dataclass(frozen=True)
class Overlap:
    """Two servers that wrote at the same time.

    `seconds`: for how long, by their own clocks and beyond what these may differ; 0 where they do not say so.  `proof`: a row of one
    that was sent after the other had acknowledged one and acknowledged before the other was sent its next: that is by the client's
    clock alone.
    """

    servers: tuple[Server, Server]
    seconds: float
    proof: Key | None


@dataclass
class Audit:
    """The findings, as keys.  The first five lists are empty after every run in which nothing went wrong."""

    lost: list[Key] = field(default_factory=list)  # Acknowledged, and not there.
    ghosts: list[Key] = field(default_factory=list)  # There, and never sent.
    contradicted: list[Key] = field(default_factory=list)  # There, though it was said that they were not written.
    duplicates: list[Key] = field(default_factory=list)  # There more than once.
    overlaps: list[Overlap] = field(default_factory=list)
    unknown_present: list[Key] = field(default_factory=list)
    unknown_absent: list[Key] = field(default_factory=list)
    acknowledged: int = 0
    late: int = 0  # Of these, after the deadline.
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    spans: list[Span] = field(default_factory=list)
    torn: bool = False
    finished: bool = True

    @property
    def clean(self) -> bool:
        return not (self.lost or self.ghosts or self.contradicted or self.duplicates or self.overlaps)


def judge(history: History, rows: Iterable[Row], skew: float = SKEW) -> Audit:
    """Hold every key against the rows of the run."""
    rows = list(rows)
    found = Counter((row.stream, row.number) for row in rows)
    audit = Audit(torn=history.torn, finished=history.finished)
    for key, operation in sorted(history.operations.items()):
        audit.outcomes[operation.outcome] += 1
        there = key in found
        if operation.acknowledged is not None:
            audit.acknowledged += 1
            audit.late += operation.outcome != OK
            if not there:
                audit.lost.append(key)
        elif operation.denied or operation.outcome == NOT_SENT:
            if there:
                (audit.contradicted if operation.sent is not None else audit.ghosts).append(key)
        elif operation.sent is not None:
            (audit.unknown_present if there else audit.unknown_absent).append(key)
    audit.ghosts = sorted([*audit.ghosts, *(key for key in found if key not in history.operations)])
    audit.duplicates = sorted(key for key, times in found.items() if times > 1)
    audit.spans = spans(rows)
    audit.overlaps = overlaps(history, rows, audit.spans, skew)
    return audit


def spans(rows: Iterable[Row]) -> list[Span]:
    """Return the servers' spans, in the order in which they began to write."""
    written: dict[Server, list[float]] = {}
    for row in rows:
        written.setdefault(row.server, []).append(row.written)
    found = [Span(server, len(times), min(times), max(times)) for server, times in written.items()]
    return sorted(found, key=lambda span: (span.first, span.server))


def overlaps(history: History, rows: Iterable[Row], found: list[Span], skew: float) -> list[Overlap]:
    """Return the pairs of servers that wrote in overlapping time."""
    rows = list(rows)
    copies = Counter((row.stream, row.number) for row in rows)
    times: dict[Server, list[tuple[float, float, Key]]] = {}
    for row in rows:
        if operation := history.operations.get((row.stream, row.number)):
            times.setdefault(row.server, []).append((*surely(operation, copies[operation.key]), operation.key))
    wrong = []
    for one, other in combinations(found, 2):
        common = min(one.last, other.last) - max(one.first, other.first)
        seconds = common if common > (0 if one.server[0] == other.server[0] else skew) else 0.0
        mine, others = times.get(one.server, []), times.get(other.server, [])
        proof = within(mine, others) or within(others, mine)
        if seconds or proof:
            wrong.append(Overlap((one.server, other.server), seconds, proof))
    return wrong


def surely(operation: Operation, copies: int) -> tuple[float, float]:
    """Return the times between which a row was written, by the client's clock.  Of several copies nobody knows which was acknowledged."""
    acknowledged = operation.acknowledged if copies == 1 else None
    return (-inf if operation.sent is None else operation.sent), (inf if acknowledged is None else acknowledged)


def within(outer: list[tuple[float, float, Key]], inner: list[tuple[float, float, Key]]) -> Key | None:
    """Return a row of `inner` that was written between two rows of `outer`, if one surely was."""
    if not outer:
        return None
    earliest, latest = min(before for _, before, _ in outer), max(after for after, _, _ in outer)
    return next((key for after, before, key in inner if earliest < after and before < latest), None)


@dataclass(frozen=True)
class Gap:
    """A time without acknowledged writes, in seconds of the run: since the last before it (or the run's begin) until the first after it.

    `back`: there was one after it; else `end` is that of the schedule.
    """

    begin: float
    end: float
    back: bool

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def disruption(history: History, injected: float = 0.0, stream: str | None = None) -> Gap:
    """Return the longest time between successive acknowledged writes that was not over when the fault was injected.

    Writes that were acknowledged after their deadline do not count: nobody waited for them any more.  Without `stream` it is the
    time in which no stream got through.
    """
    operations = [one for one in history.operations.values() if stream in (None, one.stream)]
    answered = sorted(one.ended for one in operations if one.outcome == OK and one.ended is not None)
    end = max([*answered[-1:], *(one.due for one in operations), 0.0])
    gaps = [Gap(begin, back, True) for begin, back in zip([0.0, *answered], answered) if back > injected]
    gaps.append(Gap(answered[-1] if answered else 0.0, end, False))
    return max(gaps, key=lambda gap: gap.seconds)


def report(history: History, audit: Audit, injected: float | None) -> str:
    """Return what there is to say, for people."""
    counts = ", ".join(f"{audit.outcomes[name]} {name}" for name in OUTCOMES)
    lines = [
        f"operations: {counts}",
        f"acknowledged: {audit.acknowledged}, {audit.late} of them too late",
        f"unknown: {len(audit.unknown_present)} are there, {len(audit.unknown_absent)} are not",
    ]
    for title, keys in (("LOST, though acknowledged", audit.lost), ("GHOSTS, never sent", audit.ghosts),
                        ("CONTRADICTED, there though said to have failed", audit.contradicted),
                        ("DUPLICATES", audit.duplicates)):  # fmt: skip
        if keys:
            lines.append(f"{title}: {len(keys)}: {', '.join(f'{stream} {number}' for stream, number in keys[:10])}")
    for span in audit.spans:
        first, last = span.first - history.epoch, span.last - history.epoch
        lines.append(f"server {span.server[0]}, started at {span.server[1] - history.epoch:.1f} s: "
                     f"{span.rows} rows, {first:.1f} s to {last:.1f} s by its clock")  # fmt: skip
    for overlap in audit.overlaps:
        names = " and ".join(f"{host} of {started - history.epoch:.1f} s" for host, started in overlap.servers)
        proof = f"; proven by {overlap.proof[0]} {overlap.proof[1]}" if overlap.proof else ""
        lines.append(f"TWO SERVERS WROTE AT ONCE: {names}: {overlap.seconds:.1f} s by their clocks{proof}")
    for stream in (None, *history.streams()):
        gap = disruption(history, injected or 0.0, stream)
        since = "" if injected is None else f" ({gap.begin - injected:+.1f} s to {gap.end - injected:+.1f} s)"
        lines.append(f"longest gap, {stream or 'all'}: {gap.seconds:.1f} s, from {gap.begin:.1f} s to {gap.end:.1f} s{since}"
                     + ("" if gap.back else ", and not back"))  # fmt: skip
    if audit.torn:
        lines.append("the ledger's last line is torn")
    if not audit.finished:
        lines.append("the client did not come to its own end")
    lines.append("clean" if audit.clean else "NOT CLEAN")
    return "\n".join(lines)
