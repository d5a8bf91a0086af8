"""Measure on a node of the lab, which is booted for it: device-mapper, LVM and the stock agents are there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import setup
from lab.machine import alone, ssh
from lab.machine.room import NotSo, Room

PLACE = "/opt/bench"
SOURCES = ("lab/__init__.py", "lab/bench", "tests/__init__.py", "tests/lvm/__init__.py", "tests/lvm/stack.py")
# The node has no strace; that of the lab's root is for the same release.
STRACE = 'cp --parents --preserve=links /usr/bin/strace /usr/lib/*/libunwind*.so* "$STAGE"'
FIGURES = "/run/figures.json"
SECONDS = 1800.0


def measure(module: str, options: Sequence[str], output: Path | None) -> int:
    """Run a module of the tree on a node as root, and keep its figures in the file `output`; return its exit code."""
    if found := setup.lacking():
        sys.exit(" ".join(found))
    try:
        with alone.node() as lab:
            return measure_on(lab, module, options, output)
    except NotSo as error:
        print(*(one for one in (error.__context__, error) if isinstance(one, NotSo)), sep="\n", file=sys.stderr)
        return 1


def measure_on(lab: Room, module: str, options: Sequence[str], output: Path | None) -> int:
    alone.prepare(lab)
    alone.install(lab, PLACE, SOURCES, more=STRACE)
    # The mounts that are made there concern nobody else: systemd would look at each of them.
    words = ["unshare", "--mount", "--propagation", "private", "--", "python3", "-u", "-m", module, *options, "--json", FIGURES]
    code = alone.run(lab, f"cd {PLACE} && exec {shlex.join(words)}", SECONDS)
    if output and not code:
        done = ssh.run(lab, alone.NODE, f"cat {FIGURES}")
        if done.returncode:
            raise NotSo(f"{alone.NODE.name}: the figures cannot be fetched: {done.stderr.strip()[-300:]}")
        output.write_text(done.stdout)
    return code
