"""A node with device-mapper, or what stands in for it, and on it volume groups that come and go with a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from ocf_py.testing import Executor, Result
from tests.lvm.stack import MAPPER, NUMBERS, Group, Map, fakes

OURS = Path("/usr/lib/ocf/resource.d/lab/LVM-activate")
STOCK = Path("/usr/lib/ocf/resource.d/heartbeat/LVM-activate")
IO_TIMEOUT = 4.0
# What a bound of the design may take beside its figure; an emulated processor may be waited for by others too.
PATIENCE = 12.0 if MAPPER else 6.0


class Resource:
    """A volume group and the agents that manage it."""

    def __init__(self, group: Group, parameters: dict[str, object]) -> None:
        self.group = group
        self.parameters = {"vgname": group.name, "vg_access_mode": "system_id", "io_timeout": f"{IO_TIMEOUT:g}", **parameters}
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


# These compare with the stock agent, and need what only the real thing does.
collect_ignore = [] if MAPPER else ["test_defects.py"]


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


def verdict(result: Result) -> tuple[int, str]:
    return result.code, result.reason


def with_level(node: Executor, level: int) -> Result:
    return node.monitor(level=level, interval=10.0)
