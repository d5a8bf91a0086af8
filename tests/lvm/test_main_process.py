"""Law 1, shown by strace: no system call of the main process names a disk or a volume."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.lvm.conftest import OURS, MakeResource, Resource

pytestmark = pytest.mark.once

NODES = re.compile(r'"/dev/(?!null"|log")')


def touched(one: Resource, action: str, level: int, tmp_path: Path) -> tuple[int, list[str]]:
    """Run an action under strace; return its code and the lines of the main process that act on a block device."""
    trace = tmp_path / "trace"
    environment = {f"OCF_RESKEY_{name}": str(value) for name, value in one.parameters.items()}
    environment.update(OCF_RESOURCE_INSTANCE="pg-lvm", OCF_CHECK_LEVEL=str(level), OCF_RESKEY_CRM_meta_timeout="60000")
    if action == "monitor":
        environment["OCF_RESKEY_CRM_meta_interval"] = "10000"
    argv = ["strace", "-s", "300", "-o", str(trace), str(OURS), "monitor" if action == "probe" else action]
    code = subprocess.run(argv, env={**environment, "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=120).returncode
    lines = trace.read_text(errors="replace").splitlines()
    assert len(lines) > 100, "strace saw the action"
    told = ("write(", "pwrite64(", "read(", "pread64(", "sendto(", "execve(")
    return code, [line for line in lines if NODES.search(line) and not line.startswith(told)]


def test_no_action_touches_a_disk(resource: MakeResource, tmp_path: Path) -> None:
    one = resource()
    steps = [("probe", 0, 7), ("validate-all", 10, 0), ("start", 0, 0), ("start", 0, 0), ("monitor", 0, 0), ("monitor", 10, 0),
             ("monitor", 20, 0), ("probe", 0, 0), ("stop", 0, 0)]  # fmt: skip
    for action, level, wanted in steps:
        assert touched(one, action, level, tmp_path) == (wanted, []), (action, level)
    one.started()
    one.group.disk.hang()
    for action, level, wanted in [("monitor", 10, 1), ("monitor", 20, 1), ("probe", 0, 0), ("stop", 0, 1)]:
        assert touched(one, action, level, tmp_path) == (wanted, []), (action, level)
