"""The result as a table of three columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from itertools import zip_longest

from lab.demo.record import STOP_TIMEOUT, Side, Story

SUBJECT, VALUE = 26, 44


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 60 else f"{value:.0f} s"


def monitors(story: Story, side: Side) -> str:
    """Tell what the monitors said that ended while the disk hung."""
    ended = [call for call in side.of("monitor") if call.ended is not None and 0 < call.ended < story.healed]
    good = sum(call.good for call in ended)
    degraded = [call for call in ended if call.code == 190]
    failed = [call for call in ended if call.failed]
    parts = [f"{good} x ok"] if good else []
    parts += [f"{len(degraded)} x degraded ({degraded[-1].reason})"] if degraded else []
    parts += [f"{len(failed)} x FAILED"] if failed else []
    return ", ".join(parts) or "none"


def stop(story: Story, side: Side) -> str:
    call = side.stop(story.healed)
    if not call:
        return "none"
    how = f"ordered by hand at {seconds(call.began)}" if side.ordered else f"by the failed monitor, at {seconds(call.began)}"
    if call.ended is None or call.ended > story.healed:
        watched = story.healed - call.began
        return f"{how}; no end in the {watched:.0f} s until the disk answered again (Pacemaker's time-out is {STOP_TIMEOUT:.0f} s)"
    took = seconds(call.ended - call.began)
    return f'{how}; failed after {took}: "{call.reason}"' if call.code else f"{how}; done after {took}"


def fenced(story: Story, side: Side) -> str:
    found = story.fenced(side)
    if not found:
        return "never"
    moment, seen = found
    if seen:
        return f"{seconds(moment)} after the hang"
    return f"not before {seconds(moment)}, and only because a person looked" if side.ordered else f"not before {seconds(moment)}"


def lines(story: Story) -> list[tuple[str, list[str]]]:
    """Return the table: the subject of each line, and a text per side."""

    def each(subject: str, text: Callable[[Side], str]) -> tuple[str, list[str]]:
        return subject, [text(side) for side in story.sides]

    def notice(side: Side) -> str:
        call = side.noticed()
        return f"after {seconds(call.ended or 0)}" if call else f"never (watched for {min(story.healed, story.plan.watch):.0f} s)"

    def words(side: Side) -> str:
        call = side.noticed()
        return f'"{call.reason}"' if call else "-"

    def writes(side: Side) -> str:
        hung = side.during(story.hung, story.healed)
        return f"{sum(row.answered is not None and row.answered < story.healed for row in hung)} of {len(hung)}"

    def started(side: Side) -> str:
        return "".join(f"start took {seconds((call.ended or 0) - call.began)}" for call in side.of("start")[-1:]) or "-"

    def rows(side: Side) -> str:
        return f"{len(side.acknowledged())} acknowledged, {len(side.lost())} lost"

    return [
        each("monitors during the hang", lambda side: monitors(story, side)),
        each("hang noticed", notice),
        each("in these words", words),
        each("writes answered meanwhile", writes),
        each("stop", lambda side: stop(story, side)),
        each("fencing would begin", lambda side: fenced(story, side)),
        each("disk answers again", started),
        each("rows", rows),
    ]


def render(story: Story) -> str:
    """Return the table as text without colours, 120 columns at most."""
    rule = "-" * SUBJECT + "  " + "  ".join("-" * VALUE for _ in story.sides)
    text = [line_of("", [f"{side.name}: {side.agent}" for side in story.sides]), rule]
    for subject, values in lines(story):
        cells = [textwrap.wrap(value, VALUE) or [""] for value in values]
        text += [line_of(head, list(row)) for head, *row in zip_longest([subject], *cells, fillvalue="")]
    return "\n".join([*text, rule]) + "\n"


def line_of(subject: str, values: list[str]) -> str:
    return "  ".join([f"{subject:<{SUBJECT}}", *(f"{value:<{VALUE}}" for value in values)]).rstrip()
