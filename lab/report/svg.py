"""Pieces of a picture: SVG that stands by itself, on a ground of its own so that it reads on white and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lab.report.phases import Phase

INK, FAINT, GRID, GROUND = "#1f2933", "#5b6875", "#d5dbe1", "#ffffff"
FONT = "Helvetica, Arial, DejaVu Sans, sans-serif"
# At most the average width of a character in the widest font that the page may get, as a part of its size.
CHARACTER = 0.62

# Colours that people with any kind of colour vision can tell apart (those of Okabe and Ito), and a pattern of its own for each, which is
# enough without any colour.
COLOURS = {
    Phase.DETECTION: "#d55e00", Phase.STOP: "#e69f00", Phase.FENCE_DELAY: "#f0e442", Phase.FENCING: "#cc79a7",
    Phase.START: "#0072b2", Phase.RECONNECT: "#56b4e9", Phase.STALL: "#e8ebee",
}  # fmt: skip
PATTERNS = {
    Phase.DETECTION: "M-2 10 L10 -2 M-2 2 L2 -2 M6 10 L10 6", Phase.STOP: "M0 4 H8", Phase.FENCE_DELAY: "M3 3 h2 v2 h-2 z",
    Phase.FENCING: "M0 0 L8 8 M8 0 L0 8", Phase.START: "", Phase.RECONNECT: "M4 0 V8", Phase.STALL: "",
}  # fmt: skip
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


def element(name: str, inside: str = "", **attributes: object) -> str:
    """Return an SVG element; underscores in names of attributes stand for hyphens, numbers get one decimal."""
    told = {key.replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else str(value) for key, value in attributes.items()}
    head = " ".join([name, *(f"{key}={quoteattr(value)}" for key, value in told.items())])
    return f"<{head}>{inside}</{name}>" if inside else f"<{head}/>"


def clean(text: str) -> str:
    """Return a text that XML can hold, on one line."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def width_of(text: str, size: float) -> float:
    return len(text) * size * CHARACTER


def fitting(text: str, room: float, size: float) -> str:
    """Return a text that is no wider than there is room: cut with an ellipsis, or nothing where that would tell nothing."""
    text = clean(text)
    if width_of(text, size) <= room:
        return text
    count = int(room / (size * CHARACTER)) - 3
    return text[:count].rstrip() + "..." if count >= 5 else ""


def ticks(begin: float, end: float, most: int) -> list[int]:
    """Return round moments between two."""
    step = next((step for step in STEPS if (end - begin) / step <= most), STEPS[-1])
    return list(range(-int(-begin // step) * step, int(end) + 1, step))


class Canvas:
    """Collects the parts of a picture of this size."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, clean(title)
        self.parts: list[str] = []
        self.box(0, 0, width, height, GROUND, stroke=GRID, rx=8)

    def box(self, x: float, y: float, width: float, height: float, fill: str, *, title: str = "", **more: object) -> None:
        told = element("title", escape(clean(title))) if title else ""
        self.parts.append(element("rect", told, x=float(x), y=float(y), width=float(width), height=float(height), fill=fill, **more))

    def text(self, x: float, y: float, words: str, *, size: int = 13, colour: str = INK, anchor: str = "start", bold: bool = False,
             halo: bool = False, room: float | None = None) -> float:  # fmt: skip
        """Write within `room`, by default what is left of the picture, and return the width that it may take."""
        left = {"start": self.width - 4 - x, "end": x - 4, "middle": 2 * min(x - 4, self.width - 4 - x)}[anchor]
        words = fitting(words, min(left, left if room is None else room), size)
        if not words:
            return 0.0
        more: dict[str, object] = {"font_weight": "bold"} if bold else {}
        if halo:
            more |= {"paint_order": "stroke", "stroke": GROUND, "stroke_width": 3, "stroke_linejoin": "round"}
        if anchor != "start":
            more["text_anchor"] = anchor
        self.parts.append(element("text", escape(words), x=float(x), y=float(y), font_size=size, fill=colour, **more))
        return width_of(words, size)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = GRID, width: float = 1, dashes: str = "") -> None:
        more = {"stroke_dasharray": dashes} if dashes else {}
        place: dict[str, Any] = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
        self.parts.append(element("line", **place, stroke=colour, stroke_width=width, **more))

    def path(self, d: str, colour: str, width: float = 1, fill: str = "none") -> None:
        self.parts.append(element("path", d=d, stroke=colour, stroke_width=width, fill=fill))

    @contextmanager
    def group(self, name: str) -> Iterator[None]:
        self.parts.append(f"<g id={quoteattr(name)}>")
        yield
        self.parts.append("</g>")

    def phase(self, phase: Phase, x: float, y: float, width: float, height: float, title: str = "") -> None:
        """Draw a piece of a phase: its colour, its pattern, and an outline that parts it from the next."""
        self.box(x, y, width, height, f"url(#{pattern(phase)})", title=title, stroke=INK, stroke_width=0.8)

    def render(self) -> str:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
        head += f'height="{self.height}" font-family="{FONT}" role="img">'
        used = [phase for phase in Phase if any(f"#{pattern(phase)})" in part for part in self.parts)]
        return "\n".join([head, element("title", escape(self.title)), *definitions(used), *self.parts, "</svg>"]) + "\n"


def pattern(phase: Phase) -> str:
    return "phase-" + phase.value.replace(" ", "-")


def definitions(used: list[Phase]) -> list[str]:
    """Return the patterns of these phases."""
    found = []
    for phase in used:
        inside = element("rect", width=8, height=8, fill=COLOURS[phase])
        if PATTERNS[phase]:
            inside += element("path", d=PATTERNS[phase], stroke=INK, stroke_width=0.9, fill="none")
        found.append(element("pattern", inside, id=pattern(phase), width=8, height=8, patternUnits="userSpaceOnUse"))
    return [f"<defs>{''.join(found)}</defs>"] if found else []
