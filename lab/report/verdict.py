"""What a run fails of what its scenario demands."""

from __future__ import annotations

from lab.report import phases
from lab.report.runs import Fence, Power, Run, Vip


def failings(run: Run) -> tuple[str, ...]:
    """Return a sentence for each demand that the run does not meet; none is good."""
    return (*_service(run), *_fencing(run), *_rows(run))


def _service(run: Run) -> list[str]:
    seen = phases.of(run)
    back = seen.gaps[-1].end if seen.gaps else 0.0
    if not seen.ended:
        stood = seen.open.value if seen.open else ""
        return [f"writes never came back, watched for {run.watched:.0f} s; it stood in: {stood}"]
    return [f"writes came back after {back:.1f} s, the bound is {run.bound.back:g} s"] if back > run.bound.back else []


def _fencing(run: Run) -> list[str]:
    found = []
    fenced = sorted({fence.target for fence in run.of(Fence) if fence.at >= 0})
    if not run.bound.failover and fenced:
        found.append(f"nothing was to fail over, but {', '.join(fenced)} was fenced")
    moved = [vip.node for vip in run.of(Vip) if vip.at >= 0 and vip.node not in (run.active, None)]
    if not run.bound.failover and moved:
        found.append(f"nothing was to fail over, but the VIP went to {moved[0]}")
    if run.bound.spared in fenced:
        found.append(f"{run.bound.spared} was the one that was fenced")
    called = phases.fence_called(run)
    if run.bound.fence_call is not None and (called is None or called > run.bound.fence_call):
        when = "never" if called is None else f"only after {called:.1f} s"
        found.append(f"the fence device was called {when}, the bound is {run.bound.fence_call:g} s")
    return found


def _rows(run: Run) -> list[str]:
    audit = run.audit
    if audit is None:
        return ["the rows could not be read back"]
    counts = {"acknowledged rows lost": audit.lost, "rows there that were never sent or told to have failed": audit.ghosts,
              "rows twice": audit.duplicates, "pairs of servers that wrote in overlapping time": audit.overlaps}  # fmt: skip
    return [f"{count} {what}" for what, count in counts.items() if count]


def power_cycles(run: Run) -> int:
    """Return how often a machine was switched off after the injection."""
    return sum(power.at >= 0 and not power.on for power in run.of(Power))
