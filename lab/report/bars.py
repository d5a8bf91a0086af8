"""The disruption of all scenarios as stacked bars, stock beside ours: what the time of the typical run went into."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from lab.report import summary, svg, table
from lab.report.phases import Phase
from lab.report.runs import Profile, Run
from lab.report.summary import Line, Summary
from lab.report.svg import FAINT, GRID, INK, Canvas

WIDTH, LEFT, RIGHT = 1000, 330, 200
HEAD, FOOT = 108, 58
BAR, BETWEEN, PAD, EMPTY = 18, 3, 16, 26
ALONE = " *"  # Marks what only new connections missed.
LEAST = 1.5  # Pixels: a phase that was there is seen.


class Picture:
    """Draws the scenarios of one profile, one below the other."""

    def __init__(self, kept: Sequence[Run], profile: Profile) -> None:
        self.profile = profile
        self.rows = [line for line in summary.lines(kept, profile, table.all_of(kept)) if not line.parted]
        shown = [found for line in self.rows for found in line.sides.values() if found]
        ended = [value for found in shown for value in (found.typical.seconds, found.disruption.high) if not math.isinf(value)]
        # What never ended is drawn to the end of the axis: it must not press the others together.
        finite = [value for found, value in zip(shown, map(summary_seconds, shown)) if found.typical.ended]
        self.end = 1.08 * max([10.0, *(finite or ended)])
        height = HEAD + sum(map(self.height_of, self.rows)) + FOOT
        self.canvas = Canvas(WIDTH, height, "Seconds without an acknowledged write, by scenario")

    @staticmethod
    def height_of(line: Line) -> int:
        return 2 * BAR + BETWEEN + PAD if any(line.sides.values()) else EMPTY

    def x(self, seconds: float) -> float:
        return LEFT + min(seconds, self.end) / self.end * (WIDTH - LEFT - RIGHT)

    def frame(self) -> None:
        canvas, bottom = self.canvas, self.canvas.height - FOOT
        canvas.text(24, 34, "How long no write was acknowledged, and what the time went into", size=20, bold=True)
        canvas.text(24, 58, f"{table.TITLES[self.profile]}. The run in the middle of each kind; less is better.", colour=FAINT)
        with canvas.group("legend"):
            x = 24.0
            for phase in Phase:
                canvas.phase(phase, x, 74, 26, 14)
                x += 32 + canvas.text(x + 32, 86, phase.value, size=13) + 12
            canvas.path(f"M{x + 26:.1f} 74 H{x:.1f} V88 H{x + 26:.1f}", INK)
            canvas.path(f"M{x + 22:.1f} 77 l5 4 l-5 4", INK, 1.5)
            canvas.text(x + 34, 86, "never ended", size=13)
        with canvas.group("axis"):
            for moment in svg.ticks(0, self.end, 12):
                canvas.line(self.x(moment), HEAD, self.x(moment), bottom)
                canvas.text(self.x(moment), bottom + 20, f"{moment} s", colour=FAINT, anchor="middle")
            words = "seconds without an acknowledged write"
            if any(found and found.typical.alone for line in self.rows for found in line.sides.values()):
                words += f" ({ALONE.strip()} of {table.NEW} alone)"
            canvas.text((LEFT + WIDTH - RIGHT) / 2, bottom + 42, words, colour=FAINT, anchor="middle")

    def bar(self, found: Summary, y: float) -> None:
        canvas, seen = self.canvas, found.typical
        x, gone = self.x(0), 0.0
        for phase in Phase:
            seconds = seen.phases[phase]
            if seconds <= 0 or phase is seen.open:
                continue
            gone += seconds
            end = max(self.x(gone), x + LEAST)
            canvas.phase(phase, x, y, end - x, BAR, f"{phase.value}: {seconds:.1f} s")
            if width_of_number(seconds) <= end - x - 6:
                canvas.text((x + end) / 2, y + 13.5, f"{seconds:.0f}", size=12, anchor="middle", halo=True, bold=True)
            x = end
        words = f"{table.told(found.disruption, repeated=len(found.runs) > 1)} s{ALONE if seen.alone else ''}"
        if seen.open:
            self.open_end(seen.open, x, y)
            words = f"never (watched {found.watched:.0f} s){ALONE if seen.alone else ''}"
            canvas.text(WIDTH - RIGHT + 18, y + 13.5, words, size=12, bold=True)
            return
        if not math.isinf(found.disruption.high) and found.disruption.high > found.disruption.low:
            self.whisker(found.disruption.low, found.disruption.high, y)
            x = max(x, self.x(found.disruption.high))
        canvas.text(x + 8, y + 13.5, "0 s" if words == "0.0 s" else words, size=12, halo=True)

    def open_end(self, phase: Phase, x: float, y: float) -> None:
        """Draw a bar that has no end: no outline to the right but an arrow."""
        canvas, end = self.canvas, float(WIDTH - RIGHT)
        canvas.box(x, y, end - x, BAR, f"url(#{svg.pattern(phase)})", title=f"{phase.value}: without an end", fill_opacity=0.55)
        canvas.path(f"M{end:.1f} {y:.1f} H{x:.1f} V{y + BAR:.1f} H{end:.1f}", INK)
        canvas.path(f"M{end + 2:.1f} {y + 3:.1f} l8 {BAR / 2 - 3:.1f} l-8 {BAR / 2 - 3:.1f}", INK, 2)
        canvas.text((x + end) / 2, y + 13.5, f"{phase.value}, without an end", size=12, anchor="middle", halo=True, room=end - x - 10)

    def whisker(self, low: float, high: float, y: float) -> None:
        """Draw the range over repeated runs."""
        middle = y + BAR / 2
        self.canvas.line(self.x(low), middle, self.x(high), middle, INK, 1.2)
        for value in (low, high):
            self.canvas.line(self.x(value), middle - 4, self.x(value), middle + 4, INK, 1.2)

    def scenario(self, line: Line, top: float) -> None:
        canvas = self.canvas
        canvas.line(24, top, WIDTH - 24, top)
        if not any(line.sides.values()):
            canvas.text(24, top + 18, line.title, size=12, room=LEFT - 32, colour=FAINT)
            canvas.text(LEFT + 6, top + 18, table.NO_RUN, size=12, colour=FAINT)
            return
        room = LEFT - 24 - 60
        lines = textwrap.wrap(svg.clean(line.title), int(room / (13 * svg.CHARACTER)))[:2]
        for number, words in enumerate(lines):
            canvas.text(24, top + (32 if len(lines) == 1 else 23) + 18 * number, words, room=room)
        y = top + PAD / 2
        for agents, name in table.SIDES.items():
            found = line.sides[agents]
            canvas.text(LEFT - 8, y + 13.5, name, size=12, anchor="end", bold=name == "ours")
            if found:
                self.bar(found, y)
            else:
                canvas.text(LEFT + 6, y + 13.5, table.NO_RUN, size=12, colour=FAINT)
            y += BAR + BETWEEN

    def render(self) -> str:
        self.frame()
        top = HEAD
        for line in self.rows:
            with self.canvas.group("-".join(["scenario", *svg.clean(f"{line.scenario.ident} {line.kind or ''}").split()])):
                self.scenario(line, top)
            top += self.height_of(line)
        self.canvas.line(LEFT, HEAD, LEFT, self.canvas.height - FOOT, INK)
        self.canvas.line(24, self.canvas.height - FOOT, WIDTH - 24, self.canvas.height - FOOT, GRID)
        return self.canvas.render()


def summary_seconds(found: Summary) -> float:
    """Return how far a bar and its whisker reach."""
    high = found.disruption.high
    return found.typical.seconds if math.isinf(high) else high


def width_of_number(seconds: float) -> float:
    return svg.width_of(f"{seconds:.0f}", 12)


def render(kept: Sequence[Run], profile: Profile) -> str:
    return Picture(kept, profile).render()
