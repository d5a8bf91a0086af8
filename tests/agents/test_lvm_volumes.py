"""Logical volumes and candidates, on trees laid out as sysfs is."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, TextIO, cast

import pytest

from ocf_lab import block, candidates, probe, storage, volumes
from ocf_py.deadline import Deadline
from ocf_py.outcomes import Error
from tests.agents.test_block import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocf_py.agent import Agent
    from ocf_py.guard import Guards

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
    volume(tree, 2, "vg-s-cow", "loop1", uuid="s", layer="-cow")
    volume(tree, 3, "vg-s", "dm-1", "dm-2", uuid="s")
    volume(tree, 4, "vg-a", "dm-1")
    assert volumes.is_snapshot("253:3")
    assert not volumes.is_snapshot("253:4")


def test_an_origin_into_which_a_snapshot_is_merged_is_no_snapshot(tree: Tree, tmp_path: Path) -> None:
    """The kernel writes to it: a stop that did not see it would let two nodes write."""
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-a-real", "loop1", uuid="a", layer="-real")
    volume(tree, 2, "vg-s-cow", "loop1", uuid="s", layer="-cow")
    volume(tree, 3, "vg-a", "dm-1", "dm-2", uuid="a")
    show(tree)
    assert not volumes.is_snapshot("253:3")
    assert [found.lv for found in watched(Instance(tmp_path), "a").here()] == ["a"]


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
    tree.device("43:0", "nbd0")
    volume(tree, 2, "vg-a", "dm-1")
    holders = {"sdb": "dm-1", "dm-1": "dm-2"}
    for folder in sorted(tree.root.glob("devices/**/dev")):
        tree.write(str(folder.parent.relative_to(tree.root) / "size"), "0" if folder.parent.name == "loop2" else "2048")
        if folder.parent.name in holders:
            (folder.parent / "holders").mkdir()
            above = next(tree.root.glob(f"devices/**/{holders[folder.parent.name]}"))
            (folder.parent / "holders" / above.name).symlink_to(above)
    show(tree)
    seen = {found.path: set(found.holders) for found in candidates.find()}
    assert seen == {"/dev/loop1": set(), "/dev/mapper/mpatha": {"vg"}, "/dev/nbd0": set(), "/dev/sda1": set()}


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


def test_lvm_is_let_see_what_has_answered(tree: Tree) -> None:
    for number in (1, 2, 3):
        tree.device(f"7:{number}", f"loop{number}")
    found = [candidates.Candidate(f"7:{number}", f"loop{number}") for number in (1, 2, 3)]
    for one in found[:2]:
        one.pv_uuid = one.kernel.ljust(32, "x")
    found[2].trouble = probe.StorageError("dead", volumes.Device("disk", "/dev/loop3", "7:3"))
    assert candidates.Seen(found).narrowing(None) == ["--devices", "/dev/loop1,/dev/loop2"]
    assert candidates.Seen(found).narrowing(None, trusted=["7:3"]) == ["--devices", "/dev/loop1,/dev/loop2"], "it answers with errors"
    found[2].trouble = probe.NotYet("late", volumes.Device("disk", "/dev/loop3", "7:3"))
    assert candidates.Seen(found).narrowing(None) == ["--devices", "/dev/loop1,/dev/loop2"]
    assert candidates.Seen(found).narrowing(None, trusted=["7:3"]) == ["--devices", "/dev/loop1,/dev/loop2,/dev/loop3"]
    assert candidates.Seen(found).narrowing({found[1].pv_uuid}) == ["--devices", "/dev/loop2"]
    assert candidates.Seen(found).narrowing(set()) == ["--devices", "/dev/null"]


def test_the_devices_file_is_the_one_that_lvm_goes_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "DEVICES", str(tmp_path))
    assert candidates.devices_file({"use_devicesfile": "1", "devicesfile": "system.devices"}) is None, "there is none"
    (tmp_path / "system.devices").write_text("# comment\nIDTYPE=loop_file IDNAME=/x DEVNAME=/dev/loop2 PVID=one PART=0\n")
    (tmp_path / "other.devices").write_text("VERSION=1.1.1\n")
    assert candidates.devices_file({"use_devicesfile": "1", "devicesfile": "system.devices"}) == {"one"}
    assert candidates.devices_file({"use_devicesfile": "1", "devicesfile": "other.devices"}) == set()
    assert candidates.devices_file({"use_devicesfile": "0", "devicesfile": "system.devices"}) is None
    assert candidates.devices_file({}) == {"one"}, "LVM did not say"


@pytest.mark.parametrize(
    "dead, silent, lost",
    [
        ([set()], [], True),
        ([{"vg"}], [], True),
        ([{"vg", "other"}], [], True),
        ([{"other"}], [], False),
        ([], [set()], False),
        ([set()], [{"vg"}], False),
        ([set()], [{"other"}], True),
        ([], [], False),
    ],
)
def test_when_waiting_for_the_disks_of_a_group_is_of_no_use(dead: list[set[str]], silent: list[set[str]], lost: bool) -> None:
    """`dead` and `silent` disks, each by the groups of which the kernel has volumes on it."""
    place = volumes.Device("disk", "/dev/loop1", "7:1")
    found = [candidates.Candidate("7:1", "loop1", holders) for holders in (*dead, *silent)]
    for number, one in enumerate(found):
        one.trouble = probe.StorageError("dead", place) if number < len(dead) else probe.NotYet("late", place)
    assert candidates.Seen(found).lost("vg") is lost


@pytest.mark.parametrize("number, trouble", [(errno.EMEDIUMTYPE, False), (errno.ENOMEDIUM, False), (errno.EIO, True), (errno.ENXIO, True)])
def test_a_device_that_holds_nothing_is_no_trouble(tree: Tree, number: int, trouble: bool) -> None:
    """The secondary of a DRBD, a drive without a disk: this is what opening them brings."""
    tree.device("7:1", "loop1")
    one = candidates.Candidate("7:1", "loop1")

    class Answering:
        def run(self, probe: volumes.DeviceProbe, **_: object) -> None:
            probe.error = OSError(number, os.strerror(number))

    candidates.examine([one], probe.Limits(5.0, 1.0, 30.0, 0.0), cast("Guards", Answering()), Deadline.after(1.0))
    assert bool(one.trouble) is trouble


class Instance:
    """As much of an agent as volumes need: a memory, the records' folder, a deadline."""

    def __init__(self, folder: Path, seconds: float = 10.0, noted: Mapping[str, str] = MappingProxyType({})) -> None:
        self.memory = Memory(noted)
        self.guards, self.environment = SimpleNamespace(folder=f"{folder}/ocf_py/pg-lvm"), SimpleNamespace(rsctmp=str(folder))
        self.deadline = Deadline.after(seconds)


class Memory(dict[str, str]):
    def get(self, name: str) -> str:  # type: ignore[override]
        return super().get(name, "")

    def section(self, prefix: str) -> dict[str, str]:
        return {name: text for name, text in self.items() if name.startswith(prefix)}


def watched(instance: Instance, lv: str) -> volumes.Volumes:
    return volumes.Volumes(cast("Agent", instance), storage.Settings(5.0, 1.0, 30.0, 0.0, "read"), "vg", lv)


def test_a_thick_snapshot_is_nobody_s_volume(tree: Tree, tmp_path: Path) -> None:
    """It is active wherever its origin is; a resource that names it by mistake must not be called active there, and stopped."""
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-a-real", "loop1", layer="-real")
    volume(tree, 2, "vg-s-cow", "loop1", uuid="s", layer="-cow")
    volume(tree, 3, "vg-s", "dm-1", "dm-2", uuid="s")
    volume(tree, 4, "vg-a", "dm-1")
    show(tree)
    assert watched(Instance(tmp_path), "s").here() == []
    assert [found.lv for found in watched(Instance(tmp_path), "a").here()] == ["a"]
    assert "s" in [found.lv for found in watched(Instance(tmp_path), "").here()], "it has to go with all others"
    [snapshot] = [found for found in volumes.scan() if found.device == "253:3"]
    assert [found.lv for found in watched(Instance(tmp_path, noted={"volume.0000": snapshot.encode()}), "s").here()] == ["s"]


def test_a_volume_that_was_renamed_is_still_the_one_that_was_started(tree: Tree, tmp_path: Path) -> None:
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-new", "loop1", uuid="a")
    volume(tree, 2, "vg-other", "loop1", uuid="b")
    show(tree)
    noted = {"volume.0000": volumes.Volume("253:1", f"LVM-{VG}{'a'.ljust(32, 'x')}", "vg-old").encode()}
    here = watched(Instance(tmp_path, noted=noted), "old")
    assert ([found.lv for found in here.here()], [found.lv for found in here.active()]) == (["new"], ["old"])
    assert watched(Instance(tmp_path, noted=noted), "another").here() == [], "the parameter was changed since then"


def test_what_of_lvm_a_volume_stands_on(tree: Tree) -> None:
    tree.device("7:1", "loop1")
    volume(tree, 1, "vg-pool_tdata", "loop1", uuid="d", layer="-tdata")
    volume(tree, 2, "vg-pool_tmeta", "loop1", uuid="m", layer="-tmeta")
    volume(tree, 3, "vg-pool-tpool", "dm-1", "dm-2", uuid="p", layer="-tpool")
    volume(tree, 4, "vg-thin", "dm-3", uuid="t")
    tree.write("devices/virtual/block/dm-1/holders/dm-3/dev", "253:3")
    found = {part.lv: part.held() for part in volumes.parts("253:4")}
    assert found == {"pool-tpool": False, "pool_tdata": True, "pool_tmeta": False}
    assert list(volumes.parts("253:1")) == []


@pytest.mark.parametrize("ends, hang, told", [(True, "", ""), (False, "", ""), (False, "storage hang", "storage hang")])
def test_a_stop_waits_for_its_own_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool, hang: str, told: str) -> None:
    """Those of monitors, which keep the volumes open: not another resource's, nor commands.  For half of its time at most."""
    left = [SimpleNamespace(instance=instance, facts=facts, end=lambda name=f"{instance} {facts}": ended.append(name))
            for instance, facts in (("pg-lvm", {"device": "253:1"}), ("pg-lvm", {}), ("other", {"device": "253:1"}))]  # fmt: skip
    ended: list[str] = []
    monkeypatch.setattr(volumes.Volumes, "children", lambda _: left[1:] if ends and ended else left)
    monkeypatch.setattr(volumes.Volumes, "stuck", lambda _: hang if len(ended) > 1 else "")
    began = time.monotonic()
    assert watched(Instance(tmp_path, seconds=1.0), "a").await_readers() == told
    assert set(ended) == {"pg-lvm {'device': '253:1'}"}
    assert (time.monotonic() - began > 0.4) is (not ends and not hang)


def test_a_device_that_is_gone_is_called_so() -> None:
    with pytest.raises(OSError, match="No such device") as gone:
        volumes.read("mapper/of-nobody", "253:77")
    place = volumes.Device("LV", "vg/a", "253:77")
    assert probe.describe_error(gone.value, place).startswith("I/O error: ENODEV No such device: LV vg/a")
