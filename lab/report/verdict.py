"""What a run fails of what its scenario demands."""

from __future__ import annotations

from lab.report import phases
from lab.report.runs import Call, Fault, Fence, Power, Run, Step, Vip

OWN_SECONDS = 5.0  # What the hypervisor tells of a deed of the scenario's is no further from it.


def failings(run: Run) -> tuple[str, ...]:
    """Return a sentence for each demand that the run does not meet; none is good."""
    return (*_service(run), *_resources(run), *_fencing(run), *_rows(run))


def _service(run: Run) -> list[str]:
    """Both streams are to flow at the end, and to have done so soon enough."""
    seen, streams = phases.of(run), phases.gaps(run.writes, run.machine.accelerator)
    if seen.open:
        never = [session for session, found in streams.items() if found and not found[-1].ended]
        who = "writes" if len(never) == len(streams) else f"writes of {phases.STREAMS[never[0]]}"
        return [f"{who} never came back, watched for {run.watched:.0f} s; it stood in: {seen.open.value}"]
    back = max((found[-1].end for found in streams.values() if found), default=0.0)
    return [f"writes came back after {back:.1f} s, the bound is {run.bound.back:g} s"] if back > run.bound.back else []


def _resources(run: Run) -> list[str]:
    noticed = phases.noticed(run.events)
    found = [] if run.bound.noticed is None else _late("the cluster noticed", noticed, run.bound.noticed)
    if not run.bound.in_place:
        calls = [call for call in run.of(Call) if (call.at >= 0 and call.action == "stop") or (call.failed and (call.ended or 0.0) >= 0)]
        done = dict.fromkeys(f"{call.resource} {call.action} on {call.node}{' failed' if call.failed else ''}" for call in calls)
        found += [f"nothing of the service was to be disturbed, but: {', '.join(done)}"] if done else []
    return found


def _late(what: str, moment: float | None, bound: float) -> list[str]:
    if moment is not None and moment <= bound:
        return []
    return [f"{what} {'never' if moment is None else f'only after {moment:.1f} s'}, the bound is {bound:g} s"]


def failed_over(run: Run) -> list[str]:
    """Return what went away from where it was: nodes that were fenced, and where the VIP went."""
    fenced = _fenced(run)
    moved = [vip.node for vip in run.of(Vip) if vip.at >= 0 and vip.node not in (run.active, None)]
    return ([f"{', '.join(fenced)} was fenced"] if fenced else []) + ([f"the VIP went to {moved[0]}"] if moved else [])


def _fenced(run: Run) -> list[str]:
    return sorted({fence.target for fence in run.of(Fence) if fence.at >= 0})


def _fencing(run: Run) -> list[str]:
    found = [] if run.bound.failover else [f"nothing was to fail over, but {what}" for what in failed_over(run)]
    if run.bound.spared in _fenced(run):
        found.append(f"{run.bound.spared} was the one that was fenced")
    if run.bound.named and not any(fence.step is Step.FAILED and fence.at >= 0 and fence.reason.strip() for fence in run.of(Fence)):
        found.append("no fencing was told to have failed, with a reason")
    if run.bound.fence_call is not None:
        found += _late("the fence device was called", phases.fence_called(run), run.bound.fence_call)
    return found


def _rows(run: Run) -> list[str]:
    audit = run.audit
    if audit is None:
        return ["the rows could not be read back"]
    counts = {"acknowledged rows lost": audit.lost, "rows there that were never sent or told to have failed": audit.ghosts,
              "rows twice": audit.duplicates, "pairs of servers that wrote in overlapping time": audit.overlaps}  # fmt: skip
    return [f"{count} {what}" for what, count in counts.items() if count]


def power_cycles(run: Run) -> int:
    """Return how often a machine was switched off after the injection, leaving out what the scenario itself did."""
    offs = [power for power in run.of(Power) if power.at >= 0 and not power.on]
    for fault in run.of(Fault):
        own = [power for power in offs if fault.what == f"{power.node}: powered off" and abs(power.at - fault.at) <= OWN_SECONDS]
        if own:
            offs.remove(own[0])
    return len(offs)
