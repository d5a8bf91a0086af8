"""The table that the client writes into, and how it is read back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from lab.client.session import Address, Cells, Denied, Lost, Session

# No key and no index: a row that was written twice is to be found twice.  Each row says who wrote it.  The address does not tell the
# nodes apart, for both serve under the same one, nor does the system identifier, for both have the same disk: host name and start do.
TABLE = """CREATE TABLE IF NOT EXISTS lab_journal (run text, stream text, number bigint,
    host text DEFAULT lab_host(), address text DEFAULT host(inet_server_addr()), started timestamptz DEFAULT pg_postmaster_start_time(),
    backend int DEFAULT pg_backend_pid(), written timestamptz DEFAULT clock_timestamp())"""
HOST = """CREATE OR REPLACE FUNCTION lab_host() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT rtrim(pg_read_file('/proc/sys/kernel/hostname', 0, 64), E'\\n') $$"""
INSERT = "INSERT INTO lab_journal (run, stream, number) VALUES ($1, $2, $3::bigint) RETURNING host || ' ' || extract(epoch FROM started)"
READ = """SELECT stream, number, host, coalesce(address, ''), extract(epoch FROM started), backend, extract(epoch FROM written)
    FROM lab_journal WHERE run = $1"""
IDENTITY = "SELECT system_identifier FROM pg_control_system()"


class Unanswered(Exception):
    """No server did what was asked in the time that there was."""


@dataclass(frozen=True)
class Row:
    """A row as the database has it.  `written` is the clock of its server."""

    stream: str
    number: int
    host: str
    started: float
    written: float
    address: str = ""
    backend: int = 0

    @property
    def server(self) -> tuple[str, float]:
        """Return what tells the life of one server from all others."""
        return self.host, self.started


def set_up(address: Address, within: float) -> str:
    """Make the table unless it is there; return the system identifier.  Needs a superuser.  Raises Unanswered."""
    for statement in (HOST, TABLE):
        ask(address, statement, within=within)
    return ask(address, IDENTITY, within=within)[0][0]


def read(address: Address, run: str, within: float) -> list[Row]:
    """Return the rows of a run.  Raises Unanswered."""
    found = ask(address, READ, run, within=within)
    return [Row(stream, int(number), host, float(started), float(written), at, int(backend))
            for stream, number, host, at, started, backend, written in found]  # fmt: skip


def identity(address: Address, within: float) -> str:
    """Return the system identifier of the database cluster.  Raises Unanswered."""
    return ask(address, IDENTITY, within=within)[0][0]


def ask(address: Address, statement: str, *values: str, within: float) -> Cells:
    """Run a statement, again and again on new sessions until a server answers.  Raises Unanswered."""
    return asyncio.run(asked(address, statement, values, time.monotonic() + within, within))


async def asked(address: Address, statement: str, values: tuple[str, ...], until: float, within: float) -> Cells:
    why = "no answer"
    while True:
        session = Session(address.conninfo(5))
        try:
            return await asyncio.wait_for(once(session, statement, values), max(0.1, until - time.monotonic()))
        except Denied as denied:
            # A session's own end may be that of a server which goes down; an error is the answer.
            if denied.final:
                raise Unanswered(f"{address.host}:{address.port}: {denied}") from None
            why = str(denied)
        except Lost as lost:
            why = str(lost)
        except asyncio.TimeoutError:
            pass
        finally:
            session.close()
        if time.monotonic() + 0.5 > until:
            raise Unanswered(f"{address.host}:{address.port}: {why} (within {within:g} s)")
        await asyncio.sleep(0.5)


async def once(session: Session, statement: str, values: tuple[str, ...]) -> Cells:
    await session.connect()
    return await session.execute(statement, *values)
