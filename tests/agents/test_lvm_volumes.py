"""Logical volumes and candidates, on trees laid out as sysfs is."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TextIO

import pytest

from ocf_lab import block, candidates, probe, volumes
from ocf_py.outcomes import Error
from tests.agents.test_block import Tree

VG, OTHER_VG = "v" * 32, "w" * 32


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(block, "SYS", str(tmp_path))
    (tmp_path / "block").mkdir()
    (tmp_path / "class/block").mkdir(parents=True)
    return Tree(tmp_path)


def show(tree: Tree) -> None:
    """List every device where the kernel lists whole disks, and where it lists all."""
    for folder in tree.root.glob("devices/**/dev"):
        for place in ("block", "class/block"):
            (tree.root / place / folder.parent.name).symlink_to(folder.parent)


def volume(tree: Tree, number: int, name: str, *slaves: str, uuid: str = "", layer: str = "") -> None:
    lv = (uuid or f"{number:03}").ljust(32, "x")
    tree.mapped(f"253:{number}", f"dm-{number}", name, f"LVM-{VG}{lv}{layer}", *slaves)


@pytest.mark.parametrize(
    "name, layer, vg, lv, hidden",
    [
        ("vg-lv", "", "vg", "lv", False),
        ("vg--a-lv--b", "", "vg-a", "lv-b", False),
        ("vg-data--real", "", "vg", "data-real", False),
        ("vg-data-real", "-real", "vg", "data-real", True),
        ("vg-snap-cow", "-cow", "vg", "snap-cow", True),
        ("vg-r_rimage_0", "", "vg", "r_rimage_0", True),
        ("vg-pool", "-pool", "vg", "pool", False),
        ("vg-pool-tpool", "-tpool", "vg", "pool-tpool", True),
        ("vg-pool_tdata", "-tdata", "vg", "pool_tdata", True),
    ],
)
def test_names_and_hidden_parts(name: str, layer: str, vg: str, lv: str, hidden: bool) -> None:
    found = volumes.Volume("253:1", f"LVM-{VG}{'l' * 32}{layer}", name)
    assert (found.vg, found.lv, found.hidden, found.vg_uuid) == (vg, lv, hidden, VG)


def test_every_volume_is_found(tree: Tree) -> None:
    tree.path("8:16", "sdb", 1)
    tree.mapped("253:1", "dm-1", "mpatha", "mpath-3600", "sdb")
    volume(tree, 2, "vg-a", "dm-1")
    volume(tree, 3, "vg-b", "dm-1")
    show(tree)
    assert [found.path for found in volumes.scan()] == ["vg/a", "vg/b"]


def test_the_lockspace_of_sanlock_is_no_volume_of_a_resource(tree: Tree) -> None:
    """It stays active until vgchange --lockstop, which a stop would never come to if it were one."""
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-lvmlock", "loop1")
    volume(tree, 2, "vg-lvmlocks", "loop1")
    show(tree)
    assert [found.path for found in volumes.scan()] == ["vg/lvmlocks"]


def test_a_sysfs_that_cannot_be_read_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "SYS", str(tmp_path))
    with pytest.raises(Error, match="cannot read"):
        volumes.scan()
    (tmp_path / "block/dm-0/dm/uuid").mkdir(parents=True)
    with pytest.raises(Error, match="cannot read"):
        volumes.scan()


@pytest.mark.parametrize("times, seen", [(3, ["vg/b"]), (1000, None)])
def test_a_device_that_is_being_removed_is_waited_for(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, times: int, seen: list[str] | None
) -> None:
    """device-mapper answers EINVAL for its attributes until the device is gone."""
    tree.device("7:1", "loop1")
    volume(tree, 2, "vg-a", "loop1")
    volume(tree, 3, "vg-b", "loop1")
    show(tree)
    answers = iter([errno.EINVAL] * times + [errno.ENOENT])

    def removing(path: str) -> TextIO:
        if "/dm-2/dm/uuid" in path:
            raise OSError(number := next(answers), os.strerror(number))
        return open(path)

    monkeypatch.setattr(volumes, "open", removing, raising=False)
    monkeypatch.setattr(volumes, "REMOVAL_SECONDS", 0.3)
    if seen is None:
        with pytest.raises(Error, match="cannot read"):
            volumes.scan()
    else:
        assert [found.path for found in volumes.scan()] == seen


def test_what_a_volume_lies_on_ends_at_the_multipath_map(tree: Tree) -> None:
    tree.path("8:16", "sdb", 1)
    tree.path("8:32", "sdc", 2)
    tree.mapped("253:1", "dm-1", "mpatha", "mpath-3600", "sdb", "sdc")
    tree.device("7:1", "loop1")
    volume(tree, 2, "vg-r_rimage_0", "dm-1")
    volume(tree, 3, "vg-r_rimage_1", "loop1")
    volume(tree, 4, "vg-r", "dm-2", "dm-3")
    assert volumes.physical("253:4") == {"253:1", "7:1"}


def test_a_thick_snapshot_is_known_by_its_store(tree: Tree) -> None:
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-a-real", "loop1", layer="-real")
    volume(tree, 2, "vg-s-cow", "loop1", layer="-cow")
    volume(tree, 3, "vg-s", "dm-1", "dm-2")
    volume(tree, 4, "vg-a", "dm-1")
    assert volumes.is_snapshot("253:3")
    assert not volumes.is_snapshot("253:4")


def test_a_volume_that_misses_a_part_is_known_by_what_stands_for_it(tree: Tree) -> None:
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-r_rimage_0", "loop1")
    volume(tree, 2, "vg-r_rimage_1-missing_0_0", layer="-missing_0_0")
    volume(tree, 3, "vg-r_rimage_1", "dm-2")
    volume(tree, 4, "vg-r", "dm-1", "dm-3")
    volume(tree, 5, "vg-missing_one", "loop1")
    assert [volumes.incomplete(f"253:{number}") for number in (1, 3, 4, 5)] == [False, True, True, False]
    assert volumes.physical("253:4") == {"7:1"}, "and lies on no device"


def test_candidates_are_what_lvm_may_use(tree: Tree) -> None:
    """A map and a bare disk; not the map's paths, not a disk with partitions, not a volume, not a drive without a disk."""
    tree.path("8:16", "sdb", 1)
    tree.mapped("253:1", "dm-1", "mpatha", "mpath-3600", "sdb")
    tree.device("8:0", "sda", place="devices/pci/block")
    tree.device("8:1", "sda1", place="devices/pci/block/sda")
    tree.write("devices/pci/block/sda/sda1/partition", "1")
    tree.device("7:1", "loop1")
    tree.device("7:2", "loop2")
    volume(tree, 2, "vg-a", "dm-1")
    holders = {"sdb": "dm-1", "dm-1": "dm-2"}
    for folder in sorted(tree.root.glob("devices/**/dev")):
        tree.write(str(folder.parent.relative_to(tree.root) / "size"), "0" if folder.parent.name == "loop2" else "2048")
        if folder.parent.name in holders:
            (folder.parent / "holders").mkdir()
            above = next(tree.root.glob(f"devices/**/{holders[folder.parent.name]}"))
            (folder.parent / "holders" / above.name).symlink_to(above)
    show(tree)
    assert sorted(found.path for found in candidates.find()) == ["/dev/loop1", "/dev/mapper/mpatha", "/dev/sda1"]


GROUP = "RyuBTV-liWy-52eL-S6PJ-Gfp2-0NLe-CTMAnq"


def label_page(pv: str, vg: str) -> bytes:
    """Return the start of a PV, as lib/format_text/layout.h and lib/label/label.h of LVM2 describe it."""
    page = bytearray(8192)
    page[512:520] = b"LABELONE"
    page[532:544] = (32).to_bytes(4, "little") + b"LVM2 001"
    areas = (1 << 20, 0, 0, 0, 4096, 4096, 0, 0)
    page[544:576] = pv.encode()
    page[584:648] = b"".join(number.to_bytes(8, "little") for number in areas)
    page[4100:4116] = b" LVM2 x[5A%r0N*>"
    page[4136:4144] = (512 if vg else 0).to_bytes(8, "little")
    text = f'{vg} {{\nid = "{GROUP}"\nseqno = 7\n'.encode()
    page[4608 : 4608 + len(text)] = text
    return bytes(page)


@pytest.mark.parametrize(
    "page, pv, vg",
    [
        (label_page("p" * 32, "vg-cluster1"), "p" * 32, "vg-cluster1"),
        (label_page("p" * 32, ""), "p" * 32, ""),
        (bytes(8192), "", ""),
        (os.urandom(8192), "", ""),
    ],
    ids=["of a group", "of none", "zeros", "noise"],
)
def test_what_a_label_says(tmp_path: Path, page: bytes, pv: str, vg: str) -> None:
    file = tmp_path / "disk"
    file.write_bytes(page)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        assert candidates.label(descriptor, "sdx") == {"pv_uuid": pv, "vg": vg, "vg_uuid": GROUP if vg else ""}
    finally:
        os.close(descriptor)


def test_lvm_is_narrowed_only_where_a_disk_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    monkeypatch.setattr(candidates, "DEVICES_FILE", str(tmp_path / "system.devices"))
    for number in (1, 2, 3):
        tree.device(f"7:{number}", f"loop{number}")
    found = [candidates.Candidate(f"7:{number}", f"loop{number}") for number in (1, 2, 3)]
    for one in found[:2]:
        one.pv_uuid = one.kernel.ljust(32, "x")
    assert candidates.Seen(found).narrowing() == []
    found[2].trouble = probe.StorageError("dead", volumes.Device("disk", "/dev/loop3", "7:3"))
    assert candidates.Seen(found).narrowing() == ["--devices", "/dev/loop1,/dev/loop2"]
    assert candidates.Seen(found).narrowing(trusted=["7:3"]) == ["--devices", "/dev/loop1,/dev/loop2"], "it answers with errors"
    found[2].trouble = probe.NotYet("late", volumes.Device("disk", "/dev/loop3", "7:3"))
    assert candidates.Seen(found).narrowing() == ["--devices", "/dev/loop1,/dev/loop2"]
    assert candidates.Seen(found).narrowing(trusted=["7:3"]) == ["--devices", "/dev/loop1,/dev/loop2,/dev/loop3"]
    (tmp_path / "system.devices").write_text(f"# comment\nIDTYPE=loop_file IDNAME=/x DEVNAME=/dev/loop2 PVID={found[1].pv_uuid} PART=0\n")
    assert candidates.Seen(found).narrowing() == ["--devices", "/dev/loop2"]
    (tmp_path / "system.devices").write_text("VERSION=1.1.1\n")
    assert candidates.Seen(found).narrowing() == ["--devices", "/dev/null"]
