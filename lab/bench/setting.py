"""What is measured: agents, as pacemaker-execd calls them, over two databases on disks that can be told to hang."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.bench import cost
from lab.bench.agents import AGENTS, called
from tests.faults.disk import FaultDisk
from tests.postgres import Database, own

OURS, STOCK = AGENTS / "lab/pgsql-storage", AGENTS / "heartbeat/pgsql"
# The example agents: upstream's in Python, and those in shell that do nothing but look for a file.
EXAMPLES = {
    "dummypy": AGENTS / "heartbeat/dummypy", "heartbeat Dummy": AGENTS / "heartbeat/Dummy", "pacemaker Dummy": AGENTS / "pacemaker/Dummy",
}  # fmt: skip
IO_TIMEOUT = 2.0


@dataclass(frozen=True)
class Guarded:
    """A database, watched by our agent as the resource `instance`."""

    database: Database
    instance: str

    def ours(
        self, name: str, action: str = "monitor", *, level: int | None = None, interval: float = 10.0, codes: Sequence[int] = (0,),
        leaves: bool = False,
    ) -> cost.Command:  # fmt: skip
        # A moment of slowness of the machine is no reason to end the measurement.
        parameters = {**self.database.parameters(), "io_timeout": f"{IO_TIMEOUT:g}s", "io_slow": "0"}
        return called(name, OURS, action, parameters, instance=self.instance, level=level, interval=interval, codes=codes, leaves=leaves)

    def stock(self, name: str) -> cost.Command:
        return called(name, STOCK, "monitor", self.database.parameters(), instance=self.instance, interval=10.0)

    def start(self) -> None:
        cost.run(self.ours("start", "start", interval=0.0, leaves=True))


@dataclass(frozen=True)
class Setting:
    disks: Mapping[str, FaultDisk]
    single: Guarded  # All on one device.
    spread: Guarded  # pg_wal on a second, a tablespace on a third one.


@contextmanager
def setting() -> Iterator[Setting]:
    """Make three disks and two databases on them, started by our agent.

    There is no system log: a log that nobody reads would stop the stock agents, and one that is read would cost CPU beside them.
    """
    os.makedirs("/run/resource-agents", exist_ok=True)
    with ExitStack() as stack:
        disks = {name: stack.enter_context(FaultDisk(name)) for name in ("data", "wal", "space")}
        for name, disk in disks.items():
            disk.format("xfs")
            disk.mount(f"/mnt/{name}")
        single = Guarded(Database(Path("/mnt/data/single"), port=5432), "pg-single")
        spread = Guarded(Database(Path("/mnt/data/spread"), port=5433, wal_directory=Path("/mnt/wal/pg_wal")), "pg-spread")
        for one in (single, spread):
            one.database.initdb()
            one.start()
            stack.callback(end, one.database)
        own(Path("/mnt/space/ts"))
        spread.database.make_tablespace("elsewhere", Path("/mnt/space/ts"))
        for disk in disks.values():
            stack.callback(disk.heal)
        yield Setting(disks, single, spread)


def end(database: Database) -> None:
    if database.processes():
        database.run("pg_ctl", "-D", str(database.directory), "-m", "immediate", "-W", "stop")
