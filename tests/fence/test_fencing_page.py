"""docs/fencing.md says of fence_pve what fence_pve says of itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fence_lab
from fence_lab.pve import FencePve

PAGE = (Path(__file__).parents[2] / "docs" / "fencing.md").read_text()
OTHERS_WORDS = ("Permission check failed (/vms/121, VM.PowerMgmt)", "VM is locked", "OK", "connection refused")


def literals() -> Iterator[str]:
    """Yield every text in the source of the agent, with an ellipsis for each value in it."""
    for path in Path(fence_lab.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def messages() -> list[str]:
    table = PAGE.split("## 7.")[1]
    cells = [line.split(" | ")[0].lstrip("| ") for line in table.splitlines() if line.startswith("| `")]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


def pieces(words: list[str], texts: list[str]) -> list[list[str]]:
    """Cut words into the longest runs that are in one of the texts.  A word that is in none is a run by itself, in brackets."""
    found = []
    while words:
        count = next((n for n in range(len(words), 0, -1) if any(" ".join(words[:n]) in text for text in texts)), 0)
        found.append(words[:count] or [f"[{words[0]}]"])
        words = words[count or 1 :]
    return found


@pytest.mark.parametrize("message", messages())
def test_each_message_of_the_table_is_one_of_the_agent(message: str) -> None:
    """What stands between two values is put together from few texts: a sentence and what is wrong, and not word by word."""
    texts = [*literals(), *OTHERS_WORDS]
    for part in filter(None, (part.strip(" :;,()") for part in message.split("…"))):
        found = pieces(part.split(), texts)
        assert len(found) <= 4, found
        assert not [piece for piece in found if piece[0].startswith("[")], found


def test_the_table_is_seen() -> None:
    assert len(messages()) > 40


def test_each_option_of_ours_is_explained() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE.split("## 4.")[0]))
    assert {option.name for option in FencePve.options().values() if option.added} <= named


def test_each_option_on_the_page_exists() -> None:
    used = set(re.findall(r"(?<![\w!-])([a-z][a-z_]+)=", PAGE))
    pacemakers = {name for name in used if name.startswith("pcmk_")} | {"interval", "timeout"}
    assert used - pacemakers <= set(FencePve.options())
