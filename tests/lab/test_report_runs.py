"""Runs as JSON and back, and the directory that they are kept in."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.report import phases, runs, scenarios, store
from lab.report.runs import Agents, Audit, Bound, Event, Machine, Malformed, Outcome, Probe, Profile, Reach, Run, Session, Write
from tests.lab.test_report_phases import STORIES, story

SECONDS = st.floats(-100, 1000, allow_nan=False)
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
KINDS = (runs.Condition, runs.Step, runs.Service, Outcome, Session, Reach, Agents, Profile)
NAMES = st.sampled_from(["rhel1", "rhel2", "vip", "pg-db"])
FIELDS = {
    "float": SECONDS, "float | None": st.none() | SECONDS, "str": TEXTS, "str | None": st.none() | NAMES, "int": st.integers(0, 10**9),
    "int | None": st.none() | st.integers(0, 255), "bool": st.booleans(), "Mapping[str, str]": st.dictionaries(TEXTS, TEXTS, max_size=3),
    "datetime": st.datetimes(timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=2))])),
    **{kind.__name__: st.sampled_from(kind) for kind in KINDS},
}  # fmt: skip


def things(kind: type[object], **given_ones: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    made = {one.name: FIELDS[str(one.type)] for one in dataclasses.fields(kind) if one.name not in given_ones}  # type: ignore[arg-type]
    return st.builds(kind, **made, **given_ones)


EVENTS = st.one_of(*(things(kind) for kind in runs.KINDS.values()))
HEALTHY = Write(-1.0, Session.PERSISTENT, Outcome.OK, 0.04)
RUNS = things(
    Run, watched=st.floats(1, 1000), machine=things(Machine), bound=things(Bound), audit=st.none() | things(Audit),
    events=st.lists(EVENTS, max_size=6).map(tuple), probes=st.lists(things(Probe), max_size=4).map(tuple),
    writes=st.lists(things(Write), max_size=5).map(lambda more: (HEALTHY, *more)),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RUNS)
def test_round_trip(run: Run) -> None:
    assert runs.load(runs.dump(run)) == run
    assert runs.load(runs.dump(run, **store.derived(run))) == run


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=10), st.lists(things(Write), max_size=30))
def test_the_phases_are_the_disruption(events: list[Event], writes: list[Write]) -> None:
    seen = phases.split(tuple(events), writes)
    assert sum(seen.phases.values()) == pytest.approx(seen.seconds)
    assert min(seen.phases.values()) >= 0
    assert seen.ended or not seen.gaps[-1].ended


@pytest.mark.parametrize("name", STORIES)
def test_stories_return(name: str) -> None:
    run = story(name)
    text = runs.dump(run)
    assert runs.load(text) == run
    assert all(len(line) < 400 for line in text.splitlines())


def test_a_run_that_was_kept_before_a_field_was_there_is_still_one() -> None:
    told = json.loads(runs.dump(story("S4")))
    assert (told.pop("kind"), told["bound"]) == ("", dataclasses.asdict(Bound(300.0)))
    told["bound"] = {"back": 300.0, "failover": True, "spared": None, "fence_call": None}
    assert runs.load(json.dumps(told)) == story("S4")


def changed(**new: object) -> str:
    told = json.loads(runs.dump(story("S4")))
    told.update(new)
    return json.dumps({key: value for key, value in told.items() if value != "absent"})


VIP = {"kind": "vip", "at": 1, "source": "log", "node": None}


@pytest.mark.parametrize("text, why", [
    ("", "no JSON: "),
    ("{", "no JSON: "),
    ('{"format": 1', "no JSON: "),
    ("[" * 100_000, "no JSON"),
    ("[]", "the file: an object is expected, not []"),
    ("{}", "format: 1 is expected, not null"),
    (changed(format=2), "format: 1 is expected, not 2"),
    (changed(format=True), "format: 1 is expected, not true"),
    (changed(scenario="absent"), "scenario is missing"),
    (changed(colour="red", bell=1), "the run has no bell, colour"),
    (changed(watched="long"), 'watched: a number is expected, not "long"'),
    (changed(watched=True), "watched: a number is expected, not true"),
    (changed(watched=0), "watched: 0 s is no time"),
    (changed(watched=float("inf")), "Infinity is no number"),
    (changed(agents="best"), 'agents: one of stock, lab is expected, not "best"'),
    (changed(started="yesterday"), 'started: a date and time is expected, not "yesterday"'),
    (changed(started="2026-01-02T03:04:05"), 'started: a time with its offset from UTC is expected, not "2026-01-02T03:04:05"'),
    (changed(machine=3), "machine: an object is expected, not 3"),
    (changed(machine={"accelerator": "kvm", "cores": 2.5, "memory_mib": 1}), "machine.cores: a whole number is expected, not 2.5"),
    (changed(machine={"accelerator": "kvm", "cores": True, "memory_mib": 1}), "machine.cores: a whole number is expected, not true"),
    (changed(machine={"accelerator": "kvm", "cores": 2, "memory_mib": 1, "versions": {"a": 1}}),
     "machine.versions.a: a text is expected, not 1"),
    (changed(bound={}), "bound.back is missing"),
    (changed(bound={"back": 3, "failover": 1}), "bound.failover: true or false is expected, not 1"),
    (changed(events={}), "events: a list is expected, not {}"),
    (changed(events=[VIP, {**VIP, "kind": "bell"}]), "events[1].kind: one of fault, node, call, fence, power, vip, database is expected"),
    (changed(events=[{"at": 1}]), "events[0].kind: one of"),
    (changed(events=[{**VIP, "at": None}]), "events[0].at: a number is expected, not null"),
    (changed(events=[{**VIP, "place": 3}]), "events[0] has no place"),
    (changed(writes=[]), "no write was acknowledged before the injection"),
    (changed(writes=[[-1, "connect", "ok"]]), "writes[0]: 5 values are expected (due, session, outcome, latency, error), not 3"),
    (changed(writes=[[-1, "connect", "good", 0, ""]]), 'writes[0].outcome: one of ok, failed, unknown, not sent is expected, not "good"'),
    (changed(audit={"acknowledged": 1}), "audit.lost is missing"),
])  # fmt: skip
def test_what_is_no_run_says_why(text: str, why: str) -> None:
    with pytest.raises(Malformed) as raised:
        runs.load(text)
    assert str(raised.value).startswith(why)


def test_runs_accumulate(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    assert store.load(directory) == store.Kept((), (), ())
    day, next_day = story("S4"), story("S4", again=1)
    told = [story("S13"), next_day, story("S2a"), story("S4", Agents.LAB), day, story("S4", profile=Profile.RECOMMENDED)]
    paths = [store.add(directory, run) for run in told]
    assert paths[0].name == "S13-stock-document-20260102T030405Z.json"
    kept = store.load(directory)
    assert kept.runs == (told[2], told[3], day, next_day, told[5], told[0])
    assert kept.names == tuple(paths[told.index(run)].stem for run in kept.runs)
    assert kept.broken == ()
    assert sorted(path.name for path in directory.iterdir()) == sorted(path.name for path in paths)


def test_no_run_replaces_another(tmp_path: Path) -> None:
    """Two of the same second are two runs."""
    first, second = story("S4"), story("S4", audit=Audit(1, 1, 0, 0, 0))
    assert [store.add(tmp_path, run).name for run in (first, second)] == [f"{first.name}.json", f"{first.name}-2.json"]
    assert sorted(store.load(tmp_path).runs, key=lambda run: run.audit != first.audit) == [first, second]


def test_packed_runs_are_runs(tmp_path: Path) -> None:
    path = store.add(tmp_path, story("S4"))
    whole = gzip.compress(path.read_bytes())
    (tmp_path / "S4-packed.json.gz").write_bytes(whole)
    for name, text in (("cut", whole[:-20]), ("plain", b"{}"), ("broken", whole[:40] + b"\xff\xff" + whole[42:])):
        (tmp_path / f"{name}.json.gz").write_bytes(text)
    kept = store.load(tmp_path)
    assert kept.runs == (story("S4"), story("S4"))
    assert sorted(kept.names) == sorted([path.stem, "S4-packed"])
    assert [one.why.split(":")[0] for one in kept.broken] == 3 * ["cannot be read"]


def test_the_json_tells_what_follows(tmp_path: Path) -> None:
    told = json.loads(store.add(tmp_path, story("S6 stock")).read_text())["derived"]
    assert (told["seconds"], told["ended"], told["open"], told["fence_called"], told["power_offs"]) == (420.4, False, "detection", None, 0)
    assert told["failings"] == ["writes never came back, watched for 420 s; it stood in: detection"]


def test_broken_files_are_told_and_left_alone(tmp_path: Path) -> None:
    good = store.add(tmp_path, story("S4"))
    texts = {"cut.json": good.read_text()[:500].encode(), "binary.json": b"\xff\xfe\x00", "empty.json": b"", "list.json": b"[1]"}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "directory.json").mkdir()
    (tmp_path / ".S4-stock.x.half").write_text("a writer that was killed leaves this")
    (tmp_path / "notes.txt").write_text("not a run, and not meant to be one")
    kept = store.load(tmp_path)
    assert kept.names == (good.stem,)
    assert [one.path.name for one in kept.broken] == ["binary.json", "cut.json", "directory.json", "empty.json", "list.json"]
    assert [one.why.split(":")[0] for one in kept.broken] == ["cannot be read", "no JSON", "cannot be read", "no JSON", "the file"]
    assert all((tmp_path / name).read_bytes() == text for name, text in texts.items())


def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.add(tmp_path, story("S4"))
    assert list(tmp_path.iterdir()) == []


def test_the_order_of_scenarios() -> None:
    names = [scenario.ident for scenario in scenarios.ALL]
    assert sorted([*names, "drill", "S6s"], key=scenarios.order) == [*names[:7], "S6s", *names[7:], "drill"]
    assert sum(scenario.repeats for scenario in scenarios.ALL) == 17 + 4 * 2
