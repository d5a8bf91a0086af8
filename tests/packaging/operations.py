"""The commands in docs/operations.md, which tests run as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
TESTED = re.compile(r"# tested \(([\w-]+)\)")


@dataclass(frozen=True)
class Block:
    """Commands that stand together: who ran them as the page says, and each command as one line."""

    how: str
    commands: tuple[str, ...]


def blocks() -> list[Block]:
    """Return the blocks of the page from top to bottom; one has no blank line in it."""
    found = re.findall(r"(?:^    .*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    texts = [re.sub(r"^    ", "", text, flags=re.MULTILINE).replace("\\\n", " ") for text in found]
    return [Block(lines[0], tuple(" ".join(line.split()) for line in lines[1:])) for lines in (text.splitlines() for text in texts)]


def tested(name: str) -> list[str]:
    """Return the commands of the tested blocks of a name, one after the other."""
    found = [command for block in blocks() if block.how == f"# tested ({name})" for command in block.commands]
    assert found, f"no block of docs/operations.md is called {name}"
    return found
