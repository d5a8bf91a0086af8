"""The hypervisor's power over the nodes: what the Proxmox stand-in decides, happens to QEMU."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Protocol

from lab.machine import plan
from lab.proxmox.world import World

RIGHTS = ("VM.Audit", "VM.PowerMgmt")


class Powered(Protocol):
    """Hardware with a power button: lab.machine.qemu.Machine."""

    @property
    def node(self) -> plan.Node: ...
    @property
    def pid(self) -> int | None: ...
    def on(self) -> int: ...
    def off(self) -> None: ...
    def reset(self) -> None: ...


class Power:
    """A `Backend` of lab.proxmox over running machines; whoever else powers them does it here too."""

    def __init__(self, machines: Mapping[str, Powered]) -> None:
        self.machines = {machine.node.vmid: machine for machine in machines.values()}
        self.lock = threading.RLock()
        # What was done to whom, in seconds since the epoch: scenarios read it.
        self.history: list[tuple[float, str, str]] = []

    def start(self, vmid: int) -> int:
        with self.lock:
            if self.machines[vmid].pid is None:
                self._note(vmid, "on")
            return self.machines[vmid].on()

    def stop(self, vmid: int) -> None:
        with self.lock:
            if self.machines[vmid].pid is not None:
                self._note(vmid, "off")
            self.machines[vmid].off()

    def reset(self, vmid: int) -> None:
        with self.lock:
            self._note(vmid, "reset")
            self.machines[vmid].reset()

    def running(self, vmid: int) -> int | None:
        with self.lock:
            return self.machines[vmid].pid

    def _note(self, vmid: int, what: str) -> None:
        self.history.append((time.time(), self.machines[vmid].node.name, what))


def world(power: Power) -> World:
    """Return the hypervisors' cluster: each node's guest on its own host, and a user and a token that may fence both."""
    made = World(time.monotonic, power)
    made.qdevice_votes = 1
    for name, address in plan.HYPERVISORS.items():
        made.add_node(name, address)
    made.add_user(plan.FENCE_USER, plan.FENCE_PASSWORD)
    token, secret = plan.FENCE_TOKEN
    made.add_token(plan.FENCE_USER, token, secret)
    for node in plan.NODES.values():
        # The machines' power is their own: the world learns of it when it looks.
        made.add_guest(node.vmid, node.name, node.hypervisor, running=False, stop_seconds=0.5, start_seconds=0.5)
        for who in (plan.FENCE_USER, f"{plan.FENCE_USER}!{token}"):
            made.grant(f"/vms/{node.vmid}", who, *RIGHTS)
    return made
