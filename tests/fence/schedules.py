"""Random schedules of faults for fence_pve: a beginning, and what happens when.

A schedule is made from a seed alone, and everything that is random while it is played comes from the same seed: a seed that has
found something finds it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lab.proxmox import migration
from lab.proxmox.guests import NEVER, QUIT, SIGKILL, SIGTERM
from lab.proxmox.nodes import BLACK_HOLE, NO_ROUTE, REFUSING
from tests.fence.simulated import MISHAPS

VMID, NAME = 121, "rhel1"
USER, TOKEN_NAME = "pacemaker@pve", "fence"
# Texts that nothing else can hold by accident.
PASSWORD, ROOT_PASSWORD, TOKEN = "pw-Zq7/x+9=k", "root-Vb3%41 w", "7c1f0a52-51ab-4f0e-9a53-d3f1c0ffee00"

# Requests by what they are for.
CUES = {
    "login": r"/access/ticket$",
    "list": r"/cluster/resources$",
    "quorum": r"/cluster/status$",
    "look": r"/status/current$",
    "order": r"/status/(stop|start|reset)$",
    "task": r"/tasks/",
}


@dataclass(frozen=True)
class Cue:
    """The n-th request of a kind: before or after the server handles it."""

    kind: str
    nth: int
    after: bool


@dataclass(frozen=True)
class Happening:
    """Something that happens to the world: at a moment (seconds from the beginning of the call, or before it) or on a cue."""

    when: float | Cue
    what: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True)
class Schedule:
    seed: int
    theme: str
    action: str = "off"
    method: str = "onoff"
    nodes: int = 2
    qdevice: bool = True
    endpoints: tuple[str, ...] = ("pve1", "pve2")
    kind: str = "qemu"
    owner: str = "pve1"
    running: bool = True
    ha: bool = False
    audit: bool = True
    credentials: str = "password"
    lock: tuple[str, float] = ("", 0.0)
    dies_at: str = QUIT
    stop_seconds: float = 1.0
    latency: float = 0.002
    token_seconds: float = 0.0
    recovery_seconds: float = 120.0
    old: bool = False
    telling: bool = True
    history: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    happenings: tuple[Happening, ...] = ()
    mishaps: Mapping[int, str] = field(default_factory=dict)
    storms: tuple[tuple[float, float, float, tuple[str, ...]], ...] = ()

    def __str__(self) -> str:
        plain = Schedule(self.seed, self.theme)
        said = [f"{name}={value}" for name, value in vars(self).items() if value != getattr(plain, name) and name != "happenings"]
        return "\n  ".join([f"{self.theme} {self.seed}: {', '.join(said)}", *map(str, self.happenings)])

    def stdin(self) -> str:
        names = {
            "password": {"username": USER, "password": PASSWORD},
            "token": {"username": USER, "token": f"{USER}!{TOKEN_NAME}={TOKEN}"},
            "root": {"username": "root@pam", "password": ROOT_PASSWORD},
        }[self.credentials]
        plain = {"action": self.action, "method": self.method, "ip": " ".join(self.endpoints), "plug": str(VMID), "nodename": NAME}
        return "".join(f"{name}={value}\n" for name, value in {**plain, **names, **self.options}.items())

    @property
    def limit(self) -> float:
        given = self.options.get("time_limit")
        return float(given) if given else 50.0 if self.action in ("off", "on", "reboot") else 15.0


# What a schedule is about; each theme makes the surroundings that it needs, and the rest is drawn.

Change = Mapping[str, object]


def calm(dice: random.Random) -> Change:
    """Nothing is broken."""
    return {}


def blip(dice: random.Random) -> Change:
    """One request fails, and every other one is answered."""
    return {"mishaps": {dice.randint(1, 12): dice.choice(MISHAPS)}}


def away(dice: random.Random, other: bool) -> tuple[Happening, ...]:
    """A hypervisor is away from before the call to its end."""
    which = "other" if other else "owner"
    if dice.random() < 0.5:
        return (Happening(-60.0, "die", (which,)),)
    return (Happening(-60.0, "api", (which, dice.choice((BLACK_HOLE, NO_ROUTE, REFUSING)), 1000.0)),)


def other_away(dice: random.Random) -> Change:
    """A hypervisor that has nothing to do with the guest is away."""
    return {"nodes": dice.choice((3, 4)), "happenings": away(dice, True), "history": 60.0}


def offline(dice: random.Random) -> Change:
    """The guest's hypervisor is away."""
    return {"happenings": away(dice, False), "history": 60.0, "telling": dice.random() < 0.7}


def migrating(dice: random.Random) -> Change:
    """The guest migrates, once or several times, at any moment."""
    happenings = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        fails = dice.choice(("", "", "", migration.ABORTED, migration.KILLED))
        values = (dice.random() < 0.85, round(dice.choice((0.0, 0.3, 2.0, 8.0)) * (0.5 + dice.random()), 3), fails)
        happenings.append(Happening(moment(dice, -9.0, 20.0), "migrate", values))
    if dice.random() < 0.5:
        happenings.append(Happening(Cue("look", dice.choice((1, 1, 1, 2, 3)), after=False), "crash"))
    return {"happenings": tuple(happenings), "history": 10.0}


def stale(dice: random.Random) -> Change:
    """A hypervisor without quorum that says what it knew, while HA may have recovered the guest on another."""
    ha = dice.random() < 0.8
    since = -dice.choice((5.0, 30.0, 70.0, 130.0, 150.0, 200.0, 260.0)) - 10 * dice.random()
    happenings = [Happening(since, "isolate", ("owner", 1000.0))]
    if dice.random() < 0.5:
        happenings.insert(0, Happening(since - 1, "no watchdog", ("owner",)))
    if dice.random() < 0.3:
        happenings.append(Happening(moment(dice, since, 20.0), "crash"))
    if dice.random() < 0.4:
        happenings.append(Happening(moment(dice, 0.0, 30.0), "api", ("other", BLACK_HOLE, 60.0)))
    endpoints = {"endpoints": ("pve1",)} if dice.random() < 0.3 else {}
    return {"ha": ha, "happenings": tuple(happenings), "history": 2.0 - since, "recovery_seconds": dice.choice((70.0, 120.0)),
            "owner": "pve1", "action": dice.choice(("off", "off", "reboot", "status")), **endpoints}  # fmt: skip


def lying(dice: random.Random) -> Change:
    """Tasks that say OK, processes that do not go, clocks that are ahead, somebody who starts what was stopped."""
    happenings = [drawn(dice, LIES) for _ in range(dice.choice((1, 2, 3)))]
    return {"happenings": tuple(happenings), "history": 10.0}


def stormy(dice: random.Random) -> Change:
    """A bad network."""
    storms = []
    for _ in range(dice.choice((1, 2))):
        begin = dice.uniform(-1.0, 15.0)
        kinds = tuple(dice.sample(MISHAPS, dice.randint(1, len(MISHAPS))))
        storms.append((begin, begin + dice.choice((1.0, 5.0, 60.0)), dice.choice((0.05, 0.2, 0.5, 1.0)), kinds))
    return {"storms": tuple(storms)}


def wild(dice: random.Random) -> Change:
    """Everything at once."""
    found: dict[str, object] = {"history": 70.0}
    happenings: list[Happening] = [drawn(dice, {**LIES, **BREAKS}) for _ in range(dice.choice((1, 2, 3, 5)))]
    for theme in dice.sample((migrating, stormy, lying, blip), 2):
        made = dict(theme(dice))
        happenings += made.pop("happenings", ())  # type: ignore[arg-type]  # made by a theme above
        made.pop("history", None)
        found.update(made)
    return {**found, "happenings": tuple(happenings)}


THEMES: Mapping[str, tuple[int, Callable[[random.Random], Change]]] = {
    "calm": (10, calm),
    "blip": (10, blip),
    "other away": (6, other_away),
    "offline": (8, offline),
    "migrating": (25, migrating),
    "stale": (14, stale),
    "lying": (15, lying),
    "stormy": (8, stormy),
    "wild": (25, wild),
}


def moment(dice: random.Random, first: float, last: float) -> float | Cue:
    """Draw when something happens: at a moment, more often an early one, or just before or after some request is handled."""
    if dice.random() < 0.6:
        kind = dice.choice(("list", "look", "look", "look", "order", "task", "task", "login", "quorum"))
        return Cue(kind, dice.choice((1, 1, 1, 2, 2, 3, 4)), dice.random() < 0.5)
    early: float = dice.random() ** 1.5
    return round(first + (last - first) * early, 3)


def seconds(dice: random.Random) -> float:
    return round(dice.choice((0.2, 1.0, 4.0, 12.0, 100.0)) * (0.5 + dice.random()), 3)


# What else can happen: its name, and how its values are drawn.
Draw = Callable[[random.Random], tuple[object, ...]]
LIES: Mapping[str, Draw] = {
    "stop lies": lambda dice: (seconds(dice),),
    "dies at": lambda dice: (dice.choice((SIGTERM, SIGKILL, NEVER)),),
    "silent": lambda dice: (seconds(dice),),
    "clock": lambda dice: (dice.choice(("owner", "other")), dice.choice((-3600.0, 45.0, 3600.0))),
    "start": lambda dice: (),
    "crash": lambda dice: (),
    "shut down": lambda dice: (seconds(dice),),
    "lock": lambda dice: (dice.choice(("backup", "snapshot", "migrate", "flock")), seconds(dice)),
    "not telling": lambda dice: (),
}
BREAKS: Mapping[str, Draw] = {
    "die": lambda dice: (dice.choice(("owner", "owner", "other")),),
    "api": lambda dice: (dice.choice(("owner", "other")), dice.choice((BLACK_HOLE, NO_ROUTE, REFUSING)), seconds(dice)),
    "daemon": lambda dice: (dice.choice(("owner", "other")), dice.choice((BLACK_HOLE, REFUSING)), seconds(dice)),
    "slow": lambda dice: (dice.choice(("owner", "other")), dice.choice((0.5, 2.0, 4.5, 6.0)), seconds(dice)),
    "isolate": lambda dice: (dice.choice(("owner", "other")), seconds(dice)),
    "partition": lambda dice: (seconds(dice),),
}


def drawn(dice: random.Random, kinds: Mapping[str, Draw]) -> Happening:
    what = dice.choice(sorted(kinds))
    return Happening(moment(dice, -5.0, 25.0), what, kinds[what](dice))


def schedule(seed: int) -> Schedule:
    """Make the schedule of a seed."""
    dice = random.Random(seed)
    names = sorted(THEMES)
    theme = dice.choices(names, [THEMES[name][0] for name in names])[0]
    settings = surroundings(dice)
    settings.update(THEMES[theme][1](dice))
    made = Schedule(seed, theme, **settings)  # type: ignore[arg-type]  # the names are those of its fields
    if "endpoints" not in settings:
        hypervisors = [f"pve{number}" for number in range(1, made.nodes + 1)]
        made = replace(made, endpoints=tuple(dice.sample(hypervisors, dice.randint(1, made.nodes))))
    return made


HINTS = (("pve_node", "pve1"), ("pve_node", "pve2"), ("pve_node_auto", "1"), ("vmtype", "qemu"), ("vm_name", NAME))


def surroundings(dice: random.Random) -> dict[str, object]:
    """Draw what a cluster and an administrator may be like."""
    nodes = dice.choice((2, 2, 3, 4))
    action = dice.choice(("off", "off", "off", "reboot", "reboot", "cycle", "status", "on"))
    ha = dice.random() < 0.25
    options: dict[str, str] = {}
    if dice.random() < 0.5:
        options = dict([dice.choice(HINTS)])
    if dice.random() < 0.1:
        options = {**options, "time_limit": str(dice.choice((5, 20, 100)))}
    if dice.random() < 0.05:
        options = {**options, "delay": str(dice.choice((1, 5)))}
    if dice.random() < 0.08 and action != "status":
        options = {"plug": dice.choice((NAME, f"{VMID},222"))}
    if dice.random() < 0.1:
        options = {**options, "verbose": "1"}
    locked = dice.choice(("backup", "backup", "migrate", "snapshot")) if dice.random() < 0.1 else ""
    return {
        "action": "reboot" if action == "cycle" else action,
        "method": "cycle" if action == "cycle" else "onoff",
        "nodes": nodes,
        "qdevice": nodes == 2 and dice.random() < 0.8,
        "kind": "lxc" if dice.random() < 0.1 else "qemu",
        "owner": dice.choice(("pve1", "pve2")),
        "running": dice.random() < 0.85,
        "ha": ha,
        "audit": dice.random() < (0.8 if ha else 0.5),
        "credentials": dice.choice(("password", "token", "token", "root")),
        "lock": (locked, round(dice.uniform(1.0, 12.0), 3) if locked else 0.0),
        "dies_at": dice.choice((QUIT, QUIT, QUIT, SIGTERM, SIGKILL)),
        "stop_seconds": round(dice.choice((0.0, 0.3, 1.0, 4.0)) * (0.5 + dice.random()), 3),
        "latency": dice.choice((0.0002, 0.002, 0.02, 0.1)),
        "token_seconds": dice.choice((0.0, 3.0)),
        "old": dice.random() < 0.15,
        "telling": dice.random() < 0.9,
        "options": options,
    }
