"""FenceAgent: what an author subclasses.  It does all but the device: options, delay, time limit, order, output, exit code."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NoReturn, Protocol, TextIO

from fence_lab.clock import Clock, Deadline
from fence_lab.errors import FenceError, OutOfTime
from fence_lab.options import METHOD, Given, Option, Options


class Power(Enum):
    """Whether a plug has power.  There is no third: a state that cannot be told is a FenceError."""

    ON = "ON"
    OFF = "OFF"


@dataclass(frozen=True)
class Outlet:
    """What `list` shows of a plug: Pacemaker looks for its nodes in `plug` and `name`."""

    plug: str
    name: str
    power: Power | None = None


class Watch(Protocol):
    """Who ends a process whose action does not end."""

    def until(self, moment: float) -> None:
        """Learn when, on the action's clock, the action has to be over."""

    def outcome(self, code: int, line: str) -> None:
        """Learn what is certain already, however the rest of the action goes: the exit code, and the line for stdout."""


class FenceAgent:
    """A fence agent.  A subclass names itself, lists its options and says how to ask and set the power of one plug.

    Any method may raise FenceError: its text is the line for the administrator, and the action fails.
    """

    NAME: ClassVar[str]
    SHORTDESC: ClassVar[str]
    LONGDESC: ClassVar[str]
    VENDOR_URL: ClassVar[str]
    VERSION: ClassVar[str] = "0.1.0"
    OPTIONS: ClassVar[tuple[Option, ...]] = ()  # Beside the standard ones; one with a standard name replaces it.
    WITHOUT: ClassVar[tuple[str, ...]] = ()  # Standard options that this agent has not.
    ANONYMOUS: ClassVar[bool] = False  # Whether it can do without a password.

    given: Given
    deadline: Deadline
    clock: Clock
    log: logging.Logger
    action: str
    plugs: list[str]
    nodename: str

    # What an author writes.

    def check(self) -> list[str]:
        """Return contradictions among the options as sentences; nothing but the options is looked at."""
        return []

    def login(self) -> None:
        """Reach the device, after the delay."""

    def logout(self) -> None:
        """Leave the device.  Always called after login; errors are ignored."""

    def status(self, plug: str) -> Power:
        """Return the power of a plug.  Raises FenceError where it cannot be told."""
        raise NotImplementedError

    def set_power(self, plug: str, power: Power) -> None:
        """Ask the device for it; whether it has come is seen by `status`."""
        raise NotImplementedError

    def cycle(self, plug: str) -> None:
        """Cut the power and restore it in one step.  Without this method, method=cycle is refused."""
        raise NotImplementedError

    def outlets(self) -> Iterable[Outlet]:
        """Return all plugs."""
        raise NotImplementedError

    def monitor(self) -> None:
        """Prove that this agent could fence.  The plain way: all plugs can be listed, and those given are among them."""
        known = {text for outlet in self.outlets() for text in (outlet.plug, outlet.name)}
        for plug in self.plugs:
            if plug not in known:
                raise FenceError(f"plug {plug} is not on the device")

    # What is derived from that, and replaced by an agent that can prove more.

    def power_off(self, plug: str) -> bool:
        """Return once the plug is off: False if it was already.  Raises FenceError."""
        return self._switch(plug, Power.OFF)

    def power_on(self, plug: str) -> bool:
        """Return once the plug is on: False if it was already.  Raises FenceError."""
        return self._switch(plug, Power.ON)

    def _switch(self, plug: str, power: Power) -> bool:
        if self.status(plug) is power:
            return False
        again = int(self.given.number("retry_on")) if power is Power.ON else 0
        trouble: str | None = ""
        # A reboot's first try to power on counts as a retry.
        for _ in range(max(1, again + (self.action != "reboot"))):
            self.set_power(plug, power)
            self.pause(self.given.number("power_wait"), f"plug {plug}, given its power_wait,")
            trouble = self._come(plug, power)
            if trouble is None:
                return True
        raise FenceError(f"Failed: Timed out waiting to power {power.value} (plug {plug}){trouble}")

    def _come(self, plug: str, power: Power) -> str | None:
        """Wait power_timeout for a plug's power.  Return None when it has come, else what stood in the way last."""
        until = self.clock.now() + self.patience("power_timeout")
        while True:
            try:
                if self.status(plug) is power:
                    return None
                trouble = ""
            except OutOfTime:
                raise
            except FenceError as error:
                # The device may be busy with what it was asked for; what it says last is told.
                trouble = f": {error}"
            if self.clock.now() >= until:
                return trouble
            self.pause(max(0.1, self.given.number("stonith_status_sleep")), f"plug {plug} asked to power {power.value}{trouble}")

    # What helps with that.

    def patience(self, name: str) -> float:
        """Return the seconds of an option such as shell_timeout, at most what is left; 0 means all that is left."""
        return self.deadline.within(self.given.number(name) or self.deadline.left() or 1.0)

    def pause(self, seconds: float, what: str) -> None:
        """Sleep, never past the deadline.  Raises OutOfTime, with what it was that took so long."""
        if seconds > 0:
            self.deadline.sleep(seconds, what)

    # The way from the command line to the exit code.

    @classmethod
    def options(cls) -> Options:
        options = Options.of(cls.OPTIONS, cls.WITHOUT)
        if options.get("method") is METHOD and cls.cycle is FenceAgent.cycle:
            return Options.of((METHOD.but(choices=("onoff",), usage="Method to fence (onoff)"), *cls.OPTIONS), cls.WITHOUT)
        return options

    @classmethod
    def main(cls) -> NoReturn:
        """Run as a program."""
        from fence_lab import process

        process.run(cls)

    @classmethod
    def run(
        cls, argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str], clock: Clock,
        *, began: float | None = None, watch: Watch | None = None,
    ) -> int:  # fmt: skip
        """Run an action and return its exit code.  `argv` is without the program's name; the process `began` then on `clock`."""
        from fence_lab import action

        return action.run(cls, argv, stdin, stdout, stderr, environ, clock, clock.now() if began is None else began, watch)
