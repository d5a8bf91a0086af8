"""pgsql-storage under real Pacemaker, made by the real pcs, over a real PostgreSQL on a disk that can fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import pytest

from tests.faults.disk import FaultDisk
from tests.postgres import Database, ended
from tests.system.cluster import DEGRADED, Cluster
from tests.system.conftest import MakeDatabase

pytestmark = pytest.mark.cluster

AGENT = "ocf:lab:pgsql-storage"
STOCK = "ocf:heartbeat:pgsql"
# What a test allows for a bound of the design: noise of a busy machine must not look like a hang.
PATIENCE = 3.0
# io_timeout=auto on a disk that is not on iSCSI.
IO_TIMEOUT = 20.0
STOP_SECONDS = 3.0
LOAD_SECONDS = float(os.environ.get("OCF_LAB_LOAD_SECONDS", "75"))


def options(database: Database, flag: str, **more: str) -> list[str]:
    return [word for name, value in {**database.parameters(), **more}.items() for word in (flag, f"{name}={value}")]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                          env={**os.environ, **environment})  # fmt: skip


def start(cluster: Cluster, database: Database, *words: str, resource: str = "pg-db", agent: str = AGENT) -> None:
    cluster.create(resource, agent, database.parameters(), *words)
    cluster.wait_for(lambda: cluster.running(resource, cluster.here), f"{resource} runs", within=60)
    cluster.settle()


# What the tools say.


def test_pcs_describes_the_agent(cluster: Cluster) -> None:
    text = cluster.pcs("resource", "describe", AGENT)
    metadata = ET.fromstring(run("crm_resource", "--show-metadata", AGENT).stdout)
    names = [parameter.get("name") for parameter in metadata.iter("parameter")]
    assert {"pgdata", "io_timeout"} <= set(names)
    assert [name for name in names if f"\n  {name}:" not in text and f"\n  {name} (" not in text] == []
    assert text.count("OCF_CHECK_LEVEL=") == 2


def test_crm_resource_validates(make_database: MakeDatabase, cluster: Cluster) -> None:
    database = make_database("db")
    agent = ("crm_resource", "--validate", "--class", "ocf", "--provider", "lab", "--agent", "pgsql-storage")
    done = run(*agent, *options(database, "--option"))
    assert done.returncode == 0, done.stdout
    done = run(*agent, *options(database, "--option", rep_mode="sync"))
    assert done.returncode == 6, done.stdout
    assert "rep_mode=sync: this agent runs a single server" in done.stdout
    start(cluster, database)
    done = run("crm_resource", "--validate", "--resource", "pg-db")
    assert done.returncode == 0, done.stdout


def test_ocf_tester_is_content(make_database: MakeDatabase) -> None:
    tested = ("ocf-tester", "-n", "pg-tested", *options(make_database("db"), "-o"), "/usr/lib/ocf/resource.d/lab/pgsql-storage")
    done = run(*tested, OCF_PY_METADATA_DIALECT="ocf-tester")
    assert done.returncode == 0, done.stdout
    assert "passed all tests" in done.stdout


def test_ocf_tester_knows_nothing_of_ocf_1_1(make_database: MakeDatabase) -> None:
    """Its DTD is that of 1.0, and it is the only thing in which the two dialects differ for it."""
    tested = ("ocf-tester", "-n", "pg-tested", *options(make_database("db"), "-o"), "/usr/lib/ocf/resource.d/lab/pgsql-storage")
    done = run(*tested)
    assert done.returncode != 0
    (complaint,) = [line for line in done.stdout.splitlines() if line.startswith("* rc=")]
    assert "does not conform to ra-api-1.dtd" in complaint


# Life without faults.


def monitors(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Return level and timeout of each monitor that is configured, by its interval."""
    configured = ET.fromstring(run("cibadmin", "--query", "--xpath", "//primitive[@id='pg-db']").stdout)
    found = {}
    for operation in configured.iterfind(".//op[@name='monitor']"):
        level = operation.find(".//nvpair[@name='OCF_CHECK_LEVEL']")
        found[operation.get("interval", "")] = ("0" if level is None else level.get("value", ""), operation.get("timeout", ""))
    return found


def test_a_plain_create_turns_every_level_on(make_database: MakeDatabase, cluster: Cluster) -> None:
    here, there = len(cluster.executions("pg-db")), len(cluster.executions("pg-db", cluster.peer))
    start(cluster, make_database("db"))
    assert monitors(cluster) == {"10s": ("0", "40s"), "31s": ("10", "40s"), "61s": ("20", "40s")}
    ran = [(run.operation, run.code) for run in cluster.executions("pg-db")[here:]]
    # A probe, then the first run of each level, which may warn.
    assert ran[:2] == [("monitor", 7), ("start", 0)]
    assert [(operation, code in (0, DEGRADED)) for operation, code in ran[2:5]] == [("monitor", True)] * 3
    assert [(run.operation, run.code) for run in cluster.executions("pg-db", cluster.peer)[there:]] == [("monitor", 7)]
    assert cluster.failures() == []


def test_a_monitor_of_the_administrator_replaces_them(make_database: MakeDatabase, cluster: Cluster) -> None:
    start(cluster, make_database("db"), "op", "monitor", "interval=30s")
    assert monitors(cluster) == {"30s": ("0", "")}


def test_a_server_that_runs_already_is_taken_over(make_database: MakeDatabase, cluster: Cluster) -> None:
    database = make_database("db")
    database.start_by_hand()
    postmaster = database.postmaster()
    before = len(cluster.executions("pg-db"))
    start(cluster, database)
    assert database.postmaster() == postmaster
    runs = cluster.executions("pg-db")[before:]
    assert (runs[0].operation, runs[0].code) == ("monitor", 0)
    assert "start" not in {run.operation for run in runs}
    assert cluster.failures() == []


def test_standby_stops_and_unstandby_starts(make_database: MakeDatabase, cluster: Cluster) -> None:
    database = make_database("db")
    start(cluster, database)
    database.execute("CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
    cluster.pcs("node", "standby", cluster.here.name)
    try:
        cluster.settle()
        assert database.processes() == []
        assert not cluster.running("pg-db")
    finally:
        cluster.pcs("node", "unstandby", cluster.here.name)
    cluster.wait_for(lambda: cluster.running("pg-db", cluster.here), "it runs again", within=60)
    assert database.execute("SELECT n FROM t") == [(1,)]
    assert cluster.failures() == []
    assert cluster.fencing_calls() == []


def test_a_killed_postmaster_is_started_in_place(make_database: MakeDatabase, cluster: Cluster) -> None:
    database = make_database("db")
    start(cluster, database, "op", "monitor", "interval=3s")
    killed = database.postmaster()
    os.kill(killed, signal.SIGKILL)
    cluster.wait_for(cluster.failures, "Pacemaker notices", within=(3 + 1) * PATIENCE)
    (failure,) = cluster.failures()
    assert (failure.resource, failure.operation, failure.node) == ("pg-db", "monitor", cluster.here.name)
    assert failure.code in (1, 7), "7, or 1 while a child of the server lives"
    cluster.wait_for(lambda: ended([killed], 0) and cluster.running("pg-db", cluster.here), "it runs again", within=60)
    cluster.settle()
    assert database.postmaster() != killed
    assert database.execute("SELECT 1") == [(1,)]
    assert cluster.fencing_calls() == []


# Storage that hangs.


@pytest.mark.parametrize(
    "words, interval, faults",
    [
        pytest.param((), 10.0, {}, id="no-op"),
        # pcs stores no timeout here, so 20 s apply; the first monitor cannot wait for io_timeout, and the next one judges.
        pytest.param(("op", "monitor", "interval=30s"), 30.0 + IO_TIMEOUT, {"writes": True}, id="monitor-30s"),
    ],
)
def test_a_hang_is_named_and_the_peer_fences(
    make_database: MakeDatabase, cluster: Cluster, storage: FaultDisk, words: tuple[str, ...], interval: float, faults: dict[str, bool]
) -> None:
    """And the stock agent, on the same disk at the same time, sees nothing."""
    start(cluster, make_database("ours"), *words)
    start(cluster, make_database("stock", port=5433), "op", "monitor", "interval=5s", resource="pg-stock", agent=STOCK)
    assert cluster.failures() == []
    ours_before, stock_before = len(cluster.results("pg-db")), len(cluster.executions("pg-stock"))

    hung_at = time.monotonic()
    storage.hang(**faults)
    cluster.wait_for(cluster.fencing_calls, "the peer fences", within=(interval + IO_TIMEOUT + 5) * PATIENCE)
    call = cluster.fencing_calls()[0]
    failures = cluster.failures()
    stock = cluster.executions("pg-stock")[stock_before:]
    results = cluster.results("pg-db")[ours_before:]
    print(f"hang to fencing call: {call.at - hung_at:.1f} s ({call.by}: {call.action} {call.node})", *results,
          f"stock: {[run.code for run in stock]}", sep="\n")  # fmt: skip

    failed = [result.code for result in results].index(1)
    warnings, (*monitors, stopped) = results[:failed], results[failed:]
    assert {warning.code for warning in warnings} <= {DEGRADED}
    # Monitors of other levels may have been under way beside the first that failed.
    assert {(monitor.operation, monitor.code, "storage hang" in monitor.reason) for monitor in monitors} == {("monitor", 1, True)}
    assert os.path.basename(storage.device) in monitors[0].reason
    (stop,) = [failure for failure in failures if failure.resource == "pg-db"]
    assert (stop.operation, stop.code, stop.status, stop.node) == ("stop", 1, "complete", cluster.here.name)
    assert "stop incomplete" in stop.reason
    assert stop.reason == stopped.reason
    assert stop.exec_seconds < STOP_SECONDS * PATIENCE
    assert (call.by, call.action, call.node) == (cluster.peer.name, "reboot", cluster.here.name)

    assert [failure for failure in failures if failure.resource == "pg-stock"] == []
    assert len(stock) >= 2
    assert {(run.operation, run.code) for run in stock} == {("monitor", 0)}

    # Pacemaker ends here once it hears that the fencing succeeded.
    cluster.wait_for(lambda: not cluster.online(), "this node is down", within=60)


# Load that must not look like a fault.


def hog() -> subprocess.Popen[bytes]:
    """Keep one CPU busy."""
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


def test_load_is_no_failure(make_database: MakeDatabase, cluster: Cluster, storage: FaultDisk) -> None:
    """Two clients write as fast as the disk takes it, with checkpoints, beside a process that takes a whole CPU."""
    database = make_database("db", settings="checkpoint_timeout = 30s\nmax_wal_size = 48MB\n")
    start(cluster, database, "op", "monitor", "interval=5s", "timeout=40s")
    bench = (str(database.bin / "pgbench"), "-h", database.socketdir, "-p", str(database.port), "-U", "postgres")
    subprocess.run([*bench, "-i", "-q", "-s", "5", "postgres"], check=True, stdin=subprocess.DEVNULL, timeout=120)
    postmaster = database.postmaster()
    before = len(cluster.executions("pg-db"))
    ((checkpoints,),) = database.execute("SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter")

    busy = hog()
    try:
        done = subprocess.run([*bench, "-c", "2", "-T", f"{LOAD_SECONDS:.0f}", "postgres"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LOAD_SECONDS + 60)  # fmt: skip
    finally:
        busy.kill()
        busy.wait()
    codes = [run.code for run in cluster.executions("pg-db")[before:]]
    print(done.stdout, f"monitors: {codes}")

    assert done.returncode == 0, done.stderr
    assert "number of failed transactions: 0" in done.stdout
    ((later,),) = database.execute("SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter")
    assert later - checkpoints >= LOAD_SECONDS // 60, "there were checkpoints"
    assert len(codes) >= LOAD_SECONDS / 5 / 2, "the monitors really ran"
    assert set(codes) <= {0, DEGRADED}
    assert cluster.failures() == []
    assert database.postmaster() == postmaster
    assert cluster.fencing_calls() == []
