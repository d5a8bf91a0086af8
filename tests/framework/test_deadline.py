"""Deadlines are absolute, leave Pacemaker's reserve, and count from the start of the process."""

from __future__ import annotations

import re
import time

import pytest

import ocf_py as ocf
from ocf_py import deadline
from tests.framework.conftest import MakePuppet
from tests.hurry import hurry


class Clock:
    """Stands for the time module: it goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("timeout, kept", [(1, 1.0), (20, 1.0), (60, 3.0), (100, 5.0), (3600, 5.0)])
def test_reserve(timeout: float, kept: float) -> None:
    assert deadline.reserve(timeout) == kept


def test_parts_are_never_longer_than_the_whole() -> None:
    whole = ocf.Deadline.after(10)
    assert whole.total == pytest.approx(10)
    assert 5.9 < whole.part(0.6).left() <= 6
    assert 1.9 < whole.at_most(2).left() <= 2
    assert whole.at_most(100).ends <= whole.ends + 0.001
    assert whole.part(0.5).part(0.5).ends < whole.part(0.5).ends


def test_what_is_over_has_nothing_left() -> None:
    over = ocf.Deadline.after(-5)
    assert over.left() == 0.0
    with pytest.raises(ocf.DeadlineExceeded):
        over.wait_until(lambda: False, "it is")


def test_waiting_ends_with_the_condition_and_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    ocf.Deadline.after(10).wait_until(lambda: next(answers), "it is", every=0.01)
    assert list(answers) == []
    clock = Clock()
    monkeypatch.setattr(deadline, "time", clock)
    short = ocf.Deadline.after(0.35)
    with pytest.raises(ocf.DeadlineExceeded, match=r"^vg0 is active still not so after 0 s of 0 s$"):
        short.wait_until(lambda: False, "vg0 is active")
    assert short.ends - 0.1 < clock.now <= short.ends


def test_a_deadline_that_is_over_does_not_keep_a_ready_caller() -> None:
    ocf.Deadline.after(-1).wait_until(lambda: True, "it is")


def test_the_age_of_this_process() -> None:
    first = deadline.process_age()
    time.sleep(0.3)
    assert 0.25 < deadline.process_age() - first < 3
    assert first > 0.05


def test_what_passes_before_the_agent_runs_belongs_to_its_time(puppet: MakePuppet) -> None:
    """Pacemaker's clock runs from the fork; the shell here stands for a slow start of the interpreter."""
    one = puppet().lines(start="left | become running")
    assert one.node.start().code == 0
    at_once = float((one.directory / "left").read_text())
    one.lines(observe="stopped")
    assert one.node.start(wrapper=["sh", "-c", 'sleep 2; exec "$@"', "late"]).code == 0
    late = float((one.directory / "left").read_text())
    # 20 s but for the second that is kept, and but for the shell's two.
    assert at_once <= 19
    assert late <= 17
    assert at_once > late - 15


def test_an_action_ends_before_pacemaker_ends_it_and_says_why(puppet: MakePuppet) -> None:
    one = puppet().lines(start="wait the moon is full")
    result = one.node.start(**hurry(4))
    assert (result.code, result.timed_out) == (1, False)
    assert re.fullmatch(r"the moon is full still not so after \d+ s of 3 s", result.reason)


@pytest.mark.parametrize("action, observe, problem", [
    ("start", "stopped", "the resource is not active"),
    ("stop", "running", "the resource is still active"),
    ("promote", "running", "the resource is not promoted"),
    ("demote", "promoted", "the resource is still promoted"),
    ("migrate_from", "stopped", "the resource is not active"),
])  # fmt: skip
def test_an_action_without_effect_is_waited_for_and_told(puppet: MakePuppet, action: str, observe: str, problem: str) -> None:
    result = puppet().lines(observe=observe).node.call(action, **hurry(4))
    assert result.code == 1
    assert re.fullmatch(rf"{problem} after \d+ s of 3 s", result.reason)
