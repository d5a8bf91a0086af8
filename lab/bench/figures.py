"""Measure, inside a root, and print the table: run by `python3 -m lab.bench`, which makes the root."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.bench import cost, report
from lab.bench.agents import BASE, called, stuck
from lab.bench.many import mounted
from lab.bench.report import Figure
from lab.bench.setting import EXAMPLES, IO_TIMEOUT, OURS, Setting, setting

SLOW_SECONDS = 0.3
ONE, SPREAD, STOCK = "monitor, one device", "monitor, pg_wal and a tablespace on devices of their own", "stock pgsql monitor"


# Each of these returns the figures of a part of the table.


def cpu(here: Setting, rounds: int) -> list[Figure]:
    """CPU with all descendants, as ratios of runs side by side."""
    single, spread = here.single, here.spread
    examples = []
    for name, agent in EXAMPLES.items():
        parameters = {"state": f"/run/resource-agents/{name.replace(' ', '-')}.state"}
        cost.run(called("start", agent, "start", parameters, instance="example"))
        examples.append(called(f"{name} monitor", agent, "monitor", parameters, instance="example", interval=10.0))
    sql = [single.ours(f"monitor, level {level}", level=level) for level in (10, 20)]
    looks = [single.ours("probe", interval=0.0), single.ours("validate-all", "validate-all", interval=0.0)]
    meta = single.ours("meta-data", "meta-data", interval=0.0)
    stock = single.stock(STOCK)
    costs = cost.interleaved([BASE, single.ours(ONE), spread.ours(SPREAD), stock, meta, *looks, *sql, *examples], rounds)

    def against(name: str, limit: float | None = None, other: str = "base") -> Figure:
        label, unit = (name, "x base") if other == "base" else (f"{name}, against the {other}", "x stock")
        return Figure(label, cost.cpu_ratio(costs, name, other), limit, unit)

    return [
        against(ONE, 2.2), against(SPREAD, 2.8), against(ONE, 0.30, STOCK), against(meta.name, 1.5),
        *(against(look.name) for look in looks), *(against(level.name) for level in sql), against(STOCK),
        *(against(example.name) for example in examples), Figure("base", 1000 * min(one.cpu for one in costs["base"]), unit="ms of CPU"),
    ]  # fmt: skip


def processes(here: Setting) -> list[Figure]:
    """Processes, programs and memory, seen by strace."""
    one, three = cost.processes(here.single.ours(ONE)), cost.processes(here.spread.ours(SPREAD))
    stock, base = cost.processes(here.single.stock(STOCK)), cost.processes(BASE)
    level = cost.processes(here.single.ours("monitor, level 20", level=20))
    return [
        Figure(f"processes forked, {ONE}", one.forks, 2, ""), Figure(f"processes forked, {SPREAD}", three.forks, 4, ""),
        Figure(f"programs run, {ONE}", one.execs, 0, ""), Figure(f"processes forked, {STOCK}", stock.forks, unit=""),
        Figure(f"programs run, {STOCK}", stock.execs, unit=""),
        Figure(f"memory, {ONE}", one.memory / base.memory, 1.5), Figure("memory, monitor, level 20", level.memory / base.memory),
    ]  # fmt: skip


def side_by_side(here: Setting, rounds: int) -> list[Figure]:
    """How long a monitor takes whose devices are all slow, against one with a single slow device."""
    for disk in here.disks.values():
        disk.slow(writes=SLOW_SECONDS)
    commands = [here.single.ours(ONE, codes=(0, 190)), here.spread.ours(SPREAD, codes=(0, 190))]
    costs = cost.interleaved(commands, max(2, rounds // 5))
    for disk in here.disks.values():
        disk.heal()
    ratios = [three.wall / one.wall for one, three in zip(costs[ONE], costs[SPREAD])]
    return [Figure(f"time with three slow devices ({SLOW_SECONDS:g} s per write)", cost.quartiles(ratios), 1.2, "x one slow device")]


def mounts(here: Setting, rounds: int) -> list[Figure]:
    """What a monitor costs where many file systems are mounted, against one where few are, in turns."""
    command, few, many = here.single.ours(ONE), 10, 1000
    ratios = []
    for _ in range(max(2, rounds // 5)):
        seen = {}
        for count in (few, many):
            with mounted(count):
                costs = cost.interleaved([BASE, command], 3)
                seen[count] = cost.cpu_ratio(costs, ONE, "base").value
        ratios.append(seen[many] / seen[few])
    read = len(cost.lists(command))
    return [
        Figure(f"CPU with {many} mounts", cost.quartiles(ratios), 1.5, f"x that with {few}"),
        # Nothing here can fill sysfs with device-mapper devices; what reads no list of them costs the same with any number.
        Figure("lists of devices, processes or mounts that a monitor reads", read, 0, ""),
    ]


def hang(here: Setting, repeats: int) -> list[Figure]:
    """How soon the monitor and the stop answer while the storage hangs, and what that costs."""
    healthy = cost.interleaved([BASE, here.single.ours(ONE)], 3)
    base = min(one.cpu for one in healthy["base"])
    here.disks["data"].hang()
    command = here.single.ours("monitor while the storage hangs", codes=(1,), leaves=True)
    answers = [cost.run(command) for _ in range(repeats)]
    children = stuck(OURS)
    stop = cost.run(here.single.ours("stop while the storage hangs", "stop", interval=0.0, codes=(1,), leaves=True))
    here.disks["data"].heal()
    limit = IO_TIMEOUT + 1
    return [
        Figure(f"hang to answer, io_timeout {IO_TIMEOUT:g} s", answers[0].wall, limit, "s"),
        Figure("the 2nd monitor answers after", answers[1].wall, limit, "s"),
        Figure(f"the {repeats}th monitor answers after", answers[-1].wall, limit, "s"),
        Figure("the slowest of them after", max(answer.wall for answer in answers), limit, "s"),
        Figure("CPU of the 2nd", answers[1].cpu / base), Figure(f"CPU of the {repeats}th", answers[-1].cpu / base),
        Figure(f"stuck children after {repeats} monitors", children, 1, ""),
        Figure("stop answers after", stop.wall, 3, "s"),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.bench.figures", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="how often each command runs (%(default)s)")
    parser.add_argument("--hangs", type=int, default=100, help="how many monitors run while the storage hangs (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    report.say("making three disks and two databases")
    with setting() as here:
        parts = report.measured([
            ("CPU, user and system, with all descendants", lambda: cpu(here, given.rounds)),
            ("Processes and memory", lambda: processes(here)),
            ("Time", lambda: side_by_side(here, given.rounds)),
            ("Many mounts and devices", lambda: mounts(here, given.rounds)),
            ("Storage that hangs", lambda: hang(here, given.hangs)),
        ])  # fmt: skip
    report.tell(parts, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
