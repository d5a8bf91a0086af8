"""LVM-activate driven by the state machine: starts, stops, kills, dead disks and changes from outside, in any order, on the stand-ins."""

from __future__ import annotations

import itertools
import os
import shutil

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ocf_py.testing import Executor
from ocf_py.testing.machine import World, machine_of
from tests.lvm import fake
from tests.lvm.conftest import OURS
from tests.lvm.stack import OTHER, Group, run

pytestmark = pytest.mark.once

EXAMPLES = int(os.environ.get("OCF_LAB_EXAMPLES", "5"))
FEW = settings(
    max_examples=EXAMPLES, stateful_step_count=15, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# A start waits for a silent disk until half of it is over.
TIMEOUT = 40.0


class GroupWorld:
    """A volume group of two volumes on a disk that hangs or fails on request."""

    faults = ("the disk hangs", "the disk fails")
    changes = ("deactivate a volume", "activate a volume", "give the group away")

    def __init__(self, number: int) -> None:
        self.instance = f"machine{number}"
        self.group = Group(f"vg-{self.instance}")

    def snapshot(self) -> object:
        """What is active, and what is written on the disk, which is not read for it."""
        with fake.state(write=False) as found:
            group = found["groups"][self.group.name]
        return self.group.active, group["owner"], group["seqno"]

    def active(self) -> bool:
        return bool(self.group.active)

    def inject(self, fault: str) -> None:
        if fault == "the disk hangs":
            self.group.disk.hang()
        else:
            self.group.disk.fail()

    def lift(self) -> None:
        self.group.disk.heal()

    def change(self, name: str) -> None:
        # LVM activates nothing of another node's, and gives away only what is this node's.
        foreign = self.group.owner == OTHER
        if name == "deactivate a volume" and "b" in self.group.active:
            run("lvchange", "-an", f"{self.group.name}/b")
        elif name == "activate a volume" and not foreign:
            run("lvchange", "-ay", f"{self.group.name}/b")
        elif name == "give the group away" and not foreign:
            self.group.give_away()

    def close(self) -> None:
        self.group.close()
        shutil.rmtree(f"/run/resource-agents/ocf_py/{self.instance}", ignore_errors=True)


def test_any_order_of_events() -> None:
    numbers = itertools.count()

    def make() -> tuple[Executor, World]:
        world = GroupWorld(next(numbers))
        parameters = {"vgname": world.group.name, "vg_access_mode": "system_id", "io_timeout": "6s"}
        return Executor(OURS, parameters, instance=world.instance, allow_stuck=True, timeout=TIMEOUT), world

    run_state_machine_as_test(machine_of(make, levels=(0, 10, 20)), settings=FEW)
