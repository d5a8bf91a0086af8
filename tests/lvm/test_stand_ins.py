"""What only the stand-ins show: a node would need filters for it, or another table, or does not count what it holds back (dm-delay)."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.hurry import hurry
from tests.lvm import fake
from tests.lvm.conftest import MakeResource
from tests.lvm.stack import await_true
from tests.lvm.test_faults import locked, running

pytestmark = pytest.mark.once


def test_a_disk_that_is_hidden_from_lvm_is_no_missing_one(resource: MakeResource) -> None:
    """It answers: to go on without it would be to leave it behind."""
    one = resource(disks=2, lvs=("a",), partial_activation="yes")
    path = one.group.disks[1].path
    with fake.state() as found:
        found["disks"].remove(path)
    result = one.node.start(**hurry(24))
    with fake.state() as found:
        found["disks"].append(path)
    assert (result.code, f"lvmdevices --adddev {path}" in result.reason, one.group.active) == (1, True, set()), result
    assert one.node.start().code == 0


def test_a_volume_beneath_which_nothing_is_left_has_no_owner_to_ask_for(resource: MakeResource) -> None:
    """LVM would take an empty list of devices for all of them."""
    one = resource(lvs=("a",)).started()
    [folder] = (fake.SYS / "block").glob("dm-*")
    for slave in (folder / "slaves").iterdir():
        slave.unlink()
    result = one.node.monitor(level=20)
    assert (result.code, "owner not checked: no disk is beneath" in result.reason) == (190, True), result


def test_a_stop_without_lvm_waits_for_what_is_in_flight(resource: MakeResource) -> None:
    """The disk was well when the stop began."""
    one = resource().started()
    with locked(one.group):
        call = one.node.begin("stop", **hurry(30))
        await_true("LVM waits for the lock", lambda: running("lvchange"))
        time.sleep(1)
        one.group.disk.slow(20000)
        with subprocess.Popen(["dd", f"if={one.group.disk.path}", "of=/dev/null", "iflag=direct", "count=1"]) as reading:
            stopped = call.finish()
            assert (stopped.code, "in flight" in stopped.reason, one.group.active) == (1, True, set()), stopped
            one.group.disk.heal()
            assert reading.wait(timeout=60) == 0
    assert one.node.stop().code == 0
