"""The benchmark runs, and what it shows is far from three times any limit: the figures themselves are for `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.bench import report
from lab.bench.cost import Ratio
from lab.bench.report import Figure

PATIENCE = 3.0


@pytest.mark.cluster
def test_a_short_run_shows_every_part(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    argv = [sys.executable, "-m", "lab.bench.figures", "--rounds", "3", "--hangs", "5", "--json", str(output)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads(output.read_text())
    assert all(row["what"] in run.stdout for row in rows)
    limited = {row["what"]: row for row in rows if row["limit"] is not None}
    assert len(limited) == 17
    assert [row for row in limited.values() if row["value"] > PATIENCE * row["limit"]] == []
    # The agent was really at work: more than a bare interpreter, and the first answer came after io_timeout.
    assert limited["monitor, one device"]["value"] > 1.0
    assert limited["processes forked, monitor, one device"]["value"] >= 1
    assert limited["hang to answer, io_timeout 2 s"]["value"] >= 2.0


def test_a_figure_over_its_limit_is_called_so() -> None:
    parts = [("part", [Figure("good", 1.0, 2.0), Figure("bad", Ratio(3.0, 2.9, 3.1), 2.0), Figure("other", 9.0)])]
    lines = report.table(parts).splitlines()
    assert lines[-3].split() == ["good", "1.00", "x", "base", "2", "x", "base", "ok"]
    assert lines[-2].split() == ["bad", "3.00", "x", "base", "(2.90-3.10)", "2", "x", "base", "OVER"]
    assert lines[-1].split() == ["other", "9.00", "x", "base"]
    assert report.over(parts) == "OVER the limit: bad"
    assert report.over([("part", [Figure("good", 1.0, 2.0)])]) == "all 1 limits hold"


def test_a_limit_is_kept_by_what_equals_it() -> None:
    assert [Figure("forks", count, 2, "").verdict for count in (1, 2, 3)] == ["ok", "ok", "OVER"]
