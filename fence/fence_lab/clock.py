"""Time: one clock, and one absolute deadline for each action that everything which can wait is given."""

from __future__ import annotations

import os
import time

from fence_lab.errors import OutOfTime


class Clock:
    """The machine's monotonic clock.  A test's clock replaces it to make hours of fencing pass in milliseconds."""

    def now(self) -> float:
        """Return seconds from some moment in the past."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class Deadline:
    """A moment by which an action has ended; `began` and `at` are on `clock`."""

    def __init__(self, clock: Clock, began: float, at: float) -> None:
        self.clock, self.began, self.at = clock, began, at

    @classmethod
    def after(cls, clock: Clock, seconds: float, began: float | None = None) -> Deadline:
        """Return the deadline so many seconds after `began`, or after now."""
        begin = clock.now() if began is None else began
        return cls(clock, begin, begin + seconds)

    def left(self) -> float:
        """Return the seconds that are left, 0 when there are none."""
        return max(0.0, self.at - self.clock.now())

    def spent(self) -> float:
        return self.clock.now() - self.began

    def within(self, seconds: float) -> float:
        """Return so many seconds, or what is left.  Raises OutOfTime when nothing is."""
        left = self.left()
        if left <= 0:
            raise OutOfTime(f"no time left after {self.spent():.0f} s")
        return min(seconds, left)

    def sleep(self, seconds: float, what: str) -> None:
        """Sleep.  Raises OutOfTime ("<what>: no end after 50 s of 50 s") instead of sleeping past the deadline."""
        if self.left() <= seconds:
            raise OutOfTime(f"{what}: no end after {self.spent():.0f} s of {self.at - self.began:.0f} s")
        self.clock.sleep(seconds)


class Patience:
    """How long failures in a row are borne: a while, and never a second time one that took that long itself."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self._since: float | None = None

    @property
    def worn(self) -> bool:
        """Whether the last try failed."""
        return self._since is not None

    def renew(self) -> None:
        self._since = None

    def ends(self, began: float) -> bool:
        """Note a failure of something that began then, and tell whether it is to be the last."""
        now = self.clock.now()
        self._since = began if self._since is None else self._since
        return now - self._since + (now - began) >= self.seconds


def process_age() -> float:
    """Return how many seconds ago this process began: the interpreter's start counts for who waits for it (proc_pid_stat(5))."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
