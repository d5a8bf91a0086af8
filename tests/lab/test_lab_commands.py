"""The lab's command line: what it understands, which runs it makes, and how it ends."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import __main__ as program
from lab.cluster import configure
from lab.cluster.settings import Layout, Setting
from lab.machine import __main__ as machine
from lab.machine import boot, image, room, saved
from lab.machine.room import NotSo, Room
from lab.report import store
from lab.report.runs import Agents, Profile
from lab.scenarios import agenda, healing, runner
from tests.lab.test_report_phases import story
from tests.lab.test_scenarios import today

STOCK, LAB = Agents.STOCK, Agents.LAB
DOCUMENT, RECOMMENDED = Profile.DOCUMENT, Profile.RECOMMENDED


@pytest.fixture(autouse=True)
def directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(room, "DIRECTORY", tmp_path / "lab")


def result(code: int, *words: str) -> None:
    assert program.main(words) == code


# What it understands.


@pytest.mark.parametrize("words, told", [
    ((), "the following arguments are required: VERB"),
    (("fly",), "argument VERB: invalid choice: 'fly'"),
    (("run", "--agents", "stock"), "the following arguments are required: SCENARIO"),
    (("run", "S4"), "the following arguments are required: --agents"),
    (("run", "S4", "--agents", "theirs"), "argument --agents: invalid choice: 'theirs'"),
    (("run", "S44", "--agents", "lab"), "no such scenario: S44; there are S1, S2a,"),
    (("run", "S4", "--agents", "lab", "--repeat", "0"), "argument --repeat: 0 is no number of runs"),
    (("run", "S4", "--agents", "lab", "--until", "many"), "argument --until: many is no number of runs"),
    (("run", "S4", "--agents", "lab", "--until", "2", "--repeat", "2"), "argument --repeat: not allowed with argument --until"),
    (("run", "S4", "--agents", "lab", "--profile", "mine"), "argument --profile: invalid choice: 'mine'"),
    (("configure", "--agents", "both"), "argument --agents: invalid choice: 'both'"),
    (("configure", "--agents", "lab", "--layout", "two"), "argument --layout: invalid choice: 'two'"),
    (("ssh", "rhel3"), "argument node: invalid choice: 'rhel3'"),
])  # fmt: skip
def test_what_it_does_not_understand_is_said_in_a_line(words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.startswith("python3 -m lab")
    assert said.endswith("; --help tells more\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("words, told", [
    (("run", "S6", "S4", "--agents", "both"),
     {"scenarios": ["S4", "S6"], "agents": (STOCK, LAB), "profile": (DOCUMENT,), "repeat": None, "until": None}),
    (("run", "all", "--agents", "lab", "--profile", "both", "--until", "3"),
     {"agents": (LAB,), "profile": (DOCUMENT, RECOMMENDED), "until": 3}),
    (("run", "S4", "--agents", "stock", "--repeat", "2"), {"agents": (STOCK,), "repeat": 2}),
    (("configure", "--agents", "lab"), {"agents": LAB, "profile": DOCUMENT, "layout": Layout.ONE}),
    (("configure", "--agents", "stock", "--profile", "recommended", "--layout", "three"),
     {"agents": STOCK, "profile": RECOMMENDED, "layout": Layout.THREE}),
    (("ssh", "rhel1", "--", "ls", "-l"), {"node": "rhel1", "command": ["ls", "-l"], "within": None}),
    (("up",), {"hold": False, "saved": None}),
    (("show",), {"profile": (DOCUMENT,), "output": None}),
    (("report", "--output", "there"), {"output": Path("there")}),
])  # fmt: skip
def test_what_it_understands(words: tuple[str, ...], told: dict[str, object]) -> None:
    given = vars(program.understood(words))
    assert {name: given[name] for name in told} == told


@pytest.mark.parametrize("words", [
    ("run", "S4", "--agents", "lab"), ("configure", "--agents", "lab"), ("ssh", "rhel1", "true"), ("status",),
])  # fmt: skip
def test_a_lab_that_is_not_up(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(room, "process", lambda: None)
    result(1, *words)
    assert capsys.readouterr().err.startswith("the lab is not up; ")


# Which runs it makes.


class Runner:
    """Keeps a run where one is asked for; `breaks`: the runs, by their number from 1, that go wrong."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.breaks: dict[int, BaseException] = {}
        self.configured: list[bool] = []
        self.healed = 0
        self.began: list[Path | None] = []
        self.ended = 0
        self.steps: list[str] = []
        self.disks: Path | None = Path("disks")

    def run(self, _lab: object, ident: str, setting: Setting, results: Path, *, configured: bool) -> Path:
        self.configured.append(configured)
        self.asked.append(f"{ident} {setting.agents.value} {setting.profile.value}")
        if error := self.breaks.get(len(self.asked)):
            raise error
        return store.add(results, today(story(ident, setting.agents, setting.profile, again=len(self.asked))))

    def heal(self, *_: object) -> bool:
        self.healed += 1
        return False


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner()

    @contextmanager
    def held(disks: Path | None) -> Iterator[tuple[Room, None]]:
        made.began.append(disks)
        try:
            yield Room(1, 1), None
        finally:
            made.ended += 1

    monkeypatch.setattr(room, "process", lambda: 1)
    monkeypatch.setattr(room, "find", lambda: Room(1, 1))
    monkeypatch.setattr(boot, "held", held)
    monkeypatch.setattr(configure, "recipe", str)
    monkeypatch.setattr(configure, "configure", lambda _lab, setting: made.steps.append(f"configure {setting}"))
    monkeypatch.setattr(saved, "find", lambda _: made.disks)
    monkeypatch.setattr(saved, "save", lambda _lab, name: made.steps.append(f"save {name}"))
    monkeypatch.setattr(runner, "run", made.run)
    monkeypatch.setattr(healing, "heal", made.heal)
    monkeypatch.setattr(program, "standing", lambda _: "rhel1 is unclean")
    return made


def test_both_agents_one_after_the_other(runs: Runner) -> None:
    result(0, "run", "S4", "S2b", "--agents", "both", "--repeat", "2")
    assert runs.asked == [f"{ident} {agents} document" for agents in ("stock", "lab") for _ in range(2) for ident in ("S2b", "S4")]
    assert runs.configured == 2 * [False, True, True, True]


def test_until_so_many_are_there(runs: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    result(0, "run", "S4", "--agents", "lab", "--until", "2")
    result(0, "run", "S4", "S7", "--agents", "lab", "--until", "3")
    assert runs.asked == ["S4 lab document"] * 2 + ["S7 lab document"] * 2 + ["S4 lab document", "S7 lab document"]
    result(0, "run", "S4", "--agents", "lab", "--until", "3")
    assert len(runs.asked) == 6
    assert "3 runs of each are there already" in capsys.readouterr().err


def test_what_goes_wrong_is_told_and_the_others_are_made(runs: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runs.breaks[1] = runner.Failed("S2b: ending the client: it does not end")
    result(1, "run", "S2b", "S4", "--agents", "lab")
    assert runs.asked == ["S2b lab document", "S4 lab document"]
    assert runs.healed == 1
    said = capsys.readouterr().err
    assert "== S2b: ending the client: it does not end\nrhel1 is unclean\n" in said
    assert said.endswith("== 1 of 2 runs went wrong\n")


def test_a_cluster_that_does_not_heal_is_told(runs: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def never(*_: object) -> bool:
        raise NotSo("pg-db does not run")

    monkeypatch.setattr(healing, "heal", never)
    runs.breaks[1] = runner.Failed("S2b: no")
    result(1, "run", "S2b", "S4", "--agents", "lab")
    assert "== the cluster is not whole: pg-db does not run\n" in capsys.readouterr().err
    assert len(runs.asked) == 2


def test_a_lab_that_is_gone_has_no_further_runs(runs: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runs.breaks[1] = runner.Failed("S2b: no")
    monkeypatch.setattr(room, "alive", lambda _: False)
    result(1, "run", "S2b", "S4", "--agents", "lab")
    assert runs.asked == ["S2b lab document"]
    assert "the lab is gone" in capsys.readouterr().err


def test_ctrl_c_ends_all(runs: Runner) -> None:
    runs.breaks[1] = KeyboardInterrupt()
    result(130, "run", "S2b", "S4", "--agents", "lab")
    assert len(runs.asked) == 1
    assert runs.healed == 0


def test_two_do_not_change_one_cluster(runs: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    with program.alone():
        result(1, "run", "S4", "--agents", "lab")
        result(1, "configure", "--agents", "lab")
    assert runs.asked == []
    assert capsys.readouterr().err.count("another process runs or configures something on this lab") == 2


# Show and full.


def performed(monkeypatch: pytest.MonkeyPatch, code: int = 0) -> list[str]:
    """Return what will have been asked for, in words."""
    asked: list[str] = []

    def perform(_lab: object, items: Sequence[agenda.Item]) -> int:
        asked.extend(map(str, items))
        return code

    monkeypatch.setattr(program, "perform", perform)
    return asked


def stories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every scenario have a story: those that are not written are S4's."""
    monkeypatch.setattr(runner, "run", lambda _lab, ident, setting, results, **_: store.add(
        results, story("S4", setting.agents, setting.profile)))  # fmt: skip


def test_show_makes_a_lab_of_its_own_and_ends_it(runs: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                                 tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.setattr(room, "process", lambda: None)
    stories(monkeypatch)
    result(0, "show", "--output", str(tmp_path / "report"))
    assert (runs.began, runs.ended) == ([Path("disks")], 1)
    assert runs.steps == [f"configure {Setting(STOCK, DOCUMENT)}"]
    assert (tmp_path / "report" / "report.md").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("error, code", [(KeyboardInterrupt(), 130), (NotSo("the lab is gone"), 1)])
def test_a_lab_of_its_own_ends_however_show_does(runs: Runner, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    monkeypatch.setattr(room, "process", lambda: None)
    runs.breaks[1] = error
    result(code, "show")
    assert (len(runs.began), runs.ended) == (1, 1)


def test_a_lab_from_blank_disks_saves_them_for_the_next_one(runs: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "process", lambda: None)
    runs.disks = None
    stories(monkeypatch)
    result(0, "show")
    words = str(Setting(STOCK, DOCUMENT))
    assert runs.steps == [f"configure {words}", f"save {words}"]  # The nodes only stood still: the cluster is as it was.


def test_a_cluster_that_does_not_come_about_is_shown(runs: Runner, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def never(*_: object) -> None:
        raise NotSo("pcs failed")

    monkeypatch.setattr(room, "process", lambda: None)
    monkeypatch.setattr(configure, "configure", never)
    result(1, "show")
    assert capsys.readouterr().err.endswith("pcs failed\nrhel1 is unclean\n")
    assert (len(runs.began), runs.ended) == (1, 1)


def test_a_lab_that_was_up_stays_up(runs: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = performed(monkeypatch)
    store.add(program.RESULTS, story("S4"))
    result(0, "show")
    assert runs.began == []
    assert asked == [f"{ident} with {agents} agents, profile document, layout one" for agents in ("stock", "lab") for ident in ("S4", "S6")]


def test_full_makes_what_is_missing(runs: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = performed(monkeypatch, 1)
    for again in range(3):
        store.add(program.RESULTS, today(story("S4", again=again)))
    result(1, "full")
    assert len(asked) == 100 - 3
    assert not any(item.startswith("S4 with stock agents, profile document") for item in asked)


def test_full_needs_no_lab_when_nothing_is_missing(runs: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "process", lambda: None)
    monkeypatch.setattr(agenda, "wanted", lambda *_: [])
    store.add(program.RESULTS, story("S4"))
    result(0, "full")
    assert runs.began == []


def test_no_runs_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    result(1, "report")
    assert capsys.readouterr().err.startswith("no runs are kept in ")


# The other verbs.


def test_configure(runs: Runner) -> None:
    result(0, "configure", "--agents", "lab", "--profile", "recommended", "--layout", "three")
    assert runs.steps == [f"configure {Setting(LAB, RECOMMENDED, Layout.THREE)}"]


@pytest.mark.parametrize("words, where, name", [
    (("build",), image, "build"), (("up", "--hold"), machine, "up"), (("down",), machine, "down"),
    (("ssh", "rhel1", "ls"), machine, "on_node"),
])  # fmt: skip
def test_the_hardware_is_lab_machine_s(words: tuple[str, ...], where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(*given: argparse.Namespace) -> int:
        asked.extend(given or [None])
        return 0

    monkeypatch.setattr(where, name, noted)
    result(0, *words)
    assert len(asked) == 1


def test_status_counts_the_runs(runs: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for made in (story("S4"), story("S4", again=1), story("S2b", LAB)):
        store.add(program.RESULTS, made)
    silent: Callable[[object], int] = lambda _: 0  # noqa: E731 - the type is the point
    monkeypatch.setattr(machine, "status", silent)
    monkeypatch.setattr(configure, "configured", lambda _: None)
    result(0, "status")
    assert capsys.readouterr().out.splitlines() == [
        f"runs in {program.RESULTS}: 3",
        "  lab agents, profile document: S2b 1",
        "  stock agents, profile document: S4 2",
        "cluster: not configured; `python3 -m lab configure` does it",
    ]
