"""Which block devices LVM is to see: those that may be physical volumes and answer.

An LVM command reads every device that could be a PV, and waits without limit for one that does not answer (lib/device/bcache.c).  So
they are read first, side by side, in guarded children.  What the label says is taken from the same reads.
"""

from __future__ import annotations

import errno
import mmap
import os
import re

from ocf_py.outcomes import Error

from . import block, probe, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from ocf_py.deadline import Deadline
    from ocf_py.guard import Guards

DEVICES = "/etc/lvm/devices"
PATIENCE_SECONDS = 3.0  # After that LVM is asked with what has answered; the silent ones go on being waited for.
NEVER = ("ram", "zram", "sr", "fd", "mtdblock")
# What a device answers that holds nothing for this node: a drive without a disk, the secondary of a DRBD.
EMPTY = (errno.ENOMEDIUM, errno.EMEDIUMTYPE)

# The on-disk format (lib/format_text/layout.h, lib/label/label.h): a label in one of the first four sectors, in it the PV's
# identifier, its data areas and its metadata areas; at the start of a metadata area where the current text lies, which begins with
# the name of the VG.
SECTOR, LABEL_AT, PV_HEADER = 512, 24, 32
MAGIC, TYPE = b"LABELONE", b"LVM2 001"
AREA_MAGIC = b" LVM2 x[5A%r0N*>"


class Candidate:
    """A block device that may be a PV: its kernel name, and what its label says once it has been read.

    `holders` are the VGs that have active volumes on it, by the kernel's word.
    """

    __slots__ = ("device", "holders", "kernel", "pv_uuid", "trouble", "vg", "vg_uuid")

    def __init__(self, device: str, kernel: str, holders: Collection[str] = ()) -> None:
        self.device, self.kernel, self.holders = device, kernel, holders
        self.pv_uuid = self.vg = self.vg_uuid = ""
        self.trouble: probe.Trouble | None = None

    @property
    def path(self) -> str:
        return block.node(self.device)


def find() -> list[Candidate]:
    """Return the block devices that may be PVs: neither LVs nor parts of something else, and not without a size."""
    found = []
    for name in block.listing(f"{block.SYS}/class/block"):
        device = block.read(block.SYS, "class/block", name, "dev")
        folder = block.directory(device)
        if not device or name.startswith(NEVER) or block.read(folder, "size") in ("", "0"):
            continue
        uuid = block.read(folder, "dm/uuid")
        holders = [f"{folder}/holders/{holder}/dm" for holder in block.listing(f"{folder}/holders")]
        if not uuid.startswith("LVM-") and not part_of_another(folder, holders):
            groups = {block.logical_volume(block.read(holder, "name")).partition("/")[0] for holder in holders}
            found.append(Candidate(device, name.replace("!", "/"), groups))
    return found


def part_of_another(folder: str, holders: list[str]) -> bool:
    """Return whether a device is a path of a map, a member of an array, or a disk with partitions: nothing that LVM may use itself."""
    if not all(block.read(holder, "uuid").startswith("LVM-") for holder in holders):
        return True
    return any(os.path.exists(f"{folder}/{name}/partition") for name in block.listing(folder))


def examine(found: list[Candidate], limits: probe.Limits, guards: Guards, within: Deadline) -> None:
    """Read all candidates side by side, and note in each what it said or what is the trouble."""
    probes = [volumes.DeviceProbe(volumes.Device("disk", f"/dev/{one.kernel}", one.device), limits, label) for one in found]
    guards.run(*probes, deadline=within)
    for one, looked in zip(found, probes):
        trouble = looked.trouble()
        if looked.error is None:
            one.pv_uuid, one.vg, one.vg_uuid = (looked.value.get(name, "") for name in ("pv_uuid", "vg", "vg_uuid"))
        elif not isinstance(looked.error, OSError) or looked.error.errno not in EMPTY:
            one.trouble = trouble


class Seen:
    """What a look at the candidates has brought: `answered`, and `troubled` with a trouble each, the silent ones first."""

    __slots__ = ("answered", "troubled")

    def __init__(self, found: list[Candidate]) -> None:
        self.answered = [one for one in found if not one.trouble]
        self.troubled = sorted((one for one in found if one.trouble), key=lambda one: isinstance(one.trouble, probe.StorageError))

    @property
    def pvs(self) -> list[Candidate]:
        return [one for one in self.answered if one.pv_uuid]

    def silent(self, vg: str) -> probe.Trouble | None:
        """Return the trouble of a disk that may be one of a VG and does not answer, not even with an error; None where all do."""
        return next((trouble for trouble in self.troubles(vg) if not isinstance(trouble, probe.StorageError)), None)

    def lost(self, vg: str) -> bool:
        """Return whether disks that may be those of a VG answer with errors, and none of them is silent."""
        return bool(self.troubles(vg)) and not self.silent(vg)

    def troubles(self, vg: str) -> list[probe.Trouble]:
        """Return the troubles of disks that may be of a VG: of all but those on which the kernel has volumes of others only."""
        return [one.trouble for one in self.troubled if one.trouble and (not one.holders or vg in one.holders)]

    def of(self, vg: str) -> list[Candidate]:
        return [one for one in self.answered if one.vg == vg]

    def narrowing(self, listed: Collection[str] | None, trusted: Collection[str] = ()) -> list[str]:
        """Return the options that let LVM see only what has answered: they override its filters and its devices file, `listed`.

        `trusted` are devices that have answered a moment ago, and are not to be hidden for being slow now.
        """
        allowed = [one.path for one in self.pvs if listed is None or one.pv_uuid in listed]
        allowed += [one.path for one in self.troubled if one.device in trusted and one.trouble and one.trouble.unanswered]
        # An empty list would mean all devices.
        return ["--devices", ",".join(allowed) or "/dev/null"]

    def trouble(self, vg: str) -> str:
        """Return the first of the troubles of disks that may be of a VG, and how many more there are; "" where there is none."""
        found = self.troubles(vg)
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return f"{found[0]}{more}" if found else ""


def devices_file(settings: Mapping[str, str]) -> set[str] | None:
    """Return the identifiers of the PVs in the devices file that LVM goes by (lvmdevices(8)), None where it goes by none."""
    path = f"{DEVICES}/{settings.get('devicesfile') or 'system.devices'}"
    if settings.get("use_devicesfile", "1") != "1":
        return None
    try:
        with open(path) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Error(f"cannot read {path}: {error.strerror}") from None
    fields = [dict(word.partition("=")[::2] for word in line.split()) for line in lines if line.startswith("IDTYPE=")]
    return {entry.get("PVID", "") for entry in fields}


# What follows runs in the guarded child.


def label(descriptor: int, kernel: str) -> dict[str, Any]:
    """Return the PV's identifier and the name and identifier of its VG, empty where the device has no label."""
    found = {"pv_uuid": "", "vg": "", "vg_uuid": ""}
    start = at(descriptor, 0, 4 * SECTOR)
    for sector in range(0, 4 * SECTOR, SECTOR):
        if start[sector : sector + 8] == MAGIC and start[sector + LABEL_AT : sector + LABEL_AT + 8] == TYPE:
            header = sector + int.from_bytes(start[sector + 20 : sector + 24], "little")
            found["pv_uuid"] = start[header : header + 32].decode("ascii", "replace")
            area = metadata_area(start, header)
            found["vg"], found["vg_uuid"] = vg_name(descriptor, area) if area else ("", "")
            break
    return found


def metadata_area(start: bytes, header: int) -> int:
    """Return where the first metadata area is, 0 where there is none: it follows the list of data areas, which zeros end."""
    position = header + 40
    while int.from_bytes(start[position : position + 8], "little"):
        position += 16
    return int.from_bytes(start[position + 16 : position + 24], "little")


def vg_name(descriptor: int, area: int) -> tuple[str, str]:
    """Return the name and the identifier with which the current metadata begin, "" where there is no VG."""
    header = at(descriptor, area, SECTOR)
    if header[4:20] != AREA_MAGIC:
        return "", ""
    offset = int.from_bytes(header[40:48], "little")
    if not offset:
        return "", ""
    name, _, rest = at(descriptor, area + offset, SECTOR).decode("ascii", "replace").partition(" {")
    identifier = re.match(r'\s*id = "([^"]*)"', rest)
    return name, identifier[1] if identifier else ""


def at(descriptor: int, offset: int, length: int) -> bytes:
    """Read past the page cache: whole blocks, of which the asked part is returned."""
    buffer = mmap.mmap(-1, 2 * probe.SIZE)
    first = offset // probe.SIZE * probe.SIZE
    os.preadv(descriptor, [buffer], first)
    return buffer[offset - first : offset - first + length]
