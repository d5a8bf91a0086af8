"""File systems that are full, read-only, shut down or frozen, shown by processes that use them."""

from __future__ import annotations

import errno
import os
import subprocess
import time

import pytest

from tests.faults import direct, filesystem, processes
from tests.faults.direct import Child
from tests.faults.disk import FaultDisk
from tests.faults.fixtures import Disks

pytestmark = pytest.mark.once


@pytest.fixture(params=["xfs", "ext4"])
def disk(request: pytest.FixtureRequest, disks: Disks) -> FaultDisk:
    made = disks("data", filesystem=request.param)[0]
    processes.run("dd", "if=/dev/zero", "of=/mnt/data/file", "bs=1M", "count=1", "oflag=direct", "conv=fsync", within=30)
    os.chmod("/mnt/data", 0o777)
    return made


def append(user: str) -> str:
    """Append a megabyte to a file of its own as a user; return what dd complains of."""
    command = ["dd", "if=/dev/zero", f"of=/mnt/data/{user}", "bs=64k", "count=16", "conv=fsync", "status=none"]
    return subprocess.run(command, check=False, user=user, capture_output=True, text=True, timeout=30).stderr.strip()


def test_a_full_file_system_is_full_for_everybody_and_free_again(disk: FaultDisk) -> None:
    with filesystem.full("/mnt/data"):
        assert append("root").endswith("No space left on device")
        assert append("postgres").endswith("No space left on device")
    assert append("root") == append("postgres") == ""


def test_a_file_system_is_full_for_a_user_before_it_is_for_root(disks: Disks) -> None:
    disks("data", filesystem="ext4")
    os.chmod("/mnt/data", 0o777)
    with filesystem.full("/mnt/data", user="postgres"):
        assert append("postgres").endswith("No space left on device")
        assert append("root") == ""
    assert append("postgres") == ""


def test_a_test_that_fails_leaves_the_space_free(disk: FaultDisk) -> None:
    with pytest.raises(ZeroDivisionError), filesystem.full("/mnt/data"):
        raise ZeroDivisionError
    assert append("postgres") == ""


def test_a_file_system_is_read_only_for_a_while(disk: FaultDisk) -> None:
    with filesystem.read_only("/mnt/data"):
        assert direct.outcome("write", "/mnt/data/file") == errno.EROFS
        assert direct.outcome("read", "/mnt/data/file") == 0
    assert direct.outcome("write", "/mnt/data/file") == 0


def test_an_open_file_keeps_a_file_system_writable(disk: FaultDisk) -> None:
    with open("/mnt/data/file", "ab"), pytest.raises(processes.CommandFailed, match="busy"), filesystem.read_only("/mnt/data"):
        raise AssertionError("not read-only")


def test_ext4_turns_read_only_under_an_open_file(disks: Disks) -> None:
    disk = disks("data")[0]
    disk.format("ext4")
    disk.mount("/mnt/data", "errors=remount-ro")
    with subprocess.Popen(["sh", "-c", "exec 3>/mnt/data/open; echo ready; read go; echo text >&3"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:  # fmt: skip
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        filesystem.turn_read_only(disk.device)
        assert writer.communicate(b"\n", timeout=20)[1]
        assert writer.returncode != 0
    assert direct.outcome("sync", "/mnt/data/open") == errno.EROFS


def test_a_shut_down_xfs_refuses_everything_until_mounted_anew(disks: Disks) -> None:
    disk = disks("data", filesystem="xfs")[0]
    processes.run("dd", "if=/dev/zero", "of=/mnt/data/file", "bs=1M", "count=1", "oflag=direct", "conv=fsync", within=30)
    filesystem.shut_down("/mnt/data")
    for operation in ("read", "write", "sync", "fsync"):
        assert direct.outcome(operation, "/mnt/data/file") == errno.EIO
    # The disk beneath is sound.
    assert direct.outcome("read", disk.device) == 0
    disk.unmount()
    disk.mount("/mnt/data")
    assert direct.outcome("sync", "/mnt/data/file") == 0


def test_a_frozen_file_system_holds_writers_and_lets_readers_pass(disk: FaultDisk) -> None:
    with filesystem.frozen("/mnt/data"):
        with Child("write", "/mnt/data/file") as child:
            assert child.stuck()
        assert direct.outcome("read", "/mnt/data/file") == 0
        assert disk.kept() == 0
    processes.wait_until_gone(child.pid)
    assert direct.outcome("write", "/mnt/data/file") == 0


def test_a_test_that_fails_thaws(disk: FaultDisk) -> None:
    with pytest.raises(ZeroDivisionError), filesystem.frozen("/mnt/data"):
        raise ZeroDivisionError
    assert direct.outcome("write", "/mnt/data/file") == 0


@pytest.mark.parametrize("server", ["heal", "hang", "kill_server"])
def test_a_frozen_disk_can_be_closed(disk: FaultDisk, server: str) -> None:
    processes.run("fsfreeze", "--freeze", "/mnt/data", within=10)
    with Child("write", "/mnt/data/file") as child:
        processes.wait_until_stuck(child.pid)
        getattr(disk, server)()
        began = time.monotonic()
        disk.close()
        assert time.monotonic() - began < 30
        processes.wait_until_gone(child.pid)
    assert not disk.attached()
