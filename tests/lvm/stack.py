"""Volume groups on disks that fail on request: files, loop devices, and between those and LVM a device-mapper device.

A table of another kind makes the disk fail (`error`), fail now and then (`flakey`) or be slow (`delay`); suspended, it hangs.  A Map is
a real multipath map of the lab's SAN.  Where the kernel has no device-mapper, tests.lvm.fakes takes the disks' place.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

DIRECTORY = Path("/var/tmp/ocf-lab-lvm")
MEGABYTES = 96
OWN = os.uname().nodename
OTHER = "another-node"
NUMBERS = itertools.count()
# The last word of multipath's configuration.
POLICY = Path("/etc/multipath/conf.d/zz-lvm-tests.conf")
MAPPER = os.path.exists("/dev/mapper/control")


def run(*words: str, check: bool = True, within: float = 120.0) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=within)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def fakes() -> Any:
    from tests.lvm import fakes as module

    return module


class Disk:
    """One disk: /dev/mapper/NAME on a loop device on a file."""

    def __init__(self, megabytes: int = MEGABYTES) -> None:
        self.name = f"lvmtest{os.getpid()}-{next(NUMBERS)}"
        DIRECTORY.mkdir(exist_ok=True)
        self.file = DIRECTORY / self.name
        with open(self.file, "wb") as file:
            file.truncate(megabytes << 20)
        self.loop = run("losetup", "--find", "--show", "--direct-io=on", str(self.file))
        # Not from the loop device's start, or LVM would find the label there too.
        self.sectors = (megabytes - 1) << 11
        self.linear = f"0 {self.sectors} linear {self.loop} 2048"
        self.path = f"/dev/mapper/{self.name}"
        self.plug()
        self.healthy = True
        self.number = run("dmsetup", "info", "-c", "--noheadings", "--separator", ":", "-o", "major,minor", self.name)

    def table(self, table: str) -> None:
        self.healthy = table == self.linear
        run("dmsetup", "load", self.name, "--table", table)
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self.name)
        run("dmsetup", "resume", self.name)

    def fail(self) -> None:
        self.table(f"0 {self.sectors} error")

    def flakey(self, up: int, down: int) -> None:
        self.table(f"0 {self.sectors} flakey {self.loop} 2048 {up} {down}")

    def slow(self, milliseconds: int) -> None:
        self.table(f"0 {self.sectors} delay {self.loop} 2048 {milliseconds}")

    def hang(self) -> None:
        self.healthy = False
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self.name)

    def heal(self) -> None:
        if not self.healthy:
            run("dmsetup", "resume", self.name, check=False)
            self.table(self.linear)

    def pull(self) -> None:
        """Take the disk away as a whole; nothing may be active on it."""
        run("dmsetup", "remove", "--retry", self.name)

    def plug(self) -> None:
        run("dmsetup", "create", self.name, "--table", self.linear)

    def close(self) -> None:
        with suppress(AssertionError):
            self.heal()
        run("dmsetup", "remove", "--retry", self.name, check=False)
        run("losetup", "--detach", self.loop, check=False)
        self.file.unlink(missing_ok=True)


class Map:
    """A multipath map of the lab's SAN, whose paths can be lost."""

    def __init__(self, name: str) -> None:
        self.name, self.path = name, f"/dev/mapper/{name}"
        self.kernel = Path(self.path).resolve().name
        self.paths = self.found()
        run("wipefs", "--all", "--quiet", self.path)

    def found(self) -> list[str]:
        return sorted(os.listdir(f"/sys/block/{self.kernel}/slaves"))

    def state(self, state: str, *paths: str) -> None:
        for path in paths or self.paths:
            Path(f"/sys/block/{path}/device/state").write_text(f"{state}\n")

    def queue(self) -> None:
        """Queue what comes when all paths are lost."""
        POLICY.write_text('overrides {\n    no_path_retry "queue"\n}\n')
        run("multipathd", "reconfigure")
        await_true("the map queues", lambda: "queue_if_no_path" in run("dmsetup", "table", self.name), 60)
        run("udevadm", "settle")

    def remove(self) -> None:
        """Take the paths away, as the end of their sessions does."""
        for path in self.paths:
            Path(f"/sys/block/{path}/device/delete").write_text("1\n")
        await_true("the map has no path", lambda: not self.found(), 60)

    def heal(self) -> None:
        if not self.found():
            run("iscsiadm", "--mode", "session", "--rescan")
            await_true("the map has its paths again", lambda: len(self.found()) == len(self.paths), 60)
            self.paths = self.found()
        self.state("running")
        for path in self.paths:
            run("multipathd", "reinstate", "path", path, check=False)
        if POLICY.exists():
            POLICY.unlink()
            run("multipathd", "reconfigure", check=False)

    def close(self) -> None:
        self.heal()
        run("wipefs", "--all", "--quiet", self.path, check=False)


VOLUME = """\
{name} {{
id = "{id}"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 {{
start_extent = 0
extent_count = 1
type = "striped"
stripe_count = 1
stripes = ["pv0", {extent}]
}}
}}
"""


def identifier(number: int) -> str:
    text = f"{number:032}"
    return "-".join((text[:6], *(text[n : n + 4] for n in range(6, 26, 4)), text[26:]))


class Group:
    """A volume group of its own disks."""

    def __init__(self, name: str, disks: int = 1, lvs: Sequence[str] = ("a", "b"), map: Map | None = None) -> None:
        self.name, self.map = name, map
        self.disks: list[Any] = [] if map else [(Disk if MAPPER else fakes().FakeDisk)() for _ in range(disks)]
        self.mounts: list[Path] = []
        # Or udev would activate it whenever a disk comes back.
        run("vgcreate", "--setautoactivation", "n", "--systemid", OWN, name, *(disk.path for disk in self.everything))
        for lv in lvs:
            self.make(lv)

    @property
    def everything(self) -> list[Any]:
        return [self.map] if self.map else self.disks

    @property
    def disk(self) -> Any:
        return self.disks[0]

    def make(self, lv: str, *words: str) -> None:
        """Make a volume: a linear one, which is not active then, unless words of lvcreate say otherwise."""
        run("lvcreate", "-y", "-Wn", "-n", lv, *(words or ("-an", "-Zn", "-L", "8M")), self.name)

    def make_many(self, names: Sequence[str]) -> None:
        """Make volumes of one extent each in an empty group of one disk: all at once, by its metadata."""
        run("vgchange", "--physicalextentsize", "512k", self.name)
        told = "".join(VOLUME.format(name=name, id=identifier(number), extent=number) for number, name in enumerate(names))
        self.rewrite("\n}\n", f"\nlogical_volumes {{\n{told}}}\n}}\n")

    def lock(self, kind: str) -> None:
        """Give the group a lock type; no lock manager is asked."""
        self.rewrite(f'system_id = "{OWN}"', f'lock_type = "{kind}"\nlock_args = "1.0.0:lab"')

    def rewrite(self, old: str, new: str) -> None:
        """Replace the last occurrence of something in the group's metadata."""
        file = DIRECTORY / f"{self.name}.metadata"
        run("vgcfgbackup", "--file", str(file), self.name)
        before, found, after = file.read_text().rpartition(old)
        assert found
        file.write_text(before + new + after)
        run("vgcfgrestore", "--file", str(file), self.name)
        file.unlink()

    def activate(self, lv: str = "") -> None:
        run("lvchange", "-ay", f"{self.name}/{lv}" if lv else self.name)

    def deactivate(self) -> None:
        run("vgchange", "-an", self.name)

    def give_away(self) -> None:
        """Let another node own the group: it cannot know what is active here, and LVM does not look either."""
        run("vgchange", "-y", "--driverloaded", "n", "--systemid", OTHER, self.name)

    @property
    def owner(self) -> str:
        return run("vgs", "--foreign", "--noheadings", "-o", "vg_systemid", self.name)

    @property
    def active(self) -> set[str]:
        """Return the names of the volumes that the kernel has."""
        prefix = self.name.replace("-", "--") + "-"
        listed = [line.split("\t")[0] for line in run("dmsetup", "ls").splitlines()]
        return {name[len(prefix) :].replace("--", "-") for name in listed if name.startswith(prefix) and name[len(prefix)] != "-"}

    def mapped(self, lv: str) -> str:
        """Return device-mapper's name of a volume."""
        return f"{self.name.replace('-', '--')}-{lv.replace('-', '--')}"

    def mount(self, lv: str) -> Path:
        place = DIRECTORY / f"mnt-{self.name}-{lv}"
        place.mkdir(parents=True, exist_ok=True)
        run("mkfs.ext4", "-q", f"/dev/{self.name}/{lv}")
        # What ext4 reads ahead in the background fails at once on a suspended device, and would be counted as completed.
        run("mount", "-o", "noinit_itable,no_prefetch_block_bitmaps", f"/dev/{self.name}/{lv}", str(place))
        self.mounts.append(place)
        return place

    def close(self) -> None:
        for disk in self.everything:
            with suppress(AssertionError):
                disk.heal()
        for place in self.mounts:
            run("umount", str(place), check=False)
        for name in [line.split("\t")[0] for line in run("dmsetup", "ls").splitlines()]:
            if name.startswith(self.name.replace("-", "--") + "-"):
                run("dmsetup", "resume", name, check=False)
        for _ in range(3):
            for name in [line.split("\t")[0] for line in run("dmsetup", "ls").splitlines()]:
                if name.startswith(self.name.replace("-", "--") + "-"):
                    run("dmsetup", "remove", "--retry", name, check=False)
        for disk in self.everything:
            disk.close()


def await_true(what: str, ready: object, seconds: float = 20.0) -> None:
    assert callable(ready)
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, f"{what} still not so after {seconds:.0f} s"
        time.sleep(0.1)
