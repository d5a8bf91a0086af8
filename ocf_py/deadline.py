"""Absolute deadlines: made once when an action begins and passed to everything that can wait."""

from __future__ import annotations

import os
import time

from .outcomes import DeadlineExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# How long before Pacemaker's timeout an action ends by itself.  Pacemaker kills with SIGKILL and then throws the exit reason
# away (lib/services/services_linux.c parses it only when the agent was not killed).
RESERVE_LEAST, RESERVE_MOST, RESERVE_PART = 1.0, 5.0, 0.05


def reserve(timeout: float) -> float:
    """Return the seconds kept free at the end of an action that Pacemaker gives `timeout` seconds."""
    return min(RESERVE_MOST, max(RESERVE_LEAST, timeout * RESERVE_PART))


class Deadline:
    """A moment on the monotonic clock.  `total` is the number of seconds that the holder was given."""

    __slots__ = ("began", "ends")

    def __init__(self, ends: float, began: float | None = None) -> None:
        self.began = time.monotonic() if began is None else began
        self.ends = ends

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        now = time.monotonic()
        return cls(now + seconds, now)

    @classmethod
    def of_action(cls, timeout: float) -> Deadline:
        """Return the deadline of this process, whose Pacemaker timeout of `timeout` seconds runs since the process began."""
        began = time.monotonic() - process_age()
        return cls(began + timeout - reserve(timeout), began)

    @property
    def total(self) -> float:
        return self.ends - self.began

    def left(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self.ends - time.monotonic())

    def spent(self) -> float:
        return time.monotonic() - self.began

    def part(self, fraction: float) -> Deadline:
        """Return an earlier deadline: now plus `fraction` of what is left."""
        return Deadline.after(self.left() * fraction)

    def at_most(self, seconds: float) -> Deadline:
        """Return a deadline `seconds` from now, or this one where it comes first."""
        return Deadline.after(min(seconds, self.left()))

    def wait_until(self, ready: Callable[[], bool], what: str, every: float = 0.1) -> None:
        """Poll `ready` until it is true.

        Raises `DeadlineExceeded` ("<what> still not so after 41 s of 60 s"): the caller never sleeps past its deadline.
        """
        while not ready():
            if self.left() < every:
                raise DeadlineExceeded(f"{what} still not so after {self.spent():.0f} s of {self.total:.0f} s")
            time.sleep(every)


def process_age() -> float:
    """Return the seconds since this process was started: a slow interpreter start belongs to the action's time."""
    try:
        with open("/proc/self/stat", "rb") as file:
            started = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    return age if 0.0 <= age < 3600.0 else 0.0
