"""A client that writes one row after the other on a fixed schedule, whatever becomes of the rows before."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import psycopg

from lab.demo.record import Row, Side

TABLE = "CREATE TABLE journal (number int PRIMARY KEY)"
INSERT = "INSERT INTO journal VALUES (%s)"
# Each hung INSERT holds a connection.  When all wait, rows that are due are unanswered without having been sent.
CONNECTIONS = 6


class Slot:
    """A connection that is made anew when it has broken."""

    def __init__(self, address: dict[str, Any]) -> None:
        self.address = address
        self.connection: psycopg.AsyncConnection[Any] | None = None

    async def insert(self, number: int) -> None:
        if self.connection is None:
            self.connection = await psycopg.AsyncConnection.connect(**self.address, autocommit=True, connect_timeout=5)
        await self.connection.execute(INSERT, [number])

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()
        self.connection = None


class Writer:
    """Writes a row every `every` seconds into each database, from a thread of its own.

    `zero` is the moment, on the monotonic clock, that times of rows are counted from.
    """

    def __init__(self, databases: list[tuple[Side, dict[str, Any]]], zero: float, every: float) -> None:
        self._databases, self._zero, self._every = databases, zero, every
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the schedule; what is under way has five seconds more to be answered."""
        self._ending.set()
        self._thread.join(15)

    async def _write(self) -> None:
        lanes = [(side, [Slot(address) for _ in range(CONNECTIONS)]) for side, address in self._databases]
        free = {id(side): list(slots) for side, slots in lanes}
        tasks: set[asyncio.Task[None]] = set()
        begin, number = time.monotonic(), 0
        while not self._ending.is_set():
            await asyncio.sleep(max(0.0, begin + number * self._every - time.monotonic()))
            for side, _ in lanes:
                row = Row(number, begin + number * self._every - self._zero)
                side.rows.append(row)
                if free[id(side)]:
                    task = asyncio.create_task(self._insert(row, free[id(side)]))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            number += 1
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        for _, slots in lanes:
            for slot in slots:
                await slot.close()

    async def _insert(self, row: Row, free: list[Slot]) -> None:
        slot = free.pop()
        try:
            await slot.insert(row.number)
            row.answered = time.monotonic() - self._zero
        except (psycopg.Error, OSError):
            await slot.close()
        finally:
            free.append(slot)
