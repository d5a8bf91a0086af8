"""The runs that the repository keeps: what docs/lab.md says of the agents comes from them."""

from __future__ import annotations

from pathlib import Path

from lab.report import store, table
from lab.scenarios.catalogue import PLAYS

KEPT = store.load(Path(__file__).resolve().parents[2] / "docs" / "lab" / "runs")


def test_they_can_be_read_and_told() -> None:
    assert KEPT.broken == ()
    assert {run.scenario for run in KEPT.runs} <= PLAYS.keys()
    page = table.render(KEPT.runs, KEPT.names)
    assert all(f"**{run.scenario}**" in page for run in KEPT.runs)
    assert [name for name, run in zip(KEPT.names, KEPT.runs) if not name.startswith(run.name)] == []


def test_no_acknowledged_row_is_lost_in_any() -> None:
    counts = {name: run.audit and (run.audit.lost, run.audit.ghosts, run.audit.duplicates, run.audit.overlaps)
              for name, run in zip(KEPT.names, KEPT.runs)}  # fmt: skip
    assert counts
    assert {name: found for name, found in counts.items() if found != (0, 0, 0, 0)} == {}
