"""The distribution's agents: what docs/conformance.md says of them is what the tester finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocf_py.testing import conformance

pytestmark = pytest.mark.cluster

TREE = Path(__file__).parents[2]
AGENTS = Path("/usr/lib/ocf/resource.d")
# Those that need nothing but files and take seconds.
HERE = ("pacemaker:Dummy", "pacemaker:Stateful", "heartbeat:Dummy", "heartbeat:Delay", "heartbeat:dummypy", "heartbeat:symlink")


def documented() -> dict[str, tuple[dict[str, str], set[str], set[str]]]:
    """Return the table of the document: parameters, violations and advice by agent."""
    found = {}
    for line in (TREE / "docs/conformance.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and ":" in cells[0]:
            parameters = dict(pair.split("=", 1) for pair in cells[1].split())
            violated, advice = ({name.strip() for name in cell.split(",") if name.strip()} for cell in cells[2:])
            found[cells[0]] = (parameters, violated, advice)
    return found


def test_thirteen_agents_are_documented_by_checks_that_exist() -> None:
    table = documented()
    assert len(table) >= 13
    names = {check.name for check in conformance.ordered()}
    assert not {name for _, violated, advice in table.values() for name in violated | advice} - names


@pytest.mark.parametrize("agent", HERE)
def test_the_findings_are_as_documented(agent: str) -> None:
    parameters, violated, advice = documented()[agent]
    report = conformance.conform(AGENTS / agent.replace(":", "/"), parameters)
    table = "\n" + "\n".join(conformance.row(finding) for finding in report.findings)
    assert report.named(conformance.VIOLATION) == violated, table
    assert report.named(conformance.ADVICE) == advice, table
    assert report.not_stopped == ""
