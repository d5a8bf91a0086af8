"""Remove what an earlier run of this suite left behind, and nothing else.

    python3 -m tests.faults.leftovers

A run's namespaces take everything away with them, a killed run's too, with one exception: a file system that was frozen stays
so, and keeps its loop device, and each process that waits for it, for ever, whatever becomes of the disk beneath.  And a loop device
that stands on one of ours (a logical volume of tests.lvm.fake) does not go with its namespace.

A loop device is ours if its backing file bears our name.  It is left over if its server would be visible here and is not
there: then nothing can be read from or written to the device ever again.  What starts a run in a PID namespace of its own has to
say so (tests.faults.identity.ORIGIN), or what the run leaves is taken for a stranger's.

This module needs the standard library only and works from outside of the namespaces, as root.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.faults import identity, loop, mounts, processes

TREE = Path(__file__).resolve().parents[2]

# Run in a mount namespace of its own.  A mount of the device is one more mount of the very file system that the kernel still
# has, frozen or not; where it has none, there is nothing to do, and the dead disk cannot be mounted.  First the thaw: an XFS
# that is shut down cannot be opened for it any more.
THAW = """
for type in xfs ext4; do
  for access in rw ro; do
    if mount -i -n -t $type -o $access "$1" /mnt 2>/dev/null; then
      fsfreeze --unfreeze /mnt; xfs_io -x -c shutdown /mnt; umount -n /mnt; exit
    fi
  done
done
"""


def found() -> dict[int, identity.Identity]:
    """Return the loop devices, by number, that earlier runs left."""
    ours = ((number, identity.parse(file)) for number, file in loop.backing_files().items())
    return {number: disk for number, disk in ours if disk is not None and disk.visible() and not disk.served()}


def remove() -> list[str]:
    """Remove what is left of earlier runs; return what could not be removed."""
    return [f"/dev/loop{number} ({disk.file})" for number, disk in found().items() if not release(number, disk)]


def release(number: int, disk: identity.Identity) -> bool:
    """Make everyone let go of a loop device that is dead; return whether it is free then, within about eight seconds.

    Processes that have it, or a file upon it, open are killed.
    """

    def free() -> bool:
        return (file := loop.backing_file(number)) is None or identity.parse(file) != disk

    if processes.wait_until(free, 0.5):
        return True
    for other in loop.above(number):
        with suppress(OSError):
            loop.detach(other)
    if kill_users(number, disk, within=0.5) and processes.wait_until(free, 0.5):
        return True
    processes.run("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", THAW, "thaw", loop.device_node(number),
                  within=3, check=False)  # fmt: skip
    if processes.wait_until(free, 1):
        return True
    return detach_everywhere(number) and processes.wait_until(free, 3)


def mounted(number: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the visible processes that see the device mounted, and where, as they see it."""
    for pid in processes.pids():
        yield pid, [mount.point for mount in mounts.mounts(pid) if mount.device == f"{loop.LOOP_MAJOR}:{number}"]


def users(number: int, disk: identity.Identity) -> list[int]:
    """Return the visible processes that have the device, or something upon it, open: not the caller, PID 1, server and keeper."""
    return [
        pid for pid, points in mounted(number)
        if pid not in (1, os.getpid()) and processes.name(pid) != disk.process and processes.uses(pid, [*points, f"/dev/loop{number}"])
    ]  # fmt: skip


def kill_users(number: int, disk: identity.Identity, within: float) -> bool:
    """Kill those who use the device and wait for their end; return whether there were any."""
    found = users(number, disk)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    processes.wait_until(lambda: not users(number, disk), within)
    return bool(found)


def detach_everywhere(number: int) -> bool:
    """Unmount the device in each visible mount namespace that has a process; return whether there was one."""
    done = set()
    for pid, points in mounted(number):
        with suppress(OSError):
            namespace = os.readlink(f"/proc/{pid}/ns/mnt"), os.readlink(f"/proc/{pid}/root")
            if points and namespace not in done:
                done.add(namespace)
                program = "from tests.faults import leftovers; leftovers.detach_in()"
                processes.run(sys.executable, "-c", program, str(pid), *reversed(points), within=2, check=False, cwd=TREE)
    return bool(done)


def detach_in() -> None:
    """Enter the mount namespace and the root of the process in argv, and detach the mount points in argv."""
    pid, *points = sys.argv[1:]
    namespace, root = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), os.open(f"/proc/{pid}/root", os.O_PATH)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.fchdir(root)
    os.chroot(".")
    for point in points:
        mounts.detach(point)


def main() -> int:
    before = found()
    for number, disk in before.items():
        print(f"an earlier run left /dev/loop{number}, its disk {disk.disk!r}", file=sys.stderr)
    left = remove()
    for name in left:
        print(f"{name} cannot be removed", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
