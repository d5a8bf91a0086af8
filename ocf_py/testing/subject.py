"""The agent under test, everything it has answered so far, and the words in which a check speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import processes, verdicts
from .executor import Executor, Result
from .metadata import Metadata

RUNNING = (0, 190)
PROMOTED = (8, 191)
STOPPED = (7,)
RSCTMP = Path("/run/resource-agents")
# Whatever one of these starts in the background is not the resource.
OBSERVERS = ("monitor", "status", "validate-all", "meta-data", "notify", "stop")


class NotApplicable(Exception):
    """A check has nothing to judge: the agent lacks the feature, or another check's subject is in the way."""


Problems = Iterator[str]


@dataclass(frozen=True)
class Check:
    """A rule and the function that yields the breaches of it.

    `must` rules are violated, others are advice.  When one of `needs` is not kept, nothing can be said of this one.
    """

    number: int
    name: str
    run: Callable[[Subject], Problems]
    must: bool
    needs: tuple[str, ...]


CHECKS: list[Check] = []


def check(number: int, name: str, *, must: bool = True, needs: tuple[str, ...] = ()) -> Callable[[Callable[[Subject], Problems]], None]:
    def add(function: Callable[[Subject], Problems]) -> None:
        CHECKS.append(Check(number, name, function, must, needs))

    return add


class Subject:
    """An agent with parameters under which it can really start and stop on this machine."""

    def __init__(
        self, agent: Path, parameters: Mapping[str, str], instance: str = "conformance", timeout: float | None = None, kills: int = 10,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.agent, self.parameters, self.instance, self.kills = agent, dict(parameters), instance, kills
        self.environment = dict(environment or {})
        self._timeout = timeout
        self.metadata: Metadata | None = None
        self.results: list[Result] = []
        # Calls in which the agent was told something that no standard action is; judged by their own checks alone.
        self.strange: list[Result] = []
        # Processes that outlived an action that should leave none, by that action.
        self.strays: list[tuple[str, processes.Process]] = []
        self._known: set[int] = set()
        self._nodes: dict[str, Executor] = {}

    def node(self, profile: str = "execd") -> Executor:
        if profile not in self._nodes:
            # Nothing at all is nothing at all, also of what the caller adds.
            added = {} if profile == "bare" else self.environment
            self._nodes[profile] = Executor(
                self.agent, self.parameters, instance=self.instance, profile=profile, check=False, environment=added
            )  # fmt: skip
        return self._nodes[profile]

    def timeout(self, action: str, level: int | None = None) -> float:
        advertised = self.metadata.timeout(action, level or 0) if self.metadata else None
        return self._timeout or advertised or 20.0

    def call(self, action: str, *, profile: str = "execd", strange: bool = False, level: int | None = None, **options: object) -> Result:
        """Run an action with the timeout that the metadata advertises, and remember the result."""
        result = self.node(profile).begin(action, timeout=self.timeout(action, level), level=level, **options).finish()  # type: ignore[arg-type]
        self.remember(result, strange)
        return result

    def remember(self, result: Result, strange: bool = False) -> None:
        (self.strange if strange else self.results).append(result)
        fresh = self.acquainted()
        if result.action in OBSERVERS and not result.killed:
            strays = {*fresh, *result.left}
            self.strays += [(result.action, process) for process in strays]
            processes.kill(strays)

    def acquainted(self) -> list[processes.Process]:
        """Get to know the processes that the agent has started since the last time, and return them."""
        fresh = [process for process in processes.adopted() if process.pid not in self._known]
        self._known.update(process.pid for process in fresh)
        return fresh

    def monitor(self, level: int | None = None, **options: object) -> Result:
        return self.call("monitor", level=level, interval=10.0, **options)  # type: ignore[arg-type]

    def probe(self, **options: object) -> Result:
        return self.call("monitor", **options)  # type: ignore[arg-type]

    # States to begin a check from.

    def running(self) -> None:
        """Bring the resource into the started, unpromoted role.  Raises NotApplicable."""
        found = self.monitor()
        if found.code in PROMOTED:
            self.call("demote", meta=CLONE)
            found = self.monitor()
        if found.code == 7:
            self.call("start")
            found = self.monitor()
        if found.code not in RUNNING:
            raise NotApplicable(f"the resource cannot be brought up: {found}")

    def stopped(self) -> None:
        """Bring the resource down.  Raises NotApplicable."""
        found = self.monitor()
        if found.code == 7:
            return
        if found.code in PROMOTED:
            self.call("demote", meta=CLONE)
        self.call("stop")
        found = self.monitor()
        if found.code != 7:
            raise NotApplicable(f"the resource cannot be brought down: {found}")

    def stopped_by_force(self) -> None:
        """Stop the resource whatever is known of it."""
        if self.monitor().code in PROMOTED:
            self.call("demote", meta=CLONE)
        if self.monitor().code != 7:
            self.call("stop")

    def remains(self) -> list[processes.Process]:
        """Return what is left of a stopped resource: processes that its agent has started, once those that are ending have ended."""
        until = time.monotonic() + 1.0
        while True:
            left = processes.adopted()
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.02)


# The meta-attributes of an instance of an anonymous, promotable clone.
CLONE = {
    "clone": "0", "clone_max": "2", "clone_node_max": "1", "globally_unique": "false", "promotable": "true", "promoted_max": "1",
    "promoted_node_max": "1", "notify": "true", "interleave": "true",
}  # fmt: skip


def unlike(result: Result, *codes: int, when: str = "") -> Problems:
    """Yield a problem when a result is none of `codes`.

    Raises NotApplicable for one that did not end in time, died, or gave a code that its action may not give: each of these is a
    check of its own.
    """
    if result.timed_out:
        raise NotApplicable(f"{result.action} did not end in time")
    if result.status < 0:
        raise NotApplicable(f"{result.action} died of a signal")
    if result.action in verdicts.LEGAL and result.status not in verdicts.legal_codes(result.action) and result.status not in codes:
        raise NotApplicable(f"{result.action} gave the illegal code {result.status}")
    if result.code not in codes:
        said = result.reason or next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "")
        what = result.action + (f" of level {result.level}" if result.level else "")
        yield f"{what}{f' {when}' if when else ''} answered {result.code}, not {' or '.join(map(str, codes))}{f' ({said})' if said else ''}"
