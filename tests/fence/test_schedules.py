"""Random schedules of faults: fence_pve never says that a guest is off while a process of it runs, and nearly always gets it off.

OCF_LAB_SCHEDULES=20000 plays more of them than usual; OCF_LAB_SEED=4711 plays one and shows its course.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from fence_lab.cluster import Guest
from fence_lab.errors import FenceError
from fence_lab.power import GuestPower, Look, Place
from fence_lab.pve import FencePve
from fence_lab.transport import Address, Lost, Unreachable
from lab.proxmox.api import Api, Request, Response
from lab.proxmox.guests import Run
from lab.proxmox.world import small_cluster
from tests.fence import schedules
from tests.fence.plays import HAPPENINGS, Play, Simulation, free_moment
from tests.fence.schedules import Schedule, schedule
from tests.fence.simulated import Network, SimulatedClock, SimulatedTransport, mistyped

pytestmark = pytest.mark.once

COUNT = int(os.environ.get("OCF_LAB_SCHEDULES", "2000"))
BLOCKS = 4
ONE = os.environ.get("OCF_LAB_SEED", "")


def told(play: Play, complaints: list[str]) -> str:
    return "\n".join([f"OCF_LAB_SEED={play.schedule.seed}", *complaints, "", play.trace()])


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_success_is_a_lie(block: int) -> None:
    """Also: every call ends in time, with one reason and no secret, and succeeds where nothing is in the way."""
    first, last = COUNT * block // BLOCKS, COUNT * (block + 1) // BLOCKS
    if ONE:
        first, last = (int(ONE), int(ONE) + 1) if not block else (0, 0)
    outcomes = Counter[tuple[str, bool]]()
    wrong, example = [], ""
    for seed in range(first, last):
        play = Simulation(schedule(seed)).run()
        complaints = play.complaints()
        outcomes[play.schedule.theme, play.code != 1] += 1
        if complaints:
            wrong.append(seed)
            example = example or told(play, complaints)
        elif ONE:
            print(play.trace())
    assert not wrong, f"{len(wrong)} of {last - first} schedules, with the seeds {wrong[:20]}; the first:\n{example}"
    # An agent that always fails never lies.
    for theme in ("migrating", "lying", "stormy", "wild"):
        good, bad = outcomes[theme, True], outcomes[theme, False]
        assert good + bad < 30 or good > 0.4 * (good + bad), outcomes


def test_a_seed_finds_again_what_it_found() -> None:
    def played(seed: int) -> list[str]:
        play = Simulation(schedule(seed)).run()
        return [*map(str, play.lines), str(play.code), str(play.guest.runs)]

    assert [played(seed) for seed in range(40)] == [played(seed) for seed in range(40)]


def test_every_theme_and_every_happening_is_drawn() -> None:
    drawn = [schedule(seed) for seed in range(2000)]
    assert {each.theme for each in drawn} == set(schedules.THEMES)
    assert {happening.what for each in drawn for happening in each.happenings} == set(HAPPENINGS)


# Agents that are wrong on purpose: some schedule catches each.


class TrustsTask(GuestPower):
    """Takes a task's OK for the guest's end."""

    def off(self) -> bool:
        place, look = self.look()
        return (look.running and self._order(place, look, "stop") == "OK") or super().off()


class TrustsPid(GuestPower):
    """Takes another process for a guest that has been off in between."""

    pid: object = None

    def _ask(self, place: Place) -> Look:
        look = super()._ask(place)
        data = self.cluster.get_at(place.guest, place.view, "/status/current")
        pid = data.get("pid") if isinstance(data, dict) else None
        if self.pid and pid and pid != self.pid:
            return replace(look, running=False)
        self.pid = pid or self.pid
        return look


class Certain(Place):
    def doubt(self) -> str:
        return ""


class TrustsMinority(GuestPower):
    """Believes any hypervisor, quorate or not."""

    def find(self) -> Place:
        place = super().find()
        return Certain(place.guest, place.views[:1])


class SkipsLock(GuestPower):
    """Does not care for a migration under way."""

    def _ask(self, place: Place) -> Look:
        look = super()._ask(place)
        return replace(look, lock="") if look.lock == "migrate" else look

    def find(self) -> Place:
        place = super().find()
        guest: Guest = replace(place.guest, lock="")
        return Place(guest, place.views)


class TrustsList(GuestPower):
    """Takes the list's word for the guest's state."""

    def _ask(self, place: Place) -> Look:
        return replace(super()._ask(place), running=self.find().guest.power == "running")


class TrustsSilence(GuestPower):
    """Takes a hypervisor that is away for a guest that is off."""

    def off(self) -> bool:
        try:
            return super().off()
        except FenceError as error:
            if "unreachable" in str(error):
                return True
            raise


WRONG = {
    TrustsTask: ("lying", "LIE"),
    TrustsPid: ("migrating", "LIE"),
    TrustsMinority: ("stale", "LIE"),
    SkipsLock: ("migrating", "LIE"),
    TrustsList: ("migrating", "LIE"),
    TrustsSilence: ("offline", "was away"),
}


@pytest.mark.parametrize("power", WRONG, ids=lambda power: power.__name__)
def test_an_agent_that_trusts_what_proves_nothing_is_caught(power: type[GuestPower]) -> None:
    theme, complaint = WRONG[power]

    class Wrong(FencePve):
        def guest(self, plug: str) -> GuestPower:
            right = super().guest(plug)
            return power(right.cluster, right.identity, right.deadline, right.log)

    played = 0
    for seed in range(2000):
        if schedule(seed).theme == theme:
            played += 1
            if any(complaint in each for each in Simulation(schedule(seed)).run(Wrong).complaints()):
                return
    pytest.fail(f"not caught by {played} schedules")


# The simulation itself.


@pytest.mark.parametrize("spans, moment", [
    ([], 10),
    ([(0, 5)], 10),
    ([(0, None)], None),
    ([(0, 12)], 12),
    ([(0, 12), (12, None)], None),
    ([(0, 12), (13, None)], 12),
    ([(0, 15), (12, 18)], 18),
    ([(0, 15), (12, None)], None),
    ([(0, 20)], 20),
    ([(0, 20.5)], None),
    ([(11, None)], 10),
])  # fmt: skip
def test_a_free_moment_is_found_exactly(spans: list[tuple[float, float | None]], moment: float | None) -> None:
    assert free_moment([Run("pve1", 1, began, ended) for began, ended in spans], 10, 20) == moment


def quiet_network(mishaps: dict[int, str] | None = None) -> SimulatedTransport:
    clock = SimulatedClock()
    clock.world = small_cluster(clock.world_time)
    return SimulatedTransport(clock.world, clock, Network(random.Random(1), 0.01, mishaps or {}), [])


VERSION = "/api2/json/version"


@pytest.mark.parametrize("address, reach, error, seconds", [
    ("127.0.0.11", "black hole", Unreachable, 3),
    ("127.0.0.11", "refusing", Unreachable, 0),
    ("127.0.0.99", "up", Unreachable, 0),
])  # fmt: skip
def test_a_connection_that_does_not_come(address: str, reach: str, error: type[Exception], seconds: float) -> None:
    transport = quiet_network()
    transport.world.nodes["pve1"].api = reach
    began = transport.clock.now()
    with pytest.raises(error):
        transport.connection(Address(address, 8006)).request("GET", VERSION)
    assert transport.clock.now() - began == pytest.approx(seconds, abs=0.1)


def test_a_node_that_dies_leaves_a_question_unanswered() -> None:
    transport = quiet_network()
    way = transport.connection(Address("pve1", 8006))
    assert way.request("GET", VERSION).status == 401
    transport.network.after = lambda request, response: setattr(transport.world.nodes["pve1"], "power", "dead")
    began = transport.clock.now()
    with pytest.raises(Lost):
        way.request("GET", VERSION)
    assert transport.clock.now() - began == pytest.approx(5, abs=0.1)


def test_calls_side_by_side_last_as_long_as_the_longest() -> None:
    transport = quiet_network()
    transport.world.nodes["pve1"].api = "black hole"
    began = transport.clock.now()
    ways = {name: transport.connection(Address(name, 8006)) for name in ("pve1", "pve2")}
    found = transport.side_by_side({name: lambda way=way: way.request("GET", VERSION).status for name, way in ways.items()}, 8.5)  # type: ignore[misc]  # mypy does not see way's type in a default
    assert list(found) == ["pve1", "pve2"]
    assert isinstance(found["pve1"], Unreachable)
    assert found["pve2"] == 401
    assert transport.clock.now() - began == pytest.approx(3.05, abs=0.1)
    found = transport.side_by_side({"pve1": lambda: ways["pve1"].request("GET", VERSION).status}, 2)
    assert isinstance(found["pve1"], Lost)
    assert transport.clock.now() - began == pytest.approx(5.05, abs=0.1)


def test_a_late_request_is_obeyed_when_nobody_waits() -> None:
    transport = quiet_network({1: "late"})
    seen: list[str] = []

    class Watched(Api):
        def handle(self, entry: str, request: Request) -> Response:
            seen.append(entry)
            return super().handle(entry, request)

    transport.api = Watched(transport.world)
    with pytest.raises(Lost):
        transport.connection(Address("pve1", 8006)).request("GET", VERSION)
    assert not seen
    transport.clock.sleep(10)
    assert seen == ["pve1"]


def test_a_mistyped_answer_is_json_of_another_form() -> None:
    body = b'{"data":{"status":"stopped","vmid":121,"ha":{"managed":0}}}'
    spoilt = {mistyped(body, random.Random(seed)) for seed in range(200)}
    assert body not in spoilt
    assert all("data" in json.loads(each) for each in spoilt)
    assert len(spoilt) > 20


def test_a_schedule_is_told_in_words() -> None:
    made = Schedule(7, "calm", action="reboot", happenings=(schedules.Happening(1.5, "crash"),))
    assert str(made).splitlines() == ["calm 7: action=reboot", "  Happening(when=1.5, what='crash', values=())"]
