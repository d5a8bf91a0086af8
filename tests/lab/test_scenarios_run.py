"""A run from its beginning to what is kept of it, and what becomes of it when something goes wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.client.ledger import Ledger
from lab.cluster import configure, state
from lab.cluster.settings import Setting
from lab.cluster.state import State
from lab.machine import multipath, plan
from lab.machine.room import NotSo
from lab.report import store
from lab.report.runs import Agents, Audit, Call, Condition, Event, Fence, Machine, Profile, Step, Vip
from lab.scenarios import catalogue, facts, healing, hypervisors, looking, runner
from lab.scenarios.stage import Stage
from tests.lab.test_scenarios import FakeLab, lab

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["lab"]  # A fixture.

SETTING = Setting(Agents.LAB, Profile.RECOMMENDED)
CLEAN = Audit(40, 0, 0, 0, 0)


class Cluster:
    """What the seams of a run answer, and what they were asked.  `breaks`: the seam at which an error comes up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.breaks: dict[str, BaseException] = {}
        self.troubles: list[str] = []
        self.failures: list[str] = []
        self.active = "rhel1"
        self.events: tuple[Event, ...] = (Fence(3.0, "log", "rhel1", Step.CONFIRMED), Vip(4.0, "log", "rhel2"))
        # One for each of the next looks: what the cluster had to answer before the fault.
        self.unrest: list[Event] = []

    def forgive(self) -> None:
        self.troubles.clear()
        self.failures.clear()

    def note(self, what: str) -> None:
        self.asked.append(what)
        if what in self.breaks:
            raise self.breaks.pop(what)

    def seam(self, what: str, answer: Callable[[], Any] = lambda: None) -> Callable[..., Any]:
        def asked(*_: object) -> Any:
            self.note(what)
            return answer()

        return asked


class FakeWatch:
    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory

    def __enter__(self) -> Self:
        self.cluster.note("watch begins")
        (self.directory / "pacemaker-rhel1.log").write_text("a line\n" * 100_000)
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.note("watch ends")

    def events(self, _injected: float) -> tuple[Event, ...]:
        self.cluster.note("events")
        earlier = [self.cluster.unrest.pop(0)] if self.cluster.unrest else []
        return (*earlier, *self.cluster.events)


class FakeClient:
    """Has written two rows a stream before the fault, and two after it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory
        self.flow = self
        self.zero = 0.0

    def __enter__(self) -> Self:
        self.cluster.note("client begins")
        self.zero = time.monotonic() - 20
        for name in ("ledger", "probes"):
            made = Ledger(self.directory / f"{name}.jsonl", self.zero)
            made.note("begin", format=1, run="run", epoch=0.0, monotonic=self.zero)
            if name == "probes":
                made.note("probe", due=1.0, result="open", seconds=0.1)
            made.close()
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.note("client ends")

    def await_steady(self, _seconds: float, _within: float) -> None:
        self.cluster.note("writes flow")

    def look(self) -> None:
        self.cluster.note("client looked at")

    def steady(self, _now: float) -> float:
        return looking.STEADY_SECONDS

    def silent(self, _now: float) -> float:
        return 0.1

    def stop(self) -> None:
        self.cluster.note("client stops")
        with open(self.directory / "ledger.jsonl", "a") as file:
            for number, due in enumerate((18.0, 19.5, 22.0, 22.5)):
                for stream in ("persistent", "connect"):
                    row = {"stream": stream, "number": number, "due": due}
                    file.write(json.dumps({"event": "intent", "at": due, **row}) + "\n")
                    file.write(json.dumps({"event": "end", "at": due + 0.1, "outcome": "ok", **row}) + "\n")


@pytest.fixture
def cluster(lab: FakeLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    made = Cluster()

    def healthy() -> State:
        return State(dict.fromkeys(plan.NODES, Condition.ONLINE), {"pg-vip": made.active}, tuple(made.failures))

    def move(_lab: object, _setting: Setting, name: str) -> None:
        made.note(f"move to {name}")
        made.active = name

    monkeypatch.setattr(runner, "DIRECTORY", tmp_path / "run")
    monkeypatch.setattr(configure, "configure", made.seam("configure"))
    monkeypatch.setattr(configure, "await_members", made.seam("members"))
    monkeypatch.setattr(configure, "clean", made.seam("clean", made.forgive))
    monkeypatch.setattr(configure, "move", move)
    monkeypatch.setattr(state, "read", made.seam("state", healthy))
    monkeypatch.setattr(state, "troubles", lambda *_: [*made.troubles, *made.failures])
    # Who waits for a process sleeps too, and that is not what is told of here.
    monkeypatch.setattr(hypervisors, "_ip", lambda lab, *words: lab.entering(["ip", "address", *words]))
    monkeypatch.setattr(multipath, "retry", lambda _lab, policy: made.note(f"retry {policy}"))
    monkeypatch.setattr(facts, "machine", made.seam("machine", lambda: Machine("kvm", 2, 8000)))
    monkeypatch.setattr(runner, "Watch", lambda _lab, directory, active: FakeWatch(made, directory))
    monkeypatch.setattr(runner, "Client", lambda _lab, directory: FakeClient(made, directory))
    monkeypatch.setattr(Stage, "login", made.seam("login"))
    monkeypatch.setattr(runner, "standing", made.seam("standing", lambda: "as it stands\n"))
    monkeypatch.setattr(runner, "audit", made.seam("audit", lambda: CLEAN))
    # A run that was looked at for no time at all is none.
    monkeypatch.setattr(looking, "look", made.seam("looking", lambda: threading.Event().wait(0.01)))
    monkeypatch.setattr(time, "sleep", made.seam("sleep"))
    return made


def run(lab: FakeLab, results: Path, ident: str = "S6", setting: Setting = SETTING) -> Path:
    return runner.run(lab, ident, setting, results)  # type: ignore[arg-type]


def test_a_run_is_kept_with_its_material(lab: FakeLab, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(lab, tmp_path / "results")
    (kept,) = store.load(tmp_path / "results").runs
    assert (kept.scenario, kept.title) == ("S6", "both storage paths lost, no_path_retry queue")
    assert (kept.agents, kept.profile, kept.active, kept.audit) == (Agents.LAB, Profile.RECOMMENDED, "rhel1", CLEAN)
    assert kept.bound == catalogue.PLAYS["S6"].bound(Profile.RECOMMENDED, "rhel1")
    assert "injected after a random wait of " in kept.notes
    assert [type(event).__name__ for event in kept.events] == ["Fault", "Fault", "Fence", "Vip"]
    assert len(kept.writes) == 8
    assert len(kept.probes) == 1
    assert (kept.injected - kept.started).total_seconds() >= 0
    raw = tmp_path / "results" / "raw" / path.stem
    assert (raw / "standing.txt").read_text() == "as it stands\n"
    names = sorted(file.name for file in raw.iterdir())
    assert names == ["ledger.jsonl", "pacemaker-rhel1.log.gz", "postgresql.log", "probes.jsonl", "standing.txt"]
    assert gzip.decompress((raw / "pacemaker-rhel1.log.gz").read_bytes()).startswith(b"a line\n")
    assert not lab.faulty
    said = capsys.readouterr().err
    assert f"== {path.stem}: disruption 2.5 s" in said
    assert "40 rows acknowledged, 0 lost, 0 ghosts, 0 duplicates, 0 overlaps" in said
    assert f"== {path.stem}: FAILS: the fence device was called never" in said


def test_the_order_of_things(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    run(lab, tmp_path)
    assert cluster.asked == [
        "configure", "state", "retry queue", "state", "machine", "watch begins", "client begins", "login", "writes flow", "sleep",
        "client looked at", "events", "looking", "client stops", "events", "standing", "client ends", "watch ends", "members", "state",
        "audit", "state",
    ]  # fmt: skip


def test_the_cluster_is_made_ready(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    """A node that is off, a failure of before, and the service on the wrong node."""
    lab.off, cluster.troubles = {"rhel1"}, ["pg-db does not run"]
    path = run(lab, tmp_path, "S5", Setting(Agents.STOCK, Profile.DOCUMENT))
    assert cluster.asked[:9] == ["configure", "state", "members", "state", "clean", "sleep", "state", "retry fail", "move to rhel2"]
    assert "power node=rhel1 what=on" in lab.orders
    assert store.load(tmp_path).runs[0].active == "rhel2"
    assert path.name.startswith("S5-stock-document-")


UNREST: list[tuple[Event, str]] = [
    (Call(-7.0, "log", "rhel1", "pg-fs", "monitor", -0.5, 1, "no answer"), "monitor of pg-fs failed on rhel1: no answer"),
    (Fence(-2.0, "log", "rhel2", Step.REQUESTED), "rhel2 was to be fenced"),
]


@pytest.mark.parametrize("event, told", UNREST)
def test_a_cluster_that_was_not_at_rest_gets_no_fault(
    lab: FakeLab, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], event: Event, told: str
) -> None:
    cluster.unrest = [event, event]
    run(lab, tmp_path)
    (kept,) = store.load(tmp_path).runs
    assert kept.notes.startswith(f"S6: before the fault, {told}; S6: before the fault, {told}; injected after")
    assert capsys.readouterr().err.count("begun anew") == 2
    assert (cluster.asked.count("client ends"), cluster.asked.count("looking")) == (3, 1)


def test_a_cluster_that_does_not_come_to_rest_is_told_of(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    event, _ = UNREST[0]
    cluster.unrest = [event, event, event]
    with pytest.raises(runner.Failed, match=r"pg-fs.*3 times"):
        run(lab, tmp_path)
    assert store.load(tmp_path).runs == ()
    assert not lab.faulty
    assert "looking" not in cluster.asked


SEAMS = ["configure", "retry queue", "machine", "watch begins", "client begins", "login", "writes flow", "sleep", "client looked at",
         "looking", "client stops", "events", "standing"]  # fmt: skip


@pytest.mark.parametrize("error", [NotSo("something is not so"), OSError(28, "No space left on device"), ValueError("unforeseen")])
@pytest.mark.parametrize("seam", SEAMS)
def test_a_run_that_goes_wrong_leaves_nothing_faulty(lab: FakeLab, cluster: Cluster, tmp_path: Path, seam: str, error: Exception) -> None:
    cluster.breaks[seam] = error
    with pytest.raises(runner.Failed, match=r"^S6: .*: ") as caught:
        run(lab, tmp_path)
    assert str(error) in str(caught.value)
    assert not lab.faulty
    assert not lab.off
    assert store.load(tmp_path).runs == ()
    for begun, ended in (("watch begins", "watch ends"), ("client begins", "client ends")):
        assert (begun in cluster.asked and seam != begun) == (ended in cluster.asked)


@pytest.mark.parametrize("seam", [*SEAMS, "members", "audit"])
def test_ctrl_c_leaves_nothing_faulty(lab: FakeLab, cluster: Cluster, tmp_path: Path, seam: str) -> None:
    cluster.breaks[seam] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(lab, tmp_path)
    assert not lab.faulty
    assert store.load(tmp_path).runs == ()


@pytest.mark.parametrize("error", [NotSo("the lab does not answer"), KeyboardInterrupt()])
def test_a_fault_that_comes_only_half_is_taken_back(lab: FakeLab, cluster: Cluster, tmp_path: Path, error: BaseException) -> None:
    lab.refuses["cable node=rhel1 segment=san2 plugged=False"] = error
    with pytest.raises((runner.Failed, KeyboardInterrupt)):
        run(lab, tmp_path)
    assert not lab.faulty
    assert lab.orders[-2:] == ["cable node=rhel1 segment=san2 plugged=True", "cable node=rhel1 segment=san1 plugged=True"]


def test_rows_that_cannot_be_read_are_no_reason_to_forget_a_run(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    cluster.breaks["audit"] = NotSo("the audit ends with 2: 10.0.5.200:5432: no answer")
    run(lab, tmp_path)
    (kept,) = store.load(tmp_path).runs
    assert kept.audit is None
    assert "the audit ends with 2" in kept.notes


def test_what_a_killed_run_left_is_mended_before_the_next(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    lab.faulty = {"cluster1", "rhel2 san1"}
    cluster.breaks["configure"] = NotSo("so far and no further")
    with pytest.raises(runner.Failed):
        run(lab, tmp_path)
    assert not lab.faulty
    assert ("inside", "ip address replace 192.168.4.231/24 dev hypervisors") in lab.shells


def test_a_log_that_does_not_come_is_no_reason_to_forget_a_run(lab: FakeLab, cluster: Cluster, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def late(_lab: object) -> str:
        raise subprocess.TimeoutExpired("ssh", 45)

    monkeypatch.setattr(runner, "server_log", late)
    assert run(lab, tmp_path).exists()


def test_a_cluster_that_does_not_heal_by_itself_is_switched_off_and_on(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    cluster.breaks["members"] = NotSo("not both nodes are back: rhel1 is offline")
    run(lab, tmp_path)
    (kept,) = store.load(tmp_path).runs
    assert "both nodes were switched off and on" in kept.notes
    assert lab.orders[-4:] == [f"power node={name} what={what}" for what in ("off", "on") for name in plan.NODES]
    assert lab.off == set()


def test_a_run_is_kept_even_if_the_cluster_does_not_heal_at_all(lab: FakeLab, cluster: Cluster, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def look(*_: object) -> None:
        threading.Event().wait(0.01)
        cluster.troubles.append("pg-db does not run")

    monkeypatch.setattr(looking, "look", look)
    monkeypatch.setattr(healing, "SOFT_SECONDS", 0.0)
    monkeypatch.setattr(healing, "HARD_SECONDS", 0.0)
    with pytest.raises(runner.Failed, match="waiting until the cluster is whole again: not whole after 0 s: pg-db does not run"):
        run(lab, tmp_path)
    (kept,) = store.load(tmp_path).runs
    assert kept.audit is None
    assert "pg-db does not run" in kept.notes
    assert "audit" not in cluster.asked


def test_what_runs_again_is_forgotten_at_once_and_what_does_not_only_now_and_then(lab: FakeLab, cluster: Cluster,
                                                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    clock = 0.0

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        if clock == 70:
            cluster.troubles, cluster.failures = [], ["pg-db_monitor_30000 on rhel1: not running"]

    def clean(_lab: object) -> None:
        cluster.note(f"clean at {clock:.0f}")
        cluster.failures.clear()

    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(configure, "clean", clean)
    cluster.troubles = ["pg-db does not run"]
    assert not healing.heal(lab, SETTING)  # type: ignore[arg-type]
    assert [asked for asked in cluster.asked if asked.startswith("clean")] == ["clean at 0", "clean at 62", "clean at 70"]


@pytest.mark.parametrize("seam", ["state", "clean"])
def test_an_answer_that_comes_too_late_is_no_reason_for_force(lab: FakeLab, cluster: Cluster, seam: str) -> None:
    cluster.failures = ["pg-db_monitor_30000 on rhel1: not running"]
    cluster.breaks[seam] = NotSo("no answer in time")
    assert not healing.heal(lab, SETTING)  # type: ignore[arg-type]
    assert lab.orders == []


def test_healing_switches_on_what_is_off(lab: FakeLab, cluster: Cluster) -> None:
    lab.off = {"rhel2"}
    assert not healing.heal(lab, SETTING)  # type: ignore[arg-type]
    assert lab.orders == ["power node=rhel2 what=on"]


def test_healing_by_force_mends_all_hardware(lab: FakeLab, cluster: Cluster) -> None:
    lab.faulty = {"SAN", "wal", "cluster1", "rhel1 link", "rhel2 san1"}
    healing.force(lab, SETTING)  # type: ignore[arg-type]
    assert not lab.faulty


def test_kinds_take_turns(lab: FakeLab, cluster: Cluster, tmp_path: Path) -> None:
    """What was run with other agents, or is no longer there, takes no turn."""
    play = catalogue.PLAYS["S7"]
    (one,) = (run(lab, tmp_path, "S7"), store.load(tmp_path).runs)[1]
    assert one.kind == play.kinds[0]
    others = [replace(one, kind=play.kinds[1]), replace(one, scenario="S6"), replace(one, agents=Agents.STOCK)]
    assert runner.turn(play, [], SETTING) == play.kinds[0]
    assert runner.turn(play, [one], SETTING) == play.kinds[1]
    assert runner.turn(play, [one, *others], SETTING) == play.kinds[2]
    assert runner.turn(play, others, SETTING) == play.kinds[0]
    assert runner.turn(catalogue.PLAYS["S6"], [one, *others], SETTING) == ""
