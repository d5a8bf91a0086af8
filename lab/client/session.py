"""One session with a PostgreSQL server, whose every wait can be left alone or ended at once.

This stands on psycopg.pq, psycopg's own wrapper of libpq, and not on AsyncConnection: when a task is cancelled, that one asks the
server to cancel the query too and waits for the answer, which neither comes where storage hangs nor leaves the server as it would have
been.  Here a caller that has lost its patience may leave the session waiting, knows whether the server has it (`established`), and
may close it without a word to anybody.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

GOOD = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)
# From a status behind these on, the server's kernel has taken the connection.
NOT_ESTABLISHED = (pq.ConnStatus.BAD, pq.ConnStatus.STARTED)

Cells = list[list[str]]


class Lost(Exception):
    """The connection could not be made, or is gone.  What had been sent by then may have been done."""


class Denied(Exception):
    """The server answered with an error; `final` where the session goes on, so that the statement certainly was not carried out."""

    def __init__(self, sqlstate: str, severity: str, text: str) -> None:
        super().__init__(f"{sqlstate} {text}")
        # FATAL and PANIC end a session, which may have been after its commit; 40003 is "statement completion unknown".
        self.final = severity == "ERROR" and sqlstate != "40003"


@dataclass(frozen=True)
class Address:
    """Where the server is.  A password, where one is needed, comes from PGPASSWORD or ~/.pgpass, as with any client of libpq."""

    host: str
    port: int = 5432
    user: str = "postgres"
    dbname: str = "postgres"

    def resolved(self) -> str:
        """Return the host as a number, so that no look-up can hold up the schedule.  Raises OSError."""
        return str(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][4][0])

    def conninfo(self, patience: float) -> bytes:
        """Return libpq's words.  A peer whose kernel is silent for `patience` seconds counts as gone; one that is alive may take its time.

        That tells a dead node, or an address that moved, from a server that hangs.
        """
        seconds = max(2, round(patience))
        return make_conninfo(
            hostaddr=self.resolved(), port=self.port, user=self.user, dbname=self.dbname, sslmode="disable", gssencmode="disable",
            application_name="lab client", options="-c synchronous_commit=on -c statement_timeout=0",
            keepalives=1, keepalives_idle=1, keepalives_interval=1, keepalives_count=seconds, tcp_user_timeout=seconds * 1000,
        ).encode()  # fmt: skip


class Session:
    """A connection; `ready` once it is made and while it can take a statement."""

    def __init__(self, conninfo: bytes) -> None:
        self._conninfo = conninfo
        self._server: pq.abc.PGconn | None = None
        self.ready = False

    @property
    def established(self) -> bool:
        """Tell whether the other end has taken the connection, whatever the server makes of it."""
        return self._server is not None and self._server.status not in NOT_ESTABLISHED

    async def connect(self) -> None:
        """Connect.  Raises Lost, also where a server answered and would not have us."""
        self._server = server = pq.PGconn.connect_start(self._conninfo)
        state: int = pq.PollingStatus.WRITING
        while server.status != pq.ConnStatus.BAD and state != pq.PollingStatus.FAILED:
            if state == pq.PollingStatus.OK:
                server.nonblocking = 1
                self.ready = True
                return
            await self._wait(write=state == pq.PollingStatus.WRITING)
            state = server.connect_poll()
        raise Lost(brief(server.error_message))

    async def execute(self, statement: str, *values: str) -> Cells:
        """Run one statement in a transaction of its own; return its rows once that is committed.  Raises Denied and Lost."""
        assert self._server
        self.ready = False
        results: list[pq.abc.PGresult] = []
        lost: Lost | None = None
        try:
            await self._talk(self._server, statement.encode(), [value.encode() for value in values], results)
        except psycopg.Error as error:
            lost = Lost(brief(str(error).encode()))
        except Lost as trouble:
            lost = trouble
        # What a server says at the end of a session comes before the loss of the connection.
        for result in results:
            if result.status not in GOOD:
                raise self._trouble(result)
        if lost:
            raise lost
        self.ready = True
        last = results[-1]
        return [[(last.get_value(row, column) or b"").decode() for column in range(last.nfields)] for row in range(last.ntuples)]

    async def _talk(self, server: pq.abc.PGconn, statement: bytes, values: Sequence[bytes], results: list[pq.abc.PGresult]) -> None:
        """Send, and add all answers to `results`, up to the server's word that it is ready again, which comes after the commit."""
        server.send_query_params(statement, values)
        while server.flush():
            await self._wait(write=True)
            server.consume_input()
        while True:
            while server.is_busy():
                await self._wait()
                server.consume_input()
            result = server.get_result()
            if result is None:
                return
            results.append(result)

    def _trouble(self, result: pq.abc.PGresult) -> Exception:
        field = pq.DiagnosticField
        sqlstate, severity, text = ((result.error_field(name) or b"").decode(errors="replace")
                                    for name in (field.SQLSTATE, field.SEVERITY_NONLOCALIZED, field.MESSAGE_PRIMARY))  # fmt: skip
        if not sqlstate:
            return Lost(brief(result.error_message))
        denied = Denied(sqlstate, severity, text)
        self.ready = denied.final and self.established
        return denied

    def silent(self) -> bool:
        """Tell whether a session that is ready has heard nothing since: what a server says unasked is that it ends the session."""
        assert self._server
        poll = select.poll()
        poll.register(self._server.socket, select.POLLIN | select.POLLRDHUP)
        return not poll.poll(0)

    async def _wait(self, *, write: bool = False) -> None:
        """Wait until the connection can be read, or also written."""
        assert self._server
        loop = asyncio.get_running_loop()
        try:
            descriptor = self._server.socket
        except psycopg.Error as error:
            raise Lost(brief(str(error).encode())) from None
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(descriptor, wake)
        if write:
            loop.add_writer(descriptor, wake)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
            if write:
                loop.remove_writer(descriptor)

    def close(self) -> None:
        """End the session without waiting for anybody."""
        self.ready = False
        if self._server is not None:
            self._server.finish()
            self._server = None


def brief(message: bytes) -> str:
    """Return libpq's message on one line."""
    return " ".join(message.decode(errors="replace").split())[:200] or "connection lost"
