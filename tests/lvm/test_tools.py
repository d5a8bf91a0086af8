"""LVM-activate under crm_resource, ocf-tester and the conformance tester."""

from __future__ import annotations

import os
import subprocess

import pytest

from ocf_py.testing import conformance
from tests.lvm.conftest import OURS, MakeResource
from tests.lvm.stack import MAPPER

pytestmark = pytest.mark.cluster

SECONDS = 600 if MAPPER else 120
# An emulated node takes seconds for each run, and where a kill can fall is no different there.
KILLS = 1


def validate(**parameters: object) -> subprocess.CompletedProcess[str]:
    options = [word for name, value in parameters.items() for word in ("--option", f"{name}={value}")]
    command = ["crm_resource", "--validate", "--class", "ocf", "--provider", "lab", "--agent", "LVM-activate", *options]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)


def test_crm_resource_validates(resource: MakeResource) -> None:
    one = resource()
    good = {"vgname": one.group.name, "lvname": "a", "vg_access_mode": "system_id", "activation_mode": "exclusive"}
    done = validate(**good)
    assert done.returncode == 0, done.stdout
    for wrong, words in (({"vgname": f"{one.group.name}/a"}, "has a slash"), ({"lvname": "a_rimage_0"}, "hidden part"),
                         ({"activation_mode": "shared"}, "always exclusive")):  # fmt: skip
        done = validate(**{**good, **wrong})
        assert (done.returncode, words in done.stdout) == (6, True), done.stdout


def test_ocf_tester_is_content(resource: MakeResource) -> None:
    one = resource()
    options = [word for name, value in one.parameters.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(["ocf-tester", "-n", "pg-tested", *options, str(OURS)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
                          env={**os.environ, "OCF_PY_METADATA_DIALECT": "ocf-tester"})  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "passed all tests" in done.stdout


def test_the_agent_conforms(resource: MakeResource) -> None:
    """Where there is no device-mapper, tests/conformance does that, and more often."""
    one = resource()
    given = {name: str(value) for name, value in one.parameters.items()}
    report = conformance.conform(OURS, given, timeout=90.0, kills=KILLS)
    table = "\n" + "\n".join(conformance.row(finding) for finding in report.findings) + "\n" + conformance.summary(report)
    assert not report.failed(strict=True), table
