"""Measure in a root of its own: `python3 -m lab.bench`, or `make bench`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lab import roots


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.bench", description="See what a monitor costs, against the budgets")
    parser.add_argument("--short", action="store_true", help="few rounds: to see that it runs, not for the figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make bench: namespaces, loop devices and mounts need root")
    options = ["--rounds", "3", "--hangs", "5"] if given.short else []
    shares = []
    if given.json:
        output = given.json.resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        options += ["--json", str(output)]
        shares.append(output.parent)
    return roots.run("bookworm", ["python", "-u", "-m", "lab.bench.figures", *options], shares=shares)


if __name__ == "__main__":
    sys.exit(main())
