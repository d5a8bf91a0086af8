"""The client against a real server that dies, hangs, is not there, or whose answers are swallowed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lab.client import audit, journal, ledger
from lab.client.audit import Audit
from lab.client.ledger import FAILED, NOT_SENT, OK, UNKNOWN, History, Operation
from lab.client.session import Address
from lab.client.work import LEDGER, PROBES, Client
from lab.client.writer import FRESH, KEPT, Lane, Plan
from tests.postgres import Database, ended

TREE = Path(__file__).resolve().parents[2]
PORT = 5599
HERE = Address("127.0.0.1", PORT)
PLAN = Plan(every=0.05, connect_every=0.05, connect_deadline=0.8, deadline=1.0, sessions=6, probe_every=0.05)
# Where no operation may run out of time, however busy the machine is.
PATIENT = replace(PLAN, connect_deadline=15.0, deadline=15.0)
VIP = Address("198.51.100.7", PORT)
SETTINGS = "listen_addresses = '*'\nmax_connections = 60\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    directory = Path(tempfile.mkdtemp(prefix="lab-client-", dir="/var/tmp"))
    directory.chmod(0o755)
    database = Database(directory / "data", port=PORT, settings=SETTINGS)
    try:
        database.initdb()
        with open(database.directory / "pg_hba.conf", "a") as file:
            file.write(f"host all all {VIP.host}/32 trust\n")
        database.start_by_hand()
        yield database
    finally:
        kill(database.processes(), signal.SIGKILL)
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def system(server: Database) -> str:
    return journal.set_up(HERE, within=20)


def kill(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Forwarder:
    """Forwards connections to the server; `swallow` keeps its answers, and `hang_up` ends all connections there are."""

    def __init__(self) -> None:
        self.swallow = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self._listener.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HERE.host, HERE.port))
                self._pairs.append((client, server))
                for source, target, answers in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(target=self._forward, args=(source, target, answers))
                    self._threads.append(thread)
                    thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not (answers and self.swallow.is_set()):
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        for pair in list(self._pairs):
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.hang_up()
        for thread in self._threads:
            thread.join()
        for pair in self._pairs:
            for end in pair:
                end.close()


@contextmanager
def forwarding() -> Iterator[Forwarder]:
    forwarder = Forwarder()
    try:
        yield forwarder
    finally:
        forwarder.close()


def until(true: Callable[[], bool], within: float = 20.0) -> None:
    """Wait for something that is bound to come about."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def more_acknowledged(directory: Path, number: int) -> None:
    """Wait until so many more rows of either stream were acknowledged."""
    before = {stream: good(directory, stream) for stream in (KEPT, FRESH)}
    until(lambda: all(good(directory, stream) >= before[stream] + number for stream in before))


def good(directory: Path, stream: str) -> int:
    return sum(operation.outcome == OK for operation in history(directory).of(stream))


def history(directory: Path) -> History:
    return ledger.read(directory / LEDGER)


def audited(directory: Path) -> tuple[History, Audit]:
    read = history(directory)
    return read, audit.judge(read, journal.read(HERE, read.run, within=20))


def outcomes(operations: list[Operation]) -> set[str]:
    """Return how those ended that have ended."""
    return {operation.outcome for operation in operations if operation.ended is not None}


def kinds(found: Audit) -> set[str]:
    """Return the outcomes that there were; on a busy machine a write may also have found all sessions waiting."""
    return {outcome for outcome, count in found.outcomes.items() if count} - {NOT_SENT}


def probes(directory: Path) -> set[str]:
    events, torn = ledger.lines(directory / PROBES)
    assert not torn
    return {event["result"] for event in events if event["event"] == "probe"}


def unbroken(read: History) -> bool:
    """Tell whether every row of the schedule is in the ledger, due when it was to be."""
    for stream in (KEPT, FRESH):
        rows = sorted(read.of(stream), key=lambda operation: operation.number)
        if [row.number for row in rows] != list(range(len(rows))):
            return False
        if any(row.due != pytest.approx(rows[0].due + row.number * PLAN.every, abs=1e-3) for row in rows):
            return False
    return read.streams() == [FRESH, KEPT]


def test_a_healthy_run(server: Database, system: str, tmp_path: Path) -> None:
    with Client(HERE, tmp_path, PATIENT, system=system):
        more_acknowledged(tmp_path, 15)
    read, found = audited(tmp_path)
    assert kinds(found) == {OK}
    assert found.clean and found.finished and not found.torn
    assert found.acknowledged == len(read.operations) - found.outcomes[NOT_SENT] >= 30
    assert unbroken(read)
    (span,) = found.spans
    assert (span.server[0], span.rows) == (socket.gethostname(), found.acknowledged)
    assert probes(tmp_path) == {"open"}
    for row in (row for row in read.operations.values() if row.outcome == OK):
        assert row.sent is not None and row.ended is not None
        assert row.due - 1e-3 <= row.sent <= row.ended
    assert not server.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'lab client' AND state <> 'idle'")


def test_each_stream_has_its_own_sessions(server: Database, system: str, tmp_path: Path) -> None:
    with Client(HERE, tmp_path, PLAN, system=system):
        more_acknowledged(tmp_path, 10)
    rows = journal.read(HERE, history(tmp_path).run, within=20)
    backends = {stream: [row.backend for row in rows if row.stream == stream] for stream in (KEPT, FRESH)}
    assert len(set(backends[KEPT])) <= PLAN.sessions
    assert len(set(backends[FRESH])) == len(backends[FRESH]) >= 10


def test_a_server_that_is_killed_and_started_again(server: Database, system: str, tmp_path: Path) -> None:
    with Client(HERE, tmp_path, PLAN, system=system):
        more_acknowledged(tmp_path, 5)
        ledger.mark(tmp_path / LEDGER, "killed")
        pids = server.processes()
        kill([server.postmaster()], signal.SIGKILL)
        assert ended(pids)
        until(lambda: "refused" in probes(tmp_path))
        time.sleep(0.3)
        server.start_by_hand()
        more_acknowledged(tmp_path, 5)
    read, found = audited(tmp_path)
    assert found.clean
    assert found.outcomes[FAILED] >= 5
    assert {row.phase for row in read.operations.values() if row.outcome == FAILED} == {"connect"}
    assert any("refused" in row.why for row in read.operations.values())
    assert {"open", "refused"} <= probes(tmp_path)
    assert unbroken(read)
    first, second = found.spans
    assert first.server[0] == second.server[0]
    assert first.last < second.first
    ((killed, _),) = read.marks
    gap = audit.disruption(read, killed)
    assert gap.back
    assert gap.begin - 0.5 <= killed < gap.end
    assert gap.seconds >= 0.3


def test_a_server_that_is_stopped_for_a_while(server: Database, system: str, tmp_path: Path) -> None:
    with Client(HERE, tmp_path, PLAN, system=system):
        more_acknowledged(tmp_path, 5)
        stopped = server.processes()
        kill(stopped, signal.SIGSTOP)
        began = history(tmp_path).last
        try:
            until(lambda: {UNKNOWN, NOT_SENT, FAILED} <= outcomes(list(history(tmp_path).operations.values())))
            time.sleep(1.2)
            resumed = history(tmp_path).last
        finally:
            kill(stopped, signal.SIGCONT)
        more_acknowledged(tmp_path, 5)
    read, found = audited(tmp_path)
    assert found.clean
    # The sessions that waited have heard in the end what became of their rows.
    assert found.late >= 1
    waited = [row for row in read.operations.values() if row.late]
    assert {row.outcome for row in waited} == {UNKNOWN}
    assert {row.key for row in waited} <= {row.key for row in read.of(KEPT)}
    assert all("not connected within" in row.why for row in read.operations.values() if row.outcome == FAILED)
    # They were not closed and replaced meanwhile: the server has no more to do afterwards than there may be sessions.
    for stream in (KEPT, FRESH):
        left = [row for row in read.of(stream) if row.outcome in (UNKNOWN, FAILED) and began < (row.ended or 0) <= resumed]
        assert 1 <= len(left) <= PLAN.sessions
    assert unbroken(read)
    assert probes(tmp_path) == {"open"}  # The kernel takes connections for a process that is stopped.
    assert len(found.spans) == 1
    assert audit.disruption(read, began).seconds >= 1.0


@pytest.mark.parametrize("host, port, says, why", [("127.0.0.1", 1, "refused", "refused"), ("192.0.2.1", 5432, "no route", "unreachable")])
def test_nobody_there(server: Database, system: str, tmp_path: Path, host: str, port: int, says: str, why: str) -> None:
    with Client(Address(host, port), tmp_path, PLAN):
        until(lambda: len(history(tmp_path).operations) >= 10)
    read, found = audited(tmp_path)
    assert kinds(found) == {FAILED}
    assert {(row.phase, row.sent) for row in read.operations.values()} == {("connect", None)}
    assert all(why in row.why for row in read.operations.values())
    assert probes(tmp_path) == {says}
    assert found.clean and not found.spans
    assert not audit.disruption(read).back
    with pytest.raises(journal.Unanswered, match=why):
        journal.read(Address(host, port), read.run, within=0.2)


def test_a_session_that_was_ended_while_idle_is_not_used(server: Database, system: str) -> None:
    async def taken() -> None:
        lane = Lane(KEPT, HERE.conninfo(2), most=1)
        session = lane.take()
        assert session is not None
        assert lane.take() is None
        await session.connect()
        lane.give_back(session)
        assert lane.take() is session
        lane.give_back(session)
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lab client'")
        until(lambda: not session.silent())
        other = lane.take()
        assert other is not None and other is not session
        assert lane.open == 1
        lane.drop(other)

    asyncio.run(taken())


def test_answers_that_are_swallowed(server: Database, system: str, tmp_path: Path) -> None:
    """The rows are there, and nobody was told."""
    with forwarding() as proxy, Client(proxy.address, tmp_path, PLAN, system=system):
        more_acknowledged(tmp_path, 5)
        proxy.swallow.set()
        until(lambda: {UNKNOWN, NOT_SENT, FAILED} <= outcomes(list(history(tmp_path).operations.values())))
        proxy.hang_up()
        proxy.swallow.clear()
        more_acknowledged(tmp_path, 5)
    read, found = audited(tmp_path)
    assert found.clean
    assert found.late == 0
    assert len(found.unknown_present) >= 1
    assert found.outcomes[UNKNOWN] == len(found.unknown_present) + len(found.unknown_absent)
    assert any("no answer within" in row.why for row in read.operations.values() if row.outcome == UNKNOWN)
    assert unbroken(read)


def test_a_server_that_says_no(server: Database, system: str, tmp_path: Path) -> None:
    server.execute("ALTER TABLE lab_journal ADD CONSTRAINT no_fives CHECK (number % 5 <> 0) NOT VALID")
    try:
        with Client(HERE, tmp_path, PATIENT, system=system):
            more_acknowledged(tmp_path, 10)
    finally:
        server.execute("ALTER TABLE lab_journal DROP CONSTRAINT no_fives")
    read, found = audited(tmp_path)
    assert found.clean
    assert kinds(found) == {OK, FAILED}
    assert {row.number % 5 for row in read.operations.values() if row.outcome == OK} == {1, 2, 3, 4}
    refused = [row for row in read.operations.values() if row.outcome == FAILED]
    assert {row.number % 5 for row in refused} == {0}
    assert all(row.phase == "insert" and row.sent is not None and row.why.startswith("23514 ") for row in refused)


def test_a_session_that_the_server_ends_knows_nothing(server: Database, system: str, tmp_path: Path) -> None:
    """FATAL is no answer to the INSERT."""
    with Client(HERE, tmp_path, PLAN, system=system):
        more_acknowledged(tmp_path, 5)
        with server.connect(autocommit=False) as locker:
            locker.execute("LOCK TABLE lab_journal")
            waiting = "FROM pg_stat_activity WHERE application_name = 'lab client' AND wait_event_type = 'Lock'"
            until(lambda: bool(server.execute(f"SELECT 1 {waiting}")))
            assert server.execute(f"SELECT pg_terminate_backend(pid) {waiting}")
            until(lambda: UNKNOWN in outcomes(list(history(tmp_path).operations.values())))
        more_acknowledged(tmp_path, 5)
    read, found = audited(tmp_path)
    assert found.clean
    ended_by_server = [row for row in read.operations.values() if row.why.startswith("57P01 ")]
    assert outcomes(ended_by_server) == {UNKNOWN}
    assert {row.key for row in ended_by_server} <= set(found.unknown_absent)


def floating(verb: str) -> None:
    """Add the floating address to this machine, or take it away; a root has a network of its own."""
    subprocess.run(["ip", "address", verb, f"{VIP.host}/32", "dev", "lo"], check=True, stdin=subprocess.DEVNULL)


def test_an_address_that_goes_and_comes_back(server: Database, system: str, tmp_path: Path) -> None:
    """Sessions whose peer is gone do not stay: those that come after them find room."""
    floating("add")
    try:
        with Client(VIP, tmp_path, PLAN, system=system):
            more_acknowledged(tmp_path, 5)
            began = history(tmp_path).last
            floating("del")
            until(lambda: outcomes(list(history(tmp_path).operations.values())) >= {FAILED, UNKNOWN})
            until(lambda: "no route" in probes(tmp_path))
            floating("add")
            more_acknowledged(tmp_path, 5)
    finally:
        subprocess.run(["ip", "address", "flush", "to", VIP.host, "dev", "lo"], check=True, stdin=subprocess.DEVNULL)
    read, found = audited(tmp_path)
    assert found.clean
    assert outcomes(read.of(FRESH)) <= {OK, FAILED, UNKNOWN, NOT_SENT}
    assert any("unreachable" in row.why for row in read.operations.values() if row.outcome == FAILED)
    assert unbroken(read)
    assert probes(tmp_path) >= {"open", "no route"}
    assert audit.disruption(read, began).back


def test_a_peer_without_a_sign_of_life_gives_its_place_back(server: Database, system: str, tmp_path: Path) -> None:
    """A session waits for a server that hangs, and not for a machine that is gone."""
    floating("add")
    try:
        with Client(VIP, tmp_path, PLAN, system=system), server.connect(autocommit=False) as locker:
            more_acknowledged(tmp_path, 5)
            locker.execute("LOCK TABLE lab_journal")
            until(lambda: NOT_SENT in outcomes(list(history(tmp_path).operations.values())))
            floating("del")  # All sessions wait for an answer, none has anything to send.
            full = history(tmp_path).last
            until(lambda: any(row.outcome == FAILED and (row.ended or 0) > full and "unreachable" in row.why
                              for row in history(tmp_path).operations.values()))  # fmt: skip
    finally:
        subprocess.run(["ip", "address", "flush", "to", VIP.host, "dev", "lo"], check=True, stdin=subprocess.DEVNULL)
    _, found = audited(tmp_path)
    assert found.clean
    assert found.outcomes[UNKNOWN] >= PLAN.sessions


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lab.client", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=TREE, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_client_itself_is_ended(server: Database, tmp_path: Path, number: int) -> None:
    """By the command line, from the set-up to the audit."""
    there = ["--host=127.0.0.1", f"--port={PORT}", "--wait=20"]
    line = command(*there, f"--out={tmp_path}", "--every=0.05", "--connect-every=0.05", "--sessions=5")
    client = subprocess.Popen(line, cwd=TREE, stdin=subprocess.DEVNULL)
    try:
        until((tmp_path / LEDGER).exists)
        until(lambda: (tmp_path / LEDGER).read_bytes().count(b"\n") > 10)
        assert run("mark", str(tmp_path), "injected").returncode == 0
        more_acknowledged(tmp_path, 5)
        client.send_signal(number)
        assert client.wait(20) == (0 if number == signal.SIGTERM else -number)
    finally:
        client.kill()
        client.wait()
    done = run("audit", str(tmp_path), *there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "clean"
    assert ("did not come to its own end" in done.stdout) == (number == signal.SIGKILL)
    told = json.loads((tmp_path / "audit.json").read_text())
    assert told["lost"] == told["ghosts"] == []
    assert told["acknowledged"] >= 10
    assert told["injected"] > 0
    assert set(told["disruption"]) == {"all", KEPT, FRESH}
    again = run(*there, f"--out={tmp_path}", "--seconds=1")
    assert (again.returncode, "File exists" in again.stderr) == (2, True)
    if number == signal.SIGKILL:
        server.execute(f"DELETE FROM lab_journal WHERE run = '{told['run']}' AND number = 1")
        lossy = run("audit", str(tmp_path), *there)
        assert lossy.returncode == 1
        assert f"LOST, though acknowledged: 2: {FRESH} 1, {KEPT} 1" in lossy.stdout


def test_a_run_of_so_many_seconds(server: Database, tmp_path: Path) -> None:
    done = run("--host=127.0.0.1", f"--port={PORT}", f"--out={tmp_path}", "--seconds=0.5")
    assert done.returncode == 0, done.stderr
    assert history(tmp_path).finished
    assert kinds(audited(tmp_path)[1]) == {OK}
