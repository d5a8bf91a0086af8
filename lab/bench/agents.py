"""Agents as pacemaker-execd calls them, and what they are compared with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.bench import cost
from ocf_py.testing import profiles

AGENTS = Path("/usr/lib/ocf/resource.d")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BASE = cost.Command("base", ("/usr/bin/python3", "-I", "-c", "pass"), {"PATH": PATH})
TIMEOUT = 60.0
COMMAND = 15  # The kernel keeps so many characters of a process's name.


def called(
    name: str, agent: Path, action: str, parameters: Mapping[str, str], *, instance: str, level: int | None = None, interval: float = 0.0,
    codes: Sequence[int] = (0,), leaves: bool = False,
) -> cost.Command:  # fmt: skip
    """Return an action with the environment that pacemaker-execd gives it."""
    request = profiles.Request(agent=agent, action=action, instance=instance, provider=agent.parent.name, node="node1", timeout=TIMEOUT,
                               interval=interval, level=level, log_file=Path("/var/log/pacemaker.log"), parameters=parameters)  # fmt: skip
    return cost.Command(name, (str(agent), action), profiles.PROFILES["execd"].environment(request), codes, leaves)


def stuck(agent: Path) -> int:
    """Return the number of processes of an agent that sleep uninterruptibly."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        except OSError:
            continue
        found += head.endswith(f"({agent.name[:COMMAND]}") and tail.split()[0] == "D"
    return found
