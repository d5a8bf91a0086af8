"""What happens when: the events of the modelled cluster, worked off in the order of their times, never by sleeping."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator

# A worker: what a process of the modelled cluster does, as a generator that yields the seconds until it goes on.
Steps = Generator[float, None, None]


class Event:
    """Something due.  A cancelled one is passed over."""

    __slots__ = ("cancelled", "do")

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Agenda:
    """Events and the time.  `time` is that of the event being worked off, so that what it does happens at its own moment."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._due: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self.began = self.time = now()

    def at(self, seconds_from_now: float, do: Callable[[], None]) -> Event:
        event = Event(do)
        heapq.heappush(self._due, (self.time + max(0.0, seconds_from_now), next(self._order), event))
        return event

    def run(self, steps: Steps, ended: Callable[[], None] | None = None) -> None:
        """Let a worker begin now and go on after each pause that it asks for.  Closing the generator ends it."""

        def step() -> None:
            pause = next(steps, None)
            if pause is not None:
                self.at(pause, step)
            elif ended:
                ended()

        step()

    def advance(self) -> None:
        """Work off everything that is due by now."""
        now = self._now()
        while self._due and self._due[0][0] <= now:
            self.time, _, event = heapq.heappop(self._due)
            if not event.cancelled:
                event.do()
        self.time = max(self.time, now)
