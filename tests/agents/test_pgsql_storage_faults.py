"""pgsql-storage on storage that hangs, fails, fills and slows: the situation table of the reference, row by row."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from ocf_py.testing import Result
from tests.agents.conftest import IO_TIMEOUT, PATIENCE, Guarded, MakeGuarded, kill_all
from tests.cpu import cpu_of_children
from tests.faults import filesystem
from tests.hurry import hurry
from tests.postgres import OWNER, ended

pytestmark = pytest.mark.once

POINT = "/mnt/data"
# A write is begun every half second, whatever has become of the ones before: on a slow disk they complete at that pace.
STEADY_WRITES = """
import mmap, os, sys, threading, time
descriptor = os.open(sys.argv[1] + "/steady", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
os.posix_fallocate(descriptor, 0, 1 << 20)
buffer = mmap.mmap(-1, 4096)
for n in range(60):
    threading.Thread(target=os.pwritev, args=(descriptor, [buffer], n * 4096), daemon=True).start()
    time.sleep(0.5)
"""


def seconds(bound: float) -> float:
    return bound * PATIENCE


def judged(result: Result, code: int, *words: str, within: float) -> None:
    assert result.code == code, str(result)
    for word in words:
        assert word in result.reason, str(result)
    assert result.seconds < seconds(within), str(result)


@pytest.mark.parametrize("filesystem_name", ["xfs", "ext4"])
@pytest.mark.parametrize("direction, word", [("reads", "read"), ("writes", "write"), ("flushes", "flush")])
def test_a_hang_is_named_and_remembered(guarded: MakeGuarded, filesystem_name: str, direction: str, word: str) -> None:
    one = guarded(filesystem=filesystem_name).started()
    one.disk.hang(**{direction: True})
    judged(one.node.monitor(), 1, "storage hang", word, "PGDATA", os.path.basename(one.disk.device), within=IO_TIMEOUT + 1)
    again = one.node.monitor()
    judged(again, 1, "storage hang", within=1)
    assert len(one.stuck()) == 1
    one.heal()
    assert ended(one.stuck())
    result = one.node.monitor()
    assert (result.code, result.reason) == (0, "")


def test_everything_hangs(guarded: MakeGuarded) -> None:
    """Reads come first: where nothing answers no write is left under way."""
    one = guarded().started()
    one.disk.hang()
    judged(one.node.monitor(), 1, "storage hang: read", within=IO_TIMEOUT + 1)


@pytest.mark.parametrize("which, label", [("wal", "pg_wal"), ("space", "tablespace")])
@pytest.mark.parametrize("direction", ["reads", "writes"])
def test_one_device_hangs_alone(guarded: MakeGuarded, which: str, label: str, direction: str) -> None:
    one = guarded(wal=which == "wal", space=which == "space")
    one.started()
    assert one.node.monitor().code == 0
    one.disks[which].hang(**{direction: True})
    judged(one.node.monitor(), 1, "storage hang", label, os.path.basename(one.disks[which].device), within=IO_TIMEOUT + 1)
    assert os.path.basename(one.disk.device) not in one.node.monitor().reason


@pytest.mark.parametrize("filesystem_name", ["xfs", "ext4"])
@pytest.mark.parametrize("direction", ["reads", "writes"])
def test_errors_are_named(guarded: MakeGuarded, filesystem_name: str, direction: str) -> None:
    one = guarded(filesystem=filesystem_name).started()
    one.disk.fail(**{direction: True})
    judged(one.node.monitor(), 1, "EIO" if filesystem_name == "xfs" or direction == "reads" else "E", within=2)


def test_a_shut_down_xfs_with_the_server_alive(guarded: MakeGuarded) -> None:
    """The stock agent says "not running" here, and its stop succeeds while the server lives."""
    one = guarded().started()
    processes = one.database.processes()
    filesystem.shut_down(POINT)
    judged(one.node.monitor(), 1, "EIO", within=2)
    assert one.node.probe().code == 0
    assert one.node.stop().code == 0
    assert ended(processes, within=1)


def test_a_read_only_file_system(guarded: MakeGuarded) -> None:
    one = guarded(filesystem="ext4").started()
    subprocess.run(["mount", "-o", "remount,errors=remount-ro", POINT], check=True)
    filesystem.turn_read_only(one.disk.device)
    judged(one.node.monitor(), 1, "read-only", "EROFS", within=2)


@pytest.mark.parametrize("filesystem_name", ["xfs", "ext4"])
def test_a_full_file_system_is_degraded_never_failed(guarded: MakeGuarded, filesystem_name: str) -> None:
    one = guarded(filesystem=filesystem_name).started()
    with filesystem.full(POINT, OWNER):
        for _ in range(3):
            judged(one.node.monitor(), 190, "full", within=2)
    assert one.node.monitor().code == 0


def test_a_full_file_system_that_hangs_has_failed(guarded: MakeGuarded) -> None:
    one = guarded().started()
    with filesystem.full(POINT, OWNER):
        one.disk.hang()
        judged(one.node.monitor(), 1, "storage hang", within=IO_TIMEOUT + 1)
        one.heal()


def test_slow_storage_is_degraded(guarded: MakeGuarded) -> None:
    one = guarded(io_slow="1s").started()
    one.disk.slow(writes=1.3, flushes=0.1)
    judged(one.node.monitor(), 190, "storage slow", within=10)
    one.heal()
    assert one.node.monitor().code == 0


def test_unanswered_i_o_is_slow_while_other_i_o_completes_and_failed_at_the_limit(guarded: MakeGuarded) -> None:
    one = guarded(io_slow_max="7s").started()
    one.disk.slow(writes=10.0)
    writer = subprocess.Popen([sys.executable, "-c", STEADY_WRITES, POINT])
    try:
        time.sleep(10.5)
        judged(one.node.monitor(), 190, "storage slow: write unanswered", "other I/O completes", within=IO_TIMEOUT + 1)
        time.sleep(4)
        judged(one.node.monitor(), 1, "limit 7 s", "other I/O completes", within=1)
    finally:
        writer.kill()
        one.heal()
        writer.wait(10)
    assert one.node.monitor().code == 0


def test_a_stop_on_slow_storage_is_gentle(guarded: MakeGuarded) -> None:
    """A check of a monitor before is still unanswered, for longer than io_timeout, while other I/O completes."""
    one = guarded().started()
    one.disk.slow(writes=8.0)
    writer = subprocess.Popen([sys.executable, "-c", STEADY_WRITES, POINT])
    healing = threading.Timer(2.0, one.heal)
    try:
        time.sleep(8.5)
        judged(one.node.monitor(), 190, "storage slow: write unanswered", within=IO_TIMEOUT + 1)
        healing.start()
        result = one.node.stop()
        healing.join()
    finally:
        writer.kill()
        one.heal()
        writer.wait(10)
    assert result.code == 0, result
    assert "database system is shut down" in one.database.log(), result


def test_a_frozen_file_system_is_a_backup_first_and_a_hang_later(guarded: MakeGuarded) -> None:
    one = guarded(freeze_max="8s").started()
    with filesystem.frozen(POINT):
        judged(one.node.monitor(), 190, "frozen", within=IO_TIMEOUT + 1)
        judged(one.node.monitor(), 190, "frozen", within=1)
        time.sleep(6)
        judged(one.node.monitor(), 1, "frozen", "fsfreeze -u", within=1)
    assert one.node.monitor().code == 0


def test_an_action_too_short_to_judge_leaves_it_to_the_next(guarded: MakeGuarded) -> None:
    """`pcs resource create … op monitor interval=30s` stores no timeout: 20 s apply, and io_timeout may be longer."""
    one = guarded(io_timeout="6s").started()
    one.disk.hang()
    judged(one.node.monitor(**hurry(4)), 190, "not answering yet", within=4)
    judged(one.node.monitor(timeout=20), 1, "storage hang", within=6)


def test_a_hundred_monitors_of_a_hang_leave_one_child(guarded: MakeGuarded) -> None:
    one = guarded().started()
    one.disk.hang()
    assert one.node.monitor().code == 1
    spent = [cpu_of_children()]
    for _ in range(99):
        assert one.node.monitor().code == 1
        spent.append(cpu_of_children())
    assert len(one.stuck()) == 1
    assert spent[-1] - spent[-11] < 3 * (spent[10] - spent[0])
    one.heal()
    assert ended(one.stuck())
    assert one.node.monitor().code == 0


def test_a_file_system_unmounted_under_the_server(guarded: MakeGuarded) -> None:
    one = guarded().started()
    os.system("umount -l /mnt/data")
    judged(one.node.monitor(), 1, "is the file system mounted?", within=2)
    assert one.node.probe().code == 0
    assert one.node.stop().code == 0


def known_hang(one: Guarded, timeout: float = 60.0) -> Result:
    one.disk.hang()
    assert one.node.monitor().code == 1
    return one.node.stop(timeout=timeout)


def test_stop_on_storage_known_to_hang_fails_in_seconds(guarded: MakeGuarded) -> None:
    one = guarded().started()
    result = known_hang(one)
    judged(result, 1, "stop incomplete, fencing needed: storage hang", "PGDATA", within=3)
    one.heal()
    assert one.node.stop().code == 0
    assert one.database.processes() == []


def test_stop_on_storage_known_to_hang_fails_without_a_process_too(guarded: MakeGuarded) -> None:
    one = guarded().started()
    processes = one.database.processes()
    one.disk.hang()
    assert one.node.monitor().code == 1
    kill_all(processes)
    assert ended(processes)
    judged(one.node.stop(), 1, "stop incomplete, fencing needed: storage hang", "PGDATA", within=3)


def test_stop_finds_a_hang_by_itself(guarded: MakeGuarded) -> None:
    one = guarded().started()
    one.database.execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS n")
    one.disk.hang()
    judged(one.node.stop(), 1, "stop incomplete", "fencing needed", within=IO_TIMEOUT + 3)


def test_stop_never_succeeds_while_a_writer_is_alive(guarded: MakeGuarded) -> None:
    """The hang is not judged yet, the server is gone, and a write of ours is under way: it would land on the next owner's disk."""
    one = guarded(io_timeout="30s").started()
    processes = one.database.processes()
    one.disk.hang(writes=True)
    assert one.node.monitor(**hurry(3)).code == 190
    kill_all(processes)
    ended(processes)
    judged(one.node.stop(), 1, "stop incomplete", "fencing needed", within=4)
    one.heal()
    assert one.node.stop().code == 0


def test_another_resource_knows_of_the_hang(guarded: MakeGuarded) -> None:
    """Any agent of ours on this node has a stuck child on the same device: that is known."""
    from ocf_py.testing import Executor
    from tests.agents.conftest import AGENT

    one = guarded().started()
    other = Executor(AGENT, one.parameters, instance="other", allow_stuck=True, timeout=60.0)
    one.disk.hang()
    assert other.monitor().code == 1
    judged(one.node.stop(), 1, "stop incomplete", "fencing needed", within=3)


def test_start_on_sick_storage_is_refused_with_the_reason(guarded: MakeGuarded) -> None:
    one = guarded()
    one.disk.fail()
    # Not waited for: another node may have the storage still.
    judged(one.node.start(timeout=120), 1, "start refused", "EIO", within=6)
    one.disk.hang()
    judged(one.node.start(timeout=12), 1, "start refused", within=7)
    assert one.database.processes() == []
    one.heal()
    assert one.node.start().code == 0


def test_start_waits_for_storage_that_comes_back(guarded: MakeGuarded) -> None:
    one = guarded()
    one.disk.hang()
    back = threading.Timer(5.0, one.heal)
    back.start()
    try:
        result = one.node.start(timeout=60)
    finally:
        back.join()
    assert result.code == 0, str(result)
    assert result.seconds > 4
    assert one.node.monitor(level=20).code == 0
