"""SQL checks of a PostgreSQL server, by psycopg.  Imported only in a guarded child of the levels that ask for it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

APPLICATION = "ocf:lab:pgsql-storage"
# A message in the WAL makes the commit flush it; the local level keeps a missing synchronous standby from looking like a slow
# disk.  Server source: src/backend/access/transam/xact.c, RecordTransactionCommit.
WAL_COMMIT = ("SET LOCAL synchronous_commit = local", f"SELECT pg_logical_emit_message(true, '{APPLICATION}', '')")

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


def check(connection: dict[str, Any], query: str, commit: bool) -> dict[str, Any]:
    """Connect, run the query, and commit something to the WAL where that is asked for.

    Returns {"missing": text} without the driver, {"sqlstate", "error"} for what the server said ("" as the state where it said
    nothing), else {"query": seconds, "commit": seconds} with commit None on a standby.
    """
    try:
        import psycopg
    except ImportError as error:
        return {"missing": str(error)}
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
        return {"sqlstate": sqlstate_of(error), "error": " ".join(str(error).split())}


def sqlstate_of(error: Any) -> str:
    """Return the SQLSTATE of an error.

    libpq gives none for a connection that the server refused (PGresult exists only after one), so the text must do: the C locale
    of the server's messages is not ours to set, therefore these few are looked for in the severity's own words as well.
    """
    if error.sqlstate:
        return str(error.sqlstate)
    text = str(error)
    for words, state in (
        ("the database system is", "57P03"), ("too many clients", "53300"), ("remaining connection slots", "53300"),
        ("too many connections", "53300"), ("password authentication failed", "28P01"), ("authentication failed", "28000"),
        ("no pg_hba.conf entry", "28000"), ("no password supplied", "28P01"), ("role", "28000"), ("database", "3D000"),
        ("Input/output error", "58030"), ("not permitted to log in", "28000"),
    ):  # fmt: skip
        if words in text and "FATAL" in text + " FATAL" * (words == "no password supplied"):
            return state
    return ""
