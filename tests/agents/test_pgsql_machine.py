"""pgsql-storage driven by the state machine: starts, stops, kills, hangs and changes from outside, in any order."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ocf_py.testing import Executor
from ocf_py.testing.machine import World, machine_of
from tests.agents.conftest import AGENT
from tests.faults.disk import FaultDisk
from tests.postgres import Database, ended

pytestmark = pytest.mark.once

EXAMPLES = int(os.environ.get("OCF_LAB_EXAMPLES", "6"))
FEW = settings(
    max_examples=EXAMPLES, stateful_step_count=15, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


class DatabaseWorld:
    """A database on a disk that hangs on request."""

    faults = ("writes hang", "everything hangs")
    changes = ("kill the postmaster", "kill everything")

    def __init__(self, number: int) -> None:
        self.disk = FaultDisk(f"machine{number}", 512)
        self.disk.format("xfs")
        self.disk.mount(f"/mnt/machine{number}")
        self.database = Database(Path(f"/mnt/machine{number}/data"), port=6000 + number)
        self.database.initdb()
        self.instance = f"machine{number}"

    def snapshot(self) -> object:
        """The server's topmost process: what only a start or a stop may change.  By /proc, which a hang does not reach."""
        pids = set(self.database.processes())
        return {pid for pid in pids if parent(pid) not in pids}

    def active(self) -> bool:
        return bool(self.database.processes())

    def inject(self, fault: str) -> None:
        everything = fault == "everything hangs"
        self.disk.hang(reads=everything, writes=True, flushes=everything)

    def lift(self) -> None:
        self.disk.heal()

    def change(self, name: str) -> None:
        pids = self.database.processes()
        head = [pid for pid in pids if parent(pid) not in pids]
        for pid in head if name == "kill the postmaster" else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended(pids, within=5.0)

    def close(self) -> None:
        self.disk.heal()
        for pid in self.database.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.disk.close()
        shutil.rmtree(f"/run/resource-agents/ocf_py/{self.instance}", ignore_errors=True)


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_any_order_of_events() -> None:
    numbers = itertools.count()

    def make() -> tuple[Executor, World]:
        world = DatabaseWorld(next(numbers))
        parameters = {**world.database.parameters(), "io_timeout": "6s"}
        return Executor(AGENT, parameters, instance=world.instance, allow_stuck=True, timeout=60.0), world

    run_state_machine_as_test(machine_of(make, levels=(0, 10, 20)), settings=FEW)
