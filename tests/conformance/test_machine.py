"""The state machine: an agent that keeps the rules passes, and agents that break one are caught."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ocf_py.testing import Executor
from ocf_py.testing.machine import AgentMachine, World, machine_of

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
MANY = settings(
    max_examples=25, stateful_step_count=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
# An agent that is wrong on purpose needs no shortest example of it.
FIRST = settings(MANY, max_examples=60, phases=[Phase.generate], report_multiple_bugs=False)


class FlagWorld:
    """The directory of a flag file.  It can be away, with a file in its place, so that nobody can tell whether the flag is there."""

    faults = ("directory unreadable",)
    changes = ("remove", "create")

    def __init__(self, root: Path) -> None:
        self.root, self.directory, self.away = root, root / "flags", root / "away"
        self.flag = self.directory / "flag"
        self.directory.mkdir(parents=True)

    def snapshot(self) -> object:
        return sorted((str(path), path.read_bytes(), path.stat().st_mtime_ns) for path in self.root.rglob("*") if path.is_file())

    def active(self) -> bool:
        return any((directory / "flag").exists() for directory in (self.directory, self.away) if directory.is_dir())

    def inject(self, fault: str) -> None:
        assert fault in self.faults
        self.directory.rename(self.away)
        self.directory.write_text("not a directory")

    def lift(self) -> None:
        self.directory.unlink()
        self.away.rename(self.directory)

    def change(self, name: str) -> None:
        if name == "remove":
            self.flag.unlink(missing_ok=True)
        else:
            self.flag.touch()

    def close(self) -> None:
        shutil.rmtree(self.root)


def flag_machine(root: Path, agent: Path) -> type[AgentMachine]:
    numbers = itertools.count()

    def make() -> tuple[Executor, World]:
        world = FlagWorld(root / str(next(numbers)))
        return Executor(agent, {"file": world.flag}), world

    return machine_of(make, levels=(0, 10))


def test_the_flag_file_keeps_the_rules(tmp_path: Path) -> None:
    run_state_machine_as_test(flag_machine(tmp_path, HERE / "examples" / "flag-file"), settings=MANY)


AGENT = """#!/bin/sh
PATH=/usr/bin:/bin
file=$OCF_RESKEY_file
fail() { echo "ocf-exit-reason:$1" >&2; exit 1; }
# One that tells a missing flag from a directory that cannot be read.
look() { [ -d "${file%/*}" ] || fail "cannot read ${file%/*}"; [ -e "$file" ] || return 7; }
case $1 in
START
STOP
MONITOR
validate-all) ;;
meta-data) echo "<resource-agent/>" ;;
*) echo "ocf-exit-reason:no action $1" >&2; exit 3 ;;
esac
"""
RIGHT = {
    "START": 'start) look || : >"$file" ;;',
    "STOP": 'stop) if look; then rm -f "$file"; fi ;;',
    "MONITOR": "monitor) look ;;",
}
BROKEN = {
    "unknown taken for stopped": ("MONITOR", 'monitor) [ -e "$file" ] || exit 7 ;;', "the resource is active"),
    "stop that does not look": ("STOP", 'stop) rm -f "$file" 2>/dev/null; exit 0 ;;', "something is active after a stop"),
    "second start that changes": ("START", 'start) look; echo again >>"$file" ;;', "a second start changed something"),
    "monitor that writes": ("MONITOR", 'monitor) look; rc=$?; [ $rc = 7 ] || echo seen >>"$file"; exit $rc ;;', "observer changed"),
    "stop that needs a start": ("STOP", 'stop) look || fail "not running"; rm "$file" ;;', "stop failed with nothing broken"),
}


def written(directory: Path, **changed: str) -> Path:
    text = AGENT
    for word, body in {**RIGHT, **changed}.items():
        text = text.replace(word, body)
    agent = directory / "agent"
    agent.write_text(text)
    agent.chmod(0o755)
    return agent


def test_a_plain_shell_agent_can_keep_the_rules(tmp_path: Path) -> None:
    run_state_machine_as_test(flag_machine(tmp_path, written(tmp_path)), settings=MANY)


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_the_machine_catches(tmp_path: Path, fault: str) -> None:
    word, body, complaint = BROKEN[fault]
    with pytest.raises(AssertionError, match=complaint):
        run_state_machine_as_test(flag_machine(tmp_path, written(tmp_path, **{word: body})), settings=FIRST)
