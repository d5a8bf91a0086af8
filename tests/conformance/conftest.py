"""What agents need around them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.setting import Setting
from tests.faults.fixtures import Disks
from tests.lvm import fakes
from tests.lvm.stack import Group
from tests.postgres import Database


@pytest.fixture
def promotion_scores(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Put a recorder in the place of crm_attribute, which works in a cluster only; return the environment for it and its record.

    HA_SBIN_DIR is the variable by which Pacemaker's own tests replace its tools.
    """
    tools, record = tmp_path / "sbin", tmp_path / "scores"
    tools.mkdir()
    tool = tools / "crm_attribute"
    tool.write_text(f'#!/bin/sh\necho "$@" >>{record}\n')
    tool.chmod(0o755)
    return {"HA_SBIN_DIR": str(tools)}, record


@pytest.fixture
def pgsql_storage(disks: Disks) -> Iterator[Setting]:
    """Make a database on a disk of its own for pgsql-storage."""
    disks("data", filesystem="xfs")
    directory = Path("/mnt/data/pgsql/data")
    directory.mkdir(parents=True)
    database = Database(directory)
    database.initdb()
    yield Setting(database.parameters(), timeout=60.0)
    for pid in database.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def lvm_activate() -> Iterator[Setting]:
    """Make a volume group for LVM-activate, of the stand-ins for LVM and device-mapper."""
    fakes.install()
    group = Group("vg-conformance")
    yield Setting({"vgname": group.name, "vg_access_mode": "system_id", "io_timeout": "5s"}, timeout=60.0)
    group.close()
    fakes.uninstall()
