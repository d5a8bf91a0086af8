"""Every installed agent conforms, found by looking: a new agent fails here until it has said how it can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocf_py.testing import conformance
from tests.conformance.setting import Setting

pytestmark = pytest.mark.once

INSTALLED = Path("/usr/lib/ocf/resource.d/lab")
# Agent -> the fixture that makes what it needs on this machine and returns a Setting.
SETTINGS = {"LVM-activate": "lvm_activate", "pgsql-storage": "pgsql_storage"}


def installed() -> list[str]:
    """Return the names of the agents, and fail loudly where none are: an empty list would pass."""
    names = sorted(path.name for path in INSTALLED.iterdir() if path.is_file() and not path.name.startswith("."))
    assert names, f"no agent is installed in {INSTALLED}"
    return names


def test_every_agent_has_a_setting() -> None:
    assert installed() == sorted(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_an_installed_agent_conforms(name: str, request: pytest.FixtureRequest) -> None:
    setting: Setting = request.getfixturevalue(SETTINGS[name])
    report = conformance.conform(
        INSTALLED / name, setting.parameters, environment=setting.environment, timeout=setting.timeout, kills=setting.kills
    )  # fmt: skip
    table = "\n" + "\n".join(conformance.row(finding) for finding in report.findings) + "\n" + conformance.summary(report)
    assert not report.failed(strict=True), table
