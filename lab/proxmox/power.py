"""What the workers of a guest's power do, step by step: stop, start, reset, shutdown, and the requests handed to HA.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .agenda import Steps
from .guests import NEVER, QUIT, SIGTERM, Config, Guest, Run
from .nodes import Node
from .tasks import Died, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World

    # What does the work of a task: its steps, for a guest on a node.
    Worker = Callable[[World, Guest, Node, Task], Steps]

# pve-guest-common src/PVE/AbstractConfig.pm:327-331: how long a worker waits for the guest's lock file.
FLOCK_SECONDS = 10.0
# qemu-server src/PVE/QemuServer.pm:6282 and 6315: seconds from quit to SIGTERM, and from there to SIGKILL.
QUIT_SECONDS, TERM_SECONDS = 60.0, 10.0
# qemu-server src/PVE/QMPClient.pm:168: after this an unanswered command has failed.
MONITOR_SECONDS = 5.0


def lock_file(guest: Guest) -> str:
    """Return its path (qemu-server src/PVE/QemuConfig.pm:61-65, pve-container src/PVE/LXC/Config.pm:53-57)."""
    if guest.config.kind == "lxc":
        return f"/run/lock/lxc/pve-config-{guest.vmid}.lock"
    return f"/var/lock/qemu-server/lock-{guest.vmid}.conf"


def config_path(kind: str, node: str, vmid: int) -> str:
    return f"nodes/{node}/{'lxc' if kind == 'lxc' else 'qemu-server'}/{vmid}.conf"


def with_flock(guest: Guest, node: Node, task: Task, steps: Steps) -> Steps:
    """Do the steps while holding the lock file (pve-common src/PVE/Tools.pm:203-272; every worker here begins so)."""
    waited = 0.0
    while node.name in guest.flocks:
        if waited >= FLOCK_SECONDS:
            raise Died(f"can't lock file '{lock_file(guest)}' - got timeout")
        if not waited:
            task.log.append("trying to acquire lock...")
        yield 0.1
        waited = round(waited + 0.1, 1)
    guest.flocks[node.name] = task
    try:
        yield from steps
    finally:
        guest.unlock_file(node.name, task)


def loaded(world: World, guest: Guest, node: Node) -> Config:
    """Return the configuration as a node reads it (pve-guest-common src/PVE/AbstractConfig.pm:49-60)."""
    config = world.config(node, guest.vmid)
    if config is None or config.node != node.name:
        raise Died(f"Configuration file '{config_path(guest.config.kind, node.name, guest.vmid)}' does not exist")
    return config


def refuse_locked(config: Config, skiplock: bool, *allowed: str) -> None:
    """Refuse a locked guest (AbstractConfig.pm:336-340)."""
    if config.lock and not skiplock and config.lock not in allowed:
        raise Died(f"{'CT' if config.kind == 'lxc' else 'VM'} is locked ({config.lock})")


def gone_within(run: Run, seconds: float) -> Steps:
    """Look every second whether the process is gone."""
    waited = 0.0
    while waited < seconds and run.ended is None:
        yield 1.0
        waited += 1.0


def qmstop(world: World, guest: Guest, node: Node, task: Task, skiplock: bool = False, timeout: float | None = None) -> Steps:
    """Stop a virtual machine (qemu-server src/PVE/QemuServer.pm:6251-6373): quit, SIGTERM, SIGKILL, OK without another look.

    After SIGKILL comes the cleanup, whether the process is gone or not (6195-6231).  It deactivates the disks first
    (pve-storage src/PVE/Storage.pm:1415-1438); LVM refuses that while the process holds them (Storage/LVMPlugin.pm:1047-1058), and the
    cleanup ends there.  Most other storages have nothing to deactivate (Storage/Plugin.pm:2062): the pid file is removed, and from then
    on the node says "stopped" of a process that lives, in uninterruptible sleep.  No client of the API can tell.
    """

    def stop() -> Steps:
        config = world.config(node, guest.vmid)
        if config is None or config.node != node.name:
            # qemu-server src/PVE/QemuConfig.pm:36-47, through check_running
            raise Died(f"unable to find configuration file for VM {guest.vmid} on node '{node.name}'")
        run = guest.run_on(node.name)
        if run is None:
            return
        refuse_locked(config, skiplock)
        if guest.stop_lies:
            yield 1.0
            return
        if guest.silent:
            yield MONITOR_SECONDS
            task.log.append("VM quit/powerdown failed - terminating now with SIGTERM")
        else:
            if guest.dies_at == QUIT:
                world.at(guest.stop_seconds, lambda: world.end(run))
            yield from gone_within(run, QUIT_SECONDS if timeout is None else timeout)
            if run.ended is not None:
                return
            task.log.append("VM still running - terminating now with SIGTERM")
        if guest.dies_at in {QUIT, SIGTERM}:
            world.at(0.2, lambda: world.end(run))
        yield from gone_within(run, TERM_SECONDS)
        if run.ended is not None:
            return
        task.log.append("VM still running - terminating now with SIGKILL")
        if guest.dies_at != NEVER:
            world.end(run)
        yield 1.0
        run.known = guest.storage_holds

    return with_flock(guest, node, task, stop())


def _begin(world: World, guest: Guest, node: Node) -> Steps:
    """Begin a guest's process, as its start does once nothing speaks against it."""
    if any(run.node == node.name for run in guest.living()):
        # A process that the node has forgotten still is in its systemd scope (QemuServer.pm:5760).
        yield 20.0
        raise Died("timeout waiting on systemd")
    if guest.start_fails:
        yield guest.start_seconds
        raise Died(guest.start_fails)
    try:
        world.begin(guest, node)
    except OSError as error:
        raise Died(f"start failed: {error}") from None
    yield guest.start_seconds


def qmstart(world: World, guest: Guest, node: Node, task: Task, skiplock: bool = False) -> Steps:
    """Start a virtual machine (qemu-server src/PVE/QemuServer.pm:5504-5547)."""

    def start() -> Steps:
        config = loaded(world, guest, node)
        if config.template:
            raise Died("you can't start a vm if it's a template")
        running = guest.run_on(node.name)
        if config.lock == "backup" and running:
            return  # resumed: the backup's QEMU is the guest's
        refuse_locked(config, skiplock, "suspended")
        if running:
            raise Died(f"VM {guest.vmid} already running")
        yield from _begin(world, guest, node)

    return with_flock(guest, node, task, start())


def qmreset(world: World, guest: Guest, node: Node, task: Task, skiplock: bool = False) -> Steps:
    """Reset a virtual machine (qemu-server src/PVE/QemuServer.pm:6081-6095)."""

    def reset() -> Steps:
        refuse_locked(loaded(world, guest, node), skiplock)
        run = guest.run_on(node.name)
        if run is None:
            raise Died(f"VM {guest.vmid} not running")
        if guest.silent:
            yield MONITOR_SECONDS
            raise Died(f"VM {guest.vmid} qmp command 'system_reset' failed - got timeout")
        yield 0.1
        world.reset(guest, run)

    return with_flock(guest, node, task, reset())


def shutdown(world: World, guest: Guest, node: Node, task: Task, seconds: float = QUIT_SECONDS) -> Steps:
    """Ask the guest to shut down and wait; the lock file is held all the while (qemu-server src/PVE/QemuServer.pm:6268-6306)."""

    def ask() -> Steps:
        refuse_locked(loaded(world, guest, node), skiplock=False)
        run = guest.run_on(node.name)
        if run is None:
            return
        if guest.shutdown_seconds is not None:
            world.at(guest.shutdown_seconds, lambda: world.end(run))
        yield from gone_within(run, seconds)
        if run.ended is None:
            raise Died("VM quit/powerdown failed - got timeout")

    return with_flock(guest, node, task, ask())


def vzstop(world: World, guest: Guest, node: Node, task: Task, skiplock: bool = False) -> Steps:
    """Stop a container (pve-container src/PVE/API2/LXC/Status.pm:283-303, src/PVE/LXC.pm:3219-3271): lxc-stop --kill has no bound."""

    def stop() -> Steps:
        refuse_locked(loaded(world, guest, node), skiplock, "mounted")
        run = guest.run_on(node.name)
        if run is None:
            return
        if guest.stop_lies:
            yield 1.0
            return
        if guest.dies_at != NEVER:
            world.at(guest.stop_seconds, lambda: world.end(run))
        while run.ended is None:
            yield 0.5

    return with_flock(guest, node, task, stop())


def vzstart(world: World, guest: Guest, node: Node, task: Task, skiplock: bool = False) -> Steps:
    """Start a container (pve-container src/PVE/API2/LXC/Status.pm:181-211)."""

    def start() -> Steps:
        config = loaded(world, guest, node)
        if config.template:
            raise Died("you can't start a CT if it's a template")
        refuse_locked(config, skiplock, "mounted")
        if guest.run_on(node.name):
            raise Died(f"CT {guest.vmid} already running")
        yield from _begin(world, guest, node)

    return with_flock(guest, node, task, start())


def hastop(world: World, guest: Guest, node: Node, task: Task) -> Steps:
    """Hand a stop to HA: OK as soon as it is queued (qemu-server src/PVE/API2/Qemu.pm:3750-3768)."""
    task.log.append(f"Requesting HA stop for {guest.sid[:2].upper()} {guest.vmid}")
    yield 0.6
    if not node.quorate:
        # Queueing needs the HA domain's lock: "no quorum!" (pve-cluster src/PVE/Cluster.pm:671); pve-common src/PVE/Cmd.pm tells the code.
        raise Died(f"command 'ha-manager crm-command stop {guest.sid} 0' failed: exit code 255")
    world.ha.stop(guest)


def hastart(world: World, guest: Guest, node: Node, task: Task) -> Steps:
    """Set the requested state to started (qemu-server src/PVE/API2/Qemu.pm:3629-3642)."""
    task.log.append(f"Requesting HA start for {guest.sid[:2].upper()} {guest.vmid}")
    yield 0.6
    if not node.quorate:
        raise Died(f"command 'ha-manager set {guest.sid} --state started' failed: exit code 255")
    guest.ha = "started"
