"""Agent: what an author subclasses.  Declarations are collected and checked when the class is made."""

from __future__ import annotations

from . import actions, guard, state
from .commands import PATH, Finished, Runner
from .parameters import Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .deadline import Deadline
    from .environment import Environment
    from .journal import Journal
    from .outcomes import State


class Agent:
    """An OCF resource agent.

    An author declares parameters as class attributes, writes `observe`, `start` and `stop` and, where the resource has them, the
    other actions, each with a decorator.  The first line of the docstring is the short description, the whole of it the long one.
    The framework derives everything that the OCF rules ask around these methods (see lifecycle.py).
    """

    name = ""
    version = "1.0"
    # Programs that start needs; looked up on this node before it, and by a probe.
    commands: Sequence[str] = ()

    parameters: Mapping[str, Parameter] = {}
    actions: Sequence[actions.Action] = ()

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        cls.parameters = collected_parameters(cls)
        cls.actions = collected_actions(cls)
        if cls.__dict__.get("name"):
            check(cls)

    def __init__(self, environment: Environment, deadline: Deadline, log: Journal, values: Mapping[str, Any]) -> None:
        self.environment, self.deadline, self.log, self.values = environment, deadline, log, values
        folder = state.directory(environment.rsctmp, environment.instance)
        # What this instance remembers on this node until the next boot.
        self.memory = state.Memory(f"{folder}/state")
        self.guards = guard.Guards(folder, deadline)
        world = {"PATH": PATH, **environment.inherited}
        self._runner = Runner(folder, deadline, world, log.trace)

    # What an author writes.

    def observe(self) -> State:
        """Return what the resource is doing on this node: RUNNING, STOPPED or PROMOTED.

        An observation that cannot decide raises: unknown is never STOPPED.
        """
        raise NotImplementedError

    def validate(self) -> None:
        """Check the parameters against each other, without a look at this node.  Raises Misconfigured."""

    def validate_here(self) -> None:
        """Check what the parameters need on this node.  Raises InvalidHere, NotInstalled or NotPermitted."""

    def nothing_left(self) -> bool:
        """Return whether it is proven that nothing of this resource is active, for a stop whose parameters cannot be read.

        Asked only where no start of this boot has left a record.
        """
        return True

    def prepare_start(self) -> None:
        """Remove what a crash has left, before start looks whether the resource is active."""

    def await_ready(self) -> None:
        """Wait until a resource that start found active already does its service: an earlier start may have run out of time."""

    def confirm_stopped(self) -> None:
        """Raise where nothing is active any more and the resource must not be called stopped all the same.

        The last step of every stop: of what this node has begun, may something still reach what another node owns next?
        """

    # What an author uses.

    @property
    def instance(self) -> str:
        return self.environment.instance

    @property
    def check_level(self) -> int:
        """The declared level that applies: an undeclared one is rounded down, as OCF says."""
        asked = self.environment.check_level
        wanted = int(asked) if asked.isascii() and asked.isdigit() else 0
        return max((level for level in actions.LEVELS if level <= wanted), default=0)

    def run(self, *argv: str, **options: Any) -> Finished:
        """Run a program; see commands.Runner.run."""
        return self._runner.run(*argv, **options)

    def guarded(
        self, target: str, function: Callable[..., Any], *args: Any, within: float = 5.0, user: guard.Account | None = None,
        writes: bool = False,
    ) -> Any:  # fmt: skip
        """Run a function that may hang in a child, and return its value (numbers, texts, lists, tuples, dictionaries).

        `writes=True` says that it may write to storage: a stop does not succeed while it is alive.

        Re-raises an OSError or Error of the function; raises Hung when it does not answer, and CannotRecord.
        """
        call = guard.Call(target, function, *args, within=within, user=user, writes=writes)
        self.guards.run(call)
        return call.result()

    def set_promotion_score(self, score: int | None) -> None:
        """Tell Pacemaker how much this instance wants to be promoted here, or with None that it does not."""
        change = ("--update", str(score)) if score is not None else ("--delete",)
        self.run(f"{self.environment.sbin}/crm_attribute", f"--promotion={self.environment.resource}", "--lifetime=reboot", *change)

    @classmethod
    def main(cls) -> None:
        """Do what the executor asks of this process, and end it with the action's exit code."""
        from . import lifecycle

        lifecycle.main(cls)


def collected_parameters(cls: type[Agent]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Parameter):
                found[name] = value
            elif name in found:
                del found[name]
    return found


def collected_actions(cls: type[Agent]) -> tuple[actions.Action, ...]:
    found: list[actions.Action] = []
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(vars(base)))
    for name in names:
        for declared in getattr(getattr(cls, name, None), actions.NOTE, ()):
            declared.method = name
            found.append(declared)
    return tuple(sorted(found, key=lambda a: (a.name not in ("start", "stop"), a.name, a.level)))


def check(cls: type[Agent]) -> None:
    """Raise TypeError for a declaration that could not work."""
    wrong: list[str] = []
    named = {action.name for action in cls.actions}
    wrong += [f"no action {name} is declared" for name in ("start", "stop", "monitor") if name not in named]
    if cls.observe is Agent.observe:
        wrong.append("observe() is not written")
    if ("promote" in named) != ("demote" in named):
        wrong.append("promote and demote are declared both or neither")
    if ("migrate_to" in named) != ("migrate_from" in named):
        wrong.append("migrate_to and migrate_from are declared both or neither")
    if any(parameter.reloadable for parameter in cls.parameters.values()) != ("reload-agent" in named):
        wrong.append("reload_agent and reloadable parameters are declared both or neither")
    intervals = [action.interval for action in cls.actions if action.is_monitor]
    if len(set(intervals)) != len(intervals):
        wrong.append("two monitors have the same interval")
    if not any(action.is_monitor and action.level == 0 for action in cls.actions):
        wrong.append("no monitor of level 0 is declared")
    if not (cls.__doc__ or "").strip():
        wrong.append("there is no docstring to describe it")
    for name, parameter in cls.parameters.items():
        if parameter.replaced_by and parameter.replaced_by not in cls.parameters:
            wrong.append(f"{name} is replaced by {parameter.replaced_by}, which is not declared")
    if wrong:
        raise TypeError(f"{cls.__name__}: {'; '.join(wrong)}")

