"""Fixtures for tests on disks with faults; tests/conftest.py loads them for the whole suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.disk import FaultDisk

Disks = Callable[..., list[FaultDisk]]


@pytest.fixture
def disks() -> Iterator[Disks]:
    """Make disks that end with the test.

    `data, wal = disks("data", "wal", filesystem="xfs")` mounts them on /mnt/data and /mnt/wal; without a file system they are bare.
    """
    with ExitStack() as stack:

        def make(*names: str, size_mb: int = 512, filesystem: str | None = None) -> list[FaultDisk]:
            made = [stack.enter_context(FaultDisk(name, size_mb)) for name in names]
            if filesystem:
                for disk in made:
                    disk.format(filesystem)
                    disk.mount(f"/mnt/{disk.name}")
            return made

        yield make


@pytest.fixture
def disk(disks: Disks) -> FaultDisk:
    """Make one bare disk, without a file system."""
    return disks("data")[0]
