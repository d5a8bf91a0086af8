"""The time line as a picture: SVG that stands by itself, on a ground of its own so that it reads on white and on dark pages."""

from __future__ import annotations

import textwrap
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from lab.demo.record import STOP_TIMEOUT, Call, Side, Story

WIDTH, LEFT, RIGHT = 1200, 168, 28
HEAD, LANE, GAP, TITLE, FOOT = 104, 62, 26, 34, 82
INK, FAINT, GRID = "#1f2933", "#5b6875", "#d5dbe1"
GREEN, AMBER, RED, BLUE, HUNG, GROUND = "#2f9e58", "#e3a008", "#c81e1e", "#1d4ed8", "#fdecea", "#ffffff"
LANES = ("writes", "monitor", "stop")
NAMES = {"writes": "client writes", "monitor": "monitor", "stop": "stop, start"}
CHARACTER = 8.2  # At most the average width of a character, in the widest font that the page may get.


def element(name: str, inside: str = "", **attributes: object) -> str:
    """Return an SVG element; underscores in names of attributes stand for hyphens, numbers get one decimal."""
    told = {key.replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else str(value) for key, value in attributes.items()}
    head = " ".join([name, *(f"{key}={quoteattr(value)}" for key, value in told.items())])
    return f"<{head}>{inside}</{name}>" if inside else f"<{head}/>"


class Picture:
    """Draws one story; `x` maps seconds from the hang to pixels."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.begin = -story.plan.healthy
        self.end = max(story.end, story.healed + 1)
        self.height = HEAD + len(story.sides) * (TITLE + len(LANES) * LANE + GAP) + FOOT
        self.parts: list[str] = []

    def x(self, moment: float) -> float:
        return LEFT + (min(max(moment, self.begin), self.end) - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    # Pieces

    def box(self, begin: float, end: float, top: float, height: float, colour: str, *, least: float = 1.5, title: str = "") -> None:
        width = max(self.x(end) - self.x(begin), least)
        told = element("title", escape(title)) if title else ""
        self.parts.append(element("rect", told, x=self.x(begin), y=top, width=width, height=height, fill=colour))

    def text(self, x: float, y: float, words: str, *, size: int = 14, colour: str = INK, anchor: str = "start", bold: bool = False) -> None:
        weight = "bold" if bold else "normal"
        self.parts.append(element("text", escape(words), x=x, y=y, font_size=size, fill=colour, text_anchor=anchor, font_weight=weight))

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1, dashes: str = "none") -> None:
        self.parts.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, stroke_dasharray=dashes))

    def label(self, moment: float, y: float, words: str, colour: str, *, bold: bool = True) -> None:
        """Write at a moment, and to the left of it where there is no room to the right."""
        x = self.x(moment)
        if x + len(words) * CHARACTER > WIDTH - RIGHT:
            self.text(WIDTH - RIGHT, y, words, colour=colour, anchor="end", bold=bold)
        else:
            self.text(x, y, words, colour=colour, bold=bold)

    # Parts

    def frame(self) -> None:
        story, bottom = self.story, self.height - FOOT
        self.parts.append(element("rect", width=WIDTH, height=self.height, rx=8, fill=GROUND, stroke=GRID))
        self.text(24, 34, "Two PostgreSQL servers, and the disk of each stops answering", size=20, bold=True)
        self.text(24, 58, "Same moment, same load, a disk each. The only difference is the resource agent that watches.", colour=FAINT)
        self.parts.append('<g id="lane-disk">')
        self.box(0, story.healed, HEAD - 28, bottom - HEAD + 28, HUNG)
        middle = (self.x(0) + self.x(story.healed)) / 2
        words = f"both disks hang: nothing that is asked of them returns, for {story.healed:.0f} s"
        self.text(middle, HEAD - 9, words, colour=RED, anchor="middle", bold=True)
        self.parts.append("</g>")
        for moment in range(-60, int(self.end) + 1, 10):
            if moment >= self.begin:
                self.line(self.x(moment), HEAD, self.x(moment), bottom, GRID)
                self.text(self.x(moment), bottom + 20, f"{moment} s", size=13, colour=FAINT, anchor="middle")
        self.text(24, bottom + 20, "from the hang", size=13, colour=FAINT)

    def writes(self, side: Side, top: float) -> None:
        bound, every = self.story.plan.bound, self.story.plan.every
        for answered, group in groupby(side.rows, key=lambda row: row.in_time(bound)):
            rows = list(group)
            told = f"{len(rows)} rows {'answered' if answered else 'unanswered'}"
            self.box(rows[0].due, rows[-1].due + every, top + 10, 20, GREEN if answered else RED, title=told)
            if not answered and len(rows) * every > 15:
                words = f"{len(rows)} writes not answered within {bound:g} s"
                self.text((self.x(rows[0].due) + self.x(rows[-1].due)) / 2, top + 25, words, colour="#ffffff", anchor="middle", bold=True)

    def monitor(self, side: Side, top: float) -> None:
        for call in side.of("monitor"):
            ended = call.ended if call.ended is not None else self.end
            if call.failed and ended - call.began > 1:
                self.box(call.began, ended, top + 12, 14, AMBER, title="waiting for the disk")
                words = f"waits for the disk (io_timeout={self.story.plan.io_timeout})"
                self.text((self.x(call.began) + self.x(ended)) / 2, top + 44, words, size=13, colour=FAINT, anchor="middle")
                self.box(ended, ended, top + 5, 28, RED, least=7, title=call.reason)
            else:
                colour = RED if call.failed else GREEN if call.good else AMBER
                self.box(call.began, ended, top + 8, 22, colour, least=7, title=f"{call.code} {call.reason}")
                if not call.failed:
                    words = "ok" if call.good else "degraded"
                    self.text(self.x(call.began) + 3, top + 46, words, size=13, colour=colour, anchor="middle")
        noticed = side.noticed()
        if noticed and noticed.ended is not None:
            fenced = self.story.fenced(side)
            x = max(self.x(noticed.ended) + 14, self.x(fenced[0]) + 9 if fenced and fenced[1] else 0)
            self.text(x, top + 15, f"FAILED {noticed.ended:.0f} s after the hang:", colour=RED, bold=True)
            room = int((WIDTH - RIGHT - x) / CHARACTER)
            for line, words in enumerate(textwrap.wrap(noticed.reason, room)[:2]):
                self.text(x, top + 33 + 17 * line, words, size=13, colour=RED)
        else:
            last = max((call.ended or 0 for call in side.of("monitor")), default=0)
            self.label(max(last, 0) + 1.5, top + 24, "all green: never noticed", RED)

    def stop(self, side: Side, top: float) -> None:
        call = side.stop(self.story.healed)
        if call:
            self.stop_under_hang(side, call, top)
        for again in side.of("start"):
            self.box(again.began, again.ended or self.end, top + 8, 22, GREEN, least=7, title="start")
            self.text(self.x(again.began) + 3, top + 46, "start", size=13, colour=GREEN, anchor="middle")

    def stop_under_hang(self, side: Side, call: Call, top: float) -> None:
        ended = call.ended if call.ended is not None else self.end
        if ended < self.story.healed and call.good:
            self.box(call.began, ended, top + 8, 22, GREEN, least=5, title="stop")
            self.label(ended + 0.8, top + 25, f"stop done after {ended - call.began:.1f} s", GREEN)
            return
        if ended < self.story.healed:
            self.box(call.began, ended, top + 8, 22, RED, least=5, title=call.reason)
            self.label(ended + 0.8, top + 16, f"stop fails after {ended - call.began:.1f} s instead of {STOP_TIMEOUT:.0f}:", RED)
            self.label(ended + 0.8, top + 34, f"Pacemaker has the node fenced {ended:.0f} s after the hang", RED)
            return
        self.box(call.began, min(ended, self.story.healed), top + 8, 22, AMBER, title="stop has no end")
        if ended > self.story.healed:
            self.box(self.story.healed, ended, top + 8, 22, GRID, title="stop ends after the disk answers again")
        how = "stop ordered by hand:" if side.ordered else "stop:"
        self.label(call.began, top + 46, f"{how} no end in {self.story.healed - call.began:.0f} s", RED)
        earliest = call.began + STOP_TIMEOUT
        why = ", and only because a person looked" if side.ordered else ""
        follows = (f"Pacemaker would kill the stop after {STOP_TIMEOUT:.0f} s and only then fence:",
                   f"{earliest:.0f} s after the hang at the earliest{why}")  # fmt: skip
        for line, words in enumerate(follows):
            self.text(self.x(call.began) - 8, top + 16 + 17 * line, words, size=13, colour=FAINT, anchor="end")

    def side(self, side: Side, top: float) -> None:
        fenced = self.story.fenced(side)
        self.text(24, top + 22, f"{side.name}: {side.agent}", size=16, bold=True)
        y = top + TITLE
        if fenced and fenced[1]:
            self.line(self.x(fenced[0]), y + 30, self.x(fenced[0]), y + len(LANES) * LANE - 24, BLUE, width=2, dashes="5 4")
            self.label(fenced[0] + 0.8, y + 48, "in a cluster, fencing begins here, and then the other node serves", BLUE)
        for lane in LANES:
            self.parts.append(f'<g id="lane-{side.name}-{lane}">')
            self.line(24, y, WIDTH - RIGHT, y, GRID)
            self.text(24, y + 25, NAMES[lane], colour=FAINT)
            {"writes": self.writes, "monitor": self.monitor, "stop": self.stop}[lane](side, y)
            self.parts.append("</g>")
            y += LANE

    def foot(self) -> None:
        story, y = self.story, self.height - FOOT + 46
        for colour, words, x in ((GREEN, "fine", 24), (AMBER, "under way", 84), (RED, "unanswered, failed", 184)):
            self.parts.append(element("rect", x=x, y=y - 11, width=12, height=12, fill=colour))
            self.text(x + 18, y, words, size=13, colour=FAINT)
        counts = "; ".join(f"{side.name} {len(side.acknowledged())}, lost {len(side.lost())}" for side in story.sides)
        self.text(WIDTH - RIGHT, y, f"acknowledged rows, looked for at the end: {counts}", size=13, colour=FAINT, anchor="end")
        plan = story.plan
        pace = f"a row every {plan.every * 1000:.0f} ms; monitor every {plan.interval:g} s; io_timeout={plan.patience()}"
        words = f"{story.versions}; XFS; {pace}; all else at its default"
        self.text(24, y + 22, words, size=13, colour=FAINT)

    def render(self) -> str:
        self.frame()
        top = float(HEAD)
        for side in self.story.sides:
            self.side(side, top)
            top += TITLE + len(LANES) * LANE + GAP
        self.foot()
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}" '
        head += 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" role="img">'
        return "\n".join([head, "<title>What each monitor said while the disks hung</title>", *self.parts, "</svg>"]) + "\n"


def render(story: Story) -> str:
    return Picture(story).render()
