"""LVM-activate under real pcs and real Pacemaker, over the stand-ins for LVM."""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lvm.conftest import IO_TIMEOUT, MakeResource
from tests.system.cluster import DEGRADED, Cluster
from tests.system.node import NamespacedNode

pytestmark = pytest.mark.cluster

AGENT = "ocf:lab:LVM-activate"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="cluster-") as directory, Cluster(Path(directory)) as made:
        yield made
    # The cluster ends before the interpreter does, and so does the pipe to its other node.
    assert isinstance(made.peer, NamespacedNode) and made.peer.machine.stdout
    made.peer.machine.stdout.close()


def test_pcs_describes_the_agent(cluster: Cluster) -> None:
    text = cluster.pcs("resource", "describe", AGENT)
    for name in ("vgname", "lvname", "vg_access_mode", "activation_mode", "partial_activation", "io_timeout", "fence_on_io_error"):
        assert f"\n  {name}" in text
    assert text.count("OCF_CHECK_LEVEL=") == 2


def test_the_line_of_the_lab_document(resource: MakeResource, cluster: Cluster) -> None:
    """The stock agent's line with another name; then the disk hangs, and the node is fenced."""
    one = resource()
    given = {"vgname": one.group.name, "lvname": "a", "activation_mode": "exclusive", "vg_access_mode": "system_id"}
    cluster.create("pg-lvm", AGENT, {**given, "io_timeout": f"{IO_TIMEOUT:g}"}, "--group", "pg-group")
    cluster.wait_for(lambda: cluster.running("pg-lvm", cluster.here), "pg-lvm runs", within=60)
    cluster.settle()
    try:
        assert one.group.active == {"a"}
        configured = ET.fromstring(cluster.here.run("cibadmin", "--query", "--xpath", "//primitive[@id='pg-lvm']").stdout)
        levels = {level.get("value") for level in configured.iterfind(".//op[@name='monitor']//nvpair[@name='OCF_CHECK_LEVEL']")}
        assert levels == {"10", "20"}
        ran = [(run.operation, run.code) for run in cluster.executions("pg-lvm")]
        assert ran[:2] == [("monitor", 7), ("start", 0)]
        assert [(operation, code in (0, DEGRADED)) for operation, code in ran[2:5]] == [("monitor", True)] * 3
        assert cluster.failures() == []
        assert cluster.here.run("crm_resource", "--validate", "--resource", "pg-lvm").returncode == 0
        one.group.disk.hang()
        cluster.wait_for(cluster.fencing_calls, "this node is fenced", within=120)
        failed = {(result.operation, result.code): result.reason for result in cluster.results("pg-lvm")}
        assert "storage hang: read unanswered" in failed["monitor", 1]
        assert "fencing needed" in failed["stop", 1]
    finally:
        one.group.disk.heal()
        cluster.reset()
