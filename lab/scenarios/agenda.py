"""Which runs are wanted, and in which order: what takes long to change is changed seldom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.cluster import configure
from lab.cluster.settings import Setting
from lab.report import scenarios
from lab.report.runs import Agents, Profile, Run
from lab.scenarios.catalogue import PLAYS


@dataclass(frozen=True)
class Item:
    ident: str
    setting: Setting

    def __str__(self) -> str:
        return f"{self.ident} with {self.setting}"


def known(words: Sequence[str]) -> list[str]:
    """Return the scenarios that words name, each once; `all` names all.  Raises ValueError."""
    for word in words:
        if word not in PLAYS and word != "all":
            raise ValueError(f"no such scenario: {word}; there are {', '.join(PLAYS)}, and all")
    return [ident for ident in PLAYS if ident in words or "all" in words]


def repeats() -> dict[str, int]:
    """Return how many runs of each scenario a whole report has."""
    return {scenario.ident: scenario.repeats for scenario in scenarios.ALL}


def counted(run: Run, item: Item) -> bool:
    """Return whether a run is one of these: its rows were read back, and its cluster was configured as that would be today."""
    alike = (run.scenario, run.agents, run.profile) == (item.ident, item.setting.agents, item.setting.profile)
    return alike and run.audit is not None and run.machine.versions.get("recipe") == configure.recipe(item.setting)


def wanted(
    idents: Sequence[str], agents: Sequence[Agents], profiles: Sequence[Profile], counts: dict[str, int], kept: Sequence[Run] = ()
) -> list[Item]:
    """Return the runs that bring every scenario to its count, those in `kept` among them that were audited, on the cluster of today.

    First all of one kind of agents, then of one profile, then of one layout; there, every scenario once before any is repeated, so that
    an interrupted session has seen as many as it could.
    """
    items = [
        (turn, one) for who in agents for profile in profiles for ident in idents
        for one in [Item(ident, Setting(who, profile, PLAYS[ident].layout))]
        for turn in range(sum(counted(run, one) for run in kept), counts[ident])
    ]  # fmt: skip
    layouts = [play.layout for play in PLAYS.values()]

    def rank(item: tuple[int, Item]) -> tuple[int, ...]:
        turn, one = item
        place = one.setting
        return (agents.index(place.agents), profiles.index(place.profile), layouts.index(place.layout), turn, list(PLAYS).index(one.ident))

    return [item for _, item in sorted(items, key=rank)]
