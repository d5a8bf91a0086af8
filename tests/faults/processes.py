"""Processes as tests need them: stopped, stuck, orphaned, with a given PID; and programs that may get stuck themselves.

What is read in /proc here takes no lock of the process that is looked at, so it returns when that hangs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


# Killed programs for whose end nobody could wait, to be reaped later.
abandoned: list[subprocess.Popen[bytes]] = []


class CommandFailed(Exception):
    """A program failed, or did not end in its time."""


def run(*command: str, within: float, check: bool = True, cwd: Path | None = None) -> bool:
    """Run a program that may get stuck, and leave it behind, killed, after `within` seconds; return whether it succeeded.

    Raises CommandFailed with what the program said, unless `check` is false.
    """
    abandoned[:] = [child for child in abandoned if child.poll() is None]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd)
        try:
            code = child.wait(timeout=within)
        except subprocess.TimeoutExpired:
            # It may be in uninterruptible sleep, so nobody waits for its end.
            child.kill()
            abandoned.append(child)
            if check:
                raise CommandFailed(f"{' '.join(command)}: no end after {within:g} s") from None
            return False
        if code and check:
            output.seek(0)
            raise CommandFailed(f"{' '.join(command)}: exit code {code}: {output.read().decode(errors='replace').strip()}")
        return code == 0


def wait_until(ready: Callable[[], bool], seconds: float) -> bool:
    """Poll until `ready()` is true, for so many seconds at most; return whether it is."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def name(pid: int) -> str | None:
    """Return the name of a process, None when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return None


def status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on, proc(5); an empty list when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def state(pid: int) -> str | None:
    """Return "R", "S", "D", "T", "Z" and so on, None when the process is gone."""
    fields = status(pid)
    return fields[0] if fields else None


def alive(pid: int) -> bool:
    return state(pid) not in (None, "Z", "X")


def children(pid: int) -> list[int]:
    return [child for child in pids() if status(child)[1:2] == [str(pid)]]


def wait_for_state(pid: int, wanted: str, seconds: float = 5) -> None:
    """Wait until a process is in one of the states, for instance "D" or "ZX".  Raises TimeoutError with what it is instead."""
    if not wait_until(lambda: (state(pid) or "X") in wanted, seconds):
        raise TimeoutError(f"process {pid} ({name(pid)}) is in state {state(pid)} after {seconds:g} s, not in {wanted}")


def wait_until_stuck(pid: int, seconds: float = 10) -> None:
    """Wait until a process is in uninterruptible sleep to stay: every process is for moments.  Raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        wait_for_state(pid, "D", max(0.0, end - time.monotonic()))
        if not wait_until(lambda: state(pid) != "D", 0.3):
            return


def wait_until_gone(pid: int, seconds: float = 5) -> None:
    """Wait until a process has ended, reaped or not.  Raises TimeoutError."""
    wait_for_state(pid, "ZX", seconds)


def uses(pid: int, paths: Sequence[str]) -> bool:
    """Tell whether a process has one of the paths, or something below it, open or as its directory, from the text of its links.

    The paths are as the process sees them.  Its links are shown as the reader sees them, so its root goes in front.
    """
    try:
        root = os.readlink(f"/proc/{pid}/root").rstrip("/")
        links = [f"/proc/{pid}/cwd", f"/proc/{pid}/exe", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]
    except OSError:
        return False
    for link in links:
        with suppress(OSError):
            target = os.readlink(link)
            if any(target == root + path or target.startswith(root + path.rstrip("/") + "/") for path in paths):
                return True
    return False


@contextmanager
def stopped(*victims: int) -> Iterator[None]:
    """Stop processes with SIGSTOP and let them go on at the end."""
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    try:
        for pid in victims:
            wait_for_state(pid, "TD")
        yield
    finally:
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def orphaned(postmaster: int, backend: int) -> Iterator[None]:
    """Kill a postmaster and keep one of its children from noticing; kill that too at the end.

    Children of PostgreSQL watch a pipe of their postmaster and leave when it closes, but for those that are stopped or stuck.
    """
    os.kill(backend, signal.SIGSTOP)
    try:
        wait_for_state(backend, "TD")
        os.kill(postmaster, signal.SIGKILL)
        wait_until_gone(postmaster)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(backend, signal.SIGKILL)
            os.kill(backend, signal.SIGCONT)
        wait_until(lambda: not alive(backend), 5)


@contextmanager
def with_pid(pid: int, command: Sequence[str], user: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command under a PID that is free in this namespace, as when the kernel has come round to it; kill it at the end.

    Raises TimeoutError when the PID cannot be had.
    """
    process = started_as(pid, command, user)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def started_as(pid: int, command: Sequence[str], user: str | None) -> subprocess.Popen[bytes]:
    for _ in range(200):
        # The next process gets the first free PID after this one, unless another process is faster.
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, user=user)
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    raise TimeoutError(f"PID {pid} cannot be had; {'it is in use' if os.path.exists(f'/proc/{pid}') else 'others are faster'}")
