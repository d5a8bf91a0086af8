"""The catalogue of scenarios, what they do to a lab, and the order of runs.  The lab is one that only remembers."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.client.ledger import Ledger
from lab.cluster import configure
from lab.cluster.settings import Layout, Setting
from lab.machine import plan, ssh
from lab.machine.room import NotSo
from lab.report import scenarios
from lab.report.runs import Agents, Event, Fence, Power, Profile, Run, Step
from lab.scenarios import agenda, catalogue, looking, paths
from lab.scenarios.catalogue import PLAYS
from lab.scenarios.client import Flow, counts
from lab.scenarios.stage import Stage
from tests.lab.test_report_phases import story

DOCUMENT, RECOMMENDED = Profile.DOCUMENT, Profile.RECOMMENDED
STOCK, LAB = Agents.STOCK, Agents.LAB


class FakeLab:
    """Hardware that knows what is faulty.  `refuses`: an order that goes wrong when it is given."""

    def __init__(self) -> None:
        self.faulty: set[str] = set()
        self.off: set[str] = set()
        self.orders: list[str] = []
        self.shells: list[tuple[str, str]] = []
        self.refuses: dict[str, BaseException] = {}
        self.inner = self.outer = 1

    def order(self, do: str, **what: Any) -> Any:
        words = " ".join([do, *(f"{key}={value}" for key, value in what.items() if key != "within")])
        if words in self.refuses:
            raise self.refuses.pop(words)
        if do == "status":
            return {"nodes": {name: {"pid": None if name in self.off else 7, "accelerator": "tcg"} for name in plan.NODES}}
        if do == "history":
            return {"power": [], "requests": []}
        self.orders.append(words)
        if do == "power":
            (self.off.discard if what["what"] == "on" else self.off.add)(what["node"])
            return None
        thing = {"cable": "{node} {segment}", "lun": "{name}", "storage": "SAN"}[do].format(**what)
        whole = what.get("plugged") or what.get("on") or (do == "lun" and len(what) == 1)
        (self.faulty.discard if whole else self.faulty.add)(thing)
        return None

    def entering(self, command: Sequence[str]) -> list[str]:
        self.shells.append(("inside", " ".join(command)))
        return ["true"]

    def environment(self) -> dict[str, str]:
        return {}

    def run(self, _lab: object, node: plan.Node, shell: str, within: float = 30.0, text: str = "") -> subprocess.CompletedProcess[str]:
        if shell in self.refuses:
            raise self.refuses.pop(shell)
        self.shells.append((node.name, shell))
        told = {paths.SHOW: SHOWN, catalogue.POSTMASTER: "4711\n"}
        return subprocess.CompletedProcess([], 0, told.get(shell, ""), "")


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    made = FakeLab()
    monkeypatch.setattr(ssh, "run", made.run)
    return made


def stage_of(lab: FakeLab, active: str = "rhel2", kind: str = "", journal: Path | None = None) -> Stage:
    return Stage(lab, active, kind, journal)  # type: ignore[arg-type]


# What multipath and the kernel say on a node.
SHOWN = """\
mpatha (360000000000000000e00000000010001) dm-2 LAB,cluster1
size=2.0G features='0' hwhandler='0' wp=rw
|-+- policy='service-time 0' prio=1 status=active
| `- 2:0:0:1 sda 8:0  active ready running
`-+- policy='service-time 0' prio=1 status=enabled
  `- 3:0:0:1 sdb 8:16 active ready running
/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sda
/sys/devices/platform/host3/session2/target3:0:0/3:0:0:1/block/sdb
/sys/devices/platform/host2/session1/target2:0:0/2:0:0:2/block/sdc
/sys/devices/platform/host11/session12/target4:0:0/4:0:0:1/block/sdaa
/sys/class/iscsi_connection/connection1:0/persistent_address:192.168.3.1
/sys/class/iscsi_connection/connection2:0/persistent_address:192.168.2.1
/sys/class/iscsi_connection/connection12:0/persistent_address:192.168.2.1
"""


# The catalogue.


def test_the_report_and_the_catalogue_have_the_same_scenarios() -> None:
    assert list(PLAYS) == [scenario.ident for scenario in scenarios.ALL]


@pytest.mark.parametrize("ident", PLAYS)
def test_times_fit(ident: str) -> None:
    play = PLAYS[ident]
    assert 0 < play.least < play.watch
    assert play.mended == math.inf or play.mended + looking.STEADY_SECONDS <= play.least
    assert not (play.mended_when_fenced and play.mended < math.inf)
    assert set(play.active.values()) <= set(plan.NODES)


@pytest.mark.parametrize("ident, profile, active, failover, spared, called", [
    ("S1", DOCUMENT, "rhel1", True, None, None),
    ("S2a", DOCUMENT, "rhel1", True, None, None),
    ("S2a", RECOMMENDED, "rhel1", True, "rhel1", None),
    ("S2b", DOCUMENT, "rhel2", True, "rhel2", None),
    ("S6", RECOMMENDED, "rhel2", True, None, 35.0),
    ("S6", DOCUMENT, "rhel1", True, None, 55.0),
    ("S6", DOCUMENT, "rhel2", True, None, 85.0),
    ("S7", DOCUMENT, "rhel1", False, None, None),
    ("S11", RECOMMENDED, "rhel1", False, None, None),
    ("S16", RECOMMENDED, "rhel1", False, None, None),
])  # fmt: skip
def test_demands(ident: str, profile: Profile, active: str, failover: bool, spared: str | None, called: float | None) -> None:
    bound = PLAYS[ident].bound(profile, active)
    assert (bound.failover, bound.spared, bound.fence_call) == (failover, spared, called)
    assert bound.back == PLAYS[ident].watch


def test_nothing_may_fail_over_in_these() -> None:
    assert [play.ident for play in PLAYS.values() if not play.failover] == ["S7", "S11", "S12", "S16"]


# What scenarios do, with rhel2 as the active node.
DEEDS = {
    "S1": ["rhel1: pcs node standby rhel2"],
    "S2a": ["rhel2: cable to link pulled"],
    "S2b": ["rhel1: cable to link pulled"],
    "S3": ["rhel2: powered off"],
    "S4": ["rhel2: kill -9 of the postmaster"],
    "S5": ["rhel2: cable to san1 pulled", "rhel2: cable to san2 pulled"],
    "S6": ["rhel2: cable to san1 pulled", "rhel2: cable to san2 pulled"],
    "S7": ["rhel2: cable to san2 pulled"],
    "S8": ["LUN wal: hangs"],
    "S9": ["LUN tablespace: hangs"],
    "S10": ["rhel2: SIGSTOP of the postmaster"],
    "S11": ["LUN cluster1: 1.5 s for each request"],
    "S12": ["rhel2: /mnt/cluster1 filled up"],
    "S13": ["the hypervisors' API is unreachable", "rhel2: powered off"],
    "S14": ["rhel2: powered off", "rhel1: powered off"],
    "S15": ["the SAN is off"],
    "S16": ["rhel2: /mnt/cluster1 frozen"],
}


@pytest.mark.parametrize("ident", PLAYS)
def test_what_a_scenario_does_it_takes_back(lab: FakeLab, ident: str) -> None:
    stage = stage_of(lab)
    PLAYS[ident].inject(stage)
    assert [event.what for event in stage.events()] == DEEDS[ident]
    assert stage.events()[0].at == 0
    assert all(event.until is None for event in stage.events())
    assert stage.whole == (ident in ("S3", "S4"))
    stage.end()
    assert stage.whole
    assert not lab.faulty
    # Only who lost its power to the scenario itself gets it back: the other one is fenced, which switches it on.
    assert lab.off == ({"rhel2"} if ident in ("S3", "S13") else set())
    assert [event.what for event in stage.events() if event.until is None] == {
        "S3": DEEDS["S3"], "S4": DEEDS["S4"], "S13": ["rhel2: powered off"],
    }.get(ident, [])  # fmt: skip


@pytest.mark.parametrize("ident, done, back", [
    ("S1", ("rhel1", "pcs node standby rhel2"), ("rhel1", "pcs node unstandby rhel2")),
    ("S4", ("rhel2", "kill -9 4711"), ("rhel2", "kill -9 4711")),
    ("S12", ("rhel2", catalogue.FILL), ("rhel2", "rm -f /mnt/cluster1/filler*")),
    ("S16", ("rhel2", "fsfreeze --freeze /mnt/cluster1"), ("rhel2", "fsfreeze --unfreeze /mnt/cluster1")),
    ("S13", ("inside", "ip address flush dev hypervisors"), ("inside", "ip address replace 192.168.4.232/24 dev hypervisors")),
])  # fmt: skip
def test_commands_and_what_takes_them_back(lab: FakeLab, ident: str, done: tuple[str, str], back: tuple[str, str]) -> None:
    stage = stage_of(lab)
    if prepare := PLAYS[ident].prepare:
        prepare(stage)
        lab.shells.clear()
    PLAYS[ident].inject(stage)
    assert lab.shells[0] == done
    stage.mend()
    assert lab.shells[-1] == back


@pytest.mark.parametrize("kind, pulled, loaded", list(zip(PLAYS["S7"].kinds, ("san2", "san2", "san1"), (False, True, False))))
def test_the_kinds_of_one_path_lost(lab: FakeLab, kind: str, pulled: str, loaded: bool) -> None:
    stage = stage_of(lab, "rhel1", kind)
    play = PLAYS["S7"]
    assert play.prepare
    play.prepare(stage)
    assert any("systemd-run" in shell for _, shell in lab.shells) == loaded
    play.inject(stage)
    assert lab.faulty == {f"rhel1 {pulled}"}
    stage.end()
    assert any("systemctl stop lab-load" in shell for _, shell in lab.shells) == loaded


def test_the_path_in_use() -> None:
    assert paths.in_use(SHOWN) == "san2"
    assert paths.other("san2") == "san1"
    assert paths.other("san1") == "san2"
    with pytest.raises(NotSo, match="cannot be told"):
        paths.in_use(SHOWN.replace("status=active", "status=enabled"))


# The stage.


def test_what_goes_wrong_half_way_is_taken_back_all_the_same(lab: FakeLab) -> None:
    lab.refuses["cable node=rhel2 segment=san2 plugged=False"] = NotSo("the lab does not answer")
    stage = stage_of(lab)
    with pytest.raises(NotSo):
        PLAYS["S5"].inject(stage)
    stage.end()
    assert lab.orders == ["cable node=rhel2 segment=san1 plugged=False", "cable node=rhel2 segment=san2 plugged=True",
                          "cable node=rhel2 segment=san1 plugged=True"]  # fmt: skip


@pytest.mark.parametrize("error", [NotSo("the lab does not answer"), subprocess.TimeoutExpired("ssh", 75), OSError(5, "I/O error")])
def test_what_cannot_be_taken_back_does_not_keep_the_rest(lab: FakeLab, error: Exception) -> None:
    stage = stage_of(lab)
    PLAYS["S5"].inject(stage)
    lab.refuses["cable node=rhel2 segment=san2 plugged=True"] = error
    stage.end()
    assert lab.faulty == {"rhel2 san2"}
    assert len(stage.notes) == 1
    assert stage.notes[0].startswith("taken back: rhel2: cable to san2 pulled: ")


def test_a_full_file_system_is_emptied_where_the_other_node_is_off(lab: FakeLab) -> None:
    stage = stage_of(lab)
    PLAYS["S12"].inject(stage)
    lab.refuses["rm -f /mnt/cluster1/filler*"] = NotSo("rhel1: no route to host")
    stage.mend()
    assert lab.shells[-1] == ("rhel2", "rm -f /mnt/cluster1/filler*")
    assert stage.notes == ["taken back: rhel2: /mnt/cluster1 filled up: rhel1: no route to host"]


def test_a_command_that_fails_on_its_node_is_no_deed(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    for code, said in ((124, "no answer in time"), (1, "no such process")):
        monkeypatch.setattr(ssh, "run", lambda *_, code=code: subprocess.CompletedProcess([], code, "", "kill: no such process\n"))
        with pytest.raises(NotSo, match=f"rhel1: `kill -9 .*` ends with {code}: .*{said}"):
            PLAYS["S4"].inject(stage_of(lab, "rhel1"))


def test_deeds_are_marked_in_the_ledger(lab: FakeLab, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    begun(path)
    stage = stage_of(lab, journal=path)
    PLAYS["S15"].inject(stage)
    stage.mend()
    marks = [json.loads(line)["name"] for line in path.read_text().splitlines()[1:]]
    assert marks == ["the SAN is off", "taken back: the SAN is off"]


# Sessions.


@pytest.fixture
def here(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    """Return a lab whose nodes are here."""
    monkeypatch.setattr(lab, "entering", list)
    monkeypatch.setattr(lab, "environment", lambda: None)
    monkeypatch.setattr(ssh, "command", lambda _node, words: words)
    return lab


def test_a_session_does_one_thing_after_the_other(here: FakeLab) -> None:
    stage = stage_of(here)
    stage.login()
    assert stage.shell("rhel1", "echo one; echo two >&2") == "one\ntwo\n"
    with pytest.raises(NotSo, match=r"^rhel2: `set -e; cd /nowhere` ends with [12]: .*nowhere"):
        stage.shell("rhel2", "set -e; cd /nowhere")
    assert stage.shell("rhel1", "cat; pwd").startswith("/")
    processes = [session.process for session in stage.sessions.values()]
    stage.end()
    assert here.shells == []
    assert len(processes) == 1, "one that was not done in order is not used again"
    assert all(process.poll() is not None for process in processes)


def test_a_deed_is_done_when_it_is_said_to_be(here: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login takes its time before the injection."""
    monkeypatch.setattr(ssh, "command", lambda _node, _words: ["sh", "-c", "sleep 1; exec sh"])
    stage = stage_of(here)
    stage.login()
    stage.on("rhel1", "it", "date +%s.%N >&2; sleep 1")
    stage.do("later", lambda: None)
    assert stage.moment is not None
    assert time.time() - stage.moment < 2
    assert 1 <= stage.events()[1].at < 2
    stage.end()


def test_who_was_away_is_logged_in_to_again(here: FakeLab) -> None:
    stage = stage_of(here)
    stage.login()
    for session in stage.sessions.values():
        session.process.kill()
        session.process.wait()
    stage.shell("rhel1", "echo again")
    assert here.shells == [("rhel1", "echo again")]
    stage.end()


def test_a_command_without_an_end(here: FakeLab) -> None:
    stage = stage_of(here)
    stage.login()
    with pytest.raises(NotSo, match=r"rhel1: `sleep 3` gives no answer within 0 s"):
        stage.shell("rhel1", "sleep 3", 0.2)
    assert list(stage.sessions) == ["rhel2"]
    stage.end()


# The flow of writes.


def begun(path: Path) -> Ledger:
    made = Ledger(path, 100.0, "run")
    made.note("begin", format=1, run="run", epoch=0.0, monotonic=100.0)
    return made


def acknowledge(path: Path, stream: str, *moments: float, outcome: str = "ok") -> None:
    told = ({"event": "end", "at": at, "stream": stream, "number": round(at * 10), "due": at, "outcome": outcome} for at in moments)
    with open(path, "a") as file:
        file.writelines(json.dumps(one) + "\n" for one in told)


def test_writes_flow_when_all_streams_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    begun(path).close()
    flow = Flow(path)
    flow.look()
    assert flow.steady(101.0) == 0
    assert flow.silent(101.0) is None
    acknowledge(path, "persistent", 1, 2, 3, 4, 5, 6, 7, 8)
    flow.look()
    assert flow.steady(108.5) == 0, "one stream is none"
    acknowledge(path, "connect", 2, 3, 7, 8)
    flow.look()
    assert flow.steady(108.5) == pytest.approx(1.5), "a gap begins it anew"
    assert flow.silent(108.5) == pytest.approx(0.5)
    acknowledge(path, "connect", 9, 10, 11, outcome="unknown")
    acknowledge(path, "persistent", 9, 10, 11)
    flow.look()
    assert flow.steady(111.0) == 0


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    begun(path).close()
    flow = Flow(path)
    acknowledge(path, "persistent", 1)
    acknowledge(path, "connect", 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    flow.look()
    assert flow.steady(101.5) == 0
    path.write_bytes(whole)
    flow.look()
    assert flow.steady(101.5) == pytest.approx(0.5)


def test_the_audit_in_numbers() -> None:
    told = {"acknowledged": 7, "lost": [1], "ghosts": [2], "contradicted": [3, 4], "duplicates": [], "overlaps": [5]}
    assert vars(counts(told)) == {"acknowledged": 7, "lost": 1, "ghosts": 3, "duplicates": 0, "overlaps": 1}


# Looking.


def fence(at: float, step: Step, target: str = "rhel2", reason: str = "") -> Fence:
    return Fence(at, "log", target, step, reason=reason)


@pytest.mark.parametrize("events, pending, fenced", [
    ([], [], False),
    ([fence(1, Step.REQUESTED), fence(2, Step.CALLED)], ["rhel2"], False),
    ([fence(1, Step.REQUESTED), fence(2, Step.CALLED), fence(3, Step.FAILED)], ["rhel2"], False),
    ([fence(9, Step.CONFIRMED), fence(1, Step.REQUESTED)], [], True),
    ([fence(1, Step.REQUESTED), Power(2, "api", "rhel2", False)], ["rhel2"], True),
    ([fence(-5, Step.REQUESTED), Power(-2, "api", "rhel2", False)], [], False),
    ([fence(1, Step.CONFIRMED, "rhel1"), fence(2, Step.REQUESTED, "rhel2")], ["rhel2"], True),
    # Who asked is off, as its own log tells a little too late.
    ([Power(17.1, "api", "rhel1", False), Fence(17.2, "log of rhel1", "rhel2", Step.DELAYED, 15)], [], True),
    ([Power(7.1, "api", "rhel1", False), Fence(17.2, "log of rhel1", "rhel2", Step.DELAYED, 15)], ["rhel2"], True),
])  # fmt: skip
def test_who_is_fenced(events: list[Event], pending: list[str], fenced: bool) -> None:
    assert looking.pending(tuple(events)) == pending
    assert looking.fenced(tuple(events)) == fenced


def test_a_fencing_that_failed_is_named() -> None:
    failed = (fence(5, Step.FAILED, reason="no route to pve1"), fence(9, Step.FAILED, reason="no route to pve1"))
    assert looking.named(PLAYS["S13"], failed) == ["fencing failed: no route to pve1"]
    assert looking.named(PLAYS["S13"], ()) == ["the cluster named no failed fencing"]
    assert looking.named(PLAYS["S4"], ()) == []


@pytest.mark.parametrize("steady, silent, words", [
    (12.0, 0.1, "writes have been acknowledged for 12 s"),
    (0.0, 31.0, "nothing acknowledged for 31 s; fencing of rhel2: called"),
    (0.0, 0.2, "not all writes are acknowledged"),
])  # fmt: skip
def test_how_it_stands(steady: float, silent: float, words: str) -> None:
    assert looking.where(steady, silent, (fence(3, Step.CALLED),) if "called" in words else ()) == words


class Scene:
    """A watch and a client by a clock that only sleeping moves; writes come back after `back` seconds, `events` are all seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, back: float, *events: Event) -> None:
        self.now, self.back, self.seen = 1000.0, 1000.0 + back, events
        self.flow = self
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def look(self) -> None:
        pass

    def steady(self, now: float) -> float:
        return max(0.0, now - self.back)

    def silent(self, _now: float) -> float:
        return 0.5

    def events(self, _injected: float) -> tuple[Event, ...]:
        return tuple(event for event in self.seen if event.at <= self.now - 1000)


@pytest.mark.parametrize("ident, back, events, ends, mended", [
    ("S4", 20, [], 35, None),
    ("S4", 5, [], 30, None),
    ("S4", math.inf, [], 300, None),
    ("S2b", 0, [fence(58, Step.REQUESTED), fence(80, Step.CONFIRMED)], 95, 81),
    ("S2a", 0, [Power(59, "api", "rhel1", False), fence(59.5, Step.CONFIRMED, "rhel1")], 75, 60),
    ("S6", 90, [fence(40, Step.REQUESTED), fence(50, Step.CONFIRMED)], 105, 51),
    ("S6", math.inf, [], 300, None),
    ("S16", 0, [], 75, 30),
    ("S15", 400, [fence(30, Step.REQUESTED), fence(60, Step.CONFIRMED)], 415, 180),
])  # fmt: skip
def test_how_long_is_looked_at(monkeypatch: pytest.MonkeyPatch, lab: FakeLab, ident: str, back: float, events: list[Event], ends: float,
                               mended: float | None) -> None:  # fmt: skip
    scene = Scene(monkeypatch, back, *events)
    stage = stage_of(lab)
    play = PLAYS[ident]
    play.inject(stage)
    looking.look(play, stage, scene, scene)  # type: ignore[arg-type]
    assert scene.now - 1000 == pytest.approx(ends, abs=3)
    assert all((event.until is None) if mended is None else event.until == pytest.approx(mended, abs=3) for event in stage.events())


# The order of runs.


def today(run: Run) -> Run:
    """Return a run as if the cluster of today had made it."""
    recipe = configure.recipe(Setting(run.agents, run.profile, PLAYS[run.scenario].layout))
    return replace(run, machine=replace(run.machine, versions={"recipe": recipe}))


def words(items: list[agenda.Item]) -> list[str]:
    return [f"{item.ident} {item.setting.agents.value} {item.setting.profile.value}" for item in items]


def test_agents_change_once_and_repeats_come_after_the_first_round() -> None:
    found = agenda.wanted(["S4", "S6"], [STOCK, LAB], [DOCUMENT], {"S4": 2, "S6": 1})
    assert words(found) == [f"{ident} {agents} document" for agents in ("stock", "lab") for ident in ("S4", "S6", "S4")]


def test_layouts_change_once() -> None:
    found = agenda.wanted(list(PLAYS), [LAB], [DOCUMENT], dict.fromkeys(PLAYS, 2))
    layouts = [item.setting.layout for item in found]
    assert layouts == [Layout.ONE] * 30 + [Layout.THREE] * 4
    assert [item.ident for item in found[30:]] == ["S8", "S9", "S8", "S9"]


def test_what_is_kept_is_not_made_again() -> None:
    kept = [today(story("S4")), today(story("S4", again=1)), today(story("S4", LAB))]
    found = agenda.wanted(["S4", "S6"], [STOCK, LAB], [DOCUMENT], {"S4": 2, "S6": 1}, kept)
    assert words(found) == ["S6 stock document", "S6 lab document", "S4 lab document"]
    assert agenda.wanted(["S4"], [STOCK], [DOCUMENT], {"S4": 1}, kept) == []


def test_runs_without_an_audit_or_on_another_cluster_do_not_count() -> None:
    kept = [story("S4"), replace(today(story("S4", again=1)), audit=None)]
    assert words(agenda.wanted(["S4"], [STOCK], [DOCUMENT], {"S4": 1}, kept)) == ["S4 stock document"]


def test_a_whole_report() -> None:
    found = agenda.wanted(list(PLAYS), list(Agents), list(Profile), agenda.repeats())
    assert len(found) == 4 * (17 + 4 * 2)
    switches = [(item.setting.agents, item.setting.profile, item.setting.layout) for item in found]
    assert len([1 for one, other in zip(switches, switches[1:]) if one != other]) == 7


def test_names_of_scenarios() -> None:
    assert agenda.known(["S6", "S4", "S6"]) == ["S4", "S6"]
    assert agenda.known(["all"]) == list(PLAYS)
    with pytest.raises(ValueError, match=r"^no such scenario: s4; there are S1, S2a, .*, S16, and all$"):
        agenda.known(["S1", "s4"])


def test_an_item_in_words() -> None:
    assert str(agenda.Item("S8", Setting(LAB, DOCUMENT, Layout.THREE))) == "S8 with lab agents, profile document, layout three"
