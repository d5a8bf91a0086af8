"""What the API is told to do with a guest's power.  A request is answered with the name of the task that it started.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

from . import power
from .access import split_token
from .agenda import Steps
from .call import Call, Data, Raised, wrong
from .guests import Config, Guest
from .nodes import Node
from .tasks import Task
from .world import World


def only_root(call: Call, *names: str) -> None:
    """Refuse parameters that only root@pam itself may set, not a token of its (qemu-server src/PVE/API2/Qemu.pm:3734-3743)."""
    for name in names:
        if call.params.get(name, "0") != "0" and call.user != "root@pam":
            raise wrong(name, "Only root may use this option.")


def subject(call: Call) -> tuple[Guest | None, Config | None]:
    vmid = int(call.params["vmid"])
    return call.world.guests.get(vmid), call.world.config(call.node, vmid)


def spawned(call: Call, kind: str, guest: Guest | None, worker: power.Worker) -> str:
    vmid = call.params["vmid"]
    return call.world.spawn(call.node, kind, vmid, call.user, guest or call.world.nobody(int(vmid)), worker).upid


def ha_decides(config: Config | None) -> bool:
    """Tell whether HA manages it, as this node knows (pve-ha-manager src/PVE/HA/Config.pm:467-478)."""
    return config is not None and config.ha not in {"", "ignored"}


def stop_qemu(call: Call) -> Data:
    """Stop a machine (qemu-server src/PVE/API2/Qemu.pm:3682-3801).  That the node has no such guest is found by the task."""
    only_root(call, "skiplock", "keepActive", "migratedfrom")
    guest, config = subject(call)
    if ha_decides(config):
        if call.flag("overrule-shutdown"):
            raise wrong("overrule-shutdown", "Not applicable for HA resources.")
        return spawned(call, "hastop", guest, power.hastop)
    timeout = float(call.params["timeout"]) if "timeout" in call.params else None
    overrule, skiplock = call.flag("overrule-shutdown"), call.flag("skiplock")

    def worker(world: World, guest: Guest, node: Node, task: Task) -> Steps:
        if overrule:
            abort_shutdowns(call, guest)
        yield from power.qmstop(world, guest, node, task, skiplock, timeout)

    return spawned(call, "qmstop", guest, worker)


def abort_shutdowns(call: Call, guest: Guest) -> None:
    """Abort shutdowns that the caller may abort (pve-guest-common src/PVE/GuestHelpers.pm:423-455)."""
    for task in call.world.tasks.values():
        shuts_down = task.running and task.type in {"qmshutdown", "vzshutdown"} and task.id == str(guest.vmid)
        mine = call.user in {task.user, split_token(task.user)[0]} or call.may(f"/nodes/{call.node.name}", "Sys.Modify")
        if shuts_down and mine and task.node == call.node.name:
            task.kill("received interrupt")


def start_qemu(call: Call) -> Data:
    """Start a machine (qemu-server src/PVE/API2/Qemu.pm:3494-3679): without quorum refused at once, all else found by the task."""
    only_root(call, "skiplock")
    need_quorum(call)
    guest, config = subject(call)
    if ha_decides(config):
        return spawned(call, "hastart", guest, power.hastart)
    skiplock = call.flag("skiplock")
    return spawned(call, "qmstart", guest, lambda world, guest, node, task: power.qmstart(world, guest, node, task, skiplock))


def need_quorum(call: Call) -> None:
    """Refuse without quorum (pve-cluster src/PVE/Cluster.pm:121-132)."""
    if not call.node.quorate:
        raise Raised("cluster not ready - no quorum?\n")


def reset_qemu(call: Call) -> Data:
    """Reset a machine (qemu-server src/PVE/API2/Qemu.pm:3804-3853).  HA is not asked; a machine that is off is refused at once."""
    only_root(call, "skiplock")
    guest, config = subject(call)
    vmid = call.params["vmid"]
    if guest is None or config is None or config.node != call.node.name:
        # qemu-server src/PVE/QemuConfig.pm:36-47
        raise Raised(f"unable to find configuration file for VM {vmid} on node '{call.node.name}'\n")
    if guest.run_on(call.node.name) is None:
        raise Raised(f"VM {vmid} not running\n")
    skiplock = call.flag("skiplock")
    return spawned(call, "qmreset", guest, lambda world, guest, node, task: power.qmreset(world, guest, node, task, skiplock))


def shutdown_qemu(call: Call) -> Data:
    """Ask a machine to shut down (qemu-server src/PVE/API2/Qemu.pm:3857-3975)."""
    only_root(call, "skiplock", "keepActive")
    guest, config = subject(call)
    if ha_decides(config):
        return spawned(call, "hastop", guest, power.hastop)
    seconds = float(call.params.get("timeout", power.QUIT_SECONDS))
    return spawned(call, "qmshutdown", guest, lambda world, guest, node, task: power.shutdown(world, guest, node, task, seconds))


def stop_lxc(call: Call) -> Data:
    """Stop a container (pve-container src/PVE/API2/LXC/Status.pm:220-313): one that is not running is refused at once."""
    only_root(call, "skiplock")
    guest, config = subject(call)
    if guest is None or guest.run_on(call.node.name) is None:
        raise Raised(f"CT {call.params['vmid']} not running\n")
    if ha_decides(config):
        if call.flag("overrule-shutdown"):
            raise wrong("overrule-shutdown", "Not applicable for HA resources.")
        return spawned(call, "hastop", guest, power.hastop)
    overrule, skiplock = call.flag("overrule-shutdown"), call.flag("skiplock")

    def worker(world: World, guest: Guest, node: Node, task: Task) -> Steps:
        if overrule:
            abort_shutdowns(call, guest)
        yield from power.vzstop(world, guest, node, task, skiplock)

    return spawned(call, "vzstop", guest, worker)


def start_lxc(call: Call) -> Data:
    """Start a container (pve-container src/PVE/API2/LXC/Status.pm:120-216): a running one is refused before the quorum is looked at."""
    only_root(call, "skiplock")
    guest, config = subject(call)
    if guest is not None and guest.run_on(call.node.name):
        raise Raised(f"CT {call.params['vmid']} already running\n")
    need_quorum(call)
    if ha_decides(config):
        return spawned(call, "hastart", guest, power.hastart)
    skiplock = call.flag("skiplock")
    return spawned(call, "vzstart", guest, lambda world, guest, node, task: power.vzstart(world, guest, node, task, skiplock))
