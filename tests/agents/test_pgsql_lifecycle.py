"""pgsql-storage on healthy storage: every action, every layout, every way to connect."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from ocf_py.testing import Executor
from tests.agents.conftest import AGENT, MakeGuarded, kill_all
from tests.faults.fixtures import Disks
from tests.postgres import ended


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
@pytest.mark.parametrize("layout", ["below", "root", "link"])
def test_a_whole_life(guarded: MakeGuarded, filesystem: str, layout: str) -> None:
    one = guarded(filesystem=filesystem, layout=layout)
    node = one.node
    assert node.validate().code == 0
    assert node.validate(level=10).code == 0
    assert node.probe().code == 7
    assert node.monitor().code == 7
    assert node.stop().code == 0
    for _ in range(2):
        assert node.start().code == 0
    assert [node.probe().code, *(node.monitor(level=level).code for level in (0, 10, 20))] == [0, 0, 0, 0]
    assert one.database.execute("SELECT 1") == [(1,)]
    for _ in range(2):
        assert node.stop().code == 0
    assert node.probe().code == 7
    assert one.database.processes() == []
    assert not Path("/run/resource-agents/ocf_py/pg-db").exists()


def test_a_start_tells_nothing_of_a_server_that_runs_already(guarded: MakeGuarded) -> None:
    one = guarded()
    one.database.start_by_hand()
    assert one.node.probe().code == 0
    assert one.node.start().code == 0
    assert one.node.monitor(level=20).code == 0
    assert one.node.stop().code == 0


def test_memory_may_be_lost_at_any_time(guarded: MakeGuarded) -> None:
    one = guarded(layout="link").started()
    for action in (one.node.monitor, one.node.probe, one.node.stop):
        shutil.rmtree("/run/resource-agents/ocf_py")
        assert action().code == 0
    assert one.database.processes() == []


def test_a_second_server_of_the_owner_is_not_ours(guarded: MakeGuarded, tmp_path: Path) -> None:
    """Another data directory under the same user must not be taken for this one, nor stopped with it."""
    from tests.postgres import Database

    one = guarded()
    other = Database(Path("/var/tmp/other/data"), port=5433)
    other.initdb()
    other.start_by_hand()
    try:
        assert one.node.probe().code == 7
        assert one.node.start().code == 0
        assert one.node.stop().code == 0
        assert other.execute("SELECT 1") == [(1,)]
    finally:
        other.stop_by_hand()
        shutil.rmtree("/var/tmp/other")


def test_a_volume_that_comes_back_under_another_number(guarded: MakeGuarded, disks: Disks) -> None:
    """After a crash the device's number may be another one; what was noted of the last start must not be in the way."""
    import subprocess

    one = guarded().started()
    processes = one.database.processes()
    kill_all(processes)
    assert ended(processes)
    disks("second", filesystem="xfs")
    subprocess.run(["cp", "-a", "/mnt/data/pgsql", "/mnt/second/"], check=True)
    subprocess.run(["umount", "/mnt/data"], check=True)
    subprocess.run(["mount", "--bind", "/mnt/second", "/mnt/data"], check=True)
    try:
        result = one.node.start()
        assert result.code == 0, str(result)
        assert one.node.monitor(level=20).code == 0
        assert one.node.stop().code == 0
    finally:
        subprocess.run(["umount", "/mnt/data"], check=True)


@pytest.mark.parametrize("auth", ["trust", "peer", "md5", "scram-sha-256"])
def test_sql_by_every_authentication(guarded: MakeGuarded, auth: str) -> None:
    secret = "wine-dark sea"
    by_password = auth in ("md5", "scram-sha-256")
    settings = f"password_encryption = '{auth}'\n" if by_password else ""
    one = guarded(auth=auth, password=secret if by_password else "", settings=settings, monitor_password=secret if by_password else None)
    one.started()
    result = one.node.monitor(level=20)
    assert (result.code, result.reason) == (0, "")
    assert secret not in "".join(result.log) + result.stderr


def test_tcp_instead_of_the_socket(guarded: MakeGuarded) -> None:
    one = guarded(settings="unix_socket_directories = ''\n", pghost="127.0.0.1", socketdir=None)
    one.started()
    assert one.node.monitor(level=20).code == 0
    assert one.node.stop().code == 0


def test_port_and_options_of_the_server(guarded: MakeGuarded) -> None:
    one = guarded(start_opt="-p 5544 -c work_mem=5MB", pgport=None).started()
    assert one.node.monitor(level=10).code == 0
    one.database.port = 5544
    assert one.database.execute("SHOW work_mem") == [("5MB",)]


def test_the_password_reaches_no_process_and_no_file(guarded: MakeGuarded) -> None:
    secret = "Polyphemos-1234"
    one = guarded(auth="scram-sha-256", password=secret, settings="password_encryption = 'scram-sha-256'\n", monitor_password=secret)
    one.started()
    assert one.node.monitor(level=10).code == 0
    postmaster = one.database.postmaster()
    assert secret.encode() not in Path(f"/proc/{postmaster}/environ").read_bytes() + Path(f"/proc/{postmaster}/cmdline").read_bytes()
    for path in Path("/run/resource-agents").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_a_killed_postmaster_is_not_running_and_starts_again(guarded: MakeGuarded) -> None:
    one = guarded().started()
    processes = one.database.processes()
    os.kill(one.database.postmaster(), signal.SIGKILL)
    assert ended(processes)
    assert one.node.monitor().code == 7
    assert one.node.stop().code == 0
    assert one.node.start().code == 0
    assert one.node.monitor(level=20).code == 0


def test_no_line_in_the_servers_log_from_level_0(guarded: MakeGuarded) -> None:
    one = guarded().started()
    before = one.database.log()
    for _ in range(5):
        assert one.node.monitor().code == 0
    assert one.database.log() == before


def test_a_tablespace_made_later_is_watched_from_then_on(guarded: MakeGuarded) -> None:
    one = guarded(space=True)
    assert one.node.monitor().code == 0
    one.disks["space"].hang(writes=True)
    result = one.node.monitor()
    assert result.code == 1
    assert "tablespace" in result.reason
    assert one.disks["space"].device.rpartition("/")[2] in result.reason


def test_ten_monitors_at_once(guarded: MakeGuarded) -> None:
    """crm_resource runs beside execd: several of the same resource must not disturb each other."""
    from concurrent.futures import ThreadPoolExecutor

    one = guarded().started()
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: one.executor().monitor(), range(10)))
    assert [result.code for result in results] == [0] * 10


def test_metadata_needs_nothing(tmp_path: Path) -> None:
    result = Executor(AGENT, profile="bare").meta_data()
    assert result.code == 0
    assert "<version>1.1</version>" in result.stdout
