"""SQL checks of a PostgreSQL server, by psycopg, which is imported in a guarded child only."""

from __future__ import annotations

import time

from ocf_py import guard
from ocf_py.outcomes import Error, Hung

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

APPLICATION = "ocf:lab:pgsql-storage"
# A message in the WAL makes the commit flush it; the local level keeps a missing synchronous standby from looking like a slow
# disk.  Server source: src/backend/access/transam/xact.c, RecordTransactionCommit.
WAL_COMMIT = ("SET LOCAL synchronous_commit = local", f"SELECT pg_logical_emit_message(true, '{APPLICATION}', '')")

PROTOCOL = 196608  # 3.0
PLAIN_SECONDS = 3.0
LOADED = "query"  # The step at which the driver is there and the server's time begins.
DRIVER_SECONDS = 25.0

# What an error of the server means, by SQLSTATE or by its class (the first two characters).
TRANSITIONAL, SLOTS, LOGIN, FULL, BROKEN, SQL = "transitional", "slots", "login", "full", "broken", "sql"
MEANINGS = {
    "57P01": TRANSITIONAL, "57P02": TRANSITIONAL, "57P03": TRANSITIONAL, "53300": SLOTS, "53100": FULL, "58030": BROKEN,
    "28": LOGIN, "3D": LOGIN, "58": BROKEN, "XX": BROKEN,
}  # fmt: skip


# What does not make the resource fail, and the words for it.
WARNINGS = {SLOTS: "no connection slot is free", FULL: "disk full", LOGIN: "monitor login rejected"}


def meaning(sqlstate: str) -> str:
    """Return the meaning of an error; one without SQLSTATE comes from a connection that nobody answered."""
    if not sqlstate:
        return TRANSITIONAL
    return MEANINGS.get(sqlstate) or MEANINGS.get(sqlstate[:2]) or SQL


class Question(guard.Call):
    """`check` in a guarded child.  Loading the driver, which takes seconds on a busy machine, is none of the server's time."""

    @property
    def loaded(self) -> bool:
        return bool(self.child and self.child.step == LOADED)

    def judge(self, now: float) -> Error | None:
        assert self.child
        age = now - (self.child.step_since if self.loaded else self.child.since)
        return Hung(self.target, self.child.pid, age) if age >= (self.within if self.loaded else DRIVER_SECONDS) else None


def check(connection: dict[str, Any], query: str, commit: bool) -> dict[str, Any]:
    """Connect, run the query, and commit something to the WAL where that is asked for.

    Returns {"missing": text} without the driver, {"sqlstate", "error"} for what the server said ("" as the state where it said
    nothing), else {"query": seconds, "commit": seconds} with commit None on a standby.
    """
    try:
        import psycopg
    except ImportError as error:
        return {"missing": f"{error} (install python3-psycopg3)"}
    guard.step(LOADED)
    try:
        with psycopg.connect(**connection, application_name=APPLICATION, passfile="/dev/null", autocommit=True) as server:
            began = time.monotonic()
            server.execute(query).fetchall()
            result: dict[str, Any] = {"query": time.monotonic() - began, "commit": None}
            if commit and server.execute("SELECT pg_is_in_recovery()").fetchone() == (False,):
                began = time.monotonic()
                with server.transaction():
                    for statement in WAL_COMMIT:
                        server.execute(statement)
                result["commit"] = time.monotonic() - began
            return result
    except psycopg.Error as error:
        return {"sqlstate": error.sqlstate or asked_plainly(connection), "error": " ".join(str(error).split())}


def asked_plainly(connection: dict[str, Any]) -> str:
    """Return the SQLSTATE with which the server refuses a connection, "" where it does not answer.

    libpq keeps no SQLSTATE of a connection that failed, and the words are in the server's language.  So the refusal is asked for
    once more in the protocol itself, up to where a password is wanted: a server that wants one and refused libpq refused the login.
    """
    import socket

    family = socket.AF_UNIX if connection["host"].startswith("/") else socket.AF_INET6 if ":" in connection["host"] else socket.AF_INET
    host, port = connection["host"], connection["port"]
    place: Any = f"{host}/.s.PGSQL.{port}" if family == socket.AF_UNIX else (host, int(port))
    words = "".join(f"{name}\0{value}\0" for name, value in (("user", connection["user"]), ("database", connection["dbname"])))
    packet = PROTOCOL.to_bytes(4, "big") + words.encode() + b"\0"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(PLAIN_SECONDS)
            client.connect(place)
            client.sendall((len(packet) + 4).to_bytes(4, "big") + packet)
            with client.makefile("rb") as answers:
                return refusal(answers)
    except OSError:
        return ""


def refusal(answers: Any) -> str:
    """Return the SQLSTATE that a server's answers to a startup packet amount to, "" where they are cut off or refuse nothing."""
    while True:
        kind, length = answers.read(1), int.from_bytes(answers.read(4), "big")
        body = answers.read(length - 4) if length >= 4 else b""
        if kind == b"E":
            fields = {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}
            return fields.get(b"C", "")
        if kind == b"R" and body[:4] != bytes(4):
            return "28000"
        if kind in (b"", b"Z"):
            return ""
