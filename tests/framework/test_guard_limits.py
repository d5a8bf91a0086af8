"""Guarded calls of a process that may have no more processes, or no more open files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

import ocf_py as ocf
from ocf_py import guard
from tests.framework.test_guard import guards, main_process


def test_no_process_to_be_had(tmp_path: Path) -> None:
    """The limit counts for users other than root."""
    with open(tmp_path / "told", "w+") as told:

        def work() -> None:
            guard.Account.look_up("nobody").become()
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            one = ocf.Call("target", os.getpid)
            guards("/tmp/no-process").run(one)
            told.write(str(one.error))
            told.flush()

        os.waitpid(main_process(work), 0)
        told.seek(0)
        assert told.read() == "cannot start a child for target: Resource temporarily unavailable"


@pytest.mark.parametrize("hard, outcomes", [(4096, {"value"}), (200, {"value", "cannot start a child", "cannot record"})])
def test_many_calls_side_by_side_need_many_files(tmp_path: Path, hard: int, outcomes: set[str]) -> None:
    """A node may have hundreds of LUNs, and the usual limit is 1024; where it cannot be raised, each call has its error."""
    with open(tmp_path / "told", "w+") as told:

        def work() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
            calls = [ocf.Call(f"target {number}", os.getpid) for number in range(150)]
            guards(f"{tmp_path}/ocf_py/one", 60).run(*calls)
            told.write("\n".join(str(one.error or "value").partition(" for ")[0].partition(" in ")[0] for one in calls))
            told.flush()

        os.waitpid(main_process(work), 0)
        told.seek(0)
        found = told.read().splitlines()
    assert (len(found), found[0]) == (150, "value")
    assert set(found) <= outcomes, found
