"""A log is followed over connections that break: a shell of this machine plays the node, with a clock of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lab.machine import plan, room, ssh
from lab.machine.room import NotSo, Room
from lab.watch import follow, stand

BEHIND = 100.0
ROUNDED = 0.001  # Moments are copied with three decimals.
# As ssh does, it ends the shell's input with itself.
CONNECTION = """
import subprocess, sys
far = subprocess.Popen(["setsid", "bash", "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for line in far.stdout:
    sys.stdout.buffer.write(line)
    sys.stdout.flush()
"""
PASSWORD = """pacemaker-based     [210] (cib_perform_op) 	info: ++ <nvpair name="password" value="right"/>"""
CALLED = "pacemaker-fenced [211] (fork_cb) debug: Operation 'reboot' [318] targeting rhel2 using fence-rhel2 now running with 60s timeout"
CHATTER = "pacemaker-fenced    [211] (qb_rb_open_2) 	debug: shm size:1048589; real_size:1052672; rb->word_size:263168"


class Here(Room):
    """A lab whose nodes are this machine, `BEHIND` seconds behind it; none answers while it is off."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.on = True

    def entering(self, command: Sequence[str]) -> list[str]:
        shell = f'date() {{ command date -d "-{BEHIND:.0f} sec" "$@"; }}\n{command[-1]}'
        return [sys.executable, "-c", CONNECTION, shell] if self.on else ["false"]

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8"}

    def order(self, do: str, **what: object) -> object:
        assert do == "history"
        return {"power": [], "requests": [[0.0, "pve1", "GET", "/", 200], [time.time(), "pve1", "GET", "/", 200]]}


class Log:
    """A node's log, written with its clock."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, 0
        path.touch()

    def write(self, text: str, ahead: float = 0.0) -> str:
        """Write a line and return it."""
        self.written += 1
        stamp = datetime.fromtimestamp(time.time() - BEHIND + ahead, timezone.utc).strftime("%b %d %H:%M:%S.%f")[:-3]
        line = f"{stamp} rhel1 {text} number {self.written}\n"
        with open(self.path, "a") as file:
            file.write(line)
        return line


@pytest.fixture
def here() -> Here:
    return Here()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log(tmp_path / "pacemaker.log")
    monkeypatch.setattr(follow, "LOG", str(log.path))
    monkeypatch.setattr(follow, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(ssh, "command", lambda node, words: list(words))
    return log


@pytest.fixture
def follower(here: Here, log: Log, tmp_path: Path) -> Iterator[follow.Follower]:
    log.write("before it began")
    follower = follow.Follower(here, plan.NODES["rhel1"], tmp_path / "copy", "header\n")
    assert follower.connected.wait(20)
    yield follower
    follower.end()


def until(ready: Callable[[], object], within: float = 20) -> None:
    began = time.monotonic()
    while not ready():
        assert time.monotonic() - began < within
        time.sleep(0.02)


def copied(follower: follow.Follower) -> list[tuple[float, str]]:
    header, *lines = follower.path.read_text().splitlines(keepends=True)
    assert header == "header\n"
    return [(float(at), line) for at, _, line in (line.partition(" ") for line in lines)]


def listed(*options: str) -> list[str]:
    """Return what ps tells of processes that are there."""
    told = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    return [line for line in told.stdout.splitlines() if "defunct" not in line]


def test_lines_come_with_the_moment_of_their_arrival(follower: follow.Follower, log: Log) -> None:
    written = []
    for _ in range(3):
        written.append((time.time(), log.write("told")))
        until(lambda: len(copied(follower)) == len(written))
        assert time.time() - 5 < copied(follower)[-1][0] < time.time() + ROUNDED
    assert [line for _, line in copied(follower)] == [line for _, line in written]
    assert all(then <= at + ROUNDED for (then, _), (at, _) in zip(written, copied(follower)))


def test_a_clock_that_runs_away_does_not_matter_while_the_log_is_followed(follower: follow.Follower, log: Log) -> None:
    log.write("told", ahead=30.0)
    until(lambda: copied(follower))
    assert copied(follower)[0][0] < time.time() + ROUNDED


def test_neither_passwords_nor_chatter_are_copied(follower: follow.Follower, log: Log) -> None:
    log.write(PASSWORD)
    log.write(CHATTER)
    wanted = log.write(CALLED)
    until(lambda: copied(follower))
    assert [line for _, line in copied(follower)] == [wanted]


def cut(follower: follow.Follower) -> None:
    assert follower.process
    follower.process.kill()


def test_nothing_is_lost_or_told_twice_over_connections_that_break(follower: follow.Follower, log: Log, here: Here) -> None:
    written: list[str] = []

    def all_there() -> bool:
        return len(copied(follower)) == len(written)

    for number in range(4):
        here.on = True
        written += [log.write("told"), log.write("told")]
        until(all_there)
        here.on = False
        cut(follower)
        for _ in range(number):
            written.append(log.write("while nobody could follow"))
        time.sleep(0.3)
    here.on = True
    until(all_there)
    time.sleep(0.5)
    assert [line for _, line in copied(follower)] == written


def test_what_was_written_meanwhile_has_the_nodes_time_corrected(follower: follow.Follower, log: Log, here: Here) -> None:
    here.on = False
    cut(follower)
    at = time.time()
    log.write("meanwhile")
    time.sleep(1.5)
    here.on = True
    until(lambda: copied(follower))
    ((told, _),) = copied(follower)
    assert abs(told - at) < 0.7


def test_equal_lines_at_the_same_moment_are_different_lines(follower: follow.Follower, log: Log, here: Here) -> None:
    line = log.write("the scheduler says everything twice")
    with open(log.path, "a") as file:
        file.write(line)
    until(lambda: len(copied(follower)) == 2)
    cut(follower)
    last = log.write("told")
    until(lambda: len(copied(follower)) == 3)
    time.sleep(0.5)
    assert [line for _, line in copied(follower)] == [line, line, last]


def test_a_power_cut_may_take_the_last_lines_with_it(follower: follow.Follower, log: Log, here: Here) -> None:
    first, second = log.write("on the disk"), log.write("not on the disk yet")
    until(lambda: len(copied(follower)) == 2)
    here.on = False
    cut(follower)
    log.path.write_bytes(log.path.read_bytes().replace(second.encode(), b"\0" * 40))
    third = log.write("after the boot")
    here.on = True
    until(lambda: len(copied(follower)) == 3)
    time.sleep(0.5)
    assert [line for _, line in copied(follower)] == [first, second, third]


def test_its_end_ends_what_it_began_on_the_node(follower: follow.Follower, log: Log) -> None:
    assert follower.process
    (leader,) = listed("-o", "pid=", "--ppid", str(follower.process.pid))
    until(lambda: any("tail" in line for line in listed("-o", "args=", "-s", leader.strip())))
    follower.end()
    assert follower.process.poll() is not None
    assert not follower.thread.is_alive()
    until(lambda: listed("-o", "args=", "-s", leader.strip()) == [])


def test_a_watch_follows_all_nodes(here: Here, log: Log, tmp_path: Path) -> None:
    with follow.Watch(here, tmp_path, "rhel2") as watch:
        log.write(CALLED)
        until(lambda: all("now running" in (tmp_path / f"pacemaker-{name}.log").read_text() for name in plan.NODES))
        found = watch.events(watch.began)
        assert follow.events(tmp_path, watch.began) == found
    assert [getattr(event, "step", None) for event in found if type(event).__name__ == "Fence"] != []
    assert '"requests": [[0.0' not in (tmp_path / follow.HISTORY).read_text()
    assert all(follower.process and follower.process.poll() is not None for follower in watch.followers)


def test_a_watch_that_cannot_follow_does_not_begin(here: Here, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CONNECT_SECONDS", 0.5)
    here.on = False
    watch = follow.Watch(here, tmp_path, "rhel1")
    with pytest.raises(NotSo, match=r"rhel1: its .* could not be followed within"):
        watch.__enter__()
    assert [follower.thread.is_alive() for follower in watch.followers] == [False, False]


def test_where_it_stands_tells_of_nodes_that_answer_and_of_consoles(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(lab: Room, node: plan.Node, shell: str, within: float) -> subprocess.CompletedProcess[str]:
        if node.name == "rhel2":
            return subprocess.CompletedProcess([], 255, "", "no route to host")
        return subprocess.CompletedProcess([], 0, "2 nodes configured\n", "")

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(room, "DIRECTORY", tmp_path)
    (tmp_path / "console-rhel2.log").write_text("Kernel panic\n")
    (tmp_path / "console-rhel1.log").write_text("login:\n")
    told = stand.standing(here)
    assert told == "== rhel1\n2 nodes configured\n\n== rhel2\n-- no route to host; the end of its console\nKernel panic\n"


def test_where_it_stands_shows_the_cluster_its_log_and_the_kernels(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each node is asked is run here, over programs and a log that stand in for the node's."""
    log, programs = tmp_path / "pacemaker.log", tmp_path / "bin"
    log.write_text("".join(f"logged {number}\nrhel1 {CHATTER}\nrhel1 {PASSWORD}\n" for number in range(100)))
    programs.mkdir()
    for name, script in (("crm_mon", 'echo "crm_mon is told $*"'), ("dmesg", "seq --format 'kernel %g' 0 99")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    def run(lab: Room, node: plan.Node, shell: str, within: float) -> subprocess.CompletedProcess[str]:
        asked = shell.replace(follow.LOG, str(log))
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        return subprocess.run(["sh", "-c", asked], env=environment, capture_output=True, text=True, timeout=within)

    monkeypatch.setattr(ssh, "run", run)
    wanted = ["crm_mon is told -1rf", f"-- the end of {log}", *(f"logged {number}" for number in range(60, 100)),
              "-- the end of dmesg", *(f"kernel {number}" for number in range(70, 100))]  # fmt: skip
    assert stand.standing(here).splitlines() == ["== rhel1", *wanted, "", "== rhel2", *wanted]


def test_a_node_that_hangs_does_not_hold_it_up(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(lab: Room, node: plan.Node, shell: str, within: float) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired("ssh", within)

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(room, "DIRECTORY", tmp_path)
    assert "no answer within 20 s; the end of its console\nthere is none" in stand.standing(here)
