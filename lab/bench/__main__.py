"""Measure, in a root of its own or on a node of the lab: `python3 -m lab.bench`, or `make bench`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import roots
from lab.bench import node


def in_root(module: str, options: Sequence[str], output: Path | None) -> int:
    kept = ["--json", str(output)] if output else []
    return roots.run("bookworm", ["python", "-u", "-m", module, *options, *kept], shares=[output.parent] if output else [])


# What is measured: where, the module that does it, and its options for a short run.
TABLES = {
    "monitors": (in_root, "lab.bench.figures", ("--rounds", "3", "--hangs", "5")),
    "fencing": (in_root, "lab.bench.fencing", ("--short",)),
    "volumes": (node.measure, "lab.bench.volumes", ("--rounds", "3", "--hangs", "5")),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.bench", description="See what monitors and fencing cost, against the budgets")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all of them when none is given")
    parser.add_argument("--short", action="store_true", help="few rounds: to see that it runs, not for the figures")
    parser.add_argument("--json", type=Path, metavar="DIRECTORY", help="write the figures into this directory too, TABLE.json")
    given = parser.parse_args()
    if unknown := set(given.tables) - TABLES.keys():
        parser.error(f"no such table: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        sys.exit("make bench: namespaces, loop devices and mounts need root")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return max([measure(table, given.short, given.json) for table in given.tables or TABLES])
    except KeyboardInterrupt:
        return 130


def measure(table: str, short: bool, directory: Path | None) -> int:
    where, module, shortened = TABLES[table]
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
    output = directory.resolve() / f"{table}.json" if directory else None
    return where(module, shortened if short else (), output)


if __name__ == "__main__":
    sys.exit(main())
