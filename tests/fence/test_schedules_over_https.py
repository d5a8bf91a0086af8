"""Random schedules again, over real HTTPS: sockets, TLS, threads and the agent's own client, in a time that passes faster.

What the simulation leaves out, the order in which threads are served and bytes arrive, is here; what can be played in some seconds.
"""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from fence_lab.clock import Clock
from fence_lab.errors import FenceError
from fence_lab.https import HttpsTransport
from fence_lab.pve import FencePve
from fence_lab.transport import CONNECT_SECONDS, READ_SECONDS, Address, Connection, Reply, Transport
from lab.proxmox import faults
from lab.proxmox.api import Api, Request, Response
from lab.proxmox.certificates import Authority
from lab.proxmox.server import Standin
from tests.fence.plays import Play, Simulation
from tests.fence.schedules import Schedule, schedule
from tests.fence.simulated import BEGIN, Line

pytestmark = pytest.mark.once

K = TypeVar("K")
T = TypeVar("T")

COUNT = 50
# How many of the agent's seconds pass in one of ours.
SPEED = 8.0
# A call that takes longer than this in the simulation is not played here.
SHORT_SECONDS = 9.0
# In the agent's time: what a busy machine may add to a call.
SLACK_SECONDS = 20.0
SILENT = logging.Logger("nobody listens")  # noqa: LOG001  one shared by name would have the handlers of others
SILENT.addHandler(logging.NullHandler())


class FastClock(Clock):
    """The agent's time and the world's.  It stands still at what is set until it runs."""

    def __init__(self) -> None:
        self.moment = BEGIN
        self._since: float | None = None

    def now(self) -> float:
        return self.moment if self._since is None else self.moment + (time.monotonic() - self._since) * SPEED

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / SPEED)

    def run(self) -> None:
        self._since = time.monotonic()


class FastConnection:
    """A real connection whose bounds are in the agent's time."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.address = connection, connection.address

    @property
    def fingerprint(self) -> str | None:
        return self._connection.fingerprint

    def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        connect: float = CONNECT_SECONDS, read: float = READ_SECONDS,
    ) -> Reply:  # fmt: skip
        return self._connection.request(method, path, params=params, headers=headers, connect=connect / SPEED, read=read / SPEED)

    def close(self) -> None:
        self._connection.close()


class FastTransport:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def connection(self, address: Address) -> Connection:
        return FastConnection(self._transport.connection(address))

    def side_by_side(self, calls: Mapping[K, Callable[[], T]], within: float) -> dict[K, T | FenceError]:
        return self._transport.side_by_side(calls, within / SPEED)


def on_the_wire(mishap: str, dice: random.Random) -> faults.Fault | None:
    """Return what a mishap of the simulation is to real bytes; None for what has no like here."""
    byte = dice.choice((0, 1, 20, None, dice.randrange(600)))
    made: dict[str, Callable[[], faults.Fault]] = {
        "reset before": lambda: replace(faults.reset(0), obeyed=False),
        "reset after": lambda: faults.reset(0),
        "cut": lambda: faults.cut(byte),
        "cut unseen": lambda: faults.reset(byte or 0),
        "stalled": lambda: faults.stalled(byte),
        "late": lambda: replace(faults.stalled(0), obeyed=False),
        "html": lambda: faults.html(200, "OK"),
        "bad gateway": faults.html,
        "wrong type": lambda: faults.data(dice.choice((None, [], {}, "stopped", 0, [None], {"status": 1}, [{"node": []}]))),
        "empty": lambda: faults.empty(200, "OK"),
        "not utf-8": faults.garbage,
    }
    return replace(made[mishap](), times=1) if mishap in made else None


class Hooked(Api):
    """The API with a play's hooks; its delays are in the agent's time."""

    def __init__(self, play: Served) -> None:
        super().__init__(play.world)
        self.play = play

    def handle(self, entry: str, request: Request) -> Response:
        play = self.play
        play.note("%s %s %s", entry, request.method, request.path)
        play.before(request)
        response = super().handle(entry, request)
        play.after(request, response)
        play.note("  %d %s %s", response.status, response.reason, response.body)
        play.disturb_next()
        return replace(response, delay=response.delay / SPEED)


class Served(Play):
    """A play over HTTPS."""

    margin = SLACK_SECONDS

    def __init__(self, made: Schedule, directory: Path, authority: Authority) -> None:
        self.clock = FastClock()
        super().__init__(made, self.clock.now)
        self.standin = Standin(self.world, directory=directory, port=0, authority=authority)
        self.standin.api = Hooked(self)

    def run(self) -> Served:
        self.prepare()
        self.clock.moment += self.schedule.history
        self.world.advance()
        with self.standin:
            addresses = ",".join(self.world.nodes[name].address for name in self.schedule.endpoints)
            here = {"ip": addresses, "ipport": str(self.standin.port)}
            self.schedule = replace(self.schedule, options={**self.schedule.options, **here})
            self.disturb_next()
            transport = FastTransport(HttpsTransport(ca_file=str(self.standin.ca_file), log=SILENT))
            with self.standin.lock:
                self.clock.run()
                self.begin()
            self.call(FencePve, transport, self.clock)
            with self.standin.lock:
                self.world.advance()
        return self

    def note(self, what: str, *values: object) -> None:
        self.lines.append(Line(self.clock.now(), what, values))

    def disturb_next(self) -> None:
        """Let something go wrong with the next answer, or not."""
        fault = on_the_wire(self.network.mishap(self.clock.now()), self.dice)
        if fault is not None:
            self.note("* %s", fault)
            self.standin.disturb(fault)

    def promises(self, action: str, spent: float) -> Iterator[str]:
        """Ask for no success: on a busy machine the short bounds may pass for a silence."""
        yield from ()


def short_plays() -> Iterator[Simulation]:
    """Play the first schedules that are short in the simulation and in which something happens; no theme gets more than its share."""
    themes = Counter[str]()
    for seed in itertools.count():
        made = schedule(seed)
        if (made.happenings or made.mishaps or made.storms) and themes[made.theme] < COUNT / 5:
            play = Simulation(made).run()
            if 0.5 < play.ended - play.began < SHORT_SECONDS:
                themes[made.theme] += 1
                yield play


def test_no_success_is_a_lie_over_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    succeeded = alike = 0
    for simulation in itertools.islice(short_plays(), COUNT):
        made = simulation.schedule
        play = Served(made, tmp_path, authority).run()
        complaints = play.complaints()
        assert not complaints, "\n".join([f"seed {made.seed}", *complaints, play.trace()])
        succeeded += play.code != 1
        alike += play.code == simulation.code
    assert succeeded > COUNT / 3
    # The simulation is a fair picture of the real thing: the same schedule ends alike in both, but for a coincidence here and there.
    assert alike > COUNT * 0.7
