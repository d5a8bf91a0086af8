"""What is wrong with the stock agent, one by one: each test shows it there first, and then that ours does better.

The numbers are those of the table in docs/decisions.md.  L12 are branches that are never reached: nothing to show.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.hurry import hurry
from tests.lvm.conftest import IO_TIMEOUT, PATIENCE, MakeResource, Replace
from tests.lvm.stack import DIRECTORY, OTHER, Group, await_true, run


@contextmanager
def configured(text: str) -> Iterator[None]:
    """Add to this node's own LVM configuration."""
    configuration = Path("/etc/lvm/lvmlocal.conf")
    before = configuration.read_text() if configuration.exists() else ""
    configuration.write_text(f"{before}\n{text}\n")
    try:
        yield
    finally:
        configuration.write_text(before)


def volume_list(name: str) -> AbstractContextManager[None]:
    """Let this node activate nothing but one VG."""
    return configured(f'activation {{ volume_list = ["{name}"] }}')


def seqno(group: str) -> str:
    return run("vgs", "--foreign", "--noheadings", "-o", "vg_seqno", group)


def test_l1_a_read_from_the_page_cache_proves_nothing(resource: MakeResource) -> None:
    """The volume is mounted, its disk fails every read: the stock agent reads its byte from memory."""
    one = resource().started()
    one.group.mount("a")
    assert one.stock.monitor(level=10).code == 0
    one.group.disk.fail()
    assert one.stock.monitor(level=10).code == 0
    result = one.node.monitor(level=10)
    assert (result.code, "I/O error: read" in result.reason) == (1, True), result


def test_l1_a_hang_is_seen_within_io_timeout(resource: MakeResource) -> None:
    one = resource(lvs=("a",)).started()
    one.group.mount("a")
    assert one.stock.monitor(level=10).code == 0
    one.group.disk.hang()
    assert one.stock.monitor(level=10).code == 0
    result = one.node.monitor(level=10)
    assert (result.code, "storage hang: read unanswered" in result.reason) == (1, True), result
    assert result.seconds < IO_TIMEOUT + PATIENCE
    again = one.node.monitor(level=10)
    assert (again.code, again.seconds < PATIENCE) == (1, True), again
    stopped = one.node.stop()
    assert (stopped.code, "storage hang" in stopped.reason, stopped.seconds < PATIENCE) == (1, True, True), stopped


def test_l2_it_reads_the_volume_that_it_manages(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=())
    for lv, disk in zip(("a", "b"), one.group.disks):
        run("lvcreate", "-y", "-Wn", "-n", lv, "-L", "8M", one.group.name, disk.path)
    one.group.deactivate()
    one.node.parameters["lvname"] = "b"
    assert one.node.start().code == 0
    one.group.activate("a")
    one.group.disks[1].fail()
    stock = one.stock
    stock.parameters["lvname"] = "b"
    assert stock.monitor(level=10).code == 0
    assert one.node.monitor(level=10).code == 1


def test_l3_a_dmsetup_that_fails_is_no_proof(resource: MakeResource, replaced: Replace) -> None:
    one = resource().started()
    replaced("/usr/sbin/dmsetup", "exit 1")
    assert one.stock.probe().code == 7
    assert one.stock.stop().code == 0
    assert one.node.probe().code == 0
    assert one.node.monitor(level=10).code == 0
    assert one.node.stop().code == 0
    assert one.node.probe().code == 7


def test_l3_the_level_of_a_monitor_means_nothing_to_stop(resource: MakeResource) -> None:
    one = resource().started()
    one.group.disk.fail()
    stopped = one.stock.stop(environment={"OCF_RESKEY_OCF_CHECK_LEVEL": "10"})
    assert (stopped.code, one.group.active) == (0, {"a", "b"})
    assert one.node.stop(environment={"OCF_RESKEY_OCF_CHECK_LEVEL": "10"}).code == 0
    assert one.group.active == set()


def test_l4_a_start_that_activates_nothing_has_failed(resource: MakeResource) -> None:
    """A volume_list that leaves the group out (#1909)."""
    one = resource()
    with volume_list("other"):
        started = one.node.start()
        stock = one.stock.start()
    assert one.group.active == set()
    assert (started.code, "volume_list" in started.reason) == (1, True), started
    assert (stock.code, "volume_list" in stock.reason) == (0, False), stock


def test_l5_what_another_node_owns_is_not_started(resource: MakeResource) -> None:
    one = resource()
    one.group.activate()
    one.group.give_away()
    assert one.stock.start().code == 0
    result = one.node.start()
    assert (result.code, f"owned by {OTHER}" in result.reason) == (1, True), result
    assert one.node.stop().code == 0
    assert one.group.active == set()


def test_l6_missing_disks_of_a_foreign_group_are_counted(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=("a",))
    one.group.give_away()
    one.group.disks[1].pull()
    stock = one.stock.start()
    assert (stock.code != 0, "PV" in stock.reason) == (True, False), stock
    result = one.node.start(**hurry(30))
    assert (result.code, "1 of 2 PVs of VG" in result.reason) == (1, True), result
    one.group.disks[1].plug()


def test_l7_why_the_group_was_not_taken_over(resource: MakeResource, before_lvm: Callable[[str], None]) -> None:
    one = resource()
    one.group.give_away()
    before_lvm('case "$0 $*" in *vgchange*systemid*) echo "no quorum of disks" >&2; exit 5;; esac')
    assert "no quorum of disks" not in one.stock.start().reason
    result = one.node.start()
    assert (result.code, "no quorum of disks" in result.reason) == (1, True), result
    assert one.group.active == set()


def test_l8_a_tag_that_is_there_is_not_written_again(resource: MakeResource) -> None:
    one = resource(vg_access_mode="tagging")
    run("vgchange", "-y", "--addtag", "pacemaker", one.group.name)
    before = seqno(one.group.name)
    with volume_list("none"):
        assert one.node.start().code == 0
        assert seqno(one.group.name) == before
        one.group.deactivate()
        assert one.stock.start().code == 0
        assert int(seqno(one.group.name)) > int(before)


def test_l9_other_tags_are_left_alone(resource: MakeResource) -> None:
    one = resource(vg_access_mode="tagging")
    for tag in ("backup", "gold"):
        run("vgchange", "--addtag", tag, one.group.name)
    with volume_list("none"):
        assert one.node.start().code == 0
        assert one.node.stop().code == 0
        assert run("vgs", "--noheadings", "-o", "vg_tags", one.group.name) == "backup,gold"
        assert one.stock.start().code == 0
        one.stock.stop()
        assert run("vgs", "--noheadings", "-o", "vg_tags", one.group.name) != "backup,gold"


@pytest.mark.parametrize("what", ["mode", "volume", "exported"])
def test_l10_what_one_node_sees_does_not_stop_the_resource_everywhere(resource: MakeResource, what: str) -> None:
    mode, lv = {"mode": ("lvmlockd", None), "volume": ("system_id", "c"), "exported": ("system_id", None)}[what]
    one = resource(vg_access_mode=mode, **({"lvname": lv} if lv else {}))  # type: ignore[arg-type]
    if what == "exported":
        run("vgexport", one.group.name)
    assert one.stock.start().code == 6
    result = one.node.start()
    words = {"mode": "its metadata speak of system_id", "volume": "has no LV c", "exported": "vgimport"}[what]
    assert (result.code, words in result.reason) == (1, True), result
    if what == "exported":
        run("vgimport", one.group.name)


def test_l11_a_stop_with_a_bad_access_mode_stops(resource: MakeResource) -> None:
    one = resource().started()
    stock = one.stock
    stock.parameters["vg_access_mode"] = "sistem_id"
    assert stock.stop().code == 0
    assert one.group.active == {"a", "b"}
    assert one.executor(vg_access_mode="sistem_id").stop().code == 0
    assert one.group.active == set()
    one.group.activate()
    result = one.executor(vg_access_mode="sistem_id").stop()
    assert (result.code, "cannot tell what to stop" in result.reason) == (1, True), result


def test_l13_a_dead_disk_of_somebody_else_does_not_hold_up_a_start(resource: MakeResource) -> None:
    one, other = resource(), resource()
    other.group.disk.hang()
    stock = one.stock.start(timeout=20.0)
    assert stock.timed_out, stock
    result = one.node.start()
    assert result.code == 0, result
    assert one.group.active == {"a", "b"}
    assert one.node.stop(timeout=60.0).code == 0, "the stop is not held up either"


def test_l14_one_volume_of_two_is_not_the_group(resource: MakeResource) -> None:
    one = resource()
    one.group.activate("a")
    assert one.stock.start().code == 0
    assert one.group.active == {"a"}
    assert one.node.start().code == 0
    assert one.group.active == {"a", "b"}


def test_l15_a_process_with_a_similar_name_is_not_the_daemon(resource: MakeResource) -> None:
    one = resource(vg_access_mode="lvmlockd")
    one.group.lock("dlm")
    exporter = DIRECTORY / "lvmlockd-export"
    shutil.copy("/bin/sleep", exporter)
    with configured("global { use_lvmlockd = 1 }"), subprocess.Popen([exporter, "600"]) as process:
        try:
            assert "not running" not in one.stock.start().reason, "it is taken for the daemon"
            result = one.node.start()
        finally:
            process.kill()
    assert (result.code, "lvmlockd is not running" in result.reason) == (1, True), result


@pytest.mark.parametrize("kind", ["sanlock", "idm"])
def test_l16_other_lock_types_than_dlm(resource: MakeResource, kind: str) -> None:
    """Neither can start here, where no lock manager runs; but one node's lack of it stops nothing on the others."""
    one = resource(vg_access_mode="lvmlockd")
    one.group.lock(kind)
    with configured("global { use_lvmlockd = 1 }"):
        assert one.stock.start().code == 6
        result = one.node.start()
    assert (result.code, "lvmlockd is not running" in result.reason) == (1, True), result
    result = one.node.start()
    assert (result.code, "use_lvmlockd = 1" in result.reason) == (2, True), result


def test_l17_a_systemctl_that_hangs_does_not_hold_up_a_start(resource: MakeResource, replaced: Replace) -> None:
    one = resource()
    drop_in = Path("/run/systemd/system/resource-agents-deps.target.d/99-LVM-activate.conf")
    drop_in.unlink(missing_ok=True)
    replaced("/usr/bin/systemctl", "exec sleep 600")
    assert one.stock.start(timeout=15.0).timed_out
    one.group.deactivate()
    result = one.node.start(timeout=80.0)
    assert result.code == 0, result


# Settings of a node that keep a group from being started, each with its remedy.


def test_a_node_without_a_system_id(resource: MakeResource) -> None:
    one = resource()
    with configured('global { system_id_source = "none" }'):
        result = one.node.start()
    assert (result.code, 'set system_id_source = "uname"' in result.reason) == (2, True), result
    assert one.group.active == set()


def test_tagging_without_a_volume_list(resource: MakeResource) -> None:
    one = resource(vg_access_mode="tagging")
    result = one.node.start()
    assert (result.code, "needs volume_list in lvm.conf" in result.reason) == (2, True), result
    assert one.group.active == set()


def test_a_foreign_group_that_autoactivation_has_activated(resource: MakeResource) -> None:
    one = resource()
    run("vgchange", "--setautoactivation", "y", one.group.name)
    one.group.activate()
    one.group.give_away()
    result = one.node.start()
    assert (result.code, "autoactivation is on" in result.reason) == (1, True), result


def test_a_disk_that_the_devices_file_leaves_out(resource: MakeResource) -> None:
    """As RHEL 9 has it: LVM sees what is listed, and says nothing of the rest.  Debian has no lvmdevices, so the file is written here."""
    one, other = resource(), resource()
    listing = Path("/etc/lvm/devices/system.devices")
    listing.parent.mkdir(parents=True, exist_ok=True)

    def listed(*groups: Group) -> None:
        lines = ["VERSION=1.1.1"]
        for group in groups:
            path = group.disk.path
            identifier = run("pvs", "--foreign", "--config", "devices/use_devicesfile=0", "--noheadings", "-o", "pv_uuid", path)
            lines.append(f"IDTYPE=devname IDNAME={path} DEVNAME={path} PVID={identifier.replace('-', '')}")
        listing.write_text("\n".join(lines) + "\n")

    with configured("devices { use_devicesfile = 1 }"):
        try:
            listed(other.group)
            refused = one.node.start(**hurry(30))
            assert (refused.code, f"lvmdevices --adddev {one.group.disk.path}" in refused.reason) == (1, True), refused
            listed(other.group, one.group)
            assert one.node.start().code == 0
            assert one.node.stop().code == 0
        finally:
            listing.unlink()


def test_a_stop_needs_no_living_disk(resource: MakeResource) -> None:
    """S5 of the lab: the volume is closed, its disk fails, and the stock agent's stop fails and has the node fenced."""
    one = resource().started()
    one.group.disk.fail()
    assert one.stock.stop().code == 1
    result = one.node.stop()
    assert result.code == 0, result
    assert one.group.active == set()


@pytest.mark.parametrize("loss, told", [("offline", "no path is running"), ("removed", "without a path")])
def test_queueing_without_a_path_is_a_hang_at_once(resource: MakeResource, loss: str, told: str) -> None:
    """The lab's multipath map queues and has lost all its paths."""
    one = resource(map="mpathb", lvs=("a",), io_timeout="auto").started()
    assert one.group.map
    one.group.mount("a")
    assert one.stock.monitor(level=10).code == 0
    one.group.map.queue()
    if loss == "removed":
        one.group.map.remove()
    else:
        one.group.map.state("offline")
    assert one.stock.monitor(level=10).code == 0, "it reads its byte from memory"
    result = one.node.monitor(level=10, timeout=60.0)
    assert (result.code, told in result.reason, "multipath mpathb " in result.reason) == (1, True, True), result
    # With auto and iSCSI's own times that is 20 s where a path is left.
    age = re.search(r"unanswered for ([0-9.]+) s", result.reason)
    assert age and float(age[1]) < 2 + PATIENCE / 2
    stopped = one.node.stop()
    assert (stopped.code, stopped.seconds < 3 + PATIENCE) == (1, True), stopped
    one.group.map.heal()
    await_true("the storage is back", lambda: one.node.monitor(level=10, timeout=60.0).code == 0, 60)


def test_one_path_less_is_no_failure(resource: MakeResource) -> None:
    one = resource(map="mpathb", lvs=("a",), io_timeout="auto").started()
    assert one.group.map
    one.group.map.state("offline", one.group.map.paths[0])
    assert one.node.monitor(level=10, timeout=60.0).code in (0, 190)
