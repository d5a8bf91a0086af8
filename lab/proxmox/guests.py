"""Guests: their configuration in the cluster file system, and the processes that run them."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

# At which word a process goes: QMP's quit, SIGTERM, SIGKILL, or none, as in uninterruptible sleep.
QUIT, SIGTERM, SIGKILL, NEVER = "quit", "SIGTERM", "SIGKILL", "never"


class Backend(Protocol):
    """Real power.  The modelled cluster decides when; this does it, and says what runs."""

    def start(self, vmid: int) -> int:
        """Start the guest and return its process."""

    def stop(self, vmid: int) -> None: ...
    def reset(self, vmid: int) -> None: ...
    def running(self, vmid: int) -> int | None:
        """Return the guest's process, None when there is none: a guest may also end by itself."""


class Memory:
    """Power in memory."""

    def __init__(self) -> None:
        self.pids: dict[int, int] = {}
        self.last = 31000

    def start(self, vmid: int) -> int:
        self.last += 7
        self.pids[vmid] = self.last
        return self.last

    def stop(self, vmid: int) -> None:
        self.pids.pop(vmid, None)

    def reset(self, vmid: int) -> None: ...

    def running(self, vmid: int) -> int | None:
        return self.pids.get(vmid)


@dataclass(eq=False)
class Run:
    """One process of a guest, from its beginning to its end, in the seconds of the world's clock."""

    node: str
    pid: int
    began: float
    ended: float | None = None
    # What QEMU says of itself: running, inmigrate (waits for a migration's data), postmigrate (has given its data away).
    qmp: str = "running"
    vmid: int = 0
    # Whether the node knows of it: its pid file is there.
    known: bool = True

    def lived_at(self, moment: float) -> bool:
        return self.began <= moment and (self.ended is None or moment < self.ended)


@dataclass(frozen=True)
class Reset:
    node: str
    pid: int
    at: float


@dataclass(frozen=True)
class Config:
    """What the cluster file system holds of a guest: the file's directory says which node owns it."""

    node: str
    kind: str
    name: str
    uuid: str
    template: bool = False
    lock: str = ""
    # HA: the requested state ("" = not managed; started, stopped, disabled, ignored), and what the manager has made of it.
    ha: str = ""
    ha_state: str = ""


@dataclass
class Guest:
    """A guest.  `config` is what the quorate part of the cluster knows; a node without quorum may know less (Node.frozen).

    Faults, settable at any time: `lock`; `dies_at` (QUIT, SIGTERM, SIGKILL, NEVER); `stop_lies` (the task says OK and the process
    lives); `silent` (QEMU's monitor does not answer); `start_fails` (text of the error); `storage_holds` False (see power.qmstop).
    """

    vmid: int
    config: Config
    stop_seconds: float = 1.0
    start_seconds: float = 2.0
    memory: int = 4 << 30
    cpus: int = 2
    stop_lies: bool = False
    dies_at: str = QUIT
    silent: bool = False
    storage_holds: bool = True
    start_fails: str = ""
    runs: list[Run] = field(default_factory=list)
    resets: list[Reset] = field(default_factory=list)
    # Seconds after which the guest obeys a graceful shutdown, None: never.
    shutdown_seconds: float | None = None
    # Nodes on which something holds the guest's lock file, and what.
    flocks: dict[str, object] = field(default_factory=dict)
    later: Callable[[float, Callable[[], None]], object] = field(default=lambda seconds, do: None, repr=False)

    def change(self, **what: object) -> None:
        self.config = replace(self.config, **what)  # type: ignore[arg-type]  # the fields' names are checked by replace() itself

    @property
    def node(self) -> str:
        return self.config.node

    @node.setter
    def node(self, node: str) -> None:
        self.change(node=node)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def lock(self) -> str:
        return self.config.lock

    @lock.setter
    def lock(self, lock: str) -> None:
        self.change(lock=lock)

    @property
    def ha(self) -> str:
        return self.config.ha

    @ha.setter
    def ha(self, requested: str) -> None:
        self.change(ha=requested, ha_state=self.config.ha_state or requested)

    @property
    def sid(self) -> str:
        return f"{'ct' if self.config.kind == 'lxc' else 'vm'}:{self.vmid}"

    def locks_for(self, kind: str, seconds: float) -> None:
        """Lock the guest for a while: "flock" holds the lock file on its node, any other kind stands in its configuration.

        Who wants to lock the configuration gives up when it is locked, or when the lock file is held for longer.
        """
        if kind == "flock":
            node, holder = self.node, object()
            self.flocks[node] = holder
            self.later(seconds, lambda: self.unlock_file(node, holder))
        elif not self.lock and not self.flocks.get(self.node):
            self.lock = kind
            self.later(seconds, lambda: self.change(lock="") if self.lock == kind else None)

    def unlock_file(self, node: str, holder: object) -> None:
        if self.flocks.get(node) is holder:
            del self.flocks[node]

    def run_on(self, node: str) -> Run | None:
        """Return the guest's living process that a node knows of."""
        return next((run for run in self.runs if run.node == node and run.ended is None and run.known), None)

    def living(self) -> list[Run]:
        return [run for run in self.runs if run.ended is None]


def made_up_uuid(vmid: int) -> str:
    return str(uuids.uuid5(uuids.NAMESPACE_OID, str(vmid)))
