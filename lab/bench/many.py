"""Machines that have much of something: mounts, devices of device-mapper."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MS_BIND, MNT_DETACH = 4096, 2
UDEV = ("systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-udevd.service")
GROUP = "elsewhere"
SECONDS = 300.0


@contextmanager
def mounted(count: int) -> Iterator[None]:
    """Mount a directory at so many places, of this mount namespace alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    places = [f"/tmp/mounts/{number}" for number in range(count)]
    os.makedirs("/tmp/mounted", exist_ok=True)
    try:
        for place in places:
            os.makedirs(place, exist_ok=True)
            if libc.mount(b"/tmp/mounted", place.encode(), None, MS_BIND, None):
                raise OSError(ctypes.get_errno(), "cannot mount", place)
        yield
    finally:
        for place in places:
            libc.umount2(place.encode(), MNT_DETACH)


@contextmanager
def mapped(count: int) -> Iterator[None]:
    """Make devices, as of another volume group's volumes, until the machine has so many of device-mapper's.

    udev hears nothing of them: their disks are made of zeros, and there is nothing to find out.
    """
    try:
        with unheard():
            dmsetup("create", "--concise", text=";".join(devices(count - len(maps()))))
        yield
    finally:
        with unheard():
            dmsetup("remove", "--noudevsync", *(name for name in maps() if name.startswith(f"{GROUP}-")))


def devices(count: int) -> list[str]:
    """Return so many devices of 8 MiB, as dmsetup reads them: name, uuid, minor, flags, table (dmsetup(8), CONCISE FORMAT)."""
    return [f"{GROUP}-lv{number:04},LVM-{GROUP:x<32}{number:032},,rw,0 16384 zero" for number in range(count)]


def maps() -> list[str]:
    """Return the names of all devices of device-mapper."""
    return [path.read_text().strip() for path in Path("/sys/block").glob("dm-*/dm/name")]


@contextmanager
def unheard() -> Iterator[None]:
    """Keep udev from what happens in the block."""
    subprocess.run(["systemctl", "stop", *UDEV], check=True, timeout=SECONDS)
    try:
        yield
    finally:
        subprocess.run(["systemctl", "start", *UDEV], check=True, timeout=SECONDS)


def dmsetup(*words: str, text: str = "") -> None:
    subprocess.run(["dmsetup", *words], input=text, text=True, check=True, capture_output=True, timeout=SECONDS)
