"""Codes, states and errors."""

from __future__ import annotations

import pytest

import ocf_py as ocf
from ocf_py import outcomes


def test_the_codes_are_those_of_ocf_1_1() -> None:
    names = {name: getattr(ocf, name) for name in ocf.__all__ if isinstance(getattr(ocf, name), int)}
    assert names == {
        "SUCCESS": 0, "ERR_GENERIC": 1, "ERR_ARGS": 2, "ERR_UNIMPLEMENTED": 3, "ERR_PERM": 4, "ERR_INSTALLED": 5, "ERR_CONFIGURED": 6,
        "NOT_RUNNING": 7, "RUNNING_PROMOTED": 8, "FAILED_PROMOTED": 9, "DEGRADED": 190, "DEGRADED_PROMOTED": 191,
    }  # fmt: skip


@pytest.mark.parametrize(
    "error, code",
    [
        (ocf.Error, 1), (ocf.InvalidHere, 2), (ocf.Unsupported, 3), (ocf.NotPermitted, 4), (ocf.NotInstalled, 5), (ocf.Misconfigured, 6),
        (ocf.NotRunning, 7), (ocf.FailedPromoted, 9), (ocf.DeadlineExceeded, 1), (ocf.CommandFailed, 1), (ocf.CannotRecord, 1),
        (ocf.Hung, 1), (ocf.Unanswered, 1),
    ],
)  # fmt: skip
def test_each_error_has_its_code(error: type[ocf.Error], code: int) -> None:
    assert error.code == code
    assert issubclass(error, ocf.Error)


def test_every_error_is_in_the_table_above() -> None:
    public = {value for value in vars(outcomes).values() if isinstance(value, type) and issubclass(value, ocf.Error)}
    assert len(public) == 13
    assert all(error.__name__ in ocf.__all__ for error in public)


@pytest.mark.parametrize(
    "state, code, active, promoted",
    [
        (ocf.STOPPED, 7, False, False),
        (ocf.RUNNING, 0, True, False),
        (ocf.PROMOTED, 8, True, True),
        (ocf.RUNNING.degraded("a"), 190, True, False),
        (ocf.PROMOTED.degraded("a"), 191, True, True),
        (ocf.PROMOTED.degraded("a").degraded("b"), 191, True, True),
    ],
)
def test_states(state: ocf.State, code: int, active: bool, promoted: bool) -> None:
    assert (state.code, state.active, state.promoted) == (code, active, promoted)


def test_degraded() -> None:
    assert ocf.RUNNING.degraded("slow").degraded("full").reason == "slow; full"
    assert ocf.RUNNING.reason == ""
    assert repr(ocf.RUNNING.degraded("slow")) == "<running: slow>"
    with pytest.raises(ValueError, match="only an active resource"):
        ocf.STOPPED.degraded("slow")


def test_hung_says_what_and_how_long() -> None:
    error = ocf.Hung("/dev/sdb", 4711, 12.34)
    assert str(error) == "/dev/sdb: no answer for 12.3 s (process 4711 left behind)"
    assert (error.target, error.pid, error.seconds) == ("/dev/sdb", 4711, 12.34)
    assert str(ocf.Hung("/dev/sdb", 4711, 12.34, "gone")) == "gone"
