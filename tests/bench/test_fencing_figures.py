"""The benchmark of fencing runs, and what it shows is far from three times any limit: the figures themselves are for `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.bench import fencing

pytestmark = pytest.mark.cluster

PATIENCE = 3.0
LOOKS = 2


def test_a_short_run_shows_every_part(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    argv = [sys.executable, "-m", "lab.bench.fencing", "--short", "--json", str(output)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads(output.read_text())
    assert all(row["what"] in run.stdout for row in rows)
    limited = {row["what"]: row for row in rows if row["limit"] is not None}
    assert len(limited) == 8
    assert [row for row in limited.values() if row["value"] > PATIENCE * row["limit"]] == []
    # These are no times, but where the machine is busy the task is looked at more often.
    counted = {what: row["value"] for what, row in limited.items() if row["unit"] == ""}
    assert len(counted) == 3
    assert [what for what, count in counted.items() if what.startswith("handshakes") and count > fencing.HANDSHAKES] == []
    assert [what for what, count in counted.items() if what.startswith("requests") and count > fencing.REQUESTS + LOOKS] == []
    shown = {row["what"]: row["value"] for row in rows}
    assert shown["requests, stock off, 2 hypervisors"] >= 10
    # The guest's hypervisor was really waited for.
    assert shown["off refused, the guest's is dead, 2 hypervisors, 2 guests"] >= 3.0


def test_a_run_that_failed_is_not_measured() -> None:
    run = fencing.Run(1, 0.1, 0, 0, "Failed: you shall not fence")
    with pytest.raises(fencing.Unexpected, match=r"exit code 1 after .*: Failed: you shall not fence"):
        fencing.good(run)
    assert fencing.good(run, codes=(1,)) is run


def test_an_agent_is_killed_when_it_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tmp_path / "agent"
    agent.write_text("#!/bin/sh\necho began\nexec sleep 60\n")
    agent.chmod(0o755)
    monkeypatch.setattr(fencing, "BOUND", 0.5)
    code, wall, said = fencing.bounded(str(agent), {})
    assert (code, said) == (None, "began\n")
    assert 0.5 <= wall < 10
