"""A run of the lab: what was done to the cluster, what it did, and what its client saw; as JSON, and back from it.

Times are seconds from the moment of the injection, negative before it.  Everything here is what was seen; what follows from it
(disruption, its phases, the verdict) is computed when it is asked for, by `phases` and `verdict`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timezone
from enum import Enum
from typing import Any, TypeVar, Union

FORMAT = 1


class Malformed(ValueError):
    """A text that is not the JSON of a run, or a run that nothing can be said of; the message says where and why."""


class Agents(Enum):
    STOCK = "stock"
    LAB = "lab"


class Profile(Enum):
    """Whose monitor intervals and fencing delays the cluster has."""

    DOCUMENT = "document"
    RECOMMENDED = "recommended"


class Condition(Enum):
    """What is said of a node: by the cluster, and by the hypervisor (off, booting)."""

    ONLINE = "online"
    STANDBY = "standby"
    UNCLEAN = "unclean"  # Lost, and to be fenced.
    OFFLINE = "offline"  # Left in order, or fenced.
    OFF = "off"
    BOOTING = "booting"


class Step(Enum):
    """How far a fencing is."""

    REQUESTED = "requested"
    DELAYED = "delayed"  # Pacemaker waits pcmk_delay before it calls the device.
    CALLED = "called"
    FAILED = "failed"  # This call; another may follow.
    CONFIRMED = "confirmed"


class Service(Enum):
    """What the database does."""

    DOWN = "down"
    STARTING = "starting"
    ACCEPTING = "accepting"


class Outcome(Enum):
    """What the client knows of an operation at its end."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"  # The connection broke, or the deadline passed, with the commit under way.
    NOT_SENT = "not sent"  # As many sessions as there may be were waiting already.


class Session(Enum):
    PERSISTENT = "persistent"
    CONNECT = "connect"  # A connection for each operation.


class Reach(Enum):
    """What a TCP connection to the VIP found."""

    OPEN = "open"
    REFUSED = "refused"
    NO_ROUTE = "no route"
    TIMEOUT = "timeout"
    OTHER = "other"


@dataclass(frozen=True)
class Fault:
    """What the scenario did to the cluster, and when it took it back; None where it did not."""

    at: float
    source: str
    what: str
    until: float | None = None


@dataclass(frozen=True)
class NodeState:
    at: float
    source: str
    node: str
    condition: Condition


@dataclass(frozen=True)
class Call:
    """An operation of a resource.  `ended` and `code` are None where it was not seen to end; a probe is a monitor of interval 0."""

    at: float
    source: str
    node: str
    resource: str
    action: str
    ended: float | None = None
    code: int | None = None
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether the cluster has to answer this: 190 (degraded) is good for it, and a probe may find anything."""
        return self.ended is not None and self.action != "probe" and self.code not in (0, 190)


@dataclass(frozen=True)
class Fence:
    """A step of the fencing of a node; `seconds` is how long a delay is meant to be."""

    at: float
    source: str
    target: str
    step: Step
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Power:
    """The hypervisor switched a virtual machine on or off."""

    at: float
    source: str
    node: str
    on: bool


@dataclass(frozen=True)
class Vip:
    """The floating address is on this node from now on; on none if None."""

    at: float
    source: str
    node: str | None


@dataclass(frozen=True)
class Database:
    at: float
    source: str
    node: str
    service: Service


Event = Union[Fault, NodeState, Call, Fence, Power, Vip, Database]
T = TypeVar("T", bound=Event)
KINDS: dict[str, type[Any]] = {"fault": Fault, "node": NodeState, "call": Call, "fence": Fence, "power": Power, "vip": Vip,
                               "database": Database}  # fmt: skip


@dataclass(frozen=True)
class Write:
    """An operation of the client: due at a moment of its schedule, and `latency` later, from then, its outcome was known.

    None as latency: the client was ended before.
    """

    due: float
    session: Session
    outcome: Outcome
    latency: float | None = None
    error: str = ""

    @property
    def acknowledged(self) -> float | None:
        """When the client knew that the row is committed."""
        return self.due + self.latency if self.outcome is Outcome.OK and self.latency is not None else None


@dataclass(frozen=True)
class Probe:
    """What the TCP probe saw; that holds until the next one."""

    at: float
    reach: Reach


@dataclass(frozen=True)
class Audit:
    """What the rows in the database say against the client's ledger."""

    acknowledged: int
    lost: int  # Acknowledged, and not there.
    ghosts: int  # Never sent, or told to have failed, and there.
    duplicates: int
    overlaps: int  # Pairs of servers that wrote in overlapping time.


@dataclass(frozen=True)
class Machine:
    """What the lab ran on: only runs of one machine may be compared in seconds."""

    accelerator: str  # kvm or tcg
    cores: int
    memory_mib: int
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """What the scenario demands.  Times are generous: they prove that something ends, and are no measurement."""

    back: float  # Writes are acknowledged again at the latest so long after the injection.
    failover: bool = True  # False: nothing may fail over, so no node is fenced and the VIP stays.
    spared: str | None = None  # The node that must not be the one that is fenced.
    fence_call: float | None = None  # The fence device is called at the latest so long after the injection.
    noticed: float | None = None  # The cluster notices (phases.noticed) at the latest so long after the injection.
    named: bool = False  # True: a fencing that fails is told, with a reason.
    in_place: bool = True  # False: no operation of a resource may fail, and no resource may be stopped.


@dataclass(frozen=True)
class Run:
    scenario: str
    title: str
    agents: Agents
    profile: Profile
    started: datetime
    injected: datetime
    watched: float  # How long the run was looked at from the injection on.
    active: str  # The node that had the service then.
    machine: Machine
    bound: Bound
    writes: tuple[Write, ...]
    events: tuple[Event, ...] = ()
    probes: tuple[Probe, ...] = ()
    audit: Audit | None = None  # None: nobody could read the rows.
    notes: str = ""
    kind: str = ""  # Runs of one scenario that are of different kinds are not put together.

    def __post_init__(self) -> None:
        if not any(write.acknowledged is not None and write.due < 0 for write in self.writes):
            raise Malformed("no write was acknowledged before the injection: there is nothing that could have been disrupted")
        if self.watched <= 0:
            raise Malformed(f"watched: {self.watched:g} s is no time")

    @property
    def name(self) -> str:
        """What tells this run from others, fit for a file name."""
        return f"{self.scenario}-{self.agents.value}-{self.profile.value}-{self.started.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}"

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of a kind, in order of time."""
        return in_order(self.events, kind)

    def nodes(self) -> list[str]:
        """Return all nodes that the run knows, in the order of their names."""
        named = {event.node for event in self.events if isinstance(event, (NodeState, Call, Power, Database))}
        named |= {event.node for event in self.of(Vip) if event.node} | {event.target for event in self.of(Fence)}
        return sorted(named | {self.active})


def in_order(events: tuple[Event, ...], kind: type[T]) -> list[T]:
    return sorted((event for event in events if isinstance(event, kind)), key=lambda event: event.at)


# From Python to plain values


def plain(value: object) -> Any:
    """Return what JSON can hold of a value.  Events tell their kind; writes and probes, which are many, are rows of their fields."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Write, Probe)):
        return [plain(getattr(value, one.name)) for one in fields(value)]
    kind = next((name for name, cls in KINDS.items() if type(value) is cls), None)
    if kind or isinstance(value, (Run, Machine, Bound, Audit)):
        return {**({"kind": kind} if kind else {}), **{one.name: plain(getattr(value, one.name)) for one in fields(value)}}  # type: ignore[arg-type]
    return value


def dump(run: Run, **derived: object) -> str:
    """Return the JSON of a run: an item of a list per line.  `derived` is written for other readers; `load` passes it over."""

    def line(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    def member(value: object) -> str:
        if isinstance(value, list) and value:
            return "[\n  " + ",\n  ".join(line(item) for item in value) + "\n ]"
        return line(value)

    whole = {"format": FORMAT, **plain(run), **({"derived": derived} if derived else {})}
    return "{\n" + ",\n".join(f" {line(key)}: {member(value)}" for key, value in whole.items()) + "\n}\n"


# And back.  What reads a field is found by the text of its annotation, so that fields are declared in one place.


def wrong(where: str, wanted: str, value: object) -> Malformed:
    return Malformed(f"{where}: {wanted} is expected, not {json.dumps(value)[:60]}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, "a text", value)
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise wrong(where, "a number", value)
    return float(value)


def _integer(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(where, "a whole number", value)
    return value


def _truth(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(where, "true or false", value)
    return value


def _moment(value: object, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value, where))
    except ValueError:
        raise wrong(where, "a date and time", value) from None
    if moment.tzinfo is None:
        raise wrong(where, "a time with its offset from UTC", value)
    return moment


def _texts(value: object, where: str) -> dict[str, str]:
    return {key: _text(item, f"{where}.{key}") for key, item in _object(value, where).items()}


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    return value


def _one_of(kind: type[Enum]) -> Callable[[object, str], Enum]:
    def read(value: object, where: str) -> Enum:
        found = next((one for one in kind if one.value == value), None)
        if found is None:
            raise wrong(where, "one of " + ", ".join(one.value for one in kind), value)
        return found

    return read


def _thing(kind: type[Any]) -> Callable[[object, str], Any]:
    """Return what reads an object into a dataclass: each field, no other, and those without a default at least."""

    def read(value: object, where: str) -> Any:
        given = dict(_object(value, where))
        told = {}
        for one in fields(kind):
            place = f"{where}.{one.name}".lstrip(".")
            if one.name in given:
                told[one.name] = READERS[str(one.type)](given.pop(one.name), place)
            elif one.name in _required(kind):
                raise Malformed(f"{place} is missing")
        if given:
            raise Malformed(f"{where or 'the run'} has no {', '.join(sorted(given))}")
        return kind(**told)

    return read


def _required(kind: type[Any]) -> set[str]:
    return {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}


def _event(value: object, where: str) -> Event:
    given = dict(_object(value, where))
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise wrong(f"{where}.kind", f"one of {', '.join(KINDS)}", kind)
    event: Event = _thing(KINDS[kind])(given, where)
    return event


def _row(kind: type[Any]) -> Callable[[object, str], Any]:
    names = [one.name for one in fields(kind)]

    def read(value: object, where: str) -> Any:
        row = _list(value, where)
        if len(row) != len(names):
            raise Malformed(f"{where}: {len(names)} values are expected ({', '.join(names)}), not {len(row)}")
        return kind(**{one.name: READERS[str(one.type)](item, f"{where}.{one.name}") for one, item in zip(fields(kind), row)})

    return read


def _many(read: Callable[[object, str], Any]) -> Callable[[object, str], tuple[Any, ...]]:
    return lambda value, where: tuple(read(item, f"{where}[{number}]") for number, item in enumerate(_list(value, where)))


def _maybe(read: Callable[[object, str], Any]) -> Callable[[object, str], Any]:
    return lambda value, where: None if value is None else read(value, where)


READERS: dict[str, Callable[[object, str], Any]] = {
    "str": _text, "str | None": _maybe(_text), "float": _number, "float | None": _maybe(_number), "int": _integer,
    "int | None": _maybe(_integer), "bool": _truth, "datetime": _moment, "Mapping[str, str]": _texts,
    **{kind.__name__: _one_of(kind) for kind in (Agents, Profile, Condition, Step, Service, Outcome, Session, Reach)},
    **{kind.__name__: _thing(kind) for kind in (Machine, Bound)}, "Audit | None": _maybe(_thing(Audit)),
    "tuple[Event, ...]": _many(_event), "tuple[Write, ...]": _many(_row(Write)), "tuple[Probe, ...]": _many(_row(Probe)),
}  # fmt: skip


def load(text: str) -> Run:
    """Return the run that a text tells.  Raises Malformed."""

    def no_number(word: str) -> float:
        raise Malformed(f"{word} is no number")

    try:
        whole = json.loads(text, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise Malformed(f"no JSON: {error}") from None
    except RecursionError:
        raise Malformed("no JSON of a run: nested too deep") from None
    given = dict(_object(whole, "the file"))
    version = given.pop("format", None)
    if version != FORMAT or isinstance(version, bool):
        raise wrong("format", str(FORMAT), version)
    given.pop("derived", None)
    run: Run = _thing(Run)(given, "")
    return run
