"""Declarations of actions."""

from __future__ import annotations

import pytest

import ocf_py as ocf
from ocf_py import actions


@pytest.mark.parametrize("text", ["20s", "1s", "3600s"])
def test_times(text: str) -> None:
    assert actions.timed(text) == text


@pytest.mark.parametrize("text", ["", "20", "0s", "-1s", "1.5s", "20ms", "2min", "s", "٣s", " 20s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(TypeError, match=r'is not a time such as "20s"$'):
        actions.timed(text)
    with pytest.raises(TypeError, match="is not a time"):
        ocf.monitor(timeout=text, interval="10s")(lambda self: None)


def test_only_actions_of_ocf_are_declared() -> None:
    with pytest.raises(TypeError, match=r"^restart is not an action of OCF 1.1; those are start, stop, promote"):

        @ocf.action(timeout="20s")
        def restart(self: object) -> None:
            return


@pytest.mark.parametrize("name, told", list(actions.ACTIONS.items()))
def test_an_action_has_the_name_that_pacemaker_calls(name: str, told: str) -> None:
    def method(self: object) -> None:
        return

    method.__name__ = name
    [declared] = getattr(ocf.action(timeout="20s")(method), actions.NOTE)
    assert (declared.name, declared.timeout, declared.is_monitor) == (told, "20s", False)


@pytest.mark.parametrize("level", [1, 5, 30, -10])
def test_levels_are_those_of_ocf(level: int) -> None:
    with pytest.raises(TypeError, match=f"level {level} is not one of OCF's 0, 10 and 20"):
        ocf.monitor(timeout="20s", interval="10s", level=level)(lambda self: None)


@pytest.mark.parametrize("role", ["promoted", "Master", "Started"])
def test_roles_are_those_of_ocf(role: str) -> None:
    with pytest.raises(TypeError, match=f"{role} is neither Promoted nor Unpromoted"):
        ocf.monitor(timeout="20s", interval="10s", role=role)(lambda self: None)


def test_a_method_can_be_several_monitors() -> None:
    @ocf.monitor(timeout="20s", interval="10s", role="Unpromoted")
    @ocf.monitor(timeout="30s", interval="9s", role="Promoted")
    def observe(self: object) -> None:
        return

    noted = [(declared.interval, declared.timeout, declared.role, declared.level) for declared in getattr(observe, actions.NOTE)]
    assert noted == [("9s", "30s", "Promoted", 0), ("10s", "20s", "Unpromoted", 0)]
