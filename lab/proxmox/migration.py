"""Migrations, step by step, with the hand-over from one node to the other.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .agenda import Steps
from .guests import Guest, Run
from .nodes import Node
from .power import loaded, refuse_locked, with_flock
from .tasks import Died, Task

if TYPE_CHECKING:
    from .world import World

# What can go wrong: the transfer breaks and is cleaned up after; or the worker is killed and leaves its lock behind.
ABORTED, KILLED = "aborted", "killed"


def live(world: World, guest: Guest, source: Node, target: Node, task: Task, seconds: float, fails: str) -> Steps:
    """Migrate a running machine.

    The worker holds the guest's lock file on the source from beginning to end (qemu-server src/PVE/QemuMigrate.pm:163-167), so that a
    stop there does not even see the lock "migrate": it waits for the file.  That lock moves with the configuration and is the last thing
    that the worker removes (1719, 1861, 1895-1903): a stop on the target just after the hand-over meets it.
    """

    def migrate() -> Steps:
        refuse_inquorate(source)
        refuse_locked(loaded(world, guest, source), skiplock=False)
        outgoing = guest.run_on(source.name)
        if outgoing is None:
            yield from offline_steps(world, guest, source, target, seconds)
            return
        # phase 1: QemuMigrate.pm:828-837
        guest.change(lock="migrate")
        yield 1.0
        incoming = world.begin(guest, target, qmp="inmigrate")
        handed_over = False
        try:
            # phase 2
            yield from _both_live(outgoing, incoming, seconds)
            if fails == KILLED:
                task.end("unexpected status")
                return
            if outgoing.ended is None and fails != ABORTED:
                outgoing.qmp = "postmigrate"
                yield 0.1
            broken = outgoing.ended is not None or incoming.ended is not None or not source.quorate or target.name not in source.members
            if broken or fails == ABORTED:
                world.end(incoming)
                if source.quorate:
                    guest.change(lock="")  # 1593-1625
                raise Died("migration aborted" if outgoing.ended is None else "migration problems")
            # phase 3: 1719 moves the configuration, 1749-1753 lets the target's process go on, 1861 ends the source's.
            guest.change(node=target.name)
            handed_over = True
            incoming.qmp = "running"
            yield 0.5
            world.end(outgoing)
            yield 0.5
            if guest.lock == "migrate":
                guest.change(lock="")  # 1895-1903
        finally:
            if not handed_over:
                # QEMU that waits for a migration ends when the stream breaks; the source's goes on.
                world.end(incoming)
                if outgoing.ended is None:
                    outgoing.qmp = "running"

    return with_flock(guest, source, task, migrate())


def refuse_inquorate(source: Node) -> None:
    """Refuse without quorum (qemu-server src/PVE/API2/Qemu.pm:5569)."""
    if not source.quorate:
        raise Died("cluster not ready - no quorum?")


def _both_live(outgoing: Run, incoming: Run, seconds: float) -> Steps:
    waited = 0.0
    while waited < seconds and outgoing.ended is None and incoming.ended is None:
        pause = min(0.5, seconds - waited)
        yield pause
        waited += pause


def offline(world: World, guest: Guest, source: Node, target: Node, task: Task, seconds: float) -> Steps:
    """Migrate a stopped guest: nothing but its configuration moves, the disks being on shared storage."""

    def migrate() -> Steps:
        refuse_inquorate(source)
        config = loaded(world, guest, source)
        refuse_locked(config, skiplock=False)
        if guest.run_on(source.name) is not None and config.kind != "lxc":
            # qemu-server src/PVE/QemuMigrate.pm:215
            raise Died("can't migrate running VM without --online")
        yield from offline_steps(world, guest, source, target, seconds)

    return with_flock(guest, source, task, migrate())


def offline_steps(world: World, guest: Guest, source: Node, target: Node, seconds: float) -> Steps:
    """Move the configuration.  A running container is stopped before and started again after (pve-container src/PVE/LXC/Migrate.pm)."""
    guest.change(lock="migrate")
    run = guest.run_on(source.name)
    if run is not None:
        world.end(run)
    yield seconds
    if not source.quorate:
        raise Died("failed to move config file to node: Permission denied")
    guest.change(node=target.name)
    yield 0.5
    guest.change(lock="")
    if run is not None:
        world.begin(guest, target)
