"""What a demonstration was asked to do, and what was seen in it.  Times are seconds from the moment the disks hung."""

from __future__ import annotations

from dataclasses import dataclass, field

STOP_TIMEOUT = 120.0  # What both agents' metadata name for stop: after that Pacemaker kills it, and fences.
FAILED, OK, DEGRADED = 1, 0, 190


@dataclass(frozen=True)
class Plan:
    """How long each part takes, in seconds, and what the agents are told."""

    healthy: float = 10.0
    watch: float = 40.0  # From the hang until a stop is ordered by hand where no monitor has failed.
    stop_watch: float = 25.0  # From then on until the disks answer again.
    interval: float = 5.0
    every: float = 0.1
    bound: float = 2.0  # What a write may take; the client counts it as unanswered then, and goes on.
    io_timeout: str = "auto"

    @property
    def heal(self) -> float:
        """When the disks answer again."""
        return self.watch + self.stop_watch

    def patience(self) -> str:
        """Return io_timeout with what it comes to here."""
        return "auto (20 s on what is not iSCSI)" if self.io_timeout == "auto" else self.io_timeout


@dataclass
class Row:
    """One row of a client: when it was due, and when the server acknowledged it, None where it never did."""

    number: int
    due: float
    answered: float | None = None

    def in_time(self, bound: float) -> bool:
        return self.answered is not None and self.answered - self.due <= bound


@dataclass(frozen=True)
class Call:
    """One call of an agent, with Pacemaker's reading of the result.  `ended` is None where it was not seen to end."""

    action: str
    began: float
    ended: float | None
    code: int
    reason: str = ""

    @property
    def good(self) -> bool:
        return self.ended is not None and self.code == OK

    @property
    def failed(self) -> bool:
        return self.ended is not None and self.code not in (OK, DEGRADED)


@dataclass
class Side:
    """One database under one agent."""

    name: str
    agent: str
    calls: list[Call] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    found: set[int] = field(default_factory=set)
    ordered: bool = False  # The stop was ordered by hand, because no monitor had failed.

    def of(self, action: str) -> list[Call]:
        return [call for call in self.calls if call.action == action]

    def noticed(self) -> Call | None:
        """Return the first monitor that failed after the hang."""
        return next((call for call in self.of("monitor") if call.failed and (call.ended or 0) > 0), None)

    def stop(self, before: float) -> Call | None:
        """Return the stop that began while the disk hung."""
        return next((call for call in self.of("stop") if 0 <= call.began < before), None)

    def acknowledged(self) -> set[int]:
        return {row.number for row in self.rows if row.answered is not None}

    def lost(self) -> set[int]:
        """Return the rows that the server has acknowledged and has not got."""
        return self.acknowledged() - self.found

    def during(self, begin: float, end: float) -> list[Row]:
        return [row for row in self.rows if begin <= row.due < end]

    def last_answer(self) -> float | None:
        return max((row.answered for row in self.rows if row.answered is not None), default=None)


@dataclass
class Story:
    """A whole demonstration.  `hung`, `healed` and `end` are when things really happened, in seconds from the moment meant for the hang."""

    plan: Plan
    sides: list[Side]
    healed: float
    end: float
    versions: str = ""
    hung: float = 0.0

    def fenced(self, side: Side) -> tuple[float, bool] | None:
        """Return when Pacemaker would fence the node, and whether that was seen; else it follows from the time-out of the stop."""
        stop = side.stop(self.healed)
        if not stop:
            return None
        if stop.ended is not None and stop.ended < self.healed:
            return (stop.ended, True) if stop.failed else None
        return stop.began + STOP_TIMEOUT, False
