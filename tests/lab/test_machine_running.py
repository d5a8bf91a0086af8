"""The lab's hardware, running: two nodes under QEMU with shared storage on two ways.  The tests follow each other on one lab."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.machine import boot, image, plan, room, saved, ssh

pytestmark = pytest.mark.machine

TREE = Path(__file__).resolve().parents[2]
BOOT_SECONDS = 600
READ = "dd if=/dev/mapper/mpatha of=/dev/null bs=4k count=1 iflag=direct"
READ_WAL = READ.replace("mpatha", "mpathb")
RHEL1 = plan.NODES["rhel1"]


def program(*words: str, limit: float = 120) -> str:
    done = subprocess.run([sys.executable, "-m", "lab.machine", *words], cwd=TREE, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=limit)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def await_so(ready: Callable[[], bool], what: str, limit: float = 90) -> float:
    began = time.monotonic()
    while not ready():
        assert time.monotonic() - began < limit, f"{what} still not so after {limit:.0f} s"
        time.sleep(0.3)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def lab() -> Iterator[room.Room]:
    program("up", limit=BOOT_SECONDS)
    try:
        yield room.find()
    finally:
        program("down")


def on(lab: room.Room, node: plan.Node, shell: str, within: float = 30) -> str:
    done = ssh.run(lab, node, shell, within)
    assert done.returncode == 0, f"{shell}: {done.returncode} {done.stderr}"
    return done.stdout


def active(lab: room.Room, node: plan.Node) -> int:
    """Return how many paths work, of all maps together."""
    return len(re.findall("active ready +running", on(lab, node, "multipath -ll")))


def seconds(lab: room.Room, shell: str) -> float:
    """Return how long a command takes on rhel1, by its own clock."""
    return float(on(lab, RHEL1, f"began=$(date +%s.%N); {shell} 2>/dev/null; echo $(date +%s.%N) $began | awk '{{ print $1 - $2 }}'"))


def boots(lab: room.Room, node: plan.Node) -> str:
    return on(lab, node, "cat /proc/sys/kernel/random/boot_id")


def queueing(lab: room.Room, node: plan.Node) -> bool:
    return "queue_if_no_path" in on(lab, node, "dmsetup table mpatha")


@pytest.mark.parametrize("name", plan.NODES)
def test_a_node_knows_who_it_is(lab: room.Room, name: str) -> None:
    node = plan.NODES[name]
    assert program("ssh", name, "uname", "-n").strip() == name
    addresses = on(lab, node, "ip -4 -brief address")
    assert all(f"{node.address(each)}/24" in addresses for each in plan.NETWORKS)


@pytest.mark.parametrize("name", plan.NODES)
def test_a_node_sees_its_storage_on_two_ways(lab: room.Room, name: str) -> None:
    node = plan.NODES[name]
    sessions = on(lab, node, "iscsiadm -m session")
    assert all(portal in sessions for portal in plan.portals())
    assert active(lab, node) == 2 * len(plan.LUNS)
    for lun in plan.LUNS.values():
        on(lab, node, f"test /dev/clusterstorage/{lun.name} -ef /dev/mapper/{lun.alias}")
    on(lab, node, READ)


def test_what_one_node_writes_the_other_reads(lab: room.Room) -> None:
    on(lab, RHEL1, "echo written by rhel1 | dd of=/dev/mapper/mpathc bs=4k conv=sync oflag=direct")
    assert "written by rhel1" in on(lab, plan.NODES["rhel2"], "dd if=/dev/mapper/mpathc bs=4k count=1 iflag=direct | head -c 20")


def test_a_pulled_cable_fails_its_path_alone(lab: room.Room) -> None:
    program("cable", "pull", "rhel1", "san1")
    await_so(lambda: active(lab, RHEL1) == len(plan.LUNS), "half of the paths failed")
    on(lab, RHEL1, READ)
    assert active(lab, plan.NODES["rhel2"]) == 2 * len(plan.LUNS)
    program("cable", "plug", "rhel1", "san1")
    await_so(lambda: active(lab, RHEL1) == 2 * len(plan.LUNS), "the path is back")


@pytest.mark.parametrize("policy", ["fail", "queue"])
def test_without_a_path_a_read_fails_or_hangs(lab: room.Room, policy: str) -> None:
    program("retry", policy)
    await_so(lambda: queueing(lab, RHEL1) == (policy == "queue"), f"no_path_retry {policy}")
    for network in plan.STORAGE:
        program("cable", "pull", "rhel1", network.name)
    await_so(lambda: active(lab, RHEL1) == 0, "no path left")
    # A hung read cannot be killed, so it is left alone and looked after.
    on(lab, RHEL1, f"rm -f /tmp/code; ({READ} </dev/null >/dev/null 2>&1; echo $? >/tmp/code) >/dev/null 2>&1 &")
    time.sleep(10)
    assert on(lab, RHEL1, "cat /tmp/code 2>/dev/null || true").strip() == {"fail": "1", "queue": ""}[policy]
    for network in plan.STORAGE:
        program("cable", "plug", "rhel1", network.name)
    await_so(lambda: active(lab, RHEL1) == 2 * len(plan.LUNS), "both paths are back")
    await_so(lambda: on(lab, RHEL1, "cat /tmp/code 2>/dev/null || true").strip() == {"fail": "1", "queue": "0"}[policy], "the read's end")
    program("retry", "fail")


def test_a_lun_hangs_alone(lab: room.Room) -> None:
    program("lun", "wal", "hang")
    on(lab, RHEL1, f"rm -f /tmp/code; ({READ_WAL} </dev/null >/dev/null 2>&1; echo $? >/tmp/code) >/dev/null 2>&1 &")
    time.sleep(5)
    on(lab, RHEL1, f"test ! -e /tmp/code && {READ}")
    program("lun", "wal", "heal")
    await_so(lambda: on(lab, RHEL1, "cat /tmp/code 2>/dev/null || true").strip() == "0", "the read's end")


def test_a_lun_fails_alone(lab: room.Room) -> None:
    program("lun", "wal", "fail")
    assert ssh.run(lab, RHEL1, READ_WAL).returncode == 1
    on(lab, RHEL1, READ)
    program("lun", "wal", "heal")
    await_so(lambda: ssh.run(lab, RHEL1, READ_WAL).returncode == 0, "the LUN can be read")


def test_a_lun_is_slow_alone(lab: room.Room) -> None:
    program("lun", "wal", "slow", "3")
    assert seconds(lab, READ_WAL) >= 3
    assert seconds(lab, READ) < 3
    program("lun", "wal", "heal")
    assert seconds(lab, READ_WAL) < 3


def test_the_san_goes_away_and_comes_back(lab: room.Room) -> None:
    nodes = plan.NODES.values()
    program("storage", "off")
    await_so(lambda: all(active(lab, node) == 0 for node in nodes), "no path left")
    program("storage", "on")
    await_so(lambda: all(active(lab, node) == 2 * len(plan.LUNS) for node in nodes), "all paths are back", 180)
    for node in nodes:
        on(lab, node, READ)


def test_the_hypervisor_powers_a_node(lab: room.Room) -> None:
    before = lab.order("status")["nodes"]["rhel2"]["pid"]
    # The stock agent, from one node, on the other.
    fence = f"fence_pve --ip=pve2 --username={plan.FENCE_USER} --password={plan.FENCE_PASSWORD} --plug=222 --ssl-insecure --pve-node-auto"
    assert "ON" in on(lab, RHEL1, f"{fence} --action=status", 60)
    on(lab, RHEL1, f"{fence} --action=reboot", 90)
    after = lab.order("status")["nodes"]["rhel2"]["pid"]
    assert after not in (before, None)
    ssh.await_success(lab, plan.NODES["rhel2"], "true", 240, "ssh answers")
    assert [(name, what) for _, name, what in lab.order("history")["power"]][-2:] == [("rhel2", "off"), ("rhel2", "on")]


def test_a_node_can_verify_the_hypervisor(lab: room.Room) -> None:
    ca = on(lab, RHEL1, "cat /etc/ssl/pve-root-ca.pem")
    assert ca.startswith("-----BEGIN CERTIFICATE-----")
    shell = f"""python3 -c '
import socket, ssl
context = ssl.create_default_context(cafile="/etc/ssl/pve-root-ca.pem")
context.wrap_socket(socket.create_connection(("pve1", {plan.API_PORT}), 20), server_hostname="pve1").close()'"""
    on(lab, RHEL1, shell, 60)


def test_power_by_hand(lab: room.Room) -> None:
    program("power", "off", "rhel2")
    assert lab.order("status")["nodes"]["rhel2"]["pid"] is None
    assert "off for" in program("status")
    program("power", "on", "rhel2")
    ssh.await_success(lab, plan.NODES["rhel2"], "true", 240, "ssh answers")


def test_a_reset_node_boots_again(lab: room.Room) -> None:
    node = plan.NODES["rhel2"]
    before = boots(lab, node)
    program("power", "reset", "rhel2")
    ssh.await_success(lab, node, "true", boot.SSH_SECONDS, "ssh answers")
    assert boots(lab, node) != before
    assert lab.order("history")["power"][-1][1:] == ["rhel2", "reset"]


def test_a_node_that_switches_itself_off_is_off(lab: room.Room) -> None:
    ssh.run(lab, RHEL1, "systemctl --no-block poweroff")
    await_so(lambda: lab.order("status")["nodes"]["rhel1"]["pid"] is None, "off")
    assert time.time() - lab.order("status")["nodes"]["rhel1"]["since"] < 60
    program("power", "on", "rhel1")
    boot.await_nodes(lab)


def test_a_lab_begins_where_another_one_was_saved(lab: room.Room) -> None:
    marks = {name: f"written by {name}" for name in plan.NODES}
    for number, (name, node) in enumerate(plan.NODES.items()):
        on(lab, node, f"echo {marks[name]} | tee /etc/mark | dd of=/dev/mapper/mpathc bs=4k seek={number} conv=sync oflag=direct")
    try:
        saved.save(lab, "tests")
        program("down")
        program("up", "--saved", "tests", limit=BOOT_SECONDS)
        again = room.find()
        for number, (name, node) in enumerate(plan.NODES.items()):
            assert on(again, node, "cat /etc/mark").strip() == marks[name]
            read = f"dd if=/dev/mapper/mpathc bs=4k skip={number} count=1 iflag=direct | tr -d '\\0'"
            assert on(again, node, read).strip() == marks[name]
    finally:
        shutil.rmtree(image.saved("tests"), ignore_errors=True)
