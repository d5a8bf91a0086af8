"""However the lab's hardware ends, nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.machine import room
from tests.lab.test_machine_running import TREE, await_so, program

pytestmark = pytest.mark.machine


def pids_of(name: str) -> list[int]:
    """Return the processes of that name, of the whole machine."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "comm").read_text().strip() == name:
                found.append(int(directory.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_held_lab(number: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "lab.machine", "up", "--hold"], cwd=TREE, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stderr
        await_so(lambda: len(pids_of("rhel1") + pids_of("rhel2")) == 2, "machines on", 120)
        os.kill(process.pid, number)
        process.wait(60)
    finally:
        process.kill()
        process.communicate()
    await_so(lambda: not pids_of("rhel1") + pids_of("rhel2") + pids_of("tgtd") and not room.locked(), "nothing left", 30)
    assert program("down") == ""
