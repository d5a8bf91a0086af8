"""The runs that the repository keeps: what docs/lab.md says of the agents comes from them."""

from __future__ import annotations

import re

from lab.report import __main__ as report
from lab.report import store, summary, table
from lab.report.runs import Agents, Profile
from lab.scenarios.catalogue import PLAYS
from tests.style.sources import TREE

DIRECTORY = TREE / "docs" / "lab"
KEPT = store.load(DIRECTORY / "runs")


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


def test_the_report_beside_them_is_theirs() -> None:
    """Made by `python3 -m lab.report docs/lab/runs --output D`; of the time lines two are kept."""
    pages = report.pages(KEPT)
    files = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.*")}
    assert {"report.md", "bars-document.svg"} <= files.keys()
    assert sorted(name for name, text in files.items() if pages.get(name) != text) == []


def test_the_figures_of_the_readme_are_theirs() -> None:
    """A row is: scenario and title, stock agents, ours.  First comes the table of the document's profile."""
    blocks = (TREE / "README.md").read_text(encoding="utf-8").split("\n\n")
    tables = [rows for block in blocks if (rows := re.findall(r"^\| (S\d+[ab]?): .*? \| (.*?) \| (.*?) \|$", block, re.MULTILINE))]
    assert len(tables) == 2
    for profile, rows in zip((Profile.DOCUMENT, Profile.RECOMMENDED), tables):
        lines = {line.scenario.ident: line for line in summary.lines(KEPT.runs, profile, table.all_of(KEPT.runs)) if line.kind is None}
        for scenario, *cells in rows:
            line = lines[scenario]
            told = [table.disruption(line.sides[agents], parted=line.parted) for agents in (Agents.STOCK, Agents.LAB)]
            assert cells == told, (profile, scenario)
