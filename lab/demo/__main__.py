"""Run the demonstration in a root of its own: `python3 -m lab.demo`, or `make demo`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from lab import roots

PICTURE = "timeline.svg"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.demo", description="See what two agents say of a disk that stops answering")
    parser.add_argument("--output", type=Path, default=roots.TREE / "dist" / "demo", help="where the picture goes (%(default)s)")
    parser.add_argument("--update-docs", action="store_true", help="keep the picture as the one that README shows")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make demo: namespaces, loop devices and mounts need root")
    output = given.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    code = roots.run("bookworm", ["python", "-u", "-m", "lab.demo.show", str(output / PICTURE)], shares=[output])
    if code == 0 and given.update_docs:
        shutil.copy(output / PICTURE, roots.TREE / "docs" / "demo.svg")
    return code


if __name__ == "__main__":
    sys.exit(main())
