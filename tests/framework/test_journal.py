"""The log: its form, where it goes, what never gets into it, and that nothing that takes it can hold up an action."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocf_py import guard
from ocf_py.environment import Environment
from ocf_py.journal import Journal
from ocf_py.testing.logs import SystemLog
from tests.faults import filesystem, processes
from tests.faults.disk import FaultDisk
from tests.framework.conftest import MakePuppet, Puppet

STAMP = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"


@contextmanager
def system_log(mode: int | None = socket.SOCK_DGRAM) -> Iterator[socket.socket | None]:
    """Listen on /dev/log in the place of the executor, or with None see to it that nobody does."""
    executors = SystemLog.of_this_node()
    allowed, executors.allowed = executors.allowed, False
    Path("/dev/log").unlink(missing_ok=True)
    listener = None
    try:
        if mode is not None:
            listener = socket.socket(socket.AF_UNIX, mode | socket.SOCK_NONBLOCK)
            listener.bind("/dev/log")
        yield listener
    finally:
        executors.allowed = allowed
        if listener:
            listener.close()
            Path("/dev/log").unlink()


def received(listener: socket.socket | None) -> list[str]:
    assert listener
    lines = []
    while True:
        try:
            lines.append(listener.recv(1 << 16).decode(errors="replace"))
        except BlockingIOError:
            return lines


def journal(**variables: str) -> Journal:
    given = {"OCF_RESOURCE_INSTANCE": "db:1", "HA_LOGFACILITY": "daemon", "HA_LOGFILE": "/var/log/p.log", **variables}
    return Journal(Environment.read(given, "/x/thing"))


@pytest.mark.parametrize(
    "facility, method, priority, level",
    [
        ("daemon", "critical", 3 * 8 + 2, "CRIT"),
        ("daemon", "error", 3 * 8 + 3, "ERROR"),
        ("daemon", "warning", 3 * 8 + 4, "WARNING"),
        ("daemon", "info", 3 * 8 + 6, "INFO"),
        ("local7", "info", 23 * 8 + 6, "INFO"),
        ("user", "info", 1 * 8 + 6, "INFO"),
        ("nonsense", "info", 3 * 8 + 6, "INFO"),
    ],
)
def test_a_line_has_the_form_of_pacemakers_agents(facility: str, method: str, priority: int, level: str) -> None:
    with system_log() as listener:
        log = journal(HA_LOGFACILITY=facility)
        getattr(log, method)("it is so")
        [line] = received(listener)
    assert re.fullmatch(rf"<{priority}>{STAMP} thing\(db:1\)\[{os.getpid()}\]: {level}: it is so", line), line
    [(path, text)] = log.pending()
    assert path == "/var/log/p.log"
    assert re.fullmatch(rf"{STAMP} thing\(db:1\)\[{os.getpid()}\]:    {level}: it is so\n", text), text
    assert log.pending() == []


@pytest.mark.parametrize(
    "text, lines",
    [
        ("one\ntwo\r\nthree", ["one", "two", "three"]),
        ("", []),
        ("nul\0byte", ["nulbyte"]),
        ("lone \udcff surrogate", ["lone \\udcff surrogate"]),
        ("ä", ["ä"]),
    ],
)
def test_what_is_no_plain_line(text: str, lines: list[str]) -> None:
    with system_log() as listener:
        log = journal()
        log.info(text)
        assert [line.partition("INFO: ")[2] for line in received(listener)] == lines
    assert [line.partition("INFO: ")[2] for _, line in log.pending()] == [f"{line}\n" for line in lines]


def test_a_line_longer_than_a_log_takes() -> None:
    with system_log() as listener:
        journal().info("x" * 1_000_000)
        [line] = received(listener)
    assert len(line) == 8000


def test_debug_only_where_it_is_asked_for() -> None:
    with system_log() as listener:
        journal(HA_debug="0").debug("hidden")
        assert received(listener) == []
        journal(HA_debug="1").debug("shown")
        assert len(received(listener)) == 1


def test_the_same_file_gets_a_line_once() -> None:
    log = journal(HA_LOGFACILITY="none", HA_DEBUGLOG="/var/log/p.log")
    log.info("once")
    assert len(log.pending()) == 1


def test_secrets_do_not_get_out(puppet: MakePuppet, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    one = puppet(profile="crm_resource -VV").lines(
        observe="log the word is PASSWORD | run echo hunter2 | Error wrong password hunter2"
    )  # fmt: skip
    result = one.node.monitor(parameters={**one.node.parameters, "password": "hunter2"}, environment={"HA_LOGFILE": str(trace)})
    assert (result.code, result.reason) == (1, "wrong password ****")
    everything = result.stderr + trace.read_text() + "".join(result.log)
    assert "hunter2" not in everything
    assert "echo ****" in result.stderr
    assert "the word is ****" in trace.read_text()
    wrong = one.node.monitor(parameters={**one.node.parameters, "password": "hunter2\nx"})
    assert (wrong.code, wrong.reason) == (6, "password=its value has a line break")


# Where it goes.


def test_under_pacemaker_it_goes_to_the_log_file_and_the_system_log(puppet: MakePuppet) -> None:
    result = puppet().lines(observe="running | log all is well").node.monitor()
    assert len([line for line in result.log if line.endswith("WARNING: all is well")]) == 2
    assert result.stderr == ""


def test_an_exit_reason_is_logged_too(puppet: MakePuppet) -> None:
    failed = puppet().lines(observe="Error broken").node.monitor()
    assert len([line for line in failed.log if line.endswith("ERROR: broken")]) == 2
    degraded = puppet().lines(observe="running slow").node.monitor()
    assert len([line for line in degraded.log if line.endswith("WARNING: slow")]) == 2


def test_with_a_tool_it_goes_to_stderr_but_never_under_validate_all(puppet: MakePuppet) -> None:
    one = puppet(profile="crm_resource").lines(observe="running | log all is well", validate_here="log all is well")
    assert re.search(rf"^{STAMP} puppet\(.*\)\[\d+\]:    WARNING: all is well$", one.node.monitor().stderr, re.MULTILINE)
    assert one.node.validate(level=10).stderr == ""


@pytest.mark.parametrize("mode", [None, socket.SOCK_STREAM], ids=["none", "a stream socket"])
def test_without_a_system_log_nothing_is_lost(puppet: MakePuppet, mode: int | None) -> None:
    one = puppet().lines(observe="running | log all is well")
    with system_log(mode):
        result = one.node.monitor()
        assert len([line for line in result.log if "all is well" in line]) == 1
        alone = one.node.monitor(without=["HA_LOGFILE", "HA_logfile", "PCMK_logfile"], check=False)
        assert "WARNING: all is well" in alone.stderr


def test_a_trace_goes_where_it_is_asked_for(puppet: MakePuppet, tmp_path: Path) -> None:
    one = puppet().lines(observe="running | run true")
    file, log = tmp_path / "trace", tmp_path / "descriptor"
    one.node.monitor(environment={"OCF_TRACE_RA": "1", "OCF_TRACE_FILE": str(file)})
    assert re.fullmatch(r"\d\d:\d\d:\d\d true -> 0 in \d\.\d\d s\n", file.read_text())
    one.node.monitor(environment={"OCF_TRACE_RA": "1", "OCF_TRACE_FILE": "5"}, wrapper=["sh", "-c", f'exec "$@" 5>{log}', "traced"])
    assert "true -> 0" in log.read_text()
    assert "true -> 0" in one.node.monitor(environment={"OCF_TRACE_RA": "1", "OCF_TRACE_FILE": "/dev/stderr"}).stderr


# What can hold it up.


def test_a_system_log_that_nobody_reads_holds_up_nothing(puppet: MakePuppet) -> None:
    one = puppet().lines(observe="running | " + " | ".join(["log all is well"] * 50))
    with system_log() as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        assert listener
        filler.setblocking(False)
        filler.connect("/dev/log")
        with pytest.raises(BlockingIOError):
            while True:
                filler.send(b"full")
        result = one.node.monitor()
        assert result.code == 0
        assert result.seconds < 3
        assert len([line for line in result.log if "all is well" in line]) == 50
        assert not [line for line in received(listener) if "all is well" in line]


def blocked_log(puppet: MakePuppet, path: Path) -> Puppet:
    """Show that a log file that hangs costs an action a moment, the next one less, and no reason.  Return who was held up."""
    one = puppet(allow_stuck=True, environment={"HA_LOGFILE": str(path)}).lines(observe="Error broken")
    seconds = []
    for _ in range(5):
        result = one.node.monitor(timeout=5)
        assert (result.code, result.reason, result.timed_out) == (1, "broken", False)
        seconds.append(result.seconds)
    assert max(seconds) < 3
    assert max(seconds[1:]) < 1.5
    return one


def test_a_log_file_on_a_frozen_file_system_holds_up_nothing(puppet: MakePuppet, disk: FaultDisk) -> None:
    disk.format("ext4")
    disk.mount("/mnt/log")
    log = Path("/mnt/log/pacemaker.log")
    log.touch()
    with filesystem.frozen("/mnt/log"):
        one = blocked_log(puppet, log)
    assert processes.wait_until(lambda: not list(guard.left_behind("/run/resource-agents")), 5)
    assert one.node.monitor().code == 1
    assert "ERROR: broken" in log.read_text()


def test_a_log_file_on_a_disk_that_hangs_holds_up_nothing(puppet: MakePuppet, disk: FaultDisk) -> None:
    disk.format("ext4")
    disk.mount("/mnt/log")
    os.makedirs("/mnt/log/never/read")
    disk.unmount()
    disk.mount("/mnt/log")
    disk.hang()
    blocked_log(puppet, Path("/mnt/log/never/read/pacemaker.log"))
    disk.heal()


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "nowhere", "full"])
def test_a_log_file_that_is_none(puppet: MakePuppet, tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / "log", tmp_path / "precious"
    precious.write_text("")
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(precious)
    elif kind == "fifo":
        subprocess.run(["mkfifo", str(path)], check=True)
    elif kind == "nowhere":
        path = tmp_path / "no" / "where"
    else:
        path = Path("/dev/full")
    began = time.monotonic()
    result = puppet(environment={"HA_LOGFILE": str(path)}).lines(observe="Error broken").node.monitor(check=kind != "fifo")
    assert (result.code, result.reason) == (1, "broken")
    assert time.monotonic() - began < 3
    assert precious.read_text() == ""
