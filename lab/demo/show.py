"""The demonstration itself, inside a root: python -m lab.demo.show PICTURE [--short]

Two databases on two disks, one under each agent.  Each agent's monitor runs every five seconds, as Pacemaker would run it.  Then both
disks stop answering writes at the same moment.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lab.demo import picture
from lab.demo.client import Client
from ocf_py.testing import Executor, Result
from tests.faults.disk import FaultDisk
from tests.postgres import Database

INTERVAL = 5.0
STOCK, OURS = "ocf:heartbeat:pgsql", "ocf:lab:pgsql-storage"
RESOURCES = Path("/usr/lib/ocf/resource.d")


@dataclass
class Side:
    """One agent with its database, its disk and its client."""

    agent: str
    disk: FaultDisk
    database: Database
    node: Executor
    client: Client
    monitors: list[tuple[float, Result]] = field(default_factory=list)
    stop: tuple[float, Result] | None = None

    def failed(self) -> tuple[float, Result] | None:
        return next(((at, result) for at, result in self.monitors if result.code not in (0, 190)), None)


@dataclass(frozen=True)
class Times:
    """Seconds: writes in health, how long the monitors are watched after the hang, how much of the stock agent's stop is shown."""

    healthy: float
    watch: float
    stock_stop: float
    io_timeout: str


LONG = Times(10.0, 50.0, 25.0, "auto")
SHORT = Times(5.0, 20.0, 6.0, "4s")


class Show:
    def __init__(self, times: Times) -> None:
        self.times, self.began = times, time.monotonic()
        self.watching = True

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def side(self, stack: ExitStack, agent: str, port: int, parameters: dict[str, str]) -> Side:
        """Make a database on a disk of its own and start it by its agent."""
        name = agent.rpartition(":")[2]
        disk = stack.enter_context(FaultDisk("ours" if agent == OURS else "stock"))
        disk.format("xfs")
        disk.mount(f"/mnt/{disk.name}")
        database = Database(Path(f"/mnt/{disk.name}/data"), port=port, settings="checkpoint_timeout = 30s\n")
        database.initdb()
        stack.callback(kill, database)
        stack.callback(disk.heal)
        path = RESOURCES / agent.split(":")[1] / name
        node = Executor(path, {**database.parameters(), **parameters}, instance=disk.name, check=False, timeout=40.0)
        result = node.start(timeout=60)
        if result.code:
            raise SystemExit(f"{agent} cannot start its database: {result}")
        return Side(agent, disk, database, node, Client(database))

    def watch(self, side: Side) -> None:
        """Run the monitor at its interval, as pacemaker-execd does: counted from the end of the one before."""
        while self.watching and not side.failed():
            at = time.monotonic()
            result = side.node.monitor(interval=INTERVAL)
            side.monitors.append((at, result))
            if result.code:
                self.say(f"{side.agent:23} monitor: {result.code} after {result.seconds:.1f} s: {result.reason}")
            elif side.client.silent() > INTERVAL:
                self.say(f"{side.agent:23} monitor: 0, all is well ({side.client.silent():.0f} s without a write)")
            time.sleep(INTERVAL)

    def end(self, side: Side, timeout: float) -> None:
        at = time.monotonic()
        side.stop = at, side.node.stop(timeout=timeout)
        said = f"not done after {timeout:.0f} s" if side.stop[1].timed_out else f"{side.stop[1].code}: {side.stop[1].reason}"
        self.say(f"{side.agent:23} stop: {said}")

    def run(self, target: Path) -> int:
        with ExitStack() as stack:
            self.say("two databases on two disks, one under each agent")
            stock = self.side(stack, STOCK, 5433, {})
            ours = self.side(stack, OURS, 5434, {"io_timeout": self.times.io_timeout})
            sides = (stock, ours)
            for side in sides:
                side.client.begin()
                threading.Thread(target=self.watch, args=(side,), daemon=True).start()
            self.say(f"a client of each writes ten rows a second; monitors every {INTERVAL:.0f} s")
            time.sleep(self.times.healthy)
            for side in sides:
                side.disk.hang(writes=True)
            hung = time.monotonic()
            self.say("*** both disks stop answering writes ***")
            self.await_failure(ours, hung)
            self.say("a failed monitor is followed by a stop")
            self.end(ours, 120.0)
            time.sleep(max(0.0, hung + self.times.watch - time.monotonic()))
            self.watching = False
            self.say("the stock agent has seen nothing; an operator who has stops it by hand")
            self.end(stock, self.times.stock_stop)
            ended = time.monotonic()
            lost = self.recover(sides)
        report(stock, ours, hung, lost, self.times)
        target.write_text(picture.draw(stock, ours, hung, ended))
        print(f"\nThe time line as a picture: {target}")
        return 0 if not any(lost) and ours.failed() else 1

    def await_failure(self, side: Side, hung: float) -> None:
        while not side.failed() and time.monotonic() < hung + self.times.watch:
            time.sleep(0.2)

    def recover(self, sides: tuple[Side, Side]) -> list[int]:
        """Let the disks answer again, start the databases anew, and count the rows that are missing."""
        self.say("both disks answer again (in a cluster the node would have been fenced, and the other one started the database)")
        lost = []
        for side in sides:
            side.disk.heal()
            side.node.stop(timeout=60)
            kill(side.database)
            started = side.node.start(timeout=60)
            lost.append(side.client.lost())
            self.say(f"{side.agent:23} started: {started.code}; {len(side.client.acknowledged)} rows acknowledged, {lost[-1]} lost")
        return lost


def kill(database: Database) -> None:
    for pid in database.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def report(stock: Side, ours: Side, hung: float, lost: list[int], times: Times) -> None:
    """Print what each agent said and when."""
    rows = [("", stock.agent, ours.agent)]
    rows.append(("monitors after the hang", *(verdicts(side, hung) for side in (stock, ours))))
    rows.append(("noticed after", *(noticed(side, hung, times) for side in (stock, ours))))
    rows.append(("stop", *(stopped(side, times) for side in (stock, ours))))
    rows.append(("rows acknowledged, lost", *(f"{len(side.client.acknowledged)}, {n}" for side, n in zip((stock, ours), lost))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for number, row in enumerate(rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        if not number:
            print("  ".join("-" * width for width in widths))
    failed = ours.failed()
    if failed:
        print(f"\nWhat ours says:  {failed[1].reason}")
    if ours.stop:
        print(f"and to its stop:  {ours.stop[1].reason}")


def verdicts(side: Side, hung: float) -> str:
    after = [result.code for at, result in side.monitors if at + result.seconds > hung]
    return f"{sum(code == 0 for code in after)} x 0 (healthy), {sum(code not in (0, 190) for code in after)} x failed"


def noticed(side: Side, hung: float, times: Times) -> str:
    failed = side.failed()
    return f"{failed[0] + failed[1].seconds - hung:.1f} s" if failed else f"not at all, watched for {times.watch:.0f} s"


def stopped(side: Side, times: Times) -> str:
    if not side.stop:
        return "-"
    result = side.stop[1]
    if result.timed_out:
        return f"not done after {times.stock_stop:.0f} s, goes on to the timeout of 120 s"
    return f"{result.code} after {result.seconds:.1f} s" + (", so the node is fenced now" if result.code else "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.demo.show")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--short", action="store_true", help="shorter times, for a test")
    given = parser.parse_args()
    return Show(SHORT if given.short else LONG).run(given.picture)


if __name__ == "__main__":
    sys.exit(main())
