"""Each fault of a disk, shown at the kernel by processes that meet it."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from tests.faults import direct, loop, mounts, processes
from tests.faults.direct import Child
from tests.faults.disk import Direction, DiskError, FaultDisk
from tests.faults.fixtures import Disks

pytestmark = pytest.mark.once


def with_file(disk: FaultDisk, name: str = "file") -> str:
    """Make a file that is on the disk in full, so that direct I/O on it touches the data only; return its path."""
    path = f"{disk.mountpoint}/{name}"
    processes.run("dd", "if=/dev/urandom", f"of={path}", "bs=1M", "count=4", "oflag=direct", "conv=fsync", within=30)
    return path


@pytest.fixture(params=["xfs", "ext4"])
def mounted(request: pytest.FixtureRequest, disks: Disks) -> FaultDisk:
    return disks("data", filesystem=request.param)[0]


def test_the_loop_device_uses_direct_io_and_ends_by_itself(disk: FaultDisk) -> None:
    command = ["losetup", "--list", "--noheadings", "--output", "DIO,AUTOCLEAR", disk.device]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["1", "1"]


def test_what_is_written_is_read_after_a_new_mount(mounted: FaultDisk) -> None:
    path = with_file(mounted)
    command = ["sha256sum", path]
    before = subprocess.run(command, check=True, capture_output=True).stdout
    point = mounted.mountpoint
    assert point is not None
    mounted.unmount()
    mounted.mount(point)
    assert subprocess.run(command, check=True, capture_output=True).stdout == before


# What hangs, who is stuck then, and who is not.
@pytest.mark.parametrize("hung, stuck, free", [
    ("reads", "read", "write"),
    ("writes", "write", "read"),
    ("writes", "sync", "read"),
    ("writes", "fsync", "read"),
    ("flushes", "sync", None),
    ("flushes", "fsync", None),
])  # fmt: skip
def test_one_direction_hangs(mounted: FaultDisk, hung: str, stuck: str, free: str | None) -> None:
    # Two files: a direct read waits for the writeback of what it covers, and for a writer of the same file.
    path, other = with_file(mounted), with_file(mounted, "other")
    mounted.hang(**{hung: True})
    if hung == "flushes":
        # Before the first flush everything else is answered; after it everything waits in the loop driver's queue.
        assert [direct.outcome("read", other), direct.outcome("write", other)] == [0, 0]
    before = mounted.completed()
    with Child(stuck, path) as child:
        assert child.stuck()
        assert mounted.requests()[Direction(hung)].kept >= 1
        if free:
            assert direct.outcome(free, other) == 0
        after = mounted.completed()
        assert getattr(after, hung) == getattr(before, hung)
        assert after.in_flight >= 1
        mounted.heal()
        processes.wait_until_gone(child.pid)
        assert mounted.kept() == 0
    assert direct.outcome(stuck, path) == 0


def test_a_hung_writer_waits_in_the_block_layer(disk: FaultDisk) -> None:
    disk.hang()
    with Child("write", disk.device) as child:
        processes.wait_until_stuck(child.pid)
        with open(f"/proc/{child.pid}/stack") as stack:
            assert "blkdev_direct_IO" in (text := stack.read()) or "submit_bio_wait" in text, text
        disk.heal()
        assert child.outcome() == 0


def test_everything_hangs_and_comes_back(mounted: FaultDisk) -> None:
    path = with_file(mounted)
    mounted.hang()
    with ExitStack() as stack:
        children = [stack.enter_context(Child(operation, path)) for operation in ("read", "write", "sync", "fsync")]
        for child in children:
            processes.wait_until_stuck(child.pid)
        mounted.heal()
        assert [child.outcome() for child in children] == [0, 0, 0, 0]


def test_what_is_cached_is_read_while_the_disk_hangs(mounted: FaultDisk) -> None:
    path = with_file(mounted)
    assert direct.outcome("cached", path) == 0
    mounted.hang()
    assert direct.outcome("cached", path) == 0


@pytest.mark.parametrize("failing, operation, other", [
    ("reads", "read", "write"),
    ("writes", "write", "read"),
    ("writes", "sync", "read"),
    ("writes", "fsync", "read"),
    ("flushes", "sync", "read"),
    ("flushes", "fsync", "read"),
])  # fmt: skip
def test_errors_reach_who_asked(disk: FaultDisk, failing: str, operation: str, other: str) -> None:
    disk.fail(**{failing: True})
    assert direct.outcome(other, disk.device) == 0
    assert direct.outcome(operation, disk.device) == errno.EIO
    assert disk.requests()[Direction(failing)].refused >= 1
    disk.heal()
    assert direct.outcome(operation, disk.device) == 0


def test_a_file_system_meets_the_errors(mounted: FaultDisk) -> None:
    path = with_file(mounted)
    mounted.fail(writes=True)
    assert direct.outcome("write", path) == errno.EIO
    mounted.fail(reads=True)
    assert direct.outcome("read", path) == errno.EIO


def test_a_hang_turns_into_errors(mounted: FaultDisk) -> None:
    path = with_file(mounted)
    mounted.hang()
    with Child("write", path) as writer, Child("read", path) as reader:
        for child in (writer, reader):
            processes.wait_until_stuck(child.pid)
        mounted.fail()
        assert [writer.outcome(), reader.outcome()] == [errno.EIO, errno.EIO]


@pytest.mark.parametrize("slow, operation, other", [("reads", "read", "write"), ("writes", "write", "read"), ("flushes", "sync", "read")])
def test_one_direction_is_slow(mounted: FaultDisk, slow: str, operation: str, other: str) -> None:
    path = with_file(mounted)
    mounted.slow(**{slow: 1.5})
    with Child(operation, path) as child:
        assert direct.outcome(other, path) == 0
        assert child.outcome() == 0
        assert time.monotonic() - child.began > 1.5


def test_healing_ends_a_delay(disk: FaultDisk) -> None:
    disk.slow(writes=3600)
    with Child("write", disk.device) as child:
        processes.wait_until_stuck(child.pid)
        disk.heal()
        assert child.outcome() == 0


def test_directions_have_faults_of_their_own(disk: FaultDisk) -> None:
    disk.fail(reads=True)
    disk.hang(writes=True)
    assert direct.outcome("read", disk.device) == errno.EIO
    with Child("write", disk.device) as child:
        processes.wait_until_stuck(child.pid)
        disk.heal(reads=True)
        assert direct.outcome("read", disk.device) == 0
        assert processes.state(child.pid) == "D"
        disk.heal()
        assert child.outcome() == 0


def test_disks_hang_apart(disks: Disks) -> None:
    data, wal, space = disks("data", "wal", "space", filesystem="xfs")
    paths = {disk: with_file(disk) for disk in (data, wal, space)}
    wal.hang()
    with Child("write", paths[wal]) as child:
        assert child.stuck()
        assert direct.outcome("sync", paths[data]) == 0
        space.fail(writes=True)
        assert direct.outcome("write", paths[space]) == errno.EIO
        assert direct.outcome("read", paths[data]) == 0


HUNDRED_WRITERS = """
import os, sys
from tests.faults import direct
for _ in range(100):
    if os.fork() == 0:
        direct.write(sys.argv[1])
        os._exit(0)
sys.exit(sum(os.wait()[1] for _ in range(100)))
"""


def test_a_hundred_hung_writes_leave_room_for_reads(disk: FaultDisk) -> None:
    disk.hang(writes=True)
    with subprocess.Popen([sys.executable, "-c", HUNDRED_WRITERS, disk.device], cwd=direct.TREE) as writers:
        try:
            assert processes.wait_until(lambda: disk.requests()[Direction.WRITE].kept == 100, 20)
            assert direct.outcome("read", disk.device) == 0
        finally:
            disk.heal()
        assert writers.wait(timeout=20) == 0


SCATTERED_WRITER = """
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for i in range(2000):
    os.pwrite(file, b"x" * 4096, i * 3 * 4096)
os.fsync(file)
"""


def test_hung_writeback_leaves_room_for_reads(mounted: FaultDisk) -> None:
    """Write as a checkpoint does: far more than the disk takes at once."""
    path = with_file(mounted)
    mounted.hang(writes=True)
    names = [f"{mounted.mountpoint}/{number}" for number in range(4)]
    writers = [subprocess.Popen([sys.executable, "-c", SCATTERED_WRITER, name]) for name in names]
    try:
        for writer in writers:
            processes.wait_until_stuck(writer.pid, 20)
        assert mounted.requests()[Direction.WRITE].kept > 1
        assert direct.outcome("read", path) == 0
    finally:
        mounted.heal()
    assert [writer.wait(timeout=30) for writer in writers] == [0, 0, 0, 0]


def gone(disk: FaultDisk) -> bool:
    """Tell whether nothing of a disk is left."""
    return (
        not any(mount.device == disk.number for mount in mounts.mounts())
        and not processes.alive(disk.server_pid)
        and not processes.alive(disk.keeper_pid)
        and not any(disk.identity.file in file for file in loop.backing_files().values())
    )


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
@pytest.mark.parametrize("fault", ["heal", "hang", "fail", "kill_server"])
def test_nothing_is_left_whatever_the_fault(filesystem: str, fault: str) -> None:
    with FaultDisk("data") as disk, ExitStack() as stack:
        disk.format(filesystem)
        disk.mount("/mnt/data")
        path = with_file(disk)
        sleeper = stack.enter_context(subprocess.Popen(["sleep", "3600"], cwd="/mnt/data"))
        getattr(disk, fault)()
        children = [stack.enter_context(Child(operation, path)) for operation in ("read", "write", "sync", "fsync")]
        if fault == "hang":
            for child in children:
                processes.wait_until_stuck(child.pid)
        began = time.monotonic()
        disk.close()
        assert time.monotonic() - began < 30
        for process in (*(child.process for child in children), sleeper):
            process.wait(timeout=5)
    assert gone(disk)


def test_a_hung_disk_ends_with_a_server_that_cannot_answer(disks: Disks) -> None:
    """Stop the server, so that not even its control connection answers."""
    disk = disks("data", filesystem="xfs")[0]
    path = with_file(disk)
    disk.hang()
    with Child("write", path) as child, processes.stopped(disk.server_pid):
        processes.wait_until_stuck(child.pid)
        disk._control.settimeout(2)
        disk.close()
        assert child.outcome() == errno.EIO
    assert gone(disk)


def test_a_test_that_fails_leaves_no_disk() -> None:
    with pytest.raises(ZeroDivisionError), FaultDisk("data") as disk:
        disk.hang()
        raise ZeroDivisionError
    assert gone(disk)


def test_closing_twice_is_closing_once(disk: FaultDisk) -> None:
    disk.close()
    disk.close()
    assert gone(disk)


def test_a_server_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DiskError, match="its server ended"):
        FaultDisk("data")


@pytest.mark.parametrize("name", ["", "Data", "a/b", "a.b", "seventeen-letters"])
def test_a_disk_needs_a_proper_name(name: str) -> None:
    with pytest.raises(ValueError, match="disk name"):
        FaultDisk(name)


def test_a_format_that_fails_says_why(disks: Disks) -> None:
    with pytest.raises(processes.CommandFailed, match=r"mkfs\.xfs"):
        disks("small", size_mb=4)[0].format("xfs")
