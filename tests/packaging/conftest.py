"""The packages, built from the work tree for the Python of the root that the tests are in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import lvm_activate, pgsql_storage

__all__ = ["lvm_activate", "pgsql_storage"]

TREE = Path(__file__).resolve().parents[2]


def build(tree: Path, into: Path) -> Path:
    """Build the packages of a tree; return the directory that they are in."""
    done = subprocess.run(["sh", "rpm/build.sh", "--work", str(into)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return into


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(TREE, tmp_path_factory.mktemp("packages"))
