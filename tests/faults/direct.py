"""One piece of direct I/O done by a process of its own, so that it is this that gets stuck.

    python3 -m tests.faults.direct read|write|sync|fsync|cached FILE|DEVICE      (started by `Child`)

The exit code is the errno, 0 for success.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.faults import processes

if TYPE_CHECKING:
    from typing_extensions import Self

BLOCK = 4096
TREE = Path(__file__).resolve().parents[2]


def read(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    assert os.readv(file, [mmap.mmap(-1, BLOCK)]) == BLOCK


def write(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.pwrite(file, mmap.mmap(-1, BLOCK), 0)


def sync(path: str) -> None:
    """Write as PostgreSQL's write-ahead log is written with wal_sync_method=open_datasync: data, then a flush."""
    file = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
    os.pwrite(file, mmap.mmap(-1, BLOCK), 0)


def fsync(path: str) -> None:
    """Write into the page cache, and have it written out."""
    file = os.open(path, os.O_WRONLY)
    os.pwrite(file, os.urandom(BLOCK), 0)
    os.fsync(file)


def cached(path: str) -> None:
    """Read through the page cache."""
    with open(path, "rb", buffering=0) as file:
        assert len(file.read(BLOCK)) == BLOCK


class Child:
    """A process that does one of the above; killed at the end of its `with` block."""

    def __init__(self, operation: str, path: str, user: str | None = None) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen([sys.executable, "-m", "tests.faults.direct", operation, path], cwd=TREE, user=user)
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        processes.abandoned.append(self.process)

    def outcome(self, within: float = 20) -> int:
        """Wait for the end; return the errno, 0 for success."""
        return self.process.wait(timeout=within)

    def stuck(self, seconds: float = 0.5) -> bool:
        """Tell whether the process is, and stays, in uninterruptible sleep, SIGKILL or not."""
        processes.wait_until_stuck(self.pid)
        self.process.send_signal(signal.SIGKILL)
        return not processes.wait_until(lambda: processes.state(self.pid) != "D", seconds)


def outcome(operation: str, path: str, user: str | None = None) -> int:
    """Do one piece of I/O; return the errno, 0 for success."""
    with Child(operation, path, user) as child:
        return child.outcome()


if __name__ == "__main__":
    try:
        {"read": read, "write": write, "sync": sync, "fsync": fsync, "cached": cached}[sys.argv[1]](sys.argv[2])
    except OSError as error:
        sys.exit(error.errno)
