"""Show what the stock agent and ours do when the disk under a database stops answering: about two minutes.

    python3 -m lab.demo [--output DIRECTORY] [--update-docs]

All of it runs in a root of its own (lab.roots), where lab.demo.show does the work; what it takes besides is handed on to it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

from lab import roots

ROOT = "bookworm"


def leave_it_to_the_show(_number: int, _frame: FrameType | None) -> None:
    """Let the first Ctrl-C be answered inside the root, which cleans up; the second ends the root and all that is in it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.demo", description="The stock agent and ours on storage that stops answering")
    parser.add_argument("--output", type=Path, default=roots.TREE / "dist" / "demo", help="where table and picture go (default: dist/demo)")
    parser.add_argument("--update-docs", action="store_true", help="make this run's picture that of the documentation, docs/demo.svg")
    given, words = parser.parse_known_args()
    if os.geteuid() != 0:
        sys.exit("namespaces, loop devices and mounts need root")
    output: Path = given.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    roots.build(ROOT)
    signal.signal(signal.SIGINT, leave_it_to_the_show)
    try:
        code = roots.run(ROOT, ["python", "-m", "lab.demo.show", "--output", str(output), *words], shares=[output])
    except KeyboardInterrupt:
        print("\nInterrupted twice; the root was ended with all that was in it.")
        return 130
    if given.update_docs and code == 0:
        shutil.copyfile(output / "timeline.svg", roots.TREE / "docs" / "demo.svg")
        print(f"Copied to {roots.TREE / 'docs' / 'demo.svg'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
