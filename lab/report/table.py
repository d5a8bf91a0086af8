"""The results as Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from lab.report import goals, scenarios, summary, verdict
from lab.report.phases import Phase
from lab.report.runs import Agents, Audit, Machine, Profile, Run
from lab.report.scenarios import Scenario
from lab.report.store import Broken
from lab.report.summary import NO_KIND, Line, Spread, Summary

SIDES = {Agents.STOCK: "stock", Agents.LAB: "ours"}
TITLES = {Profile.DOCUMENT: "Monitor intervals and fencing delays of the lab document",
          Profile.RECOMMENDED: "Recommended monitor intervals and fencing delays"}  # fmt: skip
COUNTS: tuple[tuple[str, Callable[[Audit], int]], ...] = (
    ("lost", lambda audit: audit.lost), ("ghosts", lambda audit: audit.ghosts),
    ("duplicates", lambda audit: audit.duplicates), ("overlaps", lambda audit: audit.overlaps),
)  # fmt: skip
NONE, NEVER, NO_RUN = "-", "never", "no run"
COMMIT, RECIPE, NOT_TOLD = "commit", "recipe", "not told"  # Of Machine.versions: what the cluster was made of and by, not what it ran on.
NEW = "new connections"
EXPLANATION = """\
Seconds without an acknowledged write, as the client saw them (on emulated nodes, stretches of five seconds at least); the median, and
the range over repeated runs in brackets. A disruption that did not end while the run was watched is `never`. Medians of phases need not
add up to the median of the whole. The client keeps some sessions and opens others anew, and the worse of these two streams counts: *new
connections* says that the kept sessions went on. Runs of different kinds have a line each, and only their range is told together.

A phase has the seconds of disruption that fell into it: *detection* until the cluster noticed, *stop* until it asked for
fencing (or began to start again), *fence delay* until the fence device was called, *fencing* until that was confirmed, *start* until
address and database were there, *reconnect* until a write was acknowledged. A *stall* ended by itself, with nothing noticed.
*Noticed after* is counted from the fault, whether the client missed anything or not: an operation of a resource failed, a stop or start
began, a node was lost or a fencing asked for. A monitor that calls a resource degraded is good for the cluster, which then does
nothing.

*power-offs*: by the cluster; those that the scenario itself made are left out. *lost*: acknowledged, and not there. *ghosts*: never sent,
or told to have failed, and there. *duplicates*: there more than once. *overlaps*: pairs of servers that wrote in overlapping time."""


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


def disruption(found: Summary | None, *, parted: bool = False) -> str:
    """Return median and range, the range alone of what is parted, and in how many runs only new connections missed anything."""
    if not found:
        return NO_RUN
    whole, many = found.disruption, len(found.runs)
    text = between(whole) if parted else told(whole, repeated=many > 1)
    more = [f"watched {found.watched:.0f} s"] if math.isinf(whole.high) else []
    if found.alone:
        more.append(NEW if found.alone == many else f"{NEW} in {found.alone} of {many}")
    return ", ".join([text, *more])


def between(found: Spread) -> str:
    low, high = figure(found.low), figure(found.high)
    return low if low == high else f"{low}-{high}"


def ratio(stock: Summary | None, ours: Summary | None) -> str:
    """Return what ours takes of what stock takes."""
    if not stock or not ours:
        return NONE
    ends, other = ours.disruption.median, stock.disruption.median
    if math.isinf(ends) or other == 0:
        return NONE
    return "ends" if math.isinf(other) else f"{ends / other:.2f}"


def rows_of(found: Summary | None) -> str:
    """Return the four counts of the audits, and of how many runs these are where the rows of some could not be read back."""
    if not found:
        return NONE
    audits, many = found.audits, len(found.runs)
    if not audits:
        return "not read back"
    counts = " / ".join(str(sum(map(count, audits))) for _, count in COUNTS)
    return counts if len(audits) == many else f"{counts} in {len(audits)} of {many}"


def numbers(found: Summary | None, wanted: int) -> str:
    """Return how many runs there are, and how many there should be where that is more."""
    count = len(found.runs) if found else 0
    return str(count) if count >= wanted else f"{count} of {wanted}"


def side_by_side(lines: Sequence[Line]) -> list[str]:
    """Return the table with a line per scenario, and per kind of those that have kinds."""
    head = ["scenario", "stock, s", "ours, s", "ours / stock", "runs stock", "runs ours", "power-offs stock", "power-offs ours",
            "rows stock: " + " / ".join(name for name, _ in COUNTS), "rows ours"]  # fmt: skip
    found = []
    for line in lines:
        stock, ours = (line.sides[agents] for agents in SIDES)
        name = f"**{escaped(line.scenario.ident)}** " + escaped(line.scenario.title if line.kind is None else f"- {line.kind or NO_KIND}")
        wanted = line.scenario.repeats if line.kind is None else 0
        seconds = [disruption(side, parted=line.parted) for side in (stock, ours)]
        cycles = [side.power_cycles() if side else NONE for side in (stock, ours)]
        found.append([name, *seconds, NONE if line.parted else ratio(stock, ours), numbers(stock, wanted), numbers(ours, wanted), *cycles,
                      rows_of(stock), rows_of(ours)])  # fmt: skip
    return grid(head, found)


def parts(lines: Sequence[Line]) -> list[str]:
    """Return the table with a line per scenario or kind, and agents: what the time went into."""
    head = ["scenario", "agents", "disruption, s", "noticed after", *(phase.value for phase in Phase), "fence device called after"]
    found = []
    for line in lines:
        name = escaped(line.scenario.ident + ("" if line.kind is None else f", {line.kind or NO_KIND}"))
        for agents, side in SIDES.items():
            one = line.sides[agents]
            if one and not line.parted:
                many = len(one.runs) > 1
                cells = [told(one.phase(phase), repeated=many) for phase in Phase]
                called = told(one.fence_called(), repeated=many)
                found.append([name, side, told(one.disruption, repeated=many), told(one.noticed(), repeated=many),
                              *(NONE if cell == "0.0" else cell for cell in cells), NONE if called == NEVER else called])  # fmt: skip
    return grid(head, found, 2)


def machines(kept: Sequence[Run]) -> list[str]:
    """Return what the runs ran on and which commits they are of, and a warning where they are not to be put together."""
    found = Counter(platform(run.machine) for run in kept)
    lines = [f"- {count} {'run' if count == 1 else 'runs'} on: {escaped(text)}" for text, count in sorted(found.items())]
    commits = Counter(run.machine.versions.get(COMMIT, NOT_TOLD) for run in kept)
    if set(commits) - {NOT_TOLD}:
        lines.append("- commits: " + ", ".join(f"{escaped(commit)} ({count})" for commit, count in sorted(commits.items())))
    warnings = ["These are different machines: their seconds cannot be compared with each other."] if len(found) > 1 else []
    warnings += [f"The runs of {mixed} are of different recipes: their medians mix what is not the same." for mixed in mixtures(kept)]
    return [*lines, *(part for warning in warnings for part in ("", f"**{escaped(warning)}**"))]


def platform(machine: Machine) -> str:
    versions = [f"{name} {version}" for name, version in sorted(machine.versions.items()) if name not in (COMMIT, RECIPE)]
    return ", ".join([machine.accelerator, f"{machine.cores} cores", f"{machine.memory_mib} MiB", *versions])


def mixtures(kept: Sequence[Run]) -> list[str]:
    """Return which runs are put together though the clusters that they ran on were made by different recipes."""
    recipes: dict[str, set[str]] = {}
    for run in kept:
        group = f"{run.scenario}, {SIDES[run.agents]}, profile {run.profile.value}"
        recipes.setdefault(group, set()).add(run.machine.versions.get(RECIPE, NOT_TOLD))
    return [f"{group} ({', '.join(sorted(found))})" for group, found in recipes.items() if len(found) > 1]


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
        told_of = summary.lines(kept, profile, wanted)
        lines += ["", f"## {TITLES[profile]}", "", *side_by_side(told_of)]
        if any(run.profile is profile for run in kept):
            lines += ["", "What the time went into:", "", *parts(told_of)]
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
