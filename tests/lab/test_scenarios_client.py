"""The client of a run as a process of its own, on a real server."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from lab.client import ledger
from lab.machine import room
from lab.machine.room import NotSo
from lab.report import seen
from lab.scenarios import client
from lab.scenarios.client import LEDGER, PROBES, Client, audit
from tests.postgres import Database

TREE = Path(__file__).resolve().parents[2]
PORT = 5598


class Here:
    """A room that is no other: as nsenter does, the process that is begun waits for the one that works."""

    def entering(self, command: Sequence[str]) -> list[str]:
        return ["sh", "-c", '"$@"; exit $?', "sh", "setpriv", "--pdeathsig", "KILL", *command]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(TREE)}


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    directory = Path(tempfile.mkdtemp(prefix="lab-run-", dir="/var/tmp"))
    directory.chmod(0o755)
    database = Database(directory / "data", port=PORT, settings="listen_addresses = '127.0.0.1'\nmax_connections = 60\n")
    try:
        database.initdb()
        database.start_by_hand()
        yield database
    finally:
        for pid in database.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ADDRESS", ["--host", "127.0.0.1", "--port", str(PORT), "--user", "postgres", "--dbname", "postgres"])


def test_rows_are_written_and_held_against_the_ledger(server: Database, tmp_path: Path) -> None:
    here = Here()
    with Client(here, tmp_path) as working:  # type: ignore[arg-type]
        working.await_steady(2.0, 60)
        silent = working.flow.silent(time.monotonic())
        assert silent is not None
        assert silent < 2
        working.stop()
    history = ledger.read(tmp_path / LEDGER)
    assert history.finished, "the client came to its own end"
    assert not history.torn
    found = audit(here, tmp_path, 1.0)  # type: ignore[arg-type]
    assert found.acknowledged == sum(one.acknowledged is not None for one in history.operations.values()) > 20
    assert (found.lost, found.ghosts, found.duplicates, found.overlaps) == (0, 0, 0, 0)
    assert len(seen.writes(history, 1.0)) == len(history.operations)
    assert [probe.reach.value for probe in seen.probes(tmp_path / PROBES, 1.0)] == ["open"]


def test_a_client_that_cannot_begin_says_why(server: Database, tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text("")
    with Client(Here(), tmp_path) as working, pytest.raises(NotSo, match=r"the client has ended with 2: lab.client: .*ledger.jsonl"):  # type: ignore[arg-type]
        working.await_steady(1.0, 60)


def test_writes_that_do_not_flow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "ADDRESS", ["--host", "127.0.0.1", "--port", "9"])
    with Client(Here(), tmp_path) as working, pytest.raises(NotSo, match="writes are not acknowledged for 1 s, after 2 s"):  # type: ignore[arg-type]
        working.await_steady(1.0, 2.0)


def test_a_client_that_does_not_end_is_ended(server: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(room, "child", lambda _: None)  # So that nothing asks it to.
    with Client(Here(), tmp_path) as working:  # type: ignore[arg-type]
        working.await_steady(1.0, 60)
    assert not ledger.read(tmp_path / LEDGER).finished
    size = (tmp_path / LEDGER).stat().st_size
    time.sleep(0.5)
    assert (tmp_path / LEDGER).stat().st_size == size


def test_rows_that_nobody_can_read(monkeypatch: pytest.MonkeyPatch, server: Database, tmp_path: Path) -> None:
    with Client(Here(), tmp_path) as working:  # type: ignore[arg-type]
        working.await_steady(1.0, 60)
    monkeypatch.setattr(client, "AUDIT_SECONDS", 1.0)
    monkeypatch.setattr(client, "ADDRESS", ["--host", "127.0.0.1", "--port", "9"])
    with pytest.raises(NotSo, match=r"the audit ends with 2: lab.client: 127.0.0.1:9: .*refused"):
        audit(Here(), tmp_path, 1.0)  # type: ignore[arg-type]
