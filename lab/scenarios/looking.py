"""Looking at a cluster whose fault is there, until it has come to rest."""

from __future__ import annotations

import time

from lab import roots
from lab.report.runs import Call, Event, Fence, Power, Step
from lab.scenarios import catalogue
from lab.scenarios.catalogue import Play
from lab.scenarios.client import Client
from lab.scenarios.stage import Stage
from lab.watch import Watch

STEADY_SECONDS = 15.0  # Writes that have been acknowledged for so long are back.
LOOK_SECONDS, TELL_SECONDS = 3.0, 15.0
CLOCKS = 2.0  # The stamps of what happens at once on a node and beside it differ by no more.


def look(play: Play, stage: Stage, client: Client, watch: Watch) -> None:
    """Look at the cluster until the service is back and nobody is about to be fenced, taking the fault back when its time has come."""
    assert stage.injected is not None
    assert stage.moment is not None
    events: tuple[Event, ...] = ()
    looked = told = stage.injected
    while True:
        now = time.monotonic()
        client.look()
        if now - looked >= LOOK_SECONDS:
            looked, events = now, watch.events(stage.moment)
        since = now - stage.injected
        if not stage.whole and (since >= play.mended or (play.mended_when_fenced and fenced(events))):
            stage.mend()
        if since >= play.watch or (since >= play.least and over(play, stage, since, client.flow.steady(now), events)):
            return
        if now - told >= TELL_SECONDS:
            told = now
            roots.say(f"{play.ident}: {since:.0f} s after the fault: {where(client.flow.steady(now), client.flow.silent(now), events)}")
        time.sleep(0.5)


def unrest(events: tuple[Event, ...]) -> str:
    """Return what the cluster had to answer before the fault, which nobody had made yet; "" where there was nothing."""
    failed = [f"{event.action} of {event.resource} failed on {event.node}: {event.reason or event.code}"
              for event in events if isinstance(event, Call) and event.failed and event.at < 0]  # fmt: skip
    return "; ".join([*failed, *(f"{event.target} was to be fenced" for event in events if isinstance(event, Fence) and event.at < 0)])


def over(play: Play, stage: Stage, since: float, steady: float, events: tuple[Event, ...]) -> bool:
    """Tell whether the service is back, nobody is to be fenced, and the scenario has done all that it does.

    Writes that have been acknowledged until a node was switched off say nothing of what comes of that.
    """
    quiet = since - max((event.at for event in events if isinstance(event, (Fence, Power))), default=-STEADY_SECONDS)
    return min(steady, quiet) >= STEADY_SECONDS and not pending(events) and (play.mended > play.watch or stage.whole)


def fences(events: tuple[Event, ...]) -> dict[str, Fence]:
    """Return how far the last fencing of each node is."""
    steps = sorted((event for event in events if isinstance(event, Fence) and event.at >= 0), key=lambda event: event.at)
    return {event.target: event for event in steps}


def pending(events: tuple[Event, ...]) -> list[str]:
    """Return the nodes that are being fenced.  What a node asked for and did not live to see is not."""
    off = [event for event in events if isinstance(event, Power) and not event.on]
    return [target for target, last in fences(events).items() if last.step is not Step.CONFIRMED
            and not any(last.source.endswith(f" {power.node}") and power.at >= last.at - CLOCKS for power in off)]  # fmt: skip


def fenced(events: tuple[Event, ...]) -> bool:
    """Tell whether a node has been fenced: it is off by then, be the cluster told of it or not."""
    off = any(isinstance(event, Power) and not event.on and event.at >= 0 for event in events)
    return off or any(last.step is Step.CONFIRMED for last in fences(events).values())


def where(steady: float, silent: float | None, events: tuple[Event, ...]) -> str:
    """Return how it stands, for who waits."""
    if steady:
        words = f"writes have been acknowledged for {steady:.0f} s"
    else:
        words = "not all writes are acknowledged" if silent is not None and silent < 1 else f"nothing acknowledged for {silent or 0:.0f} s"
    return words + "".join(f"; fencing of {target}: {last.step.value}" for target, last in fences(events).items())


def named(play: Play, events: tuple[Event, ...]) -> list[str]:
    """Return what the cluster said of fencings that failed, which a scenario without a fence device must show."""
    reasons = sorted({event.reason or "no reason" for event in events if isinstance(event, Fence) and event.step is Step.FAILED})
    if reasons:
        return [f"fencing failed: {', '.join(reasons)}"]
    return ["the cluster named no failed fencing"] if play.inject is catalogue.power_off_unseen else []
