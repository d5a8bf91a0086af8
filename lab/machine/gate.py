"""The disks behind the SAN, each of which can hang, be slow or fail, for itself: a FUSE file system with a file for each.

    python3 -m lab.machine.gate PLACE NAME=DESCRIPTOR...        mounts itself at PLACE; started by lab.machine.san

The contents are in inherited open files.  Each line that comes in is a JSON object of a name and its fault, and is answered with a
line.  What hangs is answered when its fault is over; when this process ends, the kernel refuses all that still waits.

The SAN's other promises stay as they are: its portals answer, its connections live, the other disks work.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

ROOT = 1
MAX_WRITE = 1 << 20
FOR_EVER = 1 << 30
# The kernel's names and numbers: include/uapi/linux/fuse.h.
LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC = 1, 2, 3, 14, 15, 16, 18, 20
FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 36, 38, 42
UNANSWERED = (FORGET, INTERRUPT, DESTROY, BATCH_FORGET)
ASYNC_READ, BIG_WRITES, ASYNC_DIO, MAX_PAGES = 1 << 0, 1 << 5, 1 << 15, 1 << 22
DIRECT_IO = 1
HEADER = struct.Struct("<IIQQIIII")
ANSWER = struct.Struct("<IiQ")
INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
TRANSFER = struct.Struct("<QQIIQII")


@dataclass(frozen=True)
class Fault:
    """What happens to a disk's reads and writes."""

    hang: bool = False
    fail: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    code: int
    unique: int
    node: int
    body: bytes


@dataclass
class Disk:
    name: str
    descriptor: int
    fault: Fault = field(default_factory=Fault)
    kept: list[Request] = field(default_factory=list)


class Gate:
    """The server of the file system whose device is open as `device`."""

    def __init__(self, device: int, disks: Sequence[Disk]) -> None:
        self.device = device
        self.disks = {ROOT + 1 + index: disk for index, disk in enumerate(disks)}
        self.names = {disk.name: disk for disk in disks}
        self.lock = threading.Lock()

    def set(self, name: str, fault: Fault) -> int:
        """Put a disk under a fault and return how many requests were waiting until now."""
        disk = self.names[name]
        with self.lock:
            disk.fault, waiting = fault, disk.kept
            disk.kept = []
        for request in waiting:
            self.take(request)
        return len(waiting)

    def serve(self) -> None:
        """Answer until the file system is gone."""
        while True:
            try:
                data = os.read(self.device, MAX_WRITE + 4096 * 4)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, code, unique, node, *_ = HEADER.unpack_from(data)
            self.take(Request(code, unique, node, data[HEADER.size :]))

    def take(self, request: Request) -> None:
        disk = self.disks.get(request.node)
        if disk and request.code in (READ, WRITE):
            with self.lock:
                fault = disk.fault
                if fault.hang:
                    disk.kept.append(request)
                    return
            if fault.fail:
                self.answer(request, error=errno.EIO)
                return
            if fault.seconds:
                late = threading.Timer(fault.seconds, self.handle, [request])
                late.daemon = True
                late.start()
                return
        self.handle(request)

    def handle(self, request: Request) -> None:
        if request.code in UNANSWERED:
            return
        try:
            self.answer(request, self.result(request))
        except OSError as error:
            self.answer(request, error=error.errno or errno.EIO)

    def result(self, request: Request) -> bytes:
        """Do what is asked and return the answer's body.  Raises OSError."""
        disk = self.disks.get(request.node)
        if request.code == INIT:
            _, minor, readahead, flags = struct.unpack_from("<IIII", request.body)
            flags &= ASYNC_READ | BIG_WRITES | ASYNC_DIO | MAX_PAGES
            return INIT_OUT.pack(7, min(minor, 31), readahead, flags, 64, 48, MAX_WRITE, 1, MAX_WRITE // 4096, 0, 0)
        if request.code == LOOKUP:
            return self.lookup(request.body.rstrip(b"\0").decode())
        if request.code == GETATTR:
            return struct.pack("<QII", FOR_EVER, 0, 0) + self.attributes(request.node)
        if request.code == OPEN and disk:
            return struct.pack("<QII", 0, DIRECT_IO, 0)
        if request.code in (READ, WRITE) and disk:
            _, offset, size, *_ = TRANSFER.unpack_from(request.body)
            if request.code == READ:
                return os.pread(disk.descriptor, size, offset)
            return struct.pack("<II", os.pwrite(disk.descriptor, request.body[TRANSFER.size :], offset), 0)
        if request.code in (FLUSH, FSYNC, RELEASE):
            # The lab does not lose what the SAN has taken, so there is nothing to wait for.
            return b""
        raise OSError(errno.ENOSYS, "not needed here")

    def lookup(self, name: str) -> bytes:
        for node, disk in self.disks.items():
            if disk.name == name:
                return struct.pack("<QQQQII", node, 0, FOR_EVER, FOR_EVER, 0, 0) + self.attributes(node)
        raise OSError(errno.ENOENT, "no such disk")

    def attributes(self, node: int) -> bytes:
        disk = self.disks.get(node)
        size = os.fstat(disk.descriptor).st_size if disk else 0
        mode = stat.S_IFREG | 0o600 if disk else stat.S_IFDIR | 0o700
        return ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1 if disk else 2, 0, 0, 0, 4096, 0)

    def answer(self, request: Request, body: bytes = b"", error: int = 0) -> None:
        try:
            os.write(self.device, ANSWER.pack(ANSWER.size + len(body), -error, request.unique) + body)
        except OSError:
            pass  # Who asked was killed meanwhile.


def mount(place: str) -> int:
    """Mount an empty FUSE file system and return its device's descriptor.  Raises OSError."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={MAX_WRITE}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"luns", place.encode(), b"fuse.luns", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)
    return device


def main() -> int:
    place, *words = sys.argv[1:]
    disks = [Disk(name, int(number)) for name, _, number in (word.partition("=") for word in words)]
    gate = Gate(mount(place), disks)
    threading.Thread(target=gate.serve, daemon=True).start()
    print("{}", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps({"waited": gate.set(order.pop("name"), Fault(**order))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
