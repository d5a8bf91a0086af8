"""The time line as SVG: what each client, each monitor and each stop did, from the moment the disks hung."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.demo.show import Side

WIDTH, LEFT, RIGHT = 1200, 250, 40
LANE = 46
GOOD, BAD, WAIT, INK, FAINT = "#2e8540", "#c0262d", "#f3c6c4", "#1b1f24", "#8a929b"
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


class Canvas:
    """Elements on a time axis that reaches from `first` to `last`, in seconds from the hang."""

    def __init__(self, first: float, last: float) -> None:
        self.first, self.last = first, last
        self.elements: list[str] = []

    def x(self, seconds: float) -> float:
        return LEFT + (seconds - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def text(self, x: float, y: float, words: str, size: int = 14, color: str = INK, anchor: str = "start", weight: str = "normal") -> None:
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escaped(words)}</text>"
        )

    def bar(self, start: float, end: float, y: float, height: float, color: str, title: str = "") -> None:
        self.elements.append(
            f'<rect x="{self.x(start):.1f}" y="{y:.1f}" width="{max(2.0, self.x(end) - self.x(start)):.1f}" height="{height}" rx="2" '
            f'fill="{color}"><title>{escaped(title)}</title></rect>'
        )

    def line(self, seconds: float, top: float, bottom: float, color: str, dash: str = "") -> None:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        x = self.x(seconds)
        self.elements.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{color}" stroke-width="1.5"{dashes}/>')


def draw(stock: Side, ours: Side, hung: float, ended: float) -> str:
    """Return the picture.  `hung` and `ended` are moments of the monotonic clock."""
    canvas = Canvas(-8.0, ended - hung + 2.0)
    top = 92
    bottom = top + 2 * (3 * LANE + 40)
    canvas.text(24, 34, "Two databases, two disks that stop answering writes at the same moment", size=20, weight="bold")
    canvas.text(24, 58, "Seconds from the hang. Monitors run every 5 s, as Pacemaker runs them.", size=14, color=FAINT)
    for seconds in range(0, int(canvas.last) + 1, 5):
        canvas.line(seconds, top - 8, bottom - 24, "#e3e6ea")
        canvas.text(canvas.x(seconds), top - 12, f"{seconds}", size=12, color=FAINT, anchor="middle")
    canvas.line(0, top - 8, bottom - 24, BAD, dash="5 4")
    canvas.text(canvas.x(0), bottom - 8, "the disks hang", size=13, color=BAD, anchor="middle")
    lanes(canvas, stock, top, hung, ended)
    lanes(canvas, ours, top + 3 * LANE + 40, hung, ended)
    height = bottom + 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', *canvas.elements, "</svg>", ""])


def lanes(canvas: Canvas, side: Side, top: float, hung: float, ended: float) -> None:
    """Draw the three lanes of an agent: the client's writes, the monitors, the stop."""
    canvas.text(24, top + 14, side.agent, size=15, weight="bold")
    writes(canvas, side, top + 22, hung, ended)
    monitors(canvas, side, top + 22 + LANE, hung)
    stop(canvas, side, top + 22 + 2 * LANE, hung)


def writes(canvas: Canvas, side: Side, y: float, hung: float, ended: float) -> None:
    canvas.text(40, y + 17, "the client's writes", color=FAINT)
    moments = [at - hung for _, at in side.client.acknowledged if canvas.first <= at - hung <= ended - hung]
    for moment in moments:
        canvas.bar(moment, moment, y + 4, 18, GOOD, "a row, acknowledged")
    last = max(moments, default=canvas.first)
    canvas.bar(last + 0.1, ended - hung, y + 4, 18, WAIT, "no answer")
    canvas.text(canvas.x((last + ended - hung) / 2), y + 18, f"no answer for {ended - hung - last:.0f} s", size=12, color=BAD, anchor="middle")


def monitors(canvas: Canvas, side: Side, y: float, hung: float) -> None:
    canvas.text(40, y + 17, "monitors", color=FAINT)
    for at, result in side.monitors:
        start, end = at - hung, at + result.seconds - hung
        if end < canvas.first:
            continue
        good = result.code in (0, 190)
        canvas.bar(start, end, y + 11, 4, GOOD if good else BAD, str(result.code))
        canvas.elements.append(f'<circle cx="{canvas.x(end):.1f}" cy="{y + 13:.1f}" r="7" fill="{GOOD if good else BAD}"/>')
        if good:
            canvas.text(canvas.x(end), y + 17, "✓", size=11, color="#ffffff", anchor="middle")
        else:
            canvas.text(canvas.x(end), y + 17, "✗", size=11, color="#ffffff", anchor="middle")
            right = end > canvas.last / 2
            words = f"failed after {end:.0f} s: {result.reason[:72]}{'…' if len(result.reason) > 72 else ''}"
            canvas.text(canvas.x(end) + (-14 if right else 14), y + 34, words, size=12, color=BAD, anchor="end" if right else "start")


def stop(canvas: Canvas, side: Side, y: float, hung: float) -> None:
    canvas.text(40, y + 17, "stop", color=FAINT)
    if not side.stop:
        return
    at, result = side.stop
    start, end = at - hung, at + result.seconds - hung
    canvas.bar(start, end, y + 4, 18, BAD if result.code else GOOD, result.reason)
    if result.timed_out:
        canvas.text(canvas.x(start) - 8, y + 18, "not done, and goes on for 120 s", size=12, color=BAD, anchor="end")
    else:
        words = f"answers after {result.seconds:.1f} s" + (": fence the node, now" if result.code else "")
        canvas.text(canvas.x(start) - 8, y + 18, words, size=12, color=BAD if result.code else GOOD, anchor="end")
