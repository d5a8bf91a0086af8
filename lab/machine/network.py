"""The networks: a bridge each, with a tap for every node's cable.  All of it is in the namespace of who calls this."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.machine import plan


def making() -> list[str]:
    """Return the `ip` commands that make all networks, without their first word."""
    lines = ["link set lo up"]
    for network in plan.NETWORKS.values():
        lines += [f"link add {network.bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0", f"link set {network.bridge} up"]
        if network.host:
            lines.append(f"address add {network.address(network.host)}/{network.prefix} dev {network.bridge}")
        for node in plan.NODES.values():
            tap = node.tap(network)
            lines += [f"tuntap add dev {tap} mode tap", f"link set {tap} master {network.bridge}", f"link set {tap} up"]
    # A bridge without ports is what every kernel has that has bridges; `dummy` is a module of its own.
    lines += ["link add hypervisors type bridge", "link set hypervisors up"]
    lines += [f"address add {address}/24 dev hypervisors" for address in plan.HYPERVISORS.values()]
    return lines


def make() -> None:
    """Make all networks.  Raises CalledProcessError."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    batch(making())


def cable(node: plan.Node, network: plan.Network, plugged: bool) -> None:
    """Pull a node's cable or plug it in.  The node's own interface keeps its carrier, as behind a virtual switch whose uplink is gone."""
    batch([f"link set {node.tap(network)} {'up' if plugged else 'down'}"])


def plugged() -> dict[str, bool]:
    """Tell of every tap whether its cable is in.  /sys would show the interfaces of another namespace."""
    answer = subprocess.run(["ip", "-json", "link"], stdout=subprocess.PIPE, text=True, check=True, timeout=20).stdout
    return {link["ifname"]: "UP" in link["flags"] for link in json.loads(answer)}


def batch(lines: Iterable[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)
