"""What our agents are to reach under the recommended profile, and what they did."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.report import summary, verdict
from lab.report.runs import Agents, Profile, Run
from lab.report.summary import Summary

HALF = 0.5
UNKNOWN = "not to be told yet"


def _of(kept: Sequence[Run], scenario: str, agents: Agents = Agents.LAB, profile: Profile = Profile.RECOMMENDED) -> Summary | None:
    return summary.of(kept, scenario, agents, profile)


def half(kept: Sequence[Run], scenario: str) -> str | None:
    """At most half of stock's disruption, by the medians: under the lab document's profile, as it was asked, and under the same profile.

    The first comparison has other intervals on either side; the second is of the agents alone.
    """
    ours = _of(kept, scenario)
    if not ours:
        return None
    median = ours.disruption.median
    stock = {"the document's profile": Profile.DOCUMENT, "the same profile": Profile.RECOMMENDED}
    against = [f"against {name} {_share(median, _of(kept, scenario, Agents.STOCK, profile))}" for name, profile in stock.items()]
    return "; ".join(["never" if math.isinf(median) else f"{median:.1f} s", *against])


def _share(median: float, stock: Summary | None) -> str:
    if not stock:
        return UNKNOWN
    other = stock.disruption.median
    told = "never" if math.isinf(other) else f"{other:.1f} s"
    return f"{judged(met=not math.isinf(median) and median <= HALF * other)} (stock {told})"


def _end(seconds: float) -> str:
    return "no end" if math.isinf(seconds) else f"{seconds:.1f} s"


def nothing(kept: Sequence[Run], scenario: str) -> str | None:
    """No disruption in any run."""
    ours = _of(kept, scenario)
    if not ours:
        return None
    worst = ours.disruption.high
    return f"{judged(met=worst == 0)}, {_end(worst)}"


def called(kept: Sequence[Run], scenario: str) -> str | None:
    """In every run, the fence device is called within the bound of the run, which its settings make."""
    ours = _of(kept, scenario)
    bounds = [run.bound.fence_call for run in ours.runs if run.bound.fence_call is not None] if ours else []
    if not ours or not bounds:
        return None
    worst, bound = ours.fence_called().high, min(bounds)
    return f"{judged(met=worst <= bound)}, " + ("never" if math.isinf(worst) else f"{worst:.1f} s") + f", the bound is {bound:g} s"


def returns(kept: Sequence[Run], scenario: str) -> str | None:
    """In every run, the service comes back by itself; what that took of power cycles is told."""
    ours = _of(kept, scenario)
    if not ours:
        return None
    worst = ours.disruption.high
    return f"{judged(met=not math.isinf(worst))}, {_end(worst)}, power cycles: {ours.power_cycles()}"


def stays(kept: Sequence[Run], scenario: str) -> str | None:
    """In no run is a node fenced, or the VIP moved."""
    ours = _of(kept, scenario)
    if not ours:
        return None
    gone = dict.fromkeys(what for run in ours.runs for what in verdict.failed_over(run))
    return ", ".join([judged(met=not gone), *gone])


def judged(*, met: bool) -> str:
    return "met" if met else "NOT MET"


GOALS = (
    ("S2a", "no disruption: the active node is never the one that is shot", nothing),
    ("S4", "at most half of stock's disruption", half),
    ("S5", "at most half of stock's disruption", half),
    ("S6", "the fence device is called within monitor interval + io_timeout + 5 s", called),
    *((scenario, "nothing fails over", stays) for scenario in ("S7", "S11", "S12", "S16")),
    ("S15", "the service comes back by itself", returns),
)


def lines(kept: Sequence[Run]) -> list[str]:
    """Return a line of Markdown for each goal; none where no run is under the recommended profile."""
    if not any(run.profile is Profile.RECOMMENDED for run in kept):
        return []
    return [f"- {scenario}, {goal}: {reach(kept, scenario) or UNKNOWN}" for scenario, goal, reach in GOALS]
