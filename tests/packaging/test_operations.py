"""docs/operations.md: every block says who ran it, and what it calls tested is run by a test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.packaging import operations

TESTS = Path(__file__).resolve().parents[1]


def test_every_block_says_who_ran_it() -> None:
    blocks = operations.blocks()
    assert len(blocks) > 20
    for block in blocks:
        assert block.how in ("# lab", "# not run") or operations.TESTED.fullmatch(block.how), block
        assert block.commands, block


def test_what_is_called_tested_is_what_tests_run() -> None:
    called = {match[1] for block in operations.blocks() for match in [operations.TESTED.fullmatch(block.how)] if match}
    sources = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert called == set(re.findall(r'operations\.tested\("([\w-]+)"\)', sources))


def test_a_command_is_one_line_however_it_is_written() -> None:
    (swap,) = operations.tested("swap")
    assert swap == "dnf swap -y fence-agents-pve fence-agents-lab-pve"
    assert all("\\" not in command and "  " not in command for command in operations.tested("configuration"))
