"""A disk that can be told to hang, fail or slow its reads, writes and flushes apart.

    with FaultDisk("data", size_mb=512) as disk:
        disk.format("xfs")
        disk.mount("/mnt/data")
        disk.hang(writes=True)      # whoever writes now waits in uninterruptible sleep
        disk.heal()                 # and goes on here

It is a loop device with direct I/O upon the one file of a FUSE server (tests.faults.server), so that hangs and errors come
from below the block layer as those of real hardware do.  Three processes: the caller, which talks to the server over a
socket and never touches the disk; the server; and the keeper, which holds the loop device open.  The end of the caller ends
the server, that aborts the FUSE connection, every request fails, and nobody stays in uninterruptible sleep.

Where it differs from other disks:
- The loop driver flushes in the thread in which it takes requests up.  While a flush hangs or is slow, whatever is asked
  after it waits behind it, reads as well.  Hung reads and writes hold up nothing but themselves.
- It takes 128 requests at once, as other disks take 32 or 64: so many hung direct writes leave no room for reads.  Writeback
  of cached data is held back by the kernel before that.
- sync(2) waits for every file system of the machine, so it hangs with the disk, wherever it is called.
"""

from __future__ import annotations

import enum
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from tests.faults import identity, leftovers, loop, mounts, processes

if TYPE_CHECKING:
    from typing_extensions import Self

TREE = Path(__file__).resolve().parents[2]

FORMATS = {
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    # Nothing is left for ext4's background initialisation: its writes would meet the faults of a test at random.
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
}


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
    """Requests that the block layer has completed, block/stat.rst; a loop device goes on counting from disk to disk."""

    reads: int
    writes: int
    flushes: int
    in_flight: int


class FaultDisk:
    """A block device with faults on request.  Raises DiskError when it cannot be made.

    `device` is its path, `number` its "major:minor", `mountpoint` where it is mounted, None when it is not.
    """

    def __init__(self, name: str, size_mb: int = 512) -> None:
        self.identity = identity.fresh(name)
        self.name = name
        self.size_mb = size_mb
        self.mountpoint: str | None = None
        self.closed = False
        self._filesystem = "auto"
        with ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._control, theirs = socket.socketpair()
            stack.enter_context(self._control)
            self._answers = stack.enter_context(self._control.makefile("rb"))
            self._control.settimeout(20)
            with theirs:
                self._server = self._started(theirs)
            stack.callback(self._end_server)
            hello = self._answer()
            self._stack = stack.pop_all()
        self.server_pid = self._server.pid
        self.keeper_pid: int = hello["keeper"]
        self._loop: int = hello["loop"]
        self.device = f"/dev/loop{self._loop}"
        self.number = f"{loop.LOOP_MAJOR}:{self._loop}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FaultDisk {self.name}>"

    # Preparing

    def format(self, filesystem: str) -> None:
        """Make a file system, "xfs" (300 MB at least, says its maker) or "ext4"."""
        processes.run(*FORMATS[filesystem], self.device, within=60)
        self._filesystem = filesystem

    def mount(self, point: str | os.PathLike[str], options: str = "defaults") -> None:
        """Mount the disk, making the mount point where it is missing."""
        os.makedirs(point, exist_ok=True)
        processes.run("mount", "-t", self._filesystem, "-o", options, self.device, os.fspath(point), within=30)
        self.mountpoint = os.fspath(point)

    def unmount(self, within: float = 10) -> None:
        """Unmount the disk everywhere in this namespace.  Raises CommandFailed when it is in use or does not answer."""
        for point in self._points():
            processes.run("umount", point, within=within)
        self.mountpoint = None

    # Faults

    def hang(self, *, reads: bool = False, writes: bool = False, flushes: bool = False) -> None:
        """Answer no request of these directions from now on, of no direction at all when none is named.

        Other directions keep the fault that they have.  The requests are kept; `heal` answers them, `fail` refuses them.
        """
        self._order({name: {"hang": True} for name in chosen(reads, writes, flushes)})

    def fail(self, *, reads: bool = False, writes: bool = False, flushes: bool = False) -> None:
        """Answer the requests of these directions, or of all, with EIO from now on, those that are kept too."""
        self._order({name: {"fail": True} for name in chosen(reads, writes, flushes)})

    def slow(self, *, reads: float = 0.0, writes: float = 0.0, flushes: float = 0.0) -> None:
        """Answer each request of these directions so many seconds after it came."""
        delays = {"reads": reads, "writes": writes, "flushes": flushes}
        self._order({name: {"seconds": seconds} for name, seconds in delays.items() if seconds > 0})

    def heal(self, *, reads: bool = False, writes: bool = False, flushes: bool = False) -> None:
        """Answer the requests of these directions, or of all, as usual from now on, first those that are kept."""
        self._order({name: {} for name in chosen(reads, writes, flushes)})

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
        return path is not None and identity.parse(path) == self.identity

    # Ending

    def close(self) -> None:
        """Lift the fault, unmount, detach and end the server, in at most about ten seconds, whatever state the disk is in.

        A process that still uses the disk's file system, or the device, is killed.  Raises DiskError when the device stays in use.
        """
        if self.closed:
            return
        self.closed = True
        if not self._unmounted_in_health():
            # Without its server the disk refuses everything, so nothing that follows waits for it.
            self._server.kill()
        self._stack.close()
        if not leftovers.release(self._loop, self.identity):
            raise DiskError(f"{self}: {self.device} is still in use after its end")
        self.mountpoint = None

    def kill_server(self) -> None:
        """End the server with SIGKILL: the disk is gone, each request fails at once and for ever."""
        self._server.kill()
        self._server.wait(timeout=10)

    def _unmounted_in_health(self) -> bool:
        """Unmount after lifting the fault, thawing first: once unmounted, a frozen file system stays so and keeps the device."""
        try:
            self.heal()
            for point in self._points():
                processes.run("fsfreeze", "--unfreeze", point, within=1, check=False)
            leftovers.kill_users(self._loop, self.identity, within=2)
            self.unmount(within=3)
        except (DiskError, processes.CommandFailed):
            return False
        return True

    def _end_server(self) -> None:
        """Close the conversation, on which the server ends; kill it when it does not."""
        self._answers.close()
        self._control.close()
        try:
            self._server.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.kill_server()

    # Talking

    def _started(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        size = self.size_mb * 1024 * 1024
        server = [sys.executable, "-m", "tests.faults.server", str(theirs.fileno()), self.identity.file, str(size)]
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
            raise DiskError(f"{self}: its server ended: {self._errors.read().decode(errors='replace')[-2000:]}")
        return cast("dict[str, Any]", json.loads(line))

    def _points(self) -> list[str]:
        """Return where the disk is mounted in this namespace, the latest first."""
        return [mount.point for mount in reversed(mounts.mounts()) if mount.device == self.number]


def chosen(reads: bool, writes: bool, flushes: bool) -> list[str]:
    """Return the directions that are named, all of them when none is."""
    named = [name for name, wanted in (("reads", reads), ("writes", writes), ("flushes", flushes)) if wanted]
    return named or [direction.value for direction in Direction]
