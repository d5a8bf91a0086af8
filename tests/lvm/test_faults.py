"""Storage that fails under the agent, and what it must never say then: on a node's device-mapper, or on the stand-ins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hurry import hurry
from tests.lvm.conftest import IO_TIMEOUT, PATIENCE, MakeResource
from tests.lvm.stack import OTHER, OWN, Group, await_true, run

pytestmark = pytest.mark.once


def comm(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def running(name: str) -> list[str]:
    return [pid for pid in filter(str.isdigit, os.listdir("/proc")) if comm(pid) == name]


def note(group: Group) -> Path:
    """Return the file in which the agent has noted what it has started."""
    [found] = [path for path in Path("/run/resource-agents/ocf_py").rglob("*") if path.is_file() and group.name in path.read_text()]
    return found


def test_errors_name_the_way_down(resource: MakeResource) -> None:
    one = resource(lvs=("a",)).started()
    one.group.disk.fail()
    result = one.node.monitor(level=10)
    assert (result.code, result.seconds < PATIENCE) == (1, True), result
    assert "I/O error: read: EIO" in result.reason
    assert f"LV {one.group.name}/a on " in result.reason
    assert one.node.monitor().code == 0, "level 0 reads nothing"
    one.group.disk.heal()
    assert one.node.monitor(level=10).code == 0


def test_a_hang_is_known_from_then_on(resource: MakeResource) -> None:
    one = resource().started()
    one.group.disk.hang()
    first = one.node.monitor(level=10)
    assert (first.code, "storage hang: read unanswered" in first.reason) == (1, True), first
    assert IO_TIMEOUT <= first.seconds < IO_TIMEOUT + PATIENCE
    for _ in range(3):
        again = one.node.monitor(level=10)
        assert (again.code, again.seconds < PATIENCE) == (1, True), again
    assert one.node.probe().code == 0
    stopped = one.node.stop()
    assert (stopped.code, "storage hang" in stopped.reason) == (1, True), stopped
    assert stopped.seconds < 3 + PATIENCE
    assert one.group.active == {"a", "b"}
    one.group.disk.heal()
    await_true("the readers are gone", lambda: one.node.monitor(level=10).code == 0)
    assert one.node.stop().code == 0


def test_a_stop_finds_out_by_itself_that_the_disk_hangs(resource: MakeResource) -> None:
    one = resource().started()
    one.group.disk.hang()
    stopped = one.node.stop()
    assert (stopped.code, "storage hang" in stopped.reason) == (1, True), stopped
    assert stopped.seconds < IO_TIMEOUT + PATIENCE


def test_a_stop_removes_nothing_while_the_disk_has_not_answered(resource: MakeResource) -> None:
    """Its time is too short to call it a hang, and silence is no error."""
    one = resource(io_timeout="30").started()
    one.group.disk.hang()
    stopped = one.node.stop(**hurry(20))
    assert (stopped.code, "not answering" in stopped.reason, one.group.active) == (1, True, {"a", "b"}), stopped


def test_a_stop_on_a_dead_disk_removes_closed_volumes(resource: MakeResource) -> None:
    one = resource().started()
    one.group.disk.fail()
    stopped = one.node.stop()
    assert (stopped.code, one.group.active) == (0, set()), stopped


def test_an_open_volume_on_a_dead_disk_is_not_stopped(resource: MakeResource) -> None:
    one = resource().started()
    with open(f"/dev/{one.group.name}/b", "rb"):
        one.group.disk.fail()
        stopped = one.node.stop()
        assert (stopped.code, f"by process {os.getpid()}" in stopped.reason) == (1, True), stopped
        assert "b" in one.group.active
    assert one.node.stop().code == 0


def test_a_dead_disk_of_somebody_else_holds_nothing_up(resource: MakeResource) -> None:
    one, other = resource(), resource()
    other.group.disk.hang()
    for action, level in (("start", None), ("monitor", 10), ("monitor", 20), ("start", None), ("stop", None)):
        result = one.node.call(action, level=level, interval=10.0 if level else 0.0)
        assert result.code == 0, result


def test_a_start_on_a_disk_that_hangs_waits_and_is_refused(resource: MakeResource) -> None:
    one = resource()
    one.group.disk.hang()
    result = one.node.start(**hurry(24))
    assert (result.code, "storage hang" in result.reason or "not answering" in result.reason) == (1, True), result
    assert result.seconds < 24 + PATIENCE
    assert one.group.active == set()


def test_a_start_on_a_disk_with_errors_is_refused_at_once(resource: MakeResource) -> None:
    one = resource()
    one.group.disk.fail()
    result = one.node.start()
    assert (result.code, "I/O error" in result.reason, result.seconds < 2 * PATIENCE) == (1, True, True), result


@pytest.mark.parametrize("fault", ["fail", "hang"])
def test_a_start_of_what_is_active_has_to_read_it_too(resource: MakeResource, fault: str) -> None:
    one = resource(lvs=("a",)).started()
    getattr(one.group.disk, fault)()
    result = one.node.start(**hurry(30))
    assert (result.code, one.group.active) == (1, {"a"}), result


def test_a_silent_disk_of_the_group_is_not_a_missing_one(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=("a",), partial_activation="yes")
    one.group.disks[1].hang()
    result = one.node.start(**hurry(24))
    assert (result.code, "does not answer" in result.reason) == (1, True), result
    assert one.group.active == set()


def test_a_disk_of_the_group_that_answers_with_errors_is_a_missing_one(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=("a",))
    one.group.disks[1].fail()
    refused = one.node.start(**hurry(24))
    assert (refused.code, "1 of 2 PVs of VG" in refused.reason, one.group.active) == (1, True, set()), refused
    node = one.executor(partial_activation="yes")
    started = node.start()
    assert (started.code, one.group.active) == (0, {"a"}), started
    assert node.stop().code == 0


def test_a_missing_disk_is_counted_and_named(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=("a",))
    one.group.give_away()
    one.group.disks[1].pull()
    result = one.node.start(**hurry(24))
    assert (result.code, "1 of 2 PVs of VG" in result.reason) == (1, True), result
    assert ("majority_pvs" in result.reason, "degraded_activation" in result.reason) == (True, False), "LVM changes no such owner else"
    assert one.group.owner == OTHER
    one.group.disks[1].plug()


def test_a_writer_that_cannot_be_ended_makes_stop_fail(resource: MakeResource) -> None:
    """A start leaves a vgchange behind that waits for the disk: when that is back, its write lands."""
    one = resource(io_slow_max="0")
    one.group.give_away()
    one.group.disk.slow(400)
    call = one.node.begin("start", **hurry(40))
    await_true("LVM changes the owner", lambda: running("vgchange"), 40)
    one.group.disk.hang()
    started = call.finish()
    assert started.code == 1, started
    assert running("vgchange"), "it waits for the disk"
    # Another resource of the group comes to its end behind it, too.
    second = one.executor("second", lvname="b")
    refused = second.start(**hurry(20))
    assert refused.code == 1, refused
    stopped = one.node.stop()
    assert (stopped.code, "may still write" in stopped.reason, stopped.seconds < 3 + PATIENCE) == (1, True, True), stopped
    one.group.disk.heal()
    await_true("it is gone", lambda: not running("vgchange"))
    assert one.node.stop().code == 0


@contextmanager
def locked(group: Group) -> Iterator[int]:
    """Let a process hang with the lock of the VG, for which all commands of LVM wait without limit; yield its number."""
    lock = f"/run/lock/lvm/V_{group.name}"
    script = f"import fcntl, time; f = open('{lock}', 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            holder.stdout.readline()
            yield holder.pid
        finally:
            holder.kill()


def test_who_holds_the_lock_is_named(resource: MakeResource) -> None:
    one = resource().started()
    with locked(one.group) as holder:
        run("dmsetup", "remove", one.group.mapped("a"))
        result = one.node.start(**hurry(20))
        assert (result.code, f"held by process {holder}" in result.reason) == (1, True), result
        assert one.node.stop(**hurry(30)).code == 0, "closed volumes need no lock to be removed"
    assert one.group.active == set()


def test_a_devices_file_that_lvm_does_not_use_hides_nothing(resource: MakeResource) -> None:
    """LVM is told which disks it may see, since one is silent; the file is there from another time."""
    one, other = resource(), resource()
    other.group.disk.hang()
    listing = Path("/etc/lvm/devices/system.devices")
    before = listing.read_text() if listing.exists() else None
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("VERSION=1.1.1\n")
    try:
        result = one.node.start(**hurry(24))
    finally:
        listing.write_text(before) if before is not None else listing.unlink()
    assert (result.code, one.group.active) == (0, {"a", "b"}), result


@pytest.mark.parametrize("mode, reason", [("lvmlockd", "its metadata speak of system_id"), ("clvmd", "its metadata speak of system_id")])
def test_an_access_mode_that_does_not_fit(resource: MakeResource, mode: str, reason: str) -> None:
    one = resource(vg_access_mode=mode)
    result = one.node.start()
    assert (result.code, reason in result.reason) == (1, True), result


def test_an_exported_group(resource: MakeResource) -> None:
    one = resource()
    run("vgexport", one.group.name)
    result = one.node.start()
    assert (result.code, "vgimport" in result.reason) == (1, True), result
    run("vgimport", one.group.name)


@pytest.mark.parametrize("active", [False, True])
def test_autoactivation_is_turned_off(resource: MakeResource, active: bool) -> None:
    one = resource()
    run("vgchange", "--setautoactivation", "y", one.group.name)
    if active:
        one.group.activate()
    assert one.node.start().code == 0
    assert run("vgs", "--noheadings", "-o", "vg_autoactivation", one.group.name) == ""


def test_a_stop_after_errors_fences_where_that_is_asked_for(resource: MakeResource) -> None:
    one = resource(fence_on_io_error="yes").started()
    one.group.disk.fail()
    result = one.node.stop()
    assert (result.code, "fence_on_io_error" in result.reason) == (1, True), result


def test_an_open_volume_is_reported_with_its_user(resource: MakeResource) -> None:
    one = resource().started()
    place = one.group.mount("a")
    result = one.node.stop()
    assert (result.code, f"mounted on {place}" in result.reason) == (1, True), result
    run("umount", str(place))
    # LVM has closed what it could.
    assert one.node.start().code == 0
    with open(f"/dev/{one.group.name}/b", "rb"):
        result = one.node.stop()
        assert (result.code, f"by process {os.getpid()}" in result.reason) == (1, True), result
    assert one.node.stop().code == 0


def test_slow_is_a_warning(resource: MakeResource) -> None:
    one = resource(lvs=("a",), io_slow="1s", io_slow_max="60").started()
    one.group.disk.slow(1500)
    result = one.node.monitor(level=10)
    assert (result.code, "storage slow: read took" in result.reason) == (190, True), result


def test_the_owner_is_taken_over(resource: MakeResource) -> None:
    one = resource()
    one.group.give_away()
    assert one.node.start().code == 0
    assert (one.group.owner, one.group.active) == (OWN, {"a", "b"})


def test_an_lvm_without_majorities_is_enough_where_no_disk_is_missing(resource: MakeResource) -> None:
    one = resource(majority_pvs="yes")
    one.group.give_away()
    started = one.node.start()
    assert (started.code, one.group.owner) == (0, OWN), started


def owned_by(group: Group, owner: str) -> None:
    run("vgchange", "-y", "--driverloaded", "n", "--systemid", owner, group.name)


def test_another_name_of_this_node_is_no_other_node(resource: MakeResource) -> None:
    """The group was started while this node had the name that owns it, as DHCP may change it."""
    one = resource().started()
    noted = note(one.group)
    one.group.give_away()
    assert one.node.monitor(level=20).code == 1
    noted.write_text(noted.read_text().replace(f"\nown {OWN}\n", f"\nown {OTHER}\n"))
    result = one.node.monitor(level=20)
    assert (result.code, f"was {OTHER} when the VG was started" in result.reason) == (190, True), result


def test_a_group_that_nobody_owns_any_more_is_a_warning(resource: MakeResource) -> None:
    one = resource().started()
    owned_by(one.group, "")
    result = one.node.monitor(level=20)
    assert (result.code, "owned by nobody" in result.reason) == (190, True), result
    owned_by(one.group, OWN)
    assert one.node.monitor(level=20).code == 0


def test_a_volume_that_is_active_again_under_another_number_is_not_lost(resource: MakeResource) -> None:
    one = resource().started()
    volume = Path("/dev", one.group.name, "a")
    before = volume.stat().st_rdev
    for _ in range(5):  # Whoever takes a number of this kernel may give it back before it is asked for.
        run("lvchange", "-an", f"{one.group.name}/a")
        resource(lvs=())
        one.group.activate("a")
        if volume.stat().st_rdev != before:
            break
    else:
        pytest.fail("it has the same number, whatever takes it")
    assert f" {os.major(before)}:{os.minor(before)}\t" in note(one.group).read_text()
    result = one.node.monitor()
    assert result.code == 0, result


@pytest.mark.parametrize("flagged", ["a", ""])
def test_volumes_that_lvm_is_told_to_skip(resource: MakeResource, flagged: str) -> None:
    one = resource(lvname=flagged or None)
    target = f"{one.group.name}/{flagged}" if flagged else one.group.name
    run("lvchange", "-ky", target)
    result = one.node.start(**hurry(30))
    assert (result.code, f"lvchange -kn {target}" in result.reason, one.group.active) == (1, True, set()), result


def test_two_resources_of_one_group(resource: MakeResource) -> None:
    one = resource()
    first, second = one.executor("first", lvname="a"), one.executor("second", lvname="b")
    calls = [first.begin("start"), second.begin("start")]
    assert [call.finish().code for call in calls] == [0, 0]
    assert one.group.active == {"a", "b"}
    assert first.stop().code == 0
    assert one.group.active == {"b"}
    assert (first.probe().code, second.monitor(level=20).code) == (7, 0)
    assert second.stop().code == 0


def test_two_resources_take_one_group_over_at_the_same_time(resource: MakeResource) -> None:
    """LVM refuses to set what another resource has set a moment ago."""
    one = resource()
    run("vgchange", "--setautoactivation", "y", one.group.name)
    one.group.give_away()
    one.group.disk.slow(100)
    calls = [one.executor(name, lvname=lv).begin("start", timeout=180.0) for name, lv in (("first", "a"), ("second", "b"))]
    results = [call.finish() for call in calls]
    assert [result.code for result in results] == [0, 0], results
    assert (one.group.owner, one.group.active) == (OWN, {"a", "b"})


def test_a_volume_that_is_suspended_for_a_moment_is_stopped(resource: MakeResource) -> None:
    """As LVM does while a backup takes its snapshot: to fence for it would be wrong."""
    one = resource().started()
    name = one.group.mapped("a")
    run("dmsetup", "suspend", name)
    call = one.node.begin("stop")
    time.sleep(0.7)
    run("dmsetup", "resume", name)
    stopped = call.finish()
    assert (stopped.code, one.group.active) == (0, set()), stopped


def test_a_group_made_anew_under_the_same_name_is_not_overlooked(resource: MakeResource) -> None:
    one = resource().started()
    noted = note(one.group)
    noted.write_text(re.sub(f"({one.group.name} )[0-9A-Za-z]{{32}}", rf"\g<1>{'x' * 32}", noted.read_text()))
    looked = one.node.monitor()
    assert (looked.code, "has only its name" in looked.reason) == (190, True), looked
    assert one.node.probe().code == 0
    assert one.node.stop().code == 0
    assert one.group.active == set()


def test_a_hidden_part_is_no_volume(resource: MakeResource) -> None:
    one = resource(lvs=("a-real",))
    assert one.executor(lvname="snapshot0").start().code == 6
    assert one.executor(lvname="a_rimage_0").start().code == 6
    assert one.executor(lvname="a-real").start().code == 0
    assert one.executor(lvname="a").probe().code == 7


@pytest.mark.parametrize("lvname", ["/dev/vg/a", "snapshot0"])
def test_a_resource_with_a_wrong_lvname_has_nothing_to_stop(resource: MakeResource, lvname: str) -> None:
    """Pacemaker stops what a probe has called misconfigured; the group is active for another resource."""
    one = resource().started()
    wrong = one.executor("wrong", lvname=lvname)
    assert [wrong.probe().code, wrong.start().code] == [6, 6]
    assert (wrong.stop().code, one.group.active) == (0, {"a", "b"})
    assert one.node.monitor(level=10).code == 0
