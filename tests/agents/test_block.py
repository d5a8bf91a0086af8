"""The way down and the automatic io_timeout, on trees laid out as sysfs is.

This kernel has no device-mapper and no iSCSI: the trees are those of a RHEL 9 node, the names and values as in the kernel's
Documentation/ABI (sysfs-block-dm) and drivers/scsi/scsi_transport_iscsi.c.  The two-node lab shows the same on the real thing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocf_lab import block

UUID = "LVM-" + "a" * 32 + "b" * 32


class Tree:
    """A sysfs in a directory: devices with the ones beneath them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev/block").mkdir(parents=True)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def device(self, number: str, name: str, *, slaves: tuple[str, ...] = (), place: str = "devices/virtual/block") -> str:
        folder = f"{place}/{name}"
        self.write(f"{folder}/dev", number)
        self.write(f"{folder}/stat", "10 0 80 1 20 0 160 2 3 4 5 0 0 0 0 7 8")
        (self.root / folder / "slaves").mkdir()
        for slave in slaves:
            (self.root / folder / "slaves" / slave).symlink_to(next(self.root.glob(f"devices/**/{slave}")))
        (self.root / "dev/block" / number).symlink_to(self.root / folder)
        return folder

    def mapped(self, number: str, name: str, dm_name: str, uuid: str, *slaves: str) -> None:
        folder = self.device(number, name, slaves=slaves)
        self.write(f"{folder}/dm/name", dm_name)
        self.write(f"{folder}/dm/uuid", uuid)

    def path(self, number: str, name: str, session: int, state: str = "running") -> None:
        target = f"devices/platform/host{session}/session{session}/target{session}:0:0/{session}:0:0:1"
        folder = self.device(number, name, place=f"{target}/block")
        (self.root / folder / "device").symlink_to(self.root / target)
        self.write(f"{target}/state", state)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(block, "SYS", str(tmp_path))
    return Tree(tmp_path)


def stack(tree: Tree, first: str = "running", second: str = "running") -> None:
    """An LV on a multipath map of two iSCSI paths."""
    tree.path("8:16", "sdb", 1, first)
    tree.path("8:32", "sdc", 2, second)
    tree.mapped("253:1", "dm-1", "mpatha", "mpath-3600", "sdb", "sdc")
    tree.mapped("253:3", "dm-3", "vg--cluster1-lv--pg", UUID, "dm-1")


def times(tree: Tree, session: int, recv: int, ping: int, recovery: int) -> None:
    tree.write(f"class/iscsi_connection/connection{session}:0/recv_tmo", str(recv))
    tree.write(f"class/iscsi_connection/connection{session}:0/ping_tmo", str(ping))
    tree.write(f"class/iscsi_session/session{session}/recovery_tmo", str(recovery))


def test_the_way_down_names_every_device(tree: Tree) -> None:
    stack(tree, second="transport-offline")
    assert block.way_down("253:3") == "dm-3 LV vg-cluster1/lv-pg on dm-1 multipath mpatha on sdb running, sdc transport-offline"
    assert block.in_flight("253:3") == 12
    assert list(block.maps("253:3")) == ["dm-1"]


@pytest.mark.parametrize(
    "first, second, cut",
    [("running", "running", False), ("offline", "running", False), ("offline", "transport-offline", True), ("blocked", "running", False)],
)
def test_the_way_is_cut_when_every_path_is_given_up(tree: Tree, first: str, second: str, cut: bool) -> None:
    stack(tree, first, second)
    assert block.cut("253:3", 2.0) is cut


@pytest.mark.parametrize("recovery, silent, cut", [(5, 4.9, False), (5, 5.0, True), (120, 20.0, False), (None, 500.0, False)])
def test_a_blocked_path_is_waited_for_as_its_transport_does(tree: Tree, recovery: int | None, silent: float, cut: bool) -> None:
    """A storage controller that restarts blocks all paths for a moment, and is no reason to fail over."""
    stack(tree, "blocked", "offline")
    if recovery is not None:
        times(tree, 1, 5, 5, recovery)
    assert block.cut("253:3", silent) is cut


def test_a_map_that_has_lost_its_paths_is_cut(tree: Tree) -> None:
    tree.mapped("253:1", "dm-1", "mpatha", "mpath-3600")
    tree.mapped("253:3", "dm-3", "vg-lv", UUID, "dm-1")
    assert block.cut("253:3", 2.0)
    assert block.way_down("253:3") == "dm-3 LV vg/lv on dm-1 multipath mpatha without a path"


def test_a_disk_without_a_path_state_is_never_cut(tree: Tree) -> None:
    tree.device("7:1", "loop1")
    assert not block.cut("7:1", 500.0)


def test_the_automatic_io_timeout_is_what_the_loss_of_a_path_can_take(tree: Tree) -> None:
    stack(tree)
    assert block.automatic_io_timeout("253:3", 0) == block.DEFAULT_IO_TIMEOUT, "where nothing can be read"
    times(tree, 1, 5, 5, 5)
    times(tree, 2, 10, 15, 120)
    assert block.automatic_io_timeout("253:3", 0) == 10 + 15 + 120 + 5
    assert block.automatic_io_timeout("253:3", 60) == 210


def test_a_partition_stands_on_its_disk(tree: Tree) -> None:
    tree.device("8:0", "sda", place="devices/pci/block")
    tree.device("8:1", "sda1", place="devices/pci/block/sda")
    tree.write("devices/pci/block/sda/sda1/partition", "1")
    assert block.beneath("8:1") == ["8:0"]


@pytest.mark.parametrize(
    "name, volume",
    [("vg-lv", "vg/lv"), ("vg--a-lv--b", "vg-a/lv-b"), ("a----b-c", "a--b/c"), ("plain", "plain")],
)
def test_hyphens_of_volume_names(name: str, volume: str) -> None:
    assert block.logical_volume(name) == volume


@pytest.mark.parametrize(
    "maps, config, seconds",
    [
        ("dm-1 12 chk\n", "defaults {\n\tpolling_interval 5\n}", 60),
        ("dm-1 12 chk\ndm-7 99 chk\n", 'defaults { polling_interval "2" }', 24),
        ("dm-1 on\n", "", 0),
        ("dm-1 off\n", "", 0),
        ("dm-1 -\n", "", 0),
        ("dm-1 8 chk\n", "", 40),
        ("", "", 0),
    ],
)
def test_how_long_multipath_queues(maps: str, config: str, seconds: float) -> None:
    assert block.queueing_time(maps, config, {"dm-1"}) == seconds


def test_counters_of_a_device_that_is_none() -> None:
    assert block.counters("0:999") is None
    device = next(iter(os.listdir("/sys/dev/block")))
    found = block.counters(device)
    assert found is not None
    assert found.reads >= 0
