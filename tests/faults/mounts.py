"""What is mounted where, from /proc/self/mountinfo, and umount2(2).  Nothing here touches a file system that is mounted."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo, proc(5): device as "major:minor", mount point, type, options of the mount."""

    device: str
    point: str
    type: str
    options: str


def mounts(pid: int | str = "self") -> list[Mount]:
    """Return the mounts that a process sees, in their order; none for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [parsed(line) for line in lines]


def parsed(line: str) -> Mount:
    words, _, rest = line.partition(" - ")
    _, _, device, _, point, options, *_ = words.split(" ")
    return Mount(device, unescaped(point), rest.split(" ")[0], options)


def unescaped(text: str) -> str:
    """Undo mountinfo's octal escapes of blanks, tabs, newlines and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def detach(point: str) -> None:
    """Take a mount out of this namespace, whoever still uses it.  Raises OSError."""
    if libc.umount2(os.fsencode(point), MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), point)
