"""The conformance tester itself: a correct agent passes all of it, and each broken one is caught by the check that names its fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocf_py.testing import conformance

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
FLAG = HERE / "reference" / "flag"
CAUGHT_BY = {
    "another-name": "metadata name",
    "blind-probe": "probe of a running resource",
    "careless": "required parameters",
    "demote-once": "promotion",
    "formless": "metadata structure",
    "frank": "no traceback",
    "inventive": "legal codes",
    "jealous": "monitors side by side",
    "litterer": "no process left behind",
    "locked-out": "killed start",
    "moody": "metadata constant",
    "numbered": "clone suffix",
    "parent": "nothing outlives stop",
    "promising": "advertised actions",
    "repetitive": "form of the reason",
    "silent": "reason of a failure",
    "sluggish": "end in time",
    "start-once": "start twice",
    "stop-once": "stop twice",
    "strict-stop": "stop with bad parameters",
    "talkative": "quiet stdout",
    "yes-man": "unknown action",
}
NEEDS_WORD = ("careless", "repetitive", "silent", "strict-stop")


def complaints(report: conformance.Report) -> dict[str, tuple[str, ...]]:
    bad = (conformance.VIOLATION, conformance.ADVICE)
    return {finding.name: finding.problems for finding in report.findings if finding.verdict in bad}


def processes_named(name: str) -> list[str]:
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/comm") if path.exists() and path.read_text().strip() == name]


def test_every_broken_agent_is_in_the_table() -> None:
    assert sorted(CAUGHT_BY) == sorted(path.name for path in (HERE / "broken").iterdir())


def test_a_correct_agent_passes_everything() -> None:
    report = conformance.conform(FLAG, {"word": "hello"}, kills=5)
    assert complaints(report) == {}
    assert report.not_stopped == ""
    assert report.named(conformance.NOT_APPLICABLE) <= {"metadata DTD", "metadata schema", "status"}


@pytest.mark.parametrize("name", sorted(CAUGHT_BY))
def test_a_broken_agent_is_caught_by_the_check_that_names_its_fault(name: str) -> None:
    kills = 10 if "killed" in CAUGHT_BY[name] else 2
    report = conformance.conform(HERE / "broken" / name, {"word": "hello"} if name in NEEDS_WORD else {}, kills=kills)
    assert list(complaints(report)) == [CAUGHT_BY[name]], complaints(report)
    assert report.failed(strict=True)
    assert report.not_stopped == ""
    assert processes_named("sleep") == []


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ocf_py.testing.conformance", "--kills", "2", *words]


def test_the_command_prints_a_table_and_tells_by_its_exit_code() -> None:
    good = subprocess.run(command(str(FLAG), "-o", "word=hello", "--strict"), capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "  42 start                          ok" in good.stdout
    advice = command(str(HERE / "broken" / "talkative"))
    assert subprocess.run(advice, capture_output=True, check=False).returncode == 0
    assert subprocess.run([*advice, "--strict"], capture_output=True, check=False).returncode == 1
    bad = subprocess.run(command(str(HERE / "broken" / "stop-once")), capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "stop for the second time answered 1, not 0 (it is not up)" in bad.stdout


def test_a_check_can_be_left_out() -> None:
    skipped = command(str(HERE / "broken" / "stop-once"), "--skip", "stop twice")
    assert subprocess.run(skipped, capture_output=True, check=False).returncode == 0
    by_number = command(str(HERE / "broken" / "stop-once"), "--skip", "48")
    assert subprocess.run(by_number, capture_output=True, check=False).returncode == 0
    unknown = subprocess.run(command(str(FLAG), "--skip", "no such check"), capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "no such check" in unknown.stderr


def test_a_resource_that_does_not_start_is_told_once() -> None:
    report = conformance.conform(FLAG, {})
    assert set(complaints(report)) == {"start", "validation"}


def test_an_interrupted_run_stops_the_resource() -> None:
    """SIGTERM comes while the resource is up: before the tester is gone, it has stopped it."""
    state = Path("/run/resource-agents/flag-interrupted")
    endless = command(str(FLAG), "-o", "word=hello", "-n", "interrupted", "--kills", "100000")
    with subprocess.Popen(endless, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        seen = next(line for line in iter(run.stdout.readline, "") if "80 monitors side by side" in line)
        while not state.exists():
            assert run.poll() is None
        run.terminate()
        run.stdout.read()
    assert " ok " in seen
    assert run.returncode == 128 + 15
    assert not state.exists()
