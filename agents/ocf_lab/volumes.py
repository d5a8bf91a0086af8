"""Logical volumes as the kernel has them: names, identifiers and states from sysfs, and direct reads in guarded children.

No LVM command and no device-mapper ioctl: both would have to be bounded, and a monitor needs neither.
"""

from __future__ import annotations

import errno
import mmap
import os
import time

from ocf_py import guard
from ocf_py.outcomes import Error

from . import block, probe, storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ocf_py.agent import Agent

VOLUME = "volume."  # In the instance's memory: device, dm uuid, dm name and kind of each LV that was verified at start.
PLAIN, SNAPSHOT = "plain", "snapshot"
REMOVAL_SECONDS = 1.0  # How long the kernel may take to remove a device.
NAME_CHARACTERS = "+_.-"
# Names that LVM gives to parts of its own (lvm(8), VALID NAMES).
RESERVED = ("snapshot", "pvmove")
# The LV on which sanlock has its lockspace: started by vgchange --lockstart, and passed over by lvchange (lib/locking/lvmlockd.c).
LOCKSPACE = "lvmlock"
# Parts of a volume that LVM keeps to itself have these in their names, which nobody else may use (lvm(8), VALID NAMES).
HIDDEN = ("_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta",
          "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig")  # fmt: skip
# Layers that stand for the whole volume: a thin or VDO pool's own device.
OWN_LAYERS = ("", "pool", "vpool")


def lvm_name(value: str) -> str | None:
    """Return what is wrong with a parameter that is a name of LVM (lvm(8), VALID NAMES), None where nothing is."""
    if "/" in value:
        return "has a slash: the volume group belongs in vgname, the volume in lvname"
    if value in (".", "..") or value.startswith("-") or not all(c.isascii() and (c.isalnum() or c in NAME_CHARACTERS) for c in value):
        return "is no name of LVM"
    return "is too long" if len(value) > 126 else None


def volume_name(value: str) -> str | None:
    if value == LOCKSPACE or value.startswith(RESERVED) or any(part in value for part in HIDDEN):
        return "is a hidden part of a volume, not a volume"
    return lvm_name(value)


def tag_name(value: str) -> str | None:
    return None if value and all(c.isascii() and (c.isalnum() or c in "_+.-/=!:&#") for c in value) else "is no tag of LVM"


class Volume:
    """A device of an LV.  `uuid` is device-mapper's: "LVM-", 32 characters of the VG, 32 of the LV, and perhaps "-" and a layer."""

    __slots__ = ("device", "kind", "lv", "name", "uuid", "vg")

    def __init__(self, device: str, uuid: str, name: str, kind: str = PLAIN) -> None:
        self.device, self.uuid, self.name, self.kind = device, uuid, name, kind
        self.vg, _, self.lv = block.logical_volume(name).partition("/")

    @property
    def vg_uuid(self) -> str:
        return self.uuid[4:36]

    @property
    def lv_uuid(self) -> str:
        return self.uuid[36:68]

    @property
    def hidden(self) -> bool:
        """Whether this is only a part of a volume: a snapshot's store, a leg of a RAID, a pool's data."""
        return self.uuid[69:] not in OWN_LAYERS or any(part in self.lv for part in HIDDEN)

    @property
    def path(self) -> str:
        return f"{self.vg}/{self.lv}"

    def present(self) -> bool:
        """Return whether the device of this number is still this volume."""
        return attribute(f"{block.SYS}/dev/block/{self.device}/dm/uuid") == self.uuid

    def held(self) -> bool:
        """Return whether another device stands on this one."""
        return bool(block.listing(f"{block.SYS}/dev/block/{self.device}/holders"))

    def encode(self) -> str:
        return "\t".join((self.device, self.uuid, self.name, self.kind))


class Device(probe.Place):
    """A block device to be read: its label and path are for the record, its device's number says the rest."""

    def where(self) -> str:
        return block.way_down(self.device) if os.path.exists(f"{block.SYS}/dev/block/{self.device}") else f"{self.label} {self.path}"


def attribute(path: str) -> str:
    """Return a sysfs attribute, "" where the device is gone.  Raises Error where that cannot be told."""
    until = time.monotonic() + REMOVAL_SECONDS
    while True:
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                return ""
            # So answers device-mapper while it removes the device (drivers/md/dm-sysfs.c, dm_attr_show).
            if error.errno != errno.EINVAL or time.monotonic() >= until:
                raise Error(f"cannot read {path}: {error.strerror}") from None
        time.sleep(0.02)


def scan() -> list[Volume]:
    """Return every device of every LV on this node, but those of lockspaces, which lvmlockd activates and gives back.

    Raises Error where that cannot be told: nothing seen is not nothing there.
    """
    try:
        names = sorted(os.listdir(f"{block.SYS}/block"))
    except OSError as error:
        raise Error(f"cannot read {block.SYS}/block: {error.strerror}") from None
    found = []
    for name in names:
        if name.startswith("dm-"):
            folder = f"{block.SYS}/block/{name}"
            uuid = attribute(f"{folder}/dm/uuid")
            if uuid.startswith("LVM-"):
                found.append(Volume(attribute(f"{folder}/dev"), uuid, attribute(f"{folder}/dm/name")))
    return [volume for volume in found if volume.device and volume.name and volume.lv != LOCKSPACE]


def is_snapshot(device: str) -> bool:
    """Return whether a volume is a thick snapshot: it stands on a copy-on-write store of its own (lib/activate/dev_manager.c, "cow").

    An origin into which a snapshot is being merged stands on that of the snapshot.
    """
    store = block.read(block.directory(device), "dm/uuid") + "-cow"
    return any(block.read(block.directory(lower), "dm/uuid") == store for lower in block.beneath(device))


def incomplete(device: str) -> bool:
    """Return whether a part of a volume is not there: LVM has put errors in its place (lib/activate/dev_manager.c, "missing")."""
    uuid = block.read(block.directory(device), "dm/uuid")
    return uuid[69:].startswith("missing_") or (uuid.startswith("LVM-") and any(incomplete(lower) for lower in block.beneath(device)))


def of_lvm(device: str) -> bool:
    return block.read(block.directory(device), "dm/uuid").startswith("LVM-")


def physical(device: str) -> set[str]:
    """Return the devices that a volume's parts lie on: multipath maps, disks, partitions; never the single paths of a map."""
    return {found for lower in block.beneath(device) for found in physical(lower)} if of_lvm(device) else {device}


def parts(device: str) -> Iterator[Volume]:
    """Yield what of LVM a volume stands on: a thin pool, what that is made of, the legs of a RAID."""
    for lower in filter(of_lvm, block.beneath(device)):
        folder = block.directory(lower)
        yield Volume(lower, attribute(f"{folder}/dm/uuid"), attribute(f"{folder}/dm/name"))
        yield from parts(lower)


class Volumes(storage.Devices):
    """The logical volumes of one resource: `lv` alone, or where that is "" all of the VG."""

    def __init__(self, agent: Agent, settings: storage.Settings, vg: str, lv: str) -> None:
        super().__init__(agent, settings)
        self.vg, self.lv = vg, lv

    # Finding.

    def ours(self, volume: Volume) -> bool:
        """Return whether a device belongs to this resource: with `lv` the volume itself, else everything of the VG.

        The VG is known by its name, and by the identifier of the last start: it may have been renamed, or made anew, since then.
        """
        name, _, known = self.agent.memory.get("vg").partition(" ")
        if volume.vg != self.vg and (name != self.vg or volume.vg_uuid != known):
            return False
        # A volume that the last start has verified may have been renamed since then, too.
        return not self.lv or (not volume.hidden and (volume.lv == self.lv or volume.uuid in self.known()))

    def verified(self) -> list[Volume]:
        return [Volume(*text.split("\t")) for _, text in sorted(self.agent.memory.section(VOLUME).items())]

    def known(self) -> set[str]:
        """Return what device-mapper identifies the volume by that the last start of this resource's `lv` has verified."""
        return {volume.uuid for volume in self.verified() if volume.lv == self.lv}

    def recorded(self) -> list[Volume]:
        """Return the volumes that the last start has verified."""
        return [volume for volume in self.verified() if self.ours(volume)]

    def here(self) -> list[Volume]:
        """Return all devices of this resource that are on this node.

        A thick snapshot that `lv` names is there whenever its origin is, and is none of this resource's: a start refuses it.
        """
        found = [volume for volume in scan() if self.ours(volume)]
        recorded = {volume.uuid for volume in self.recorded()} if self.lv else set()
        return [volume for volume in found if not self.lv or volume.uuid in recorded or not is_snapshot(volume.device)]

    def active(self) -> list[Volume]:
        """Return the recorded volumes; where one of them is not here, or not under its number, look at every device of the node."""
        recorded = self.recorded()
        if recorded and all(volume.present() for volume in recorded):
            return recorded
        return [volume for volume in self.here() if not volume.hidden]

    def remember(self, volumes: Iterable[Volume], **facts: str | None) -> None:
        """Note what was verified.  Raises CannotRecord."""
        old: dict[str, str | None] = dict.fromkeys(name for name in self.agent.memory if name.startswith(VOLUME))
        new: dict[str, str | None] = {f"{VOLUME}{n:04}": volume.encode() for n, volume in enumerate(volumes)}
        self.agent.memory.update(**{**old, **new, **facts})

    # Watching.

    def devices(self) -> list[str]:
        return list(dict.fromkeys(volume.device for volume in self.active()))

    def children(self) -> list[guard.Child]:
        """Return the children at work on these volumes or beneath them, and commands; a start has read other disks too."""
        reach = {*self.devices(), *(lower for volume in self.active() for lower in physical(volume.device))}
        return [child for child in super().children() if child.facts.get("device", "") in ("", *reach)]

    def await_readers(self) -> str:
        """End the reads of this resource's monitors that are unanswered: they keep the volumes open.

        Slow storage is waited for until its silence is a hang; returns that, or "".
        """
        own, wait = os.path.basename(self.agent.guards.folder), self.agent.deadline.part(0.5)
        while wait.left() and (left := [one for one in self.children() if one.instance == own and one.facts.get("device")]):
            for child in left:
                child.end()
            if stuck := self.stuck():
                return stuck
            time.sleep(0.05)
        return ""

    def probes(self, volumes: Iterable[Volume]) -> list[DeviceProbe]:
        limits = self.limits()
        return [DeviceProbe(Device("LV", volume.path, volume.device), limits) for volume in volumes]

    def probes_beneath(self, volumes: Iterable[Volume]) -> list[DeviceProbe]:
        limits = self.limits()
        found = sorted({lower for volume in volumes for lower in physical(volume.device)})
        return [DeviceProbe(Device("PV", block.name(device), device), limits) for device in found]


class DeviceProbe(probe.Watched):
    """A direct read of a block device, in a guarded child; `function` is what the child does with the open device."""

    def __init__(self, place: Device, limits: probe.Limits, function: Callable[[int, str], dict[str, Any]] | None = None) -> None:
        kernel = os.path.basename(block.directory(place.device)).replace("!", "/")
        super().__init__(place, limits, read, kernel, place.device, function)


# What follows runs in the guarded child.


def read(kernel: str, device: str, function: Callable[[int, str], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Read the first and the last block of a device past the page cache, and return the seconds of the slower read.

    The kernel's own device node is opened: the links of LVM and udev may be missing or stale.  Raises OSError.
    """
    guard.step(probe.READ)
    began = time.monotonic()
    try:
        descriptor = os.open(f"/dev/{kernel}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None
    try:
        if block.number(os.fstat(descriptor).st_rdev) != device:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), probe.READ)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        try:
            for offset in sorted({0, max(0, size // probe.SIZE - 1) * probe.SIZE}):
                if not os.preadv(descriptor, [mmap.mmap(-1, probe.SIZE)], offset):
                    raise OSError(errno.EIO, "nothing to read")
        except OSError as error:
            raise OSError(error.errno, error.strerror, probe.READ) from None
        taken = {probe.READ: time.monotonic() - began}
        return {**taken, **function(descriptor, kernel)} if function else taken
    finally:
        os.close(descriptor)
