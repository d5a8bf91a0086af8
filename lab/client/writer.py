"""A client that writes rows on a fixed schedule, whatever becomes of the rows before.

Two streams run side by side: one keeps its sessions, as an application with a pool does, the other connects for each row.  An operation
takes a session, connects where there is none, notes its intent, sends the INSERT, and notes what came of it:

    ok          the commit was acknowledged in time
    failed      it was certainly not done: no session came about, or the server said no
    unknown     the connection was lost, or the deadline passed, after sending
    not sent    as many sessions as there may be were waiting when it was due

A session whose operation has run out of time is left waiting, and counts among those that there may be, until its server answers
or ends it, or the peer's kernel is silent: were it closed and replaced, a server that hangs would collect so many hung backends that
its own health check found no free connection, and the client had made the failure that it is to watch.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from lab.client import journal
from lab.client.ledger import FAILED, NOT_SENT, OK, UNKNOWN, Ledger
from lab.client.probe import pause
from lab.client.session import Address, Denied, Lost, Session

KEPT, FRESH = "persistent", "connect"


@dataclass(frozen=True)
class Plan:
    """How to work.  Times are seconds; `sessions` is how many each stream may have open, those that wait in vain among them.

    A connection costs the server a process, and an emulated node a sixteenth of a second, a probe's too: they come less often.
    """

    every: float = 0.1
    connect_every: float = 0.5
    connect_deadline: float = 3.0
    deadline: float = 5.0
    sessions: int = 10
    probe_every: float = 1.0
    seconds: float | None = None


class Lane:
    """A stream's sessions: `idle` ones, and the number of all."""

    def __init__(self, stream: str, conninfo: bytes, most: int) -> None:
        self.stream, self._conninfo, self._most = stream, conninfo, most
        self.idle: list[Session] = []
        self.open = 0

    def take(self) -> Session | None:
        """Return an idle session that is alive, else a new one that is not connected yet, or None where there may be no more."""
        while self.idle:
            session = self.idle.pop()
            if session.silent():
                return session
            self.drop(session)
        if self.open >= self._most:
            return None
        self.open += 1
        return Session(self._conninfo)

    def give_back(self, session: Session) -> None:
        if session.ready and self.stream == KEPT:
            self.idle.append(session)
        else:
            self.drop(session)

    def drop(self, session: Session) -> None:
        session.close()
        self.open -= 1


class Attempt:
    """One operation under way.  Its end is noted once; an answer after that is noted as late."""

    def __init__(self, lane: Lane, number: int, due: float, ledger: Ledger, plan: Plan) -> None:
        self._lane, self._number, self._due, self._ledger, self._plan = lane, number, due, ledger, plan
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    async def run(self, session: Session) -> None:
        self._task = asyncio.current_task()
        try:
            if session.ready or await self._connected(session):
                await self._insert(session)
        finally:
            self._lane.give_back(session)

    async def _connected(self, session: Session) -> bool:
        """Connect; return whether that came about in time."""
        timer = asyncio.get_running_loop().call_later(self._plan.connect_deadline, self._too_late_to_connect, session)
        try:
            await session.connect()
        except Lost as lost:
            self.end(FAILED, "connect", str(lost))
        finally:
            timer.cancel()
        return not self._ended

    def _too_late_to_connect(self, session: Session) -> None:
        self.end(FAILED, "connect", f"not connected within {self._plan.connect_deadline:g} s")
        # An established connection has a server process behind it, or will have: see above.
        if not session.established and self._task:
            self._task.cancel()

    async def _insert(self, session: Session) -> None:
        self._ledger.note("intent", stream=self._lane.stream, number=self._number, due=self._due)
        why = f"no answer within {self._plan.deadline:g} s"
        timer = asyncio.get_running_loop().call_later(self._plan.deadline, self.end, UNKNOWN, "insert", why)
        try:
            rows = await session.execute(journal.INSERT, self._ledger.run, self._lane.stream, str(self._number))
            self.end(OK, server=rows[0][0])
        except Denied as denied:
            self.end(FAILED if denied.final else UNKNOWN, "insert", str(denied))
        except Lost as lost:
            self.end(UNKNOWN, "insert", str(lost))
        finally:
            timer.cancel()

    def end(self, outcome: str, phase: str = "", why: str = "", server: str = "") -> None:
        key = {"stream": self._lane.stream, "number": self._number}
        told = {name: text for name, text in (("phase", phase), ("why", why), ("server", server)) if text}
        if not self._ended:
            self._ended = True
            self._ledger.note("end", **key, due=self._due, outcome=outcome, **told)
        elif phase != "connect" and outcome != UNKNOWN:
            self._ledger.note("late", **key, outcome=outcome, **told)


class Writer:
    """Writes a row every `plan.every` seconds on kept sessions, and one every `plan.connect_every` seconds on a session of its own."""

    def __init__(self, address: Address, ledger: Ledger, plan: Plan) -> None:
        self._ledger, self._plan = ledger, plan
        conninfo = address.conninfo(plan.deadline)
        self._lanes = {Lane(KEPT, conninfo, plan.sessions): plan.every, Lane(FRESH, conninfo, plan.sessions): plan.connect_every}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ending: asyncio.Event) -> None:
        """Write until `ending` is set, then let what is under way come to its answer or its deadline.

        Raises OSError where the ledger cannot be written: without an intent nothing is sent.
        """
        try:
            begin = time.monotonic()
            await asyncio.gather(*(self._write(lane, begin, every, ending) for lane, every in self._lanes.items()))
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._plan.connect_deadline + self._plan.deadline + 0.5)
            self._collect()
        finally:
            await self._leave()

    async def _write(self, lane: Lane, begin: float, every: float, ending: asyncio.Event) -> None:
        number = 0
        while not ending.is_set():
            self._begin(lane, number, round(begin + number * every - self._ledger.zero, 6))
            self._collect()
            number += 1
            await pause(ending, begin + number * every)

    def _begin(self, lane: Lane, number: int, due: float) -> None:
        attempt = Attempt(lane, number, due, self._ledger, self._plan)
        session = lane.take()
        if session is None:
            attempt.end(NOT_SENT)
        else:
            self._tasks.add(asyncio.create_task(attempt.run(session)))

    def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            if not task.cancelled():
                task.result()

    async def _leave(self) -> None:
        """Close every session, hung ones too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            while lane.idle:
                lane.drop(lane.idle.pop())
