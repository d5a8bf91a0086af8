"""What our agents are to reach under the recommended profile, and what they did."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.report import summary
from lab.report.runs import Agents, Profile, Run
from lab.report.summary import Summary

HALF = 0.5


def _of(kept: Sequence[Run], scenario: str, agents: Agents = Agents.LAB, profile: Profile = Profile.RECOMMENDED) -> Summary | None:
    return summary.of(kept, scenario, agents, profile)


def half(kept: Sequence[Run], scenario: str) -> str | None:
    """At most half of stock's disruption under the lab document's profile, by the medians.

    What stock reaches under the recommended profile is told too, where it was run: that part of the difference is a matter of intervals.
    """
    stock, ours = _of(kept, scenario, Agents.STOCK, Profile.DOCUMENT), _of(kept, scenario)
    if not stock or not ours:
        return None
    median, other = ours.disruption.median, stock.disruption.median
    met = not math.isinf(median) and median <= HALF * other
    share = "no end" if math.isinf(median) else f"{median:.1f} s, stock never" if math.isinf(other) else f"{median:.1f} s of {other:.1f} s"
    tuned = _of(kept, scenario, Agents.STOCK)
    alike = tuned.disruption.median if tuned else None
    also = "" if alike is None else ", stock with our profile " + ("never" if math.isinf(alike) else f"{alike:.1f} s")
    return f"{verdict(met=met)}, {share}{also}"


def nothing(kept: Sequence[Run], scenario: str) -> str | None:
    """No disruption in any run."""
    ours = _of(kept, scenario)
    if not ours:
        return None
    worst = ours.disruption.high
    return f"{verdict(met=worst == 0)}, " + ("no end" if math.isinf(worst) else f"{worst:.1f} s")


def called(kept: Sequence[Run], scenario: str) -> str | None:
    """In every run, the fence device is called within the bound of the run, which its settings make."""
    ours = _of(kept, scenario)
    bounds = [run.bound.fence_call for run in ours.runs if run.bound.fence_call is not None] if ours else []
    if not ours or not bounds:
        return None
    worst, bound = ours.fence_called().high, min(bounds)
    return f"{verdict(met=worst <= bound)}, " + ("never" if math.isinf(worst) else f"{worst:.1f} s") + f", the bound is {bound:g} s"


def verdict(*, met: bool) -> str:
    return "met" if met else "NOT MET"


GOALS = (
    ("S2a", "no disruption: the active node is never the one that is shot", nothing),
    ("S4", "at most half of stock's disruption under the lab document's profile", half),
    ("S5", "at most half of stock's disruption under the lab document's profile", half),
    ("S6", "the fence device is called within monitor interval + io_timeout + 5 s", called),
)


def lines(kept: Sequence[Run]) -> list[str]:
    """Return a line of Markdown for each goal; none where no run is under the recommended profile."""
    if not any(run.profile is Profile.RECOMMENDED for run in kept):
        return []
    return [f"- {scenario}, {goal}: {reach(kept, scenario) or 'not to be told yet'}" for scenario, goal, reach in GOALS]
