"""The server of one fault disk: a FUSE file system with one file, whose answers can be withheld, refused or delayed.

    unshare --mount -- python3 -m tests.faults.server CONTROL NAME SIZE      (started by tests.faults.disk)

CONTROL is the number of an inherited socket, NAME that of the file (tests.faults.identity), SIZE its bytes.  Each line that
comes in is a JSON object of faults by direction, possibly empty, and is answered with a line that says how many requests of
each direction are kept, answered and refused.  The end of the socket ends the server, without further requests answered: the
kernel then refuses everything that still waits.

The contents live in anonymous memory; nothing of the server touches a disk.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyfuse3
import trio

from tests.faults import identity, loop, mounts

DIRECTIONS = ("reads", "writes", "flushes")

# Everything is mounted in a namespace of the server's own, so that any directory will do and nothing is left behind.
PLACE = Path("/mnt")
FILE_INODE = pyfuse3.InodeT(pyfuse3.ROOT_INODE + 1)
FOR_EVER = 1e9
PR_SET_IO_FLUSHER = 57


@dataclass
class Fault:
    """What happens to the requests of one direction: nothing, `hang`, `fail`, or `seconds` of delay."""

    hang: bool = False
    fail: bool = False
    seconds: float = 0.0


@dataclass
class Gate:
    """The requests of one direction on their way through the present fault."""

    fault: Fault = field(default_factory=Fault)
    changed: trio.Event = field(default_factory=trio.Event)
    kept: int = 0
    answered: int = 0
    refused: int = 0

    def set(self, fault: Fault) -> None:
        """Change the fault; the requests that wait meet the new one."""
        self.fault = fault
        self.changed.set()
        self.changed = trio.Event()

    async def passage(self) -> None:
        """Return when the request may be answered.  Raises FUSEError with EIO for a direction that fails."""
        self.kept += 1
        try:
            arrived = trio.current_time()
            while self.fault.hang or trio.current_time() < arrived + self.fault.seconds:
                until = FOR_EVER if self.fault.hang else arrived + self.fault.seconds - trio.current_time()
                with trio.move_on_after(until):
                    await self.changed.wait()
        finally:
            self.kept -= 1
        if self.fault.fail:
            self.refused += 1
            raise pyfuse3.FUSEError(errno.EIO)
        self.answered += 1


class OneFile(pyfuse3.Operations):
    """A directory with one file of fixed size.

    The file is opened past the page cache, so each request of the loop device arrives here.  There is no statfs and no
    fallocate, by which the loop driver sees that the disk cannot discard.
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.name = os.fsencode(name)
        self.size = size
        self.memory = os.memfd_create(name)
        os.ftruncate(self.memory, size)
        self.gates = {direction: Gate() for direction in DIRECTIONS}

    def attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = pyfuse3.ModeT(stat.S_IFREG | 0o600 if inode == FILE_INODE else stat.S_IFDIR | 0o700)
        entry.st_nlink = 1
        entry.st_size = self.size if inode == FILE_INODE else 0
        entry.entry_timeout = entry.attr_timeout = FOR_EVER
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        if name != self.name:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self.attributes(FILE_INODE)

    async def forget(self, inode_list: object) -> None:
        pass

    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:
        return self.attributes(inode)

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await self.gates["reads"].passage()
        return os.pread(self.memory, size, off)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        await self.gates["writes"].passage()
        return os.pwrite(self.memory, buf, off)

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self.gates["flushes"].passage()

    async def flush(self, fh: int) -> None:
        """Answer close(2), which has nothing to do with the disk's flushes."""

    async def release(self, fh: int) -> None:
        pass

    def obey(self, order: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
        for direction, fault in order.items():
            self.gates[direction].set(Fault(**fault))
        return {
            name: {"kept": gate.kept, "answered": gate.answered, "refused": gate.refused} for name, gate in self.gates.items()
        }  # fmt: skip


def start_keeper(path: Path, fusectl: Path) -> subprocess.Popen[bytes]:
    """Start the process that attaches the loop device, tells its number, and holds it until its input ends."""
    command = [sys.executable, "-m", "tests.faults.keeper", str(path), str(fusectl)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def converse(control: trio.SocketStream, files: OneFile) -> None:
    """Answer orders until the other end closes."""
    pending = b""
    async for data in control:
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            answer = files.obey(json.loads(line))
            await control.send_all(json.dumps(answer).encode() + b"\n")


async def serve(control: trio.SocketStream, files: OneFile, keeper: subprocess.Popen[bytes]) -> None:
    assert keeper.stdin is not None and keeper.stdout is not None
    async with trio.open_nursery() as nursery:
        # A kept request occupies one of the tasks.
        nursery.start_soon(pyfuse3.main, 1, 1_000_000)
        number = await trio.to_thread.run_sync(keeper.stdout.readline)
        if not number:
            raise OSError("the keeper has no loop device")
        await control.send_all(json.dumps({"loop": int(number), "keeper": keeper.pid}).encode() + b"\n")
        await converse(control, files)
        # Here the other end has closed, or died.  The keeper needs answers for the last close of the device.
        keeper.stdin.close()
        with trio.move_on_after(2):
            await trio.to_thread.run_sync(keeper.wait, abandon_on_cancel=True)
        os._exit(0)


def forget_other_disks() -> None:
    """Drop the loop devices that are mounted at the time from this namespace: they must not stay in use for its sake."""
    for mount in reversed(mounts.mounts()):
        if mount.device.startswith(f"{loop.LOOP_MAJOR}:"):
            mounts.detach(mount.point)


def mount_place() -> tuple[Path, Path]:
    """Mount what the server needs; return the directories for the disk and for the kernel's settings of FUSE connections."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", identity.TAG, str(PLACE)], check=True)
    directory, fusectl = PLACE / "disk", PLACE / "fusectl"
    directory.mkdir()
    fusectl.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "fusectl", str(fusectl)], check=True)
    return directory, fusectl


def main() -> None:
    control, name, size = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    control.set_inheritable(False)
    disk = identity.parse(name)
    assert disk is not None
    identity.take_name(disk)
    # Memory that the kernel frees to serve this process must not wait for the disk that the process serves.
    ctypes.CDLL(None).prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0)
    forget_other_disks()
    directory, fusectl = mount_place()
    files = OneFile(name, size)
    pyfuse3.init(files, str(directory), {"default_permissions", f"fsname={name}"})
    keeper = start_keeper(directory / name, fusectl)

    async def run() -> None:
        await serve(trio.SocketStream(trio.socket.from_stdlib_socket(control)), files, keeper)

    trio.run(run)


if __name__ == "__main__":
    main()
