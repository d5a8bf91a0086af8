"""pgsql-storage with bad input: a clear single-line reason, the right code, nothing lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ocf_py.testing import Executor
from tests.agents.conftest import AGENT, MakeGuarded

MALFORMED = {
    "pgctl": ["pg_ctl", "bin/pg_ctl"],
    "psql": ["psql"],
    "pgdata": ["data", "./data", "a\nb"],
    "pgdba": ["post gres", "post\ngres"],
    "pgport": ["0", "65536", "-1", "5432x", "54 32", "٥٤٣٢", "1e3"],
    "logfile": ["log", "/mnt/data/pgsql/data/log"],
    "socketdir": ["tmp"],
    "config": ["postgresql.conf"],
    "stop_escalate": ["soon", "-1", "1 fortnight"],
    "io_timeout": ["0", "never", "-3s", "99999", "0.5"],
    "io_slow": ["x"],
    "io_slow_max": ["x", "2s"],
    "freeze_max": [":"],
    "start_grace": ["--"],
    "storage_check": ["yes", "Write"],
    "on_auth_error": ["FAIL", "maybe"],
    "rep_mode": ["sync", "async", "slave", "NONE"],
}


def single_line(reason: str) -> bool:
    return 0 < len(reason) <= 200 and reason.isascii() and reason.isprintable()


@pytest.mark.parametrize("name, value", [(name, value) for name, values in MALFORMED.items() for value in values])
def test_a_malformed_parameter(name: str, value: str) -> None:
    given = {"pgdata": "/mnt/data/pgsql/data", "io_timeout": "3s", name: value}
    node = Executor(AGENT, given, instance="bad")
    for action in (node.validate, node.start, node.probe, node.monitor):
        result = action()
        assert result.code == 6, str(result)
        assert name in result.reason
        assert single_line(result.reason)
    stopped = node.stop()
    assert stopped.code == 0, "nothing was ever started with it"


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_an_empty_parameter_is_one_that_was_not_given(name: str) -> None:
    node = Executor(AGENT, {"pgdata": "/nowhere/data", name: ""}, instance="bad")
    assert node.validate().code == 0
    assert node.probe().code == 7
    assert node.stop().code == 0


def test_stop_uses_the_parameters_of_the_last_start(guarded: MakeGuarded) -> None:
    one = guarded().started()
    for wrong in ({"pgdata": "relative"}, {"io_timeout": "x", "pgport": "y"}):
        broken = one.executor(**wrong)
        assert broken.stop().code == 0
        assert one.database.processes() == []
        assert one.node.start().code == 0


def test_stop_without_a_record_is_no_success_while_a_server_is_here(guarded: MakeGuarded) -> None:
    import shutil

    one = guarded().started()
    shutil.rmtree("/run/resource-agents/ocf_py")
    result = one.executor(pgdata="relative").stop()
    assert result.code == 1
    assert "cannot tell what to stop" in result.reason
    assert one.database.processes()


def test_software_that_is_missing(guarded: MakeGuarded) -> None:
    one = guarded(pgctl="/usr/bin/no-such-pg_ctl")
    result = one.node.start()
    assert (result.code, "no-such-pg_ctl is not installed" in result.reason) == (5, True)
    assert one.node.probe().code == 7
    assert one.node.stop().code == 0
    result = one.executor(pgctl=one.database.parameters()["pgctl"], pgdba="odysseus").start()
    assert (result.code, "odysseus does not exist" in result.reason) == (5, True)


def test_a_directory_that_holds_no_database(guarded: MakeGuarded) -> None:
    one = guarded()
    (one.database.directory / "PG_VERSION").unlink()
    validated = one.node.validate(level=10)
    assert (validated.code, "PG_VERSION" in validated.reason) == (2, True)
    started = one.node.start()
    assert (started.code, "PG_VERSION" in started.reason) == (1, True)


@pytest.mark.parametrize("argument", ["bogus", "", "START", "promote"])
def test_an_unknown_action(argument: str) -> None:
    result = Executor(AGENT, {"pgdata": "/nowhere"}).call(argument)
    assert result.code == 3
    assert single_line(result.reason)


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(AGENT), *words], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_no_environment_at_all() -> None:
    assert run("meta-data", env={}).returncode == 0
    assert run("monitor", env={}).returncode == 7
    assert run("stop", env={}).returncode == 0
    assert run(env={}).returncode == 3


def test_not_root(guarded: MakeGuarded) -> None:
    """Whoever may not look says so; nobody is told that the server is stopped."""
    one = guarded().started()
    environment = {f"OCF_RESKEY_{name}": str(value) for name, value in one.parameters.items()}
    for action in ("monitor", "start", "stop"):
        result = run(action, env={**environment, "OCF_RESKEY_CRM_meta_interval": "10000"}, user="nobody", group="nogroup", extra_groups=[])
        assert result.returncode == 1, result
        assert "ocf-exit-reason:" in result.stderr
    assert run("meta-data", env={}, user="nobody", group="nogroup", extra_groups=[]).returncode == 0
    assert one.node.monitor().code == 0


def test_closed_streams(guarded: MakeGuarded) -> None:
    one = guarded().started()
    environment = " ".join(f"OCF_RESKEY_{name}='{value}'" for name, value in one.parameters.items())
    for streams in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        code = subprocess.call(["sh", "-c", f"{environment} OCF_RESKEY_CRM_meta_interval=10000 {AGENT} monitor {streams}"])
        assert code == 0, streams


def test_a_working_directory_that_is_gone(guarded: MakeGuarded, tmp_path: Path) -> None:
    one = guarded().started()
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = {f"OCF_RESKEY_{name}": str(value) for name, value in one.parameters.items()}
    code = subprocess.call(["sh", "-c", f"cd {gone} && rmdir {gone} && exec {AGENT} monitor"], env={**os.environ, **environment})
    assert code == 0


def test_no_space_for_records(guarded: MakeGuarded) -> None:
    """Where a child cannot be recorded none is begun: a monitor says so, a start does not begin a server that nobody knows of."""
    one = guarded()
    small = Path("/run/small")
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "small", str(small)], check=True)
    try:
        one.node.environment["HA_RSCTMP"] = str(small)
        (small / "filler").write_bytes(bytes(16384))
        started = one.node.start()
        assert (started.code, "cannot record" in started.reason) == (1, True), str(started)
        assert one.database.processes() == []
        one.database.start_by_hand()
        result = one.node.monitor()
        assert (result.code, "cannot record" in result.reason) == (190, True), str(result)
        stopped = one.node.stop()
        assert stopped.code == 0, str(stopped)
        assert one.database.processes() == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
