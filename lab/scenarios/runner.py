"""One run of a scenario: the cluster is made ready, a client writes, the fault comes, and all that is seen is kept."""

from __future__ import annotations

import dataclasses
import gzip
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from lab import roots
from lab.client import ledger
from lab.cluster import configure, settings, state
from lab.cluster.settings import Setting
from lab.machine import multipath, plan, room, ssh
from lab.machine.room import NotSo, Room
from lab.report import phases, scenarios, seen, store, verdict
from lab.report.runs import Audit, Event, Run
from lab.scenarios import catalogue, facts, healing, looking
from lab.scenarios.catalogue import Play
from lab.scenarios.client import LEDGER, PROBES, Client, audit
from lab.scenarios.stage import Stage
from lab.watch import Watch, standing

DIRECTORY = room.DIRECTORY / "run"  # The lab sees it too.
RAW = "raw"
FLOW_SECONDS = 120.0
BIG = 1 << 18
BEGINNINGS = 3


class Failed(Exception):
    """A run that was not made or not kept, or a cluster that did not heal after it; the message names the step."""


class Restless(Failed):
    """The cluster had something to recover from before the fault came."""


@contextmanager
def step(ident: str, what: str) -> Iterator[None]:
    """Say what is done next, and name it where it goes wrong."""
    roots.say(f"{ident}: {what}")
    try:
        yield
    except Exception as error:
        raise Failed(f"{ident}: {what}: {str(error) or type(error).__name__}") from error


@dataclass(frozen=True)
class Played:
    """What a run was, when its faults are taken back: `watched` is in seconds from the injection."""

    started: datetime
    watched: float
    events: tuple[Event, ...]


def run(lab: Room, ident: str, setting: Setting, results: Path, *, configured: bool = False) -> Path:
    """Make one run and return the path of what is kept of it.  Whatever happens, all faults are taken back.  Raises Failed.

    `configured`: this process has already brought the cluster to the setting, with the agents of the tree.
    A run whose cluster was not at rest when the fault was due is begun anew: it would tell of something else.
    """
    before: list[str] = []
    while True:
        try:
            return attempt(lab, ident, setting, results, configured, before)
        except Restless as error:
            before.append(str(error))
            if len(before) == BEGINNINGS:
                raise Failed(f"{error}; so it was {BEGINNINGS} times, and no run was made") from None
            roots.say(f"{error}: begun anew")


def attempt(lab: Room, ident: str, setting: Setting, results: Path, configured: bool, before: Sequence[str]) -> Path:
    """Begin a run, and make it if the cluster is at rest; `before` is what earlier beginnings found.  Raises Restless and Failed."""
    play = catalogue.PLAYS[ident]
    setting = dataclasses.replace(setting, layout=play.layout)
    with step(ident, f"making the cluster ready: {setting}, no_path_retry {play.retry}"):
        # What a run that was killed left behind, one path less or a slow disk, need not be seen in how the cluster stands.
        healing.mend_hardware(lab)
        if not configured:
            healing.power_on(lab)
            configure.configure(lab, setting)
        active = make_ready(lab, play, setting)
        machine = facts.machine(lab, setting)
        roots.fresh(DIRECTORY)
    stage = Stage(lab, active, turn(play, store.load(results).runs, setting), DIRECTORY / LEDGER)
    played = perform(lab, play, setting, stage)
    notes = [*before, *stage.notes, *looking.named(play, played.events)]
    trouble = mended(lab, ident, setting, notes)
    with step(ident, "keeping what was seen"):
        assert stage.injected is not None
        assert stage.moment is not None
        history = ledger.read(DIRECTORY / LEDGER)
        injected = stage.injected - history.monotonic
        made = Run(
            scenario=ident, title=title(ident), agents=setting.agents, profile=setting.profile, started=played.started,
            injected=datetime.fromtimestamp(stage.moment, timezone.utc), watched=played.watched, active=active, machine=machine,
            bound=play.bound(setting.profile, active), writes=seen.writes(history, injected), events=(*stage.events(), *played.events),
            probes=seen.probes(DIRECTORY / PROBES, injected), audit=None if trouble else audited(lab, injected, notes),
            notes="; ".join(notes), kind=stage.kind,
        )  # fmt: skip
        path = keep(lab, results, made)
    for line in summary(made):
        roots.say(line)
    if trouble:
        raise trouble
    return path


def perform(lab: Room, play: Play, setting: Setting, stage: Stage) -> Played:
    """Let a client write, bring the fault and look at what comes of it.  When it returns or raises, all is taken back.  Raises Failed."""
    ident = play.ident
    with ExitStack() as leaving:
        leaving.callback(stage.end)
        with step(ident, f"the service is on {stage.active}; a client writes for {looking.STEADY_SECONDS:.0f} s"):
            watch = leaving.enter_context(Watch(lab, DIRECTORY, stage.active))
            client = leaving.enter_context(Client(lab, DIRECTORY))
            started = datetime.now(timezone.utc)
            stage.login()
            if play.prepare:
                play.prepare(stage)
            client.await_steady(looking.STEADY_SECONDS, FLOW_SECONDS)
        wait = random.uniform(0, catalogue.INTERVAL[setting.profile])
        stage.notes.append(f"injected after a random wait of {wait:.1f} s")
        with step(ident, f"the fault comes in {wait:.1f} s, at a random moment between two monitors"):
            time.sleep(wait)
            client.look()
            unrest = looking.unrest(watch.events(time.time()))
        if unrest:
            raise Restless(f"{ident}: before the fault, {unrest}")
        with step(ident, "the fault"):
            play.inject(stage)
        with step(ident, f"looking for at least {play.least:.0f} s and at most {play.watch:.0f} s"):
            looking.look(play, stage, client, watch)
        with step(ident, "ending the client"):
            client.stop()
            assert stage.injected is not None
            assert stage.moment is not None
            watched = time.monotonic() - stage.injected
            events = watch.events(stage.moment)
            (DIRECTORY / "standing.txt").write_text(standing(lab))
    return Played(started, round(watched, 3), events)


def mended(lab: Room, ident: str, setting: Setting, notes: list[str]) -> Failed | None:
    """Let the cluster heal; return what kept it from that."""
    try:
        with step(ident, "waiting until the cluster is whole again"):
            if healing.heal(lab, setting):
                notes.append("the cluster did not heal by itself: both nodes were switched off and on after the run")
    except Failed as error:
        notes.append(str(error))
        return error
    return None


def audited(lab: Room, injected: float, notes: list[str]) -> Audit | None:
    """Hold the rows against the ledger; `injected` in its seconds.  None where they cannot be read."""
    try:
        return audit(lab, DIRECTORY, injected)
    except (NotSo, OSError, subprocess.SubprocessError) as error:
        notes.append(str(error))
        return None


def title(ident: str) -> str:
    return next(scenario.title for scenario in scenarios.ALL if scenario.ident == ident)


def turn(play: Play, kept: Sequence[Run], setting: Setting) -> str:
    """Return the kind of the play that has the fewest runs yet."""
    there = Counter(one.kind for one in kept if (one.scenario, one.agents, one.profile) == (play.ident, setting.agents, setting.profile))
    return min(play.kinds, key=lambda kind: there[kind])


def make_ready(lab: Room, play: Play, setting: Setting) -> str:
    """Bring the cluster to where the scenario begins; return the node that has the service.  Raises NotSo."""
    if state.troubles(state.read(lab), setting):
        healing.heal(lab, setting)
    multipath.retry(lab, play.retry)
    if wanted := play.active.get(setting.profile):
        configure.move(lab, setting, wanted)
        return wanted
    active = state.read(lab).active
    if active is None:
        raise NotSo("the service is on no node")
    return active


def keep(lab: Room, results: Path, made: Run) -> Path:
    """Keep a run and the material that it was made from; return the run's path.  Raises OSError."""
    try:
        (DIRECTORY / "postgresql.log").write_text(server_log(lab))
    except (NotSo, ValueError, subprocess.SubprocessError) as error:
        roots.say(f"without the server's log: {error}")
    path = store.add(results, made)
    raw = results / RAW / path.stem
    raw.parent.mkdir(exist_ok=True)
    shutil.copytree(DIRECTORY, raw)
    for file in [file for file in raw.rglob("*") if file.is_file() and file.stat().st_size > BIG]:
        with open(file, "rb") as whole, gzip.open(f"{file}.gz", "wb") as small:
            shutil.copyfileobj(whole, small)
        file.unlink()
    return path


def server_log(lab: Room) -> str:
    """Return the end of the database server's log.  Raises NotSo."""
    node = state.read(lab).active
    if node is None:
        raise NotSo("the service is on no node")
    return ssh.run(lab, plan.NODES[node], f"tail -q -c {BIG} $(ls -t {settings.PGDATA}/log/* | head -2)").stdout


def summary(made: Run) -> list[str]:
    """Return what is to be told of a run at once."""
    seen_ = phases.of(made)
    parts = ", ".join(f"{phase.value} {seconds:.1f}" for phase, seconds in seen_.phases.items() if seconds)
    length = f"{seen_.seconds:.1f} s" if seen_.ended else f"never ended, watched for {made.watched:.0f} s"
    called = phases.fence_called(made)
    moments = [f"{what} after {at:.1f} s" for what, at in (("noticed", seen_.moments.noticed), ("fence called", called)) if at is not None]
    counts = made.audit
    rows = (f"{counts.acknowledged} rows acknowledged, {counts.lost} lost, {counts.ghosts} ghosts, {counts.duplicates} duplicates, "
            f"{counts.overlaps} overlaps" if counts else "rows not read back")  # fmt: skip
    lines = [
        f"{made.name}: disruption {length}" + (f" ({parts})" if parts else ""),
        f"{made.name}: {', '.join([*moments, f'{verdict.power_cycles(made)} power-offs', rows])}",
    ]
    return [*lines, *(f"{made.name}: FAILS: {why}" for why in verdict.failings(made))]
