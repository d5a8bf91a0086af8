"""What fence_pve makes of each answer that Proxmox VE or the way to it can give: one row for each of the specification's reactions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from lab.proxmox import faults
from lab.proxmox.faults import Fault
from tests.fence import running
from tests.fence.running import USER, Agent, Options, Scene, Scenes, Stage

pytestmark = pytest.mark.once

stage = running.stage

OFF, ON, REBOOTED = "Success: Powered OFF\n", "Success: Powered ON\n", "Success: Rebooted\n"
STOP, START, RESET = "/121/status/stop$", "/121/status/start$", "/121/status/reset$"
CURRENT, LOCATE, TASK, LOGIN = "/121/status/current$", "/cluster/resources$", "/tasks/[^/]+/status$", "/access/ticket$"

# What a healthy action and one that has to give up may take, on a machine that is busy otherwise: nothing here may hang.
SOON, PATIENT = 20.0, 40.0

Arrange = Callable[[Agent], object]


def refusal(status: int, reason: str, errors: dict[str, str] | None = None) -> Fault:
    """Return an error of the API as its JSON formatter writes it."""
    document: dict[str, object] = {"data": None, "message": f"{reason}\n"}
    if errors:
        document["errors"] = errors
    return faults.text(json.dumps(document).encode(), status, reason)


def disturb(fault: Fault) -> Arrange:
    return lambda agent: agent.standin.disturb(fault)


def api(node: str, state: str) -> Arrange:
    return lambda agent: setattr(agent.world.nodes[node], "api", state)


def nothing(agent: Agent) -> None:
    del agent


def stopped(vmid: int) -> Arrange:
    return lambda agent: agent.world.crash(vmid)


def both(*steps: Arrange) -> Arrange:
    return lambda agent: [step(agent) for step in steps]


def asks(method: str, path: str, times: int) -> Arrange:
    """Return a check that the API was asked so often."""

    def check(agent: Agent) -> None:
        assert len(agent.calls(method, path)) == times, agent.api.asked

    return check


def alive(agent: Agent) -> None:
    assert agent.runs(121)


def dead(agent: Agent) -> None:
    assert not agent.runs(121)


@dataclass(frozen=True)
class Row:
    """Situation, action, and what comes of it; `says` are patterns for stderr, `then` looks at the cluster afterwards."""

    name: str
    arrange: Arrange
    code: int
    says: tuple[str, ...] = ()
    action: str = "off"
    options: Options = field(default_factory=dict)
    stdout: str = ""
    within: float = SOON
    then: Arrange = nothing

    def play(self, agent: Agent) -> None:
        self.arrange(agent)
        agent(self.action, **self.options).expect(self.code, *self.says, stdout=self.stdout, within=self.within)
        self.then(agent)


def as_root(agent: Agent) -> None:
    agent.world.add_user("root@pam", str(agent.options["password"]))


def no_second_factor(agent: Agent) -> None:
    agent.world.add_user(USER, str(agent.options["password"]), tfa=True)


def isolated(agent: Agent) -> None:
    with agent.changing() as world:
        world.nodes["pve1"].isolated = True


def locked(kind: str, seconds: float) -> Arrange:
    def arrange(agent: Agent) -> None:
        with agent.changing() as world:
            world.guests[121].locks_for(kind, seconds)

    return arrange


def never_skips(agent: Agent) -> None:
    sent = agent.calls("POST", STOP)
    assert not any("skiplock" in request.params for request in sent), sent


def placed(node: str) -> Fault:
    """Return a stale list that has guest 121 on this node."""
    return faults.data([
        {"id": "node/pve1", "type": "node", "node": "pve1", "status": "online"},
        {"id": "node/pve2", "type": "node", "node": "pve2", "status": "online"},
        {"id": "qemu/121", "type": "qemu", "vmid": 121, "node": node, "name": "rhel1", "status": "running", "template": 0},
    ])  # fmt: skip


def current(status: str) -> Fault:
    return faults.data({"vmid": 121, "name": "rhel1", "status": status, "qmpstatus": status, "ha": {"managed": 0}}).at(
        method="GET", path=CURRENT, times=1
    )


UNKNOWN_PROPERTY = "property is not defined in schema and the schema does not allow additional properties"
NO_QUORUM = refusal(500, "cluster not ready - no quorum?")

ROWS = [
    # No connection, or none that lasts.
    Row("connection refused", api("pve1", "refusing"), 1, (r"127\.0\.0\.11:\d+: .*refused",)),
    Row("no route", nothing, 1, (r"192\.0\.2\.1:\d+: .*unreachable",), options={"ip": "192.0.2.1"}),
    Row("no such name", nothing, 1, (r"nowhere\.invalid",), options={"ip": "nowhere.invalid"}, within=15),
    Row("connecting takes for ever", api("pve1", "black hole"), 1, (r"127\.0\.0\.11:\d+.* within 3 s",), within=15),
    Row("something else listens there", disturb(faults.no_tls()), 1, (r"127\.0\.0\.11:\d+: .*(TLS|HTTPS)",)),
    Row("reset after the login", disturb(faults.reset().at(path=LOCATE)), 1, (r"127\.0\.0\.11:\d+: .*(closed|reset)",)),
    Row("one reset", disturb(faults.reset().at(path=LOCATE, times=1)), 0, stdout=OFF, then=dead),
    Row("reset after a stop that was obeyed", disturb(faults.reset().at(path=STOP, times=1)), 0, stdout=OFF, then=dead),
    Row("reset before a stop was obeyed", disturb(faults.reset().at(path=STOP, times=1, obeyed=False)), 0, stdout=OFF, then=dead),
    Row("reset of the question for the task", disturb(faults.reset().at(path=TASK, times=1)), 0, stdout=OFF, then=dead),
    # A node that another node cannot reach.
    Row("595", disturb(faults.empty(595, "No route to host").at(path="/nodes/pve1/")), 1,
        ("hypervisor pve1 (is )?unreachable", "VM 121.*unknown", "No route to host"), within=15, then=alive),
    *(Row(f"{status} {reason}", disturb(faults.empty(status, reason).at(path="/nodes/pve1/")), 1,
          ("pve1", f"{status} {reason}"), options={"time_limit": 4}, then=alive)
      for status, reason in ((595, "Connection refused"), (595, "Connection timed out"), (596, "tls_process_server_certificate"),
                             (597, "Broken pipe"), (599, "Too many redirections"))),
    Row("595 once", disturb(faults.empty(595, "Connection timed out").at(path=CURRENT, times=1)), 0, stdout=OFF, then=dead),
    # Who we are.
    Row("login refused", nothing, 1, (rf"login refused for user {USER}", "password"), options={"password": "no-such-pass"},
        then=asks("POST", LOGIN, 1)),
    Row("login without a realm", nothing, 1, ("login refused for user pacemaker", "realm"), options={"username": "pacemaker"},
        then=asks("POST", LOGIN, 1)),
    Row("a ticket that is not accepted any more", disturb(faults.empty(401, "permission denied - invalid PVE ticket").at(
        path=LOCATE, times=1)), 0, stdout=OFF, then=both(dead, asks("POST", LOGIN, 2))),
    Row("no ticket is ever accepted", disturb(faults.empty(401, "Authentication failed!").at(path=LOCATE)), 1,
        (USER, "Authentication failed!"), then=both(alive, asks("POST", LOGIN, 2))),
    Row("a token that is refused", nothing, 1, (rf"{USER}!fence",),
        options={"password": None, "token": f"{USER}!fence=11111111-2222-4333-8444-555555555555"}, then=asks("POST", LOGIN, 0)),
    Row("a second factor", no_second_factor, 1, ("second factor|TFA", "token"), then=both(alive, asks("GET", LOCATE, 0))),
    # What we may do.
    Row("no VM.PowerMgmt", lambda agent: agent.grant("/vms/121", "VM.Audit"), 1,
        (re.escape("Permission check failed (/vms/121, VM.PowerMgmt)"),), then=both(alive, asks("POST", STOP, 1))),
    Row("no VM.Audit", lambda agent: agent.grant("/vms/121", "VM.PowerMgmt"), 1, ("121", "VM.Audit"), then=alive),
    Row("a server before 5.2.0 gives reasons in its status line only", both(
        lambda agent: agent.grant("/vms/121", "VM.Audit"), lambda agent: setattr(agent.world, "error_message", False)), 1,
        (re.escape("Permission check failed (/vms/121, VM.PowerMgmt)"),)),
    # Parameters.
    Row("a server that does not know overrule-shutdown", lambda agent: setattr(agent.world, "overrule_shutdown", False), 0, stdout=OFF,
        then=both(dead, asks("POST", STOP, 2))),
    Row("a parameter of the stop that is unknown", disturb(refusal(400, "Parameter verification failed.", {"timeout": UNKNOWN_PROPERTY}).at(
        path=STOP, times=1, obeyed=False)), 0, stdout=OFF, then=dead),
    Row("400 that names nothing of ours", disturb(refusal(400, "Parameter verification failed.", {"vmid": "type check failed"}).at(
        path=STOP, obeyed=False)), 1, ("vmid: type check failed",), then=alive),
    Row("a plug that is neither a VMID nor a name", nothing, 1, ("nosuch", "name"), options={"plug": "nosuch"}, then=alive),
    Row("a VMID that nobody has", nothing, 1, ("999",), options={"plug": "999"}),
    # Where the guest is.
    Row("a list that was stale", disturb(placed("pve2").at(path=LOCATE, times=1)), 0, stdout=OFF, then=dead),
    Row("a list that stays stale", disturb(placed("pve2").at(path=LOCATE)), 1, ("121",), options={"time_limit": 8}, within=PATIENT,
        then=alive),
    # Quorum.
    Row("no quorum: on", both(stopped(121), disturb(NO_QUORUM.at(path=START, obeyed=False))), 1, ("no quorum",), action="on"),
    Row("no quorum: off", disturb(NO_QUORUM.at(path=START, obeyed=False)), 0, stdout=OFF, then=dead),
    Row("no quorum: reboot", disturb(NO_QUORUM.at(path=START, obeyed=False)), 0, ("no quorum", "fenced"), action="reboot", stdout=REBOOTED,
        within=20, then=dead),
    Row("a node without quorum: on", both(stopped(121), isolated), 1, ("no quorum",), action="on", then=asks("POST", START, 1)),
    Row("a node without quorum: reboot", isolated, 0, ("no quorum", "fenced"), action="reboot", stdout=REBOOTED, then=dead),
    # Locks.
    Row("locked for a while", locked("backup", 10), 0, ("locked .backup.",), stdout=OFF, within=PATIENT, then=dead),
    Row("locked for good", locked("snapshot", 1e6), 1, ("locked .snapshot.",), options={"time_limit": 4}, then=both(alive, never_skips)),
    Row("locked, and root with a ticket", both(as_root, locked("backup", 1e6)), 0, options={"username": "root@pam"}, stdout=OFF, then=dead),
    Row("a migrate lock, and root with a ticket", both(as_root, locked("migrate", 1e6)), 1, ("migrat",), within=PATIENT,
        options={"username": "root@pam", "time_limit": 4}, then=both(alive, never_skips)),
    Row("a migrate lock for a while", locked("migrate", 10), 0, stdout=OFF, within=PATIENT, then=dead),
    Row("a lock file that is held", locked("flock", 40), 0, ("can't lock file",), stdout=OFF, within=PATIENT, then=dead),
    Row("a lock file that is held for good", locked("flock", 1e6), 1, ("lock",), options={"time_limit": 4}, then=alive),
    # Power that is as wanted already.
    Row("off already", stopped(121), 0, stdout="Success: Already OFF\n", then=asks("POST", STOP, 0)),
    Row("on already", nothing, 0, action="on", stdout="Success: Already ON\n", then=asks("POST", START, 0)),
    Row("runs already when it is started", disturb(current("stopped")), 0, action="on", stdout=ON, then=alive),
    Row("runs no more when it is reset", both(stopped(121), disturb(current("running"))), 0, action="reboot", stdout=REBOOTED,
        options={"method": "cycle"}, then=both(alive, asks("POST", START, 1))),
    Row("a reset that is refused", disturb(refusal(500, "VM 121 qmp command failed").at(path=RESET, obeyed=False)), 1, ("qmp",),
        action="reboot", options={"method": "cycle", "time_limit": 6}, then=alive),
    # Tasks.
    Row("a task that lies", lambda agent: setattr(agent.world.guests[121], "stop_lies", True), 1, ("121",), options={"time_limit": 5},
        then=alive),
    Row("a task that is forgotten", disturb(refusal(400, "no such task").at(path=TASK, times=1)), 0, stdout=OFF, then=dead),
    Row("a guest that takes SIGKILL", lambda agent: setattr(agent.world.guests[121], "dies_at", "SIGKILL"), 0, stdout=OFF, within=PATIENT,
        then=dead),
    Row("a guest that nothing kills", lambda agent: setattr(agent.world.guests[121], "dies_at", "never"), 1, ("121",),
        options={"time_limit": 6}, then=alive),
    Row("a start that fails", both(stopped(121), lambda agent: setattr(agent.world.guests[121], "start_fails", "no space left")), 1,
        ("no space left",), action="on", options={"time_limit": 5}),
    Row("a start that fails in a reboot", lambda agent: setattr(agent.world.guests[121], "start_fails", "no space left"), 0,
        ("no space left",), action="reboot", stdout=REBOOTED, within=20, then=dead),
]  # fmt: skip


@pytest.mark.parametrize("scene", [Scene(row.name, row.play) for row in ROWS], ids=str)
def test_a_reaction(stage: Stage, scene: Scene) -> None:
    stage(scene)


# What no answer of the API is.  Whatever was in it is nobody's business: only code and reason phrase are told.
MARK = b"Seen-In-No-Log"
STRANGE = {
    "page of a proxy": faults.text(b"<html>" + MARK + b"</html>", 200, "Fine"),
    "error page of a proxy": faults.text(b"<html>" + MARK + b"</html>", 502, "Bad Gateway"),
    "redirect": faults.redirect("https://elsewhere.example/" + MARK.decode()),
    "half a document": faults.text(b'{"data":[{"' + MARK, 200, "Half"),
    "not UTF-8": faults.text(b"\xff\xfe" + MARK, 200, "Strange"),
    "empty": faults.text(b"", 200, "Nothing"),
    "a list": faults.text(b'["' + MARK + b'"]', 200, "List"),
    "no data": faults.text(b'{"success":1}', 200, "Success"),
    "null": faults.data(None),
    "a text": faults.data(MARK.decode()),
    "a number": faults.data(7),
    "a list of texts": faults.data([MARK.decode()]),
    "an object": faults.data({"status": MARK.decode(), "vmid": "x"}),
    "nested too deep": faults.text(b"[" * 100_000, 200, "Deep"),
    "not HTTP": faults.garbage(),
    "cut": faults.cut(40),
    "cut behind the head": faults.cut(),
    "stalled": faults.stalled(),
}
ASKED = {"login": LOGIN, "list of guests": LOCATE, "state of the guest": CURRENT, "order to stop": STOP, "state of the task": TASK}
STATUS = {"page of a proxy": "200 Fine", "error page of a proxy": "502 Bad Gateway", "redirect": "302 Found",
          "half a document": "200 Half", "not UTF-8": "200 Strange"}  # fmt: skip


@dataclass(frozen=True)
class Nonsense:
    """An answer that is none, again and again or once."""

    where: str
    what: str

    def again_and_again(self, agent: Agent) -> None:
        """See that it never means off, and that its content is not told.

        An order whose answer is lost was given all the same: the guest may well be off, and seen to be.
        """
        agent.secrets.add(MARK.decode())
        agent.standin.disturb(STRANGE[self.what].at(path=ASKED[self.where]))
        outcome = agent("off", time_limit=8)
        if self.where == "order to stop" and not agent.runs():
            outcome.expect(0, stdout=OFF, within=SOON)
        else:
            outcome.expect(1, r"127\.0\.0\.11|pve1", STATUS.get(self.what, ""), within=SOON)

    def once(self, agent: Agent) -> None:
        agent.secrets.add(MARK.decode())
        agent.standin.disturb(STRANGE[self.what].at(path=ASKED[self.where], times=1))
        agent("off").expect(0, stdout=OFF, within=SOON)
        dead(agent)


# Each kind of nonsense at one call at least, each call with several kinds.
AGAIN = [Nonsense(where, what) for number, what in enumerate(STRANGE) for place, where in enumerate(ASKED) if (number + place) % 4 == 0]
ONCE = [Nonsense(where, what) for where in ASKED for what in ("page of a proxy", "half a document", "null", "a text", "cut")]


@pytest.mark.parametrize("scene", [Scene(f"{each.where}: {each.what}", each.again_and_again) for each in AGAIN], ids=str)
def test_nonsense_is_a_failure_of_the_endpoint(stage: Stage, scene: Scene) -> None:
    stage(scene)


@pytest.mark.parametrize("scene", [Scene(f"{each.where}: {each.what}", each.once) for each in ONCE], ids=str)
def test_nonsense_that_passes(stage: Stage, scene: Scene) -> None:
    stage(scene)


def stateless(action: str, state: object) -> Scene:
    def play(agent: Agent) -> None:
        agent.standin.disturb(faults.data({"vmid": 121, "name": "rhel1", "status": state}).at(path=CURRENT))
        agent(action, time_limit=8).expect(1, "status", within=SOON)

    return Scene(f"{action}: {state}", play)


STATES: list[object] = [None, "unknown", "", 0, {}, "paused", ["stopped"], "STOPPED"]


@pytest.mark.parametrize("scene", [stateless("off", state) for state in STATES] +
                         [stateless(action, "unknown") for action in ("status", "on", "reboot", "monitor")], ids=str)  # fmt: skip
def test_a_state_that_is_none_never_means_off(stage: Stage, scene: Scene) -> None:
    stage(scene)


OTHERS = Scenes()


@OTHERS.on()
def a_refusal_takes_as_long_as_it_does_in_life(agent: Agent) -> None:
    """A refused login is answered after 3 s: the agent waits for it, asks no second time, and leaves time for another device."""
    agent.api.hurry = 1
    outcome = agent("off", password="no-such-pass")
    outcome.expect(1, "login refused", within=SOON)
    assert outcome.seconds > 3
    assert len(agent.calls("POST", LOGIN)) == 1


@OTHERS.on()
def a_live_migration_is_under_way(agent: Agent) -> None:
    """The source's process ends while the guest goes on at the target."""
    with agent.changing() as world:
        world.migrate(121, "pve2", seconds=5)
    agent("off").expect(0, stdout=OFF, within=PATIENT)
    dead(agent)


@OTHERS.on()
def a_container(agent: Agent) -> None:
    add_container(agent)
    agent("status").expect(0, stdout="Status: ON\n", within=SOON)
    agent("off").expect(0, stdout=OFF, within=SOON)
    agent("status").expect(2, stdout="Status: OFF\n", within=SOON)
    agent("on").expect(0, stdout=ON, within=SOON)
    agent("reboot").expect(0, stdout=REBOOTED, within=SOON)
    agent("reboot", method="cycle").expect(0, stdout=REBOOTED, within=SOON)
    assert not agent.calls("POST", "/lxc/131/status/reset")
    assert agent.runs(131)


@OTHERS.on()
def a_container_that_stopped_by_itself_just_before(agent: Agent) -> None:
    """The stop of a stopped container is an error at once, where that of a machine is a task that says OK."""
    add_container(agent, running=False)
    data = {"vmid": 131, "name": "ct1", "status": "running", "ha": {"managed": 0}}
    agent.standin.disturb(faults.data(data).at(path="/131/status/current$", times=1))
    agent("off").expect(0, stdout=OFF, within=SOON)
    assert len(agent.calls("POST", "/131/status/stop$")) == 1


def add_container(agent: Agent, *, running: bool = True) -> None:
    with agent.changing() as world:
        world.add_guest(131, "ct1", "pve1", kind="lxc", running=running)
        world.grant("/vms/131", USER, "VM.Audit", "VM.PowerMgmt")
    agent.options.update(plug="131", vmtype="lxc")


@pytest.mark.parametrize("scene", OTHERS, ids=str)
def test_a_course_of_things(stage: Stage, scene: Scene) -> None:
    stage(scene)
