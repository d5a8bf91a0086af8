"""Tasks: the workers that do what a request started, known by their UPID.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .agenda import Steps


class Died(Exception):
    """A worker's end by an error: the text after "TASK ERROR: "."""


@dataclass(eq=False)
class Task:
    """A worker on a node.  `exitstatus` is None while it runs."""

    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    exitstatus: str | None = None
    log: list[str] = field(default_factory=list)
    steps: Steps | None = field(default=None, repr=False)

    @property
    def upid(self) -> str:
        """Return its name (pve-common src/PVE/UPID.pm:18-30)."""
        return f"UPID:{self.node}:{self.pid:08X}:{self.pstart:08X}:{self.starttime:08X}:{self.type}:{self.id}:{self.user}:"

    @property
    def running(self) -> bool:
        return self.exitstatus is None

    def end(self, exitstatus: str, last_line: str = "") -> None:
        """End with what the last line of the log tells (UPID.pm:70-85)."""
        self.exitstatus = exitstatus
        if last_line:
            self.log.append(last_line)

    def kill(self, exitstatus: str = "unexpected status") -> None:
        """End it where it stands.  A worker that is killed writes no last line, which reads as "unexpected status" (UPID.pm:83)."""
        steps, self.steps = self.steps, None
        if self.running:
            self.end(exitstatus)
        if steps is not None:
            steps.close()

    def work(self, steps: Steps) -> Steps:
        """Do the steps and tell how they ended (pve-common src/PVE/RESTEnvironment.pm:640-670)."""
        try:
            yield from steps
        except Died as death:
            self.end(str(death), f"TASK ERROR: {death}")
        else:
            if self.running:
                self.end("OK", "TASK OK")


def is_upid(text: str) -> bool:
    """Tell whether the server can read it as a task's name (UPID.pm:32-58)."""
    pattern = (r"UPID:[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?:[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[0-9A-Fa-f]{8}"
               r":[^:\s/]+:[^:\s/]*:[^:\s/]+:")  # fmt: skip
    return re.fullmatch(pattern, text) is not None
