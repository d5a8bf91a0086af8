"""Hypervisors of the modelled cluster: power, network, and what each of them knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from .guests import Config

# How a client's connection to a node, or a node's to another, ends.
ANSWERS, BLACK_HOLE, NO_ROUTE, REFUSING = "up", "black hole", "unreachable", "refusing"


@dataclass(frozen=True)
class Sample:
    """A guest's numbers as the owning node's pvestatd told them last."""

    told: float
    name: str
    status: str
    template: bool
    booted: float | None
    memory: int
    cpus: int


@dataclass(eq=False)
class Node:
    """A hypervisor.

    Faults, settable at any time:
    `power` "on" or "dead" (no guest lives on; nobody answers); `api` "up", "black hole", "unreachable", "refusing" (pveproxy alone, seen
    by clients and by other nodes); `daemon` "up", "refusing", "hung" (pvedaemon: protected calls only); `slow` seconds that each answer
    takes longer; `isolated` (cut from the cluster's network, while clients still reach it); `corosync` False (it has not come up since
    the node booted: the node tells of no member but itself, pve-cluster src/pmxcfs/status.c, PVE/API2/Cluster.pm); `watchdog` False (a
    softdog that does not fire); `clock_skew` seconds that its wall clock is ahead.
    """

    name: str
    address: str
    nodeid: int
    votes: int = 1
    # Told when power ("on", "dead"), isolation ("isolated") or "corosync" changed.
    changed: Callable[[Node, str], None] = field(default=lambda node, what: None, repr=False)
    api: str = ANSWERS
    daemon: str = ANSWERS
    slow: float = 0.0
    watchdog: bool = True
    clock_skew: float = 0.0
    fingerprint: str = ""
    booted: float = 0.0
    # Since when it has no quorum, what the cluster file system held then, and which nodes it sees.
    inquorate_since: float | None = None
    frozen: dict[int, Config] | None = None
    members: frozenset[str] = frozenset()
    samples: dict[int, Sample] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    _power: str = "on"
    _isolated: bool = False
    _corosync: bool = True

    def __post_init__(self) -> None:
        if not self.fingerprint:
            digest = hashlib.sha256(self.name.encode()).hexdigest().upper()
            self.fingerprint = ":".join(digest[at : at + 2] for at in range(0, 64, 2))

    @property
    def power(self) -> str:
        return self._power

    @power.setter
    def power(self, power: str) -> None:
        if power != self._power:
            self._power = power
            self.changed(self, power)

    @property
    def isolated(self) -> bool:
        return self._isolated

    @isolated.setter
    def isolated(self, isolated: bool) -> None:
        if isolated != self._isolated:
            self._isolated = isolated
            self.changed(self, "isolated")

    @property
    def corosync(self) -> bool:
        return self._corosync

    @corosync.setter
    def corosync(self, corosync: bool) -> None:
        if corosync != self._corosync:
            self._corosync = corosync
            self.changed(self, "corosync")

    @property
    def on(self) -> bool:
        return self._power == "on"

    @property
    def quorate(self) -> bool:
        return self.inquorate_since is None

    @property
    def reach(self) -> str:
        """Return how a client's connection fares: "up", "black hole" (nothing answers), "unreachable" or "refusing"."""
        if self.on:
            return self.api
        return NO_ROUTE if self.api == NO_ROUTE else BLACK_HOLE
