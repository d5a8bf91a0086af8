"""Law 1, shown by strace: no system call of the main process names the data directory, the mount or a block device."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.agents.conftest import AGENT, Guarded, MakeGuarded

# Reading the link of a process's working directory asks the kernel's memory only, and prints the path as its answer.
ANSWER = re.compile(r'readlink(at)?\((AT_FDCWD, )?"/proc/\d+/cwd", "[^"]*"')


def touched_by_main(one: Guarded, action: str, level: int, tmp_path: Path) -> tuple[int, list[str]]:
    """Run an action under strace; return its code and the lines of the main process that name guarded storage."""
    trace = tmp_path / "trace"
    environment = {f"OCF_RESKEY_{name}": str(value) for name, value in one.parameters.items()}
    environment.update(OCF_RESOURCE_INSTANCE="pg-db", OCF_CHECK_LEVEL=str(level), OCF_RESKEY_CRM_meta_timeout="60000")
    if action == "monitor":
        environment["OCF_RESKEY_CRM_meta_interval"] = "10000"
    name = "monitor" if action == "probe" else action
    argv = ["strace", "-s", "300", "-o", str(trace), str(AGENT), name]  # Without -f: the main process alone.
    code = subprocess.run(argv, env={**environment, "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=120).returncode
    lines = trace.read_text(errors="replace").splitlines()
    guarded = [str(one.database.directory), str(one.parameters["pgdata"]), "/mnt/", '"/dev/loop', '"/dev/block']
    # The environment that execve hands over holds the parameters.
    found = [line for line in lines if "execve(" not in line and any(path in ANSWER.sub("", line) for path in guarded)]
    assert len(lines) > 100, "strace saw the action"
    return code, [line for line in found if not writes_a_record(line)]


def writes_a_record(line: str) -> bool:
    """Records under /run, reasons and logs hold paths as text: what counts is what a system call is asked to act on."""
    return line.startswith(("pwrite64(", "write(", "read(", "pread64(", "sendto(", "recvfrom("))


@pytest.mark.parametrize("layout", ["below", "link"])
def test_no_action_touches_guarded_storage(guarded: MakeGuarded, tmp_path: Path, layout: str) -> None:
    one = guarded(layout=layout, wal=True)
    steps = [("probe", 0, 7), ("validate-all", 10, 0), ("start", 0, 0), ("start", 0, 0), ("monitor", 0, 0), ("monitor", 10, 0),
             ("monitor", 20, 0), ("probe", 0, 0), ("stop", 0, 0), ("stop", 0, 0)]  # fmt: skip
    for action, level, wanted in steps:
        code, touched = touched_by_main(one, action, level, tmp_path)
        assert (action, level, code, touched) == (action, level, wanted, [])


def test_no_action_touches_storage_that_hangs(guarded: MakeGuarded, tmp_path: Path) -> None:
    one = guarded().started()
    one.disk.hang()
    for action, level, wanted in [("monitor", 0, 1), ("monitor", 20, 1), ("probe", 0, 0), ("stop", 0, 1)]:
        code, touched = touched_by_main(one, action, level, tmp_path)
        assert (action, level, code, touched) == (action, level, wanted, [])


def test_start_does_not_touch_storage_that_hangs(guarded: MakeGuarded, tmp_path: Path) -> None:
    one = guarded()
    one.disk.hang()
    assert touched_by_main(one, "start", 0, tmp_path) == (1, [])


def test_the_check_sees_a_main_process_that_does_touch(guarded: MakeGuarded, tmp_path: Path) -> None:
    """The stock agent's shell reads PGDATA itself; a test that could not see that would prove nothing."""
    one = guarded()
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-o", str(trace), "sh", "-c", f"test -f {one.database.directory}/PG_VERSION"], check=True)
    assert any("/mnt/data" in line and not writes_a_record(line) and "execve(" not in line for line in trace.read_text().splitlines())
