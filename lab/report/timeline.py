"""A run as a picture: what was done, what the cluster did, and what the client saw, in lanes over one axis of time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lab.report import phases, svg, verdict
from lab.report.phases import Phase
from lab.report.runs import (
    Agents,
    Call,
    Condition,
    Database,
    Fault,
    Fence,
    NodeState,
    Outcome,
    Power,
    Probe,
    Reach,
    Run,
    Service,
    Session,
    Step,
    Vip,
)
from lab.report.svg import FAINT, GRID, INK, Canvas

WIDTH, LEFT, RIGHT = 1000, 172, 24
HEAD, FOOT, PAD = 118, 134, 10
STRIP, CHART, REASON, TICKS = 20, 74, 17, 22
BEFORE = 20.0  # Seconds before the injection that are shown at most.
BIN = 2.0  # Pixels that writes are put together in.
FASTEST, SLOWEST = 0.01, 30.0  # Seconds: foot and top of the charts of latency.

GREEN, RED, ORANGE, BLUE, GREY = "#009e73", "#b3261e", "#e69f00", "#0072b2", "#e8ebee"
# Nodes differ in lightness as well: the first is light, the second dark.
NODES = (("#a6cee3", INK), ("#33558b", "#ffffff"), ("#cab2d6", INK), ("#5b3c88", "#ffffff"))
OUTCOMES = {Outcome.OK: GREEN, Outcome.NOT_SENT: "#5b6875", Outcome.UNKNOWN: ORANGE, Outcome.FAILED: RED}
CONDITIONS = {
    Condition.ONLINE: ("#cfe8df", INK), Condition.STANDBY: (GREY, INK), Condition.UNCLEAN: (RED, "#ffffff"),
    Condition.OFFLINE: ("#8a949e", "#ffffff"), Condition.OFF: (INK, "#ffffff"), Condition.BOOTING: ("#f0e442", INK),
}  # fmt: skip
REACHES = {Reach.OPEN: ("#cfe8df", INK), Reach.REFUSED: (ORANGE, INK), Reach.NO_ROUTE: (RED, "#ffffff"), Reach.TIMEOUT: (INK, "#ffffff"),
           Reach.OTHER: (GREY, INK)}  # fmt: skip
SERVICES = {Service.ACCEPTING: None, Service.STARTING: ("#f0e442", INK), Service.DOWN: (RED, "#ffffff")}
CALLS = {"monitor": GREEN, "probe": "#8a949e", "start": BLUE, "stop": "#7a4fa3"}
LISTED, WRAPPED = 8, 2  # Failed operations whose reasons are told at most, and the lines that each may take.
TOGETHER = 1.0  # Seconds: faults that begin within them are told in one piece.
Style = tuple[str, str]  # The colour of a piece, and of what is written in it.


@dataclass(frozen=True)
class Piece:
    """A state that lasted; `short` stands in it where there is no room for its words."""

    begin: float
    end: float
    words: str
    style: Style
    short: str = ""


class Picture:
    """Draws one run; `x` maps seconds from the injection to pixels."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.seen = phases.of(run)
        self.begin = max(min(write.due for write in run.writes), -BEFORE)
        self.end = run.watched
        self.nodes = run.nodes()
        self.sessions = [session for session in Session if any(write.session is session for write in run.writes)]
        self.calls = [call for call in run.of(Call) if call.at <= self.end and (call.ended is None or call.ended >= self.begin)]
        self.resources = list(dict.fromkeys(call.resource for call in self.calls))
        rows = len(self.nodes) + len(self.resources) + 5  # fault, disruption, TCP probe, VIP, database
        failed: list[Call | Fence] = [call for call in self.calls if call.failed]
        failed += [fence for fence in run.of(Fence) if fence.step is Step.FAILED]
        moments = [((event.ended or 0.0) if isinstance(event, Call) else event.at, event) for event in failed]
        self.failed = [event for moment, event in sorted(moments, key=lambda one: one[0]) if 0 <= moment <= self.end]
        room = int((WIDTH - LEFT - RIGHT) / (12 * svg.CHARACTER))
        self.told = [textwrap.wrap(svg.clean(reason(event)), room, max_lines=WRAPPED, placeholder="...") for event in self.failed[:LISTED]]
        self.reasoned = (sum(map(len, self.told)) + (len(self.failed) > LISTED)) * REASON
        rows += bool(run.of(Fence)) + bool(run.of(Power))
        lanes = 6 + bool(run.of(Fence) or run.of(Power)) + bool(self.resources) + bool(self.failed) + len(self.sessions)
        height = HEAD + rows * (STRIP + 3) + len(self.sessions) * CHART + self.reasoned + lanes * PAD + FOOT
        self.agents = "our agents" if run.agents is Agents.LAB else "stock agents"
        self.canvas = Canvas(WIDTH, height, f"{run.scenario} {run.title}, {self.agents}")
        self.y = float(HEAD)

    def x(self, moment: float) -> float:
        inside = min(max(moment, self.begin), self.end)
        return LEFT + (inside - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    # Pieces

    def name(self, words: str, *, bold: bool = True, height: int = STRIP) -> None:
        self.canvas.text(24, self.y + height / 2 + 4.5, words, room=LEFT - 32, bold=bold, colour=INK if bold else FAINT)

    def strip(self, pieces: Sequence[Piece]) -> None:
        """Draw states one after the other, each with its words where they fit."""
        for piece in pieces:
            if piece.end <= self.begin or piece.begin >= self.end or piece.end <= piece.begin:
                continue
            x, width = self.x(piece.begin), max(self.x(piece.end) - self.x(piece.begin), 1.0)
            fill, ink = piece.style
            title = f"{piece.words}, from {piece.begin:.1f} s to {piece.end:.1f} s"
            self.canvas.box(x, self.y, width, STRIP, fill, title=title, stroke=svg.GROUND, stroke_width=0.6)
            words = next((words for words in (piece.words, piece.short) if words and svg.width_of(words, 12) <= width - 6), "")
            self.canvas.text(x + 4, self.y + 14.5, words, size=12, colour=ink)

    def pieces(self, states: Sequence[tuple[float, str, Style]]) -> list[Piece]:
        """Return states, told with the moment that each begins at, as pieces; equal neighbours become one."""
        found: list[Piece] = []
        for number, (begin, words, style) in enumerate(states):
            end = states[number + 1][0] if number + 1 < len(states) else self.end
            same = bool(found) and (found[-1].words, found[-1].style) == (words, style)
            found.append(Piece(found.pop().begin if same else begin, end, words, style, words.split(" on ")[0]))
        return found

    def node_style(self, node: str) -> Style:
        return NODES[self.nodes.index(node) % len(NODES)]

    def mark(self, moment: float, y: float, number: str) -> None:
        """Draw a cross, with the number of the reason: something failed here."""
        x = self.x(moment)
        self.canvas.path(f"M{x - 4:.1f} {y - 4:.1f} l8 8 m0 -8 l-8 8", RED, 2.2)
        self.canvas.text(x + 6, y + 4.5, number, size=12, colour=RED, bold=True, halo=True)

    def number(self, event: Call | Fence) -> str:
        """Return the number that the reason of a failure is told with; none for those after the last that is told."""
        return str(self.failed.index(event) + 1) if event in self.failed[:LISTED] else ""

    # Lanes

    def fault(self) -> None:
        self.name("fault")
        groups: list[list[Fault]] = []
        for fault in (fault for fault in self.run.of(Fault) if fault.at <= self.end):
            if groups and fault.at - groups[-1][0].at <= TOGETHER:
                groups[-1].append(fault)
            else:
                groups.append([fault])
        for faults in groups:
            until = max(self.end if fault.until is None else fault.until for fault in faults)
            words = "; ".join(fault.what for fault in faults)
            x, width = self.x(faults[0].at), max(self.x(until) - self.x(faults[0].at), 3.0)
            self.canvas.box(x, self.y, width, STRIP, RED, title=words)
            if width - 8 >= WIDTH - RIGHT - x - width - 5 or svg.width_of(words, 12) <= width - 8:
                self.canvas.text(x + 5, self.y + 14.5, words, size=12, colour="#ffffff", room=width - 8, bold=True)
            else:
                self.canvas.text(x + width + 5, self.y + 14.5, words, size=12, colour=RED, bold=True)

    def disruption(self) -> None:
        """Draw the gaps of the worse stream, cut into the phases."""
        self.name("disruption")
        seen, cursor = self.seen, -math.inf
        ends = {Phase.STALL: math.inf} if seen.phases[Phase.STALL] else phases.boundaries(seen.moments)
        for phase, moment in ends.items():
            known = moment is not None and moment >= cursor
            end = moment if known and moment is not None else math.inf
            if not (seen.phases[phase] or phase is seen.open):
                continue
            for gap in seen.gaps:
                begin, stop = max(gap.begin, cursor), min(gap.end, end)
                if stop > begin:
                    width = max(self.x(stop) - self.x(begin), 1.0)
                    self.canvas.phase(phase, self.x(begin), self.y, width, STRIP, f"{phase.value}: {seen.phases[phase]:.1f} s")
                    words = phase.value if phase is not seen.open else f"{phase.value}, without an end"
                    longer = words if phase is seen.open else f"{words} {stop - begin:.0f} s"
                    told = next((told for told in (longer, words) if svg.width_of(told, 12) < width - 6), "")
                    self.canvas.text(self.x(begin) + width / 2, self.y + 14.5, told, size=12, anchor="middle", halo=True, bold=True)
            cursor = end if known else cursor

    def client(self, session: Session) -> None:
        """Draw a bar per write: its length is the latency, its colour the outcome; the worst one where several share a place."""
        top, foot = self.y, self.y + CHART - 4
        self.name("client writes", height=STRIP)
        self.canvas.text(24, top + 32, phases.STREAMS[session], size=11, colour=FAINT, room=LEFT - 24 - 44)
        for latency in (0.1, 1.0, 10.0):
            y = foot - self.length(latency)
            self.canvas.line(LEFT, y, WIDTH - RIGHT, y, GRID, 0.7)
            self.canvas.text(LEFT - 6, y + 4, f"{latency:g} s", size=11, colour=FAINT, anchor="end")
        bins: dict[int, tuple[int, float]] = {}
        ranks = list(OUTCOMES)
        for write in self.run.writes:
            if write.session is session and self.begin <= write.due <= self.end:
                place = int((self.x(write.due) - LEFT) / BIN)
                worst = (ranks.index(write.outcome), self.end - write.due if write.latency is None else write.latency)
                bins[place] = max(bins.get(place, worst), worst)
        for rank, outcome in enumerate(ranks):
            strokes = [f"M{LEFT + (place + 0.5) * BIN:.0f} {foot:.1f}V{foot - self.length(latency):.1f}"
                       for place, (kind, latency) in sorted(bins.items()) if kind == rank]  # fmt: skip
            if strokes:
                self.canvas.path("".join(strokes), OUTCOMES[outcome], 1.6)
            if outcome is not Outcome.OK:
                self.heads(rank, bins, top)
        self.canvas.line(LEFT, foot, WIDTH - RIGHT, foot, FAINT, 0.8)

    def heads(self, rank: int, bins: dict[int, tuple[int, float]], top: float) -> None:
        """Mark what was not answered well above its bar, by form too: failed is full, unknown is hollow, not sent is low."""
        outcome = list(OUTCOMES)[rank]
        places = [place for place, (kind, _) in sorted(bins.items()) if kind == rank]
        marks = "".join(head(LEFT + place * BIN, top + 1, BIN, outcome) for place in places)
        if marks:
            self.canvas.path(marks, OUTCOMES[outcome], 0.8, fill=svg.GROUND if outcome is Outcome.UNKNOWN else OUTCOMES[outcome])

    @staticmethod
    def length(latency: float) -> float:
        inside = min(max(latency, FASTEST), SLOWEST)
        return 2 + (CHART - 16) * math.log(inside / FASTEST) / math.log(SLOWEST / FASTEST)

    def probes(self) -> None:
        self.name("TCP probe", bold=False)
        found: Sequence[Probe] = sorted(self.run.probes, key=lambda probe: probe.at)
        self.strip(self.pieces([(probe.at, probe.reach.value, REACHES[probe.reach]) for probe in found]))

    def vip(self) -> None:
        self.name("VIP")
        states: list[tuple[float, str, Style]] = [(self.begin, self.run.active, self.node_style(self.run.active))]
        states += [(vip.at, vip.node, self.node_style(vip.node)) if vip.node else (vip.at, "nowhere", (RED, "#ffffff"))
                   for vip in self.run.of(Vip)]  # fmt: skip
        self.strip(self.pieces(states))

    def database(self) -> None:
        self.name("database")
        states: list[tuple[float, str, Style]] = [(self.begin, self.run.active, self.node_style(self.run.active))]
        for state in self.run.of(Database):
            words = state.node if state.service is Service.ACCEPTING else f"{state.service.value} on {state.node}"
            states.append((state.at, words, SERVICES[state.service] or self.node_style(state.node)))
        self.strip(self.pieces(states))

    def node(self, node: str) -> None:
        self.name(f"node {node}")
        states: list[tuple[float, str, Style]] = [(self.begin, Condition.ONLINE.value, CONDITIONS[Condition.ONLINE])]
        states += [(state.at, state.condition.value, CONDITIONS[state.condition]) for state in self.run.of(NodeState) if state.node == node]
        self.strip(self.pieces(states))

    def fencing(self) -> None:
        """Draw what each fencing waited for, and how long it took."""
        self.name("fencing")
        fences = self.run.of(Fence)
        for target in self.nodes:
            began, called = None, False
            for fence in (fence for fence in fences if fence.target == target):
                if fence.step in (Step.REQUESTED, Step.CALLED) and not called:
                    if began is not None:
                        self.strip([Piece(began, fence.at, f"{target}: delay", ("#f0e442", INK), "delay")])
                    began, called = fence.at, fence.step is Step.CALLED
                elif fence.step is Step.CONFIRMED and began is not None:
                    self.strip([Piece(began, fence.at, f"{target}: fencing", ("#cc79a7", INK), target)])
                    self.canvas.text(self.x(fence.at) + 5, self.y + 14.5, f"{target} confirmed off at {fence.at:.0f} s", size=12, halo=True)
                    began, called = None, False
            if began is not None:
                self.strip([Piece(began, self.end, f"{target}: not confirmed", ("#cc79a7", INK), target)])
        for fence in fences:
            if fence.step is Step.FAILED and self.begin <= fence.at <= self.end:
                self.mark(fence.at, self.y + STRIP / 2, self.number(fence))

    def power(self) -> None:
        """Draw the switches of power, with one text for those that lie side by side."""
        self.name("power", bold=False)
        groups: list[tuple[float, list[str]]] = []
        for power in self.run.of(Power):
            if self.begin <= power.at <= self.end:
                x, words = self.x(power.at), f"{power.node} {'on' if power.on else 'off'}"
                self.canvas.line(x, self.y + 2, x, self.y + STRIP - 2, INK, 2.5)
                if groups and x - groups[-1][0] < 16 + svg.width_of(", ".join(groups[-1][1]), 12):
                    groups[-1][1].append(words)
                else:
                    groups.append((x, [words]))
        for x, found in groups:
            self.canvas.text(x + 6, self.y + 14.5, ", ".join(found), size=12, halo=True)

    def resource(self, resource: str) -> None:
        """Draw the operations of a resource: monitors are slim, others tall; failures have a cross, and the number of their reason."""
        self.name(resource, bold=False)
        middle = self.y + STRIP / 2
        self.canvas.line(LEFT, middle, WIDTH - RIGHT, middle, GRID, 0.8)
        mine = [call for call in self.calls if call.resource == resource]
        for call in mine:
            ended = call.ended if call.ended is not None else self.end
            x, width = self.x(call.at), max(self.x(ended) - self.x(call.at), 2.0)
            slim = call.action in ("monitor", "probe")
            title = f"{call.action} on {call.node}, {call.at:.1f} s to {ended:.1f} s: {call.code} {call.reason}"
            self.canvas.box(x, middle - (4 if slim else 8), width, 8 if slim else 16, self.call_colour(call), title=title)
            if not slim and svg.width_of(call.action, 12) <= width - 6:
                self.canvas.text(x + 3, middle + 4.5, call.action, size=12, colour=svg.GROUND)
        for call in mine:
            if call.failed and call.ended is not None:
                self.mark(call.ended, middle, self.number(call))

    def reasons(self) -> None:
        """Tell why operations failed, below the axis."""
        y = self.y + TICKS + 12
        for number, lines in enumerate(self.told, 1):
            self.canvas.text(LEFT - 8, y, str(number), size=12, colour=RED, bold=True, anchor="end")
            for words in lines:
                self.canvas.text(LEFT, y, words, size=12, colour=RED)
                y += REASON
        if len(self.failed) > LISTED:
            self.canvas.text(LEFT, y, f"and {len(self.failed) - LISTED} more", size=12, colour=RED)

    @staticmethod
    def call_colour(call: Call) -> str:
        if call.failed:
            return RED
        if call.ended is None or call.code == 190:
            return ORANGE
        return CALLS.get(call.action, FAINT)

    # The whole

    def frame(self) -> None:
        run, canvas = self.run, self.canvas
        bottom = canvas.height - FOOT - (self.reasoned + PAD if self.failed else 0)
        canvas.text(24, 34, f"{run.scenario}: {run.title}{f' ({run.kind})' if run.kind else ''}, {self.agents}", size=20, bold=True)
        if self.seen.ended:
            words = f"no write acknowledged for {self.seen.seconds:.1f} s" if self.seen.gaps else "no disruption"
        else:
            words = f"writes never came back (watched for {run.watched:.0f} s)"
        words = f"new connections alone: {words}" if self.seen.alone else words
        noticed = phases.noticed(run.events)
        words += "; the cluster never noticed" if noticed is None else f"; noticed after {noticed:.1f} s"
        audit = run.audit
        rows = f"{audit.acknowledged} rows acknowledged, {audit.lost} lost" if audit else "rows not read back"
        canvas.text(24, 58, words, size=14)
        canvas.text(24, 78, f"{rows}; power-offs: {verdict.power_cycles(run)}", size=14)
        canvas.text(24, 98, f"profile {run.profile.value}, {run.machine.accelerator}, {run.started:%Y-%m-%d}; seconds from the injection",
                    size=12, colour=FAINT)  # fmt: skip
        for moment in svg.ticks(self.begin, self.end, 16):
            canvas.line(self.x(moment), HEAD - 6, self.x(moment), bottom)
            canvas.text(self.x(moment), bottom + 18, f"{moment} s", size=12, colour=FAINT, anchor="middle")
        canvas.line(self.x(0), HEAD - 6, self.x(0), bottom, RED, 1.5, "5 4")

    def legend(self) -> None:
        canvas, y, x = self.canvas, self.canvas.height - FOOT + 74, 24.0
        with canvas.group("legend"):
            for phase in Phase:
                if self.seen.phases[phase] or phase is self.seen.open:
                    canvas.phase(phase, x, y - 38, 20, 11)
                    x += 26 + canvas.text(x + 26, y - 28, phase.value, size=12, colour=FAINT) + 8
            x = 24.0
            for outcome, colour in OUTCOMES.items():
                canvas.box(x, y - 10, 4, 12, colour)
                if outcome is not Outcome.OK:
                    canvas.path(head(x, y - 17, 4, outcome), colour, 0.8, fill=svg.GROUND if outcome is Outcome.UNKNOWN else colour)
                x += 10 + canvas.text(x + 10, y, f"write {outcome.value}", size=12, colour=FAINT) + 8
            x = 24.0
            for colour, words in ((GREEN, "monitor ok"), (ORANGE, "degraded, or not ended"), (RED, "failed (with a cross)"),
                                  (BLUE, "start"), (CALLS["stop"], "stop")):  # fmt: skip
                canvas.box(x, y + 13, 12, 10, colour)
                x += 18 + canvas.text(x + 18, y + 22, words, size=12, colour=FAINT) + 8
            words = "The length of a write's bar is its latency, on a logarithmic scale; a mark above it: it was not acknowledged."
            canvas.text(24, y + 44, words, size=12, colour=FAINT)

    def lane(self, name: str, *draws: tuple[int, Callable[[], None]]) -> None:
        """Draw the rows of a lane, each with its height."""
        with self.canvas.group(f"lane-{name}"):
            self.canvas.line(24, self.y - PAD / 2, WIDTH - RIGHT, self.y - PAD / 2)
            for height, draw in draws:
                draw()
                self.y += height
        self.y += PAD

    def render(self) -> str:
        row = STRIP + 3
        self.frame()
        self.lane("fault", (row, self.fault))
        self.lane("disruption", (row, self.disruption))
        for session in self.sessions:
            self.lane(f"client-{session.value}", (CHART, partial(self.client, session)))
        self.lane("probe", (row, self.probes))
        self.lane("vip", (row, self.vip))
        self.lane("database", (row, self.database))
        self.lane("nodes", *((row, partial(self.node, node)) for node in self.nodes))
        shoots = ((Fence, self.fencing), (Power, self.power))
        if rows := [(row, draw) for kind, draw in shoots if any(isinstance(event, kind) for event in self.run.events)]:
            self.lane("fencing", *rows)
        if self.resources:
            self.lane("resources", *((row, partial(self.resource, resource)) for resource in self.resources))
        if self.failed:
            self.lane("reasons", (self.reasoned, self.reasons))
        self.legend()
        return self.canvas.render()


def reason(event: Call | Fence) -> str:
    if isinstance(event, Call):
        return f"{event.resource} {event.action} on {event.node}, {event.ended:.1f} s: {event.reason or f'exit code {event.code}'}"
    return f"fencing of {event.target}, {event.at:.1f} s: {event.reason or 'failed'}"


def head(x: float, y: float, width: float, outcome: Outcome) -> str:
    """Return the path of a mark for a write that was not acknowledged."""
    height = 2 if outcome is Outcome.NOT_SENT else 6
    return f"M{x:.0f} {y + 6 - height:.1f}h{width:.0f}v{height}h-{width:.0f}z"


def render(run: Run) -> str:
    return Picture(run).render()
