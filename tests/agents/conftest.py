"""A real PostgreSQL on disks that can fail, run by the installed agent as pacemaker-execd would."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from ocf_py.testing import Executor
from tests.faults.disk import FaultDisk
from tests.faults.fixtures import Disks
from tests.postgres import Database, own

AGENT = Path("/usr/lib/ocf/resource.d/lab/pgsql-storage")
IO_TIMEOUT = 3.0
# What a test allows for a bound of the design: noise of a busy machine must not look like a hang.
PATIENCE = 3.0


class Guarded:
    """A database whose storage is watched: `node` runs the agent, `disk` holds PGDATA, `wal` and `space` what has a disk of its own."""

    def __init__(self, database: Database, disks: dict[str, FaultDisk], parameters: dict[str, object]) -> None:
        self.database, self.disks = database, disks
        # On a busy machine healthy storage is slow too, which only a test of that may call a fault.
        given = {"io_timeout": f"{IO_TIMEOUT:g}s", "io_slow": "0", **parameters}
        self.parameters: dict[str, object] = {**database.parameters(), **given}
        self.node = self.executor()

    def executor(self, **changed: object) -> Executor:
        """Return an executor with some parameters changed; None leaves one out."""
        given = {name: value for name, value in {**self.parameters, **changed}.items() if value is not None}
        return Executor(AGENT, given, instance="pg-db", allow_stuck=True, timeout=60.0)

    @property
    def disk(self) -> FaultDisk:
        return self.disks["data"]

    def heal(self) -> None:
        for disk in self.disks.values():
            disk.heal()

    def started(self) -> Guarded:
        assert self.node.start().code == 0
        return self

    def stuck(self) -> list[int]:
        """Return the pids of our children that sleep in D state."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                name, _, tail = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
            except OSError:
                continue
            if tail.split()[0] == "D" and "(pgsql-storage" in name:
                found.append(int(entry))
        return found


class MakeGuarded(Protocol):
    def __call__(
        self, *, filesystem: str = ..., layout: str = ..., wal: bool = ..., space: bool = ..., settings: str = ..., auth: str = ...,
        password: str = ..., **parameters: object
    ) -> Guarded: ...  # fmt: skip


@pytest.fixture
def guarded(disks: Disks) -> Iterator[MakeGuarded]:
    """Make a database on a disk; `layout` puts PGDATA below the mount point, on it (root), or behind a symbolic link (link)."""
    made: list[Guarded] = []

    def make(
        *, filesystem: str = "xfs", layout: str = "below", wal: bool = False, space: bool = False, settings: str = "",
        auth: str = "trust", password: str = "", **parameters: object
    ) -> Guarded:  # fmt: skip
        names = ["data", *(["wal"] if wal else []), *(["space"] if space else [])]
        mounted = dict(zip(names, disks(*names, filesystem=filesystem)))
        root = Path("/mnt/data")
        directory = {"below": root / "pgsql/data", "root": root, "link": root / "real/data"}[layout]
        directory.mkdir(parents=True, exist_ok=True)
        wal_directory = Path("/mnt/wal/pg_wal") if wal else None
        database = Database(directory, wal_directory=wal_directory, settings=settings, auth=auth, password=password)
        database.initdb()
        if layout == "link":
            link = Path("/mnt/link")
            link.unlink(missing_ok=True)
            link.symlink_to(directory.parent)
            parameters.setdefault("pgdata", str(link / "data"))
        found = Guarded(database, mounted, parameters)
        made.append(found)
        if space:
            own(Path("/mnt/space/ts"))
            found.started()
            database.make_tablespace("elsewhere", Path("/mnt/space/ts"))
            database.execute("CREATE TABLE spacious (n int) TABLESPACE elsewhere", "INSERT INTO spacious SELECT generate_series(1, 1000)")
        return found

    yield make
    for one in made:
        one.heal()
        end_server(one.database)
    shutil.rmtree("/run/resource-agents/ocf_py", ignore_errors=True)


def end_server(database: Database) -> None:
    """Kill what a test left running: the file system must come off its disk."""
    kill_all(database.processes())


def kill_all(pids: Sequence[int]) -> None:
    """Kill processes, of which some may end by themselves meanwhile."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
