"""A state machine that does to a resource what a cluster, an operator and bad luck do, in any order, and holds the agent to the rules.

The agent is driven through an `Executor`; what it works on is a `World`: something that can be looked at from outside, broken,
repaired, and changed behind the agent's back.  Needs Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from .executor import Executor, Result

STOPPED, RUNNING, UNKNOWN = "stopped", "running", "unknown"
HEALTHY = (0, 190)
FRACTIONS = st.floats(0.0, 1.1, allow_nan=False)


class World(Protocol):
    """What the agent works on, seen from outside.  Nothing here goes through the agent."""

    @property
    def faults(self) -> Sequence[str]:
        """Names for `inject`."""

    @property
    def changes(self) -> Sequence[str]:
        """Names for `change`."""

    def snapshot(self) -> object:
        """Return all that an observer may not change; compared for equality."""

    def active(self) -> bool:
        """Tell whether anything of the resource is active."""

    def inject(self, fault: str) -> None:
        """Break something; one fault at a time."""

    def lift(self) -> None:
        """Repair what is broken."""

    def change(self, name: str) -> None:
        """Do something to the resource behind the agent's back, such as killing the server."""

    def close(self) -> None:
        """Remove everything, whatever state it is in."""


class AgentMachine(RuleBasedStateMachine):
    """The rules.  Use `machine_of`, which makes a subclass for an agent and a world."""

    make: Callable[[], tuple[Executor, World]]
    levels: Sequence[int] = (0,)

    def __init__(self) -> None:
        super().__init__()
        self.node, self.world = type(self).make()
        self.state = STOPPED
        self.fault = ""
        # How long each action took when nothing disturbed it: a kill comes somewhere within.
        self.durations = {"start": 0.05, "stop": 0.05, "monitor": 0.05}

    # What holds after every action, healthy or not.

    def tell(self, result: Result) -> Result:
        """Hold an answer against the world: stopped means that nothing is active, however broken things are."""
        if result.code == 7 and result.action == "monitor":
            assert not self.world.active(), f"the resource is active: {result}"
        if result.code == 0 and result.action == "stop":
            assert not self.world.active(), f"something is active after a stop: {result}"
        return result

    def observed(self, observe: Callable[[], Result]) -> Result:
        before = self.world.snapshot()
        result = observe()
        assert self.world.snapshot() == before, f"an observer changed something: {result}"
        return self.tell(result)

    # What the cluster does.

    @precondition(lambda self: self.state != UNKNOWN)
    @rule()
    def start(self) -> None:
        before = self.world.snapshot()
        result = self.tell(self.node.start())
        if self.fault:
            self.state = self.state if self.state == RUNNING and result.code == 0 else UNKNOWN
            return
        assert result.code == 0, str(result)
        if self.state == RUNNING:
            assert self.world.snapshot() == before, f"a second start changed something: {result}"
        else:
            self.durations["start"] = result.seconds
        assert self.node.monitor().code in HEALTHY
        assert self.world.active()
        self.state = RUNNING

    @rule()
    def stop(self) -> None:
        before, already = self.world.snapshot(), self.state == STOPPED
        result = self.tell(self.node.stop())
        if result.code != 0:
            assert self.fault, f"stop failed with nothing broken: {result}"
            self.state = UNKNOWN
            return
        if already:
            assert self.world.snapshot() == before, f"a second stop changed something: {result}"
        else:
            self.durations["stop"] = result.seconds
        self.state = STOPPED
        if not self.fault:
            assert self.tell(self.node.monitor()).code == 7

    @rule(data=st.data())
    def monitor(self, data: st.DataObject) -> None:
        level = data.draw(st.sampled_from(self.levels), label="level")
        result = self.observed(lambda: self.node.monitor(level))
        self.judge(result)
        self.durations["monitor"] = result.seconds

    @rule()
    def probe(self) -> None:
        self.judge(self.observed(self.node.probe))

    def judge(self, result: Result) -> None:
        if not self.fault and self.state == RUNNING:
            assert result.code in HEALTHY, str(result)
        if not self.fault and self.state == STOPPED:
            assert result.code == 7, str(result)

    @rule(level=st.sampled_from((None, 10)))
    def validate(self, level: int | None) -> None:
        result = self.observed(lambda: self.node.validate(level))
        assert self.fault or result.code == 0, str(result)

    @rule()
    def meta_data(self) -> None:
        assert self.observed(self.node.meta_data).code == 0

    # What bad luck does.

    @rule(action=st.sampled_from(("start", "stop", "monitor")), fraction=FRACTIONS)
    def kill(self, action: str, fraction: float) -> None:
        """Kill an action on its way; after that Pacemaker stops the resource, and that has to work."""
        self.node.kill_after(self.durations[action] * fraction, action)
        if action != "monitor" or self.fault:
            self.state = UNKNOWN

    @precondition(lambda self: not self.fault and bool(self.world.faults))
    @rule(data=st.data())
    def inject(self, data: st.DataObject) -> None:
        self.fault = data.draw(st.sampled_from(self.world.faults), label="fault")
        self.world.inject(self.fault)

    @precondition(lambda self: bool(self.fault))
    @rule()
    def lift(self) -> None:
        self.world.lift()
        self.fault = ""
        self.state = UNKNOWN

    @precondition(lambda self: not self.fault and bool(self.world.changes))
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        self.world.change(data.draw(st.sampled_from(self.world.changes), label="change"))
        self.state = UNKNOWN

    def teardown(self) -> None:
        """Whatever has happened, with nothing broken any more the resource can be stopped."""
        try:
            if self.fault:
                self.lift()
            self.stop()
            assert not self.world.active()
        finally:
            self.world.close()


def machine_of(make: Callable[[], tuple[Executor, World]], levels: Sequence[int] = (0,)) -> type[AgentMachine]:
    """Return the state machine for what `make` makes: a fresh executor and a fresh world for every example.

    Run it with `hypothesis.stateful.run_state_machine_as_test(machine_of(make), settings=…)`.
    """
    return type("Machine", (AgentMachine,), {"make": staticmethod(make), "levels": tuple(levels)})
