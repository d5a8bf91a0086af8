"""The namespaces that the lab is in, seen from the machine: making them, entering them, giving orders, removing them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import roots
from lab.machine import image

DIRECTORY = roots.CACHE / "lab"
LOCK, LOG = DIRECTORY / "lock", DIRECTORY / "keeper.log"
START_SECONDS = 300.0
SAVED = DIRECTORY / "saved"  # where the keeper puts disks that are being saved
STOP_SECONDS = 30.0
ORDER_SECONDS = 60.0
SOCKET = "/run/lab.sock"  # as the keeper sees it
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Network, processes and mounts go with the first process, and that with unshare.
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--"]
ENTRY = ["nsenter", "--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd"]


class NotSo(Exception):
    """The lab is not as it would have to be."""


class Room:
    """A running lab.  `outer` is unshare's process, `inner` the first one inside, both by the machine's numbers."""

    def __init__(self, outer: int, inner: int) -> None:
        self.outer, self.inner = outer, inner

    def entering(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command in the lab's namespaces and root, and ends it with the process that runs that."""
        return [*ENTRY, f"--target={self.inner}", "--", "setpriv", "--pdeathsig", "KILL", *command]

    def environment(self) -> dict[str, str]:
        return {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb"), "PYTHONPATH": "/src",
                "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip

    def read(self, path: str) -> str:
        """Return the contents of a file of the lab's root."""
        return Path(f"/proc/{self.inner}/root{path}").read_text()

    def order(self, do: str, *, within: float = ORDER_SECONDS, **what: object) -> Any:
        """Give the keeper an order and return its answer.  Raises NotSo."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(within)
            try:
                connection.connect(f"/proc/{self.inner}/root{SOCKET}")
                connection.sendall(json.dumps({"do": do, **what}).encode() + b"\n")
                with connection.makefile() as stream:
                    answer = json.loads(stream.readline() or "{}")
            except OSError as error:
                raise NotSo(f"the lab does not answer: {error}") from None
        if "done" not in answer:
            raise NotSo(answer.get("failed", "the lab does not answer"))
        return answer["done"]


def child(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(words[0]) if words else None
    return None


def locked() -> bool:
    """Tell whether a lab's process holds the lock."""
    try:
        with open(LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def process() -> int | None:
    """Return unshare's process of a lab that is up, or on its way there or back."""
    if locked():
        with contextlib.suppress(OSError, ValueError):
            outer = int(LOCK.read_text())
            if b"lab.machine.keeper" in Path(f"/proc/{outer}/cmdline").read_bytes():
                return outer
    return None


def find() -> Room:
    """Return the running lab.  Raises NotSo."""
    outer = process()
    inner = None if outer is None else child(outer)
    if outer is None or inner is None:
        raise NotSo("the lab is not up; `python3 -m lab.machine up` starts it")
    return Room(outer, inner)


def start(saved: Path | None = None) -> tuple[Room, subprocess.Popen[bytes]]:
    """Begin a lab, with blank disks or copies of saved ones (lab.machine.saved).

    It ends when the returned process's standard input does, unless `stay` is written there.  Raises NotSo.
    """
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with open(LOCK, "a") as lock, open(LOG, "wb") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotSo("a lab is up already; `python3 -m lab.machine down` ends it") from None
        made = image.image()
        shutil.rmtree(SAVED, ignore_errors=True)
        empty = DIRECTORY / "empty"
        empty.mkdir(exist_ok=True)
        if saved:
            os.utime(saved)  # What is used is kept.
        places = [str(place) for place in (made.directory, DIRECTORY, saved) if place]
        environment = {"DEBIAN": str(image.host()), "VENV": str(empty), "TREE": str(roots.TREE), "NAME": "lab",
                       "SHARES": " ".join(places), "PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8",
                       "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
        inside = ["python3", "-m", "lab.machine.keeper", *places]
        begun = subprocess.Popen([*NAMESPACES, "sh", "-c", roots.ENTER, "enter", *inside], env=environment, stdin=subprocess.PIPE,
                                 stdout=log, stderr=log, pass_fds=[lock.fileno()], start_new_session=True)  # fmt: skip
        os.truncate(lock.fileno(), 0)
        os.write(lock.fileno(), str(begun.pid).encode())
    return await_keeper(begun), begun


def await_keeper(begun: subprocess.Popen[bytes]) -> Room:
    until = time.monotonic() + START_SECONDS
    shown = 0
    try:
        while time.monotonic() < until:
            text = LOG.read_text(errors="replace")
            lines = [line for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("== ")]
            for line in lines[shown:]:
                roots.say(line[3:])
            shown = len(lines)
            inner = child(begun.pid)
            if inner is not None and lines and lines[-1] == "== machines on":
                return Room(begun.pid, inner)
            if begun.poll() is not None:
                raise NotSo(f"the lab ended at its start; {LOG} says:\n{text[-2000:]}")
            time.sleep(0.1)
        raise NotSo(f"the lab is not there after {START_SECONDS:.0f} s; {LOG} says:\n{LOG.read_text(errors='replace')[-2000:]}")
    except BaseException:
        end(begun.pid)
        begun.wait()
        raise


def stay(begun: subprocess.Popen[bytes]) -> None:
    """Let the lab outlive this process."""
    assert begun.stdin
    begun.stdin.write(b"stay\n")
    begun.stdin.close()


def end(outer: int) -> None:
    """Take everything down, and return when it is gone.  Raises NotSo when it does not go."""
    inner = child(outer)
    with contextlib.suppress(ProcessLookupError):
        os.kill(outer, signal.SIGKILL)
    until = time.monotonic() + STOP_SECONDS
    while locked() or (inner is not None and Path(f"/proc/{inner}/ns").is_dir() and alive(inner)):
        if time.monotonic() > until:
            raise NotSo(f"the lab's process {inner} is still there {STOP_SECONDS:.0f} s after it was killed")
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that is only not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
