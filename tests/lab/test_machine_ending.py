"""However the lab's hardware ends, nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.machine import plan, room
from tests.lab.test_machine_running import TREE, await_so, program

pytestmark = pytest.mark.machine


def inside(namespace: str) -> list[int]:
    """Return the processes of a process namespace, by the machine's numbers."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(directory / "ns" / "pid") == namespace:
                found.append(int(directory.name))
        except OSError:
            continue
    return found


def machines(lab: room.Room) -> int:
    """Return how many nodes are on."""
    try:
        return sum(node["pid"] is not None for node in lab.order("status")["nodes"].values())
    except room.NotSo:
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_held_lab(number: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "lab.machine", "up", "--hold"], cwd=TREE, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        await_so(lambda: room.process() is not None and room.child(room.process() or 0) is not None, "a lab", 60)
        lab = room.find()
        namespace = os.readlink(f"/proc/{lab.inner}/ns/pid")
        await_so(lambda: machines(lab) == len(plan.NODES), "machines on", 120)
        assert len(inside(namespace)) > len(plan.NODES)
        os.kill(process.pid, number)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    await_so(lambda: not inside(namespace) and not room.locked(), "nothing left", 30)
    assert program("down") == ""
