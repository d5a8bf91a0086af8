#!/usr/bin/python3 -I
"""LVM and dmsetup for a kernel without device-mapper: what tests/lvm needs of them, over loop devices and a tree laid out like sysfs.

Installed under the names of the commands it stands for.  A logical volume is a loop device on a part of its disk, so that reads of it
hang, fail and are counted as the disk's are; /sys/block shows it as device-mapper would.  Where the real ones are known to be unpleasant
so is this: a command reads every disk first, waits for one that does not answer, and answers 5 where it cannot do what it is
asked.  The same tests run against the real ones on a node of the lab (tests/lvm/conftest.py).
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = Path("/run/fake-lvm")
SYS = STATE / "sys"
LOCKS = Path("/run/lock/lvm")
OWN = os.uname().nodename
NAMES = ("dmsetup", "lvchange", "lvcreate", "lvm", "lvmconfig", "vgchange", "vgcreate", "vgexport", "vgimport", "vgs")
EXTENT = 8 << 20
RESERVED = 1 << 20


class Refused(Exception):
    """The command fails with code 5."""


@contextmanager
def state(write: bool = True) -> Iterator[dict[str, Any]]:
    """Yield what there is; it may be killed at any moment, as LVM may."""
    with open(STATE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = json.loads((STATE / "state.json").read_text())
        yield found
        if write:
            (STATE / "half").write_text(json.dumps(found))
            (STATE / "half").rename(STATE / "state.json")


def out(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def identifier() -> str:
    return uuid.uuid4().hex


def dashed(text: str) -> str:
    return "-".join((text[:6], *(text[n : n + 4] for n in range(6, 26, 4)), text[26:]))


# Disks.


def readable(disk: str) -> bool:
    """Read a disk's label past the page cache, as LVM's scan does: it waits for as long as that takes."""
    try:
        descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return False
    try:
        os.preadv(descriptor, [mmap.mmap(-1, 4096)], 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def write_label(disk: str, pv: str, vg: str, vg_uuid: str) -> None:
    """Write what the agent reads of the on-disk format: label, PV header, metadata area and the name of the VG."""
    page = bytearray(8192)
    page[512:520] = b"LABELONE"
    page[532:536] = (32).to_bytes(4, "little")
    page[536:544] = b"LVM2 001"
    page[544:576] = pv.encode()
    areas = (RESERVED, 0, 0, 0, 4096, RESERVED - 4096, 0, 0)
    page[584 : 584 + 8 * len(areas)] = b"".join(number.to_bytes(8, "little") for number in areas)
    page[4100:4116] = b" LVM2 x[5A%r0N*>"
    page[4136:4144] = (512).to_bytes(8, "little")
    text = f'{vg} {{\nid = "{dashed(vg_uuid)}"\n'.encode()
    page[4608 : 4608 + len(text)] = text
    with open(disk, "r+b", buffering=0) as file:
        file.write(page)
        os.fsync(file.fileno())


def scan(found: dict[str, Any], options: dict[str, str]) -> set[str]:
    """Return the disks that this command sees and that answer."""
    only = options.get("--devices", "").split(",") if "--devices" in options else None
    return {disk for disk in found["disks"] if (only is None or disk in only) and readable(disk)}


# The kernel's side: volumes as device-mapper shows them.


def mapped(vg: str, lv: str) -> str:
    return f"{vg.replace('-', '--')}-{lv.replace('-', '--')}"


def create(found: dict[str, Any], vg: str, lv: str) -> None:
    """Make a volume's device: it is there whole, from one moment to the next."""
    group, volume = found["groups"][vg], found["groups"][vg]["lvs"][lv]
    loop = out("losetup", "--find", "--show", "--direct-io=on", "--offset", str(volume["offset"]), "--sizelimit", str(EXTENT),
               volume["disk"])  # fmt: skip
    number, disk = loop.removeprefix("/dev/loop"), os.path.basename(volume["disk"])
    half, folder = STATE / f"half-dm-{number}", SYS / "block" / f"dm-{number}"
    shutil.rmtree(half, ignore_errors=True)
    for name in ("dm", "slaves", "holders"):
        (half / name).mkdir(parents=True)
    texts = {"dev": f"7:{number}", "size": str(EXTENT >> 9), "dm/name": mapped(vg, lv), "dm/uuid": f"LVM-{group['uuid']}{volume['uuid']}",
             "dm/suspended": "0"}  # fmt: skip
    for name, content in texts.items():
        (half / name).write_text(content + "\n")
    (half / "stat").symlink_to(f"/sys/devices/virtual/block/loop{number}/stat")
    (half / "slaves" / disk).symlink_to(f"/sys/devices/virtual/block/{disk}")
    node = Path(f"/dev/dm-{number}")
    node.unlink(missing_ok=True)
    os.mknod(node, 0o60660, os.makedev(7, int(number)))
    Path("/dev", vg).mkdir(exist_ok=True)
    link(node, Path("/dev", vg, lv))
    link(folder, SYS / "class/block" / folder.name)
    link(folder, SYS / "dev/block" / f"7:{number}")
    half.rename(folder)


def link(target: Path, path: Path) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.symlink_to(target)
    half.rename(path)


def remove(folder: Path) -> None:
    """Remove a volume's device.  One that a killed command has half removed is there still, and removed again."""
    number, name = folder.name[3:], text(folder, "dm/name")
    if opened(number):
        raise Refused(f"device-mapper: remove ioctl on {name}  failed: Device or resource busy")
    subprocess.run(["losetup", "--detach", f"/dev/loop{number}"], check=False, stderr=subprocess.DEVNULL)
    gone = STATE / f"gone-{os.getpid()}-{number}"
    folder.rename(gone)
    link(Path(f"/sys/devices/virtual/block/loop{number}"), SYS / "dev/block" / f"7:{number}")
    (SYS / "class/block" / folder.name).unlink(missing_ok=True)
    shutil.rmtree(gone)


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def devices() -> dict[str, Path]:
    """Return the folders of all volumes that are active, by device-mapper's name."""
    return {text(folder, "dm/name"): folder for folder in sorted((SYS / "block").glob("dm-*"))}


def opened(number: str) -> list[str]:
    """Return who has a volume open, besides the kernel's own keeping."""
    device = os.makedev(7, int(number))
    found = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[2] == f"7:{number}"]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if link.startswith("/dev/") and os.stat(link).st_rdev == device:
                    found.append(pid)
        except OSError:
            continue
    return found


# LVM's side.


def parsed(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return options with their values, and what is no option.  Knows those of LVM 2.03.16."""
    valued = {"--config", "--systemid", "--devices", "--addtag", "--deltag", "--setautoactivation", "-o", "-n", "-L", "-S",
              "--configreport", "--reportformat", "--activationmode", "--typeconfig", "--driverloaded"}  # fmt: skip
    options: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--majoritypvs":
            raise Refused(f"unrecognized option '{word}'")
        if word in valued:
            options[word] = left.pop(0)
        elif word.startswith("-"):
            options[word] = ""
        else:
            rest.append(word)
    return options, rest


def group_of(found: dict[str, Any], name: str, answering: set[str]) -> dict[str, Any]:
    group: dict[str, Any] | None = found["groups"].get(name)
    if group is None or not answering & set(group["pvs"].values()):
        raise Refused(f'Volume group "{name}" not found\n  Cannot process volume group {name}')
    return group


def accessible(group: dict[str, Any], name: str, options: dict[str, str], active: bool) -> None:
    extra = options.get("--config", "")
    if group["owner"] not in ("", OWN) and f'"{group["owner"]}"' not in extra and not active:
        raise Refused(f"Cannot access VG {name} with system ID {group['owner']} with local system ID {OWN}.")
    if group["exported"]:
        raise Refused(f"Volume group {name} is exported")


def fullreport(found: dict[str, Any], options: dict[str, str], rest: list[str]) -> str:
    answering = scan(found, options)
    group = group_of(found, rest[0], answering)
    there = {pv: disk in answering for pv, disk in group["pvs"].items()}
    pvs = [{"pv_name": group["pvs"][pv] if here else "[unknown]", "pv_uuid": dashed(pv), "pv_missing": "" if here else "missing"}
           for pv, here in there.items()]  # fmt: skip
    lvs = [{"lv_name": lv, "lv_uuid": dashed(volume["uuid"]), "lv_skip_activation": "skip activation" if volume.get("skip") else ""}
           for lv, volume in group["lvs"].items()]  # fmt: skip
    vg = {"vg_name": rest[0], "vg_uuid": dashed(group["uuid"]), "vg_systemid": group["owner"], "vg_lock_type": "", "vg_clustered": "",
          "vg_exported": "exported" if group["exported"] else "", "vg_tags": ",".join(group["tags"]),
          "vg_autoactivation": "enabled" if group["autoactivation"] else ""}  # fmt: skip
    return json.dumps({"report": [{"vg": [vg], "pv": pvs, "lv": lvs, "pvseg": [], "seg": []}]})


def vgs(found: dict[str, Any], options: dict[str, str], rest: list[str]) -> str:
    group = group_of(found, rest[0], scan(found, options))
    fields = {"vg_systemid": group["owner"], "vg_seqno": group["seqno"], "vg_tags": ",".join(group["tags"]),
              "vg_autoactivation": "enabled" if group["autoactivation"] else ""}  # fmt: skip
    return f"  {fields[options['-o']]}"


def vgchange(found: dict[str, Any], options: dict[str, str], rest: list[str]) -> str:
    name = rest[0]
    if "-an" in options:
        return lvchange(found, options, rest)
    answering = scan(found, options)
    group = group_of(found, name, answering)
    accessible(group, name, options, active=False)
    if not set(group["pvs"].values()) <= answering:
        raise Refused(f"Cannot change VG {name} while PVs are missing.")
    if "--systemid" in options:
        if group["owner"] == options["--systemid"]:
            raise Refused(f'Volume Group system ID is already "{group["owner"]}".')
        if "--driverloaded" not in options and any(folder.startswith(mapped(name, "")) for folder in devices()):
            raise Refused(f"Logical Volumes in VG {name} must be deactivated before system ID can be changed.")
        group["owner"] = options["--systemid"]
    if "--addtag" in options:
        group["tags"] = sorted({*group["tags"], options["--addtag"]})
    if "--deltag" in options:
        group["tags"] = [tag for tag in group["tags"] if tag != options["--deltag"]]
    if "--setautoactivation" in options:
        if group["autoactivation"] == (options["--setautoactivation"] == "y"):
            raise Refused(f"Volume Group autoactivation is already {'yes' if group['autoactivation'] else 'no'}.")
        group["autoactivation"] = options["--setautoactivation"] == "y"
    group["seqno"] += 1
    return f'  Volume group "{name}" successfully changed'


def lvchange(found: dict[str, Any], options: dict[str, str], rest: list[str]) -> str:
    name, _, lv = rest[0].partition("/")
    answering = scan(found, options)
    group = group_of(found, name, answering)
    here = devices()
    wanted = [volume for volume in group["lvs"] if volume == (lv or volume)]
    if not wanted:
        raise Refused(f"Failed to find logical volume {rest[0]!r}")
    activating = "-ay" in options
    accessible(group, name, options, active=not activating and any(mapped(name, volume) in here for volume in wanted))
    for volume in wanted:
        folder = here.get(mapped(name, volume))
        if "-ky" in options:
            group["lvs"][volume]["skip"] = True
        elif activating and not folder and not group["lvs"][volume].get("skip"):
            if group["lvs"][volume]["disk"] not in answering:
                raise Refused(f"Refusing activation of partial LV {name}/{volume}.  Use '--activationmode partial' to override.")
            create(found, name, volume)
        elif "-an" in options and folder:
            if opened(folder.name[3:]):
                raise Refused(f"Logical volume {name}/{volume} in use.")
            remove(folder)
    return ""


def vgcreate(found: dict[str, Any], options: dict[str, str], rest: list[str]) -> str:
    name, *disks = rest
    pvs, group = {identifier(): disk for disk in disks}, identifier()
    for pv, disk in pvs.items():
        write_label(disk, pv, name, group)
    found["groups"][name] = {"uuid": group, "owner": options.get("--systemid", OWN), "pvs": pvs, "lvs": {}, "tags": [],
                             "exported": False, "autoactivation": options.get("--setautoactivation") != "n", "seqno": 1}  # fmt: skip
    return ""


def lvcreate(found: dict[str, Any], options: dict[str, str], rest: list[str]) -> str:
    group = found["groups"][rest[0]]
    disk = rest[1] if len(rest) > 1 else next(iter(group["pvs"].values()))
    used = sum(1 for volume in group["lvs"].values() if volume["disk"] == disk)
    group["lvs"][options["-n"]] = {"uuid": identifier(), "disk": disk, "offset": RESERVED + used * EXTENT}
    group["seqno"] += 1
    if "-an" not in options:
        create(found, rest[0], options["-n"])
    return ""


def export(found: dict[str, Any], name: str, exported: bool) -> str:
    found["groups"][name].update(exported=exported, owner="" if exported else OWN)
    return ""


def dmsetup(words: list[str]) -> str:
    _, rest = parsed(words[1:])
    here = devices()
    if words[0] == "ls":
        return "\n".join(f"{name}\t({text(folder, 'dev')})" for name, folder in here.items())
    if rest[-1] not in here:
        raise Refused(f"Device {rest[-1]} not found")
    folder = here[rest[-1]]
    if words[0] in ("suspend", "resume"):
        (folder / "dm/suspended").write_text("1\n" if words[0] == "suspend" else "0\n")
    elif words[0] == "remove":
        remove(folder)
    elif words[0] == "table":
        return f"0 {EXTENT >> 9} linear 7:0 2048"
    elif words[0] == "info":
        return str(len(opened(folder.name[3:])))
    return ""


def perform(name: str, words: list[str]) -> str:
    if name == "dmsetup":
        return dmsetup(words)
    if name == "lvm":
        name, *words = words
    if name == "systemid":
        return f"  system ID: {OWN}"
    if name == "lvmconfig":
        return 'system_id_source="uname"\nuse_devicesfile=0\nuse_lvmlockd=0'
    options, rest = parsed(words)
    reading = {"fullreport": fullreport, "vgs": vgs}
    changing = {"vgchange": vgchange, "lvchange": lvchange, "vgcreate": vgcreate, "lvcreate": lvcreate}
    if name in reading:
        with state(write=False) as found:
            snapshot = dict(found)
        return reading[name](snapshot, options, rest)
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(LOCKS / f"V_{rest[0].partition('/')[0]}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with state(write=False) as found:
            snapshot = dict(found)
        # Not under the state's own lock: what hangs here must hang as LVM does, with the VG's.
        done = changing[name](snapshot, options, rest) if name in changing else export(snapshot, rest[0], name == "vgexport")
        with state() as found:
            group = rest[0].partition("/")[0]
            found["groups"][group] = snapshot["groups"][group]
    return done


def main() -> int:
    try:
        print(perform(os.path.basename(sys.argv[0]), sys.argv[1:]))
    except Refused as error:
        print(f"  {error}", file=sys.stderr)
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main())
