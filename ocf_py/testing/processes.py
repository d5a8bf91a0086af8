"""What the kernel's process table says of an action that has ended."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PR_SET_CHILD_SUBREAPER = 36
ENDED = "ZX"
RESTING, MOVING = 0.3, 2.0


@dataclass(frozen=True)
class Process:
    """A process in a look at /proc.  `holds_output` tells that it still has a pipe of the action that it came from."""

    pid: int
    parent: int
    group: int
    state: str
    command: str
    holds_output: bool = False

    @property
    def stuck(self) -> bool:
        """Uninterruptible sleep: SIGKILL waits for the I/O."""
        return self.state == "D"

    def __str__(self) -> str:
        return f"{self.command}[{self.pid}] in state {self.state}" + (" holding the action's output" if self.holds_output else "")


def listed(pipes: Collection[int] = (), zombies: bool = False) -> Iterator[Process]:
    """Yield every process that has not ended.  `pipes` are inode numbers for `holds_output`."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = seen(int(name), pipes)
            if process and (zombies or process.state not in ENDED):
                yield process


def seen(pid: int, pipes: Collection[int] = ()) -> Process | None:
    """Return one process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            before, _, rest = file.read().rpartition(b")")
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = rest.split()
    command = before.partition(b"(")[2].decode(errors="replace")
    return Process(pid, int(words[1]), int(words[2]), words[0].decode(), command, bool(pipes) and holds(pid, pipes))


def holds(pid: int, pipes: Collection[int]) -> bool:
    wanted = {f"pipe:[{inode}]" for inode in pipes}
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            if os.readlink(f"/proc/{pid}/fd/{descriptor}") in wanted:
                return True
        except OSError:
            continue
    return False


def of_group(group: int, pipes: Collection[int] = ()) -> tuple[Process, ...]:
    """Return the processes of a group, and those that hold one of the pipes from outside of it."""
    me = os.getpid()
    return tuple(process for process in listed(pipes) if process.pid != me and (process.group == group or process.holds_output))


def settled(group: int, pipes: Collection[int]) -> tuple[Process, ...]:
    """Return who is left in a group once those that are just ending, or leaving it, have had their time.

    On a busy machine that is counted in looks as well: whoever is runnable may not have run yet, and a program that is being
    loaded is in state D for a moment.
    """
    began, looks = time.monotonic(), 0
    while True:
        left = of_group(group, pipes)
        looks += 1
        spent = time.monotonic() - began
        moving = any(process.state == "R" for process in left) and spent < MOVING
        enough = looks > 5 if all(process.stuck for process in left) else looks > 10 and spent > RESTING
        if not left or (enough and not moving):
            return left
        time.sleep(0.02)


def kill(left: Collection[Process]) -> None:
    """Send SIGKILL to processes that still are what they were."""
    for process in left:
        now = seen(process.pid)
        if now and now.command == process.command:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


_unreaped: list[int] = []


def reap(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status of a process that has ended.

    One that is in uninterruptible sleep cannot be waited for; it counts as killed and is reaped by a later call.
    """
    for pid in tuple(_unreaped):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _unreaped.remove(pid)
    under_way.discard(process.pid)
    if process.poll() is None:
        _unreaped.append(process.pid)
        process.returncode = -signal.SIGKILL
    assert process.returncode is not None
    return process.returncode


def group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


# Children of this process that are not orphans, while it adopts those; None while it does not.
_others: set[int] | None = None
# Actions under way: their callers wait for them.
under_way: set[int] = set()


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the parent of one's descendants' orphans, so that a process which has left its group is found all the same."""
    global _others  # noqa: PLW0603  There is one process and it has one list of children.
    subreaper(True)
    _others = children()
    try:
        yield
    finally:
        _others = None
        subreaper(False)


def adopting() -> bool:
    return _others is not None


def subreaper(wanted: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> set[int]:
    """Return the pids of this process's children, zombies included."""
    me = os.getpid()
    return {process.pid for process in listed(zombies=True) if process.parent == me}


def adopted() -> list[Process]:
    """Return the orphans that this process has adopted and that live, and reap those that do not."""
    if _others is None:
        return []
    me, others = os.getpid(), _others | under_way
    found = [process for process in listed(zombies=True) if process.parent == me and process.pid not in others]
    for process in found:
        if process.state in ENDED:
            # Only what is ours to reap: whoever started one of the others waits for it.
            os.waitpid(process.pid, os.WNOHANG)
    return [process for process in found if process.state not in ENDED]
