"""Saved disks: what is on the nodes' disks and the LUNs, kept in the cache, so that a lab can begin where another one was."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import roots
from lab.machine import image, plan, room, ssh

# Disks that are saved under new keys again and again would fill the machine's.
KEPT = 3
SYNC_SECONDS = 60.0
SAVE_SECONDS = 600.0


def find(name: str) -> Path | None:
    """Return the disks that were saved under a name, for `lab.machine.room.start`."""
    saved = image.saved(name)
    return saved if saved.is_dir() else None


def save(lab: room.Room, name: str) -> None:
    """Save the disks of a running lab.  Who begins with them finds what a power cut would have left at that moment.  Raises NotSo."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        for node, done in zip(plan.NODES, pool.map(lambda node: ssh.run(lab, node, "sync", SYNC_SECONDS), plan.NODES.values())):
            if done.returncode:
                raise room.NotSo(f"{node}: its disk cannot be synced: {(done.stderr or done.stdout).strip()[-500:]}")
    lab.order("save", to=str(room.SAVED), within=SAVE_SECONDS)
    keep(room.SAVED, image.saved(name))
    roots.say(f"the disks are saved; that took {time.monotonic() - began:.0f} s")


def keep(half: Path, saved: Path) -> None:
    """Take a directory of disks into the cache, and let the oldest ones go."""
    with roots.locked("machine"):
        shutil.rmtree(saved, ignore_errors=True)
        half.rename(saved)
        for old in sorted(roots.CACHE.glob("machine-saved-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
