"""Deadlines are absolute, leave Pacemaker's reserve, and count from the start of the process."""

from __future__ import annotations

import time

import pytest

import ocf_py as ocf
from ocf_py import deadline
from tests.framework.conftest import MakePuppet


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


def test_waiting_ends_with_the_condition_and_before_the_end() -> None:
    answers = iter([False, False, True])
    ocf.Deadline.after(10).wait_until(lambda: next(answers), "it is", every=0.01)
    assert list(answers) == []
    short = ocf.Deadline.after(0.3)
    with pytest.raises(ocf.DeadlineExceeded, match=r"^vg0 is active still not so after 0 s of 0 s$"):
        short.wait_until(lambda: False, "vg0 is active")
    assert time.monotonic() <= short.ends + 0.05


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
    assert 17.5 < at_once <= 19
    assert at_once - 6 < late <= at_once - 1.5


def test_an_action_ends_before_pacemaker_ends_it_and_says_why(puppet: MakePuppet) -> None:
    one = puppet().lines(start="wait the moon is full")
    result = one.node.start(timeout=4)
    assert (result.code, result.timed_out) == (1, False)
    assert result.reason == "the moon is full still not so after 3 s of 3 s"


@pytest.mark.parametrize("action, observe, reason", [
    ("start", "stopped", "the resource is not active after 3 s of 3 s"),
    ("stop", "running", "the resource is still active after 3 s of 3 s"),
    ("promote", "running", "the resource is not promoted after 3 s of 3 s"),
    ("demote", "promoted", "the resource is still promoted after 3 s of 3 s"),
    ("migrate_from", "stopped", "the resource is not active after 3 s of 3 s"),
])  # fmt: skip
def test_an_action_without_effect_is_waited_for_and_told(puppet: MakePuppet, action: str, observe: str, reason: str) -> None:
    result = puppet().lines(observe=observe).node.call(action, timeout=4)
    assert (result.code, result.reason) == (1, reason)
