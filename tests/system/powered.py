"""A cluster whose nodes are guests of a modelled Proxmox VE: fencing one cuts its power, and so ends its daemons.

The hypervisors are reached over a cable of their own, so that the cluster's can be cut.
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.proxmox.guests import Memory
from lab.proxmox.server import Standin
from lab.proxmox.world import World
from tests.system.cluster import Cluster
from tests.system.node import NamespacedNode, Node

NETWORK = "198.51.100"  # RFC 5737: for documentation, so nobody's.
HYPERVISORS = {"pve1": f"{NETWORK}.11", "pve2": f"{NETWORK}.12", "pve3": f"{NETWORK}.13"}
HERE, PEER, BYSTANDER = 121, 222, 333
STDERR = re.compile(r"\(log_action\) .*?: fence_pve\[\d+\] stderr: \[ (.*?) \]$", re.MULTILINE)
USER, PASSWORD = "pacemaker@pve", "right"


class Sockets(Memory):
    """Power in memory; what a cluster's node is plugged into goes off with the guest."""

    def __init__(self) -> None:
        super().__init__()
        self.plugged: dict[int, Node] = {}

    def stop(self, vmid: int) -> None:
        super().stop(vmid)
        if vmid in self.plugged:
            self.plugged[vmid].power_off()


class PoweredCluster(Cluster):
    """Two nodes, each a guest on a hypervisor of its own, without a fence device; on a third hypervisor a guest that is no node."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sockets = Sockets()
        self.world = World(time.monotonic, self.sockets)
        for name, address in HYPERVISORS.items():
            self.world.add_node(name, address)
        self.world.add_user(USER, PASSWORD)
        self.standin = Standin(self.world, directory=directory)
        self.devices: list[str] = []
        self.serving = ExitStack()

    def _connect(self) -> None:
        super()._connect()
        assert isinstance(self.peer, NamespacedNode)
        self.here.run("ip", "link", "add", "power", "type", "veth", "peer", "name", "power", "netns", str(self.peer.init))
        addresses = {self.here: [f"{NETWORK}.1", *HYPERVISORS.values()], self.peer: [f"{NETWORK}.2"]}
        for node in self.nodes:
            for address in addresses[node]:
                node.run("ip", "address", "add", f"{address}/24", "dev", "power")
            node.run("ip", "link", "set", "power", "up")
        for vmid, name, hypervisor in ((HERE, self.here.name, "pve1"), (PEER, self.peer.name, "pve2"), (BYSTANDER, "bystander", "pve3")):
            self.world.add_guest(vmid, name, hypervisor)
            self.world.grant(f"/vms/{vmid}", USER, "VM.Audit", "VM.PowerMgmt")
        self.sockets.plugged = {HERE: self.here, PEER: self.peer}
        self.serving.enter_context(self.standin)

    def _make_devices(self) -> None:
        """Make none: each test makes its own."""
        self.pcs("property", "set", "stonith-enabled=true")

    def stop(self) -> None:
        super().stop()
        self.serving.close()
        self.here.run("ip", "link", "delete", "power", check=False)

    def make_device(self, name: str, vmid: int, target: str, *words: str, **options: str) -> None:
        """Make a fence device for a guest, with agent validation, and wait until its first monitor was good."""
        given = {"ip": ",".join(HYPERVISORS.values()), "username": USER, "password": PASSWORD, "plug": str(vmid), "vmtype": "qemu",
                 "ca_file": str(self.standin.ca_file), "pcmk_host_list": target, **options}  # fmt: skip
        self.devices.append(name)
        self.pcs("stonith", "create", name, "fence_pve", *(f"{option}={value}" for option, value in given.items()),
                 *(words or ("op", "monitor", "interval=60s")), "--agent-validation")  # fmt: skip
        self.wait_for(lambda: self.running(name), f"{name} runs", within=60)

    def remove_devices(self) -> None:
        for name in self.devices:
            self.pcs("stonith", "delete", name, "--force")
        self.devices.clear()
        self.wait_for(lambda: not self.listed(), "no device is left", within=60)

    def history(self, target: str) -> list[tuple[str, str]]:
        """Return action and outcome of each fencing of a target, the latest first, as Pacemaker remembers them."""
        shown = ET.fromstring(self.here.run("stonith_admin", "--history", target, "--output-as=xml", "--verbose").stdout)
        return [(event.get("action", ""), event.get("status", "")) for event in shown.iter("fence_event")]

    def said_by_agents(self) -> list[str]:
        """Return what fence agents wrote to standard error so far, on both nodes, as the fencer logged it."""
        return [line.strip() for node in self.nodes for line in STDERR.findall(node.log.read_text(errors="replace"))]

    @contextmanager
    def hypervisor_dead(self, name: str) -> Iterator[None]:
        """Take the power from a hypervisor; its guests are started again when it is back."""
        node = self.world.nodes[name]
        with self.standin.lock:
            node.power = "dead"
        try:
            yield
        finally:
            with self.standin.lock:
                node.power = "on"
                for guest in self.world.guests.values():
                    if guest.node == name and not guest.living():
                        self.world.begin(guest, node)

    def cut(self) -> None:
        """Cut the cable between the nodes; both still reach the hypervisors."""
        self.here.run("ip", "link", "set", "cluster", "down")
