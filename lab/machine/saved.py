"""Saved disks: what is on the nodes' disks and the LUNs, kept in the cache, so that a lab can begin where another one was."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import roots
from lab.machine import boot, image, plan, room, ssh

# Disks that are saved under new keys again and again would fill the machine's.
KEPT = 3
CLUSTER_SECONDS = 180.0
OFF_SECONDS = 120.0
SAVE_SECONDS = 600.0
# The nodes leave together: one that left first would have the other take its resources over.
STOP_CLUSTER = "! systemctl --quiet is-active corosync || pcs cluster stop --all"


def key(what: str, sources: Path) -> str:
    """Return a key for disks that the sources in a directory have made into what they are: it changes with them."""
    return roots.digest(what, *(path.read_text() for path in sorted(sources.glob("*.py"))))


def find(name: str) -> Path | None:
    """Return the disks that were saved under a name, for `lab.machine.room.start`."""
    saved = image.saved(name)
    return saved if saved.is_dir() else None


def save(lab: room.Room, name: str) -> None:
    """Save the disks of a running lab, with the cluster stopped and both nodes off meanwhile.

    When it returns, both nodes are up again with their storage; the cluster starts, or not, as it does after any boot.  Raises NotSo.
    """
    began = time.monotonic()
    try:
        switch_off(lab)
        roots.say("copying the disks")
        lab.order("save", to=str(room.SAVED), within=SAVE_SECONDS)
    finally:
        for node in plan.NODES:
            lab.order("power", node=node, what="on")
    keep(room.SAVED, image.saved(name))
    boot.await_nodes(lab)
    roots.say(f"the disks are saved; that took {time.monotonic() - began:.0f} s")


def switch_off(lab: room.Room) -> None:
    """Let both nodes shut down in order.  Raises NotSo."""
    one = next(iter(plan.NODES.values()))
    roots.say("stopping the cluster and both nodes")
    done = ssh.run(lab, one, STOP_CLUSTER, CLUSTER_SECONDS)
    if done.returncode:
        raise room.NotSo(f"{one.name}: the cluster does not stop: {(done.stderr or done.stdout).strip()[-500:]}")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: ssh.run(lab, node, "systemctl --no-block poweroff"), plan.NODES.values()))
    until = time.monotonic() + OFF_SECONDS
    while on := [name for name, node in lab.order("status")["nodes"].items() if node["pid"]]:
        if time.monotonic() > until:
            raise room.NotSo(f"{' and '.join(on)} still on {OFF_SECONDS:.0f} s after poweroff")
        time.sleep(0.5)


def keep(half: Path, saved: Path) -> None:
    """Take a directory of disks into the cache, and let the oldest ones go."""
    with roots.locked("machine"):
        shutil.rmtree(saved, ignore_errors=True)
        half.rename(saved)
        for old in sorted(roots.CACHE.glob("machine-saved-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
