"""Block devices as sysfs describes them: no fork, no ioctl, no I/O on the device (kernel Documentation/ABI, sysfs-block and
sysfs-block-dm).

A device is known by its number, "major:minor", as the kernel writes it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SYS = "/sys"
DEFAULT_IO_TIMEOUT = 20.0
ISCSI_MARGIN = 5.0
DEFAULT_POLLING_INTERVAL = 5.0  # multipath.conf(5), polling_interval
# States of a SCSI path to which nothing is sent any more (drivers/scsi/scsi_sysfs.c, sdev_states).
GIVEN_UP = ("cancel", "deleted", "offline", "transport-offline")
BLOCKED = "blocked"


def number(st_dev: int) -> str:
    return f"{os.major(st_dev)}:{os.minor(st_dev)}"


def read(*parts: str) -> str:
    """Return a sysfs attribute, "" where there is none."""
    try:
        with open("/".join(parts)) as file:
            return file.read().strip()
    except OSError:
        return ""


def listing(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


class Counters:
    """Completed I/O of a device since boot, by direction, and what is in flight (Documentation/block/stat.rst)."""

    __slots__ = ("flushes", "in_flight", "reads", "writes")

    def __init__(self, reads: int, writes: int, flushes: int, in_flight: int) -> None:
        self.reads, self.writes, self.flushes, self.in_flight = reads, writes, flushes, in_flight


def counters(device: str) -> Counters | None:
    """Return a device's counters, None where the number is not that of a block device (a btrfs volume has none)."""
    fields = read(SYS, "dev/block", device, "stat").split()
    if len(fields) < 11:
        return None
    return Counters(int(fields[0]), int(fields[4]), int(fields[15]) if len(fields) > 16 else 0, int(fields[8]))


def directory(device: str) -> str:
    """Return the device's directory in sysfs."""
    return os.path.realpath(f"{SYS}/dev/block/{device}")


def beneath(device: str) -> list[str]:
    """Return the devices that this one stands on directly."""
    folder = directory(device)
    if os.path.exists(f"{folder}/partition"):
        whole = read(os.path.dirname(folder), "dev")
        return [whole] if whole else []
    return [found for slave in listing(f"{folder}/slaves") if (found := read(folder, "slaves", slave, "dev"))]


def leaves(device: str) -> Iterator[str]:
    """Yield the devices at the bottom: single paths, disks."""
    under = beneath(device)
    if not under:
        yield device
    for lower in under:
        yield from leaves(lower)


def logical_volume(dm_name: str) -> str:
    """Return "vg/lv" for a device-mapper name, in which the hyphens of a VG or LV name are doubled."""
    vg, hyphen, lv = dm_name.replace("--", "\0").partition("-")
    return f"{vg}/{lv}".replace("\0", "-") if hyphen else dm_name


def name(device: str) -> str:
    """Return what an administrator calls the device: the kernel's name, and the volume's or map's."""
    folder = directory(device)
    kernel = os.path.basename(folder)
    mapped, uuid = read(folder, "dm/name"), read(folder, "dm/uuid")
    state = " suspended" if suspended(device) else ""
    if uuid.startswith("LVM-"):
        return f"{kernel} LV {logical_volume(mapped)}{state}"
    if is_map(device):
        return f"{kernel} multipath {mapped}{state}"
    if mapped:
        return f"{kernel} {mapped}{state}"
    return kernel if os.path.exists(folder) else f"device {device}"


def node(device: str) -> str:
    """Return the path of a device's node: LVM knows mapped devices by their names."""
    folder = directory(device)
    mapped = read(folder, "dm/name")
    return f"/dev/mapper/{mapped}" if mapped else f"/dev/{os.path.basename(folder).replace('!', '/')}"


def is_map(device: str) -> bool:
    """Return whether a device is a multipath map."""
    return read(directory(device), "dm/uuid").startswith("mpath-")


def suspended(device: str) -> bool:
    """Return whether device-mapper holds back the I/O of a device, until it is resumed."""
    return read(directory(device), "dm/suspended") == "1"


def path_state(device: str) -> str:
    """Return the SCSI state of a path ("running", "offline", "transport-offline"), "" for a device that has none."""
    return read(directory(device), "device/state")


def way_down(device: str) -> str:
    """Return the stack under a file system in words: "dm-3 LV vg/lv on dm-1 multipath mpatha on sdb running, sdc offline"."""
    under = beneath(device)
    if not under:
        state = "without a path" if is_map(device) else path_state(device)
        return f"{name(device)} {state}".strip()
    if all(not beneath(lower) for lower in under):
        return f"{name(device)} on {', '.join(way_down(lower) for lower in under)}"
    return f"{name(device)} on {'; '.join(way_down(lower) for lower in under)}"


def serials(device: str) -> str:
    """Return by what the disks at the bottom are known to their storage ("sdb naa.6001405..., sdc naa.6001405..."), "" where nothing tells.

    The kernel keeps it from when it found the disk (SCSI: page 83 of the vital product data): none is asked.
    """
    told = {name(leaf): read(directory(leaf), "device/wwid") or read(directory(leaf), "wwid") for leaf in leaves(device)}
    return ", ".join(f"{disk} {' '.join(serial.split())}" for disk, serial in told.items() if serial)


def cut(device: str, silent: float) -> bool:
    """Return whether the way down is provably cut, by now that an I/O is unanswered for `silent` seconds.

    It ends in SCSI paths that are all given up, or in a multipath map that has none. A "blocked" path is one for which its transport
    still waits (drivers/scsi/scsi_transport_iscsi.c): for so long as iSCSI would let it, the silence has to last too.
    """
    return all(is_map(leaf) or given_up(leaf, silent) for leaf in leaves(device))


def given_up(path: str, silent: float) -> bool:
    state = path_state(path)
    if state != BLOCKED:
        return state in GIVEN_UP
    recovery = read(SYS, "class/iscsi_session", iscsi_session(path), "recovery_tmo")
    return recovery.isdigit() and silent >= int(recovery)


def in_flight(device: str) -> int:
    """Return the number of I/Os in flight on the device and all beneath it."""
    here = counters(device)
    return (here.in_flight if here else 0) + sum(in_flight(lower) for lower in beneath(device))


def iscsi_session(path: str) -> str:
    """Return the name of the iSCSI session that a path belongs to, "" where it belongs to none."""
    place = os.path.realpath(f"{directory(path)}/device").split("/")
    return next((part for part in place if part.startswith("session") and part[7:].isdigit()), "")


def iscsi_recovery(device: str) -> float | None:
    """Return after how many seconds at most a lost path of this device fails its I/O, None where that cannot be read.

    A NOP that is not answered (sent every recv_tmo seconds, given ping_tmo) drops the connection; recovery_tmo later the
    session's I/O fails and multipath takes another path (open-iscsi README, 8.1 and 8.2).
    """
    longest: float | None = None
    for leaf in leaves(device):
        session = iscsi_session(leaf)
        if not session:
            continue
        connection = f"connection{session[7:]}:0"
        parts = [read(SYS, "class/iscsi_connection", connection, "recv_tmo"), read(SYS, "class/iscsi_connection", connection, "ping_tmo"),
                 read(SYS, "class/iscsi_session", session, "recovery_tmo")]  # fmt: skip
        if all(part.isdigit() for part in parts):
            longest = max(longest or 0.0, float(sum(map(int, parts))))
    return longest


def maps(device: str) -> Iterator[str]:
    """Yield the kernel names of the multipath maps in the way down."""
    folder = directory(device)
    if is_map(device):
        yield os.path.basename(folder)
    for lower in beneath(device):
        yield from maps(lower)


def queueing_time(maps_shown: str, config_shown: str, wanted: set[str]) -> float:
    """Return the seconds for which the wanted maps queue I/O when all their paths are lost.

    `maps_shown` is the output of `multipathd show maps raw format "%d %Q"`, `config_shown` that of `multipathd show config
    local`.  A numeric no_path_retry is shown as "12 chk" (multipath-tools libmultipath/print.c, snprint_queueing) and lasts that
    many polling intervals (discovery.c).  Queueing for ever counts as 0: waiting for its end has no end.
    """
    words = config_shown.split()
    interval = DEFAULT_POLLING_INTERVAL
    if "polling_interval" in words[:-1]:
        text = words[words.index("polling_interval") + 1].strip('"')
        interval = float(text) if text.isdigit() else interval
    longest = 0.0
    for line in maps_shown.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] in wanted and fields[2] == "chk" and fields[1].isdigit():
            longest = max(longest, int(fields[1]) * interval)
    return longest


def automatic_io_timeout(device: str, queueing: float) -> float:
    """Return how long I/O may be unanswered before the storage counts as hung: what losing the path in use can take, and some."""
    recovery = iscsi_recovery(device)
    return DEFAULT_IO_TIMEOUT if recovery is None else recovery + ISCSI_MARGIN + queueing
