"""What docs/operations.md tells to do with a cluster: each command as it stands there, with the names of this cluster's nodes."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.packaging import operations
from tests.system.cluster import Cluster
from tests.system.conftest import MakeDatabase

pytestmark = pytest.mark.cluster

STOCK = "ocf:heartbeat:pgsql"
MAINTENANCE_ENDS = "pcs property set maintenance-mode=false"


def shell(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=180)  # fmt: skip


def obey(command: str) -> str:
    done = shell(command)
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def test_pcs_takes_the_recommended_configuration(tmp_path: Path) -> None:
    """In a file: this cluster has neither a volume group nor a hypervisor."""
    cib = tmp_path / "cib.xml"
    obey(f"cibadmin --empty >{cib}")
    cib.write_text(cib.read_text().replace("<nodes/>", '<nodes><node id="1" uname="rhel1"/><node id="2" uname="rhel2"/></nodes>'))
    # The devices that the topology names in its second level are of another agent.
    for name in ("fence-pve1-board", "fence-pve2-board"):
        obey(f"pcs -f {cib} stonith create {name} fence_ipmilan ip=192.0.2.1 username=u password=p pcmk_host_list=rhel1")
    for command in operations.tested("configuration") + operations.tested("topology") + operations.tested("fence-device"):
        assert command.startswith("pcs ")
        said = obey(f"pcs -f {cib} {command.removeprefix('pcs ')}")
        assert "Error" not in said, said
    # It warns of two nodes that nobody has seen yet.
    assert "error" not in shell(f"crm_verify -VV --xml-file {cib}").stdout.lower()
    made = ET.parse(cib)
    assert [found.get("id") for found in made.iterfind(".//group[@id='pg']/primitive")] == ["pg-lvm", "pg-fs", "pg-db", "pg-vip"]
    agents = {f"{found.get('provider')}:{found.get('type')}" for found in made.iterfind(".//group/primitive")}
    assert {"lab:LVM-activate", "lab:pgsql-storage"} <= agents
    levels = [found.get("value") for found in made.iterfind(".//primitive[@id='pg-db']//op//nvpair[@name='OCF_CHECK_LEVEL']")]
    assert levels == ["10", "20"]
    options = {found.get("name"): found.get("value") for found in made.iterfind(".//primitive[@id='fence-rhel1']/instance_attributes/*")}
    assert options["password"] == "@/etc/pacemaker/fence.password"


def test_what_is_to_be_looked_at_can_be(make_database: MakeDatabase, cluster: Cluster) -> None:
    for command in operations.tested("look"):
        assert "ocf:lab:" in command or "fence_pve" in command
        assert "Description" in obey(command) or "io_timeout" in obey(command) or "vm_name" in obey(command)
    cluster.create("pg-db", "ocf:lab:pgsql-storage", make_database("db").parameters())
    cluster.wait_for(lambda: cluster.running("pg-db", cluster.here), "it runs", within=60)
    shown = [obey(command) for command in operations.tested("see")]
    assert len(shown) == 3
    assert "returned 0" in shown[0]
    assert "pg-db" in shown[1]
    nowhere = operations.tested("see")[0].replace("--resource pg-db", "--class ocf --provider lab --agent pgsql-storage")
    assert "is the file system mounted?" in shell(f"{nowhere} --option pgctl=/bin/true --option pgdata=/nowhere").stdout


def op_monitors(cluster: Cluster) -> dict[str, str]:
    """Return the level of each monitor that is configured, by its interval."""
    configured = ET.fromstring(cluster.here.run("cibadmin", "--query", "--xpath", "//primitive[@id='pg-db']").stdout)
    found = {}
    for operation in configured.iterfind(".//op[@name='monitor']"):
        level = operation.find(".//nvpair[@name='OCF_CHECK_LEVEL']")
        found[operation.get("interval", "")] = "0" if level is None else level.get("value", "")
    return found


def switched(cluster: Cluster, commands: list[str], agent: str) -> None:
    """Run the commands of a change of agents; before the one that ends maintenance mode the new agent has to have found its resource."""
    assert commands[-1] == MAINTENANCE_ENDS
    assert commands[0] == MAINTENANCE_ENDS.replace("false", "true")
    try:
        for command in commands[:-1]:
            obey(command)
        (line,) = [line for line in obey("pcs status").splitlines() if "pg-db" in line]
        assert f"({agent})" in line
        assert f"Started {cluster.here.name} (" in line
    finally:
        obey(commands[-1])
    cluster.settle()


def test_a_running_database_changes_its_agent_and_back(make_database: MakeDatabase, cluster: Cluster) -> None:
    database = make_database("db")
    cluster.create("pg-db", STOCK, database.parameters(), "op", "monitor", "interval=30s")
    cluster.wait_for(lambda: cluster.running("pg-db", cluster.here), "it runs", within=60)
    postmaster = database.postmaster()
    before = len(cluster.executions("pg-db"))
    switched(cluster, operations.tested("switch-database"), "ocf:lab:pgsql-storage")
    assert op_monitors(cluster) == {"10s": "0", "31s": "10", "61s": "20"}
    cluster.wait_for(lambda: len(cluster.executions("pg-db")) > before + 4, "it is monitored", within=60)
    assert cluster.running("pg-db", cluster.here)
    switched(cluster, operations.tested("switch-database-back"), STOCK)
    assert op_monitors(cluster) == {"30s": "0"}
    assert {run.operation for run in cluster.executions("pg-db")[before:]} == {"monitor"}
    assert database.postmaster() == postmaster
    assert cluster.failures() == []
    assert cluster.fencing_calls() == []
