"""monitor proves the whole way that fencing takes: each link of it that breaks is a failure that names it."""

from __future__ import annotations

import pytest

from lab.proxmox import faults
from lab.proxmox.world import World
from tests.fence import running
from tests.fence.running import TOKEN, USER, Agent, Outcome, Scene, Scenes, Stage

stage = running.stage

BOTH = "127.0.0.11,127.0.0.12"
SOON, GIVES_UP = 20.0, 20.0

SCENES = Scenes()


def changes_nothing(agent: Agent) -> None:
    assert [request for request in agent.calls("POST", "") if request.path != "/access/ticket"] == []


def healthy(outcome: Outcome) -> None:
    outcome.expect(0, within=SOON)
    assert (outcome.stderr, outcome.syslog) == ("", ""), outcome


@SCENES.on()
def all_is_well(agent: Agent) -> None:
    healthy(agent("monitor"))
    healthy(agent("monitor", ip=BOTH))
    healthy(agent("monitor", plug="rhel2", ip=BOTH))
    changes_nothing(agent)


@SCENES.on()
def without_a_plug_all_that_can_be_shown_is_the_login(agent: Agent) -> None:
    """As Pacemaker has it that gives plug only with the node to fence: pcmk_host_map."""
    healthy(agent("monitor", plug=None))
    agent("monitor", plug=None, password="no-such-pass").expect(1, "login refused", within=SOON)


@SCENES.on()
def as_pacemaker_runs_it(agent: Agent) -> None:
    """Pacemaker asks for no timeouts of the agent's own, and tells monitor no node."""
    healthy(agent("monitor", environment={"PCMK_service": "pacemaker-fenced"}))
    agent.world.nodes["pve1"].api = "black hole"
    agent("monitor", environment={"PCMK_service": "pacemaker-fenced"}).expect(1, r"127\.0\.0\.11", within=GIVES_UP)


@SCENES.on()
def a_guest_that_is_off_can_be_fenced_as_well(agent: Agent) -> None:
    agent.world.crash(121)
    healthy(agent("monitor"))


@SCENES.on()
def the_login(agent: Agent) -> None:
    agent("monitor", password="no-such-pass").expect(1, f"login refused for user {USER}", within=SOON)


@SCENES.on()
def a_token(agent: Agent) -> None:
    healthy(agent("monitor", password=None, token=f"{USER}!fence={TOKEN}"))
    agent.secrets.add("22222222-2222-4333-8444-555555555555")
    refused = agent("monitor", password=None, token=f"{USER}!fence=22222222-2222-4333-8444-555555555555")
    refused.expect(1, rf"{USER}!fence", within=SOON)


@SCENES.on()
def a_token_with_less_rights_than_its_user(agent: Agent) -> None:
    agent.grant("/vms/121", "VM.Audit", who=f"{USER}!fence")
    agent("monitor", password=None, token=f"{USER}!fence={TOKEN}").expect(1, "VM.PowerMgmt", "/vms/121", f"{USER}!fence", within=SOON)


@SCENES.on()
def the_guest(agent: Agent) -> None:
    agent("monitor", plug="999").expect(1, "999", within=SOON)
    agent("monitor", plug="nosuch").expect(1, "nosuch", within=SOON)
    agent.grant("/vms/121", "VM.PowerMgmt")
    agent("monitor").expect(1, "121", "VM.Audit", within=SOON)


@SCENES.on()
def no_rights_at_all(agent: Agent) -> None:
    """The stock agent's monitor is content with an empty list (D15)."""
    agent.grant("/vms/121")
    agent.grant("/vms/222")
    agent("monitor").expect(1, "121", "VM.Audit", within=SOON)


@SCENES.on()
def its_state(agent: Agent) -> None:
    agent.standin.disturb(faults.data({"vmid": 121, "status": "unknown"}).at(path="/status/current$"))
    agent("monitor").expect(1, "status", "121", within=SOON)


@SCENES.on()
def a_state_that_cannot_be_read(agent: Agent) -> None:
    fault = faults.text(b'{"data":null,"message":"unable to read /var/run/qemu-server/121.pid\\n"}', 500, "unable to read the pid file")
    agent.standin.disturb(fault.at(path="/status/current$"))
    agent("monitor").expect(1, "121", "unable to read the pid file", within=SOON)


@SCENES.on()
def the_right_to_stop_it(agent: Agent) -> None:
    agent.grant("/vms/121", "VM.Audit")
    agent("monitor").expect(1, "VM.PowerMgmt", "/vms/121", USER, within=SOON)
    changes_nothing(agent)


@SCENES.on()
def rights_that_cannot_be_read(agent: Agent) -> None:
    """Whatever cannot be seen is not proven."""
    fault = faults.text(b'{"data":null,"message":"cannot read user.cfg\\n"}', 500, "cannot read user.cfg")
    agent.standin.disturb(fault.at(path="^/access/permissions"))
    agent("monitor").expect(1, "cannot read user.cfg|VM.PowerMgmt", within=SOON)


@SCENES.on()
def its_hypervisor(agent: Agent) -> None:
    with agent.changing() as world:
        world.nodes["pve2"].api = "refusing"
    agent("monitor", plug="222").expect(1, "pve2", "222", within=GIVES_UP)
    agent("monitor", plug="222", ip=BOTH).expect(1, "pve2", "222", within=GIVES_UP)


@SCENES.on()
def its_hypervisor_is_a_black_hole(agent: Agent) -> None:
    with agent.changing() as world:
        world.nodes["pve2"].power = "dead"
    agent("monitor", plug="222", ip=BOTH).expect(1, "pve2", "222", within=GIVES_UP)


@SCENES.on()
def one_of_two_guests(agent: Agent) -> None:
    healthy(agent("monitor", plug="121,222"))
    agent.grant("/vms/222", "VM.Audit")
    agent("monitor", plug="121,222").expect(1, "VM.PowerMgmt", "/vms/222", within=SOON)


@SCENES.on()
def a_template(agent: Agent) -> None:
    with agent.changing() as world:
        world.guests[121].change(template=True)
    agent("monitor").expect(1, "121", "template", within=SOON)


@SCENES.on()
def a_guard_that_does_not_fit(agent: Agent) -> None:
    healthy(agent("monitor", vm_name="rhel1"))
    agent("monitor", vm_name="rhel2").expect(1, "121", "rhel1", "rhel2", within=SOON)


def degraded(state: str) -> Scene:
    def play(agent: Agent) -> None:
        with agent.changing() as world:
            world.nodes["pve2"].api = state
        outcome = agent("monitor", ip=BOTH)
        outcome.expect(0, r"127\.0\.0\.12", within=GIVES_UP)
        assert len(outcome.levels("WARNING")) == 1, outcome
        assert "127.0.0.12" in outcome.syslog, outcome

    return Scene(state, play)


@pytest.mark.parametrize("scene", [degraded(state) for state in ("refusing", "black hole")], ids=str)
def test_an_endpoint_that_is_not_needed_is_missing(stage: Stage, scene: Scene) -> None:
    """Fencing works: a warning names the address, and the monitor is good."""
    stage(scene)


def of_ha() -> World:
    world = running.two_nodes()
    world.guests[121].ha = "started"
    return world


@SCENES.on(of_ha)
def ha_manages_the_guest(agent: Agent) -> None:
    agent.grant("/", "Sys.Audit")
    outcome = agent("monitor")
    outcome.expect(0, "121.*HA", within=SOON)
    assert len(outcome.levels("WARNING")) == 1, outcome


@SCENES.on(of_ha)
def ha_manages_the_guest_and_quorum_may_not_be_seen(agent: Agent) -> None:
    """Such a guest could not be proven off: better to know before."""
    agent("monitor").expect(1, "121", "HA", "Sys.Audit", within=SOON)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_the_link(stage: Stage, scene: Scene) -> None:
    stage(scene)
