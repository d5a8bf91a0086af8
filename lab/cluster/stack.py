"""The resources as `pcs` commands: those of the lab document, and what changes with the agents, the profile and the layout."""

from __future__ import annotations

from lab.cluster.settings import BINARIES, MAIN, PGDATA, VOLUMES, Setting, Volume
from lab.machine import boot, plan
from lab.report.runs import Agents, Profile

# Both agents' fence device is called fence_pve: which of them it is, is a matter of what is installed.
LVM = {Agents.STOCK: "ocf:heartbeat:LVM-activate", Agents.LAB: "ocf:lab:LVM-activate"}
DATABASE = {Agents.STOCK: "ocf:heartbeat:pgsql", Agents.LAB: "ocf:lab:pgsql-storage"}


def fencing(setting: Setting) -> list[str]:
    """Return what makes the fence devices.  Under the document's profile rhel1 loses every race, as fence-rhel2 waits."""
    lines = []
    for node in plan.NODES.values():
        document = f"ip={node.hypervisor}.{plan.DOMAIN} ssl_insecure=1 pve_node_auto=1 vmtype=qemu shell_timeout=300"
        every = f"ip={','.join(plan.HYPERVISORS)} ca_file={boot.CA_FILE} vmtype=qemu"
        ours = setting.agents is Agents.LAB and setting.profile is Profile.RECOMMENDED
        if setting.profile is Profile.RECOMMENDED:
            # Otherwise a fencing waits until the same device's monitor has ended.
            timing = " pcmk_action_limit=-1"
        else:
            timing = " pcmk_delay_base=15s pcmk_delay_max=30s" if node.name == "rhel2" else ""
        # The time that the agent gives itself, like that of its monitor, is for nodes that are slower than any real one.
        limit = " time_limit=45" if setting.agents is Agents.LAB else ""
        who = f"username={plan.FENCE_USER} password={plan.FENCE_PASSWORD} plug={node.vmid}{timing} pcmk_host_list={node.name}{limit}"
        times = "op monitor interval=60s timeout=60s op start timeout=60s"
        lines.append(f"stonith create fence-{node.name} fence_pve {every if ours else document} {who} {times}")
        lines.append(f"constraint location fence-{node.name} avoids {node.name}")
    if setting.profile is Profile.RECOMMENDED:
        # Longer than a fencing takes: seconds on real nodes, more than 26 on an emulated one that serves clients meanwhile.
        lines.append("property set priority-fencing-delay=40s")
    return lines


def volume(wanted: Volume, setting: Setting) -> list[str]:
    lvm, fs = f"pg-lvm{wanted.suffix}", f"pg-fs{wanted.suffix}"
    interval = 30 if setting.profile is Profile.DOCUMENT else 10
    what = f"vgname={wanted.group} lvname={wanted.name} activation_mode=exclusive vg_access_mode=system_id"
    where = f"device={wanted.device} directory={wanted.mount} fstype=xfs"
    return [
        f"resource create {lvm} {LVM[setting.agents]} {what} op monitor interval={interval}s OCF_CHECK_LEVEL=10 timeout=30s",
        f"resource create {fs} ocf:heartbeat:Filesystem {where} op monitor interval=20s",
    ]


def ties(wanted: Volume) -> list[str]:
    """Return the constraints of a volume.  A resource is placed with one other: the further volumes go where the first is."""
    lvm, fs = f"pg-lvm{wanted.suffix}", f"pg-fs{wanted.suffix}"
    first = [] if wanted is MAIN else [f"constraint colocation add {lvm} with pg-lvm INFINITY"]
    return [f"constraint order {lvm} then {fs}", f"constraint order {fs} then pg-db",
            f"constraint colocation add {fs} with {lvm} INFINITY", *first]  # fmt: skip


def database(setting: Setting) -> str:
    """Return what makes the database's resource.  Ours needs no word on monitors: its metadata has them."""
    made = f"resource create pg-db {DATABASE[setting.agents]} pgctl={BINARIES}/pg_ctl psql={BINARIES}/psql pgdata={PGDATA}"
    if setting.profile is Profile.DOCUMENT:
        return f"{made} op monitor interval=30s"
    monitors = "" if setting.agents is Agents.LAB else " op monitor interval=10s timeout=40s"
    return f"{made}{monitors} meta priority=10"


def commands(setting: Setting) -> list[str]:
    """Return the commands that make the whole configuration out of an empty one, each without its first word."""
    volumes = VOLUMES[setting.layout]
    recommended = setting.profile is Profile.RECOMMENDED
    # A start that failed bars its node for good otherwise: a SAN that was away for both nodes would leave the service down.
    forgetting = " failure-timeout=60s" if recommended else ""
    # Pacemaker does one thing at a time on a node with a load of 0.8, which an emulated one always has.
    load = "load-threshold=1000% node-action-limit=4" if recommended else "load-threshold=400%"
    return [
        f"property set {load}",
        f"resource defaults update resource-stickiness=1{forgetting}",
        *fencing(setting),
        *(line for each in volumes for line in volume(each, setting)),
        database(setting),
        f"resource create pg-vip ocf:heartbeat:IPaddr2 ip={plan.VIP} cidr_netmask=24 op monitor interval=10s",
        *(line for each in volumes for line in ties(each)),
        "constraint order pg-db then pg-vip",
        "constraint colocation add pg-db with pg-fs INFINITY",
        "constraint colocation add pg-vip with pg-db INFINITY",
    ]
