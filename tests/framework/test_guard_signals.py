"""Guarded calls that a signal interrupts, wherever that is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import ocf_py as ocf
from ocf_py import guard
from tests.faults import processes


class Signalled(BaseException):
    pass


def interrupted_at(folder: str, turn: int) -> int:
    """Run two calls in a process of their own, raise where its `turn`-th line in guard.py begins, and return its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code, main, lines = 1, os.getpid(), 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        nonlocal lines
        # In fork() signals are held back.
        if frame.f_code.co_filename != guard.__file__ or frame.f_code.co_name == "fork" or os.getpid() != main:
            return None
        lines += event == "line"
        if lines == turn and event == "line":
            raise Signalled
        return trace

    try:
        sys.settrace(trace)
        guard.Guards(folder, ocf.Deadline.after(10)).run(ocf.Call("one", time.sleep, 0.002), ocf.Call("two", time.sleep, 0.002))
        code = 0
    except Signalled:
        code = 7
    finally:
        sys.settrace(None)
        os._exit(code)


def test_a_signal_anywhere_is_the_only_thing_that_is_raised_and_leaves_no_child(tmp_path: Path) -> None:
    folder = f"{tmp_path}/ocf_py/one"
    codes: list[int] = []
    while 0 not in codes:
        assert len(codes) < 5000
        codes.append(interrupted_at(folder, len(codes) + 1))
        assert processes.wait_until(lambda: not list(guard.left_behind(str(tmp_path))), 5)
    assert len(codes) > 100
    assert set(codes) == {0, 7}
