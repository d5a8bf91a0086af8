"""Declarations of actions: decorators that note on a method what the metadata and the lifecycle need to know of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Method = TypeVar("Method", bound=Callable[..., Any])

LEVELS = (0, 10, 20)
# Methods with these names are actions of OCF 1.1 under the names that Pacemaker calls.
ACTIONS = {
    "start": "start", "stop": "stop", "promote": "promote", "demote": "demote", "notify": "notify", "migrate_to": "migrate_to",
    "migrate_from": "migrate_from", "reload": "reload", "reload_agent": "reload-agent",
}  # fmt: skip
NOTE = "__ocf__"


class Action:
    """What an action's declaration says: times as Pacemaker writes them ("20s"), and for a monitor its level and role."""

    __slots__ = ("interval", "level", "method", "name", "role", "timeout")

    def __init__(self, name: str, timeout: str, interval: str = "", level: int = 0, role: str = "") -> None:
        self.name, self.timeout, self.interval, self.level, self.role = name, timed(timeout), interval, level, role
        self.method = ""
        if interval:
            timed(interval)

    @property
    def is_monitor(self) -> bool:
        return self.name == "monitor"


def timed(text: str) -> str:
    if not (text.endswith("s") and text[:-1].isascii() and text[:-1].isdigit() and int(text[:-1]) > 0):
        raise TypeError(f'{text!r} is not a time such as "20s"')
    return text


def action(*, timeout: str) -> Callable[[Method], Method]:
    """Declare a method as the action of its name; `timeout` is the least that is realistic."""

    def declare(method: Method) -> Method:
        if method.__name__ not in ACTIONS:
            raise TypeError(f"{method.__name__} is not an action of OCF 1.1; those are {', '.join(ACTIONS)}")
        setattr(method, NOTE, [Action(ACTIONS[method.__name__], timeout)])
        return method

    return declare


def monitor(*, timeout: str, interval: str, level: int = 0, role: str = "") -> Callable[[Method], Method]:
    """Declare a method as what a monitor of `level` does beside observing.

    It returns None where all is well, or a degraded State, and raises where the resource has failed.  Put on `observe` itself it
    declares a level that only observes.  Each monitor of an agent needs an interval of its own: Pacemaker tells them apart by it.
    """

    def declare(method: Method) -> Method:
        if level not in LEVELS:
            raise TypeError(f"level {level} is not one of OCF's 0, 10 and 20")
        if role not in ("", "Promoted", "Unpromoted"):
            raise TypeError(f"{role} is neither Promoted nor Unpromoted")
        noted = [*getattr(method, NOTE, []), Action("monitor", timeout, interval, level, role)]
        setattr(method, NOTE, noted)
        return method

    return declare
