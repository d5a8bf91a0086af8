"""Which guest is meant: names, numbers, guards, templates, Pacemaker's own ideas of a plug, and guests that HA manages."""

from __future__ import annotations

import pytest

from lab.proxmox.world import World
from tests.fence import running
from tests.fence.running import USER, Agent, Scene, Scenes, Stage

stage = running.stage

OFF, ON, REBOOTED = "Success: Powered OFF\n", "Success: Powered ON\n", "Success: Rebooted\n"
IS_ON = "Status: ON\n"
SOON, PATIENT = 20.0, 60.0

SCENES = Scenes()


def add(agent: Agent, vmid: int, name: str, node: str = "pve1", *, template: bool = False, kind: str = "qemu") -> None:
    with agent.changing() as world:
        world.add_guest(vmid, name, node, template=template, kind=kind)
        world.grant(f"/vms/{vmid}", USER, "VM.Audit", "VM.PowerMgmt")


def untouched(agent: Agent) -> None:
    assert agent.calls("POST", "/status/") == []


# Names and numbers.


@SCENES.on()
def a_name(agent: Agent) -> None:
    agent("status", plug="rhel2").expect(0, stdout=IS_ON, within=SOON)
    agent("off", plug="rhel2").expect(0, stdout=OFF, within=SOON)
    agent("on", plug="rhel2").expect(0, stdout=ON, within=SOON)
    assert agent.runs(121)


def namesakes() -> World:
    world = running.two_nodes()
    world.add_guest(321, "rhel1", "pve2")
    return world


@SCENES.on(namesakes)
def a_name_that_two_guests_have(agent: Agent) -> None:
    for action in ("off", "status", "monitor"):
        agent(action, plug="rhel1").expect(1, "rhel1", "121", "321", within=SOON)
    agent("off", plug="321").expect(0, stdout=OFF, within=SOON)
    assert agent.runs(121)


@SCENES.on()
def a_name_of_digits_is_a_number(agent: Agent) -> None:
    add(agent, 400, "121", "pve2")
    agent("off").expect(0, stdout=OFF, within=SOON)
    assert agent.runs(400)
    assert not agent.runs(121)


@SCENES.on()
def a_part_of_a_name(agent: Agent) -> None:
    for plug in ("rhel", "RHEL1", "rhel1.example.com", "rhel*", "12"):
        agent("off", plug=plug).expect(1, "rhel|12", within=SOON)
    untouched(agent)


@SCENES.on()
def a_hypervisor(agent: Agent) -> None:
    for action in ("off", "monitor"):
        agent(action, plug="pve2").expect(1, "pve2", "node", "guest|virtual machine", within=SOON)
    untouched(agent)


def strange(plug: str) -> Scene:
    def play(agent: Agent) -> None:
        agent("off", plug=plug).expect(1, within=SOON)
        untouched(agent)
        assert all(request.path == "/access/ticket" or request.path.startswith("/cluster/") for _, request in agent.api.asked)

    return Scene(repr(plug), play)


STRANGE = ["../121", "121/status/stop?", "121;222", "121 222", "-121", "0", "+121", "12 1", "٤٢", "%31%32%31", "121#", "a" * 5000, "null",
           "rhel1'"]  # fmt: skip


@pytest.mark.parametrize("scene", [strange(plug) for plug in STRANGE], ids=lambda scene: scene.name[:30])
def test_a_plug_that_is_nobody(stage: Stage, scene: Scene) -> None:
    """It is looked for in the list and nowhere else: no path is made of it."""
    stage(scene)


@SCENES.on()
def a_number_with_zeros_ahead(agent: Agent) -> None:
    """121 or nobody, but no other guest."""
    outcome = agent("status", plug="0121")
    assert (outcome.code, outcome.stdout) in {(0, IS_ON), (1, "")}, outcome


@SCENES.on()
def several_plugs(agent: Agent) -> None:
    """Those on different nodes fail with the stock agent (D10)."""
    agent("off", plug="121,rhel2").expect(0, stdout=OFF, within=SOON)
    assert not agent.runs(121)
    assert not agent.runs(222)
    agent("status", plug="121,222").expect(2, stdout="Status: OFF\n", within=SOON)
    agent("reboot", plug="121,222").expect(0, stdout=REBOOTED, within=SOON)
    assert agent.runs(121)
    assert agent.runs(222)


@SCENES.on()
def several_plugs_and_one_is_nobody(agent: Agent) -> None:
    agent("off", plug="121,999").expect(1, "999", within=SOON)
    assert agent.runs(121)


# Pacemaker's ideas.


@SCENES.on()
def port_in_the_configuration_and_plug_from_the_fencer(agent: Agent) -> None:
    """The fencer does not see the old name and adds the node's as plug; the order of its lines is that of a hash table."""
    for more in ("port=222\nplug=rhel1\nnodename=rhel1", "plug=rhel1\nnodename=rhel1\nport=222"):
        agent("status", plug=None, more=more).expect(0, stdout=IS_ON, within=SOON)
    assert agent.calls("GET", "/222/status/current")
    assert not agent.calls("GET", "/121/status/current")


@SCENES.on()
def a_plug_that_is_the_cluster_node_s_name(agent: Agent) -> None:
    """Without plug in the configuration, the fencer sends the node's name: a guest of that name is meant."""
    agent("off", plug="rhel2", nodename="rhel2").expect(0, stdout=OFF, within=SOON)
    assert not agent.runs(222)


@SCENES.on()
def a_cluster_node_that_is_no_guest(agent: Agent) -> None:
    agent("off", plug="db1", nodename="db1").expect(1, "db1", "name", within=SOON)
    untouched(agent)


@SCENES.on()
def the_cluster_node_is_not_where_the_guest_is(agent: Agent) -> None:
    """The stock agent asks the hypervisor called rhel1, which there is not (D4)."""
    outcome = agent("off", nodename="rhel1")
    outcome.expect(0, stdout=OFF, within=SOON)
    assert outcome.stderr == "", "the right guest is no reason for a warning"


@SCENES.on()
def a_cluster_node_that_the_guest_does_not_look_like(agent: Agent) -> None:
    outcome = agent("off", plug="222", nodename="rhel1")
    outcome.expect(0, "222.*rhel2.*rhel1", stdout=OFF, within=SOON)
    assert len(outcome.levels("WARNING")) == 1, outcome


@SCENES.on()
def names_with_a_domain(agent: Agent) -> None:
    """The first label counts."""
    add(agent, 500, "db1.example.com")
    outcome = agent("status", plug="500", nodename="db1.cluster.example.org")
    outcome.expect(0, stdout=IS_ON, within=SOON)
    assert outcome.stderr == "", outcome


@SCENES.on()
def pve_node_is_only_a_hint(agent: Agent) -> None:
    """A guest moves; a setting that was right once does not (D13)."""
    for options in ({"pve_node": "pve2"}, {"pve_node": "gone"}, {"pve_node_auto": 1}, {"pve_node_auto": 0, "pve_node": "pve1"}):
        agent("status", **options).expect(0, stdout=IS_ON, within=SOON)


# Guards.


@SCENES.on()
def vm_name(agent: Agent) -> None:
    for action in ("off", "reboot", "on", "status", "monitor"):
        agent(action, vm_name="rhel2").expect(1, "121", "rhel1", "rhel2", within=SOON)
    untouched(agent)
    agent("off", vm_name="rhel1").expect(0, stdout=OFF, within=SOON)


@SCENES.on()
def vm_uuid(agent: Agent) -> None:
    uuid = agent.world.guests[121].config.uuid
    for action in ("off", "monitor"):
        agent(action, vm_uuid="11111111-2222-3333-4444-555555555555").expect(1, "121", uuid, "11111111-2222", within=SOON)
    untouched(agent)
    agent("off", vm_uuid=uuid.upper()).expect(0, stdout=OFF, within=SOON)


@SCENES.on()
def a_guard_quiets_the_warning(agent: Agent) -> None:
    outcome = agent("off", plug="222", nodename="rhel1", vm_name="rhel2")
    outcome.expect(0, stdout=OFF, within=SOON)
    assert outcome.stderr == "", outcome


@SCENES.on()
def a_template(agent: Agent) -> None:
    add(agent, 900, "golden", template=True)
    for action in ("off", "on", "reboot", "monitor"):
        agent(action, plug="900").expect(1, "900", "template", within=SOON)
    agent("off", plug="golden").expect(1, "golden", "template", within=SOON)
    untouched(agent)


@SCENES.on()
def the_other_type(agent: Agent) -> None:
    """What the cluster says goes before what vmtype says."""
    add(agent, 131, "ct1", kind="lxc")
    agent("off", plug="131").expect(0, "131", "lxc", stdout=OFF, within=SOON)
    agent("status", vmtype="lxc").expect(0, "121", "qemu", stdout=IS_ON, within=SOON)


# HA.


def of_ha() -> World:
    world = World(running.fast(20))
    world.add_node("pve1", "127.0.0.11")
    world.add_node("pve2", "127.0.0.12")
    world.add_guest(121, "rhel1", "pve1", ha=True)
    world.grant("/", USER, "Sys.Audit")
    return world


@SCENES.on(of_ha)
def ha_stops_it(agent: Agent) -> None:
    """The task says OK long before the guest is off: success comes when it is."""
    outcome = agent("off")
    outcome.expect(0, "121.*HA", stdout=OFF, within=PATIENT)
    assert not agent.runs()
    # That is an error for guests that HA manages.
    assert all("overrule-shutdown" not in request.params for request in agent.calls("POST", "/status/stop"))
    # HA would start it again, had it not been told to stop it.
    assert agent.world.guests[121].ha == "stopped"


@SCENES.on(of_ha)
def ha_stops_and_starts_it(agent: Agent) -> None:
    agent("reboot").expect(0, stdout=REBOOTED, within=PATIENT)
    runs = agent.world.runs(121)
    assert runs[0].ended is not None
    assert agent.world.guests[121].ha == "started"


@SCENES.on(of_ha)
def ha_starts_it(agent: Agent) -> None:
    agent("off").expect(0, stdout=OFF, within=PATIENT)
    agent("on").expect(0, stdout=ON, within=PATIENT)
    assert agent.runs()


@SCENES.on(of_ha)
def ha_is_too_slow(agent: Agent) -> None:
    """The limit comes first: a failure that says where the guest stands."""
    agent.world.guests[121].dies_at = "never"
    agent("off", time_limit=6).expect(1, "121", "HA", within=SOON)
    assert agent.runs()


@SCENES.on(of_ha)
def ha_ignores_it(agent: Agent) -> None:
    with agent.changing() as world:
        world.guests[121].change(ha="ignored", ha_state="ignored")
    outcome = agent("monitor")
    outcome.expect(0, within=SOON)
    assert outcome.stderr == "", outcome
    agent("off").expect(0, stdout=OFF, within=SOON)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_the_guest_that_is_meant(stage: Stage, scene: Scene) -> None:
    stage(scene)
