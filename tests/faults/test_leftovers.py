"""What a run leaves behind when it is killed in the middle of a fault, and what removes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import direct, identity, leftovers, loop, mounts, processes
from tests.faults.disk import FaultDisk

pytestmark = pytest.mark.once

NAMESPACES = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--"]


class Run:
    """A run of its own in a PID and a mount namespace, with a fault and processes that meet it."""

    def __init__(self, fault: str, filesystem: str, namespaces: list[str]) -> None:
        command = [*namespaces, sys.executable, "-m", "tests.faults.doomed", fault, filesystem]
        environment = {**os.environ, identity.ORIGIN: str(identity.pid_namespace())}
        self.process = subprocess.Popen(command, cwd=direct.TREE, env=environment, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        facts = json.loads(self.process.stdout.readline())
        self.loop, self.namespace = int(facts["loop"]), int(facts["namespace"])
        file = loop.backing_file(self.loop)
        assert file is not None
        disk = identity.parse(file)
        assert disk is not None and disk.disk == "doomed"
        self.disk = disk

    def kill(self) -> None:
        """Kill what was started, without another word to anybody."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.kill()
        self.process.wait(timeout=20)

    def device_is_left(self) -> bool:
        file = loop.backing_file(self.loop)
        return file is not None and identity.parse(file) == self.disk

    def processes_left(self) -> list[int]:
        """Return the processes of the run's PID namespace that have not ended."""
        return [pid for pid in processes.pids() if processes.alive(pid) and self.belongs(pid)]

    def belongs(self, pid: int) -> bool:
        try:
            return os.stat(f"/proc/{pid}/ns/pid").st_ino == self.namespace
        except OSError:
            return False


@contextmanager
def running(fault: str, filesystem: str, namespaces: list[str] = NAMESPACES) -> Iterator[Run]:
    run = Run(fault, filesystem, namespaces)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.kill()
        processes.wait_until(lambda: not run.disk.served(), 10)
        leftovers.remove()


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
def test_a_killed_run_with_a_hung_disk_leaves_nothing(filesystem: str) -> None:
    with running("hung", filesystem) as run:
        stuck = [pid for pid in run.processes_left() if processes.state(pid) == "D"]
        assert len(stuck) >= 3
        run.kill()
        assert processes.wait_until(lambda: not run.processes_left() and not run.device_is_left(), 20)
        assert not any(mount.device == f"7:{run.loop}" for pid in processes.pids() for mount in mounts.mounts(pid))
        assert run.loop not in leftovers.found()


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
@pytest.mark.parametrize("fault", ["frozen", "frozen idle", "frozen hung"])
def test_what_a_killed_run_with_a_frozen_disk_leaves_is_removed(fault: str, filesystem: str) -> None:
    with running(fault, filesystem) as run:
        assert run.loop not in leftovers.found()
        run.kill()
        assert processes.wait_until(lambda: not run.disk.served(), 10)
        # This is what the module is for: killed, and still there.
        assert not processes.wait_until(lambda: not run.device_is_left(), 1)
        assert bool(run.processes_left()) == ("idle" not in fault)
        assert leftovers.found()[run.loop] == run.disk
        # The interpreter of the system, which has nothing but the standard library.
        command = ["/usr/bin/python3", "-m", "tests.faults.leftovers"]
        said = subprocess.run(command, check=False, cwd=direct.TREE, capture_output=True, text=True, timeout=60)
        assert f"an earlier run left /dev/loop{run.loop}, its disk 'doomed'" in said.stderr.splitlines()
        assert processes.wait_until(lambda: not run.processes_left() and not run.device_is_left(), 10)
        assert said.returncode == bool(leftovers.found())


def test_a_loop_device_upon_a_disk_goes_with_it() -> None:
    with running("frozen", "ext4") as run:
        line = ["losetup", "--find", "--show", "--offset", "4096", loop.device_node(run.loop)]
        upon = int(subprocess.run(line, check=True, capture_output=True, text=True, timeout=20).stdout.strip().removeprefix("/dev/loop"))
        assert loop.above(run.loop) == [upon]
        run.kill()
        assert processes.wait_until(lambda: not run.disk.served(), 20)
        assert run.device_is_left()
        assert leftovers.remove() == []
        assert not run.device_is_left()
        assert loop.backing_file(upon) is None


def test_what_a_killed_test_leaves_in_a_namespace_that_lives_on_is_removed() -> None:
    """Kill the caller alone: its mounts stay, its disk is dead."""
    with running("hung", "xfs", namespaces=[]) as run:
        run.kill()
        assert processes.wait_until(lambda: not run.disk.served(), 10)
        assert leftovers.found()[run.loop] == run.disk
        leftovers.remove()
        assert not run.device_is_left()
        assert not any(mount.device == f"7:{run.loop}" for mount in mounts.mounts())


def test_nothing_of_others_is_removed(disk: FaultDisk, tmp_path: Path) -> None:
    """Keep a disk in use whose fault is as bad as can be, and somebody else's loop device."""
    disk.format("xfs")
    disk.mount("/mnt/data")
    disk.hang()
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(1 << 20)
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    number = int(device[len("/dev/loop") :])
    try:
        assert number not in leftovers.found()
        leftovers.remove()
        assert loop.backing_file(number) == str(image)
        assert disk.attached()
        disk.heal()
        assert direct.outcome("read", disk.device) == 0
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_disk_whose_server_cannot_be_seen_from_here_is_left_alone(disk: FaultDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "pids", lambda: [os.getpid()])
    # The disk's origin is the namespace that this run was started from; look as one does who is there.
    monkeypatch.setattr(identity, "pid_namespace", lambda: disk.identity.origin)
    assert disk.identity in leftovers.found().values()
    monkeypatch.setattr(identity, "pid_namespace", lambda: disk.identity.origin + 1)
    assert disk.identity not in leftovers.found().values()


def test_who_cannot_be_named_cannot_be_ours() -> None:
    disk = identity.fresh("data")
    assert identity.parse(f"/any/where/{disk.file}") == disk
    for file in ("/var/lib/snapd/snaps/core.snap", f"/tmp/{disk.file}.img", f"/tmp/my-{disk.file}", "", f"/{identity.TAG}"):
        assert identity.parse(file) is None


def test_the_keeper_follows_a_server_that_dies(disk: FaultDisk) -> None:
    os.kill(disk.server_pid, signal.SIGKILL)
    processes.wait_until_gone(disk.keeper_pid, 10)
    assert processes.wait_until(lambda: not disk.attached(), 10)
