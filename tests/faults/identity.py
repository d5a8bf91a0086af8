"""Whose disk a loop device is: the name of its backing file says it, and the name of its server's process.

Nothing is written down: the name is in sysfs as long as the device is attached, the process name as long as the server lives.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tests.faults import processes

TAG = "ocf-fault-disk"
PATTERN = re.compile(rf"{TAG}\.([a-z0-9-]{{1,16}})\.(\d+)\.([0-9a-f]{{12}})")

# What starts runs in PID namespaces of their own tells them its own namespace in this variable: from there every server of
# the run can be seen, and one that cannot be seen is dead.
ORIGIN = "OCF_LAB_ORIGIN"


@dataclass(frozen=True)
class Identity:
    """The disk's own name, the PID namespace (inode) from which its server can be seen, and a random token."""

    disk: str
    origin: int
    token: str

    @property
    def file(self) -> str:
        return f"{TAG}.{self.disk}.{self.origin}.{self.token}"

    @property
    def process(self) -> str:
        """Return the name of the server and the keeper in /proc: 15 characters are all there is."""
        return f"fd-{self.token}"

    def visible(self) -> bool:
        """Tell whether this process sees the disk's server if it lives."""
        return pid_namespace() == self.origin

    def served(self) -> bool:
        """Tell whether the disk's server or keeper lives, as far as this process sees."""
        return any(processes.name(pid) == self.process and processes.state(pid) not in ("Z", "X", None) for pid in processes.pids())


def fresh(disk: str) -> Identity:
    if not re.fullmatch(r"[a-z0-9-]{1,16}", disk):
        raise ValueError(f"disk name {disk!r}: up to 16 lower case letters, digits and hyphens")
    return Identity(disk, int(os.environ.get(ORIGIN, pid_namespace())), os.urandom(6).hex())


def parse(backing_file: str) -> Identity | None:
    """Return whose disk a backing file is, None for one that is not of this suite."""
    match = PATTERN.fullmatch(os.path.basename(backing_file))
    return Identity(match[1], int(match[2]), match[3]) if match else None


def pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def take_name(identity: Identity) -> None:
    """Give this process the name by which `served` knows it."""
    with open("/proc/self/comm", "w") as file:
        file.write(identity.process)
