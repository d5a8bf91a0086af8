"""Measure in a root of its own: `python3 -m lab.bench`, or `make bench`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lab import roots

# What is measured: the module that does it, and its options for a short run.
TABLES = {
    "monitors": ("lab.bench.figures", ("--rounds", "3", "--hangs", "5")),
    "fencing": ("lab.bench.fencing", ("--short",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.bench", description="See what monitors and fencing cost, against the budgets")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; both when none is given")
    parser.add_argument("--short", action="store_true", help="few rounds: to see that it runs, not for the figures")
    parser.add_argument("--json", type=Path, metavar="DIRECTORY", help="write the figures into this directory too, TABLE.json")
    given = parser.parse_args()
    if unknown := set(given.tables) - TABLES.keys():
        parser.error(f"no such table: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        sys.exit("make bench: namespaces, loop devices and mounts need root")
    codes = [measure(table, given.short, given.json) for table in given.tables or TABLES]
    return max(codes)


def measure(table: str, short: bool, directory: Path | None) -> int:
    module, shortened = TABLES[table]
    options, shares = list(shortened if short else ()), []
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
        options += ["--json", str(directory.resolve() / f"{table}.json")]
        shares.append(directory.resolve())
    return roots.run("bookworm", ["python", "-u", "-m", module, *options], shares=shares)


if __name__ == "__main__":
    sys.exit(main())
