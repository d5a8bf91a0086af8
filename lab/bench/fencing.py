"""How long fencing takes, stock against ours, over a modelled Proxmox VE: run by `python3 -m lab.bench`, which makes the root.

Both agents get the same options on standard input and fenced's environment.  A guest's QEMU is gone half a second after it was told
to quit; the server's task looks every second, as the real one does, so a second of each `off` is the server's.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from lab.bench import cost, report
from lab.bench.latency import Distance
from lab.bench.report import Figure, say
from lab.proxmox.server import Standin
from lab.proxmox.world import World

OURS, STOCK = "/usr/sbin/fence_pve", "/usr/share/ocf-lab/stock/fence_pve"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PCMK_service": "pacemaker-fenced"}
PORT, SERVER_PORT = 8006, 18006
USER, PASSWORD = "pacemaker@pve", "right"
ACTIONS = ("off", "reboot", "monitor")
ROUND_TRIPS = (0.0, 0.020, 0.100)
# Guests on the first and on the second hypervisor; those after them are spread over all.
FIRST, SECOND = 101, 102
STOP_SECONDS, START_SECONDS = 0.5, 0.5
# qemu-server looks once a second whether a guest that was told to quit is gone, and the stand-in does so too.
TASK_SECONDS = 1.0
BOUND = 40.0
DARK = "Fencing: a hypervisor answers nothing"
# Budgets of the design.
RATIO, REQUESTS, HANDSHAKES, ANSWER_SECONDS = 0.5, 7, 2, 10.0
# What "independent of hypervisors and guests" may mean beside the noise.
GROWTH = 1.25


@dataclass(frozen=True)
class Size:
    hypervisors: int
    guests: int

    def __str__(self) -> str:
        return f"{self.hypervisors} hypervisors, {self.guests:,} guests"


SMALL, LARGE = Size(2, 2), Size(16, 2000)
SIZES = [SMALL, Size(2, 2000), Size(16, 2), LARGE]


@dataclass(frozen=True)
class Run:
    """One call of an agent; `code` is None where it had to be killed."""

    code: int | None
    wall: float
    requests: int
    handshakes: int
    said: str


class Unexpected(Exception):
    """An agent did not end as it has to where its time means anything."""


@dataclass
class Place:
    """A cluster of hypervisors, and the distance from which it is reached."""

    size: Size
    world: World
    standin: Standin
    distance: Distance

    def call(self, agent: str, action: str, guest: int, ip: str) -> Run:
        options = {"action": action, "ip": ip, "username": USER, "password": PASSWORD, "plug": str(guest), "vmtype": "qemu",
                   "pve_node_auto": "1", "ssl_insecure": "1", "nodename": f"vm{guest}"}  # fmt: skip
        requests, handshakes = len(self.standin.requests), len(self.standin.handshakes)
        code, wall, said = bounded(agent, options)
        return Run(code, wall, len(self.standin.requests) - requests, len(self.standin.handshakes) - handshakes, said)

    def address(self, name: str) -> str:
        return self.world.nodes[name].address

    def restart(self, *guests: int) -> None:
        """Let the guests run again."""
        with self.standin.lock:
            for vmid in guests:
                guest = self.world.guests[vmid]
                if not guest.living():
                    self.world.begin(guest, self.world.nodes[guest.node])

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Take the power from a hypervisor: nothing at its address answers."""
        with self.standin.lock:
            self.world.nodes[name].power = "dead"
        self.distance.black_hole(self.address(name))
        try:
            yield
        finally:
            with self.standin.lock:
                self.world.nodes[name].power = "on"
            self.distance.restore()
            self.restart(FIRST, SECOND)


@contextmanager
def place(size: Size) -> Iterator[Place]:
    world = World(time.monotonic)
    # A vote that lets one of two go on.
    world.qdevice_votes = 1
    names = [f"pve{number + 1}" for number in range(size.hypervisors)]
    for number, name in enumerate(names):
        world.add_node(name, f"127.0.0.{number + 11}")
    for number in range(size.guests):
        vmid = FIRST + number
        world.add_guest(vmid, f"vm{vmid}", names[number % len(names)], stop_seconds=STOP_SECONDS, start_seconds=START_SECONDS)
    world.add_user(USER, PASSWORD)
    world.grant("/vms", USER, "VM.Audit", "VM.PowerMgmt")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        standin = stack.enter_context(Standin(world, directory=Path(directory), port=SERVER_PORT))
        servers = {node.address: SERVER_PORT for node in world.nodes.values()}
        yield Place(size, world, standin, stack.enter_context(Distance(servers, port=PORT)))


def bounded(agent: str, options: Mapping[str, str]) -> tuple[int | None, float, str]:
    """Run an agent as fenced does; return its exit code, None when it was killed after BOUND seconds, its time, and what it said."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write("".join(f"{name}={value}\n" for name, value in options.items()).encode())
        given.seek(0)
        began = time.monotonic()
        process = subprocess.Popen([agent], stdin=given, stdout=said, stderr=said, env=ENVIRONMENT, cwd="/", start_new_session=True)
        end = os.pidfd_open(process.pid)
        try:
            ended = bool(select.select([end], [], [], BOUND)[0])
            wall = time.monotonic() - began
        finally:
            os.close(end)
            if process.poll() is None:
                process.kill()
            process.wait()
        said.seek(0)
        return process.returncode if ended else None, wall, said.read().decode(errors="replace")


def good(run: Run, codes: Sequence[int] = (0,)) -> Run:
    """Return a run that did what is to be measured.  Raises Unexpected."""
    if run.code not in codes:
        raise Unexpected(f"exit code {run.code} after {run.wall:.1f} s: {run.said.strip()}")
    return run


@dataclass(frozen=True)
class Pairs:
    """Paired runs of both agents in one situation."""

    action: str
    size: Size
    round_trip: float
    ours: list[Run]
    stock: list[Run]

    @property
    def name(self) -> str:
        return f"{self.action}, {1000 * self.round_trip:.0f} ms, {self.size}"

    def ratio(self, beside: float = 0.0) -> cost.Ratio:
        return cost.quartiles([(one.wall - beside) / (other.wall - beside) for one, other in zip(self.ours, self.stock)])


def paired(here: Place, action: str, round_trip: float, rounds: int) -> Pairs:
    """Run both agents in turn, first the one, then the other first."""
    here.distance.round_trip = round_trip
    pairs = Pairs(action, here.size, round_trip, [], [])
    for number in range(rounds):
        for agent, runs in [(STOCK, pairs.stock), (OURS, pairs.ours)][:: 1 if number % 2 else -1]:
            runs.append(good(here.call(agent, action, SECOND, here.address("pve1"))))
            here.restart(SECOND)
    return pairs


def healthy(sizes: Sequence[Size], round_trips: Sequence[float], rounds: int) -> list[Pairs]:
    measured = []
    for size in sizes:
        with place(size) as here:
            for round_trip, action in product(round_trips, ACTIONS):
                measured.append(paired(here, action, round_trip, rounds))
                say(f"{measured[-1].name}: ours {seconds(measured[-1].ours)}, stock {seconds(measured[-1].stock)}")
    return measured


def seconds(runs: Sequence[Run]) -> str:
    return f"{median(run.wall for run in runs):.2f} s"


# Each of these returns the figures of a part of the table.


def against_stock(measured: Sequence[Pairs]) -> list[Figure]:
    """Wall-clock time of ours, as a ratio of paired runs.

    A hypervisor's task that stops a guest takes a second, whoever waits for it, and most of stock's time with two hypervisors is that:
    so the limit also holds for what is left, and for the whole only where there are many.
    """
    figures = []
    for pairs in measured:
        limited = (pairs.action, pairs.round_trip) == ("off", 0.020)
        figures.append(Figure(pairs.name, pairs.ratio(), RATIO if limited and pairs.size.hypervisors > 2 else None, "x stock"))
        if limited:
            figures.append(Figure(f"{pairs.name}, beside the task's second", pairs.ratio(TASK_SECONDS), RATIO, "x stock"))
    return figures


def traffic(measured: Sequence[Pairs]) -> list[Figure]:
    """Count requests and handshakes: the most that a run of ours took anywhere, and stock's with few and with many hypervisors."""
    figures = []
    for action, (what, limit) in product(ACTIONS, (("requests", REQUESTS), ("handshakes", HANDSHAKES))):
        here = [pairs for pairs in measured if pairs.action == action]
        most = max(getattr(run, what) for pairs in here for run in pairs.ours)
        figures.append(Figure(f"{what}, {action}, any size", most, limit if action == "off" else None, ""))
        for count in sorted({pairs.size.hypervisors for pairs in here}):
            stock = median(getattr(run, what) for pairs in here if pairs.size.hypervisors == count for run in pairs.stock)
            figures.append(Figure(f"{what}, stock {action}, {count} hypervisors", stock, unit=""))
    return figures


def two_addresses(sizes: Sequence[Size], rounds: int) -> list[Figure]:
    """Count those of an `off` that is given two hypervisors, both of which answer.

    It hears both on who has the guest, side by side: that takes more requests, and no more time.
    """
    runs = []
    for size in sizes:
        with place(size) as here:
            here.distance.round_trip = 0.020
            for _ in range(rounds):
                runs.append(good(here.call(OURS, "off", SECOND, ",".join(here.address(name) for name in ("pve1", "pve2")))))
                here.restart(SECOND)
    return [Figure(f"{what}, off, two addresses, any size", max(getattr(run, what) for run in runs), limit, "")
            for what, limit in (("requests", None), ("handshakes", HANDSHAKES))]  # fmt: skip


def growth(measured: Sequence[Pairs]) -> list[Figure]:
    """How much longer ours takes where there is most of everything."""
    times = {(pairs.action, pairs.size): median(run.wall for run in pairs.ours) for pairs in measured if pairs.round_trip == 0.020}
    ratios = {action: times[action, LARGE] / times[action, SMALL] for action in ACTIONS if (action, LARGE) in times}
    limits = {"off": GROWTH}
    return [Figure(f"{action}, 20 ms, {LARGE}", ratio, limits.get(action), f"x {SMALL}") for action, ratio in ratios.items()]


@dataclass(frozen=True)
class Loss:
    """A hypervisor without power, and what a call of an agent does about it; `ip` names hypervisors, as `dead` does."""

    what: str
    action: str
    guest: int
    dead: str
    ip: str
    codes: Sequence[int] = (0,)

    def addresses(self, here: Place) -> str:
        return ",".join(here.address(name) for name in self.ip.split(","))


def losses(size: Size, actions: Sequence[str] = ACTIONS) -> list[Loss]:
    last = f"pve{size.hypervisors}"
    return [
        loss for action in actions for loss in (
            Loss(f"{action}, one is dead that is not concerned", action, FIRST, last, "pve1"),
            Loss(f"{action}, the first of two addresses is dead", action, SECOND, "pve1", "pve1,pve2"),
            Loss(f"{action} refused, the guest's is dead", action, SECOND, "pve2", "pve1", (1,)),
            Loss(f"{action} refused, the guest's is dead, and an address", action, SECOND, "pve2", "pve2,pve1", (1,)),
        )
    ]  # fmt: skip


def black_holes(sizes: Sequence[Size], round_trips: Sequence[float], actions: Sequence[str] = ACTIONS) -> list[Figure]:
    """How long ours takes while one of the hypervisors swallows everything: the longest, from near and far (`off`) or from far."""
    figures = []
    for size in sizes:
        with place(size) as here:
            for loss in losses(size, actions):
                runs = [in_the_dark(here, OURS, loss, away) for away in (round_trips if loss.action == "off" else round_trips[-1:])]
                longest = max((good(run, loss.codes) for run in runs), key=lambda run: run.wall)
                say(f"{loss.what}, {size}: {longest.wall:.2f} s: {longest.said.strip()}")
                figures.append(Figure(f"{loss.what}, {size}", longest.wall, ANSWER_SECONDS, "s"))
    return figures


def in_the_dark(here: Place, agent: str, loss: Loss, round_trip: float) -> Run:
    here.distance.round_trip = round_trip
    with here.without(loss.dead):
        return here.call(agent, loss.action, loss.guest, loss.addresses(here))


def stock_in_the_dark(sizes: Sequence[Size]) -> list[Figure]:
    """How long stock takes with one dead hypervisor, at 20 ms; whatever it says in the end, and for BOUND seconds at most."""
    figures = []
    for size in sizes:
        with place(size) as here:
            for loss in losses(size, ACTIONS if size == SMALL else ("off",)):
                if "," in loss.ip:
                    continue
                run = in_the_dark(here, STOCK, loss, 0.020)
                end = "killed after" if run.code is None else f"exit code {run.code} after"
                figures.append(Figure(f"stock {loss.what.replace(' refused', '')}, {size}: {end}", run.wall, unit="s"))
                say(f"{figures[-1].what} {run.wall:.1f} s: {run.said.strip()}")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.bench.fencing", description="See how long fencing takes, stock against ours")
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair runs (%(default)s)")
    parser.add_argument("--short", action="store_true", help="one pair of each action, 20 ms away: to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    sizes, round_trips, rounds = ([SMALL], [0.020], 1) if given.short else (SIZES, ROUND_TRIPS, given.rounds)
    began = time.monotonic()
    measured = healthy(sizes, round_trips, rounds)
    parts = [
        ("Fencing: time", against_stock(measured)),
        ("Fencing: many hypervisors and guests", growth(measured)),
        ("Fencing: requests and TLS handshakes", [*traffic(measured), *two_addresses([SMALL] if given.short else [SMALL, LARGE], rounds)]),
    ]
    if given.short:
        parts.append((DARK, black_holes([SMALL], round_trips, ["off"])))
    else:
        parts += [(DARK, black_holes([SMALL, LARGE], round_trips)), (f"{DARK}, and stock", stock_in_the_dark([SMALL, LARGE]))]
    say(f"measured in {time.monotonic() - began:.0f} s")
    report.tell(parts, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
