"""The table of figures and their limits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.bench.cost import Ratio

HEADINGS = ("what", "measured", "limit", "")


@dataclass(frozen=True)
class Figure:
    """A measured value against its limit; one without a limit is there to compare with."""

    what: str
    value: Ratio | float
    limit: float | None = None
    unit: str = "x base"

    @property
    def number(self) -> float:
        return self.value.value if isinstance(self.value, Ratio) else self.value

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        return "ok" if self.number <= self.limit else "OVER"

    def cells(self) -> tuple[str, str, str, str]:
        spread = f" ({self.value.low:.2f}-{self.value.high:.2f})" if isinstance(self.value, Ratio) else ""
        whole = self.unit == "" and self.number == int(self.number)
        shown = f"{self.number:.0f}" if whole else f"{self.number:.2f} {self.unit}".rstrip()
        return self.what, shown + spread, "" if self.limit is None else f"{self.limit:g} {self.unit}".rstrip(), self.verdict

    def plain(self) -> dict[str, object]:
        spread = {"low": self.value.low, "high": self.value.high} if isinstance(self.value, Ratio) else {}
        return {"what": self.what, "value": self.number, **spread, "unit": self.unit, "limit": self.limit, "verdict": self.verdict}


def say(text: str) -> None:
    print(f"-- {text}", file=sys.stderr, flush=True)


def measured(todo: Sequence[tuple[str, Callable[[], Sequence[Figure]]]]) -> list[tuple[str, Sequence[Figure]]]:
    """Measure the parts of a table, saying what takes how long."""
    parts = []
    for title, measure in todo:
        began = time.monotonic()
        say(f"measuring: {title}")
        parts.append((title, measure()))
        say(f"measured in {time.monotonic() - began:.0f} s")
    return parts


def table(parts: Sequence[tuple[str, Sequence[Figure]]]) -> str:
    rows = [HEADINGS, *(figure.cells() for _, figures in parts for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()

    lines = [line(HEADINGS)]
    for title, figures in parts:
        lines += ["", title, *(line(figure.cells()) for figure in figures)]
    return "\n".join(lines)


def over(parts: Sequence[tuple[str, Sequence[Figure]]]) -> str:
    """Return the sentence that ends the report."""
    beyond = [figure.what for _, figures in parts for figure in figures if figure.verdict == "OVER"]
    limited = sum(1 for _, figures in parts for figure in figures if figure.verdict)
    return f"OVER the limit: {', '.join(beyond)}" if beyond else f"all {limited} limits hold"


def write_json(path: Path, parts: Sequence[tuple[str, Sequence[Figure]]]) -> None:
    path.write_text(json.dumps([{"part": title, **figure.plain()} for title, figures in parts for figure in figures], indent=1) + "\n")


def tell(parts: Sequence[tuple[str, Sequence[Figure]]], path: Path | None) -> None:
    """Print the table and the sentence that ends it; write the figures to a file too where one is named."""
    print(table(parts))
    print(f"\n{over(parts)}")
    if path:
        write_json(path, parts)
