"""A disk that can be told to hang, fail or slow its reads, writes and flushes apart.

    with FaultDisk("data", size_mb=512) as disk:
        disk.format("xfs")
        disk.mount("/mnt/data")
        disk.hang(writes=True)      # whoever writes now waits in uninterruptible sleep
        disk.heal()                 # and goes on here

It is a loop device with direct I/O upon the one file of a FUSE server (tests.faults.server), so that hangs and errors come
from below the kernel's block layer as those of real hardware do.  Three processes: the caller, which talks to the server over a socket and
never touches the disk; the server; and the keeper, which holds the loop device open.  The end of the caller ends the
server, that aborts the FUSE connection, every request fails, and nobody stays in uninterruptible sleep.

One thing differs from a disk: the loop driver flushes in the thread in which it takes requests up.  While a flush hangs or is
slow, whatever is asked after it waits behind it, reads as well.  Hung reads and writes hold up nothing but themselves.
"""

from __future__ import annotations

import enum
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from tests.faults import loop, mounts

# Names of backing files begin with this: by it a later run knows what an earlier one left.
TAG = "ocf-fault-disk"

TREE = Path(__file__).resolve().parents[2]

FORMATS = {
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    # Nothing is left for ext4's background initialisation: its writes would meet the faults of a test at random.
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
}
# Refuses further I/O and wakes those who wait for the journal.
SHUTDOWN = ("xfs_io", "-x", "-c", "shutdown")


class DiskError(Exception):
    """The disk cannot be made, prepared or ended as asked."""


class Direction(enum.Enum):
    """What kind of request a fault is about; the value is the keyword of `hang`, `fail` and `slow`."""

    READ = "reads"
    WRITE = "writes"
    FLUSH = "flushes"


@dataclass(frozen=True)
class Requests:
    """What the server has done with the requests of one direction: `kept` ones wait for an answer now."""

    kept: int
    answered: int
    refused: int


@dataclass(frozen=True)
class Completed:
    """Requests that the block layer has completed since the device exists, block/stat.rst."""

    reads: int
    writes: int
    flushes: int
    in_flight: int


class FaultDisk:
    """A block device with faults on request.  Raises DiskError when it cannot be made."""

    def __init__(self, name: str, size_mb: int = 512) -> None:
        if not re.fullmatch(r"[a-z0-9-]{1,16}", name):
            raise ValueError(f"disk name {name!r}: up to 16 lower case letters, digits and hyphens")
        self.name = name
        self.size_mb = size_mb
        self.mountpoint: str | None = None
        self.file = f"{TAG}.{name}.{os.stat('/proc/self/ns/pid').st_ino}.{os.urandom(6).hex()}"
        self.filesystem: str | None = None
        self.closed = False
        self._errors = tempfile.TemporaryFile()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(20)
        with theirs:
            self._server = self._started(theirs)
        self._answers = self._control.makefile("rb")
        try:
            hello = self._answer()
        except BaseException:
            self._end_server()
            raise
        self.server_pid = self._server.pid
        self.keeper_pid: int = hello["keeper"]
        self._loop: int = hello["loop"]
        self.device = f"/dev/loop{self._loop}"
        self.number = f"{loop.LOOP_MAJOR}:{self._loop}"
        loop.device_node(self._loop)

    def __enter__(self) -> FaultDisk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FaultDisk {self.name} {self.device}>"

    # Preparing

    def format(self, filesystem: str) -> None:
        """Make a file system, "xfs" (300 MB at least, says its maker) or "ext4"."""
        self._program(*FORMATS[filesystem], self.device, within=60)
        self.filesystem = filesystem

    def mount(self, point: str | os.PathLike[str], options: str = "defaults") -> None:
        """Mount the disk, making the mount point where it is missing."""
        os.makedirs(point, exist_ok=True)
        self._program("mount", "-t", self.filesystem or "auto", "-o", options, self.device, os.fspath(point), within=30)
        self.mountpoint = os.fspath(point)

    def unmount(self) -> None:
        """Unmount the disk everywhere in this namespace.  Raises DiskError when it is in use or does not answer."""
        for point in self._points():
            self._program("umount", point, within=5)
        self.mountpoint = None

    # Faults

    def hang(self, *, reads: bool = False, writes: bool = False, flushes: bool = False) -> None:
        """Answer no request of these directions from now on, of no direction at all when none is named.

        Other directions keep the fault that they have.  The requests are kept; `heal` answers them, `fail` refuses them.
        """
        chosen = {"reads": reads, "writes": writes, "flushes": flushes}
        everything = not any(chosen.values())
        self._order({name: {"hang": True} for name, wanted in chosen.items() if wanted or everything})

    def fail(self, *, reads: bool = False, writes: bool = False, flushes: bool = False) -> None:
        """Answer the requests of these directions, or of all, with EIO from now on, those that are kept too."""
        chosen = {"reads": reads, "writes": writes, "flushes": flushes}
        everything = not any(chosen.values())
        self._order({name: {"fail": True} for name, wanted in chosen.items() if wanted or everything})

    def slow(self, *, reads: float = 0.0, writes: float = 0.0, flushes: float = 0.0) -> None:
        """Answer each request of these directions so many seconds after it came."""
        chosen = {"reads": reads, "writes": writes, "flushes": flushes}
        self._order({name: {"seconds": seconds} for name, seconds in chosen.items() if seconds > 0})

    def heal(self) -> None:
        """Answer everything again, first what was kept."""
        self._order({direction.value: {} for direction in Direction})

    # Looking

    def requests(self) -> dict[Direction, Requests]:
        """Return what the server has done so far with the requests of each direction."""
        return {Direction(name): Requests(**counts) for name, counts in self._order({}).items()}

    def kept(self) -> int:
        """Return how many requests wait for an answer."""
        return sum(requests.kept for requests in self.requests().values())

    def completed(self) -> Completed:
        """Return what the block layer has completed, from sysfs."""
        numbers = [int(word) for word in Path(f"/sys/dev/block/{self.number}/stat").read_text().split()]
        return Completed(reads=numbers[0], writes=numbers[4], in_flight=numbers[8], flushes=numbers[15])

    def attached(self) -> bool:
        """Tell whether the loop device still stands upon this disk."""
        path = loop.backing_file(self._loop)
        return path is not None and os.path.basename(path).startswith(self.file)

    def users(self) -> list[int]:
        """Return the processes with a file, a root or a working directory on the disk's mounts, without touching them."""
        points = self._points()
        return [pid for pid in pids() if pid != os.getpid() and uses(pid, points)]

    # Ending

    def close(self) -> None:
        """Lift the fault, unmount, detach and end the server, in at most about ten seconds, whatever state the disk is in.

        A process that still uses the disk's file system is killed.  Raises DiskError when the device does not go away:
        another namespace has it mounted, or somebody holds it open.
        """
        if self.closed:
            return
        self.closed = True
        try:
            if not self._healed() or not self._unmounted():
                self._end_server()
                self._abandon_mounts()
        finally:
            self._end_server()
        if not wait_until(lambda: not self.attached(), 3):
            raise DiskError(f"{self}: the device is still in use after its end")

    def kill_server(self) -> None:
        """End the server with SIGKILL: the disk is gone, each request fails at once and for ever."""
        self._server.kill()
        self._server.wait(timeout=10)

    def _healed(self) -> bool:
        try:
            self.heal()
        except (DiskError, OSError):
            return False
        return True

    def _unmounted(self) -> bool:
        """Unmount while the disk is sound, thawing it first: an unmounted file system stays frozen, and the device in use, for ever."""
        try:
            for point in self._points():
                self._program("fsfreeze", "--unfreeze", point, within=2, check=False)
            if self._points():
                self._kill_users()
            self.unmount()
        except DiskError:
            return False
        return True

    def _kill_users(self) -> None:
        for pid in self.users():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(lambda: not self.users(), 2)

    def _abandon_mounts(self) -> None:
        """Take the mounts down after the server's end, when every request fails."""
        for point in self._points():
            self._program(*SHUTDOWN, point, within=1, check=False)
            self._program("fsfreeze", "--unfreeze", point, within=1, check=False)
        self._kill_users()
        for point in self._points():
            mounts.detach(point)
        self.mountpoint = None

    def _end_server(self) -> None:
        """Close the conversation, on which the server ends; kill it when it does not."""
        self._control.close()
        answers = getattr(self, "_answers", None)
        if answers is not None:
            answers.close()
        try:
            self._server.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait(timeout=5)
        self._errors.close()

    # Talking

    def _started(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        size = self.size_mb * 1024 * 1024
        server = [sys.executable, "-m", "tests.faults.server", str(theirs.fileno()), self.file, str(size)]
        return subprocess.Popen(["unshare", "--mount", "--propagation", "private", "--", *server], stdin=subprocess.DEVNULL,
                                stdout=self._errors, stderr=self._errors, pass_fds=[theirs.fileno()], cwd=TREE)  # fmt: skip

    def _order(self, faults: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
        try:
            self._control.sendall(json.dumps(faults).encode() + b"\n")
            return cast("dict[str, dict[str, int]]", self._answer())
        except (OSError, ValueError) as error:
            raise DiskError(f"{self}: its server does not answer: {error}") from None

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._errors.seek(0)
            raise DiskError(f"disk {self.name}: its server ended: {self._errors.read().decode(errors='replace')[-2000:]}")
        return cast("dict[str, Any]", json.loads(line))

    def _points(self) -> list[str]:
        """Return where the disk is mounted in this namespace, the latest first."""
        return [mount.point for mount in reversed(mounts.mounts()) if mount.device == self.number]

    def _program(self, *command: str, within: float, check: bool = True) -> None:
        run(command, within, check)


def run(command: Sequence[str], within: float, check: bool = True) -> None:
    """Run a program that touches a disk; leave it behind, killed, when it takes longer than `within` seconds.

    Raises DiskError with what the program said.
    """
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            code = child.wait(timeout=within)
        except subprocess.TimeoutExpired:
            # It may be in uninterruptible sleep, so nobody waits for its end.
            child.kill()
            if check:
                raise DiskError(f"{' '.join(command)}: no end after {within:g} s") from None
            return
        if code and check:
            output.seek(0)
            raise DiskError(f"{' '.join(command)}: exit code {code}: {output.read().decode(errors='replace').strip()}")


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def uses(pid: int, points: Sequence[str]) -> bool:
    """Tell whether a process has something open below one of the mount points, from the text of its links in /proc."""
    links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root", f"/proc/{pid}/exe"]
    try:
        links += [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    for link in links:
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if any(target == point or target.startswith(point.rstrip("/") + "/") for point in points):
            return True
    return False


def wait_until(ready: Any, seconds: float) -> bool:
    """Poll until `ready()` is true, for so many seconds at most; return whether it is."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
