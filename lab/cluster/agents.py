"""The agents on the nodes: the distribution's, and ours from the work tree."""

from __future__ import annotations

import subprocess

from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room
from lab.report.runs import Agents

STAGE = "/run/agents"
# Both have the same name, and stonith finds it in one place only.
STOCK_FENCE = "/usr/share/ocf-lab/stock/fence_pve"
KEEP_STOCK = f"test -e {STOCK_FENCE} || install -D /usr/sbin/fence_pve {STOCK_FENCE}"
INSTALL_SECONDS = 120.0


def install(lab: Room, agents: Agents) -> None:
    """Give the nodes these agents.  Raises NotSo."""
    if agents is Agents.LAB:
        making = ["make", "--silent", "-C", "/src", "install", f"DESTDIR={STAGE}"]
        made = subprocess.run(lab.entering(making), env=lab.environment(), capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if made.returncode:
            raise NotSo(f"the agents cannot be installed from the work tree: {made.stderr.strip()[-300:]}")
    for node in plan.NODES.values():
        if agents is Agents.LAB:
            receiving = " ".join(ssh.command(node, [f"'{KEEP_STOCK} && tar -C / -x && sync'"], INSTALL_SECONDS))
            sending = lab.entering(["sh", "-c", f"tar -C {STAGE} -c . | {receiving}"])
            done = subprocess.run(sending, env=lab.environment(), capture_output=True, text=True, timeout=INSTALL_SECONDS + 15)
        else:
            done = ssh.run(lab, node, f"{KEEP_STOCK}; install {STOCK_FENCE} /usr/sbin/fence_pve; sync", INSTALL_SECONDS)
        if done.returncode:
            raise NotSo(f"{node.name}: the {agents.value} agents cannot be installed: {done.stderr.strip()[-300:]}")
