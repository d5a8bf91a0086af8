"""SIGKILL at random instants: what Pacemaker does to a cancelled monitor, and a timeout or an operator to anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .executor import Executor, Result

# Kills come up to so much later than the action's usual end, so that its last instructions are hit as well.
BEYOND = 1.05


class NotRecovered(AssertionError):
    """After a killed action the resource could not be stopped and started again."""


@dataclass(frozen=True)
class Sweep:
    """What became of a sweep: `hits` of the kills came before the action's own end."""

    action: str
    kills: int
    hits: int
    duration: float


def sweep(
    node: Executor, action: str, kills: int, *, seed: int = 0, timeout: float | None = None, prepare: Callable[[], object] | None = None,
    verify: Callable[[], object] | None = None,
) -> Sweep:  # fmt: skip
    """Kill `action` at `kills` random instants; after each, stop and start have to succeed.

    Every action but start begins with the resource running.  `prepare` is called before each kill (to promote, say), `verify` after
    the stop that follows it, when nothing of the resource may be left.  Raises NotRecovered, which names the instant.
    """
    instants = random.Random(seed)

    def succeed(name: str, when: str) -> Result:
        result = node.call(name, timeout=timeout, check=False)
        if result.code != 0:
            raise NotRecovered(f"{when}: {result}")
        return result

    succeed("stop", "before the first kill")
    durations = []
    for _ in range(3):
        if action != "start":
            succeed("start", "before the first kill")
        if prepare:
            prepare()
        durations.append(node.call(action, timeout=timeout, check=False).seconds)
        succeed("stop", f"after an undisturbed {action}")
    duration, hits = sorted(durations)[1], 0
    for number in range(kills):
        after = instants.uniform(0, duration * BEYOND)
        when = f"kill {number + 1} of {kills}, {after * 1000:.1f} ms into {action}"
        if action != "start":
            succeed("start", f"before {when}")
        if prepare:
            prepare()
        killed = node.kill_after(after, action, timeout=timeout)
        if killed.status < 0:
            hits += 1
        else:
            # Too late: it takes less time than it did, and so the next kills would come too late as well.
            duration = killed.seconds
        succeed("stop", f"after {when}")
        if verify:
            verify()
        if action == "start":
            succeed("start", f"after {when} and a stop")
            succeed("stop", f"after {when}, a stop and a start")
    if action != "start":
        succeed("start", "after the last kill")
        succeed("stop", "after the last kill and a start")
    return Sweep(action, kills, hits, duration)
