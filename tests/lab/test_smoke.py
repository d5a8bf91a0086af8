"""The smoke lab's way to tell of its steps, without a lab."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import setup
from lab.cluster.settings import Setting
from lab.machine import room
from lab.machine.room import NotSo, Room
from lab.scenarios import runner, start
from tests.lab import smoke
from tests.run.runner import CLOSING, MARK


class Lab:
    """What the smoke lab asks for, which goes wrong at one step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wrong: str = "") -> None:
        self.wrong, self.done = wrong, list[str]()
        monkeypatch.setattr(start, "held", self.held)
        monkeypatch.setattr(start, "ready", self.does("configured"))
        monkeypatch.setattr(smoke, "perform", lambda lab, ident, results: self.does(ident)())
        monkeypatch.setattr(smoke, "standing", lambda lab: "it stands")
        monkeypatch.setattr(room, "process", lambda: None)
        monkeypatch.setattr(setup, "lacking", list)

    def does(self, what: str) -> Callable[..., str]:
        def do(*_: object) -> str:
            self.done.append(what)
            if what == self.wrong:
                raise NotSo(f"{what} does not work")
            return what

        return do

    @contextmanager
    def held(self, _setting: Setting) -> Iterator[str]:
        self.does("up")()
        try:
            yield "lab"
        finally:
            self.does("down")()


def told(output: str) -> list[tuple[str, str]]:
    """Return the steps that have ended, and how; to splitlines(), the mark is the end of a line too."""
    events = [json.loads(line[1:]) for line in output.split("\n") if line.startswith(MARK)]
    return [(event["ends"], event["outcome"]) for event in events if "ends" in event]


def test_all_good(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lab, steps = Lab(monkeypatch), smoke.Steps()
    smoke.smoke(steps, Path("/results"))
    assert steps.close() == 0
    assert lab.done == ["up", "configured", "S4", "S6", "down"]
    output = capsys.readouterr().out
    assert told(output) == [(f"lab::{name}", "passed") for name in ("up", "configured", "S4", "S6", "down")]
    assert CLOSING.fullmatch(output.splitlines()[-1])


@pytest.mark.parametrize("wrong, done, stands", [
    ("up", ["up"], False), ("configured", ["up", "configured", "down"], True),
    ("S4", ["up", "configured", "S4", "S6", "down"], True), ("down", ["up", "configured", "S4", "S6", "down"], False),
])  # fmt: skip
def test_what_goes_wrong_is_told_and_the_lab_goes_down(
    wrong: str, done: list[str], stands: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, steps = Lab(monkeypatch, wrong), smoke.Steps()
    smoke.smoke(steps, Path("/results"))
    assert steps.close() == 1
    assert wrong == "up" or lab.done[-1] == "down"
    output = capsys.readouterr().out
    assert told(output) == [(f"lab::{name}", "failed" if name == wrong else "passed") for name in done]
    assert f"{wrong} does not work" in output
    assert ("it stands" in output) == stands


@pytest.mark.parametrize("wrong", [runner.Failed("the client never flowed"), KeyboardInterrupt()])
def test_what_was_seen_of_a_run_that_went_wrong_is_kept(wrong: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, seen = tmp_path / "results", tmp_path / "run"
    results.mkdir()
    seen.mkdir()
    (seen / "of-an-earlier-run").touch()

    def run(*_: object) -> None:
        (seen / "pacemaker-rhel1.log").write_text("it was fenced\n")
        raise wrong

    monkeypatch.setattr(runner, "DIRECTORY", seen)
    monkeypatch.setattr(runner, "run", run)
    with pytest.raises(type(wrong)):
        smoke.perform(Room(0, 0), "S4", results)
    shutil.rmtree(seen)  # As the next run does.
    assert {path.name: path.read_text() for path in (results / "S4").iterdir()} == {"pacemaker-rhel1.log": "it was fenced\n"}


def test_an_interrupt_tells_where_the_cluster_stands_and_takes_the_lab_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    lab = Lab(monkeypatch)
    monkeypatch.setattr(smoke, "perform", interrupted)
    with pytest.raises(KeyboardInterrupt):
        smoke.smoke(smoke.Steps(), Path("/results"))
    assert lab.done[-1] == "down"
    assert "S4: interrupted\nit stands" in capsys.readouterr().out
