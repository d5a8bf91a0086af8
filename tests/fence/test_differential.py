"""The stock fence_pve and ours, side by side against clusters that are alike: the same exit code and the same stdout.

Where they differ, the difference stands in DIFFERENCES with the number that the defect of the stock agent has in the reference
(fence-agents-and-proxmox, section 3) and with what each of them says.  A difference that stands there must be there.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.proxmox import faults
from lab.proxmox.certificates import Authority
from lab.proxmox.server import Standin
from lab.proxmox.world import World, small_cluster
from tests.fence.standin import OURS, STOCK, Outcome, end_of, login, repaired_library, run_agent, start_agent, words_of

pytestmark = pytest.mark.cluster

AT_ONCE = 5  # Most of a case's time is sleeping.
WITHIN = 75.0

ACTIONS = ("status", "off", "on", "reboot", "list", "list-status", "monitor", "validate-all")

# How options are written: new names, or those of old configurations; on stdin, or on the command line, where the short ones are old.
STDIN, OLD_STDIN, LONG, SHORT = "stdin", "old names", "long options", "short options"
SPELLINGS = (STDIN, OLD_STDIN, LONG, SHORT)
OLD = {"ip": "ipaddr", "username": "login", "password": "passwd", "plug": "port", "nodename": "node_name",
       "password_script": "passwd_script"}  # fmt: skip
LETTER = {"action": "o", "ip": "a", "ipport": "u", "username": "l", "password": "p", "plug": "n", "method": "m", "pve_node": "N",
          "pve_node_auto": "A", "password_script": "S", "separator": "C"}  # fmt: skip
SWITCHES = ("pve_node_auto", "ssl_insecure", "ssl_secure", "verbose", "quiet")

BASE = {"pve_node_auto": 1, "plug": 121, "shell_timeout": 2, "power_timeout": 12}
# For who waits in vain.
SHORTLY = {"power_timeout": 2}

Options = Mapping[str, object]
Outcomes = Mapping["Case", "Future[tuple[Outcome, Outcome]]"]


@dataclass(frozen=True)
class State:
    """A situation: what happens to the cluster before, and the options that go with it; None removes one."""

    prepare: Callable[[Standin], object] = lambda standin: None
    options: Options = field(default_factory=dict)
    actions: tuple[str, ...] = ACTIONS
    environment: Mapping[str, str] = field(default_factory=dict)
    repaired: bool = True
    address: str = ""  # of pve1
    ours: Options = field(default_factory=dict)  # options that only ours knows


def node(name: str, **what: object) -> Callable[[Standin], None]:
    def prepare(standin: Standin) -> None:
        for attribute, value in what.items():
            setattr(standin.world.nodes[name], attribute, value)

    return prepare


def guest(vmid: int, **what: object) -> Callable[[Standin], None]:
    def prepare(standin: Standin) -> None:
        for attribute, value in what.items():
            setattr(standin.world.guests[vmid], attribute, value)

    return prepare


def fault(what: faults.Fault) -> Callable[[Standin], object]:
    return lambda standin: standin.disturb(what)


def no_quorum(standin: Standin) -> None:
    standin.world.qdevice_votes = 0
    standin.world.nodes["pve2"].isolated = True


POWER = ("status", "off", "on", "reboot")
BAD_OPTION = ("status", "monitor", "validate-all")

STATES: dict[str, State] = {
    "healthy": State(),
    "the guest is at the other node": State(options={"plug": 222}),
    "stopped": State(options={"plug": 125}),
    "cycle": State(options={"method": "cycle"}, actions=("reboot",)),
    "CYCLE": State(options={"method": "CYCLE"}, actions=("reboot",)),
    "cycle of a stopped guest": State(options={"plug": 125, "method": "cycle"}, actions=("reboot",)),
    "container": State(options={"plug": 300, "vmtype": "lxc"}),
    "stopped container": State(options={"plug": 301, "vmtype": "lxc"}, actions=POWER),
    "cycle of a container": State(options={"plug": 300, "vmtype": "lxc", "method": "cycle"}, actions=("reboot",)),
    "two plugs": State(options={"plug": "121,123"}),
    "two plugs, one stopped": State(options={"plug": "121,125"}),
    "two plugs, another separator": State(options={"plug": "121;123", "plug_separator": ";"}, actions=POWER),
    "two plugs, two nodes": State(options={"plug": "121,222"}, actions=POWER),
    "the node is named": State(options={"pve_node_auto": None, "pve_node": "pve1"}),
    "the node is named as of old": State(options={"pve_node_auto": None, "nodename": "pve1"}, actions=(*POWER, "monitor")),
    "the wrong node is named": State(options={"pve_node_auto": None, "pve_node": "pve2"}, actions=POWER),
    "Pacemaker names its own node": State(options={"pve_node_auto": None, "nodename": "rhel1"}, actions=POWER),
    "no node is named": State(options={"pve_node_auto": None}),
    "no node is to be found by itself": State(options={"pve_node_auto": 0}, actions=("status", "monitor")),
    "no such guest": State(options={"plug": 999}),
    "no such guest, seen by an administrator": State(
        options={"plug": 999, "username": "root@pam", "password": "root"}, actions=("status", "off", "monitor")
    ),
    "no rights": State(options={"username": "nobody@pve"}),
    "no right to stop": State(options={**SHORTLY, "username": "auditor@pve"}),
    "cycle without the right": State(options={"username": "auditor@pve", "method": "cycle"}, actions=("reboot",)),
    "second factor": State(options={"username": "careful@pve"}),
    "wrong password": State(options={"password": "wrong"}),
    "no such user": State(options={"username": "ghost@pve"}, actions=("status", "monitor")),
    "password from a script": State(options={"password": None, "password_script": "echo right"}, actions=BAD_OPTION),
    "password of a script that fails": State(options={"password": None, "password_script": "exit 3"}, actions=("status", "monitor")),
    "a dead hypervisor": State(node("pve2", power="dead")),
    "the guest's hypervisor is dead": State(node("pve2", power="dead"), {**SHORTLY, "plug": 222}),
    "the guest's hypervisor refuses": State(node("pve2", api="refusing"), {**SHORTLY, "plug": 222}),
    "the entry refuses": State(node("pve1", api="refusing")),
    "the entry is a black hole": State(node("pve1", api="black hole"), actions=("status", "off", "monitor", "validate-all")),
    "locked by a backup": State(guest(121, lock="backup"), SHORTLY),
    "cycle of a locked guest": State(guest(121, lock="backup"), {"method": "cycle"}, ("reboot",), ours={"time_limit": 4}),
    "the stop lies": State(guest(121, stop_lies=True), SHORTLY, actions=("off", "reboot")),
    "the start fails": State(guest(121, start_fails="no space"), SHORTLY, actions=("off", "reboot")),
    "the start of a stopped guest fails": State(guest(125, start_fails="no space"), {**SHORTLY, "plug": 125}, ("on", "reboot")),
    "no quorum": State(no_quorum, SHORTLY),
    "the login answers HTML": State(fault(faults.html(200, "OK").at(path="/access/ticket")), actions=("status", "off", "list", "monitor")),
    "the login answers another type": State(fault(faults.data(["ticket"]).at(path="/access/ticket")), actions=("status", "monitor")),
    "the login's answer is cut": State(fault(faults.cut().at(path="/access/ticket")), actions=("status", "monitor")),
    "nodes are of another type": State(
        fault(faults.data("pve1").at(path="^/(nodes|cluster/resources)$")), SHORTLY, actions=("status", "off")
    ),
    "no certificate of a known CA": State(options={"ssl_insecure": None}, actions=("status", "off", "list", "monitor")),
    "no certificate of a known CA, insecure 0": State(options={"ssl_insecure": 0}, actions=("status", "monitor")),
    "IPv6": State(actions=("status", "monitor"), address="::1"),
    "several addresses": State(options={"ip": "127.0.0.11,127.0.0.12"}, actions=("status", "monitor")),
    "under the fencer": State(environment={"PCMK_service": "pacemaker-fenced"}, options={"shell_timeout": None, "power_timeout": None}),
    "separator": State(options={"separator": "|"}, actions=("list", "list-status")),
    "verbose": State(options={"verbose": 1}, actions=("status", "list")),
    "quiet": State(options={"quiet": 1}, actions=("status", "list")),
    "quoted": State(options={"password": '"right"', "ip": '"127.0.0.11"'}, actions=("status",)),
    "power_wait": State(options={"power_wait": 1}, actions=("off",)),
    "retry_on": State(guest(125, start_fails="no space"), {**SHORTLY, "plug": 125, "retry_on": 0}, ("on", "reboot")),
    "delay": State(options={"delay": 1}, actions=("off", "status")),
    "unknown option": State(options={"inet4_only": 1, "no_such_option": "x"}, actions=("status", "validate-all")),
    "no ip": State(options={"ip": None}, actions=BAD_OPTION),
    "no password": State(options={"password": None}, actions=BAD_OPTION),
    "no user": State(options={"username": None, "password": "root"}, actions=BAD_OPTION),
    "no plug": State(options={"plug": None}),
    "no such method": State(options={"method": "gently"}, actions=("reboot", *BAD_OPTION)),
    "port is no number": State(options={"ipport": "https"}, actions=BAD_OPTION),
    "time is no number": State(options={"power_timeout": "long"}, actions=BAD_OPTION),
    "no such action": State(options={"action": "explode"}, actions=("status",)),
    "action in capitals": State(options={"action": "STATUS"}, actions=("status",)),
    "the library as Debian 12 has it": State(actions=("list", "list-status", "monitor"), repaired=False),
}


@dataclass(frozen=True)
class Said:
    """An exit code, and what is on stdout."""

    code: int
    stdout: str = ""


NOTICE = "NOTICE: List option is not working on this device yet\n"
NAMES = "121,rhel1\n123,rhel3\n125,rhel5\n222,rhel2\n"
UNKNOWN = "".join(f"{line},UNKNOWN\n" for line in NAMES.splitlines())
POWERS = "121,rhel1,ON\n123,rhel3,ON\n125,rhel5,OFF\n222,rhel2,ON\n"
CONTAINERS = "300,box1,UNKNOWN\n301,box2,UNKNOWN\n", "300,box1,ON\n301,box2,OFF\n"
# What is known of a guest whose hypervisor tells nothing.
HALF_NAMES = NAMES.replace("rhel2", "")
HALF_POWERS = POWERS.replace("rhel2,ON", ",UNKNOWN")

REFUSES, SUCCEEDS = Said(1), Said(0)
REALLY = {
    "status": Said(0, "Status: ON\n"), "off": Said(0, "Success: Powered OFF\n"), "on": Said(0, "Success: Already ON\n"),
    "reboot": Said(0, "Success: Rebooted\n"), "list": Said(0, NAMES), "list-status": Said(0, POWERS), "monitor": SUCCEEDS,
}  # fmt: skip

# state, action: the defects that make the difference, what the stock agent says, what ours says.
DIFFERENCES: dict[tuple[str, str], tuple[str, Said, Said]] = {
    # The status of an outlet is never shown.
    **{
        (state, "list-status"): ("D8", Said(0, UNKNOWN), Said(0, POWERS))
        for state in ("healthy", "the guest is at the other node", "stopped", "two plugs", "two plugs, one stopped", "the node is named",
                      "no such guest", "no right to stop", "locked by a backup", "under the fencer", "no plug")
    },
    ("separator", "list-status"): ("D8", Said(0, UNKNOWN.replace(",", "|")), Said(0, POWERS.replace(",", "|"))),
    ("container", "list-status"): ("D8", Said(0, CONTAINERS[0]), Said(0, CONTAINERS[1])),
    # A list that fails is no failure, and one silent node makes all fail.
    **{
        (state, action): ("D1", Said(0, NOTICE), ours)
        for state in ("a dead hypervisor", "the guest's hypervisor is dead", "no quorum")
        for action, ours in (("list", Said(0, HALF_NAMES)), ("list-status", Said(0, HALF_POWERS)))
    },
    ("the guest's hypervisor refuses", "list"): ("D1", Said(0, NOTICE), Said(0, NAMES)),
    ("the guest's hypervisor refuses", "list-status"): ("D1, D8", Said(0, NOTICE), Said(0, POWERS)),
    ("a dead hypervisor", "monitor"): ("D1", Said(0, NOTICE), SUCCEEDS),
    ("no quorum", "monitor"): ("D1", Said(0, NOTICE), SUCCEEDS),
    ("the guest's hypervisor is dead", "monitor"): ("D1", Said(0, NOTICE), REFUSES),
    ("the guest's hypervisor refuses", "monitor"): ("D1", Said(0, NOTICE), REFUSES),
    ("no such guest", "monitor"): ("D1", SUCCEEDS, REFUSES),
    ("no such guest, seen by an administrator", "monitor"): ("D1", SUCCEEDS, REFUSES),
    # So is a user who may do nothing, or who has shown only the first of two factors.
    ("no rights", "monitor"): ("D15", SUCCEEDS, REFUSES),
    ("no right to stop", "monitor"): ("D15", SUCCEEDS, REFUSES),
    **{("second factor", action): ("D16, D1", Said(0, NOTICE), REFUSES) for action in ("list", "list-status", "monitor")},
    # A reset that was refused counts as one.
    ("cycle without the right", "reboot"): ("D3", REALLY["reboot"], REFUSES),
    ("cycle of a locked guest", "reboot"): ("D3", REALLY["reboot"], REFUSES),
    # The name of a Pacemaker node is taken for that of a hypervisor, and the hypervisor has to be told.
    **{("Pacemaker names its own node", action): ("D4", REFUSES, REALLY[action]) for action in POWER},
    **{("no node is named", action): ("D4", REFUSES, REALLY[action]) for action in REALLY},
    **{("the wrong node is named", action): ("D13", REFUSES, REALLY[action]) for action in POWER},
    # Several plugs are looked for on the node of the first; and one that is on hides that another is not.
    **{("two plugs, two nodes", action): ("D10", REFUSES, REALLY[action]) for action in POWER},
    ("two plugs, one stopped", "on"): ("D10", Said(0, "Success: Already ON\n"), Said(0, "Success: Powered ON\n")),
    # A 0 is a yes.
    ("no certificate of a known CA, insecure 0", "status"): ("D7", REALLY["status"], REFUSES),
    ("no certificate of a known CA, insecure 0", "monitor"): ("D7", SUCCEEDS, REFUSES),
    ("IPv6", "status"): ("D14", REFUSES, REALLY["status"]),
    ("IPv6", "monitor"): ("D14", REFUSES, SUCCEEDS),
    ("several addresses", "status"): ("D17", REFUSES, REALLY["status"]),
    ("several addresses", "monitor"): ("D17", REFUSES, SUCCEEDS),
    ("the library as Debian 12 has it", "list"): ("D12", REFUSES, REALLY["list"]),
    ("the library as Debian 12 has it", "list-status"): ("D12, D8", REFUSES, REALLY["list-status"]),
}


@dataclass(frozen=True)
class Case:
    state: str
    action: str
    spelling: str

    def __str__(self) -> str:
        return f"{self.state}: {self.action}, {self.spelling}"


def cases() -> Iterator[Case]:
    """Yield the healthy cluster in every spelling, and the other states with each in turn."""
    for count, (name, state) in enumerate(STATES.items()):
        for place, action in enumerate(state.actions):
            if name == "healthy":
                yield from (Case(name, action, spelling) for spelling in SPELLINGS)
                continue
            turn = SPELLINGS[(count + place) % 4]
            # What is about stdin's own rules, or cannot be said on a command line, is on stdin.
            on_stdin = {name: value for name, value in state.options.items() if name in SWITCHES and value == 0} or name in (
                "quoted", "unknown option")  # fmt: skip
            yield Case(name, action, (STDIN, OLD_STDIN)[place % 2] if on_stdin else turn)


def world(address: str = "") -> World:
    """Make a cluster in which tasks are quick and there is something of everything."""
    made = small_cluster(time.monotonic)
    made.nodes["pve1"].address = address or made.nodes["pve1"].address
    made.add_guest(123, "rhel3", "pve1")
    made.add_guest(125, "rhel5", "pve1", running=False)
    made.add_guest(300, "box1", "pve1", kind="lxc")
    made.add_guest(301, "box2", "pve1", kind="lxc", running=False)
    made.add_user("nobody@pve", "right")
    made.add_user("auditor@pve", "right")
    made.add_user("careful@pve", "right", tfa=True)
    for vmid, each in made.guests.items():
        each.stop_seconds = each.start_seconds = 0.1
        for who in ("pacemaker@pve", "careful@pve"):
            made.grant(f"/vms/{vmid}", who, "VM.Audit", "VM.PowerMgmt")
        made.grant(f"/vms/{vmid}", "auditor@pve", "VM.Audit")
    return made


def start(agent: Path, standin: Standin, case: Case, library: Mapping[str, str]) -> subprocess.Popen[str]:
    state = STATES[case.state]
    options = {**login(standin), **BASE, "action": case.action, **state.options, **(state.ours if agent == OURS else {})}
    options = {name: value for name, value in options.items() if value is not None}
    environment = {**state.environment, **(library if state.repaired and agent == STOCK else {})}
    if case.spelling == STDIN:
        return start_agent(agent, options, environment=environment)
    if case.spelling == OLD_STDIN:
        return start_agent(agent, {OLD.get(name, name): value for name, value in options.items()}, environment=environment)
    options = {name: value == 1 if name in SWITCHES else value for name, value in options.items()}
    words = []
    if case.spelling == SHORT:
        for name in [name for name in options if name in LETTER]:
            value = options.pop(name)
            words += [f"-{LETTER[name]}"] if value is True else [f"-{LETTER[name]}", str(value)]
    words += words_of(options)
    return start_agent(agent, {}, words=words, environment=environment)


def both(case: Case, directory: Path, authority: Authority, library: Mapping[str, str]) -> tuple[Outcome, Outcome]:
    """Run both agents at the same time, each against a cluster of its own; return stock's outcome and ours."""
    standins = [Standin(world(STATES[case.state].address), directory=directory, port=0, authority=authority) for _ in range(2)]
    with standins[0] as first, standins[1] as second:
        for standin in standins:
            with standin.lock:
                STATES[case.state].prepare(standin)
        time.sleep(0.15)  # until the worlds go by it,
        for standin in standins:
            standin.settle()  # and the listeners follow
        began = time.monotonic()
        running = [start(agent, standin, case, library) for agent, standin in ((STOCK, first), (OURS, second))]
        try:
            outcomes = [end_of(each, began, WITHIN) for each in running]
        finally:
            for each in running:
                each.kill()
        return outcomes[0], outcomes[1]




@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Run the chosen cases, some at a time; each test waits for its own."""
    directory = tmp_path_factory.mktemp("differential")
    authority, library = Authority(directory), repaired_library(directory)
    chosen = [item.callspec.params["case"] for item in request.session.items
              if isinstance(item, pytest.Function) and item.originalname == "test_stock_and_ours"]  # fmt: skip
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(both, case, directory, authority, library) for case in chosen if isinstance(case, Case)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_stock_and_ours(case: Case, outcomes: Outcomes) -> None:
    stock, ours = outcomes[case].result()
    print(f"stock, {stock.seconds:.1f} s: {stock.code} {stock.stdout!r}\n{stock.stderr}")
    print(f"ours, {ours.seconds:.1f} s: {ours.code} {ours.stdout!r}\n{ours.stderr}")
    said = Said(stock.code, stock.stdout), Said(ours.code, ours.stdout)
    if (case.state, case.action) in DIFFERENCES:
        _, *expected = DIFFERENCES[case.state, case.action]
        assert said == tuple(expected)
    else:
        assert said[1] == said[0]


@pytest.mark.parametrize("words", [
    ["-o", "metadata"], ["--action=meta-data"], ["-o", "manpage"], ["-o", "METADATA"], ["--help"], ["-h"], ["--version"], ["-V"],
    ["--act", "metadata"], ["-ometadata", "more", "words"], ["--no-such-option"], ["-n"], ["--p", "x"], ["-Z"],
], ids=" ".join)  # fmt: skip
def test_what_needs_no_cluster(words: list[str]) -> None:
    """What is printed is ours; that something is, and the exit code, is stock."""
    stock, ours = (run_agent(agent, {}, words=words) for agent in (STOCK, OURS))
    assert (ours.code, bool(ours.stdout)) == (stock.code, bool(stock.stdout)), f"{stock.told}\n{ours.told}"


def test_a_difference_is_one() -> None:
    for place, (defects, stock, ours) in DIFFERENCES.items():
        assert stock != ours, place
        assert defects.startswith("D"), place
        assert place[1] in STATES[place[0]].actions
