"""What there is and where: nodes, networks, addresses and LUNs.  Everything else in the lab follows these tables."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

DOMAIN = "lab.example"
TARGET = "iqn.2005-10.org.freenas.ctl:cluster1"
ISCSI_PORT = 3260
VIP = "10.0.5.200"
API_PORT = 8006
FENCE_USER, FENCE_PASSWORD = "pacemaker@pve", "right"
FENCE_TOKEN = ("fence", "0badc0de-0000-4000-8000-000000000000")


@dataclass(frozen=True)
class Network:
    """A layer 2 segment.  `host` is the last octet of whoever is there beside the nodes: the clients or the SAN; 0 is nobody."""

    name: str
    subnet: str
    host: int
    purpose: str

    @property
    def bridge(self) -> str:
        return f"br-{self.name}"

    @property
    def prefix(self) -> int:
        return ipaddress.ip_network(self.subnet).prefixlen

    def address(self, last: int) -> str:
        return str(ipaddress.ip_network(self.subnet)[last])


@dataclass(frozen=True)
class Node:
    """A virtual machine; `number` is the last octet of all its addresses."""

    name: str
    vmid: int
    number: int
    hypervisor: str

    def tap(self, network: Network) -> str:
        return f"{self.name}-{network.name}"

    def mac(self, network: Network) -> str:
        return f"52:54:00:05:{list(NETWORKS).index(network.name):02x}:{self.number:02x}"

    def address(self, network: str) -> str:
        return NETWORKS[network].address(self.number)


@dataclass(frozen=True)
class Lun:
    """A disk of the SAN.  The nodes see it as /dev/mapper/`alias` and /dev/clusterstorage/`name`."""

    name: str
    number: int
    alias: str
    megabytes: int

    @property
    def wwid(self) -> str:
        """Return the identifier that tgtd gives to a LUN of its first target, as multipath writes it."""
        return f"360000000000000000e0000000001{self.number:04x}"


NETWORKS = {
    network.name: network
    for network in (
        Network("lan", "10.0.5.0/24", 1, "clients, the floating address, pcs and the hypervisors"),
        Network("san1", "192.168.2.0/24", 1, "the first way to the storage"),
        Network("san2", "192.168.3.0/24", 1, "the second way to the storage"),
        Network("link", "10.0.6.0/24", 0, "corosync"),
    )
}
STORAGE = (NETWORKS["san1"], NETWORKS["san2"])

NODES = {node.name: node for node in (Node("rhel1", 121, 21, "pve1"), Node("rhel2", 222, 22, "pve2"))}

# The nodes reach the hypervisors through the LAN's host.
HYPERVISORS = {"pve1": "192.168.4.231", "pve2": "192.168.4.232"}

LUNS = {
    lun.name: lun
    for lun in (Lun("cluster1", 1, "mpatha", 2048), Lun("wal", 2, "mpathb", 1024), Lun("tablespace", 3, "mpathc", 1024))
}  # fmt: skip


def portals() -> list[str]:
    return [f"{network.address(network.host)}:{ISCSI_PORT}" for network in STORAGE]


def hosts() -> str:
    """Return /etc/hosts of the nodes."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{node.address('lan')} {node.name} {node.name}.{DOMAIN}" for node in NODES.values()]
    lines += [f"{node.address('link')} {node.name}-link" for node in NODES.values()]
    lines += [f"{address} {name} {name}.{DOMAIN}" for name, address in HYPERVISORS.items()]
    return "\n".join([*lines, f"{VIP} vip", ""])
