"""docs/writing-agents.md does what it says: each of its code blocks is run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocf_py as ocf
from ocf_py.testing import Executor
from tests.faults import processes
from tests.faults.disk import FaultDisk

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "writing-agents.md").read_text()
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in FENCE.finditer(PAGE)]
FILES = {name[5:]: text for _, name, text in BLOCKS if name and name.startswith("file=")}
SCRIPTS = [text for language, name, text in BLOCKS if language == "sh" and not name]
INSTALLED = Path("/usr/lib/ocf/resource.d/lab")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    """Do what the page says up to its installation; return the directory with the files, and remove what was installed."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    shown = subprocess.run(["sh", "-euc", SCRIPTS[0]], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "usage: mount {start|stop|monitor|validate-all|meta-data|usage}" in shown.stdout
    shutil.copy(tmp_path / "role", INSTALLED / "role")
    (INSTALLED / "role").chmod(0o755)
    yield tmp_path
    for name in ("mount", "role"):
        (INSTALLED / name).unlink()


def test_there_is_nothing_on_the_page_that_is_not_run() -> None:
    assert [(language, name) for language, name, _ in BLOCKS] == [
        ("python", "file=mount"), ("sh", None), ("python", "file=test_mount.py"), ("sh", None), ("sh", "cluster"), ("python", "file=role"),
    ]  # fmt: skip
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_the_tests_of_the_page_pass(desk: Path) -> None:
    ran = subprocess.run(["pytest", "-q", "-p", "no:cacheprovider", "test_mount.py"], cwd=desk, capture_output=True, text=True)
    assert "6 passed" in ran.stdout, ran.stdout


def test_the_agent_of_the_page_conforms(desk: Path) -> None:
    ran = subprocess.run(["sh", "-euxc", SCRIPTS[1]], cwd=desk, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^mount \(OCF 1\.1\): \d+ ok, \d+ n\.a\.; \d+ calls", ran.stdout, re.MULTILINE), ran.stdout


@pytest.mark.cluster
def test_pcs_takes_the_agent_of_the_page(desk: Path) -> None:
    [script] = [text for language, name, text in BLOCKS if name == "cluster"]
    ran = subprocess.run(["sh", "-euxc", script], cwd=desk, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Mount a file system" in ran.stdout
    assert "interval=10s timeout=20s" in " ".join(ran.stdout.split())
    assert "OCF_CHECK_LEVEL=10" in ran.stdout


def test_the_agent_of_the_page_names_a_disk_that_hangs(desk: Path, disk: FaultDisk) -> None:
    disk.format("ext4")
    point = desk / "point"
    point.mkdir()
    node = Executor(INSTALLED / "mount", {"device": disk.device, "directory": point, "fstype": "ext4", "io_timeout": 1}, allow_stuck=True)
    assert node.start().code == 0
    assert node.monitor(level=10).code == 0
    disk.hang()
    hung = node.monitor(level=10)
    assert hung.code == 1
    assert hung.reason.startswith(f"{disk.device}: no answer for 1.")
    assert node.monitor().code == 0
    failed = node.stop(timeout=6)
    assert failed.code == 1
    assert f"{disk.device}: process {hung.survivors[0]} of" in failed.reason
    disk.heal()
    processes.wait_until_gone(hung.survivors[0])
    assert node.stop().code == 0


def test_the_rest_of_ocf_on_the_page(desk: Path) -> None:
    tools, scores = desk / "sbin", desk / "scores"
    tools.mkdir()
    (tools / "crm_attribute").write_text(f'#!/bin/sh\necho "$@" >>{scores}\n')
    (tools / "crm_attribute").chmod(0o755)
    node = Executor(INSTALLED / "role", {"password": "hunter2"}, instance="r:0", environment={"HA_SBIN_DIR": str(tools)})
    steps = [("start", 0), ("promote", 0), ("monitor", 8), ("demote", 0), ("monitor", 0), ("reload-agent", 0), ("notify", 0),
             ("migrate_to", 0), ("monitor", 7), ("migrate_from", 0), ("monitor", 0), ("stop", 0), ("monitor", 7)]  # fmt: skip
    assert [(action, node.call(action).code) for action, _ in steps] == steps
    changes = ["--update 10", "--update 10", "--delete"]
    assert scores.read_text().splitlines() == [f"--promotion=r:0 --lifetime=reboot {change}" for change in changes]


def test_the_table_of_errors_is_complete() -> None:
    table = {name: int(code) for name, code in re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)}
    errors = [value for value in vars(ocf).values() if isinstance(value, type) and issubclass(value, ocf.Error)]
    assert table == {error.__name__: error.code for error in errors}
