"""Guarded calls, with children that really hang: on a disk that does not answer."""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ocf_py as ocf
from ocf_py import guard, state
from tests.cpu import cpu_of_children
from tests.faults import direct, processes
from tests.faults.disk import FaultDisk
from tests.framework.conftest import MakePuppet, Puppet

KILLS = 500


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"{tmp_path}/ocf_py/one"


def guards(folder: str, seconds: float = 10) -> guard.Guards:
    return guard.Guards(folder, ocf.Deadline.after(seconds))


def call(folder: str, function: Callable[..., Any], *args: Any, seconds: float = 10, **options: Any) -> Any:
    one = ocf.Call("target", function, *args, **options)
    guards(folder, seconds).run(one)
    return one.result()


def raiser(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


# Answers.


@pytest.mark.parametrize(
    "value", [None, True, 7, 2**70, 1.5, "text", "\udcff", b"\0\xff", (1, "a"), [1, [2]], {"a": {"b": (1,)}}, {1, 2}, "x" * 3_000_000]
)
def test_values_come_back(folder: str, value: object) -> None:
    assert call(folder, lambda: value) == value


def test_a_system_error_comes_back_as_it_was(folder: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"^\[Errno 2\] No such file or directory: '/nowhere'$") as raised:
        call(folder, os.stat, "/nowhere")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOENT, "/nowhere")
    with pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error$") as plain:
        call(folder, raiser(OSError(errno.EIO, "Input/output error")))
    assert plain.value.filename is None


@pytest.mark.parametrize("kind", [ocf.Error, ocf.InvalidHere, ocf.NotInstalled, ocf.NotRunning, ocf.CommandFailed, ocf.Misconfigured])
def test_an_outcome_comes_back_as_it_was(folder: str, kind: type[ocf.Error]) -> None:
    with pytest.raises(kind, match=r"^because$") as raised:
        call(folder, raiser(kind("because")))
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "function, reason",
    [
        (raiser(KeyError("x")), r"^internal error: KeyError: 'x' \(test_guard.py:\d+\)$"),
        (raiser(SystemExit(3)), r"^internal error: SystemExit: 3 "),
        (raiser(KeyboardInterrupt()), "^internal error: KeyboardInterrupt"),
        (object, "^internal error: object cannot be an answer of a guarded call$"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "^target: the child ended without an answer$"),
        (lambda: os._exit(0), "^target: the child ended without an answer$"),
    ],
)
def test_whatever_else_happens_is_an_error(folder: str, function: Callable[[], object], reason: str) -> None:
    with pytest.raises(ocf.Error, match=reason):
        call(folder, function)


def test_an_answer_that_comes_in_pieces_does_not_keep_the_parent(folder: str) -> None:
    """The child writes more than a pipe holds and is stopped in the middle: its time runs out, the parent's does not."""

    def half() -> str:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        time.sleep(0.5)
        return "never"

    began = time.monotonic()
    with pytest.raises(ocf.Hung):
        call(folder, half, within=0.5)
    assert time.monotonic() - began < 3


# What the child is.


def test_a_child_has_nothing_of_the_action_but_its_pipe_and_its_page(puppet: MakePuppet) -> None:
    names = "sorted(os.path.realpath(f'/proc/self/fd/{n}').split(':')[0] for n in os.listdir('/proc/self/fd'))"
    calls = f"[ocf.Call(f't{{n}}', lambda: {names}) for n in range(3)]"
    three = f"[self.guards.run(*calls) or [call.value for call in calls] for calls in [{calls}]][0]"
    one = puppet().lines(observe="running", look=f"tell {three}")
    assert one.node.monitor(level=10).code == 0
    for number, found in enumerate(one.told()):
        pages = [name for name in found if "/child." in name]
        assert pages == [f"{one.memory}/child.t{number}"]
        # Three streams and what they were made of, the answer and the release, and the listing itself.
        others = [name.rpartition("/")[2] for name in found if name not in pages]
        assert (others.count("null"), others.count("pipe"), len(others)) == (4, 2, 7)


def test_a_child_stays_in_the_actions_process_group(puppet: MakePuppet) -> None:
    """Pacemaker's SIGKILL at the timeout goes to the group and has to find it."""
    told = "(os.getpid(), os.getpgrp(), self.guarded('t', lambda: (os.getpid(), os.getppid(), os.getpgrp())))"
    one = puppet().lines(observe=f"tell {told}")
    one.node.probe()
    main, group, (child, parent, child_group) = one.told()
    assert group == main == parent == child_group
    assert child != main


def test_a_child_ends_without_the_parents_farewells(folder: str, tmp_path: Path) -> None:
    marks: list[int] = []

    def leave() -> int:
        atexit.register(lambda: (tmp_path / "atexit").write_text("run"))
        marks.append(1)
        sys.stdout.write("twice")
        return 1

    with open(tmp_path / "buffered", "w") as file:
        file.write("once")
        assert call(folder, leave) == 1
    assert (tmp_path / "buffered").read_text() == "once"
    assert not (tmp_path / "atexit").exists()
    assert marks == []


def test_a_child_dies_of_a_closed_pipe_and_of_sigterm(folder: str) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
    assert call(folder, lambda: [signal.getsignal(number) == signal.SIG_DFL for number in numbers]) == [True] * 4
    assert call(folder, lambda: len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))) == 0


def test_a_signal_meets_the_child_as_a_child(folder: str, tmp_path: Path) -> None:
    """The action's handler raises; in a child that has just been forked it would unwind the action a second time."""

    def raised(number: int, frame: object) -> None:
        (tmp_path / "raised").touch()
        os._exit(9)

    def work() -> None:
        fork = os.fork

        def forked_with_a_signal() -> int:
            pid = fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return pid

        signal.signal(signal.SIGTERM, raised)
        os.fork = forked_with_a_signal
        with pytest.raises(ocf.Error, match=r"^target: the child ended without an answer$"):
            call(folder, (tmp_path / "began").touch)
        os._exit(7)

    assert os.WEXITSTATUS(os.waitpid(main_process(work), 0)[1]) == 7
    assert list(tmp_path.glob("raised")) == list(tmp_path.glob("began")) == []


def test_a_child_that_is_killed_before_its_release_has_given_no_answer(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = guard.Record.write

    def kill_and_write(self: guard.Record, part: int, facts: dict[str, str]) -> None:
        if facts:
            os.kill(int(facts["pid"]), signal.SIGKILL)
            processes.wait_for_state(int(facts["pid"]), "Z")
        write(self, part, facts)

    monkeypatch.setattr(guard.Record, "write", kill_and_write)
    with pytest.raises(ocf.Error, match=r"^target: the child ended without an answer$"):
        call(folder, os.getpid)


def test_a_child_becomes_another_user(folder: str) -> None:
    nobody = call(folder, lambda: guard.Account.look_up("nobody").encode())
    account = guard.Account.decode(nobody)
    assert (account.name, account.uid, account.encode()) == ("nobody", 65534, nobody)
    found = call(folder, lambda: (os.getresuid(), os.getresgid(), sorted(os.getgroups())), user=account)
    assert found == ((account.uid,) * 3, (account.gid,) * 3, sorted(account.groups))
    with pytest.raises(PermissionError):
        call(folder, os.listdir, "/root", user=account)
    with pytest.raises(ocf.Error, match=r"KeyError"):
        call(folder, guard.Account.look_up, "no such user")
    assert os.getuid() == 0


def test_healthy_calls_leave_nothing(folder: str) -> None:
    def work() -> None:
        for _ in range(20):
            assert call(folder, os.getpid) != os.getpid()
        time.sleep(1)  # On a busy machine the last one may not have ended yet when its answer came.
        left = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
        os._exit(7 if left <= 1 else 8)

    assert os.WEXITSTATUS(os.waitpid(main_process(work), 0)[1]) == 7
    assert list(guard.left_behind(folder.rpartition("/ocf_py")[0])) == []
    guard.forget(folder)
    assert not os.path.exists(folder)


def test_calls_run_side_by_side(folder: str) -> None:
    calls = [ocf.Call(f"t{n}", time.sleep, 0.5) for n in range(8)]
    began = time.monotonic()
    guards(folder).run(*calls)
    assert time.monotonic() - began < 2.5
    assert [(one.done, one.error) for one in calls] == [(True, None)] * 8


def test_the_caller_works_beside_its_calls(folder: str) -> None:
    def slow() -> str:
        time.sleep(0.3)
        return "slow"

    calls = [ocf.Call("slow", slow), ocf.Call("fast", lambda: "fast")]
    steps = 0
    with guards(folder).beside(*calls) as group:
        while not group.step(0.05):
            steps += 1
    assert [one.value for one in calls] == ["slow", "fast"]
    assert steps > 1


def test_leaving_early_ends_the_children(folder: str) -> None:
    one = ocf.Call("long", time.sleep, 60)
    with guards(folder).beside(one) as group:
        group.step(0.01)
        assert one.child
        pid = one.child.pid
    processes.wait_until_gone(pid)
    with pytest.raises(ocf.Unanswered):
        one.result()


def test_two_calls_on_one_target_come_one_after_the_other(folder: str, tmp_path: Path) -> None:
    calls = [ocf.Call("target", alone, str(tmp_path / "lock"), 0.2) for _ in range(3)]
    guards(folder).run(*calls)
    assert [one.result() for one in calls] == ["alone"] * 3


def alone(path: str, seconds: float) -> str:
    """Be the only one to hold a lock for a time; say so when another has it."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(os.open(f"{path}.clash", os.O_CREAT | os.O_WRONLY), b"clash")
        return "clash"
    os.pwrite(lock, str(os.getpid()).encode().ljust(10), 0)
    time.sleep(seconds)
    return "alone"


# Children that hang.


@pytest.fixture
def hanging(puppet: MakePuppet, disk: FaultDisk) -> Iterator[tuple[Puppet, FaultDisk]]:
    """Make a puppet whose monitor reads a disk that hangs, with a second of patience."""
    one = puppet(allow_stuck=True).lines(observe=f"running | read 1 {disk.device}")
    assert one.node.monitor().code == 0
    disk.hang(reads=True)
    yield one, disk
    disk.heal()


def test_a_hung_child_is_left_behind_and_its_age_is_told_by_the_next_action(hanging: tuple[Puppet, FaultDisk]) -> None:
    one, disk = hanging
    first = one.node.monitor()
    [pid] = first.survivors
    assert first.code == 1
    told = re.fullmatch(rf"{disk.device}: no answer for (\d+\.\d) s \(process {pid} left behind\)", first.reason)
    assert told and float(told[1]) >= 1
    assert 1 <= first.seconds < 3
    processes.wait_until_stuck(pid)
    second = one.node.monitor()
    assert second.code == 1
    assert f"(process {pid} left behind)" in second.reason
    assert second.seconds < 0.9
    assert float(second.reason.split(" for ")[1].split()[0]) > float(first.reason.split(" for ")[1].split()[0])
    disk.heal()
    processes.wait_until_gone(pid)
    assert one.node.monitor().code == 0
    assert list(guard.left_behind("/run/resource-agents")) == []


def test_the_hundredth_monitor_costs_no_more_than_the_second_and_leaves_one_child(hanging: tuple[Puppet, FaultDisk]) -> None:
    one, disk = hanging
    [pid] = one.node.monitor().survivors
    spent = []
    for _ in range(99):
        before = cpu_of_children()
        result = one.node.monitor()
        spent.append(cpu_of_children() - before)
        assert (result.code, f"(process {pid} left behind)" in result.reason) == (1, True)
    assert statistics.median(spent[-20:]) < 2 * statistics.median(spent[:20])
    assert [child.pid for child in guard.left_behind("/run/resource-agents")] == [pid]
    stuck = [other for other in processes.pids() if processes.name(other) == "puppet"]
    assert stuck == [pid]
    assert disk.kept() == 1
    assert len(list(one.memory.iterdir())) == 1


def test_other_targets_are_not_held_up(folder: str, disk: FaultDisk) -> None:
    disk.hang(reads=True)
    bad, good = ocf.Call("bad", direct.read, disk.device, within=0.6), ocf.Call("good", lambda: 7)
    began = time.monotonic()
    guards(folder).run(bad, good)
    assert time.monotonic() - began < 3
    assert (good.result(), type(bad.error)) == (7, ocf.Hung)


def test_a_runnable_child_that_is_too_slow_is_ended(folder: str) -> None:
    with pytest.raises(ocf.Hung) as raised:
        call(folder, time.sleep, 60, within=0.3)
    processes.wait_until_gone(raised.value.pid)
    assert call(folder, lambda: "next") == "next"


def test_the_actions_end_before_the_childs_says_nothing_and_the_next_judges_by_age(folder: str, disk: FaultDisk) -> None:
    disk.hang(reads=True)
    with pytest.raises(ocf.Unanswered, match=r"^target: unanswered for \d+\.\d s when the time of the action ended$") as first:
        call(folder, direct.read, disk.device, seconds=1, within=20)
    assert first.value.seconds > 0.5
    assert processes.alive(first.value.pid)
    time.sleep(3)
    began = time.monotonic()
    with pytest.raises(ocf.Hung) as second:
        call(folder, direct.read, disk.device, within=3)
    assert not isinstance(second.value, ocf.Unanswered)
    assert time.monotonic() - began < 3, "it did not wait anew"
    assert second.value.pid == first.value.pid
    assert second.value.seconds > 3


def test_an_unanswered_child_goes_on_and_the_next_action_waits_for_its_end(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ocf.Unanswered):
        call(folder, alone, str(tmp_path / "lock"), 0.8, seconds=0.2)
    assert call(folder, alone, str(tmp_path / "lock"), 0) == "alone"
    assert not (tmp_path / "lock.clash").exists()


def test_what_others_can_know_of_a_stuck_child(folder: str, tmp_path: Path, disk: FaultDisk) -> None:
    def work() -> None:
        ocf.step("read")
        ocf.step("write", writes=True)
        direct.write(disk.device)

    disk.hang(writes=True)
    with pytest.raises(ocf.Hung):
        call(folder, work, within=0.5, facts={"device": disk.number})
    [child] = guard.left_behind(str(tmp_path))
    assert (child.instance, child.target, child.facts["device"], child.step, child.writes) == ("one", "target", disk.number, "write", True)
    assert child.alive()
    assert 0.4 < child.age < 30
    guard.forget(folder)
    assert [left.pid for left in guard.left_behind(str(tmp_path))] == [child.pid]
    disk.heal()
    processes.wait_until_gone(child.pid)
    assert list(guard.left_behind(str(tmp_path))) == []
    guard.forget(folder)
    assert not os.path.exists(folder)


def test_a_child_that_only_reads_is_told_from_one_that_may_write(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ocf.Unanswered):
        call(folder, time.sleep, 30, seconds=0.2)
    [child] = guard.left_behind(str(tmp_path))
    assert not child.writes
    child.end()
    processes.wait_until_gone(child.pid)


def test_long_names_leave_room_in_the_record(folder: str, tmp_path: Path) -> None:
    def work() -> None:
        ocf.step("s" * 5000, writes=True)
        time.sleep(30)

    one = ocf.Call("/t" + "arget" * 40, work, facts={"device": "8:0"})
    guards(folder, 0.5).run(one)
    [child] = guard.left_behind(str(tmp_path))
    assert (child.facts["device"], child.writes, set(child.step)) == ("8:0", True, {"s"})
    child.end()


def test_outside_a_child_a_step_is_nothing() -> None:
    ocf.step("nothing")


# Records.


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"garbage",
        os.urandom(4096),
        b"\xff" * 4096,
        state.encode({"boot": "another", "pid": "1", "started": (guard.process(1) or "?")[1], "since": "0", "target": "t"}),
        state.encode({"boot": state.boot_id(), "pid": "1", "started": "wrong", "since": "0", "target": "t"}),
        state.encode({"boot": state.boot_id(), "pid": "x", "started": "0", "since": "0", "target": "t"}),
        state.encode({"boot": state.boot_id(), "pid": "1"}),
    ],
    ids=["empty", "text", "noise", "ones", "another boot", "pid used again", "no number", "half"],
)
def test_a_record_that_speaks_of_nobody_is_used_again(folder: str, tmp_path: Path, page: bytes) -> None:
    os.makedirs(folder)
    Path(folder, "child.target").write_bytes(page)
    assert list(guard.left_behind(str(tmp_path))) == []
    assert call(folder, lambda: 7) == 7


def test_a_zombie_is_gone(folder: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    about = guard.process(child.pid)
    assert about
    facts = {"pid": str(child.pid), "started": about[1], "since": "0", "target": "t"}
    assert guard.Child(facts, {}).alive()
    child.kill()
    processes.wait_for_state(child.pid, "Z")
    assert not guard.Child(facts, {}).alive()
    child.wait()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "tiny"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tiny", str(point)], check=True)
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def fill(point: Path) -> None:
    with pytest.raises(OSError, match=r"No space"), open(point / "ballast", "ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_nothing_begins_that_cannot_be_recorded(tiny: Path, tmp_path: Path) -> None:
    fill(tiny)
    with pytest.raises(ocf.CannotRecord, match=r"^cannot record in .*/one: No space left on device$"):
        call(f"{tiny}/ocf_py/one", (tmp_path / "began").touch)
    assert not (tmp_path / "began").exists()


def test_once_there_is_a_page_a_full_file_system_is_no_hindrance(tiny: Path, disk: FaultDisk) -> None:
    folder = f"{tiny}/ocf_py/one"
    assert call(folder, lambda: 1) == 1
    fill(tiny)
    assert call(folder, lambda: 2) == 2
    disk.hang(reads=True)
    with pytest.raises(ocf.Hung) as raised:
        call(folder, direct.read, disk.device, within=0.5)
    assert [child.pid for child in guard.left_behind(str(tiny))] == [raised.value.pid]
    disk.heal()
    processes.wait_until_gone(raised.value.pid)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "ocf_py").write_text("")
    with pytest.raises(ocf.CannotRecord, match=r"cannot record in"):
        call(f"{tmp_path}/ocf_py/one", os.getpid)


# Main processes that are killed, and several of them.


def main_process(work: Callable[[], object]) -> int:
    """Start a process with a group of its own, as an action is."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            work()
        finally:
            os._exit(0)
    return pid


def test_killed_at_any_instant_a_child_is_known_or_never_began(folder: str, tmp_path: Path) -> None:
    """SIGKILL to the main process alone, at random instants, over and over on one target: nobody ever works beside another."""
    instants, lock = random.Random(1), tmp_path / "lock"
    at_work = 0
    for _ in range(KILLS):
        main = main_process(lambda: call(folder, alone, str(lock), 0.02, within=5))
        time.sleep(instants.uniform(0, 0.03))
        os.kill(main, signal.SIGKILL)
        os.waitpid(main, 0)
        worker = int(lock.read_text() or 0) if lock.exists() else 0
        known = [child.pid for child in guard.left_behind(str(tmp_path))]
        if worker and processes.alive(worker):
            assert worker in known
            at_work += 1
    assert not os.path.exists(f"{lock}.clash")
    assert KILLS / 10 < at_work < KILLS * 9 / 10
    assert call(folder, alone, str(lock), 0) == "alone"
    assert processes.wait_until(lambda: not list(guard.left_behind(str(tmp_path))), 5)


def test_killed_between_fork_and_release_a_child_never_begins(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is written between the two: the main process dies there."""
    began = tmp_path / "began"

    def die(self: guard.Record, part: int, facts: dict[str, str]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(guard.Record, "write", die)
    main = main_process(lambda: call(folder, began.touch))
    os.waitpid(main, 0)
    assert processes.wait_until(lambda: not [pid for pid in processes.pids() if processes.status(pid)[2:3] == [str(main)]], 5)
    assert not began.exists()


def test_two_main_processes_take_turns(folder: str, tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / str(os.getpid())).write_text(call(folder, alone, str(tmp_path / "lock"), 0.1))

    mains = [main_process(work) for _ in range(6)]
    for main in mains:
        os.waitpid(main, 0)
    assert [(tmp_path / str(main)).read_text() for main in mains] == ["alone"] * 6


def test_two_main_processes_speak_of_the_same_stuck_child(hanging: tuple[Puppet, FaultDisk]) -> None:
    one, _ = hanging
    under_way = [one.node.begin("monitor", interval=10.0) for _ in range(4)]
    reasons = [action.finish().reason for action in under_way]
    [child] = guard.left_behind("/run/resource-agents")
    assert all(f"(process {child.pid} left behind)" in reason for reason in reasons), reasons


def test_a_child_that_another_action_begins_while_one_waits_is_judged_by_its_age(folder: str) -> None:
    """The other action has the lock and not yet a child."""
    record, one = guard.Record(folder, "target"), ocf.Call("target", os.getpid, within=1)
    record.open()
    assert record.try_lock()
    with guards(folder).beside(one) as group, subprocess.Popen(["sleep", "60"]) as child:
        assert not group.step(0.1)
        about = guard.process(child.pid)
        assert about
        since = str(time.monotonic() - 5)
        facts = {"boot": state.boot_id(), "pid": str(child.pid), "started": about[1], "since": since, "target": "target"}
        record.write(guard.IDENTITY, facts)
        assert group.step(0.1)
    record.close()
    assert isinstance(one.error, ocf.Hung)
    assert one.error.pid == child.pid


def test_a_page_forgotten_while_another_waits_for_it_is_made_again(folder: str) -> None:
    record = guard.Record(folder, "target")
    record.open()
    assert record.try_lock()
    main = main_process(lambda: os._exit(call(folder, lambda: 7)))
    time.sleep(0.2)
    os.unlink(record.path)
    record.close()
    assert (os.WEXITSTATUS(os.waitpid(main, 0)[1]), os.path.exists(record.path)) == (7, True)
