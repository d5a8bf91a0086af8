"""Run the linters and the suite in the distribution roots, and what needs virtual machines on the machine itself.

    python3 -m tests.run [PART...] [--jobs N] [--limit SECONDS] [-- PYTEST ARGUMENTS]

All parts run, whatever becomes of one; the exit code is 0 only if all are good and nothing was left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lab import roots
from tests.faults import leftovers
from tests.run import runner

RESULTS = Path("dist", "tests")

# name: root, what it shows, the tests.  What a root has not got is deselected here and nowhere else, and so is what need not be shown
# again: `once` is what has long waits in it and no difference between the roots: disks that hang, which are the kernel's; the harness
# that examines agents; sweeps over instants to be killed at; what fence_pve makes of each answer.
EVERYWHERE = "not lint and not cluster and not once and not machine and not rpm and not dnf"
TABLE = {
    "style": ("bookworm", "linters, and this runner itself", "lint"),
    "cluster": ("bookworm", "all that needs Pacemaker, pcs or the stock agents", "cluster and not lint and not machine"),
    "once": ("bullseye", "what one root shows for all", "once and not lint and not cluster and not machine"),
    "bullseye": ("bullseye", "all else", EVERYWHERE),
    "bookworm": ("bookworm", "all else", EVERYWHERE),
    "trixie": ("trixie", "what a newer Python or PostgreSQL can break", EVERYWHERE),
    "rpm": ("rpm", "the packages, installed with rpm", "rpm"),
    "dnf": ("dnf", "the packages, from a repository", "dnf"),
}

# Where a part runs not all that its marker leaves, unless the arguments say otherwise.
PATHS = {"trixie": ["tests/framework", "tests/fence", "tests/proxmox", "tests/agents/test_pgsql_lifecycle.py"]}

# What boots virtual machines runs on the machine itself.  Without hardware help two of them keep both processors of a small machine
# busy, and a node that is late is fenced: the lab runs when all else is done.  The one node of LVM-activate takes one processor, and
# longest of all: it comes first.
NODE, LAB = "node", "lab"
MACHINES = {
    NODE: ("LVM-activate on device-mapper, LVM and multipath: a node of the lab", ["tests.lvm.node", "--events"], 3000.0),
    LAB: ("two nodes, S4 and S6 with our agents: the lab", ["tests.lab.smoke", str(RESULTS / LAB)], 1500.0),
}
PARTS = (NODE, *TABLE, LAB)

# A line on standard input, or its end, becomes Ctrl-C for pytest, which then takes down what the test at hand has set up.
STOPPABLE = 'exec 3<&0; { read -r _ <&3; kill -INT $$; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'
PYTEST = ["python", "-m", "pytest", "-p", "tests.run.events", "--color=no", "--durations=5", "--durations-min=5",
          "--continue-on-collection-errors"]  # fmt: skip


def part(name: str, limit: float, arguments: list[str]) -> runner.Part:
    if name in MACHINES:
        title, module, seconds = MACHINES[name]
        more = ["--", *arguments] if name == NODE and arguments else []
        words = ["sh", "-c", STOPPABLE, "stoppable", sys.executable, "-m", *module, *more]
        return runner.Part(name, title, words, min(limit, seconds), alone=name == LAB)
    root, shows, marker = TABLE[name]
    machine = roots.ROOTS[root]
    enter = [sys.executable, "-m", "lab.roots", "run", "--set", "COLUMNS=140", root, "--", "sh", "-c", STOPPABLE, "stoppable"]
    title = f"{shows}: Debian {machine.suite}, Python {machine.python}, PostgreSQL {machine.postgresql}"
    return runner.Part(name, title, [*enter, *PYTEST, "-m", marker, *(arguments or PATHS.get(name, []))], limit)


def remove_leftovers() -> bool:
    """Remove the disks that killed tests have left; tell whether all are gone."""
    withstanding = leftovers.remove()
    for name in withstanding:
        print(f"== {name} is left over and cannot be removed", flush=True)
    return not withstanding


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.run", description="Run the linters, the suite and the virtual machines")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"{', '.join(PARTS)}; all of them when none is given, {NODE} and {LAB} only without arguments")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="how many parts run at a time (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds that a part may take (default: %(default)g)")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    given, arguments = parser.parse_args(words[:split]), words[split + 1 :]
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if arguments and LAB in given.parts:
        parser.error(f"the part {LAB} takes no arguments")
    if os.geteuid() != 0:
        sys.exit("make test: namespaces, loop devices and mounts need root")
    os.chdir(roots.TREE)
    clean = remove_leftovers()
    # What narrows the suite is not meant for the virtual machines, unless they are named.
    names = given.parts or (TABLE if arguments else PARTS)
    code = runner.run([part(name, given.limit, arguments) for name in names], RESULTS, given.jobs)
    # What was there before is no fault of these tests.
    return code if remove_leftovers() or not clean else code or 1


if __name__ == "__main__":
    sys.exit(main())
