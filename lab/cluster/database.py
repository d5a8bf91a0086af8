"""The database on the shared volumes, as the lab document has it, and open to the lab's clients."""

from __future__ import annotations

from lab.cluster.settings import BINARIES, MAIN, PGDATA, TABLESPACE, WAL, Layout
from lab.machine import plan

CONFIGURATION = """\
listen_addresses = '*'
logging_collector = on
log_line_prefix = '%m [%p] '
log_checkpoints = on
checkpoint_timeout = 30s
"""
AUTHENTICATION = f"""\
local all all trust
host all all 127.0.0.1/32 trust
host all all {plan.NETWORKS['lan'].subnet} trust
"""
SPACE = "labspace"


def making(layout: Layout) -> str:
    """Return the shell that makes an empty database on the mounted volumes of a layout, in the place of the one that is there."""
    three = layout is Layout.THREE
    wal = f" --waldir={WAL.mount}/pg_wal" if three else ""
    lines = [
        "set -e",
        f"rm -rf {MAIN.mount}/* " + (f"{WAL.mount}/* {TABLESPACE.mount}/*" if three else ""),
        f"install -d -o postgres -g postgres -m 700 {PGDATA}",
        *([f"install -d -o postgres -g postgres -m 700 {WAL.mount}/pg_wal {TABLESPACE.mount}/data"] if three else []),
        "cd /",
        f"runuser -u postgres -- {BINARIES}/initdb --no-sync --no-locale --encoding=UTF8 -D {PGDATA}{wal} >/dev/null",
        f"cat >>{PGDATA}/postgresql.conf <<'END'",
        CONFIGURATION + "END",
        f"cat >{PGDATA}/pg_hba.conf <<'END'",
        AUTHENTICATION + "END",
    ]
    if three:
        # What the clients write lies in the tablespace, and what they commit on the disk of the log.
        single = f"runuser -u postgres -- {BINARIES}/postgres --single -D {PGDATA} postgres >/dev/null"
        lines += [f"echo \"CREATE TABLESPACE {SPACE} LOCATION '{TABLESPACE.mount}/data'\" | {single}",
                  f"echo \"default_tablespace = '{SPACE}'\" >>{PGDATA}/postgresql.conf"]  # fmt: skip
    return "\n".join([*lines, "sync"])
