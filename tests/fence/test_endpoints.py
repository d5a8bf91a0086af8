"""Several addresses of one cluster, dead and slow ones among them, and whose word on a guest's owner counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fence_lab.clock import Clock, Deadline
from fence_lab.https import HttpsTransport
from fence_lab.proxmox import Credentials, Endpoint
from fence_lab.transport import Address
from lab.proxmox import faults
from lab.proxmox.server import Standin
from lab.proxmox.world import World
from tests.fence import running
from tests.fence.running import USER, Agent, Options, Scene, Scenes, Stage

pytestmark = pytest.mark.once

stage = running.stage

OFF = "Success: Powered OFF\n"
BOTH = "127.0.0.11,127.0.0.12"
# A healthy action; one that hears nothing from a hypervisor for at most 10 s; one that waits for HA.
SOON, GIVES_UP, PATIENT = 20.0, 20.0, 60.0

SCENES = Scenes()

# What can be wrong with one of two hypervisors.  Each is what the other has to do without.
TROUBLES: dict[str, Callable[[Agent, str], object]] = {
    "dead": lambda agent, node: setattr(agent.world.nodes[node], "power", "dead"),
    "a black hole": lambda agent, node: setattr(agent.world.nodes[node], "api", "black hole"),
    "refusing": lambda agent, node: setattr(agent.world.nodes[node], "api", "refusing"),
    "too slow": lambda agent, node: setattr(agent.world.nodes[node], "slow", 30.0),
    "mute": lambda agent, node: agent.standin.disturb(faults.mute().at(node)),
    "stalling": lambda agent, node: agent.standin.disturb(faults.stalled().at(node)),
    "resetting": lambda agent, node: agent.standin.disturb(faults.reset().at(node)),
    "a proxy's page": lambda agent, node: agent.standin.disturb(faults.html().at(node)),
    "no TLS": lambda agent, node: agent.standin.disturb(faults.no_tls().at(node)),
}


def one_of_two(trouble: str, first: str) -> Scene:
    def play(agent: Agent) -> None:
        TROUBLES[trouble](agent, "pve1")
        outcome = agent("off", plug="222", ip=f"127.0.0.11{first}127.0.0.12")
        outcome.expect(0, stdout=OFF, within=GIVES_UP)
        assert not agent.runs(222)
        # The guest's own node is asked, not another one for it.
        assert set(agent.entries("POST", "/222/status/stop$")) == {"pve2"}

    return Scene(f"{trouble}{first}", play)


@pytest.mark.parametrize("scene", [one_of_two(trouble, ", ") for trouble in TROUBLES], ids=str)
def test_one_hypervisor_of_the_list_is_in_trouble(stage: Stage, scene: Scene) -> None:
    stage(scene)


def owner_in_trouble(trouble: str, ip: str, action: str) -> Scene:
    def play(agent: Agent) -> None:
        agent.grant("/", "Sys.Audit")
        TROUBLES[trouble](agent, "pve2")
        outcome = agent(action, plug="222", ip=ip)
        outcome.expect(1, "pve2", "222", within=GIVES_UP)
        assert "Powered" not in outcome.stdout

    return Scene(f"{action}, {trouble}, {ip}", play)


OWNERS = [owner_in_trouble(trouble, BOTH, "off") for trouble in ("dead", "a black hole")]
OWNERS += [owner_in_trouble("dead", BOTH, action) for action in ("status", "reboot", "monitor")]
OWNERS += [owner_in_trouble(trouble, "127.0.0.11", "off") for trouble in ("dead", "refusing", "too slow")]


@pytest.mark.parametrize("scene", OWNERS, ids=str)
def test_the_owner_is_unreachable(stage: Stage, scene: Scene) -> None:
    """Never off: a failure that names the hypervisor, soon enough for another way of fencing."""
    stage(scene)


@SCENES.on()
def all_are_black_holes(agent: Agent) -> None:
    for node in agent.world.nodes.values():
        node.api = "black hole"
    agent("off", ip=BOTH).expect(1, r"127\.0\.0\.11", r"127\.0\.0\.12", within=GIVES_UP)
    assert agent.runs()


@SCENES.on()
def all_refuse(agent: Agent) -> None:
    for node in agent.world.nodes.values():
        node.api = "refusing"
    agent("off", ip=BOTH).expect(1, r"127\.0\.0\.11.*refused", r"127\.0\.0\.12.*refused", within=SOON)


@SCENES.on()
def one_refuses_the_login(agent: Agent) -> None:
    """Wrong everywhere in a cluster: one question each, and no more."""
    agent("off", ip=BOTH, password="no-such-pass").expect(1, f"login refused for user {USER}", within=SOON)
    assert sorted(agent.entries("POST", "/access/ticket")) in (["pve1"], ["pve1", "pve2"])


@SCENES.on()
def the_owning_node_is_asked_itself(agent: Agent) -> None:
    """The first in the list is not the one: what its proxy would need is not needed."""
    agent("off", plug="222", ip=BOTH).expect(0, stdout=OFF, within=SOON)
    for method, path in (("POST", "/222/status/stop$"), ("GET", "/222/status/current$"), ("GET", "/tasks/")):
        assert set(agent.entries(method, path)) == {"pve2"}, (method, path)


@SCENES.on()
def a_node_that_corosync_has_lost_still_answers_clients(agent: Agent) -> None:
    """Its address comes from the cluster: `ip` names only the other one."""
    agent.grant("/", "Sys.Audit")
    with agent.changing() as world:
        world.partition([{"pve1"}, {"pve2"}])
    agent("off", plug="222", ip="127.0.0.11").expect(0, stdout=OFF, within=GIVES_UP)
    assert not agent.runs(222)


@SCENES.on()
def an_address_that_the_user_may_not_know(agent: Agent) -> None:
    with agent.changing() as world:
        world.partition([{"pve1"}, {"pve2"}])
    agent("off", plug="222", ip="127.0.0.11").expect(1, "pve2", "222", within=GIVES_UP)
    assert agent.runs(222)


@SCENES.on()
def only_the_api_daemon_hangs(agent: Agent) -> None:
    """What pveproxy answers by itself still comes: the list of guests, but neither a login nor a guest's state."""
    agent.world.nodes["pve1"].daemon = "hung"
    agent("off").expect(1, r"127\.0\.0\.11", within=GIVES_UP)
    for action in ("off", "status"):
        agent(action, password=None, token=f"{USER}!fence={running.TOKEN}").expect(1, "pve1", "121", within=GIVES_UP)
    assert agent.runs()


@SCENES.on()
def a_slow_but_honest_hypervisor(agent: Agent) -> None:
    agent.world.nodes["pve1"].slow = 1.0
    agent("off").expect(0, stdout=OFF, within=PATIENT)


def separated(separator: str) -> Scene:
    def play(agent: Agent) -> None:
        port = agent.options["ipport"]
        ip = separator.join(["127.0.0.11", f"127.0.0.12:{port}", "127.0.0.11"])
        agent("status", ip=ip, plug="222").expect(0, stdout="Status: ON\n", within=SOON)
        assert {seen.node for seen in agent.standin.handshakes} == {"pve1", "pve2"}

    return Scene(f"between {separator!r}", play)


def v6() -> World:
    world = World(running.fast())
    world.add_node("pve1", "::1")
    world.add_guest(121, "rhel1", "pve1")
    return world


def at_v6(written: str) -> Scene:
    def play(agent: Agent) -> None:
        agent("off", ip=written.format(port=agent.options["ipport"])).expect(0, stdout=OFF, within=SOON)

    return Scene(written, play, v6)


FORMS = [separated(separator) for separator in (",", " ", ", ", ";", ",,")]
FORMS += [at_v6(written) for written in ("::1", "[::1]", "[::1]:{port}")]


@pytest.mark.parametrize("scene", FORMS, ids=str)
def test_how_a_list_is_written(stage: Stage, scene: Scene) -> None:
    stage(scene)


# More than one cluster.


@contextmanager
def another(directory: Path, *nodes: str) -> Iterator[Standin]:
    """Serve a cluster of other people, which has a guest 121, too, and the same user."""
    world = World(running.fast())
    for number, node in enumerate(nodes):
        world.add_node(node, f"127.0.0.{21 + number}")
    world.add_guest(121, "somebody-elses", nodes[0])
    world.add_user(USER, running.PASSWORD)
    world.grant("/vms/121", USER, "VM.Audit", "VM.PowerMgmt")
    directory.mkdir()
    with Standin(world, directory=directory, port=0) as standin:
        yield standin


def mixed_with(agent: Agent, standin: Standin) -> Options:
    """Return options for a list of both clusters' addresses, both of them trusted."""
    both = agent.directory / "both.pem"
    both.write_bytes(agent.standin.ca_file.read_bytes() + standin.ca_file.read_bytes())
    return {"ip": f"127.0.0.11 127.0.0.21:{standin.port}", "ca_file": both}


def refuses_the_mix(agent: Agent, *nodes: str) -> None:
    with another(agent.directory / "other", *nodes) as other:
        for action in ("off", "status", "monitor"):
            agent(action, **mixed_with(agent, other)).expect(1, r"127\.0\.0\.11", r"127\.0\.0\.21", "cluster", within=SOON)
        assert not [seen for seen in (*other.requests, *agent.standin.requests) if seen.method == "POST" and "status" in seen.path]
        assert agent.runs()


@SCENES.on()
def two_clusters(agent: Agent) -> None:
    refuses_the_mix(agent, "pve8", "pve9")


def one_host() -> World:
    world = World(running.fast())
    world.add_node("pve", "127.0.0.11")
    world.add_guest(121, "rhel1", "pve")
    return world


@SCENES.on(one_host)
def two_hosts_of_their_own_with_one_name(agent: Agent) -> None:
    """What Proxmox VE calls a host by itself, if nobody says otherwise, is pve."""
    refuses_the_mix(agent, "pve")


@SCENES.on(one_host)
def a_host_of_its_own(agent: Agent) -> None:
    agent.grant("/", "Sys.Audit")
    agent("off").expect(0, stdout=OFF, within=SOON)


# Whose word counts.


def hasty() -> World:
    """Return a world in which HA's minutes are seconds; guest 222 is HA's, and the watchdog of its node does not fire."""
    world = World(running.fast(40))
    world.qdevice_votes = 1
    world.add_node("pve1", "127.0.0.11")
    world.add_node("pve2", "127.0.0.12")
    world.add_guest(121, "rhel1", "pve1")
    world.add_guest(222, "rhel2", "pve2", ha=True)
    world.grant("/", USER, "Sys.Audit")
    world.nodes["pve2"].watchdog = False
    return world


def recovered(agent: Agent) -> None:
    """Wait until HA runs 222 on pve1."""
    limit = time.monotonic() + 60
    while True:
        with agent.changing() as world:
            if world.guests[222].node == "pve1" and world.guests[222].run_on("pve1"):
                return
        assert time.monotonic() < limit, world.guests[222]
        time.sleep(0.05)


@SCENES.on(hasty)
def ha_has_moved_the_guest_off_a_dead_node(agent: Agent) -> None:
    with agent.changing() as world:
        world.nodes["pve2"].power = "dead"
    recovered(agent)
    agent("off", plug="222", ip=BOTH).expect(0, "HA", stdout=OFF, within=PATIENT)
    assert not agent.runs(222)


def isolated(agent: Agent) -> None:
    """Cut pve2 off: the guest dies there, HA runs it on pve1, and pve2 has heard of nothing."""
    with agent.changing() as world:
        world.nodes["pve2"].isolated = True
        world.crash(222)
    recovered(agent)


@SCENES.on(hasty)
def an_isolated_node_says_stopped_and_the_quorate_part_is_asked_too(agent: Agent) -> None:
    isolated(agent)
    agent("status", plug="222", ip="127.0.0.12,127.0.0.11").expect(0, stdout="Status: ON\n", within=GIVES_UP)
    agent("off", plug="222", ip="127.0.0.12,127.0.0.11").expect(0, stdout=OFF, within=PATIENT)
    assert not agent.runs(222)


@SCENES.on(hasty)
def an_isolated_node_says_stopped_and_nobody_else_can_be_asked(agent: Agent) -> None:
    isolated(agent)
    with agent.changing() as world:
        world.nodes["pve1"].api = "refusing"
    for action in ("off", "reboot", "status"):
        agent(action, plug="222", ip="127.0.0.12").expect(1, "222", "quor", within=GIVES_UP)
    agent("off", plug="222", ip=BOTH).expect(1, "222", within=GIVES_UP)
    assert agent.runs(222)


@SCENES.on(hasty)
def an_isolated_node_knows_the_address_of_the_quorate_part(agent: Agent) -> None:
    isolated(agent)
    agent("off", plug="222", ip="127.0.0.12").expect(0, stdout=OFF, within=PATIENT)
    assert not agent.runs(222)


@SCENES.on(hasty)
def who_may_not_ask_for_quorum_cannot_prove_a_guest_of_ha_off(agent: Agent) -> None:
    isolated(agent)
    agent.grant("/")
    agent("off", plug="222", ip="127.0.0.12").expect(1, "222", "Sys.Audit", within=GIVES_UP)
    assert agent.runs(222)


@SCENES.on()
def without_quorum_a_guest_that_ha_does_not_know_is_off(agent: Agent) -> None:
    agent.grant("/", "Sys.Audit")
    with agent.changing() as world:
        world.nodes["pve2"].isolated = True
    agent("off", plug="222", ip="127.0.0.12").expect(0, stdout=OFF, within=GIVES_UP)
    assert not agent.runs(222)


def moved_by_hand(agent: Agent) -> None:
    """Move a guest's configuration off an isolated node, as administrators do, and start it."""
    with agent.changing() as world:
        world.nodes["pve2"].isolated = True
        world.crash(222)
        world.guests[222].change(node="pve1")
        world.begin(world.guests[222], world.nodes["pve1"])


@SCENES.on()
def the_quorate_part_places_the_guest_elsewhere(agent: Agent) -> None:
    agent.grant("/", "Sys.Audit")
    moved_by_hand(agent)
    agent("off", plug="222", ip="127.0.0.12 127.0.0.11").expect(0, stdout=OFF, within=GIVES_UP)
    assert not agent.runs(222)


@SCENES.on()
def two_endpoints_differ_and_nobody_knows_who_is_quorate(agent: Agent) -> None:
    moved_by_hand(agent)
    outcome = agent("off", plug="222", ip="127.0.0.12 127.0.0.11", time_limit=15)
    assert outcome.seconds < PATIENT
    assert (outcome.code, agent.runs(222)) in {(0, False), (1, True)}, outcome
    if outcome.code:
        outcome.expect(1, "222", "pve1", "pve2", within=PATIENT)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_the_list(stage: Stage, scene: Scene) -> None:
    stage(scene)


# More than one thread at one address.

def test_a_ticket_is_never_seen_without_its_token() -> None:
    """A thread that posts while another one logs in takes what is there; a ticket alone is refused."""
    seen: list[tuple[bool, bool]] = []

    class Watched(Endpoint):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if "_again" in vars(self):
                seen.append((bool(self._headers), bool(self._csrf)))

    clock, log = Clock(), logging.getLogger("tests.fence.endpoints")
    connection = HttpsTransport(log=log).connection(Address("pve1", 8006))
    endpoint = Watched(connection, Credentials("root@pam", "x"), Deadline.after(clock, 5), log)
    endpoint.adopt("PVE:root@pam:66F0::x", "66F0:y")
    assert seen[-1] == (True, True)
    assert (True, False) not in seen
