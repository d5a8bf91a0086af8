"""The agents on the nodes: the distribution's, and ours in packages of the work tree."""

from __future__ import annotations

import subprocess

from lab import packages
from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room
from lab.report.runs import Agents

# Both have the same name, and stonith finds it in one place only.
STOCK_FENCE = "/usr/share/ocf-lab/stock/fence_pve"
KEEP_STOCK = f"test -e {STOCK_FENCE} || install -D /usr/sbin/fence_pve {STOCK_FENCE}"
# Debian's rpm wants to be told that it is meant; what packages of RHEL require has other names here.
RPM = "rpm --force-debian --dbpath /var/lib/rpm"
RECEIVED = "/run/lab-packages"
UNPACK = f"rm -rf {RECEIVED} && mkdir {RECEIVED} && tar -C {RECEIVED} -x"
TAKE = f"{KEEP_STOCK} && {UNPACK} && {RPM} --upgrade --force --nodeps {RECEIVED}/*.rpm && sync"
NAMES = ("python3-ocf-py", "resource-agents-lab", "fence-agents-lab-pve")
GIVE_BACK = f"{KEEP_STOCK}; {RPM} --erase {' '.join(NAMES)} 2>/dev/null; install {STOCK_FENCE} /usr/sbin/fence_pve && sync"
INSTALL_SECONDS = 120.0


def install(lab: Room, agents: Agents) -> None:
    """Give the nodes these agents.  Raises NotSo."""
    shell, parcel = GIVE_BACK, b""
    if agents is Agents.LAB:
        directory = packages.packages()
        names = [path.name for path in directory.glob("*.rpm")]
        shell, parcel = TAKE, subprocess.run(["tar", "-C", str(directory), "-c", *names], capture_output=True, check=True).stdout
    for node in plan.NODES.values():
        line = lab.entering(ssh.command(node, [shell], INSTALL_SECONDS))
        done = subprocess.run(line, env=lab.environment(), input=parcel, capture_output=True, timeout=INSTALL_SECONDS + 15)
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()[-300:]
            raise NotSo(f"{node.name}: the {agents.value} agents cannot be installed: {why}")
