"""Repeated runs of one scenario in a few figures.  A disruption that never ended counts as longer than any."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lab.report import phases, verdict
from lab.report.phases import Disruption, Phase
from lab.report.runs import Agents, Audit, Profile, Run


@dataclass(frozen=True)
class Spread:
    """Median and range; infinity stands for never."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class Summary:
    """All runs of one scenario with the same agents and profile; there is at least one."""

    runs: tuple[Run, ...]
    seen: tuple[Disruption, ...]

    @property
    def disruption(self) -> Spread:
        return spread(seconds(one) for one in self.seen)

    @property
    def watched(self) -> float:
        """How long the one that never ended was watched, the longest where there are several."""
        return max(run.watched for run, one in zip(self.runs, self.seen) if not one.ended)

    def phase(self, phase: Phase) -> Spread:
        return spread(math.inf if one.open is phase else one.phases[phase] for one in self.seen)

    @property
    def typical(self) -> Disruption:
        """The run in the middle, the shorter of two."""
        return sorted(self.seen, key=seconds)[(len(self.seen) - 1) // 2]

    def rows(self, count: Callable[[Audit], int]) -> int | None:
        """Return a sum over the audits; None where one of the runs has none."""
        audits = [run.audit for run in self.runs]
        return None if None in audits else sum(count(audit) for audit in audits if audit)

    def power_cycles(self) -> list[int]:
        return [verdict.power_cycles(run) for run in self.runs]

    def fence_called(self) -> Spread:
        """When the fence device was called, from the injection."""
        return spread(math.inf if moment is None else moment for moment in map(phases.fence_called, self.runs))


def seconds(one: Disruption) -> float:
    return one.seconds if one.ended else math.inf


def of(runs: Sequence[Run], scenario: str, agents: Agents, profile: Profile) -> Summary | None:
    """Return the summary of the runs that are of this kind; None where there are none."""
    chosen = tuple(run for run in runs if (run.scenario, run.agents, run.profile) == (scenario, agents, profile))
    return Summary(chosen, tuple(map(phases.of, chosen))) if chosen else None
