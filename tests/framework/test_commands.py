"""Programs: their world, their output, their end, and those that cannot be ended."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ocf_py as ocf
from ocf_py import commands, guard
from tests.faults import processes
from tests.faults.disk import FaultDisk

Run = Callable[..., commands.Finished]


@pytest.fixture
def traced() -> list[str]:
    return []


@pytest.fixture
def runner(tmp_path: Path, traced: list[str]) -> commands.Runner:
    world = {"PATH": commands.PATH, "OCF_ROOT": "/usr/lib/ocf"}
    return commands.Runner(f"{tmp_path}/ocf_py/one", ocf.Deadline.after(20), world, traced.append)


@pytest.fixture
def run(runner: commands.Runner) -> Run:
    return runner.run


def test_a_program_that_ends(run: Run, traced: list[str]) -> None:
    finished = run("sh", "-c", "echo out; echo err >&2; sleep 0.2")
    assert (finished.code, finished.out, finished.err) == (0, "out\n", "err\n")
    assert finished.argv == ("sh", "-c", "echo out; echo err >&2; sleep 0.2")
    assert 0.2 <= finished.seconds < 5
    (line,) = traced
    told = re.fullmatch(r"sh -c 'echo out; echo err >&2; sleep 0\.2' -> 0 in (\d+\.\d\d) s", line)
    assert told and float(told[1]) >= 0.2


def test_the_world_of_a_program_is_made_new(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil")
    monkeypatch.setenv("OCF_RESKEY_password", "secret")
    assert set(run("env").out.splitlines()) == {f"PATH={commands.PATH}", "OCF_ROOT=/usr/lib/ocf", "LC_ALL=C"}
    assert set(run("env", env={"PGHOST": "x", "LC_ALL": "de_DE"}).out.splitlines()) == {f"PATH={commands.PATH}", "PGHOST=x", "LC_ALL=C"}


def test_a_program_has_three_descriptors_and_the_actions_group(run: Run) -> None:
    kept = os.open("/dev/null", os.O_RDONLY)
    shown = run("sh", "-c", "ls -l /proc/self/fd; ps -o pgid= -p $$").out
    os.close(kept)
    links = [line.split(" -> ")[1].split(":")[0] for line in shown.splitlines() if " -> " in line]
    assert links == ["/dev/null", "pipe", "pipe", next(link for link in links if link.startswith("/proc/"))]
    assert shown.split()[-1] == str(os.getpgrp())


def test_a_program_dies_of_signals_as_usual(run: Run) -> None:
    """Python ignores SIGPIPE, and that is inherited: `yes | head` would never end."""
    shown = run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status").out.split()
    # Signals 32 and 33 belong to the C library: nobody can set them back, and some build servers ignore one.
    settable = sum(1 << number - 1 for number in signal.valid_signals())
    assert [int(word, 16) & settable for word in shown[1::2]] == [0, 0]


def test_words_are_words(run: Run) -> None:
    assert run("printf", "%s|", "a b", "$HOME", "*", "; exit 3", "").out == "a b|$HOME|*|; exit 3||"


@pytest.mark.parametrize(
    "script, ok, code",
    [("exit 3", (3,), 3), ("exit 3", None, 3), ("exit 0", (3, 0), 0), ("kill -9 $$", None, -9)],
)
def test_codes_that_are_expected(run: Run, script: str, ok: tuple[int, ...] | None, code: int) -> None:
    assert run("sh", "-c", script, ok=ok).code == code


@pytest.mark.parametrize(
    "script, reason",
    [
        ("exit 3", "sh exited 3"),
        ("echo one; echo two; exit 3", "sh exited 3: two"),
        ("echo noise; echo first >&2; echo ' last ' >&2; echo >&2; exit 3", "sh exited 3: last"),
        ("kill -TERM $$", "sh was ended by signal 15"),
    ],
)
def test_a_failure_in_a_line(run: Run, script: str, reason: str) -> None:
    with pytest.raises(ocf.CommandFailed) as raised:
        run("sh", "-c", script)
    assert str(raised.value) == reason
    assert isinstance(raised.value.finished, commands.Finished)


def test_what_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ocf.NotInstalled, match=r"^no-such-program is not installed$"):
        run("no-such-program")
    with pytest.raises(ocf.NotInstalled, match=r"^/etc is not installed$"):
        run("/etc")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ocf.NotInstalled, match=r"is not installed$"):
        run(str(script))
    script.chmod(0o755)
    with pytest.raises(ocf.NotInstalled, match=r"cannot be executed: No such file or directory$"):
        run(str(script))
    script.write_text("no first line")
    with pytest.raises(ocf.NotInstalled, match=r"cannot be executed: Exec format error$"):
        run(str(script))


def test_require(tmp_path: Path) -> None:
    commands.require("sh", "/bin/sh")
    with pytest.raises(ocf.NotInstalled, match=r"^nonesuch is not installed$"):
        commands.require("sh", "nonesuch")
    with pytest.raises(ocf.NotInstalled, match=r"^nonesuch, neither are not installed$"):
        commands.require("nonesuch", "neither")


@pytest.mark.parametrize(
    "argv, text", [(("a", "b c", ""), "a 'b c' ''"), (("it's",), "'it'\\''s'"), (("/x/y", "--a=1,2"), "/x/y --a=1,2"), (("$x",), "'$x'")]
)
def test_quoted(argv: tuple[str, ...], text: str) -> None:
    assert commands.quoted(argv) == text


# Input and output.


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_input_of_any_size(run: Run, size: int) -> None:
    assert run("wc", "-c", input="x" * size).out.strip() == str(size)


def test_no_input_is_the_end_at_once(run: Run) -> None:
    assert run("cat").out == ""


def test_input_and_output_at_the_same_time(run: Run) -> None:
    text = "line\n" * 40_000
    assert run("cat", input=text).out == text


@pytest.mark.parametrize("script", ["exit 0", "exec <&-; sleep 0.3", "head -c 10 >/dev/null"])
def test_input_that_nobody_wants(run: Run, script: str) -> None:
    assert run("sh", "-c", script, input="x" * 1_000_000).code == 0


def test_output_closed_before_the_end(run: Run) -> None:
    finished = run("sh", "-c", "echo out; exec >&- 2>&-; sleep 0.3; exit 3", ok=(3,))
    assert (finished.out, finished.code) == ("out\n", 3)
    assert finished.seconds >= 0.3


def test_output_beyond_the_limit_is_dropped(run: Run) -> None:
    assert len(run("head", "-c", "5000000", "/dev/zero").out) == commands.OUTPUT_LIMIT


def test_output_without_end_does_not_keep_the_caller(run: Run) -> None:
    began = time.monotonic()
    with pytest.raises(ocf.DeadlineExceeded, match=r"^/usr/bin/sh -c 'yes & .* still running after \d s$"):
        run("sh", "-c", "yes & yes & yes & yes & yes & yes & wait", within=1)
    assert time.monotonic() - began < 3


def test_a_writer_that_is_always_faster_does_not_keep_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/zero stands for its pipe: there is always more."""

    def too_long(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(20)
    running = commands.Running(["zero"], {}, "", None)
    with open("/dev/zero", "rb", buffering=0) as zero:
        monkeypatch.setattr(running, "_pipes", {zero.fileno(): running.out})
        try:
            assert running._drain(zero.fileno())
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
    assert len(running.out) == commands.OUTPUT_LIMIT


def test_undecodable_output(run: Run) -> None:
    assert os.fsencode(run("printf", "\\377\\n").out) == b"\xff\n"


def test_others_who_hold_the_output_are_not_waited_for(run: Run) -> None:
    began = time.monotonic()
    finished = run("sh", "-c", "sleep 7 & echo $!; echo hi")
    assert time.monotonic() - began < 3
    pid, word = finished.out.split()
    assert word == "hi"
    os.kill(int(pid), signal.SIGKILL)


# Ends.


def test_a_program_that_takes_too_long_is_ended(run: Run, traced: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(ocf.DeadlineExceeded, match=r"^/usr/bin/sleep 60 still running after \d+ s$"):
        run("sleep", "60", within=0.3)
    assert time.monotonic() - began < 2
    assert "ended after" in traced[0]
    assert not [pid for pid in processes.children(os.getpid()) if processes.name(pid) == "sleep"]


def test_what_a_program_has_started_ends_with_it(run: Run, tmp_path: Path) -> None:
    """One descendant ignores SIGTERM, and its parent does not: it is an orphan when its turn comes."""
    pids = tmp_path / "pids"
    script = f"sh -c 'trap \"\" TERM; echo $$ >>{pids}; while :; do sleep 0.1; done' & echo $$ >>{pids}; sleep 60 & echo $! >>{pids}; wait"
    began = time.monotonic()
    with pytest.raises(ocf.DeadlineExceeded):
        run("sh", "-c", script, within=3)
    assert time.monotonic() - began < 10
    family = [int(pid) for pid in pids.read_text().split()]
    assert len(family) == 3
    assert [pid for pid in family if processes.alive(pid)] == []


def test_ending_belongs_to_the_actions_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ignores SIGTERM takes both graces; the action's deadline still holds."""
    monkeypatch.setattr(commands, "GRACE", 2.0)  # So long that the delays of a busy machine are not taken for it.
    deadline = ocf.Deadline.after(8)
    runner = commands.Runner(f"{tmp_path}/one", deadline, {}, lambda text: None)
    with pytest.raises(ocf.DeadlineExceeded):
        runner.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    assert time.monotonic() < deadline.ends + 1


def test_a_program_that_cannot_be_ended_is_left_behind_and_named(run: Run, disk: FaultDisk, traced: list[str]) -> None:
    disk.hang(reads=True)
    began = time.monotonic()
    with pytest.raises(ocf.Hung) as raised:
        run("dd", f"if={disk.device}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct", within=0.5)
    assert time.monotonic() - began < 3
    assert processes.state(raised.value.pid) == "D"
    assert str(raised.value).startswith(f"/usr/bin/dd if={disk.device} ")
    assert str(raised.value).endswith(f"hangs in uninterruptible sleep for {raised.value.seconds:.0f} s (process {raised.value.pid})")
    assert "left behind" in traced[0]
    disk.heal()
    processes.wait_until_gone(raised.value.pid)


def test_a_program_on_a_target_is_known_to_who_comes_after(run: Run, disk: FaultDisk, tmp_path: Path) -> None:
    program = ("dd", f"if={disk.device}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct")
    assert run(*program, target="vg0").code == 0
    assert list(guard.left_behind(str(tmp_path))) == []
    disk.hang(reads=True)
    with pytest.raises(ocf.Hung) as raised:
        run(*program, target="vg0", within=0.5)
    [child] = guard.left_behind(str(tmp_path))
    assert (child.pid, child.target, child.writes) == (raised.value.pid, "vg0", True)
    began = time.monotonic()
    with pytest.raises(ocf.Hung, match=rf"^vg0: process {child.pid} of \d s ago still at work$"):
        run(*program, target="vg0")
    assert time.monotonic() - began < 0.5
    disk.heal()
    processes.wait_until_gone(child.pid)
    assert run(*program, target="vg0", writes=False).code == 0


def test_a_descendant_that_cannot_be_ended_is_the_one_that_is_left_behind(run: Run, disk: FaultDisk, tmp_path: Path) -> None:
    disk.hang(reads=True)
    with pytest.raises(ocf.Hung) as raised:
        run("sh", "-c", f"dd if={disk.device} of=/dev/null bs=4096 count=1 iflag=direct & wait", target="vg0", within=0.5)
    assert processes.name(raised.value.pid) == "dd"
    assert [child.pid for child in guard.left_behind(str(tmp_path))] == [raised.value.pid]
    disk.heal()
    processes.wait_until_gone(raised.value.pid)


def test_a_target_at_which_another_action_works(run: Run, runner: commands.Runner) -> None:
    record = guard.Record(runner.folder, "vg0")
    record.open()
    assert record.try_lock()
    with pytest.raises(ocf.Error, match=r"^vg0: another action is at work on it$"):
        run("true", target="vg0")
    record.close()
    assert run("true", target="vg0").code == 0


def test_a_program_that_cannot_be_recorded_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = commands.Runner(f"{tmp_path}/file/one", ocf.Deadline.after(5), {}, lambda text: None)
    with pytest.raises(ocf.CannotRecord):
        runner.run("touch", str(tmp_path / "began"), target="vg0")
    assert not (tmp_path / "began").exists()


def test_a_program_that_is_killed_before_its_release(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write = guard.Record.write

    def kill_and_write(self: guard.Record, part: int, facts: dict[str, str]) -> None:
        if facts:
            os.kill(int(facts["pid"]), signal.SIGKILL)
            processes.wait_for_state(int(facts["pid"]), "Z")
        write(self, part, facts)

    monkeypatch.setattr(guard.Record, "write", kill_and_write)
    with pytest.raises(ocf.CommandFailed, match=r"^true was ended by signal 9$"):
        run("true", target="vg0")


def test_an_interrupted_caller_leaves_no_program(run: Run) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run("sleep", "61")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not [pid for pid in processes.pids() if processes.name(pid) == "sleep" and processes.alive(pid)]


# Users.


def test_a_program_as_another_user(run: Run) -> None:
    nobody = guard.Account.look_up("nobody")
    assert run("id", "-u", user=nobody).out == f"{nobody.uid}\n"
    assert run("id", "-G", user=nobody).out.split() == [str(group) for group in dict.fromkeys((nobody.gid, *nobody.groups))]


def test_a_user_may_not_become_another(tmp_path: Path) -> None:
    nobody, root = guard.Account.look_up("nobody"), guard.Account("root", 0, 0, (0,))
    pid = os.fork()
    if pid == 0:
        try:
            nobody.become()
            commands.Runner("/tmp/one", ocf.Deadline.after(5), {}, lambda text: None).run("true", user=root)
        except ocf.NotPermitted as error:
            os._exit(4 if str(error) == "true cannot be executed: Operation not permitted" else 1)
        finally:
            os._exit(1)
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 4
