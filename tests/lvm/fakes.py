"""What stands in for device-mapper and LVM where the kernel has neither: see fake.py."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

from tests.faults.disk import FaultDisk
from tests.lvm import fake
from tests.lvm.stack import run

TOOLS = Path("/usr/local/sbin")
SHOWN = ("block", "class/block", "dev/block")
LOOPS = 256
NUMBERS = itertools.count()


def install() -> None:
    """Put the stand-ins where the agent finds them, and a tree over the parts of /sys that name block devices."""
    fake.STATE.mkdir(exist_ok=True)
    (fake.STATE / "state.json").write_text(json.dumps({"disks": [], "groups": {}}))
    for name in SHOWN:
        (fake.SYS / name).mkdir(parents=True)
    for number in range(LOOPS):
        real = f"/sys/devices/virtual/block/loop{number}"
        (fake.SYS / "block" / f"loop{number}").symlink_to(real)
        (fake.SYS / "dev/block" / f"7:{number}").symlink_to(real)
    for name in SHOWN:
        run("mount", "--bind", str(fake.SYS / name), f"/sys/{name}")
    for name in fake.NAMES:
        shutil.copy(fake.__file__, TOOLS / name)


def uninstall() -> None:
    for name in SHOWN:
        run("umount", f"/sys/{name}")
    for name in fake.NAMES:
        (TOOLS / name).unlink()
    shutil.rmtree(fake.STATE)


class FakeDisk:
    """A disk with faults on request, as tests.lvm.stack.Disk has them."""

    def __init__(self) -> None:
        self.disk = FaultDisk(f"lvm{os.getpid()}-{next(NUMBERS)}", 96)
        self.path, self.number = self.disk.device, self.disk.number
        self.plug()

    def plug(self) -> None:
        with fake.state() as found:
            found["disks"].append(self.path)
        name = os.path.basename(self.path)
        (fake.SYS / "class/block" / name).symlink_to(f"/sys/devices/virtual/block/{name}")

    def pull(self) -> None:
        with fake.state() as found:
            found["disks"].remove(self.path)
        (fake.SYS / "class/block" / os.path.basename(self.path)).unlink()

    def fail(self) -> None:
        self.disk.fail()

    def hang(self) -> None:
        self.disk.hang()

    def slow(self, milliseconds: int) -> None:
        self.disk.slow(reads=milliseconds / 1000)

    def heal(self) -> None:
        self.disk.heal()

    def close(self) -> None:
        self.heal()
        if (fake.SYS / "class/block" / os.path.basename(self.path)).is_symlink():
            self.pull()
        # What a killed command has made and not shown.
        for loop in run("losetup", "--noheadings", "--output", "NAME", "--associated", self.path).split():
            run("losetup", "--detach", loop)
        self.disk.close()
