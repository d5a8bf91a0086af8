"""The results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lab.report import goals, scenarios, summary, verdict
from lab.report.phases import Phase
from lab.report.runs import Agents, Audit, Profile, Run
from lab.report.scenarios import Scenario
from lab.report.store import Broken
from lab.report.summary import Spread, Summary

SIDES = {Agents.STOCK: "stock", Agents.LAB: "ours"}
TITLES = {Profile.DOCUMENT: "Monitor intervals and fencing delays of the lab document",
          Profile.RECOMMENDED: "Recommended monitor intervals and fencing delays"}  # fmt: skip
COUNTS: tuple[tuple[str, Callable[[Audit], int]], ...] = (
    ("lost", lambda audit: audit.lost), ("ghosts", lambda audit: audit.ghosts),
    ("duplicates", lambda audit: audit.duplicates), ("overlaps", lambda audit: audit.overlaps),
)  # fmt: skip
NONE, NEVER, NO_RUN = "-", "never", "no run"
EXPLANATION = """\
Seconds without an acknowledged write, as the client saw them; the median, and the range over repeated runs in brackets. A disruption
that did not end while the run was watched is `never`. Medians of phases need not add up to the median of the whole.
A phase has the seconds of disruption that fell into it: *detection* until the cluster noticed, *stop* until it asked for
fencing (or began to start again), *fence delay* until the fence device was called, *fencing* until that was confirmed, *start* until
address and database were there, *reconnect* until a write was acknowledged. A *stall* ended by itself, with nothing noticed.
*lost*: acknowledged, and not there. *ghosts*: never sent, or told to have failed, and there. *duplicates*: there more than once.
*overlaps*: pairs of servers that wrote in overlapping time."""


def escaped(text: str) -> str:
    """Return a text that cannot end a cell."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """Return the lines of a table whose first columns are texts, and the others figures."""
    return [row(head), row(["---"] * texts + ["--:"] * (len(head) - texts)), *map(row, rows)]


def figure(value: float) -> str:
    return NEVER if math.isinf(value) else f"{value:.1f}"


def told(found: Spread, *, repeated: bool) -> str:
    """Return median and range, if there is one."""
    same = not repeated or figure(found.low) == figure(found.high)
    return figure(found.median) + ("" if same else f" ({figure(found.low)}-{figure(found.high)})")


def disruption(found: Summary | None) -> str:
    if not found:
        return NO_RUN
    text = told(found.disruption, repeated=len(found.runs) > 1)
    return f"{text}, watched {found.watched:.0f} s" if math.isinf(found.disruption.high) else text


def ratio(stock: Summary | None, ours: Summary | None) -> str:
    """Return what ours takes of what stock takes."""
    if not stock or not ours:
        return NONE
    ends, other = ours.disruption.median, stock.disruption.median
    if math.isinf(ends) or other == 0:
        return NONE
    return "ends" if math.isinf(other) else f"{ends / other:.2f}"


def rows_of(found: Summary | None) -> str:
    """Return the four counts of the audit; a question mark where the rows of a run could not be read back."""
    if not found:
        return NONE
    counts = [found.rows(count) for _, count in COUNTS]
    return " / ".join("?" if count is None else str(count) for count in counts)


def numbers(found: Summary | None, wanted: Scenario) -> str:
    """Return how many runs there are, and how many there should be where that is more."""
    count = len(found.runs) if found else 0
    return str(count) if count >= wanted.repeats else f"{count} of {wanted.repeats}"


def cycles(found: Summary | None) -> str:
    if not found:
        return NONE
    counts = found.power_cycles()
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def side_by_side(kept: Sequence[Run], profile: Profile, wanted: Sequence[Scenario]) -> list[str]:
    """Return the table with a line per scenario."""
    head = ["scenario", "stock, s", "ours, s", "ours / stock", "runs stock", "runs ours", "power-offs stock", "power-offs ours",
            "rows stock: " + " / ".join(name for name, _ in COUNTS), "rows ours"]  # fmt: skip
    lines = []
    for scenario in wanted:
        stock, ours = (summary.of(kept, scenario.ident, agents, profile) for agents in SIDES)
        lines.append([f"**{escaped(scenario.ident)}** {escaped(scenario.title)}", disruption(stock), disruption(ours), ratio(stock, ours),
                      numbers(stock, scenario), numbers(ours, scenario), cycles(stock), cycles(ours),
                      rows_of(stock), rows_of(ours)])  # fmt: skip
    return grid(head, lines)


def parts(kept: Sequence[Run], profile: Profile, wanted: Sequence[Scenario]) -> list[str]:
    """Return the table with a line per scenario and agents: what the time went into."""
    head = ["scenario", "agents", "disruption, s", *(phase.value for phase in Phase), "fence device called after"]
    lines = []
    for scenario in wanted:
        for agents, side in SIDES.items():
            found = summary.of(kept, scenario.ident, agents, profile)
            if found:
                many = len(found.runs) > 1
                cells = [told(found.phase(phase), repeated=many) for phase in Phase]
                called = told(found.fence_called(), repeated=many)
                lines.append([escaped(scenario.ident), side, told(found.disruption, repeated=many),
                              *(NONE if cell == "0.0" else cell for cell in cells), NONE if called == NEVER else called])  # fmt: skip
    return grid(head, lines, 2)


def machines(kept: Sequence[Run]) -> list[str]:
    """Return what the runs ran on, and a warning if that was not the same."""
    found: dict[str, int] = {}
    for run in kept:
        machine = run.machine
        versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
        text = f"{machine.accelerator}, {machine.cores} cores, {machine.memory_mib} MiB" + (f", {versions}" if versions else "")
        found[text] = found.get(text, 0) + 1
    lines = [f"- {count} {'run' if count == 1 else 'runs'} on: {escaped(text)}" for text, count in sorted(found.items())]
    warning = ["", "**These are different machines: their seconds cannot be compared with each other.**"] if len(found) > 1 else []
    return [*lines, *warning]


def demands(kept: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Return what runs fail of what their scenarios demand."""
    return [f"- {escaped(name)}: {escaped('; '.join(why))}" for run, name in zip(kept, names) if (why := verdict.failings(run))]


def all_of(kept: Sequence[Run]) -> list[Scenario]:
    """Return the scenarios of a whole report, and those beyond them that have runs."""
    known = {scenario.ident for scenario in scenarios.ALL}
    more = {run.scenario: Scenario(run.scenario, run.title) for run in kept if run.scenario not in known}
    return sorted([*scenarios.ALL, *more.values()], key=lambda scenario: scenarios.order(scenario.ident))


def profiles(kept: Sequence[Run]) -> list[Profile]:
    """Return the profiles with runs; the document's where there is no run at all."""
    return [profile for profile in Profile if any(run.profile is profile for run in kept)] or [Profile.DOCUMENT]


def render(kept: Sequence[Run], names: Sequence[str] = (), broken: Sequence[Broken] = ()) -> str:
    """Return the page for these runs, which have these names."""
    wanted = all_of(kept)
    lines = ["# Two-node lab: stock agents and ours", "", *EXPLANATION.splitlines()]
    for profile in profiles(kept):
        lines += ["", f"## {TITLES[profile]}", "", *side_by_side(kept, profile, wanted)]
        if any(run.profile is profile for run in kept):
            lines += ["", "What the time went into:", "", *parts(kept, profile, wanted)]
    if reached := goals.lines(kept):
        lines += ["", "## Goals", "", "Our agents, under the recommended profile:", "", *reached]
    lines += ["", "## Runs", "", *(machines(kept) or ["There is no run yet."])]
    bad = demands(kept, names or [run.name for run in kept])
    if bad:
        lines += ["", "These fail what their scenario demands:", "", *bad]
    elif kept:
        lines += ["", "All runs meet what their scenarios demand."]
    if broken:
        lines += ["", "These files are no runs, and are left out:", ""]
        lines += [f"- {escaped(one.path.name)}: {escaped(one.why)}" for one in broken]
    return "\n".join(lines) + "\n"
