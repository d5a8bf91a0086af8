"""fence_pve under real Pacemaker, on two nodes that are guests of a modelled Proxmox VE."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import FENCE_AGENT
from tests.system.conftest import shown
from tests.system.powered import BYSTANDER, HERE, PEER, PoweredCluster

pytestmark = pytest.mark.cluster

DELAY = 20
STOP_SECONDS = 5.0
# What an unreachable hypervisor may cost, and what a test allows for a bound of the design.
ANSWER = 10
PATIENCE = 3

@pytest.fixture(scope="module")
def powered_cluster() -> Iterator[PoweredCluster]:
    with tempfile.TemporaryDirectory(prefix="powered-") as directory, PoweredCluster(Path(directory)) as cluster:
        yield cluster


@pytest.fixture
def cluster(request: pytest.FixtureRequest, powered_cluster: PoweredCluster) -> Iterator[PoweredCluster]:
    request.node.stash[shown] = powered_cluster
    yield powered_cluster
    powered_cluster.remove_devices()


def test_a_guest_is_fenced_by_hand(cluster: PoweredCluster) -> None:
    """`pcs stonith fence` cuts the guest's power and gives it back, and Pacemaker has it in its history."""
    cluster.make_device("fence-bystander", BYSTANDER, "bystander")
    (before,) = (run.pid for run in cluster.world.runs(BYSTANDER))
    began = time.monotonic()
    done = cluster.here.run("pcs", "stonith", "fence", "bystander")
    print(f"fenced in {time.monotonic() - began:.1f} s")
    assert "Node: bystander fenced" in done.stdout + done.stderr
    first, second = cluster.world.runs(BYSTANDER)
    assert first.pid == before
    assert first.ended is not None
    assert second.began >= first.ended
    assert second.ended is None
    assert cluster.history("bystander") == [("reboot", "success")]
    assert {vmid: len(cluster.world.runs(vmid)) for vmid in (HERE, PEER)} == {HERE: 1, PEER: 1}


def test_off_leaves_it_off(cluster: PoweredCluster) -> None:
    cluster.make_device("fence-bystander", BYSTANDER, "bystander")
    cluster.pcs("stonith", "fence", "bystander", "--off")
    assert cluster.world.runs(BYSTANDER)[-1].ended is not None
    assert cluster.history("bystander")[0] == ("off", "success")
    cluster.here.run("stonith_admin", "--unfence", "bystander")
    assert cluster.world.runs(BYSTANDER)[-1].ended is None


def test_a_broken_fence_path_fails_the_monitor(cluster: PoweredCluster) -> None:
    """`pcs status` shows it, and the log says why: Pacemaker 2.1.5 keeps no exit reason of a fence agent."""
    cluster.make_device("fence-bystander", BYSTANDER, "bystander", "op", "monitor", "interval=5s")
    with cluster.hypervisor_dead("pve3"):
        cluster.wait_for(cluster.failed_actions, "the monitor fails", within=90)
        failure = cluster.failed_actions()[0]
        assert (failure.resource, failure.operation, failure.code) == ("fence-bystander", "monitor", 1)
        assert "fence-bystander_monitor_5000 on " in cluster.pcs("status", "--full")
        reasons = cluster.said_by_agents()
        print(*reasons, sep="\n")
        assert reasons
        assert [reason for reason in reasons if "pve3" not in reason] == []
    # What is back is used again.
    cluster.pcs("stonith", "cleanup", "fence-bystander")
    cluster.wait_for(lambda: cluster.running("fence-bystander"), "the device is used again", within=60)
    assert cluster.failed_actions() == []


def test_the_next_level_fences_where_the_hypervisor_is_dead(cluster: PoweredCluster) -> None:
    """Nothing proves a guest off whose hypervisor is silent; the agent gives up early enough for another device."""
    shutil.copy(FENCE_AGENT, "/usr/sbin/")
    cluster.make_device("fence-bystander", BYSTANDER, "bystander")
    cluster.pcs("stonith", "create", "fence-host", "fence_recorder", f"record={cluster.record}", "pcmk_host_list=bystander")
    cluster.devices.append("fence-host")
    for level, device in (("1", "fence-bystander"), ("2", "fence-host")):
        cluster.pcs("stonith", "level", "add", level, "bystander", device, "--force")  # It is no node of the cluster.
    cluster.settle()
    with cluster.hypervisor_dead("pve3"):
        began = time.monotonic()
        cluster.here.run("pcs", "stonith", "fence", "bystander")
        took = time.monotonic() - began
    print(f"fenced by the second level after {took:.1f} s")
    assert [(call.action, call.node) for call in cluster.fencing_calls()] == [("reboot", "bystander")]
    assert cluster.history("bystander")[0] == ("reboot", "success")
    # Pacemaker asks a device twice before it goes on.
    assert took < 2 * ANSWER * PATIENCE
    cluster.pcs("stonith", "level", "clear")


def test_of_two_that_fence_each_other_one_lives(cluster: PoweredCluster) -> None:
    """The delay of the device that fences a node protects it: the other one is dead before its own call has begun."""
    cluster.make_device("fence-here", HERE, cluster.here.name, pcmk_delay_base=f"{DELAY}s")
    cluster.make_device("fence-peer", PEER, cluster.peer.name)
    cluster.pcs("property", "set", "stonith-action=off")
    cluster.settle()
    # The loser lives long enough to see the cut as well.
    with cluster.standin.lock:
        cluster.world.guests[PEER].stop_seconds = STOP_SECONDS
    began = time.monotonic()
    cluster.cut()
    cluster.wait_for(lambda: cluster.history(cluster.peer.name) == [("off", "success")], "one of them is fenced", within=120)
    print(f"fenced {time.monotonic() - began:.1f} s after the cut")
    # The loser was about to do the same, and had its delay not ended it would have.
    assert re.search(rf"Delaying 'off' action targeting {cluster.here.name} using fence-here for {DELAY}s", cluster.peer.log.read_text())
    cluster.wait_for(lambda: cluster.online() == {cluster.here.name}, "the other one goes on", within=60)
    time.sleep(DELAY + 2)
    assert [run.ended for run in cluster.world.runs(HERE)] == [None]
    assert [run.ended is None for run in cluster.world.runs(PEER)] == [False]
    assert cluster.online() == {cluster.here.name}
