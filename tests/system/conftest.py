"""A real cluster, and databases on a disk that can fail."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from tests.faults.disk import FaultDisk
from tests.postgres import Database, ended
from tests.system.cluster import Cluster

MOUNTPOINT = Path("/mnt/data")
shown = pytest.StashKey[Cluster]()


class MakeDatabase(Protocol):
    def __call__(self, name: str, port: int = ..., settings: str = ...) -> Database: ...


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="cluster-") as directory, Cluster(Path(directory)) as cluster:
        yield cluster


@pytest.fixture
def storage(running_cluster: Cluster) -> Iterator[FaultDisk]:
    """Make the disk on which the databases are.  The cluster is there before: its second node must not hold the mount."""
    with FaultDisk("data") as disk:
        disk.format("xfs")
        disk.mount(MOUNTPOINT)
        yield disk


@pytest.fixture
def make_database(storage: FaultDisk, running_cluster: Cluster) -> Iterator[MakeDatabase]:
    made: list[Database] = []

    def make(name: str, port: int = 5432, settings: str = "") -> Database:
        directory = MOUNTPOINT / name / "data"
        directory.parent.mkdir()
        database = Database(directory, port=port, settings=settings)
        database.initdb()
        made.append(database)
        return database

    yield make
    storage.heal()
    # First the cluster forgets them, lest it starts them again.
    running_cluster.reset()
    for database in made:
        left = database.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended(left)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, running_cluster: Cluster, make_database: MakeDatabase) -> Cluster:
    """Lend the cluster to a test, without a resource but the fence device, and show its logs if the test fails."""
    request.node.stash[shown] = running_cluster
    return running_cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    cluster = item.stash.get(shown, None)
    if cluster and report.failed:
        report.sections.append(("cluster", cluster.logs()))
    return report
