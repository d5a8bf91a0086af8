"""The two-node lab: a cluster of two virtual machines, its failures, and what a client sees of them.

    python3 -m lab build                                       make what the cache has not got
    python3 -m lab up [--hold]                                 boot both nodes; with --hold, end with Ctrl-C
    python3 -m lab configure --agents stock|lab [--profile document|recommended] [--layout one|three]
    python3 -m lab run SCENARIO... --agents stock|lab|both     `all` is every scenario
               [--profile document|recommended|both] [--repeat N | --until N]
    python3 -m lab ssh NODE [COMMAND...]
    python3 -m lab status                                      hardware, cluster, and the runs that are kept
    python3 -m lab report [--output DIR]                       tables and pictures of all runs that are kept
    python3 -m lab down
    python3 -m lab show                                        up, S4 and S6 with both agents, report, down: `make lab`
    python3 -m lab full                                        all that a whole report has: `make lab-full`

Runs are kept in $OCF_LAB_RESULTS (default: results in the cache) and accumulate.  A lab that `show` or `full` finds up stays up.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import NoReturn

from lab import roots
from lab.cluster import configure, state
from lab.cluster.settings import Layout, Setting
from lab.machine import __main__ as machine
from lab.machine import image, plan, room
from lab.machine.room import NotSo, Room
from lab.report import __main__ as report
from lab.report import store
from lab.report.runs import Agents, Profile
from lab.scenarios import agenda, healing, runner, start
from lab.scenarios.agenda import Item
from lab.scenarios.catalogue import PLAYS
from lab.watch import standing

RESULTS = Path(os.environ.get("OCF_LAB_RESULTS", roots.CACHE / "results"))
SHOWN = ("S4", "S6")
BOTH = "both"


@contextmanager
def at_hand(setting: Setting) -> Iterator[Room]:
    """Yield the lab that is up, or else one that begins with this setting and ends with this process, however that ends.  Raises NotSo."""
    if room.process() is not None:
        yield room.find()
        return
    with start.held(setting) as lab:
        try:
            start.ready(lab, setting)
        except NotSo as error:
            raise NotSo(f"{error}\n{where(lab)}") from None
        yield lab


@contextmanager
def alone() -> Iterator[None]:
    """Let nobody else change the cluster meanwhile.  Raises NotSo."""
    room.DIRECTORY.mkdir(parents=True, exist_ok=True)
    with open(room.DIRECTORY / "cluster.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotSo("another process runs or configures something on this lab; wait for its end") from None
        yield


def perform(lab: Room, items: Sequence[Item]) -> int:
    """Make these runs; what becomes of one does not keep the others from being made.  Return the exit code."""
    failed = 0
    there: Setting | None = None
    for number, item in enumerate(items, 1):
        roots.say(f"run {number} of {len(items)}: {item}")
        try:
            path = runner.run(lab, item.ident, item.setting, RESULTS, configured=there == item.setting)
        except runner.Failed as error:
            failed += 1
            roots.say(f"{error}\n{where(lab)}")
            if not room.alive(lab.inner):
                raise NotSo("the lab is gone, and with it the runs that were still to be made") from None
            recover(lab, item.setting)
            there = None
        else:
            there = item.setting
            roots.say(f"kept as {path}")
    if failed:
        roots.say(f"{failed} of {len(items)} runs went wrong")
    return 1 if failed else 0


def where(lab: Room) -> str:
    """Return where the cluster stands, for who looks for the cause of a failure."""
    try:
        return standing(lab)
    except (NotSo, OSError, subprocess.SubprocessError) as error:
        return f"where the cluster stands cannot be told: {error}"


def recover(lab: Room, setting: Setting) -> None:
    """Make the cluster whole for whatever comes next, if it can be."""
    try:
        healing.heal(lab, setting)
    except (NotSo, OSError, subprocess.SubprocessError) as error:
        roots.say(f"the cluster is not whole: {error}")


def build(_given: argparse.Namespace) -> int:
    image.build()
    return 0


def configuring(given: argparse.Namespace) -> int:
    lab = room.find()
    setting = Setting(given.agents, given.profile, given.layout)
    with alone():
        configure.configure(lab, setting)
    roots.say(f"the cluster is healthy: {setting}")
    return 0


def running(given: argparse.Namespace) -> int:
    lab = room.find()
    count = given.until or given.repeat or 1
    kept = store.load(RESULTS).runs if given.until else ()
    items = agenda.wanted(given.scenarios, given.agents, given.profile, dict.fromkeys(given.scenarios, count), kept)
    if not items:
        roots.say(f"{count} runs of each are there already, in {RESULTS}")
    with alone():
        return perform(lab, items)


def show(given: argparse.Namespace) -> int:
    items = agenda.wanted(SHOWN, tuple(Agents), given.profile, dict.fromkeys(SHOWN, 1))
    with at_hand(items[0].setting) as lab, alone():
        code = perform(lab, items)
    return reporting(given) or code


def full(given: argparse.Namespace) -> int:
    items = agenda.wanted(tuple(PLAYS), tuple(Agents), tuple(Profile), agenda.repeats(), store.load(RESULTS).runs)
    code = 0
    if items:
        with at_hand(items[0].setting) as lab, alone():
            code = perform(lab, items)
    else:
        roots.say(f"all runs of a whole report are there already, in {RESULTS}")
    return reporting(given) or code


def reporting(given: argparse.Namespace) -> int:
    if not store.load(RESULTS).runs:
        raise NotSo(f"no runs are kept in {RESULTS}; `python3 -m lab run` makes them")
    return report.main([str(RESULTS), *(["--output", str(given.output)] if given.output else [])])


def status(given: argparse.Namespace) -> int:
    kept = Counter((run.agents.value, run.profile.value, run.scenario) for run in store.load(RESULTS).runs)
    print(f"runs in {RESULTS}: {sum(kept.values())}")
    for agents, profile in sorted({key[:2] for key in kept}):
        numbers = [f"{ident} {kept[agents, profile, ident]}" for ident in PLAYS if kept[agents, profile, ident]]
        print(f"  {agents} agents, profile {profile}: {', '.join(numbers)}")
    machine.status(given)
    lab = room.find()
    setting = configure.configured(lab)
    if setting is None:
        print("cluster: not configured; `python3 -m lab configure` does it")
        return 0
    seen = state.read(lab)
    print(f"cluster: {setting}")
    print("nodes: " + ", ".join(f"{name} {condition.value}" for name, condition in seen.nodes.items()))
    print("resources: " + ", ".join(f"{name} {node or 'stopped'}" for name, node in seen.resources.items()))
    print("\n".join(state.troubles(seen, setting)) or "healthy")
    return 0


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help tells more\n")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of runs")
    return int(text)


def meanings(kind: type[Enum], several: bool) -> dict[str, object]:
    """Return what the words of an option mean; where it may mean several, all do."""
    if several:
        return {**{one.value: (one,) for one in kind}, BOTH: tuple(kind)}
    return {one.value: one for one in kind}


def choosing(parser: argparse.ArgumentParser, several: bool) -> None:
    """Add the options that say with which agents and profile."""
    parser.add_argument("--agents", required=True, choices=list(meanings(Agents, several)), help="whose resource agents")
    parser.add_argument("--profile", default=Profile.DOCUMENT.value, choices=list(meanings(Profile, several)),
                        help="whose monitor intervals and fencing delays (default %(default)s)")  # fmt: skip
    parser.set_defaults(several=several)


def parser() -> argparse.ArgumentParser:
    made = Parser(prog="python3 -m lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("build", help="make what the cache has not got").set_defaults(do=build)
    adding = verbs.add_parser("up", help="boot both nodes and wait until ssh and storage are there")
    adding.add_argument("--hold", action="store_true", help="stay in the foreground; the lab ends with this process")
    adding.add_argument("--saved", metavar="KEY", help="begin with the disks that were saved as this")
    adding.set_defaults(do=machine.up)
    adding = verbs.add_parser("configure", help="make the cluster")
    choosing(adding, several=False)
    adding.add_argument("--layout", default=Layout.ONE.value, choices=list(meanings(Layout, several=False)),
                        help="on one disk, or pg_wal and a tablespace on disks of their own (default %(default)s)")  # fmt: skip
    adding.set_defaults(do=configuring)
    adding = verbs.add_parser("run", help="make runs of scenarios")
    adding.add_argument("scenarios", nargs="+", metavar="SCENARIO", help=f"all, or some of {', '.join(PLAYS)}")
    choosing(adding, several=True)
    number = adding.add_mutually_exclusive_group()
    number.add_argument("--repeat", type=positive, metavar="N", help="make so many runs of each (default 1)")
    number.add_argument("--until", type=positive, metavar="N", help="make runs until so many of each are kept")
    adding.set_defaults(do=running)
    adding = verbs.add_parser("ssh", help="run a command on a node, or a shell")
    adding.add_argument("--within", type=float, help="seconds that it may take")
    adding.add_argument("node", choices=plan.NODES)
    adding.add_argument("command", nargs=argparse.REMAINDER)
    adding.set_defaults(do=machine.on_node)
    verbs.add_parser("status", help="hardware, cluster, and the runs that are kept").set_defaults(do=status)
    verbs.add_parser("down", help="end everything").set_defaults(do=machine.down)
    for name, do, text in (("report", reporting, "tables and pictures of all runs that are kept"),
                           ("show", show, "S4 and S6 with both agents, in a lab of its own if none is up, and the report"),
                           ("full", full, "all runs of a whole report that are not kept yet, and the report")):  # fmt: skip
        adding = verbs.add_parser(name, help=text)
        adding.add_argument("--output", type=Path, metavar="DIR", help="where the report goes (default: report beside the runs)")
        adding.set_defaults(do=do, profile=(Profile.DOCUMENT,))
    return made


def understood(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what a command line asks for; exits with 2 where it cannot be understood."""
    reader = parser()
    given = reader.parse_args(words)
    for kind in (Agents, Profile, Layout):
        name = kind.__name__.lower()
        if isinstance(word := getattr(given, name, None), str):
            setattr(given, name, meanings(kind, given.several)[word])
    if given.verb == "run":
        try:
            given.scenarios = agenda.known(given.scenarios)
        except ValueError as error:
            reader.error(str(error))
    return given


def main(words: Sequence[str] | None = None) -> int:
    return machine.carry_out(understood(words))


if __name__ == "__main__":
    sys.exit(main())
