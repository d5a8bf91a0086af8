"""What the API tells: of the cluster, of logins and rights, of guests and of tasks.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from . import power
from .access import BadLogin, normalized, split_token
from .call import Call, Data, Raised, forbidden, wrong
from .guests import Config, Guest, Run
from .nodes import Node
from .tasks import Task, is_upid

# pve-cluster src/pmxcfs/status.c:1436-1446: what a node told is forgotten after five minutes.
RRD_SECONDS = 300.0

# The cluster, told by whoever is asked.


def version(call: Call) -> Data:
    """Tell the version (pve-manager PVE/API2.pm:86-140)."""
    return {"version": call.world.version, "release": ".".join(call.world.version.split(".")[:2]), "repoid": "0badc0de0badc0de"}


def node_row(call: Call, node: Node, audit: bool) -> dict[str, Data]:
    """Return a node's row: without Sys.Audit it lacks the numbers only (pve-manager PVE/API2Tools.pm:38-79)."""
    row: dict[str, Data] = {"id": f"node/{node.name}", "node": node.name, "type": "node", "status": "unknown"}
    online = node.name in call.node.members
    if call.world.time - call.node.heard.get(node.name, -1e9) <= RRD_SECONDS:
        if online:
            row["status"] = "online"
            if audit:
                row |= {"uptime": int(call.world.time - node.booted), "cpu": 0.01, "mem": 2 << 30, "disk": 5 << 30}
        row["level"] = ""
        if audit:
            row |= {"maxcpu": 8, "maxmem": 64 << 30, "maxdisk": 100 << 30}
    if not online:
        row["status"] = "offline"
    return row


def nodes(call: Call) -> Data:
    """List the nodes; anybody sees all of them (pve-manager PVE/API2/Nodes.pm:2972-2996)."""
    return [
        {**node_row(call, node, call.may(f"/nodes/{node.name}", "Sys.Audit")), "ssl_fingerprint": node.fingerprint}
        for node in call.world.known_to(call.node)
    ]


def guest_row(call: Call, vmid: int, config: Config) -> dict[str, Data]:
    """Return a guest's row: its owner from the cluster file system, the rest as last told (API2Tools.pm:81-119)."""
    row: dict[str, Data] = {"id": f"{config.kind}/{vmid}", "vmid": vmid, "node": config.node, "type": config.kind, "status": "unknown"}
    sample = call.node.samples.get(vmid)
    if sample is not None and call.world.time - sample.told <= RRD_SECONDS:
        up = sample.booted is not None
        row |= {
            "uptime": int(sample.told - sample.booted) if sample.booted is not None else 0, "name": sample.name, "status": sample.status,
            "template": int(sample.template), "maxcpu": sample.cpus, "cpu": 0.02 if up else 0, "maxmem": sample.memory,
            "mem": sample.memory // 4 if up else 0, "maxdisk": 32 << 30, "disk": 0, "netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0,
        }  # fmt: skip
    if config.lock:
        row["lock"] = config.lock
    if config.ha:
        row["hastate"] = "ignored" if config.ha == "ignored" else config.ha_state
    return row


def resources(call: Call) -> Data:
    """List guests with VM.Audit, and every node whoever asks (pve-manager PVE/API2/Cluster.pm:509-727)."""
    kind = call.params.get("type")
    rows: list[Data] = []
    if kind in {None, "vm"}:
        configs = call.world.configs(call.node)
        rows += [guest_row(call, vmid, configs[vmid]) for vmid in sorted(configs, key=str) if call.may(f"/vms/{vmid}", "VM.Audit")]
    if kind in {None, "node"}:
        rows += [node_row(call, node, call.may(f"/nodes/{node.name}", "Sys.Audit")) for node in call.world.known_to(call.node)]
    if kind is None and call.may("/sdn/zones/localnetwork", "SDN.Audit"):
        # See 689-702 there: rows of a type that the parameter does not even know
        rows += [{"id": f"network/{name}/zone/localnetwork", "type": "network", "network-type": "zone", "network": "localnetwork",
                  "node": name, "status": "ok"} for name in call.world.nodes]  # fmt: skip
    return rows


def cluster_status(call: Call) -> Data:
    """Tell of members and quorum (pve-manager PVE/API2/Cluster.pm:934-1009)."""
    world, here = call.world, call.node
    if world.single or not here.corosync:
        return [{"type": "node", "id": f"node/{here.name}", "name": here.name, "ip": here.address, "local": 1, "nodeid": 0,
                 "online": 1, "level": ""}]  # fmt: skip
    rows: list[Data] = [{"type": "cluster", "id": "cluster", "nodes": len(world.nodes), "version": len(world.nodes), "name": world.name,
                         "quorate": int(here.quorate)}]  # fmt: skip
    rows += [{"type": "node", "id": f"node/{node.name}", "name": node.name, "nodeid": node.nodeid, "local": int(node is here),
              "online": int(node.name in here.members), "ip": node.address, "level": ""} for node in world.nodes.values()]  # fmt: skip
    return rows


def ha_status(call: Call) -> Data:
    """Tell of quorum and services (pve-ha-manager src/PVE/API2/HA/Status.pm:66-330)."""
    quorate = call.node.quorate
    rows: list[Data] = [{"id": "quorum", "type": "quorum", "node": call.node.name, "quorate": int(quorate),
                         "status": "OK" if quorate else f"No quorum on node '{call.node.name}'!"}]  # fmt: skip
    for vmid, config in sorted(call.world.configs(call.node).items()):
        if config.ha:
            sid = call.world.guests[vmid].sid
            rows.append({"id": f"service:{sid}", "type": "service", "sid": sid, "node": config.node, "crm_state": config.ha_state,
                         "request_state": config.ha, "state": config.ha_state,
                         "status": f"{sid} ({config.node}, {config.ha_state})"})  # fmt: skip
    return rows


# Logins and rights.


def no_login(call: Call) -> Data:
    """Answer the dummy (pve-access-control src/PVE/API2/AccessControl.pm:183-194)."""
    return None


def login(call: Call) -> Data:
    """Make a ticket (pve-access-control src/PVE/API2/AccessControl.pm:196-325)."""
    userid = call.params["username"]
    if "realm" in call.params:
        userid += "@" + call.params["realm"]
    access, wall = call.world.access, call.world.wall(call.node)
    try:
        if "otp" in call.params or "tfa-challenge" in call.params:
            raise BadLogin("second factors are not modelled")
        ticket, waits = access.login(userid, call.params["password"], wall)
    except BadLogin:
        raise Raised("authentication failure\n", 401) from None
    answer: dict[str, Data] = {"ticket": ticket, "username": userid, "CSRFPreventionToken": access.csrf_token(userid, wall)}
    if waits:
        answer["NeedTFA"] = 1
    else:
        answer["cap"] = access.capabilities(userid)
    if not call.world.single and access.may(userid, "/", "Sys.Audit"):
        answer["clustername"] = call.world.name
    return answer


def permissions(call: Call) -> Data:
    """Dump the caller's own rights (pve-access-control src/PVE/API2/AccessControl.pm:543-573)."""
    who = call.params.get("userid", call.user)
    if who != call.user and split_token(who)[0] != call.user and not call.may("/access", "Sys.Audit"):
        raise forbidden("/access, Sys.Audit")
    path = call.params.get("path")
    if path is not None:
        # An empty set of privileges is true in Perl, so the path is there even so.
        return {path: dict(call.world.access.permissions(who, normalized(path)))}
    return call.world.access.all_permissions(who)


# Guests, told by the node that has them.


def loaded(call: Call, kind: str) -> Config:
    """Return the guest's configuration if this node owns it (pve-guest-common src/PVE/AbstractConfig.pm:49-60)."""
    vmid = int(call.params["vmid"])
    config = call.world.config(call.node, vmid)
    if config is None or config.node != call.node.name or config.kind != kind:
        raise Raised(f"Configuration file '{power.config_path(kind, call.node.name, vmid)}' does not exist\n")
    return config


def status_row(call: Call, guest: Guest, config: Config, full: bool) -> dict[str, Data]:
    """Return what the node sees of its guest: the configuration, and the process itself (qemu-server src/PVE/QemuServer.pm:2535-2790)."""
    run = guest.run_on(call.node.name)
    row: dict[str, Data] = {
        "vmid": guest.vmid, "status": "running" if run else "stopped", "name": config.name, "cpus": guest.cpus, "maxmem": guest.memory,
        "mem": guest.memory // 4 if run else 0, "disk": 0, "maxdisk": 32 << 30, "cpu": 0.02 if run else 0, "netin": 0, "netout": 0,
        "diskread": 0, "diskwrite": 0, "uptime": int(call.world.time - run.began) if run else 0,
    }  # fmt: skip
    if run:
        row["pid"] = run.pid
    if config.template:
        row["template"] = 1
    if config.lock:
        row["lock"] = config.lock
    if full and config.kind == "qemu":
        # QemuServer.pm:2784: without QEMU's own word, that of the process.
        row["qmpstatus"] = _qmp_status(guest, run)
    if config.kind == "lxc":
        row["type"] = "lxc"
    return row


def _qmp_status(guest: Guest, run: Run | None) -> str:
    if run is None:
        return "stopped"
    return "running" if guest.silent else run.qmp


def status_of(kind: str) -> Callable[[Call], Data]:
    """Return the current status (qemu-server src/PVE/API2/Qemu.pm:3426-3491, pve-container src/PVE/API2/LXC/Status.pm:77-117)."""

    def answer(call: Call) -> Data:
        config = loaded(call, kind)
        guest = call.world.guests[int(call.params["vmid"])]
        if guest.silent and kind == "qemu" and guest.run_on(call.node.name):
            call.late += 3.0  # qemu-server src/PVE/QMPClient.pm:343
        row = status_row(call, guest, config, full=True)
        # pve-ha-manager src/PVE/HA/Config.pm:492-507
        row["ha"] = {"managed": 1, "state": config.ha_state} if config.ha not in {"", "ignored"} else {"managed": 0}
        return row

    return answer


def guests_of(kind: str) -> Callable[[Call], Data]:
    """List the node's guests, those with VM.Audit (qemu-server src/PVE/API2/Qemu.pm:1103-1120)."""

    def answer(call: Call) -> Data:
        return [
            status_row(call, call.world.guests[vmid], config, full=call.flag("full"))
            for vmid, config in sorted(call.world.configs(call.node).items())
            if config.node == call.node.name and config.kind == kind and call.may(f"/vms/{vmid}", "VM.Audit")
        ]

    return answer


def config_of(kind: str) -> Callable[[Call], Data]:
    """Return the configuration (qemu-server src/PVE/API2/Qemu.pm:1836-1854)."""

    def answer(call: Call) -> Data:
        config = loaded(call, kind)
        guest = call.world.guests[int(call.params["vmid"])]
        found: dict[str, Data] = {"digest": hashlib.sha1(repr(config).encode()).hexdigest(), "cores": guest.cpus,
                                  "memory": guest.memory >> 20}  # fmt: skip
        if kind == "lxc":
            found["hostname"] = config.name
        else:
            # PVE 9 gives the memory of virtual machines as text: it is a property string there (qemu-server src/PVE/QemuServer/Memory.pm).
            found |= {"name": config.name, "smbios1": f"uuid={config.uuid}", "memory": str(guest.memory >> 20), "sockets": 1}
        if config.lock:
            found["lock"] = config.lock
        if config.template:
            found["template"] = 1
        return found

    return answer


# Tasks.


def task_of(call: Call) -> Task:
    """Return a task that the caller may see (pve-manager PVE/API2/Tasks.pm:513-528)."""
    upid = call.params["upid"]
    if not is_upid(upid):
        raise wrong("upid", "unable to parse worker upid")
    task = call.world.tasks.get(upid)
    if task is None or task.node != call.node.name:
        raise wrong("upid", "no such task")
    # Tasks.pm:26-36: a token sees its own tasks, a user those of its tokens too.
    if call.user not in {task.user, split_token(task.user)[0]} and not call.may(f"/nodes/{call.node.name}", "Sys.Audit"):
        raise forbidden(f"/nodes/{call.node.name}, Sys.Audit")
    return task


def task_row(task: Task) -> dict[str, Data]:
    user, token = split_token(task.user)
    row: dict[str, Data] = {"upid": task.upid, "node": task.node, "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime,
                            "type": task.type, "id": task.id, "user": user}  # fmt: skip
    return {**row, "tokenid": token} if token else row


def task_status(call: Call) -> Data:
    """Tell a task's status (pve-manager PVE/API2/Tasks.pm:530-545)."""
    task = task_of(call)
    if task.running:
        return {**task_row(task), "status": "running"}
    return {**task_row(task), "status": "stopped", "exitstatus": task.exitstatus}


def task_log(call: Call) -> Data:
    """Return a task's log (pve-manager PVE/API2/Tasks.pm:335-449, pve-common src/PVE/Tools.pm:751-826)."""
    task = task_of(call)
    lines = task.log or ["no content"]
    start, limit = int(call.params.get("start", "0")), int(call.params.get("limit", "50"))
    return [{"n": number, "t": text} for number, text in enumerate(lines, 1)][start:][: limit or None]


def task_list(call: Call) -> Data:
    """List the node's tasks that are the caller's, newest first (pve-manager PVE/API2/Tasks.pm:40-259)."""
    all_ = call.may(f"/nodes/{call.node.name}", "Sys.Audit")
    rows: list[dict[str, Data]] = []
    for task in call.world.tasks.values():
        mine = call.user in {task.user, split_token(task.user)[0]}
        if task.node == call.node.name and (all_ or mine) and call.params.get("vmid", task.id) == task.id:
            rows.append({**task_row(task), **({} if task.running else {"status": task.exitstatus})})
    return rows[::-1][: int(call.params.get("limit", "50"))]


def node_status(call: Call) -> Data:
    """Tell of the node itself (pve-manager PVE/API2/Nodes.pm:353)."""
    return {"uptime": int(call.world.time - call.node.booted), "pveversion": f"pve-manager/{call.world.version}/0badc0de0badc0de",
            "loadavg": ["0.10", "0.12", "0.09"], "memory": {"total": 64 << 30, "used": 2 << 30, "free": 62 << 30}}  # fmt: skip
