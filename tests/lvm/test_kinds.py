"""Volumes of every kind, groups that miss disks, and what a start costs: on a node only, since LVM itself answers here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from ocf_lab import block
from tests.hurry import hurry
from tests.lvm.conftest import PATIENCE, MakeResource
from tests.lvm.stack import DIRECTORY, OTHER, OWN, Disk, await_true, run


def test_volumes_of_every_kind(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=("plain-one",), name="vg-with-hyphens")
    group = one.group
    group.make("mirror", "--type", "raid1", "-m1", "-L", "4M")
    run("lvcreate", "-y", "-L", "16M", "--thinpool", "pool", group.name)
    run("lvcreate", "-y", "-Wn", "-V", "8M", "--thinpool", f"{group.name}/pool", "-n", "thin")
    run("lvcreate", "-y", "-s", "-L", "4M", "-n", "snap", f"{group.name}/plain-one")
    group.deactivate()
    assert one.node.start().code == 0
    assert {"plain-one", "mirror", "thin", "snap"} <= group.active
    refused = one.executor("snapshot", lvname="snap").start()
    assert (refused.code, "with its origin only" in refused.reason) == (1, True), refused
    # It is there with its origin, and whoever names it by mistake has no part in that.
    wrong = one.executor("snapshot", lvname="snap")
    assert (wrong.probe().code, wrong.stop().code, "snap" in group.active) == (7, 0, True)
    for level in (0, 10, 20):
        result = one.node.monitor(level=level)
        assert result.code == 0, result
    run("lvremove", "-y", f"{group.name}/snap")
    result = one.node.monitor(level=10)
    assert result.code == 0, result
    stopped = one.node.stop()
    assert (stopped.code, group.active) == (0, set()), stopped


def test_a_stop_is_not_over_while_the_pool_is_active(resource: MakeResource, before_lvm: Callable[[str], None]) -> None:
    """LVM deactivates the thin volume first and the pool after it.

    Where it does not come back in between, the other node must not activate the pool too.
    """
    one = resource(lvs=(), lvname="thin")
    run("lvcreate", "-y", "-L", "16M", "--thinpool", "pool", one.group.name)
    run("lvcreate", "-y", "-Wn", "-V", "8M", "--thinpool", f"{one.group.name}/pool", "-n", "thin")
    one.group.deactivate()
    one.started()
    before_lvm(f'case "$0 $*" in *lvchange*-an*) dmsetup remove {one.group.mapped("thin")}; exec sleep 600;; esac')
    stopped = one.node.stop(**hurry(30))
    assert (stopped.code, "pool-tpool is still active" in stopped.reason, "thin" in one.group.active) == (1, True, False), stopped


def test_a_pool_that_another_volume_needs_keeps_no_stop_up(resource: MakeResource) -> None:
    one = resource(lvs=(), lvname="thin")
    run("lvcreate", "-y", "-L", "16M", "--thinpool", "pool", one.group.name)
    for name in ("thin", "other"):
        run("lvcreate", "-y", "-Wn", "-V", "8M", "--thinpool", f"{one.group.name}/pool", "-n", name)
    one.group.deactivate()
    one.started()
    one.group.activate("other")
    stopped = one.node.stop()
    assert (stopped.code, one.group.active & {"thin", "other"}) == (0, {"other"}), stopped


def test_a_cache_pool_that_caches_nothing_keeps_no_start_up(resource: MakeResource) -> None:
    one = resource(lvs=("a",))
    run("lvcreate", "-y", "--type", "cache-pool", "-L", "8M", "-n", "fast", one.group.name)
    one.group.deactivate()
    started = one.node.start()
    assert (started.code, one.group.active) == (0, {"a"}), started
    assert one.node.stop().code == 0


@pytest.mark.parametrize("what", ["volume", "group"])
def test_what_was_renamed_is_stopped(resource: MakeResource, what: str) -> None:
    one = resource(lvs=("a",), lvname="a").started()
    if what == "volume":
        run("lvrename", one.group.name, "a", "b")
    else:
        run("vgrename", one.group.name, f"{one.group.name}-new")
    try:
        for level in (0, 10):
            assert one.node.monitor(level=level).code == 0
        stopped = one.node.stop()
        left = run("dmsetup", "ls")
        assert (stopped.code, one.group.name.replace("-", "--") in left) == (0, False), (stopped, left)
    finally:
        if what == "group":
            run("vgrename", f"{one.group.name}-new", one.group.name)


def test_a_mirror_that_has_lost_a_leg(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=())
    one.group.make("mirror", "--type", "raid1", "-m1", "--nosync", "-L", "4M")
    one.group.deactivate()
    one.group.disks[1].pull()
    refused = one.node.start(**hurry(30))
    assert (refused.code, "1 of 2 PVs of VG" in refused.reason, "degraded_activation" in refused.reason) == (1, True, True), refused
    for option, levels in (("degraded_activation", (0, 10, 20)), ("partial_activation", (10,))):
        node = one.executor(**{option: "yes"})
        started = node.start()
        assert (started.code, "mirror" in one.group.active) == (0, True), started
        for level in levels:
            result = node.monitor(level=level)
            assert (result.code, "mirror is incomplete" in result.reason) == ((190, True) if level else (0, False)), result
        assert node.stop().code == 0
    one.group.disks[1].plug()


def test_a_mirror_with_a_dead_leg_is_stopped(resource: MakeResource) -> None:
    """Its devices cannot be removed without LVM, and LVM can do without the disk that answers with errors."""
    one = resource(disks=2, lvs=())
    one.group.make("mirror", "--type", "raid1", "-m1", "--nosync", "-L", "4M")
    one.group.deactivate()
    one.started()
    one.group.disks[1].fail()
    looked = one.node.monitor(level=10)
    assert (looked.code, "beneath: I/O error" in looked.reason) == (190, True), looked
    stopped = one.node.stop()
    assert (stopped.code, one.group.active) == (0, set()), stopped


def test_a_disk_that_fails_now_and_then(resource: MakeResource) -> None:
    one = resource(lvs=("a",)).started()
    for up, down, code in ((3600, 0, 0), (0, 3600, 1), (3600, 0, 0)):
        one.group.disk.flakey(up, down)
        result = one.node.monitor(level=10)
        assert (result.code, "I/O error: read: EIO" in result.reason) == (code, bool(code)), result


@pytest.mark.parametrize("line", ["exec sleep 60", "exit 5"])
def test_an_owner_that_lvm_does_not_tell(resource: MakeResource, before_lvm: Callable[[str], None], line: str) -> None:
    one = resource().started()
    before_lvm(f'case "$0" in */vgs) {line};; esac')
    result = one.node.monitor(level=20)
    assert (result.code, "owner not checked" in result.reason) == (190, True), result


@pytest.mark.parametrize("option, code, words", [("degraded_activation", 1, "missing"), ("majority_pvs", 5, "2.03.20")])
def test_a_foreign_group_that_misses_a_disk(resource: MakeResource, option: str, code: int, words: str) -> None:
    """LVM does not change the owner of such a group, unless it knows --majoritypvs."""
    one = resource(disks=3, lvs=("a",))
    one.group.give_away()
    one.group.disks[2].pull()
    result = one.executor(**{option: "yes"}).start(**hurry(30))
    assert (result.code, words in result.reason) == (code, True), result
    assert (one.group.owner, one.group.active) == (OTHER, set())
    one.group.disks[2].plug()


def test_what_is_left_of_a_volume_is_activated_where_that_is_asked_for(resource: MakeResource) -> None:
    one = resource(disks=2, lvs=())
    one.group.make("long", "-l", "100%FREE")
    one.group.deactivate()
    one.group.disks[1].pull()
    refused = one.executor(degraded_activation="yes").start(**hurry(30))
    assert (refused.code, one.group.active) == (1, set()), refused
    node = one.executor(partial_activation="yes")
    started = node.start()
    assert (started.code, "long" in one.group.active) == (0, True), started
    for level in (0, 10, 20):
        result = node.monitor(level=level)
        assert (result.code, "long is incomplete" in result.reason) == ((190, True) if level else (0, False)), result
    one.group.disks[0].fail()
    result = node.monitor(level=10)
    assert (result.code, "I/O error" in result.reason) == (1, True), "what is left has to answer"
    one.group.disks[0].heal()
    assert node.stop().code == 0
    one.group.disks[1].plug()


@pytest.mark.parametrize("owner", [OWN, OTHER])
def test_two_groups_of_one_name(resource: MakeResource, owner: str) -> None:
    one = resource(lvs=("a",))
    other = Disk()
    try:
        # It sees only its own disk, as on the node that it comes from.
        run("vgcreate", "--devices", other.path, "--setautoactivation", "n", "--systemid", owner, one.group.name, other.path)
        result = one.node.start(**hurry(30))
        listed = [line.split() for line in run("vgs", "--foreign", "--noheadings", "-o", "vg_uuid,vg_name").splitlines()]
        uuids = [uuid for uuid, name in listed if name == one.group.name]
        assert (result.code, len(uuids), [uuid for uuid in uuids if uuid not in result.reason]) == (1, 2, []), result
        assert one.group.active == set()
    finally:
        other.close()


def test_many_volumes(resource: MakeResource) -> None:
    names = [f"lv{number:02}" for number in range(100)]
    one = resource(lvs=(), io_timeout="auto")
    one.group.make_many(names)
    # Emulated, LVM alone takes a third of a second for each.
    started = one.node.start(timeout=300.0)
    assert (started.code, len(one.group.active)) == (0, len(names)), started
    result = one.node.monitor(level=10)
    assert result.code == 0, result
    stopped = one.node.stop(timeout=300.0)
    assert (stopped.code, one.group.active) == (0, set()), stopped


def test_a_takeover_runs_three_commands_of_lvm(resource: MakeResource, before_lvm: Callable[[str], None]) -> None:
    """The first after boot, too: the agent has no memory of this group."""
    one = resource()
    log = DIRECTORY / "commands"
    before_lvm(f'echo "${{0##*/}} $*" >>{log}')
    told = {}
    for name, node in (("ours", one.node), ("stock", one.stock)):
        one.group.give_away()
        log.unlink()
        assert node.start().code == 0
        told[name] = log.read_text().splitlines()
        log.unlink()
        one.group.deactivate()
    assert [line.split()[:2] for line in told["ours"]] == [["lvm", "fullreport"], ["vgchange", "-y"], ["lvchange", "-ay"]]
    assert len(told["stock"]) > 2 * len(told["ours"])


def test_a_stop_after_errors_waits_for_what_another_resource_has_in_flight(resource: MakeResource) -> None:
    """Nothing tells whose I/O it is that the disk has not answered yet.  The first volume's part of it fails, the second's hangs."""
    one = resource(lvname="a").started()
    one.group.activate("b")
    disk, split, hanging = one.group.disk, (1 + 8) << 11, Disk()
    # device-mapper does not count what it holds back, a loop device does.
    loop = run("losetup", "--find", "--show", "--direct-io=on", hanging.path)
    try:
        disk.table(f"0 {split} error\n{split} {disk.sectors - split} linear {loop} 0")
        hanging.hang()
        with subprocess.Popen(["dd", f"if=/dev/{one.group.name}/b", "of=/dev/null", "iflag=direct", "count=1"]) as reading:
            await_true("it is in flight", lambda: block.in_flight(disk.number))
            stopped = one.node.stop()
            assert (stopped.code, "in flight" in stopped.reason, one.group.active) == (1, True, {"b"}), stopped
            hanging.heal()
            assert reading.wait(timeout=60) == 0
        disk.heal()
        assert one.node.stop().code == 0
    finally:
        hanging.heal()
        disk.heal()
        run("losetup", "--detach", loop)
        hanging.close()


def test_a_stop_waits_for_the_read_of_a_monitor(resource: MakeResource) -> None:
    """Where the volume lies its disk is slow, and elsewhere it is not: the read that a monitor has left behind keeps the volume open."""
    one = resource(lvs=("a",), io_timeout="60", io_slow_max="60").started()
    disk, first, last = one.group.disk, 1 << 11, 9 << 11
    disk.table(f"0 {first} linear {disk.loop} 2048\n{first} {last - first} delay {disk.loop} {2048 + first} 20000\n"
               f"{last} {disk.sectors - last} linear {disk.loop} {2048 + last}")  # fmt: skip
    looked = one.node.monitor(level=10, **hurry(8))
    assert (looked.code, "not answering yet" in looked.reason) == (190, True), looked
    stopped = one.node.stop()
    assert (stopped.code, one.group.active) == (0, set()), stopped


def test_a_dead_disk_of_another_group_ends_no_waiting(resource: MakeResource) -> None:
    """The kernel knows whose it is; this node may have to wait for its own disks, as after an outage of the whole SAN."""
    one, other = resource(), resource()
    other.group.activate()
    other.group.disk.fail()
    one.group.disk.pull()
    call = one.node.begin("start", **hurry(60))
    time.sleep(PATIENCE)
    one.group.disk.plug()
    started = call.finish()
    assert (started.code, one.group.active) == (0, {"a", "b"}), started


def test_a_start_whose_lvm_does_not_come_back_has_time_to_clean_up(resource: MakeResource, before_lvm: Callable[[str], None]) -> None:
    one = resource()
    # It activates, and then does not end.
    before_lvm('case "$0 $*" in *lvchange*-ay*) "$REAL" "${0##*/}" "$@"; exec sleep 600;; esac')
    result = one.node.start(**hurry(30))
    assert (result.code, one.group.active) == (1, set()), result
