"""The table and the pictures of a report, and the command that makes them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.client import audit, ledger, probe, writer
from lab.report import bars, goals, scenarios, seen, store, summary, svg, table, timeline
from lab.report.runs import Agents, Audit, Bound, Call, Event, Fault, Fence, Outcome, Probe, Profile, Reach, Run, Session, Step, Vip, Write
from lab.scenarios import client
from tests.lab.test_report_phases import FAR, STORIES, story, writes

TREE = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
LONG = "storage hang: write on /dev/mapper/vg--cluster1-lv--data has no answer for 25 s & <more> " * 4


def repeated() -> list[Run]:
    """Return S4 three times with stock agents and twice with ours, S6 with both, S2b and S7 once."""
    stock = [moved(story("S4", again=day), by) for day, by in enumerate((0.0, 4.0, 1.0))]
    ours = [moved(story("S4", Agents.LAB, again=day), by) for day, by in enumerate((-30.1, -24.1))]
    return [*stock, *ours, story("S6 stock"), story("S6 best", Agents.LAB), story("S2b"), story("S7", audit=None)]


def moved(run: Run, by: float) -> Run:
    """Return a run whose service came back so much later."""
    return dataclasses.replace(run, writes=writes((0.6, 44.7 + by)))


def cells(page: str, first: str, number: int = 0) -> list[str]:
    """Return the cells of the line that begins so; `number` tells which of several."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in lines[number].strip("|").split(" | ")]


@pytest.mark.parametrize("scenario, told", [
    ("**S2b**", ["0.0", "no run", "-", "1", "0 of 1", "1", "-", "0 / 0 / 0 / 0", "-"]),
    ("**S3**", ["no run", "no run", "-", "0 of 1", "0 of 1", "-", "-", "-", "-"]),
    ("**S4**", ["45.1 (44.1-48.1)", "17.0 (14.0-20.0)", "0.38", "3", "2 of 3", "0", "0", "0 / 0 / 0 / 0", "0 / 0 / 0 / 0"]),
    ("**S6**", ["never, watched 420 s", "229.2", "ends", "1 of 3", "1 of 3", "0", "1", "0 / 0 / 0 / 0", "0 / 0 / 0 / 0"]),
    ("**S7**", ["15.5", "no run", "-", "1 of 3", "0 of 3", "0", "-", "not read back", "-"]),
])  # fmt: skip
def test_both_sides_of_a_scenario(scenario: str, told: list[str]) -> None:
    assert cells(table.render(repeated()), scenario)[1:] == told


@pytest.mark.parametrize("scenario, number, told", [
    ("S4", 0, ["stock", "45.1 (44.1-48.1)", "28.1", "27.5", "5.5", "-", "-", "10.4", "1.7 (0.7-4.7)", "-", "-"]),
    ("S6", 0, ["stock", "never", "never", "never", "-", "-", "-", "-", "-", "-", "-"]),
    ("S6", 1, ["ours", "229.2", "40.2", "40.6", "122.0", "16.0", "14.4", "35.4", "0.8", "-", "178.2"]),
    ("S2b", 0, ["stock", "0.0", "11.0", "-", "-", "-", "-", "-", "-", "-", "19.0"]),
    ("S7", 0, ["stock", "15.5", "never", "-", "-", "-", "-", "-", "-", "15.5", "-"]),
])  # fmt: skip
def test_what_the_time_went_into(scenario: str, number: int, told: list[str]) -> None:
    assert cells(table.render(repeated()), f"{scenario} |", number)[1:] == told


def test_the_typical_run_is_the_one_in_the_middle_and_the_shorter_of_two() -> None:
    for agents, seconds in ((Agents.STOCK, 45.1), (Agents.LAB, 14.0)):
        found = summary.of(repeated(), "S4", agents, Profile.DOCUMENT)
        assert found
        assert found.typical.seconds == pytest.approx(seconds)


def test_never_is_longer_than_any() -> None:
    """One of three that does not end shows in the range, two of them in the median."""
    ended = story("S6 best")
    endless = [dataclasses.replace(story("S6 stock", again=day)) for day in (1, 2)]
    page = table.render([ended, endless[0], dataclasses.replace(ended, notes="again")])
    assert cells(page, "**S6**")[1] == "229.2 (229.2-never), watched 420 s"
    assert cells(table.render([ended, *endless]), "**S6**")[1] == "never (229.2-never), watched 420 s"


HEAD = "| scenario | stock, s | ours, s | ours / stock | runs stock | runs ours | power-offs stock | power-offs ours "
HEAD += "| rows stock: lost / ghosts / duplicates / overlaps | rows ours |"
PARTS = "| scenario | agents | disruption, s | noticed after | detection | stop | fence delay | fencing | start | reconnect | stall "
PARTS += "| fence device called after |"


def test_the_whole_page_of_one_run() -> None:
    """Only the lines of what has no run are left out here."""
    page = table.render([story("S4", audit=Audit(74, 2, 0, 1, 0))], ["name|of it"], [store.Broken(Path("x/cut.json"), "no JSON: end")])
    lines = [line for line in page.splitlines() if "| no run | no run |" not in line]
    assert lines[:2] == ["# Two-node lab: stock agents and ours", ""]
    assert lines[lines.index("## Monitor intervals and fencing delays of the lab document"):] == [
        "## Monitor intervals and fencing delays of the lab document",
        "",
        HEAD,
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
        "| **S4** kill -9 of the postmaster | 44.1 | no run | - | 1 of 3 | 0 of 3 | 0 | - | 2 / 0 / 1 / 0 | - |",
        "",
        "What the time went into:",
        "",
        PARTS,
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
        "| S4 | stock | 44.1 | 28.1 | 27.5 | 5.5 | - | - | 10.4 | 0.7 | - | - |",
        "",
        "## Runs",
        "",
        "- 1 run on: kvm, 2 cores, 23900 MiB, pacemaker 2.1.5, postgresql 15",
        "",
        "These fail what their scenario demands:",
        "",
        "- name\\|of it: 2 acknowledged rows lost; 1 rows twice",
        "",
        "These files are no runs, and are left out:",
        "",
        "- cut.json: no JSON: end",
    ]  # fmt: skip
    assert page.count("| no run | no run |") == len(scenarios.ALL) - 1


def test_the_page_of_nothing() -> None:
    page = table.render([])
    assert page.count("| no run | no run |") == len(scenarios.ALL)
    assert page.endswith("## Runs\n\nThere is no run yet.\n")
    assert "What the time went into:" not in page


def test_a_page_for_each_profile_and_a_scenario_of_ones_own() -> None:
    other = dataclasses.replace(story("S4", profile=Profile.RECOMMENDED), scenario="S6s", title="S6 | with\na standby")
    page = table.render([story("S4"), other])
    assert page.index(table.TITLES[Profile.DOCUMENT]) < page.index(table.TITLES[Profile.RECOMMENDED])
    assert "| **S6s** S6 \\| with a standby | 44.1 | no run |" in page
    assert page.endswith("All runs meet what their scenarios demand.\n")


CALLED = Bound(300.0, fence_call=180.0)
NO_RUNS = "not to be told yet"


def recommended(name: str, agents: Agents, by: float = 0.0, bound: Bound | None = None) -> Run:
    run = story(name, agents, Profile.RECOMMENDED, bound=bound)
    return moved(run, by) if by else run


def named(scenario: str, name: str, **change: object) -> Run:
    """Return a run of ours under the recommended profile that this story is told of, as one of another scenario."""
    return dataclasses.replace(recommended(name, Agents.LAB), scenario=scenario, **change)  # type: ignore[arg-type]  # Fields of many types.


def times(ours: float | None, document: float | None, same: float | None) -> list[Run]:
    """Return runs of S4 whose service came back so much later than in the story: ours, stock as documented, stock in our profile."""
    given = [(ours, Agents.LAB, Profile.RECOMMENDED), (document, Agents.STOCK, Profile.DOCUMENT), (same, Agents.STOCK, Profile.RECOMMENDED)]
    return [moved(story("S4", agents, profile), by) for by, agents, profile in given if by is not None]


AGAINST = "21.1 s; against the document's profile {}; against the same profile {}"


@pytest.mark.parametrize("scenario, kept, told", [
    ("S4", times(-23.0, None, None), AGAINST.format(NO_RUNS, NO_RUNS)),
    ("S4", times(-23.0, 0.0, None), AGAINST.format("met (stock 44.1 s)", NO_RUNS)),
    ("S4", times(-23.0, None, 0.0), AGAINST.format(NO_RUNS, "met (stock 44.1 s)")),
    # Neither hides the other.
    ("S4", times(-23.0, 0.0, -20.0), AGAINST.format("met (stock 44.1 s)", "NOT MET (stock 24.1 s)")),
    ("S4", times(-23.0, -20.0, 0.0), AGAINST.format("NOT MET (stock 24.1 s)", "met (stock 44.1 s)")),
    ("S4", times(None, 0.0, -20.0), NO_RUNS),
    ("S2a", [recommended("S2a", Agents.LAB)], "NOT MET, 41.0 s"),
    ("S2a", [named("S2a", "S2b")], "met, 0.0 s"),
    ("S6", [recommended("S6 best", Agents.LAB)], NO_RUNS),
    ("S6", [recommended("S6 best", Agents.LAB, bound=CALLED)], "met, 178.2 s, the bound is 180 s"),
    ("S6", [recommended("S6 best", Agents.LAB, bound=CALLED), recommended("S6 stock", Agents.LAB, bound=CALLED)],
     "NOT MET, never, the bound is 180 s"),
    ("S7", [recommended("S7", Agents.LAB)], "met"),
    ("S7", [named("S7", "S7"), named("S7", "S2b", kind="the idle path")], "NOT MET, rhel1 was fenced"),
    ("S11", [named("S11", "S4")], "met"),  # Started again in place: that is no failover.
    ("S11", [named("S11", "S5")], "NOT MET, rhel2 was fenced, the VIP went to rhel1"),
    ("S12", [named("S12", "S4")], "met"),
    ("S12", [named("S12", "S4"), named("S12", "S5")], "NOT MET, rhel2 was fenced, the VIP went to rhel1"),
    ("S16", [named("S16", "S7", events=(Vip(20.0, "log", "rhel1"),))], "NOT MET, the VIP went to rhel1"),
    ("S15", [named("S15", "S4")], "met, 44.1 s, power cycles: 0"),
    ("S15", [named("S15", "S4"), named("S15", "S5")], "met, 102.3 s, power cycles: 0-1"),
    ("S15", [named("S15", "S4"), named("S15", "S6 stock")], "NOT MET, no end, power cycles: 0"),
])  # fmt: skip
def test_goals(scenario: str, kept: list[Run], told: str) -> None:
    lines = {line[2:].split(",")[0]: line.split(": ", 2 if scenario == "S2a" else 1)[-1] for line in goals.lines(kept)}
    assert lines[scenario] == told
    assert len(lines) == len(goals.GOALS)
    assert "\n".join(goals.lines(kept)) in table.render(kept)


def test_a_bound_that_needs_stock_is_met_where_stock_never_ends() -> None:
    ours, stock = recommended("S4", Agents.LAB), story("S6 stock")
    told = goals.half([dataclasses.replace(run, scenario="S5") for run in (ours, stock)], "S5")
    assert told == f"44.1 s; against the document's profile met (stock never); against the same profile {NO_RUNS}"
    ours, stock = recommended("S6 stock", Agents.LAB), story("S4")
    told = goals.half([dataclasses.replace(run, scenario="S5") for run in (ours, stock)], "S5")
    assert told == f"never; against the document's profile NOT MET (stock 44.1 s); against the same profile {NO_RUNS}"


def test_no_goals_under_the_other_profile() -> None:
    assert goals.lines([story("S4")]) == []
    assert "## Goals" not in table.render([story("S4")])


def made_of(run: Run, **more: str) -> Run:
    return dataclasses.replace(run, machine=dataclasses.replace(run.machine, versions={**run.machine.versions, **more}))


def test_runs_of_two_machines_are_not_to_be_compared() -> None:
    run = story("S4")
    other = dataclasses.replace(run, machine=dataclasses.replace(run.machine, accelerator="tcg"))
    assert "different machines" in table.render([run, other])
    assert "different machines" in table.render([run, made_of(run, postgresql="16")])
    assert "different machines" not in table.render([run, run])


def test_commits_make_no_machine() -> None:
    first, second = (made_of(story("S4"), commit=commit, recipe=recipe) for commit, recipe in (("a1", "r1"), ("b2", "r2")))
    told = table.machines([first, first, made_of(second, recipe="r1"), story("S4")])
    assert told[:2] == ["- 4 runs on: kvm, 2 cores, 23900 MiB, pacemaker 2.1.5, postgresql 15", "- commits: a1 (2), b2 (1), not told (1)"]
    assert table.machines([story("S4")]) == [told[0].replace("4 runs", "1 run")]


@pytest.mark.parametrize("change, warned", [
    ({}, True), ({"scenario": "S5"}, False), ({"agents": Agents.LAB}, False), ({"profile": Profile.RECOMMENDED}, False),
])  # fmt: skip
def test_recipes_may_not_mix_within_what_is_put_together(change: dict[str, object], warned: bool) -> None:
    runs = [made_of(story("S4"), recipe="r1"), dataclasses.replace(made_of(story("S4"), recipe="r2"), **change)]  # type: ignore[arg-type]
    warning = "**The runs of S4, stock, profile document (r1, r2) are of different recipes: their medians mix what is not the same.**"
    assert (warning in table.machines(runs)) == warned
    assert ("recipes" in table.render(runs)) == warned


def test_an_audit_that_is_missing_does_not_hide_the_others() -> None:
    kept = [story("S4", audit=Audit(9, lost, 0, 1, 0)) for lost in (1, 2)]
    assert cells(table.render(kept), "**S4**")[-2] == "3 / 0 / 2 / 0"
    assert cells(table.render([*kept, story("S4", audit=None)]), "**S4**")[-2] == "3 / 0 / 2 / 0 in 2 of 3"
    assert cells(table.render([story("S4", audit=None)]), "**S4**")[-2] == "not read back"


@pytest.mark.parametrize("kept, told", [
    ([story("S10")], "30.5, new connections"),
    ([story("S10"), story("S10")], "30.5, new connections"),
    ([story("S10"), dataclasses.replace(story("S10"), writes=writes((0.0, 10.5)))], "20.5 (10.5-30.5), new connections in 1 of 2"),
    ([dataclasses.replace(story("S10"), writes=(*writes(), *writes((0.0, FAR), session=Session.CONNECT)))],
     "never, watched 60 s, new connections"),
    ([dataclasses.replace(story("S10"), writes=(*writes((0.0, 30.0)), *writes((0.0, 30.5), session=Session.CONNECT)))], "30.5"),
])  # fmt: skip
def test_new_connections_alone_are_told(kept: list[Run], told: str) -> None:
    assert cells(table.render(kept), "**S10**")[1] == told


def kinds() -> list[Run]:
    """Return S7 once of each of two kinds with stock agents, and twice of one of them and once of no kind with ours."""
    stock = [(0.0, "in use"), (15.0, "idle|path")]
    ours = [(1.0, "in use"), (2.0, "in use"), (9.0, "")]
    given = [(Agents.STOCK, stock), (Agents.LAB, ours)]
    return [dataclasses.replace(story("S7", agents), writes=writes((0.0, by)), kind=kind) for agents, told in given for by, kind in told]


def test_kinds_have_a_line_each() -> None:
    page = table.render(kinds())
    assert cells(page, "**S7**", 0) == ["**S7** one storage path lost", "0.0-15.0", "1.0-9.0", "-", "2 of 3", "3", "0", "0",
                                        "0 / 0 / 0 / 0", "0 / 0 / 0 / 0"]  # fmt: skip
    assert cells(page, "**S7**", 1)[:6] == ["**S7** - in use", "0.0", "1.5 (1.0-2.0)", "-", "1", "2"]
    assert cells(page, "**S7**", 2)[:6] == ["**S7** - idle\\|path", "15.0", "no run", "-", "1", "0"]
    assert cells(page, "**S7**", 3)[:6] == ["**S7** - kind not told", "no run", "9.0", "-", "0", "1"]
    assert [cells(page, "S7", number)[:3] for number in range(4)] == [
        ["S7, in use", "stock", "0.0"], ["S7, in use", "ours", "1.5 (1.0-2.0)"], ["S7, idle\\|path", "stock", "15.0"],
        ["S7, kind not told", "ours", "9.0"],
    ]  # fmt: skip


def test_kinds_have_bars_of_their_own() -> None:
    root = drawn(bars.render(kinds(), Profile.DOCUMENT))
    words = " ".join(texts(group(root, "scenario-S7-in-use")))
    assert "S7 one storage path lost: in use" in words
    assert "1.5 (1.0-2.0) s" in words
    assert "15.0 s" in texts(group(root, "scenario-S7-idle|path"))
    assert "kind not told" in " ".join(texts(group(root, "scenario-S7")))  # Nor is there one for all kinds together.


def test_what_was_not_noticed_is_told_as_never() -> None:
    """The table says so though nobody missed anything: that is how a disk that hangs unseen is told from one that does not hang."""
    unseen = dataclasses.replace(story("S2b"), events=())
    assert cells(table.render([unseen]), "S2b |")[:4] == ["S2b", "stock", "0.0", "never"]
    assert cells(table.render([unseen, story("S2b"), story("S2b")]), "S2b |")[3] == "11.0 (11.0-never)"


# Pictures


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def drawn(picture: str) -> ElementTree.Element:
    """Return the root of a picture in which everything lies inside, and all names that are referred to are there, once."""
    root = ElementTree.fromstring(picture)
    width, height = (float(root.get(side, "0")) for side in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"
    for text in root.iter(f"{SVG}text"):
        x, y, size = (float(text.get(key, "nan")) for key in ("x", "y", "font-size"))
        long = svg.width_of(text.text or "", size)
        begin = x - {"start": 0.0, "middle": long / 2, "end": long}[text.get("text-anchor", "start")]
        assert begin >= 0, text.text
        assert begin + long <= width, text.text
        assert size <= y <= height, text.text
    for box in [box for box in root.iter(f"{SVG}rect") if box.get("x")]:
        x, y, wide, high = (float(box.get(key, "nan")) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width + 1
        assert 0 <= y <= y + high <= height
    names = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(names) == len(set(names))
    used = {one.get("fill", "")[5:-1] for one in root.iter() if one.get("fill", "").startswith("url(#")}
    assert used <= set(names)
    return root


def group(root: ElementTree.Element, name: str) -> ElementTree.Element:
    return next(one for one in root.iter(f"{SVG}g") if one.get("id") == name)


def lanes(root: ElementTree.Element) -> list[str]:
    return [name[5:] for one in root.iter(f"{SVG}g") if (name := one.get("id", "")).startswith("lane-")]


def awkward(name: str) -> Run:
    """Return a run with texts that are long or no XML, things beyond the edges, calls that do not end, and every outcome."""
    more: list[Event] = [Fault(5.0, "lab", LONG, 9.0), Fault(FAR, "lab", "later"),
            Call(3.0, "log", "rhel1", "a-resource-with-a-long-name", "stop"),
            Call(-50.0, "log", "rhel9", "gone-before", "monitor", -49.0, 1),
            Call(1.0, "log", "rhel1", "pg-db", "monitor", 30.0, 1, LONG + "\x00"),
            *(Call(2.0 + n, "log", "rhel1", "pg-fs", "monitor", 2.5 + n, 1, LONG) for n in range(12)),
            Fence(59.9, "log", "rhel2", Step.REQUESTED), Fence(59.95, "log", "rhel2", Step.FAILED, reason=LONG)]  # fmt: skip
    run = story(name, more=more)
    told = [Write(20.0 + n, session, outcome, 0.001 * 10**n) for n in range(7) for session in Session for outcome in Outcome]
    probes = tuple(Probe(float(n), reach) for n, reach in enumerate(Reach))
    return dataclasses.replace(run, title=LONG, writes=(*run.writes, *told), probes=probes)


ALWAYS = ["fault", "disruption", "client-persistent"]


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("make", [story, awkward])
def test_a_time_line_has_its_lanes(name: str, make: Callable[[str], Run]) -> None:
    run = make(name)
    root = drawn(timeline.render(run))
    found = lanes(root)
    assert found[:3] == ALWAYS
    assert [lane for lane in found if lane in ("probe", "vip", "database", "nodes")] == ["probe", "vip", "database", "nodes"]
    assert ("fencing" in found) == any(isinstance(event, Fence) for event in run.events)
    assert ("resources" in found) == any(isinstance(event, Call) for event in run.events)
    assert not {"later", "gone-before"} & set(texts(root))  # Nothing of what is beyond the edges.
    assert {f"node {name}" for name in run.nodes()} <= set(texts(group(root, "lane-nodes")))


@pytest.mark.parametrize("name, lane, words", [
    ("S4", "fault", "kill -9"),
    ("S4", "disruption", "detection 28 s"),
    ("S4", "vip", "nowhere"),
    ("S4", "resources", "1"),
    ("S4", "reasons", "pg-db monitor on rhel1, 28.1 s: not running"),
    ("S5", "disruption", "fence delay 25 s"),
    ("S5", "reasons", "pg-lvm stop on rhel1, 25.0 s: failed to deactivate"),
    ("S5", "fencing", "rhel2: delay"),
    ("S6 stock", "disruption", "detection, without an end"),
    ("S13", "reasons", "fencing of rhel2, 22.0 s: no answer"),
    ("S13", "fencing", "rhel2 confirmed off at 34 s"),
    ("S13 without end", "fencing", "rhel2: not confirmed"),
    ("S13 without end", "disruption", "fencing, without an end"),
    ("S7", "disruption", "stall 16 s"),
    ("S1", "nodes", "standby"),
    ("S2a", "nodes", "unclean"),
    ("S2a", "database", "rhel2"),
])  # fmt: skip
def test_a_time_line_tells(name: str, lane: str, words: str) -> None:
    assert words in texts(group(drawn(timeline.render(story(name))), f"lane-{lane}"))


def test_reasons_are_told_below_the_axis() -> None:
    """Eight of them, of what came after the injection, and how many there are beyond those."""
    root = drawn(timeline.render(awkward("S7")))
    told = list(group(root, "lane-reasons").iter(f"{SVG}text"))
    axis = next(text for text in root.iter(f"{SVG}text") if text.text == "0 s")
    heights = [float(text.get("y", "0")) for text in told]
    assert [text.text for text in told if text.get("text-anchor") == "end"] == list("12345678")
    assert told[-1].text == "and 6 more"
    assert len(set(heights)) == 8 * timeline.WRAPPED + 1  # A line each, and none upon another.
    assert min(heights) >= float(axis.get("y", "0")) + 14
    assert not any("exit code" in (text.text or "") for text in told)
    assert all(float(text.get("y", "0")) > max(heights) for text in group(root, "legend").iter(f"{SVG}text"))


def test_a_long_reason_goes_on_in_the_next_line() -> None:
    reason = "storage hang: read unanswered for 10.4 s, no path is running: PGDATA /mnt/cluster1/pgsql/data (dm-3 LV vg-lv), sdb, sdc"
    run = story("S7", more=[Call(3.0, "log", "rhel1", "pg-db", "monitor", 10.6, 1, reason)])
    words = texts(group(drawn(timeline.render(run)), "lane-reasons"))
    assert words[0] == "1"
    assert " ".join(words[1:]) == f"pg-db monitor on rhel1, 10.6 s: {reason}"


@pytest.mark.parametrize("name, words, rows", [
    ("S4", "no write acknowledged for 44.1 s; noticed after 28.1 s", "74 rows acknowledged, 0 lost; power-offs: 0"),
    ("S7", "no write acknowledged for 15.5 s; the cluster never noticed", "74 rows acknowledged, 0 lost; power-offs: 0"),
    ("S10", "new connections alone: no write acknowledged for 30.5 s; noticed after 18.0 s", "74 rows acknowledged, 0 lost; power-offs: 0"),
    ("S2b", "no disruption; noticed after 11.0 s", "74 rows acknowledged, 0 lost; power-offs: 1"),
    ("S6 stock", "writes never came back (watched for 420 s); the cluster never noticed", "74 rows acknowledged, 0 lost; power-offs: 0"),
])  # fmt: skip
def test_a_time_line_says_what_came_of_it(name: str, words: str, rows: str) -> None:
    assert {words, rows} <= set(texts(drawn(timeline.render(story(name)))))


def test_faults_that_come_together_are_told_together() -> None:
    """The later of two must not be drawn over the words of the first."""
    more = [Fault(0.011, "lab", "another", 8.0), Fault(20.0, "lab", "third", 21.0)]
    lane = group(drawn(timeline.render(story("S4", more=more))), "lane-fault")
    assert texts(lane)[1:] == ["kill -9; another", "third"]
    assert len(list(lane.iter(f"{SVG}rect"))) == 2


def test_what_a_fault_was_is_told_beside_it_where_that_has_more_room() -> None:
    words = "rhel1: cable to san1 pulled; rhel1: cable to san2 pulled"
    for until, colour in ((20.0, timeline.RED), (55.0, "#ffffff")):
        run = story("S4")
        run = dataclasses.replace(run, events=(Fault(0.0, "lab", words, until), *(one for one in run.events if not isinstance(one, Fault))))
        told = list(group(drawn(timeline.render(run)), "lane-fault").iter(f"{SVG}text"))[1:]
        assert [(text.text, text.get("fill")) for text in told] == [(words, colour)]


def test_the_legend_of_a_time_line_has_the_phases_that_it_shows() -> None:
    assert patterns(group(drawn(timeline.render(story("S4"))), "legend")) == FOUR
    assert patterns(group(drawn(timeline.render(story("S6 stock"))), "legend")) == ["detection"]
    assert patterns(group(drawn(timeline.render(story("S2b"))), "legend")) == []


def test_a_time_line_names_the_kind_of_run() -> None:
    run = dataclasses.replace(story("S7"), kind="the idle path")
    assert "S7: title of S7 (the idle path), stock agents" in texts(drawn(timeline.render(run)))


def test_bars_mark_what_only_new_connections_missed() -> None:
    never = dataclasses.replace(story("S10", Agents.LAB), writes=(*writes(), *writes((0.0, FAR), session=Session.CONNECT)))
    found = texts(drawn(bars.render([story("S4"), story("S10"), never], Profile.DOCUMENT)))
    assert {"44.1 s", "30.5 s *", "never (watched 60 s) *"} <= set(found)
    assert "seconds without an acknowledged write (* of new connections alone)" in found


def patterns(root: ElementTree.Element) -> list[str]:
    """Return the phases that are drawn in a part, in order."""
    return [box.get("fill", "")[len("url(#phase-"):-1] for box in root.iter(f"{SVG}rect") if box.get("fill", "").startswith("url(#phase-")]


FOUR = ["detection", "stop", "start", "reconnect"]


def test_bars_stand_side_by_side() -> None:
    root = drawn(bars.render(repeated(), Profile.DOCUMENT))
    four = group(root, "scenario-S4")
    assert patterns(four) == [*FOUR, "stall"]  # The shorter of our two runs was back before its cluster had noticed anything.
    assert {"stock", "ours", "S4 kill -9 of the postmaster", "45.1 (44.1-48.1) s", "17.0 (14.0-20.0) s"} <= set(texts(four))
    assert texts(group(root, "scenario-S3"))[-1] == "no run"
    assert {"0 s", "no run"} <= set(texts(group(root, "scenario-S2b")))
    assert "seconds without an acknowledged write" in texts(root)
    assert patterns(group(root, "legend")) == [svg.pattern(phase)[6:] for phase in svg.COLOURS]
    assert [name for one in root.iter(f"{SVG}g") if (name := one.get("id", "")).startswith("scenario-")] == [
        f"scenario-{scenario.ident}" for scenario in scenarios.ALL
    ]


def test_what_never_ended_has_an_open_bar() -> None:
    six = group(drawn(bars.render(repeated(), Profile.DOCUMENT)), "scenario-S6")
    assert {"never (watched 420 s)", "detection, without an end"} <= set(texts(six))
    assert patterns(six) == ["detection", "detection", "stop", "fence-delay", "fencing", "start", "reconnect"]
    open_bar = next(box for box in six.iter(f"{SVG}rect") if box.get("fill") == "url(#phase-detection)")
    assert open_bar.get("stroke") is None  # Its outline is a path without a right side.
    assert float(open_bar.get("x", "0")) + float(open_bar.get("width", "0")) == bars.WIDTH - bars.RIGHT


@pytest.mark.parametrize("kept", [
    [], [story("S2b")], [story("S6 stock")], [story("S13 without end")], [awkward("S4")],
    [dataclasses.replace(story("S4"), scenario='<&"', title=LONG)],
], ids=["none", "no disruption", "never", "never, but noticed", "awkward", "a strange name"])  # fmt: skip
def test_bars_of_any_runs(kept: Sequence[Run]) -> None:
    drawn(bars.render(kept, Profile.DOCUMENT))


def test_patterns_differ_without_colour() -> None:
    """No two phases have one pattern, but for the darkest and the lightest, which have none."""
    assert len(set(svg.PATTERNS.values())) == len(svg.PATTERNS) - 1
    assert len(set(svg.COLOURS.values())) == len(svg.COLOURS)


@pytest.mark.parametrize("begin, end, most, found", [
    (0, 10, 12, [*range(11)]),
    (-5, 60, 16, [*range(-5, 61, 5)]),
    (-20, 420, 16, [*range(0, 421, 30)]),
    (-20, 120, 16, [*range(-20, 121, 10)]),
    (0, 20_000, 12, [*range(0, 20_000, 1800)]),
])  # fmt: skip
def test_ticks_are_round(begin: float, end: float, most: int, found: list[int]) -> None:
    assert svg.ticks(begin, end, most) == found


# From the client's ledger


def test_a_ledger_becomes_writes_and_probes(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    memory = ledger.Ledger(path, time.monotonic() - 20.0)
    memory.note("begin", format=ledger.FORMAT, run="x", epoch=0.0, monotonic=0.0)
    memory.note("intent", stream=writer.KEPT, number=1, due=19.0)
    memory.note("end", stream=writer.KEPT, number=1, due=19.0, outcome=ledger.OK, server="rhel1")
    memory.note("intent", stream=writer.FRESH, number=1, due=18.0)
    memory.note("end", stream=writer.FRESH, number=2, due=19.5, outcome=ledger.NOT_SENT, phase="connect", why="no room")
    memory.close()
    probes = ledger.Ledger(tmp_path / "probes", 0.0)
    for due, result in ((18.0, probe.OPEN), (18.5, probe.OPEN), (19.5, "EPERM"), (19.0, probe.TIMEOUT)):
        probes.note("probe", due=due, result=result, seconds=0.1)
    probes.close()
    first, second, third = seen.writes(ledger.read(path), 20.0)
    assert first == Write(-2.0, Session.CONNECT, Outcome.UNKNOWN)
    assert (second.due, second.outcome, third.outcome, third.error) == (-1.0, Outcome.OK, Outcome.NOT_SENT, "connect no room")
    assert second.latency == pytest.approx(1.0, abs=0.5)
    assert seen.probes(tmp_path / "probes", 20.0) == (Probe(-2.0, Reach.OPEN), Probe(-1.0, Reach.TIMEOUT), Probe(-0.5, Reach.OTHER))


def test_the_client_says_nothing_that_a_report_does_not_know() -> None:
    assert {outcome.value for outcome in Outcome} == set(ledger.OUTCOMES)
    assert {session.value for session in Session} == {writer.KEPT, writer.FRESH}
    assert {reach.value for reach in Reach} == {probe.OPEN, probe.TIMEOUT, *probe.NAMES.values(), "other"}


def test_an_audit_becomes_numbers() -> None:
    found = audit.Audit(lost=[("a", 1)], ghosts=[("a", 2)], contradicted=[("a", 3)], duplicates=[("a", 4)] * 3, acknowledged=9)
    assert client.counts(dataclasses.asdict(found)) == Audit(9, 1, 2, 3, 0)


# The command


def report(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab.report", *words]
    return subprocess.run(command, cwd=TREE, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_the_command_writes_a_report_and_twice_the_same(tmp_path: Path) -> None:
    for run in [story("S4"), story("S6 stock", bound=Bound(60.0)), story("S4", Agents.LAB, Profile.RECOMMENDED)]:
        store.add(tmp_path, run)
    (tmp_path / "cut.json").write_text("{")
    done = report(str(tmp_path))
    output = tmp_path / "report"
    files = {path.name: path.read_bytes() for path in output.iterdir()}
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == files["report.md"]
    assert f"{tmp_path / 'cut.json'}: left out: no JSON" in done.stderr
    assert set(files) == {"report.md", "report.json", "bars-document.svg", "bars-recommended.svg", *(
        f"timeline-{path.stem}.svg" for path in tmp_path.glob("S*.json")
    )}  # fmt: skip
    again = tmp_path / "elsewhere"
    assert report(str(tmp_path), "--output", str(again)).returncode == 0
    assert {path.name: path.read_bytes() for path in again.iterdir()} == files


def test_the_command_on_an_empty_directory(tmp_path: Path) -> None:
    done = report(str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == table.render([])
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["bars-document.svg", "report.json", "report.md"]


@pytest.mark.parametrize("words, why", [
    (["{tmp}/nowhere"], "is no directory"), (["{tmp}", "--output={tmp}"], "a directory of its own"), ([], "DIR"),
])  # fmt: skip
def test_the_command_refuses(tmp_path: Path, words: list[str], why: str) -> None:
    done = report(*(word.format(tmp=tmp_path) for word in words))
    assert done.returncode == 2
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []
