"""Repeated runs of one scenario in a few figures.  A disruption that never ended counts as longer than any."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.report import phases, verdict
from lab.report.phases import Disruption, Phase
from lab.report.runs import Agents, Audit, Profile, Run
from lab.report.scenarios import Scenario

NO_KIND = "kind not told"


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
    """All runs of one scenario with the same agents and profile, or those of one kind; there is at least one."""

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

    @property
    def audits(self) -> list[Audit]:
        """What the runs' rows were found to be; nothing for those whose rows could not be read back."""
        return [run.audit for run in self.runs if run.audit]

    @property
    def alone(self) -> int:
        """Return in how many runs new connections alone had this disruption."""
        return sum(one.alone for one in self.seen)

    def power_cycles(self) -> str:
        """Return how many there were in a run, as a range where that is not the same in all."""
        counts = [verdict.power_cycles(run) for run in self.runs]
        return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"

    def noticed(self) -> Spread:
        """When the cluster noticed, from the injection."""
        return spread(math.inf if moment is None else moment for moment in (phases.noticed(run.events) for run in self.runs))

    def fence_called(self) -> Spread:
        """When the fence device was called, from the injection."""
        return spread(math.inf if moment is None else moment for moment in map(phases.fence_called, self.runs))


@dataclass(frozen=True)
class Line:
    """What is put together: all runs of a scenario, or those of one kind.

    `parted` ones have lines for their kinds below them: a range can be told of the runs together, and no median.
    """

    scenario: Scenario
    sides: Mapping[Agents, Summary | None]
    kind: str | None = None
    parted: bool = False

    @property
    def title(self) -> str:
        """Return what names the line beside those of other scenarios."""
        return f"{self.scenario.ident} {self.scenario.title}" + ("" if self.kind is None else f": {self.kind or NO_KIND}")


def seconds(one: Disruption) -> float:
    return one.seconds if one.ended else math.inf


def of(runs: Sequence[Run], scenario: str, agents: Agents, profile: Profile, kind: str | None = None) -> Summary | None:
    """Return the summary of these runs, by default of all kinds; None where there are none."""
    wanted = (scenario, agents, profile)
    chosen = tuple(run for run in runs if (run.scenario, run.agents, run.profile) == wanted and kind in (None, run.kind))
    return Summary(chosen, tuple(map(phases.of, chosen))) if chosen else None


def lines(runs: Sequence[Run], profile: Profile, wanted: Sequence[Scenario]) -> list[Line]:
    """Return a line for each scenario, and after it one for each kind of it, where its runs have kinds."""

    def sides(scenario: Scenario, kind: str | None = None) -> dict[Agents, Summary | None]:
        return {agents: of(runs, scenario.ident, agents, profile, kind) for agents in Agents}

    found = []
    for scenario in wanted:
        kinds = list(dict.fromkeys(run.kind for run in runs if run.scenario == scenario.ident and run.profile is profile))
        found.append(Line(scenario, sides(scenario), parted=any(kinds)))
        if any(kinds):
            found += [Line(scenario, sides(scenario, kind), kind) for kind in kinds]
    return found
