"""Probes by themselves: what is hung, what is only overloaded or slow, and file systems without this or that."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from ocf_lab import block, probe
from ocf_py import guard
from ocf_py.deadline import Deadline
from tests.faults.fixtures import Disks

LIMITS = probe.Limits(hung=1.0, slow=0.5, slow_max=30.0, freeze_max=60.0)
# Where nothing may be found, whatever else the machine does.
UNHURRIED = probe.Limits(hung=20.0, slow=0.0, slow_max=30.0, freeze_max=60.0)


def spin(*_: object) -> None:
    """Work without an end: what a child looks like that the processor has no time for."""
    while True:
        pass


def run(one: probe.Probe, folder: Path, seconds: float = 30.0) -> probe.Trouble | None:
    guard.Guards(str(folder), Deadline.after(seconds)).run(one)
    return one.trouble()


def test_a_child_that_could_run_is_overloaded_not_hung(tmp_path: Path) -> None:
    one = probe.Probe(probe.Place("PGDATA", str(tmp_path)), LIMITS, None, write=True)
    one.function = spin
    trouble = run(one, tmp_path / "records")
    assert isinstance(trouble, probe.Ailing)
    assert not trouble.fails
    assert "overloaded" in str(trouble)
    assert one.child
    assert one.child.alive(), "it stays, and the next monitor judges by its age"
    one.child.end()


def test_a_healthy_place_tells_its_device_and_its_times(disks: Disks, tmp_path: Path) -> None:
    (disk,) = disks("data", filesystem="xfs")
    one = probe.Probe(probe.Place("PGDATA", "/mnt/data"), UNHURRIED, None, write=True)
    before = disk.completed()
    assert run(one, tmp_path / "records") is None
    assert one.value["device"] == disk.number
    after = disk.completed()
    assert after.writes > before.writes, "the write reached the disk"
    assert after.reads > before.reads, "so did the read"
    assert os.listdir("/mnt/data") == [], "nothing is left"


@pytest.mark.parametrize("write", [False, True])
def test_a_read_probe_does_not_write(disks: Disks, tmp_path: Path, write: bool) -> None:
    (disk,) = disks("data", filesystem="xfs")
    Path("/mnt/data/PG_VERSION").write_text("15\n")
    # Of this file system only: another's that hangs would hold up a sync of all.
    subprocess.run(["sync", "--file-system", "/mnt/data"], check=True, timeout=60)
    time.sleep(0.2)
    before = disk.completed()
    one = probe.Probe(probe.Place("PGDATA", "/mnt/data"), UNHURRIED, None, write=write)
    assert run(one, tmp_path / "records") is None
    assert (disk.completed().writes > before.writes) is write


def test_a_file_system_without_unnamed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS has no O_TMPFILE; a named file is made there, and is gone before it is written to."""
    really = os.open

    def without(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", without)
    one = probe.Probe(probe.Place("PGDATA", str(tmp_path)), UNHURRIED, None, write=True)
    assert run(one, Path("/tmp/records")) is None
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_direct_io(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EINVAL for O_DIRECT must not fail anything over (greenplum-db/gpdb issue 11586)."""
    really = os.open

    def without(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", without)
    (tmp_path / "PG_VERSION").write_text("15\n")
    one = probe.Probe(probe.Place("PGDATA", str(tmp_path)), UNHURRIED, None, write=True)
    assert run(one, Path("/tmp/records")) is None


def test_a_path_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    trouble = run(probe.Probe(probe.Place("PGDATA", str(tmp_path / "file")), LIMITS, None, write=True), tmp_path / "records")
    assert trouble is not None
    assert trouble.fails


def test_cut_paths_are_a_hang_before_the_time(disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no path beneath is running there is nothing to wait for."""
    (disk,) = disks("data", filesystem="xfs")
    monkeypatch.setattr(block, "cut", lambda device, silent: device == disk.number and silent >= probe.CUT_SECONDS)
    disk.hang()
    patient = probe.Limits(hung=60.0, slow=0.5, slow_max=0.0, freeze_max=60.0)
    one = probe.Probe(probe.Place("PGDATA", "/mnt/data", disk.number), patient, None, write=True)
    began = time.monotonic()
    trouble = run(one, tmp_path / "records", seconds=40.0)
    assert isinstance(trouble, probe.StorageHung), trouble
    assert "no path is running" in str(trouble)
    assert time.monotonic() - began < 10
    disk.heal()


def test_the_reason_fits_what_pacemaker_keeps(disks: Disks, tmp_path: Path) -> None:
    """Pacemaker before 3.0.1 keeps 128 characters: kind, time and place come first, the way down last."""
    (disk,) = disks("data", filesystem="xfs")
    place = probe.Place("PGDATA", "/mnt/data", disk.number)
    disk.hang()
    trouble = run(probe.Probe(place, LIMITS, None, write=True), tmp_path / "records")
    assert isinstance(trouble, probe.StorageHung)
    assert "PGDATA" in str(trouble)[:128]
    disk.heal()
