"""Measure LVM-activate, ours against stock, on a node, and print the table: run by `python3 -m lab.bench`, which boots the node."""

from __future__ import annotations

import argparse
import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab.bench import cost, report
from lab.bench.agents import AGENTS, BASE, called, stuck
from lab.bench.cost import Command, Cost
from lab.bench.many import mapped, mounted
from lab.bench.report import Figure
from tests.lvm.stack import Group

OURS, STOCK = AGENTS / "lab/LVM-activate", AGENTS / "heartbeat/LVM-activate"
LVM = "/usr/sbin/lvm"
FEW, MANY = 10, 1000
LEVELS = (0, 10)
PROBED = 2  # What level 10 reads: the volume, and the disk under it.
IO_TIMEOUT = 2.0  # While the storage hangs; else it is as by default.
SLOW_SECONDS = 0.3
BLOCK = 4096
BASES = 5
# Budgets of the design.
CPU = {0: 1.8, 10: 2.2}
META_DATA, MEMORY, GROWTH, STOP_SECONDS, EMULATED_STOP_SECONDS = 1.5, 1.5, 1.5, 3.0, 6.0
TIME = 1.2  # "CPU + the slowest device's I/O" beside the noise.

Costs = Mapping[str, Sequence[Cost]]


@dataclass(frozen=True)
class Volume:
    """A volume group of one disk and one volume, for which our agent and stock's are called in turn."""

    group: Group

    def command(
        self, agent: Path, name: str, action: str = "monitor", *, level: int | None = None, codes: Sequence[int] = (0,),
        leaves: bool = False, **more: str,
    ) -> Command:  # fmt: skip
        parameters = {"vgname": self.group.name, "vg_access_mode": "system_id", **more}
        interval = 10.0 if level is not None else 0.0
        return called(name, agent, action, parameters, instance=f"{agent.parent.name}-lvm", level=level, interval=interval, codes=codes,
                      leaves=leaves)  # fmt: skip

    def monitor(self, agent: Path, level: int) -> Command:
        return self.command(agent, monitor(agent, level), level=level, codes=(0, 190))


@contextmanager
def volume() -> Iterator[Volume]:
    group = Group(f"vgbench{os.getpid()}", lvs=("data",))
    try:
        yield Volume(group)
    finally:
        group.close()
        shutil.rmtree("/run/resource-agents/ocf_py", ignore_errors=True)


def monitor(agent: Path, level: int) -> str:
    return f"monitor, level {level}" if agent == OURS else f"stock monitor, level {level}"


def monitors(here: Volume) -> list[Command]:
    return [here.monitor(agent, level) for agent in (OURS, STOCK) for level in LEVELS]


def interleaved(here: Volume, rounds: int, count: int) -> Costs:
    """Run what is compared in turn; `count` devices and mounts are there."""
    report.say(f"measuring monitors with {count:,} devices and {count:,} mounts")
    others = [here.command(OURS, "meta-data", "meta-data"), here.command(OURS, "probe")]
    return cost.interleaved([BASE, *monitors(here), *others], rounds)


# Each of these returns the figures of a part of the table.


def cpu(few: Costs) -> list[Figure]:
    """CPU with all descendants, as ratios of runs side by side."""
    return [
        *(Figure(monitor(OURS, level), cost.cpu_ratio(few, monitor(OURS, level), "base"), CPU[level]) for level in LEVELS),
        *(Figure(monitor(STOCK, level), cost.cpu_ratio(few, monitor(STOCK, level), "base")) for level in LEVELS),
        *against_stock(few),
        Figure("meta-data", cost.cpu_ratio(few, "meta-data", "base"), META_DATA), Figure("probe", cost.cpu_ratio(few, "probe", "base")),
        Figure("base", 1000 * min(one.cpu for one in few["base"]), unit="ms of CPU"),
    ]  # fmt: skip


def crowd(few: Costs, many: Costs) -> list[Figure]:
    """What a monitor costs where there is much that it has nothing to do with, against one where there is little."""
    grown = {}
    for name in (monitor(agent, level) for agent in (OURS, STOCK) for level in LEVELS):
        before, after = cost.cpu_ratio(few, name, "base").value, cost.cpu_ratio(many, name, "base")
        grown[name] = cost.Ratio(after.value / before, after.low / before, after.high / before)
    return [
        *(Figure(monitor(OURS, level), grown[monitor(OURS, level)], GROWTH, f"x that with {FEW}") for level in LEVELS),
        *(Figure(monitor(STOCK, level), grown[monitor(STOCK, level)], unit=f"x that with {FEW}") for level in LEVELS),
        *against_stock(many),
    ]  # fmt: skip


def against_stock(costs: Costs) -> list[Figure]:
    names = [(monitor(OURS, level), monitor(STOCK, level)) for level in LEVELS]
    return [Figure(f"{ours}, against stock's", cost.cpu_ratio(costs, ours, stock), unit="x stock") for ours, stock in names]


def processes(here: Volume) -> list[Figure]:
    """Processes and memory, seen by strace."""
    base = cost.processes(BASE)
    found = {command.name: cost.processes(command) for command in monitors(here)}
    limits = {0: 1, 10: PROBED + 1}
    return [
        *(Figure(f"processes forked, {monitor(OURS, level)}", found[monitor(OURS, level)].forks, limits[level], "") for level in LEVELS),
        *(Figure(f"processes forked, {monitor(STOCK, level)}", found[monitor(STOCK, level)].forks, unit="") for level in LEVELS),
        *(Figure(f"memory, {monitor(OURS, level)}", found[monitor(OURS, level)].memory / base.memory, MEMORY) for level in LEVELS),
    ]  # fmt: skip


def times(here: Volume, rounds: int) -> list[Figure]:
    """How long a monitor takes, against its CPU and what the slowest device takes for the same reads."""
    levels = {level: here.command(OURS, monitor(OURS, level), level=level, codes=(0, 190)) for level in LEVELS}
    healthy = [cost.run(levels[0]) for _ in range(rounds)]
    here.group.disk.slow(round(SLOW_SECONDS * 1000))
    slow = []
    try:
        for _ in range(rounds):
            reading = max(seconds_to_read(path) for path in (f"/dev/{here.group.name}/data", here.group.disk.path))
            run = cost.run(levels[10])
            slow.append(run.wall / (run.cpu + reading))
    finally:
        here.group.disk.heal()
    return [
        Figure(monitor(OURS, 0), cost.quartiles([run.wall / run.cpu for run in healthy]), TIME, "x its CPU"),
        Figure(f"{monitor(OURS, 10)}, {SLOW_SECONDS:g} s for each read", cost.quartiles(slow), TIME, "x its CPU and I/O"),
    ]  # fmt: skip


def seconds_to_read(path: str) -> float:
    """Read the first and the last block of a device past the page cache."""
    began = time.monotonic()
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        last = os.lseek(descriptor, 0, os.SEEK_END) // BLOCK - 1
        for number in (0, last):
            os.preadv(descriptor, [mmap.mmap(-1, BLOCK)], number * BLOCK)
    finally:
        os.close(descriptor)
    return time.monotonic() - began


def takeovers(here: Volume, rounds: int) -> list[Figure]:
    """Commands of LVM and time of a start that takes the group over from another node, and of the stop after it."""
    counts = {}
    costs: dict[str, list[Cost]] = {}
    for number in range(rounds + 1):
        for agent, whose in [(OURS, "ours"), (STOCK, "stock")][:: 1 if number % 2 else -1]:
            here.group.give_away()
            for action in ("start", "stop"):
                name = f"{action}, {whose}"
                if number:
                    costs.setdefault(name, []).append(cost.run(here.command(agent, name, action)))
                else:
                    # The first of all also does what is done once a boot.
                    counts[name] = lvm_commands(cost.programs(here.command(agent, name, action)))
    figures = [Figure(f"commands of LVM, {name}", counts[name], unit="") for name in costs]
    figures += [Figure(f"time, {name}", median(run.wall for run in costs[name]), unit="s") for name in costs]
    return [*figures, *starts_and_stops(costs)]


def starts_and_stops(costs: Costs) -> list[Figure]:
    found = []
    for action in ("start", "stop"):
        ratios = [one.wall / other.wall for one, other in zip(costs[f"{action}, ours"], costs[f"{action}, stock"])]
        found.append(Figure(f"time, {action}, against stock's", cost.quartiles(ratios), unit="x stock"))
    return found


def lvm_commands(programs: Sequence[str]) -> int:
    """Count the programs that are LVM, by whichever of its names."""
    return sum(1 for program in programs if os.path.realpath(program) == os.path.realpath(LVM))


def hang(here: Volume, repeats: int) -> list[Figure]:
    """How soon monitors and a stop answer while the disk hangs."""
    io_timeout = f"{IO_TIMEOUT:g}s"
    looking = here.command(OURS, "monitor while the disk hangs", level=10, codes=(1,), leaves=True, io_timeout=io_timeout)
    stopping = here.command(OURS, "stop while the disk hangs", "stop", codes=(1,), leaves=True, io_timeout=io_timeout)
    here.group.disk.hang()
    try:
        answers = [cost.run(looking).wall for _ in range(repeats)]
        children = stuck(OURS)
        stop = cost.run(stopping).wall
    finally:
        here.group.disk.heal()
    base = median(cost.run(BASE).wall for _ in range(BASES))
    limit = IO_TIMEOUT + 1
    return [
        Figure(f"hang to answer, io_timeout {IO_TIMEOUT:g} s", answers[0], limit, "s"),
        Figure("the 2nd monitor answers after", answers[1], limit, "s"),
        Figure(f"the {repeats}th monitor answers after", answers[-1], limit, "s"),
        Figure("the slowest of them after", max(answers), limit, "s"),
        Figure(f"stuck children after {repeats} monitors", children, PROBED, ""),
        Figure("stop answers after", stop, EMULATED_STOP_SECONDS if emulated() else STOP_SECONDS, "s"),
        Figure("base takes", base, unit="s"),
    ]  # fmt: skip


def emulated() -> bool:
    return subprocess.run(["systemd-detect-virt"], capture_output=True, text=True).stdout.strip() == "qemu"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.bench.volumes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="how often each monitor runs (%(default)s)")
    parser.add_argument("--hangs", type=int, default=100, help="how many monitors run while the disk hangs (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    some, half = max(1, given.rounds // 3), max(2, given.rounds // 2)
    report.say(f"making a volume group on a node that is {'emulated' if emulated() else 'not emulated'}")
    with volume() as here:
        parts = report.measured([("LVM-activate: a start that takes the group over, and a stop", lambda: takeovers(here, some))])
        cost.run(here.command(OURS, "start", "start"))
        with mapped(FEW), mounted(FEW):
            few = interleaved(here, given.rounds, FEW)
            parts.append(("LVM-activate: CPU, user and system, with all descendants", cpu(few)))
            parts += report.measured([
                ("LVM-activate: processes and memory", lambda: processes(here)),
                ("LVM-activate: time", lambda: times(here, some)),
                ("LVM-activate: a disk that hangs", lambda: hang(here, given.hangs)),
            ])  # fmt: skip
        with mapped(MANY), mounted(MANY):
            many = interleaved(here, half, MANY)
    parts.append((f"LVM-activate: {MANY:,} devices of device-mapper and {MANY:,} mounts", crowd(few, many)))
    report.tell(parts, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
