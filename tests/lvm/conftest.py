"""A node with device-mapper, or what stands in for it, and on it volume groups that come and go with a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from ocf_py.testing import Executor
from tests.lvm.stack import DIRECTORY, MAPPER, NUMBERS, Group, Map, fakes, run

OURS = Path("/usr/lib/ocf/resource.d/lab/LVM-activate")
STOCK = Path("/usr/lib/ocf/resource.d/heartbeat/LVM-activate")
IO_TIMEOUT = 4.0
# What a bound of the design may take beside its figure; an emulated processor may be waited for by others too.
PATIENCE = 12.0 if MAPPER else 6.0


class Resource:
    """A volume group and the agents that manage it."""

    def __init__(self, group: Group, parameters: dict[str, object]) -> None:
        self.group = group
        # On a busy machine a healthy disk is slow too, which only a test of that may call a fault.
        given = {"io_timeout": f"{IO_TIMEOUT:g}", "io_slow": "0", **parameters}
        self.parameters = {"vgname": group.name, "vg_access_mode": "system_id", **given}
        self.node = self.executor()

    def executor(self, instance: str = "pg-lvm", **changed: object) -> Executor:
        given = {name: value for name, value in {**self.parameters, **changed}.items() if value is not None}
        return Executor(OURS, given, instance=instance, allow_stuck=True, timeout=90.0)

    @property
    def stock(self) -> Executor:
        given = {name: value for name, value in self.parameters.items() if not name.startswith(("io_", "fence_"))}
        return Executor(STOCK, given, instance="stock-lvm", check=False, timeout=60.0)

    def started(self) -> Resource:
        result = self.node.start()
        assert result.code == 0, result
        return self


class MakeResource(Protocol):
    def __call__(
        self, *, disks: int = ..., lvs: tuple[str, ...] = ..., name: str = ..., map: str = ..., **parameters: object
    ) -> Resource: ...


Replace = Callable[[str, str], None]


# Some compare with the stock agent or need what only the real thing does, others what a node of the lab has not got.
STAND_INS_ONLY = ["test_cluster.py", "test_machine.py", "test_main_process.py", "test_stand_ins.py"]
collect_ignore = STAND_INS_ONLY if MAPPER else ["test_defects.py", "test_kinds.py"]


@pytest.fixture(scope="session", autouse=True)
def stand_ins() -> Iterator[None]:
    """Where there is no device-mapper, put something in its place."""
    if MAPPER:
        yield
    else:
        fakes().install()
        yield
        fakes().uninstall()


@contextmanager
def resources() -> Iterator[MakeResource]:
    """Yield what makes resources, which end with the block."""
    made: list[Resource] = []

    def make(*, disks: int = 1, lvs: tuple[str, ...] = ("a", "b"), name: str = "", map: str = "", **parameters: object) -> Resource:
        found = Resource(Group(name or f"vgt{os.getpid()}-{next(NUMBERS)}", disks, lvs, Map(map) if map else None), parameters)
        made.append(found)
        return found

    try:
        yield make
    finally:
        for one in made:
            one.group.close()
        shutil.rmtree("/run/resource-agents/ocf_py", ignore_errors=True)


@pytest.fixture
def resource() -> Iterator[MakeResource]:
    with resources() as make:
        yield make


@pytest.fixture
def replaced() -> Iterator[Replace]:
    """Put a shell script in the place of a program, for everybody, until the test is over."""
    mounted: list[str] = []

    def replace(program: str, script: str) -> None:
        # Not under /run: nothing is executed there.
        stand_in = DIRECTORY / f"stand-in-{len(mounted)}"
        DIRECTORY.mkdir(exist_ok=True)
        stand_in.write_text(f"#!/bin/sh\n{script}\n")
        stand_in.chmod(0o755)
        # Not on the link, which would be followed to the program of many names.
        run("mount", "--bind", str(stand_in), os.path.realpath(program))
        mounted.append(os.path.realpath(program))

    yield replace
    for program in reversed(mounted):
        run("umount", program)


@pytest.fixture
def before_lvm(replaced: Replace) -> Callable[[str], None]:
    """Put a line of shell before every LVM command; $0 and $* are what it is called by and with, $REAL is LVM."""

    def put(line: str) -> None:
        # LVM goes by the name that it is called by.
        real = DIRECTORY / "real" / "lvm"
        real.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/usr/sbin/lvm", real)
        replaced("/usr/sbin/lvm", f'REAL={real}\n{line}\ncase "$0" in */lvm) exec {real} "$@";; *) exec {real} "${{0##*/}}" "$@";; esac')

    return put
