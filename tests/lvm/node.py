"""The tests of LVM-activate on a real node: one virtual machine of the lab, with device-mapper, LVM, multipath and the stock agent.

    python3 -m tests.lvm.node [--events] [--keep] [-- PYTEST ARGUMENTS]

Boots a node, installs the agents of the work tree on it, runs this directory's tests there as root in one pytest, and leaves nothing.
With --keep the lab stays up, and the next call with --keep uses its node as it finds it.  A part of `make test` with --events, by which
the runner hears of each test.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from lab import roots, setup
from lab.machine import alone
from lab.machine.room import NotSo, Room

# The node has Debian's Python and no pytest.  The root's is for the same release, so what is compiled in it fits as well.
ROOT = "bookworm"
PYTEST = ("_pytest", "iniconfig*", "packaging*", "pluggy*", "py.py", "pygments*", "pytest*")
PLACE = "/opt/lvm-tests"
SOURCES = ("pyproject.toml", "tests/__init__.py", "tests/hurry.py", "tests/lvm", "tests/run")
RUN_SECONDS = 2400.0


def install(lab: Room) -> None:
    """Put agents, tests and pytest on the node.  Raises NotSo."""
    roots.build(ROOT)
    packages = next(roots.python_directory(roots.ROOTS[ROOT]).glob("lib/python3*/site-packages"))
    names = [path.name for name in PYTEST for path in packages.glob(name)]
    packing = ["tar", "-C", str(packages), "-cf", "-", *names]
    pytest = subprocess.run(packing, capture_output=True, check=True, timeout=alone.INSTALL_SECONDS)
    alone.install(lab, PLACE, SOURCES, more='tar -C "$STAGE$PLACE" -xf -', given=pytest.stdout)


def run(lab: Room, events: bool, arguments: Sequence[str]) -> int:
    """Run pytest on the node, its output here; return its exit code."""
    plugins = ["-p", "tests.run.strict", *(["-p", "tests.run.events"] if events else ["-v"])]
    words = ["python3", "-m", "pytest", *plugins, "--color=no", "--durations=10", *(arguments or ["tests/lvm"])]
    return alone.run(lab, f"cd {PLACE} && exec {shlex.join(words)}", RUN_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lvm.node", description="The tests of LVM-activate on a node of the lab")
    parser.add_argument("--events", action="store_true", help="tell the runner of each test")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, or use the one that was left")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    given, arguments = parser.parse_args(words[:split]), words[split + 1 :]
    if found := setup.lacking():
        sys.exit(" ".join(found))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with alone.node(given.keep) as lab:
            alone.prepare(lab)
            install(lab)
            return run(lab, given.events, arguments)
    except NotSo as error:
        # A lab that does not end must not hide what went wrong before.
        print(*(one for one in (error.__context__, error) if isinstance(one, NotSo)), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
