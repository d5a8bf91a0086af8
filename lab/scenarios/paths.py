"""Which way the I/O of a node takes to its storage."""

from __future__ import annotations

import re

from lab.machine import plan
from lab.machine.room import NotSo

# Debian's multipath groups paths for failover: all I/O takes the one group that is active.
SHOW = (
    f"multipath -ll {plan.LUNS['cluster1'].alias}; for disk in /sys/block/sd*; do readlink -f $disk; done; "
    "grep -H . /sys/class/iscsi_connection/*/persistent_address"
)
ACTIVE = re.compile(r"status=active\n\W*[\d:]+ (\w+) ")


def in_use(told: str) -> str:
    """Return the network of the path in use, from what SHOW prints.  Raises NotSo."""
    disk = ACTIVE.search(told)
    session = disk and re.search(rf"/session(\d+)/.*/block/{disk[1]}$", told, re.MULTILINE)
    address = session and re.search(rf"/connection{session[1]}:\d+/persistent_address:(\S+)$", told, re.MULTILINE)
    for network in plan.STORAGE:
        if address and address[1] == network.address(network.host):
            return network.name
    raise NotSo(f"the path in use cannot be told from:\n{told}")


def other(network: str) -> str:
    """Return the network of the idle path."""
    return next(each.name for each in plan.STORAGE if each.name != network)
