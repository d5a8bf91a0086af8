"""A client that writes a row every tenth of a second, whatever has become of the rows before."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psycopg

from tests.postgres import Database

EVERY = 0.1
RECONNECT = 1.0


@dataclass
class Client:
    """Writes through one session.  `acknowledged` holds pairs of row number and the moment of its commit."""

    database: Database
    acknowledged: list[tuple[int, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    began: float = 0.0

    def begin(self) -> None:
        self.database.execute("CREATE TABLE written (n int PRIMARY KEY)")
        self.began = time.monotonic()
        # It waits in recv(), for as long as the server is silent; whoever watches it does not.
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        row = 0
        while True:
            try:
                with self.database.connect() as server:
                    while True:
                        time.sleep(max(0.0, self.began + row * EVERY - time.monotonic()))
                        row = max(row, int((time.monotonic() - self.began) / EVERY))
                        server.execute("INSERT INTO written VALUES (%s)", (row,))
                        self.acknowledged.append((row, time.monotonic()))
                        row += 1
            except psycopg.Error:
                self.refused.append(time.monotonic())
                row += 1
                time.sleep(RECONNECT)

    def silent(self) -> float:
        """Return for how many seconds no write has been acknowledged."""
        return time.monotonic() - (self.acknowledged[-1][1] if self.acknowledged else self.began)

    def lost(self) -> int:
        """Return how many acknowledged rows the database does not hold."""
        found = {row for (row,) in self.database.execute("SELECT n FROM written")}
        return sum(1 for row, _ in self.acknowledged if row not in found)
