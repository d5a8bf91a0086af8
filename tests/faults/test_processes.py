"""Stopped, stuck, orphaned and reincarnated processes, with the PostgreSQL of the machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import processes

[BIN] = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Server:
    """A PostgreSQL of its own in a directory, started as its administrator would."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        shutil.chown(directory, "postgres")
        self.control("initdb", "-o", "--no-sync")
        self.options = f"-F -c listen_addresses= -c unix_socket_directories={directory}"

    def control(self, *words: str) -> str:
        log = self.data.parent / "log"
        command = [f"{BIN}/pg_ctl", *words, "--pgdata", f"{self.data}", "--log", f"{log}", "--wait", "--timeout", "30"]
        done = subprocess.run(command, check=False, user="postgres", cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)  # fmt: skip
        if done.returncode:
            raise processes.CommandFailed(done.stdout + (log.read_text() if log.exists() else ""))
        return done.stdout

    def start(self) -> int:
        self.control("start", "-o", self.options)
        return self.pid()

    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("postgres")
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o755)
    made = Server(directory)
    yield made
    if (made.data / "postmaster.pid").exists() and processes.alive(made.pid()) and processes.name(made.pid()) == "postgres":
        made.control("stop", "--mode", "immediate")


def test_a_stopped_process_goes_on() -> None:
    with subprocess.Popen(["sleep", "3600"]) as sleeper:
        with processes.stopped(sleeper.pid):
            assert processes.state(sleeper.pid) == "T"
        processes.wait_for_state(sleeper.pid, "S")
        sleeper.kill()
    with pytest.raises(TimeoutError, match=r"is in state None after 0.1 s, not in D"):
        processes.wait_for_state(sleeper.pid, "D", 0.1)


def test_a_program_that_does_not_end_is_left_behind() -> None:
    with pytest.raises(processes.CommandFailed, match=r"no end after 0\.2 s"):
        processes.run("sleep", "3600", within=0.2)
    sleeper = processes.abandoned[-1]
    assert processes.wait_until(lambda: processes.run("true", within=5) and sleeper not in processes.abandoned, 5)
    assert sleeper.returncode == -signal.SIGKILL


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(processes.CommandFailed, match="exit code 3: no luck"):
        processes.run("sh", "-c", "echo no luck; exit 3", within=5)
    assert not processes.run("false", within=5, check=False)


def test_a_process_has_the_pid_that_is_asked_for() -> None:
    with subprocess.Popen(["true"]) as former:
        former.wait()
    with processes.with_pid(former.pid, ["sleep", "3600"], user="postgres") as latter:
        assert latter.pid == former.pid
        assert processes.wait_until(lambda: processes.name(former.pid) == "sleep", 5)
        with pytest.raises(TimeoutError, match="in use"), processes.with_pid(former.pid, ["sleep", "3600"]):
            raise AssertionError("two processes with one PID")
    assert not processes.alive(former.pid)


def test_a_stale_postmaster_pid_that_is_in_use_again_keeps_postgres_from_starting(server: Server) -> None:
    postmaster = server.start()
    workers = processes.children(postmaster)
    os.kill(postmaster, signal.SIGKILL)
    for pid in (postmaster, *workers):
        processes.wait_until_gone(pid, 20)
    assert processes.wait_until(lambda: processes.state(postmaster) is None, 10)
    assert server.pid() == postmaster
    reincarnation = processes.with_pid(postmaster, ["sleep", "3600"], user="postgres")
    with reincarnation, pytest.raises(processes.CommandFailed, match=r"postmaster\.pid"):
        server.start()
    assert server.start() != postmaster


def test_an_orphan_outlives_its_postmaster(server: Server) -> None:
    postmaster = server.start()
    workers = processes.children(postmaster)
    orphan, *others = workers
    with processes.orphaned(postmaster, orphan):
        for pid in others:
            processes.wait_until_gone(pid, 20)
        assert processes.state(orphan) == "T"
        assert processes.name(orphan) == "postgres"
        with pytest.raises(processes.CommandFailed, match="shared memory"):
            server.start()
    assert not processes.alive(orphan)
    server.start()
