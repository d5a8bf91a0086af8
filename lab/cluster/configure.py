"""Bringing the cluster from whatever it is to a setting: from blank disks, or from another setting."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

from lab import roots
from lab.cluster import agents, database, stack, state, storage
from lab.cluster.settings import CLUSTER, VOLUMES, Layout, Setting
from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room, alive
from lab.report.runs import Agents, Condition, Profile

FIRST, SECOND = plan.NODES.values()
PCS_SECONDS = 480.0
HEALTHY_SECONDS = 300.0
STOP_SECONDS = 240.0
PCSD_SECONDS = 240.0  # It is the last service that a node starts.
# A cluster property of our own: it goes with the configuration, to both nodes and over every boot.
MARK = "lab-setting"
STANDBY = "crm_attribute --node {} --name standby"
OWN_PROPERTIES = ("cluster-infrastructure", "cluster-name", "dc-version", "have-watchdog")

# pcs makes the configuration.  It is carried over here, as pcsd on a slow machine answers later than pcs waits for it.
CREATE = f"""
pcs cluster setup {CLUSTER} {{nodes}} totem token=5000 --corosync_conf /etc/corosync/corosync.conf --overwrite
corosync-keygen -l >/dev/null
install -d -o hacluster -g haclient -m 750 /etc/pacemaker
head -c 4096 /dev/urandom >/etc/pacemaker/authkey
chown hacluster:haclient /etc/pacemaker/authkey
chmod 640 /etc/pacemaker/authkey
sync
tar -C / -c etc/corosync/corosync.conf etc/corosync/authkey etc/pacemaker/authkey | base64 -w0
"""
# The fencer says when it calls an agent, but only to those who debug it.
START = """
grep -q PCMK_debug=pacemaker-fenced /etc/default/pacemaker || echo PCMK_debug=pacemaker-fenced >>/etc/default/pacemaker
systemctl enable --quiet corosync pacemaker
systemctl start pacemaker
"""


def done(lab: Room, node: plan.Node, shell: str, what: str, within: float, text: str = "") -> str:
    """Run a shell on a node and return its output.  Raises NotSo."""
    ended = ssh.run(lab, node, shell, within, text)
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip())[-600:] or "nothing said"
        raise NotSo(f"{node.name}: {what} failed with {ended.returncode}: {said}")
    return ended.stdout


def on_both(lab: Room, shell: str, what: str, within: float, text: str = "") -> None:
    with ThreadPoolExecutor() as pool:
        for each in [pool.submit(done, lab, node, shell, what, within, text) for node in plan.NODES.values()]:
            each.result()


def create(lab: Room) -> None:
    """Make a cluster of the two nodes, with no resources, unless there is one."""
    if ssh.run(lab, FIRST, "test -e /etc/corosync/authkey").returncode == 0:
        return
    roots.say("making the cluster")
    names = " ".join(f"{node.name} addr={node.address('link')}" for node in plan.NODES.values())
    for node in plan.NODES.values():
        ssh.await_success(lab, node, "systemctl --quiet is-active pcsd", PCSD_SECONDS, "pcsd runs")
    done(lab, FIRST, f"pcs host auth {' '.join(plan.NODES)} -u hacluster -p hacluster", "pcs host auth", PCS_SECONDS)
    parcel = done(lab, FIRST, "set -e\n" + CREATE.format(nodes=names), "making the cluster's configuration", PCS_SECONDS)
    done(lab, SECOND, "base64 -d | tar -C / -x && sync", "taking the cluster's configuration", 30, parcel.strip().splitlines()[-1])
    on_both(lab, START, "the start of Pacemaker", 120)


def await_members(lab: Room, within: float) -> None:
    """Wait until both nodes are online, taking them off standby.  Raises NotSo."""
    until = time.monotonic() + within
    while True:
        try:
            nodes = state.read(lab).nodes
            if [nodes.get(name) for name in plan.NODES] == [Condition.ONLINE] * len(plan.NODES):
                return
            why = ", ".join(f"{name} {condition.value}" for name, condition in nodes.items())
            for name in (name for name, condition in nodes.items() if condition is Condition.STANDBY):
                end_standby(lab, name)
        except NotSo as error:
            why = str(error)
        if time.monotonic() > until or not alive(lab.inner):
            raise NotSo(f"the nodes are not both online after {within:.0f} s: {why}")
        time.sleep(state.PAUSE_SECONDS)


def made_by_pcs(lab: Room, setting: Setting) -> ElementTree.Element:
    """Return the configuration that pcs makes of a setting.  It runs beside the nodes, where it is ten times as fast."""
    lines = ["set -e", "cd /tmp", "cibadmin --empty >cib", *(f"pcs -f cib {line} >&2" for line in stack.commands(setting)), "cat cib"]
    making = subprocess.run(lab.entering(["sh", "-c", "\n".join(lines)]), env=lab.environment(), stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=PCS_SECONDS)  # fmt: skip
    if making.returncode:
        raise NotSo(f"pcs refuses what {setting} needs: {making.stderr.strip()[-600:]}")
    return found(ElementTree.fromstring(making.stdout), "configuration")


def found(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    """Return a child, which is made where there is none."""
    child = parent.find(tag)
    return ElementTree.SubElement(parent, tag) if child is None else child


def properties(configuration: ElementTree.Element) -> ElementTree.Element:
    """Return the set of the cluster's properties."""
    options = found(configuration, "crm_config")
    named = options.find("cluster_property_set")
    return ElementTree.SubElement(options, "cluster_property_set", id="cib-bootstrap-options") if named is None else named


def push(lab: Room, wanted: ElementTree.Element, word: str | None) -> None:
    """Make this the cluster's configuration at one stroke, but for what the cluster itself wrote there.  Raises NotSo."""
    live = ElementTree.fromstring(done(lab, FIRST, "cibadmin --query --scope configuration", "reading the configuration", 30))
    for tag in ("resources", "constraints", "rsc_defaults", "op_defaults"):
        if (old := live.find(tag)) is not None:
            live.remove(old)
        live.append(found(wanted, tag))
    options = properties(live)
    for pair in list(options):
        if pair.get("name") not in OWN_PROPERTIES:
            options.remove(pair)
    options.extend(list(properties(wanted)))
    if word is not None:
        ElementTree.SubElement(options, "nvpair", id=f"cib-bootstrap-options-{MARK}", name=MARK, value=word)
    text = ElementTree.tostring(live, encoding="unicode")
    done(lab, FIRST, "cibadmin --replace --scope configuration --xml-pipe", "the push of the configuration", 60, text)


def empty(lab: Room) -> None:
    """Take all resources away, after they have stopped in their order.  Raises NotSo."""
    done(lab, FIRST, "crm_attribute --type crm_config --name stop-all-resources --update true", "the stop of the resources", 30)
    until = time.monotonic() + STOP_SECONDS
    while left := state.read(lab).left:
        if time.monotonic() > until:
            raise NotSo(f"these do not stop within {STOP_SECONDS:.0f} s: {', '.join(left)}")
        time.sleep(state.PAUSE_SECONDS)
    push(lab, ElementTree.Element("configuration"), None)
    done(lab, FIRST, "crm_resource --cleanup", "forgetting the old resources", 60)


def make_volumes(lab: Room) -> None:
    """Make the shared volumes unless they are there."""
    every = VOLUMES[Layout.THREE]
    names = " ".join(volume.group for volume in every)
    if ssh.run(lab, FIRST, f"vgs --foreign --noheadings -o name {names}", 60).returncode:
        roots.say("making the shared volumes")
        done(lab, FIRST, storage.making(every), "making the shared volumes", 180)


def make_database(lab: Room, layout: Layout) -> None:
    volumes = VOLUMES[layout]
    roots.say("making the database")
    lines = [storage.mounting(volumes), database.making(layout), storage.unmounting(volumes)]
    done(lab, FIRST, "\n".join(lines), "making the database", 240)


def configure(lab: Room, setting: Setting) -> None:
    """Bring the cluster to a setting, healthy; the database is a new one where the layout changes.  Raises NotSo."""
    create(lab)
    await_members(lab, 180)
    old = configured(lab)
    if old != setting:
        roots.say(f"configuring {setting}")
        wanted = made_by_pcs(lab, setting)
        empty(lab)
        agents.install(lab, setting.agents)
        if old is None or old.layout is not setting.layout:
            make_volumes(lab)
            make_database(lab, setting.layout)
        push(lab, wanted, mark(setting))
    else:
        agents.install(lab, setting.agents)
    heal(lab, setting, HEALTHY_SECONDS)
    roots.say(f"the cluster is healthy: {setting}")


def recipe(setting: Setting) -> str:
    """Return a digest of whatever makes a cluster of this setting, but for the agents themselves."""
    return roots.digest(str(setting), CREATE, START, storage.making(VOLUMES[Layout.THREE]), database.making(setting.layout),
                        *stack.commands(setting))  # fmt: skip


def mark(setting: Setting) -> str:
    """Return what a configuration says of itself: what it is, and what it was made of."""
    told = {name: value.value for name, value in vars(setting).items()}
    return json.dumps({**told, "recipe": recipe(setting)})


def configured(lab: Room) -> Setting | None:
    """Return what the cluster is configured as; None where that is nothing of ours, or ours of another day, or no node answers."""
    for node in plan.NODES.values():
        asked = ssh.run(lab, node, f"crm_attribute --type crm_config --name {MARK} --query --quiet", 20)
        if asked.returncode == 0:
            told = json.loads(asked.stdout)
            setting = Setting(Agents(told["agents"]), Profile(told["profile"]), Layout(told["layout"]))
            return setting if asked.stdout.strip() == mark(setting) else None
    return None


def heal(lab: Room, setting: Setting, within: float) -> None:
    """Wait until the cluster is healthy, forgetting the failures that are over meanwhile.  Raises NotSo."""
    until = time.monotonic() + within
    while True:
        try:
            state.await_healthy(lab, setting, min(60.0, within))
        except NotSo:
            if time.monotonic() > until or not alive(lab.inner):
                raise
            with contextlib.suppress(NotSo):  # It is tried again, where that still matters.
                clean(lab)
        else:
            return


def end_standby(lab: Room, name: str) -> None:
    """Take a node off standby, be that permanent or until its next start.  Raises NotSo."""
    ending = STANDBY.format(name) + " --delete"
    done(lab, FIRST, f"{ending}; {ending} --lifetime reboot", "the end of standby", 30)


def move(lab: Room, setting: Setting, name: str) -> None:
    """Bring the service to a node, in order.  Raises NotSo."""
    now = state.await_healthy(lab, setting, HEALTHY_SECONDS)
    if now.active == name:
        return
    assert now.active
    roots.say(f"moving the service to {name}")
    try:
        beginning = STANDBY.format(now.active) + " --lifetime reboot --update on"
        done(lab, FIRST, f"{beginning} && crm_resource --wait --timeout=180s", "standby", 200)
    finally:
        end_standby(lab, now.active)
    if state.await_healthy(lab, setting, HEALTHY_SECONDS).active != name:
        raise NotSo(f"the service does not go to {name}")


def clean(lab: Room) -> None:
    """Let the cluster forget its failures, those of fencing too.  Raises NotSo."""
    done(lab, FIRST, "crm_resource --cleanup; stonith_admin --cleanup --history '*' || :", "the clean-up", 60)
