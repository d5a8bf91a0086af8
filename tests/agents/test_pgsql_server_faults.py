"""pgsql-storage when the server itself is in trouble: silent, recovering, crowded, locked, crashed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.agents.conftest import PATIENCE, Guarded, MakeGuarded
from tests.faults.processes import children, wait_until
from tests.faults.processes import name as command
from tests.hurry import hurry
from tests.postgres import OWNER, ended

LABEL = """START WAL LOCATION: 0/FF000028 (file 0000000100000000000000FF)
CHECKPOINT LOCATION: 0/FF000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-01-01 00:00:00 UTC
LABEL: test
START TIMELINE: 1
"""


@pytest.mark.parametrize("level", [0, 10])
def test_a_stopped_postmaster_fails_at_the_second_look(guarded: MakeGuarded, level: int) -> None:
    one = guarded().started()
    postmaster = one.database.postmaster()
    os.kill(postmaster, signal.SIGSTOP)
    try:
        first = one.node.monitor(level=level)
        assert (first.code, "stopped by a signal" in first.reason) == (190, True), str(first)
        second = one.node.monitor(level=level)
        assert (second.code, "stopped by a signal" in second.reason) == (1, True), str(second)
    finally:
        os.kill(postmaster, signal.SIGCONT)
    assert one.node.monitor(level=level).code == 0
    os.kill(postmaster, signal.SIGSTOP)
    assert one.node.monitor(level=level).code == 190, "what was silent before does not count"
    os.kill(postmaster, signal.SIGCONT)


def test_checkpoints_do_not_excuse_a_stopped_postmaster(guarded: MakeGuarded) -> None:
    """Who was connected before goes on writing, so that there always is a checkpoint."""
    one = guarded(settings="checkpoint_timeout = 30s\ncheckpoint_completion_target = 0\n").started()
    enough, checkpoints = threading.Event(), threading.Semaphore(0)

    def write() -> None:
        with one.database.connect() as session:
            session.execute("CREATE TABLE written (number int)")
            while not enough.is_set():
                session.execute("INSERT INTO written SELECT generate_series(1, 1000)")
                session.execute("CHECKPOINT")
                checkpoints.release()

    writer = threading.Thread(target=write)
    writer.start()
    postmaster = one.database.postmaster()
    try:
        assert checkpoints.acquire(timeout=30)
        os.kill(postmaster, signal.SIGSTOP)
        looks = []
        for _ in range(2):
            looks.append(one.node.monitor())
            for _ in range(2):  # One that began before, and one that is of now.
                assert checkpoints.acquire(timeout=30)
        assert [look.code for look in looks] == [190, 1], looks
        assert "stopped by a signal" in looks[1].reason
    finally:
        os.kill(postmaster, signal.SIGCONT)
        enough.set()
        writer.join(30)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_postmaster_that_a_signal_has_stopped_shuts_down(guarded: MakeGuarded, all_of_them: bool) -> None:
    one = guarded().started()
    for pid in one.database.processes() if all_of_them else [one.database.postmaster()]:
        os.kill(pid, signal.SIGSTOP)
    result = one.node.stop()
    assert (result.code, result.seconds < 20 * PATIENCE) == (0, True), str(result)
    assert "database system is shut down" in one.database.log()
    assert one.database.processes() == []


def refuses(one: Guarded) -> bool:
    """Tell whether the server takes no new session."""
    try:
        one.database.connect().close()
    except psycopg.OperationalError:
        return True
    return False


def test_a_shutdown_by_somebody_else(guarded: MakeGuarded) -> None:
    """A smart shutdown waits for its clients: the server is neither gone nor of use."""
    one = guarded().started()
    with one.database.connect():
        os.kill(one.database.postmaster(), signal.SIGTERM)
        assert wait_until(lambda: refuses(one), 10)
        looks = [one.node.monitor()]
        assert looks[0].code == 190

        def judged() -> bool:
            looks.append(one.node.monitor())
            return looks[-1].code != 190

        # The checkpointer may still have something to do, and that is progress.
        wait_until(judged, 10)
        assert (looks[-1].code, "shutting down" in looks[-1].reason) == (1, True), str(looks[-1])
        assert one.node.stop().code == 0


def test_no_slot_is_free(guarded: MakeGuarded) -> None:
    one = guarded(settings="max_connections = 6\nsuperuser_reserved_connections = 0\n").started()
    with one.database.connect() as first:
        with ExitStack() as stack:
            with pytest.raises(psycopg.OperationalError):
                for _ in range(12):
                    stack.enter_context(one.database.connect())
            result = one.node.monitor(level=10)
            assert (result.code, "no connection slot is free" in result.reason) == (190, True), str(result)
            assert one.node.monitor().code == 0
        # The others leave when they find that their clients have.
        others = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        assert wait_until(lambda: not first.execute(others).fetchall(), 10)
    assert one.node.monitor(level=10).code == 0


@pytest.mark.parametrize("choice, code", [("ok", 0), ("degraded", 190), ("fail", 1)])
def test_a_wrong_password(guarded: MakeGuarded, choice: str, code: int) -> None:
    settings = "password_encryption = 'scram-sha-256'\n"
    one = guarded(auth="scram-sha-256", password="right", settings=settings, monitor_password="wrong-one", on_auth_error=choice)
    one.started()
    result = one.node.monitor(level=10)
    assert result.code == code, str(result)
    assert "wrong-one" not in result.reason
    if choice == "degraded":
        assert "login rejected" in result.reason
        validated = one.node.validate(level=10)
        assert (validated.code, "login rejected" in validated.reason) == (2, True), str(validated)


@pytest.mark.parametrize("name, value", [("pgdb", "nowhere"), ("monitor_user", "nobody_here")])
def test_a_database_or_user_that_is_not_there(guarded: MakeGuarded, name: str, value: str) -> None:
    one = guarded()
    one.parameters[name] = value
    one.node = one.executor()
    one.started()
    result = one.node.monitor(level=10)
    assert (result.code, "login rejected" in result.reason) == (190, True), str(result)


def test_the_administrators_query_decides(guarded: MakeGuarded) -> None:
    one = guarded(monitor_sql="select count(*) from heroes").started()
    result = one.node.monitor(level=10)
    assert (result.code, "heroes" in result.reason) == (1, True), str(result)
    one.database.execute("CREATE TABLE heroes (name text)")
    assert one.node.monitor(level=10).code == 0
    assert one.node.monitor(level=20).code == 0


def test_a_slow_query_is_degraded(guarded: MakeGuarded) -> None:
    one = guarded(monitor_sql="select pg_sleep(1.5)", io_slow="1s").started()
    result = one.node.monitor(level=10)
    assert (result.code, "database slow: query took" in result.reason) == (190, True), str(result)


@contextmanager
def packages(directory: str) -> Iterator[None]:
    """Let the agents find a directory in the place of that with the driver."""
    (shown,) = Path("/usr/local/lib").glob("python3.*/dist-packages/agents.pth")
    text = shown.read_text()
    shown.write_text(directory)
    try:
        yield
    finally:
        shown.write_text(text)


def test_without_the_driver_the_sql_checks_are_skipped(guarded: MakeGuarded) -> None:
    one = guarded().started()
    with packages(""):
        for level in (10, 20):
            result = one.node.monitor(level=level)
            assert (result.code, "SQL checks skipped" in result.reason) == (190, True), str(result)
        assert one.node.monitor().code == 0
    assert one.node.monitor(level=20).code == 0


@pytest.mark.parametrize("seconds, code, words", [(11, 0, ""), (60, 190, "psycopg was still not loaded after")])
def test_loading_the_driver_is_none_of_the_server_s_time(guarded: MakeGuarded, tmp_path: Path, seconds: int, code: int, words: str) -> None:
    one = guarded().started()
    real = str(Path(psycopg.__file__).parents[1])
    (tmp_path / "psycopg.py").write_text(f"import sys, time\ntime.sleep({seconds})\ndel sys.modules['psycopg']\n"
                                         f"sys.path.insert(0, {real!r})\nimport psycopg\n")  # fmt: skip
    tmp_path.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    tmp_path.parents[1].chmod(0o755)
    with packages(str(tmp_path)):
        for _ in range(2):
            result = one.node.monitor(level=10, **hurry(20))
            assert (result.code, words in result.reason) == (code, True), str(result)
    assert one.node.monitor(level=10).code == 0


def test_a_wal_flush_on_a_slow_disk_is_named(guarded: MakeGuarded) -> None:
    one = guarded(wal=True, io_slow="1s").started()
    one.disks["wal"].slow(flushes=1.2)
    result = one.node.monitor(level=20)
    one.heal()
    assert result.code == 190, str(result)
    assert "slow" in result.reason


def orphaned(one: Guarded) -> list[int]:
    """Kill the postmaster and keep a backend: stopped by a signal, it cannot notice."""
    server = one.database.connect()
    row = server.execute("SELECT pg_backend_pid()").fetchone()
    assert row
    os.kill(row[0], signal.SIGSTOP)
    postmaster = one.database.postmaster()
    os.kill(postmaster, signal.SIGKILL)
    assert ended([postmaster])
    server.close()
    deadline = time.monotonic() + 10
    while one.database.processes() != [row[0]] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert one.database.processes() == [row[0]]
    return [row[0]]


def test_orphans_of_a_killed_postmaster_are_no_stopped_server(guarded: MakeGuarded) -> None:
    """The stock agent's stop answers 0 here."""
    one = guarded().started()
    orphans = orphaned(one)
    for look in (one.node.monitor, one.node.probe):
        result = look()
        assert (result.code, "postmaster is gone and 1 server processes are left" in result.reason) == (1, True), str(result)
    assert one.node.stop().code == 0
    assert ended(orphans, within=1)


@pytest.mark.parametrize("orphans, code, reason", [(0, 7, "ended during this check"), (1, 1, "postmaster is gone")])
def test_a_server_that_is_killed_during_the_check(guarded: MakeGuarded, orphans: int, code: int, reason: str) -> None:
    """Between the look at its process and the question to it: who takes the connection in its place kills it before dropping that."""
    one = guarded().started()
    sessions = [one.database.connect() for _ in range(orphans)]
    kept = [session.info.backend_pid for session in sessions]
    for pid in kept:
        os.kill(pid, signal.SIGSTOP)
    address = Path(one.database.socketdir, f".s.PGSQL.{one.database.port}")
    address.unlink()
    with ExitStack() as leaving:
        listening = leaving.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(address))
        leaving.callback(address.unlink)
        for session in sessions:
            leaving.callback(session.close)
        address.chmod(0o777)
        listening.listen()
        listening.settimeout(30)

        def kill() -> None:
            connection, _ = listening.accept()
            going = set(one.database.processes()) - set(kept)
            os.kill(one.database.postmaster(), signal.SIGKILL)
            assert ended(sorted(going))
            connection.close()

        killer = threading.Thread(target=kill)
        killer.start()
        result = one.node.monitor()
        killer.join(30)
    assert (result.code, reason in result.reason) == (code, True), str(result)
    assert one.node.stop().code == 0


def test_start_ends_orphans_first(guarded: MakeGuarded) -> None:
    one = guarded().started()
    orphans = orphaned(one)
    result = one.node.start()
    assert result.code == 0, str(result)
    assert ended(orphans, within=1)
    assert one.node.monitor(level=20).code == 0


def test_crash_recovery_that_takes_long(guarded: MakeGuarded) -> None:
    one = guarded(settings="checkpoint_timeout = 1h\nmax_wal_size = 1GB\nfsync = off\n", storage_check="none").started()
    one.database.execute("CREATE TABLE t (n int, filler text)", "INSERT INTO t SELECT n, repeat('x', 800) FROM generate_series(1, 60000) n")
    processes = one.database.processes()
    os.kill(one.database.postmaster(), signal.SIGKILL)
    assert ended(processes)
    # Redo has to read from the disk what is in no cache. /proc/sys/vm/drop_caches would empty those of the tests beside this one too.
    one.disk.unmount(within=60)
    one.disk.mount("/mnt/data")
    one.disk.slow(reads=0.06)
    short = one.node.start(**hurry(5))
    assert short.code == 1, str(short)
    assert "not ready after" in short.reason
    result = one.node.start(timeout=120)
    one.heal()
    assert result.code == 0, str(result)
    assert one.database.execute("SELECT count(*) FROM t") == [(60000,)]


def test_a_crash_of_a_backend_recovers_without_us(guarded: MakeGuarded) -> None:
    one = guarded().started()
    with one.database.connect() as server:
        row = server.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        os.kill(row[0], signal.SIGKILL)
    deadline = time.monotonic() + 20 * PATIENCE
    codes = []
    while time.monotonic() < deadline:
        codes.append(one.node.monitor(level=10).code)
        if codes[-1] == 0:
            break
    assert codes[-1] == 0
    assert set(codes) <= {0, 190}, "a transitional state is no failure"


def test_why_the_server_did_not_come_up(guarded: MakeGuarded) -> None:
    one = guarded()
    with open(one.database.directory / "postgresql.conf", "a") as file:
        file.write("no_such_setting = 1\n")
    result = one.node.start()
    assert result.code == 1
    assert "did not come up" in result.reason
    assert "no_such_setting" in result.reason or "contains errors" in result.reason, str(result)
    assert result.seconds < 10 * PATIENCE
    assert one.node.probe().code == 7
    assert one.node.stop().code == 0


def test_why_a_server_with_a_log_collector_did_not_come_up(guarded: MakeGuarded) -> None:
    one = guarded(settings="logging_collector = on\nlog_directory = 'log'\n").started()
    assert one.node.stop().code == 0
    label = one.database.directory / "backup_label"
    label.write_text(LABEL)
    shutil.chown(label, OWNER)
    result = one.node.start()
    assert (result.code, "checkpoint record" in result.reason) == (1, True), str(result)
    label.unlink()
    assert one.node.start().code == 0


def test_a_data_directory_that_is_not_there(guarded: MakeGuarded) -> None:
    one = guarded()
    subprocess.run(["umount", "/mnt/data"], check=True)
    assert one.node.probe().code == 7
    assert one.node.monitor().code == 7
    assert one.node.stop().code == 0
    result = one.node.start()
    assert result.code == 1, "another node may well see it: no ban"
    assert "is the file system mounted?" in result.reason
    assert result.seconds < 5 * PATIENCE


def test_a_stale_pid_file_whose_pid_is_somebody_elses(guarded: MakeGuarded) -> None:
    """The server would take a living process of its owner for another postmaster; kill -0 of the stock agent takes it for ours."""
    one = guarded().started()
    processes = one.database.processes()
    pidfile = one.database.directory / "postmaster.pid"
    text = pidfile.read_text()
    os.kill(one.database.postmaster(), signal.SIGKILL)
    assert ended(processes)
    sleeper = subprocess.Popen(["runuser", "-u", OWNER, "--", "sleep", "300"])
    try:
        assert wait_until(lambda: [command(pid) for pid in children(sleeper.pid)] == ["sleep"], 10)
        (other,) = children(sleeper.pid)
        pidfile.write_text(text.replace(text.split("\n")[0], str(other), 1))
        assert one.node.probe().code == 7
        assert one.node.monitor().code == 7
        assert one.node.stop().code == 0
        result = one.node.start()
        assert result.code == 0, str(result)
        assert any("stale postmaster.pid" in line for line in result.log)
        assert one.database.postmaster() != other
    finally:
        sleeper.terminate()
        sleeper.wait()


def test_a_backup_label_stays(guarded: MakeGuarded) -> None:
    """Removing it after a restore makes a silently corrupt cluster; the stock agent does."""
    one = guarded()
    label = one.database.directory / "backup_label"
    label.write_text(LABEL)
    shutil.chown(label, OWNER)
    result = one.node.start()
    assert result.code == 1
    assert "checkpoint" in result.reason.lower(), str(result)
    assert label.exists()


def test_a_live_postmaster_keeps_its_pid_file(guarded: MakeGuarded) -> None:
    one = guarded().started()
    before = (one.database.directory / "postmaster.pid").read_text()
    other = one.executor()
    assert other.start().code == 0
    assert (one.database.directory / "postmaster.pid").read_text().split("\n")[0] == before.split("\n")[0]


def test_sql_that_is_never_answered_fails_though_the_postmaster_answers(guarded: MakeGuarded) -> None:
    """The monitors of level 0 run between those of level 10 and must not make these forget."""
    one = guarded(monitor_sql="select pg_sleep(60)").started()
    first = one.node.monitor(level=10)
    assert (first.code, "SQL is unanswered" in first.reason) == (190, True), str(first)
    assert one.node.monitor(level=0).code == 0
    second = one.node.monitor(level=10)
    assert (second.code, "SQL is unanswered" in second.reason) == (1, True), str(second)
