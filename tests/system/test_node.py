"""Daemons end in bounded time, whatever state they are in."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.faults import processes
from tests.system.node import Daemon


def shell(program: str, tmp_path: Path) -> Daemon:
    return Daemon("sh", ["sh", "-c", program], tmp_path / "output", dict(os.environ))


def test_a_daemon_ends_when_asked(tmp_path: Path) -> None:
    daemon = shell("trap 'kill $!; exit' TERM; sleep 60 & wait", tmp_path)
    assert processes.wait_until(lambda: len(daemon.family()) == 2, 5)
    assert daemon.pid() == daemon.process.pid
    assert daemon.stop(within=10)


def test_a_daemon_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    daemon = shell("trap '' TERM; sleep 60 & wait", tmp_path)
    assert processes.wait_until(lambda: len(daemon.family()) == 2, 5)
    family = daemon.family()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert not daemon.stop(within=0.5)
    assert time.monotonic() - began < 10
    for pid in family:
        processes.wait_until_gone(pid)
