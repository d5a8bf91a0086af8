"""What passes for proof, in clusters that are laid out to deceive: made by hand where schedules would have to be lucky."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fence_lab.pve import FencePve
from fence_lab.transport import Address, Transport
from lab.proxmox.world import World
from tests.fence.simulated import Line, Network, SimulatedClock, SimulatedConnection, SimulatedTransport

USER, PASSWORD = "pacemaker@pve", "right"


@dataclass
class Scene:
    """Clusters, by the first part of their addresses, and the clock that they share."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)
    worlds: dict[str, World] = field(default_factory=dict)

    def cluster(self, net: str, *names: str, qdevice: int = 0) -> World:
        world = self.clock.world = self.worlds[net] = World(self.clock.world_time)
        world.qdevice_votes = qdevice
        for number, name in enumerate(names, 1):
            world.add_node(name, f"{net}.{number}")
        world.add_user(USER, PASSWORD)
        return world

    def guest(self, world: World, node: str, *, running: bool = True, ha: bool = False, audit: bool = True) -> None:
        world.add_guest(121, "rhel1", node, running=running, ha=ha)
        world.grant("/vms/121", USER, "VM.Audit", "VM.PowerMgmt")
        if audit:
            world.grant("/", USER, "Sys.Audit", propagate=False)

    def passes(self, seconds: float) -> None:
        for world in self.worlds.values():
            self.clock.world = world
            world.advance()
        self.clock.spend(seconds)
        self.clock.reach()

    def call(self, *lines: str, before: Callable[[], None] | None = None) -> tuple[int, str, str]:
        """Run the agent; return exit code, stdout and stderr."""
        trace: list[Line] = []
        ways = {net: SimulatedTransport(world, self.clock, Network(random.Random(1), 0.01, {}, (), lambda request: None,
                                                                   lambda request, response: None), trace)
                for net, world in self.worlds.items()}  # fmt: skip

        class Several(SimulatedTransport):
            def connection(self, address: Address) -> SimulatedConnection:
                return ways[address.host.rpartition(".")[0]].connection(address)

        several = Several(next(iter(self.worlds.values())), self.clock, next(iter(ways.values())).network, trace)

        class Played(FencePve):
            def transport(self) -> Transport:
                return several

        if before:
            before()
        stdin = io.StringIO("\n".join([f"username={USER}", f"password={PASSWORD}", "plug=121", *lines]))
        stdout, stderr = io.StringIO(), io.StringIO()
        code = Played.run([], stdin, stdout, stderr, {"PCMK_service": "pacemaker-fenced"}, self.clock)
        return code, stdout.getvalue(), stderr.getvalue()


def recovered() -> tuple[Scene, World]:
    """Return a cluster whose node pve1 HA has given up: its guest runs on another node now, and pve1 still calls it its own."""
    scene = Scene()
    world = scene.cluster("10.0.0", "pve1", "pve2", "pve3")
    scene.guest(world, "pve1", ha=True)
    scene.passes(30)
    world.nodes["pve1"].isolated = True
    scene.passes(400)
    assert [run.node for run in world.guests[121].living()] == [world.guests[121].node] != ["pve1"]
    return scene, world


@pytest.mark.parametrize("action", ["off", "status", "reboot"])
def test_a_member_that_tells_of_no_cluster_is_no_single_host(action: str) -> None:
    scene, world = recovered()
    pve1 = world.nodes["pve1"]
    pve1.corosync, pve1.isolated, pve1.power = False, False, "on"
    scene.passes(30)
    code, stdout, stderr = scene.call(f"action={action}", "ip=10.0.0.1")
    assert (code, stdout) == (1, "")
    assert "nobody tells who is quorate" in stderr
    assert world.guests[121].living()


@pytest.mark.parametrize("names", [("pve1", "pve2"), ("pve1",)], ids=["the same names", "a part of the names"])
def test_addresses_of_two_clusters_are_refused(names: tuple[str, ...]) -> None:
    scene = Scene()
    scene.guest(scene.cluster("10.0.0", "pve1", "pve2"), "pve1")
    other = scene.cluster("10.0.1", *names)
    scene.guest(other, "pve1", running=False)
    for node in other.nodes.values():
        node.fingerprint = node.fingerprint[::-1]
    code, stdout, stderr = scene.call("action=off", "ip=10.0.0.1,10.0.1.1")
    assert (code, stdout) == (1, "")
    assert "are not of one cluster" in stderr


def test_one_renewed_certificate_makes_no_other_cluster() -> None:
    scene = Scene()
    world = scene.cluster("10.0.0", "pve1", "pve2")
    scene.guest(world, "pve1")
    code, stdout, stderr = scene.call("action=off", "ip=10.0.0.1,10.0.0.2")
    assert (code, stdout, stderr) == (0, "Success: Powered OFF\n", "")
    assert not world.guests[121].living()


def test_a_cycle_begins_where_the_guest_is() -> None:
    scene, world = recovered()
    world.nodes["pve1"].power = "on"
    for name in ("pve2", "pve3"):
        world.nodes[name].api = "refusing"
        world.at(1.0, lambda name=name: setattr(world.nodes[name], "api", "up"))  # type: ignore[misc]  # lambda's default
    began = scene.clock.now()
    code, stdout, stderr = scene.call("action=reboot", "method=cycle", "ip=10.0.0.1,10.0.0.2,10.0.0.3")
    reset = [reset for reset in world.guests[121].resets if reset.at >= began]
    started = [run for run in world.guests[121].runs if run.began >= began]
    assert (code == 0) == bool(reset or started), stderr
    assert stdout == ("Success: Rebooted\n" if code == 0 else "")


@pytest.mark.parametrize("said", ["500 ipcc_send_rec[1] failed: Connection refused", "500 got timeout"])
def test_a_server_that_stumbles_once_is_asked_again(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fence_lab.transport import Reply

    scene = Scene()
    world = scene.cluster("10.0.0", "pve1", "pve2")
    scene.guest(world, "pve1")
    ask, seen = SimulatedConnection.request, set[str]()

    def stumble(self: SimulatedConnection, method: str, path: str, **others: object) -> Reply:
        kind = path.partition("UPID")[0]
        if method == "GET" and kind not in seen:
            seen.add(kind)
            return Reply(500, said[4:], b'{"data":null}')
        return ask(self, method, path, **others)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(SimulatedConnection, "request", stumble)
    code, stdout, stderr = scene.call("action=off", "ip=10.0.0.1")
    assert (code, stdout) == (0, "Success: Powered OFF\n"), stderr
    assert len(seen) >= 3


@pytest.mark.parametrize("lines", [["username=pacemaker@pve!fence=TOPSECRET"], ["username=pacemaker@pve!fence=TOPSECRET", "token=x"]])
def test_a_secret_in_the_wrong_place_is_not_repeated(lines: list[str]) -> None:
    scene = Scene()
    scene.guest(scene.cluster("10.0.0", "pve1"), "pve1")
    code, _, stderr = scene.call("action=monitor", "ip=10.0.0.1", *lines)
    assert code == 1
    assert "TOPSECRET" not in stderr
    assert "put USER@REALM!NAME=SECRET into token" in stderr


@pytest.mark.parametrize("vmid", ["²", "1" * 5000, "-1", "1.5", ""])
def test_a_number_that_is_none_is_a_garbled_answer(vmid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fence_lab.cluster import guest_of
    from fence_lab.proxmox import Garbled

    with pytest.raises(Garbled):
        guest_of({"vmid": vmid, "node": "pve1", "type": "qemu"}, "pve1")
