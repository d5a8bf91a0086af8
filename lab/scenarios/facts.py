"""What the lab runs on."""

from __future__ import annotations

import os
import subprocess

from lab import roots
from lab.cluster import configure
from lab.cluster.settings import Setting
from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room
from lab.report.runs import Machine

ASK = "uname -r; dpkg-query -W -f '${Version}\\n' pacemaker postgresql-15 resource-agents"
NAMES = ("kernel", "pacemaker", "postgresql", "resource-agents")


def machine(lab: Room, setting: Setting) -> Machine:
    """Return accelerator, cores, memory and versions, of this project and of what made the cluster too.  Raises NotSo."""
    node = next(iter(plan.NODES.values()))
    done = ssh.run(lab, node, ASK)
    lines = done.stdout.split()
    if len(lines) != len(NAMES):
        raise NotSo(f"{node.name}: versions cannot be told: {(done.stderr or done.stdout).strip()[-300:]}")
    versions = {**dict(zip(NAMES, lines)), "qemu": qemu(lab), "recipe": configure.recipe(setting), "commit": commit()}
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    accelerator = lab.order("status")["nodes"][node.name]["accelerator"]
    return Machine(accelerator, os.cpu_count() or 1, pages >> 20, versions)


def qemu(lab: Room) -> str:
    done = subprocess.run(lab.entering(["qemu-system-x86_64", "--version"]), env=lab.environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    return done.stdout.split("version ", 1)[-1].split()[0] if done.returncode == 0 else "unknown"


def commit() -> str:
    """Return which commit the work tree is, with a + where it was edited since."""
    asked = subprocess.run(["git", "-C", str(roots.TREE), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)  # fmt: skip
    return asked.stdout.strip() or "unknown"
