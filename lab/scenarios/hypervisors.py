"""Whether the hypervisors' API can be reached: without their addresses its packets go nowhere."""

from __future__ import annotations

import subprocess

from lab.machine import plan
from lab.machine.room import NotSo, Room

INTERFACE = "hypervisors"  # It has their addresses, where the keeper's API listens.
SECONDS = 60.0


def go_away(lab: Room) -> None:
    _ip(lab, "flush", "dev", INTERFACE)


def come_back(lab: Room) -> None:
    for address in plan.HYPERVISORS.values():
        _ip(lab, "replace", f"{address}/24", "dev", INTERFACE)


def _ip(lab: Room, *words: str) -> None:
    """Change the interface's addresses.  Raises NotSo."""
    line = lab.entering(["ip", "address", *words])
    done = subprocess.run(line, env=lab.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise NotSo(f"`ip address {' '.join(words)}` ends with {done.returncode}: {done.stderr.strip()[-300:]}")
