"""File systems in the states that agents must tell apart: full, read-only, shut down, frozen.  All end with their `with` block.

Whatever may get stuck is done by child processes, never by the caller.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults import processes

FILLER = ".filler"

# Takes the free space in ever smaller pieces.  The file is opened before the user changes: it is the user of the allocation,
# not of the file, who decides whether the blocks that ext4 reserves for root may be taken.
FILL = """
import errno, os, pwd, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
if sys.argv[2]:
    user = pwd.getpwnam(sys.argv[2])
    os.setgroups([]), os.setgid(user.pw_gid), os.setuid(user.pw_uid)
piece = 64 << 20
while piece >= 4096:
    end = os.fstat(file).st_size
    try:
        os.posix_fallocate(file, end, piece)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.ftruncate(file, end)
        piece //= 2
os.fsync(file)
"""


@contextmanager
def full(point: str | os.PathLike[str], user: str = "") -> Iterator[None]:
    """Fill a file system to ENOSPC, for everybody or as far as one user can, and free it again.

    ext4 keeps 5 % for root, so what `user="postgres"` fills is not full for root.
    """
    filler = Path(point) / FILLER
    processes.run(sys.executable, "-I", "-c", FILL, os.fspath(filler), user, within=60)
    try:
        yield
    finally:
        processes.run("rm", "-f", os.fspath(filler), within=30)


@contextmanager
def read_only(point: str | os.PathLike[str]) -> Iterator[None]:
    """Remount a file system read-only, and writable at the end.  Raises CommandFailed while a file is open for writing."""
    processes.run("mount", "-o", "remount,ro", os.fspath(point), within=10)
    try:
        yield
    finally:
        processes.run("mount", "-o", "remount,rw", os.fspath(point), within=10)


def turn_read_only(device: str) -> None:
    """Make an ext4 that is mounted with errors=remount-ro find an error: read-only at once, whatever is open; it stays so."""
    Path(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error").write_text("found by a test\n")


def shut_down(point: str | os.PathLike[str]) -> None:
    """Shut an XFS down, as it does itself when its log cannot be written: EIO for everybody until it is mounted anew."""
    processes.run("xfs_io", "-x", "-c", "shutdown", os.fspath(point), within=10)


@contextmanager
def frozen(point: str | os.PathLike[str]) -> Iterator[None]:
    """Freeze a file system, as a backup of the whole machine does, and thaw it: writers wait in uninterruptible sleep meanwhile.

    The disk must answer: freezing writes out what is cached.
    """
    try:
        processes.run("fsfreeze", "--freeze", os.fspath(point), within=20)
        yield
    finally:
        processes.run("fsfreeze", "--unfreeze", os.fspath(point), within=10, check=False)
