"""Virtual time and a simulated network between a fence agent and the modelled cluster.

Nothing here waits: every wait moves a clock on, and the world works off what was due on the way.  So an hour of fencing takes
milliseconds, one schedule is like the next on any machine, and what happened is known to the exact moment.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

from fence_lab.clock import Clock
from fence_lab.errors import FenceError
from fence_lab.transport import CONNECT_SECONDS, READ_SECONDS, Address, Lost, Reply, Unreachable
from lab.proxmox import wire
from lab.proxmox.api import Api, Request, Response, Unanswered
from lab.proxmox.nodes import ANSWERS, REFUSING, Node
from lab.proxmox.world import World

K = TypeVar("K")
T = TypeVar("T")

# A moment like any other; the tasks of the modelled cluster show it as seconds since 1970.
BEGIN = 1_760_000_000.0
# pveproxy closes a connection that was idle for so long (pve-http-server, AnyEvent.pm: timeout of accept_connections).
IDLE_SECONDS = 5.0
API = "/api2/json"


class GivenUp(BaseException):
    """A call made side by side with others has run out of its time.  Nothing in the agent may catch it, as nothing stops a real thread."""


class SimulatedClock(Clock):
    """Time that passes when somebody waits.

    `moment` is the time of whoever runs at present.  Calls that are made side by side run one after the other, each from the same
    moment on, so it may go back; `reached` is the world's time, which does not.
    """

    def __init__(self) -> None:
        self.moment = self.reached = BEGIN
        self.limits: list[float] = []
        self.world: World | None = None

    def now(self) -> float:
        return self.moment

    def world_time(self) -> float:
        return self.reached

    def sleep(self, seconds: float) -> None:
        self.spend(max(0.0, seconds))
        if not self.limits:
            self.reach()

    def spend(self, seconds: float) -> None:
        """Let time pass for whoever runs at present; the world follows with the next `reach`."""
        self.moment += seconds
        if self.limits and self.moment > self.limits[-1]:
            self.moment = self.limits[-1]
            raise GivenUp

    def reach(self) -> None:
        """Work off everything that has happened until now."""
        if self.moment > self.reached:
            self.reached = self.moment
            if self.world is not None:
                self.world.advance()

    @contextmanager
    def limited(self, at: float) -> Iterator[None]:
        self.limits.append(min(at, *self.limits) if self.limits else at)
        try:
            yield
        finally:
            self.limits.pop()


@dataclass
class Line:
    """One entry of a schedule's trace, put into words only when somebody reads it."""

    at: float
    what: str
    values: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.at - BEGIN:9.3f}  {self.what % self.values}"


# What the network does to one request, by name.
MISHAPS = (
    "slow connection",  # packets are lost while it is made
    "refused",  # there is no connection: nothing was sent
    "reset before",  # the connection breaks before the request arrives
    "reset after",  # the request is obeyed, the connection breaks before the answer
    "late",  # the request arrives, and is obeyed, when the client has given up waiting
    "cut",  # the answer ends between any two of its bytes, and the client can tell
    "cut unseen",  # likewise, but by a server that gave no length: only what is missing tells
    "stalled",  # the answer's first bytes come in time and its last ones do not
    "html",  # a proxy between answers for the server
    "bad gateway",  # likewise, with a status that says so
    "wrong type",  # JSON, but not of the form that was promised
    "empty",  # 200 and nothing more
    "not utf-8",
)


def mistyped(body: bytes, dice: random.Random) -> bytes:
    """Return a JSON answer in which one value is of another type.  No key goes missing: what is not said cannot be mistrusted."""
    document = json.loads(body)
    places: list[tuple[Any, Any]] = []

    def walk(holder: Any, key: Any) -> None:
        places.append((holder, key))
        value = holder[key]
        if isinstance(value, dict):
            for name in value:
                walk(value, name)
        elif isinstance(value, list):
            for index in range(len(value)):
                walk(value, index)

    walk(document, "data")
    holder, key = dice.choice(places)
    # Perl writes a number as a string when it was one before, and 1 and 0 for booleans, so these are no wrong types.
    others: list[object] = [None, [], {}, [None], [[]], {"status": "stopped"}, "nonsense"]
    if not isinstance(holder[key], (bool, int, float)):
        others += [True, False, 7, -1.5]
    holder[key] = dice.choice([value for value in others if type(value) is not type(holder[key]) and value != holder[key]])
    return json.dumps(document).encode()


@dataclass
class Network:
    """What lies between: how long a message travels, and what happens to which request.

    `mishaps` names what happens to the n-th request of the whole call; `storms` are spans in which any of the named things happens
    with some probability; `hooks` run before or after the server handles a request, to make something happen at that very moment.
    """

    dice: random.Random
    latency: float = 0.002
    mishaps: Mapping[int, str] = field(default_factory=dict)
    storms: Sequence[tuple[float, float, float, Sequence[str]]] = ()
    before: Callable[[Request], None] = lambda request: None
    after: Callable[[Request, Response], None] = lambda request, response: None
    began: float = BEGIN
    count: int = 0

    def travel(self) -> float:
        return self.latency * (0.5 + self.dice.random())

    def mishap(self, now: float) -> str:
        self.count += 1
        if self.count in self.mishaps:
            return self.mishaps[self.count]
        for begin, end, probability, kinds in self.storms:
            if begin <= now - self.began < end and self.dice.random() < probability:
                return self.dice.choice(kinds)
        return ""


class SimulatedConnection:
    """The way to one node, or to an address where nobody is."""

    def __init__(self, transport: SimulatedTransport, address: Address) -> None:
        self.transport, self.address = transport, address
        self.clock, self.network = transport.clock, transport.network
        self.node = transport.nodes.get(address.host)
        self._used: float | None = None
        self._known = False

    @property
    def fingerprint(self) -> str | None:
        return self.node.fingerprint if self.node and self._known else None

    def close(self) -> None:
        self._used = None

    def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        connect: float = CONNECT_SECONDS, read: float = READ_SECONDS,
    ) -> Reply:  # fmt: skip
        if not path.startswith(API):
            raise ValueError(f"{path} is not in the API")
        plain = wire.credentials({name.lower(): value for name, value in (headers or {}).items()})
        request = Request(method, unquote(path[len(API) :]), dict(params or {}), plain)
        mishap = self.network.mishap(self.clock.now())
        where = self.node.name if self.node else self.address
        asked = self.transport.note("%s %s %s%s", where, method, request.path, mishap and f" [{mishap}]")
        try:
            reply = self._exchange(request, mishap, connect, read)
        except BaseException as error:
            self.close()
            self.transport.note("  %s: %s: %s", asked, type(error).__name__, error)
            raise
        self.transport.note("  %s: %d %s %s", asked, reply.status, reply.reason, reply.body)
        return reply

    def _exchange(self, request: Request, mishap: str, connect: float, read: float) -> Reply:
        if self._used is None or self.clock.now() - self._used >= IDLE_SECONDS:
            self._connect(mishap, connect)
        node = self.node
        assert node is not None
        by = self.clock.now() + read
        self._spend(self.network.travel(), by)
        if mishap == "reset before":
            raise Lost(f"{self.address}: the connection was reset")
        if mishap == "late":
            self._later(self.network.dice.uniform(0.0, 2 * read), request)
            self._silence(by)
        self._alive(node, by)
        self.network.before(request)
        self._alive(node, by)
        response = self.transport.api.handle(node.name, request)
        self.network.after(request, response)
        if mishap == "reset after":
            raise Lost(f"{self.address}: the connection was reset")
        self._spend(response.delay, by)
        self._alive(node, by)
        self._spend(self.network.travel(), by)
        if mishap == "stalled":
            self._silence(by)
        reply = self._spoilt(response, mishap)
        self._used = None if reply.status >= 400 else self.clock.now()
        return reply

    def _connect(self, mishap: str, seconds: float) -> None:
        self._used = None
        if self.node is None:
            raise Unreachable(f"{self.address}: no such host")
        by = self.clock.now() + seconds
        # One round trip for TCP and one for TLS.
        for _ in range(2):
            self.clock.reach()
            if self.node.reach == REFUSING or mishap == "refused":
                self.clock.spend(self.network.travel())
                raise Unreachable(f"{self.address}: connection refused")
            if self.node.reach != ANSWERS:
                self.clock.spend(by - self.clock.now())
                raise Unreachable(f"{self.address}: no connection within {seconds:g} s")
            seconds_taken = self.network.dice.uniform(0.0, seconds) if mishap == "slow connection" else 2 * self.network.travel()
            if self.clock.now() + seconds_taken > by:
                self.clock.spend(by - self.clock.now())
                raise Unreachable(f"{self.address}: no connection within {seconds:g} s")
            self.clock.spend(seconds_taken)
        self._known = True

    def _alive(self, node: Node, by: float) -> None:
        """Let the world catch up, and find that there is nobody any more."""
        self.clock.reach()
        if node.reach == REFUSING:
            raise Lost(f"{self.address}: the connection was reset")
        if node.reach != ANSWERS:
            self._silence(by)

    def _spend(self, seconds: float, by: float) -> None:
        if self.clock.now() + seconds > by:
            self._silence(by)
        self.clock.spend(seconds)

    def _silence(self, by: float) -> NoReturn:
        self.clock.spend(max(0.0, by - self.clock.now()))
        raise Lost(f"{self.address}: no answer in time")

    def _later(self, seconds: float, request: Request) -> None:
        """Let the request arrive when nobody waits for its answer any more."""
        self.clock.reach()
        node, api = self.node, self.transport.api

        def arrive() -> None:
            if node is not None:
                self.transport.note("%s %s %s arrives late", node.name, request.method, request.path)
                with suppress(Unanswered):
                    api.handle(node.name, request)

        self.transport.world.at(seconds, arrive)

    def _spoilt(self, response: Response, mishap: str) -> Reply:
        """Make the reply, after what the network did to it."""
        dice, body = self.network.dice, response.body or b""
        if mishap == "cut":
            raise Lost(f"{self.address}: the answer was cut short")
        if mishap == "cut unseen" and body:
            body = body[: dice.randrange(len(body))]
        elif mishap == "wrong type" and body and response.status == 200:
            body = mistyped(body, dice)
        elif mishap == "not utf-8":
            body = body[: len(body) // 2] + b"\xff\xfe" + body[len(body) // 2 :]
        elif mishap == "empty":
            return Reply(200, "OK", b"")
        elif mishap == "html":
            return Reply(200, "OK", b"<html><body>stopped</body></html>")
        elif mishap == "bad gateway":
            return Reply(502, "Bad Gateway", b"<html><body>stopped</body></html>")
        return Reply(response.status, response.reason, body)


class SimulatedTransport:
    """The network between the agent and the cluster.  It counts as a fence_lab.transport.Transport."""

    def __init__(self, world: World, clock: SimulatedClock, network: Network, lines: list[Line]) -> None:
        self.world, self.clock, self.network, self.lines = world, clock, network, lines
        self.api = Api(world)
        self.nodes: dict[str, Node] = {}
        for node in world.nodes.values():
            self.nodes[node.name] = self.nodes[node.address] = node

    def note(self, what: str, *values: object) -> int:
        self.lines.append(Line(self.clock.moment, what, values))
        return len(self.lines)

    def connection(self, address: Address) -> SimulatedConnection:
        return SimulatedConnection(self, address)

    def side_by_side(self, calls: Mapping[K, Callable[[], T]], within: float) -> dict[K, T | FenceError]:
        """Make the calls from the same moment on, in an order that is drawn.

        A call that waits does not keep the world from the others: it goes on only to the moments at which something arrives.
        """
        clock = self.clock
        began = last = clock.moment
        outcomes: dict[K, T | FenceError] = {}
        for key in self.network.dice.sample(list(calls), len(calls)):
            clock.moment = began
            try:
                with clock.limited(began + within):
                    outcomes[key] = calls[key]()
            except FenceError as error:
                outcomes[key] = error
            except GivenUp:
                if clock.limits and clock.moment >= clock.limits[-1]:
                    raise
                outcomes[key] = Lost(f"no answer within {within:g} s")
            last = max(last, clock.moment)
        clock.moment = max(last, clock.reached)
        return {key: outcomes[key] for key in calls}
