"""A power strip in memory, the fence agent for it, and a way to run one action of an agent in virtual time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fence_lab.agent import FenceAgent, Outlet, Power, Watch
from fence_lab.clock import Clock
from fence_lab.errors import FenceError
from fence_lab.options import IPPORT, TIME_LIMIT, USERNAME, Option


class VirtualClock(Clock):
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)


@dataclass
class Device:
    """Plugs by number, each ON, OFF or a text that says why its state cannot be told.  `late` delays what is asked for by so many looks."""

    plugs: dict[str, Power | str] = field(default_factory=lambda: {"1": Power.ON, "2": Power.OFF, "3": Power.ON})
    names: dict[str, str] = field(default_factory=lambda: {"1": "rhel1", "2": "rhel2", "3": "witness"})
    late: int = 0
    deaf: dict[Power, int] = field(default_factory=dict)  # So many requests of the kind are lost.
    login: Callable[[], None] = lambda: None
    history: list[str] = field(default_factory=list)
    coming: dict[str, tuple[int, Power]] = field(default_factory=dict)

    def state(self, plug: str) -> Power:
        looks, power = self.coming.pop(plug, (0, None))
        if looks > 1 and power:
            self.coming[plug] = looks - 1, power
        elif power:
            self.plugs[plug] = power
        found = self.plugs.get(plug, f"no plug {plug}")
        if isinstance(found, str):
            raise FenceError(found)
        return found


class Strip(FenceAgent):
    """The agent; `device` is replaced for each run."""

    NAME = "fence_strip"
    SHORTDESC = "Power strip in memory"
    LONGDESC = "It is <here> & nowhere.\n\n.Not in troff either: \\fB."
    VENDOR_URL = "http://strip.example/"
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        IPPORT.but(default="80"),
        USERNAME.but(default="admin"),
        TIME_LIMIT,
        Option("bank", "Bank of plugs", order=2, argument="letter", kind="select", choices=("A", "b"), default="A"),
        Option("gentle", "Ask the node first", short="G", kind="boolean", order=2, added=True),
        Option("power_curve", "Curve of power", order=2, argument="curve", added=True),
    )
    device: ClassVar[Device]

    def check(self) -> list[str]:
        return ["Failed: --gentle is not for bank b"] if self.given.flag("gentle") and self.given.text("bank") == "b" else []

    def login(self) -> None:
        self.device.history.append("login")
        self.device.login()

    def logout(self) -> None:
        self.device.history.append("logout")

    def status(self, plug: str) -> Power:
        return self.device.state(plug)

    def set_power(self, plug: str, power: Power) -> None:
        self.device.history.append(f"{plug} {power.value}")
        if self.device.deaf.get(power):
            self.device.deaf[power] -= 1
        elif self.device.late:
            self.device.coming[plug] = self.device.late, power
        else:
            self.device.plugs[plug] = power

    def outlets(self) -> Iterable[Outlet]:
        for plug, power in self.device.plugs.items():
            yield Outlet(plug, self.device.names[plug], None if isinstance(power, str) else power)


class Cycling(Strip):
    """A strip that can also cycle."""

    NAME = "fence_cycling"

    def cycle(self, plug: str) -> None:
        self.device.history.append(f"{plug} cycled")
        if self.device.deaf.get(Power.OFF):
            self.device.deaf[Power.OFF] -= 1
            raise FenceError("the strip does not want to")


@dataclass
class Ended:
    code: int
    stdout: str
    stderr: str
    seconds: float
    device: Device

    @property
    def history(self) -> list[str]:
        """What was done between login and logout."""
        return [entry for entry in self.device.history if not entry.startswith("log")]


BASICS = ("ip=strip.example", "password=sesame")


def run(
    *lines: str, device: Device | None = None, agent: type[Strip] = Strip, argv: Sequence[str] = (),
    environ: Mapping[str, str] | None = None, basics: Iterable[str] = BASICS, watch: Watch | None = None,
) -> Ended:  # fmt: skip
    """Run an action from stdin lines, or from a command line."""
    agent.device = device or Device()
    stdout, stderr, clock = io.StringIO(), io.StringIO(), VirtualClock()
    began = clock.now()
    stdin = io.StringIO("".join(f"{line}\n" for line in (*basics, *lines)))
    code = agent.run(argv, stdin, stdout, stderr, environ or {}, clock, watch=watch)
    return Ended(code, stdout.getvalue(), stderr.getvalue(), clock.now() - began, agent.device)
