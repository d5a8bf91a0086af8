"""What happens around an agent's methods: the only place that knows the order and the rules of OCF actions."""

from __future__ import annotations

import os
import sys

from . import guard, parameters
from .deadline import Deadline
from .environment import Environment
from .journal import Journal, append
from .outcomes import (
    BANNING,
    DEGRADED,
    DEGRADED_PROMOTED,
    ERR_GENERIC,
    ERR_PERM,
    NOT_RUNNING,
    PROMOTED,
    STOPPED,
    SUCCESS,
    DeadlineExceeded,
    Error,
    FailedPromoted,
    NotInstalled,
    NotRunning,
    State,
    Unsupported,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .agent import Agent

DEFAULT_TIMEOUT = 20.0  # Pacemaker's own, for an operation that has none (PCMK_DEFAULT_ACTION_TIMEOUT_MS).
LOOK_OR_STOP = ("monitor", "status", "stop")  # Their answers never ban a resource from a node for what was seen on it.
REASON_LIMIT = 200
LOG_WITHIN = 0.3  # Part of the deadline's reserve, which is a second where the timeout is 20.
GIVEN = "given."  # Parameters of the last start, in the memory.


class Interrupted(BaseException):
    """The action was asked to end (SIGTERM or Ctrl-C).  No Error: who expects those would go on with the action."""


def main(cls: type[Agent]) -> None:
    """Run the action that this process was started for and end the process; never returns."""
    fill_standard_streams()
    interruptible()
    code = run(cls, sys.argv, os.environ)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    # Nothing is left for the interpreter to tidy up, and tidying takes as long as a healthy monitor.
    os._exit(code)


def fill_standard_streams() -> None:
    """Put /dev/null where the executor has closed a standard stream: a record or a pipe would get its number, and the reason."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def interruptible() -> None:
    """Turn SIGTERM into an exception, so that children are ended and a reason is given."""
    import _signal  # type: ignore[import-not-found]  # The C module has no stubs.

    def interrupt(number: int, frame: object) -> None:
        _signal.signal(guard.SIGTERM, _signal.SIG_IGN)
        _signal.signal(guard.SIGINT, _signal.SIG_IGN)
        raise Interrupted(f"interrupted by signal {number}")

    _signal.signal(guard.SIGTERM, interrupt)
    _signal.signal(guard.SIGINT, interrupt)
    # Who ignores it cannot wait for its children, and a daemon's child inherits that.
    _signal.signal(guard.SIGCHLD, _signal.SIG_DFL)


def run(cls: type[Agent], argv: list[str], environ: Mapping[str, str]) -> int:
    """Do one action and return its exit code; the reason of a failure goes to stderr.  Never raises."""
    action = argv[1] if len(argv) > 1 else ""
    environment = Environment.read(environ, argv[0] if argv else cls.name)
    journal = Journal(environment, quiet=action in ("validate-all", "meta-data"))
    code, reason = ERR_GENERIC, ""
    try:
        try:
            os.chdir("/")
            code, reason = perform(cls, action, environment, journal)
        except Error as error:
            code, reason = error.code, str(error)
        except PermissionError as error:
            code = ERR_GENERIC if action in LOOK_OR_STOP else ERR_PERM
            reason = f"not permitted: {guard.described(error)}"
        except Exception as error:  # noqa: BLE001  A bug of the agent is an outcome too.
            reason = f"internal error: {guard.described(error)}"
            log_traceback(journal, error)
    except Interrupted as error:
        code, reason = ERR_GENERIC, str(error)
    except BaseException as error:  # noqa: BLE001  An author's sys.exit().
        code, reason = ERR_GENERIC, f"internal error: {guard.described(error)}"
    try:
        tell(environment, journal, code, reason)
    except Interrupted:
        return code
    return code


def tell(environment: Environment, journal: Journal, code: int, reason: str) -> None:
    """Write the one exit reason, last, and see the log off."""
    try:
        if reason:
            line = one_line(journal.masked(reason))
            journal.reason(line, degraded=code in (DEGRADED, DEGRADED_PROMOTED))
            os.write(2, f"{environment.exit_reason_prefix}{line}\n".encode())
        lines = journal.pending()
        if lines:
            call = guard.Call("log", append, lines, within=LOG_WITHIN)
            guard.Guards(f"{environment.rsctmp}/ocf_py/log", Deadline.after(2 * LOG_WITHIN)).run(call)
    except (Error, OSError):
        return


def one_line(text: str) -> str:
    """Return text as a reason: one line, printable ASCII, at most 200 bytes."""
    flat = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    flat = "".join(c if c.isprintable() else "?" for c in flat)
    return flat if len(flat) <= REASON_LIMIT else flat[: REASON_LIMIT - 3] + "..."


def log_traceback(journal: Journal, error: BaseException) -> None:
    import traceback

    journal.error("".join(traceback.format_exception(type(error), error, error.__traceback__)))


def perform(cls: type[Agent], action: str, environment: Environment, journal: Journal) -> tuple[int, str]:
    """Do the action; return its code and the reason of a degraded state.  Raises Error."""
    if action in ("meta-data", "usage", "help"):
        from . import metadata

        if action == "meta-data":
            metadata.write(metadata.xml(cls, environment.dialect))
        else:
            metadata.write(metadata.usage(cls, environment.type).encode())
        return SUCCESS, ""
    known = {declared.name for declared in cls.actions} | {"validate-all", "status"}
    if action not in known:
        raise Unsupported(f"unsupported action {action!r}" if action else "no action given; try usage")
    if environment.version not in ("", "1"):
        raise Error(f"OCF version {environment.version} is not supported by this agent, only 1 is")
    timeout = environment.timeout or declared_timeout(cls, action)
    values, wrong = parameters.parse_all(cls.parameters, environment.parameters)
    for name, parameter in cls.parameters.items():
        if parameter.secret and values[name]:
            journal.hide(str(values[name]))
    agent = cls(environment, Deadline.of_action(timeout), journal, values)
    return Lifecycle(agent, wrong).perform(action)


def declared_timeout(cls: type[Agent], action: str) -> float:
    declared = [float(a.timeout[:-1]) for a in cls.actions if a.name == action]
    return max(DEFAULT_TIMEOUT, *declared) if declared else DEFAULT_TIMEOUT


class Lifecycle:
    """One action of one agent."""

    def __init__(self, agent: Agent, wrong: list[str]) -> None:
        self.agent, self.wrong = agent, wrong

    def perform(self, action: str) -> tuple[int, str]:
        method: Callable[[], tuple[int, str] | None] = getattr(self, "monitor" if action == "status" else action.replace("-", "_"))
        if action not in ("validate-all", "stop", "notify"):
            self.check_parameters()
        return method() or (SUCCESS, "")

    def wait_until(self, ready: Callable[[], bool], otherwise: str) -> None:
        """Wait for what the action has done to show.  Raises DeadlineExceeded, where the resource is `otherwise`."""
        deadline = self.agent.deadline
        try:
            deadline.wait_until(ready, "")
        except DeadlineExceeded:
            text = f"the resource is {otherwise} after {deadline.spent():.0f} s of {deadline.total:.0f} s"
            raise DeadlineExceeded(text) from None

    def check_parameters(self) -> None:
        parameters.complain(self.wrong)
        self.agent.validate()

    # Actions that only look.

    def validate_all(self) -> None:
        self.check_parameters()
        if self.agent.check_level >= 10:
            self.check_node()

    def check_node(self) -> None:
        from .commands import require

        if self.agent.environment.no_commands and self.agent.commands:
            raise NotInstalled(f"{', '.join(self.agent.commands)} not installed")
        require(*self.agent.commands)
        self.agent.validate_here()

    def monitor(self) -> tuple[int, str]:
        """Observe and, in a recurring monitor, do the checks of the levels that were asked for.

        A monitor without an interval is a probe: it tells whether the resource is there, no more.
        """
        agent = self.agent
        if not agent.environment.interval:
            state = agent.observe()
            return state.code, state.reason
        state = STOPPED
        try:
            state = agent.observe()
            state = self.checked(state)
        except Error as error:
            if state.promoted and error.code != NOT_RUNNING:
                raise FailedPromoted(str(error)) from error.__cause__
            raise without_ban(error) from error.__cause__
        return state.code, state.reason

    def checked(self, state: State) -> State:
        """Return the state after the declared checks; a promoted resource and an unpromoted one may have different ones."""
        if not state.active:
            return state
        role = "Promoted" if state.promoted else "Unpromoted"
        for declared in self.agent.actions:
            applies = declared.is_monitor and declared.level <= self.agent.check_level and declared.role in ("", role)
            if applies and declared.method != "observe":
                found = getattr(self.agent, declared.method)()
                if isinstance(found, State) and found.reason:
                    state = state.degraded(found.reason)
                elif isinstance(found, State) and not found.active:
                    return found
        return state

    # Actions that change.

    def start(self) -> None:
        agent = self.agent
        agent.prepare_start()
        running = agent.observe().active
        if not running:
            self.check_node()
        self.remember_parameters()
        if running:
            agent.await_ready()
            return
        agent.start()  # type: ignore[attr-defined]
        self.wait_until(lambda: agent.observe().active, "not active")

    def stop(self) -> None:
        agent = self.agent
        try:
            if self.wrong and not self.recall_parameters():
                return
            if self.must_stop():
                agent.stop()  # type: ignore[attr-defined]
                self.wait_until(lambda: not agent.observe().active, "still active")
            agent.confirm_stopped()
        except Error as error:
            raise without_ban(error, NOT_RUNNING) from error.__cause__
        agent.memory.forget()
        guard.forget(agent.guards.folder)

    def must_stop(self) -> bool:
        try:
            return self.agent.observe().active
        except Error as error:
            self.agent.log.warning(f"stopping without knowing the state: {error}")
            return True

    def promote(self) -> None:
        agent = self.agent
        state = agent.observe()
        if state.promoted:
            return
        if not state.active:
            raise NotRunning("cannot promote: the resource is not running")
        agent.promote()  # type: ignore[attr-defined]
        self.wait_until(lambda: agent.observe().promoted, "not promoted")

    def demote(self) -> None:
        agent = self.agent
        try:
            state = agent.observe()
        except FailedPromoted as error:
            agent.log.warning(f"demoting what has failed: {error}")
            state = PROMOTED
        if not state.active:
            raise NotRunning("cannot demote: the resource is not running")
        if not state.promoted:
            return
        agent.demote()  # type: ignore[attr-defined]
        self.wait_until(lambda: not agent.observe().promoted, "still promoted")

    def notify(self) -> None:
        """Tell the agent; whatever comes of it, Pacemaker takes only success (agents.rst)."""
        try:
            self.check_parameters()
            self.agent.notify()  # type: ignore[attr-defined]
        except (Exception, SystemExit) as error:  # noqa: BLE001  Its failure has no code to be told by.
            self.agent.log.error(f"notify: {error if isinstance(error, Error) else guard.described(error)}")

    def migrate_to(self) -> None:
        if not self.agent.observe().active:
            raise NotRunning("cannot migrate: the resource is not running")
        self.agent.migrate_to()  # type: ignore[attr-defined]

    def migrate_from(self) -> None:
        agent = self.agent
        self.remember_parameters()
        agent.migrate_from()  # type: ignore[attr-defined]
        self.wait_until(lambda: agent.observe().active, "not active")

    def reload(self) -> None:
        if not self.agent.observe().active:
            raise NotRunning("cannot reload: the resource is not running")
        self.agent.reload()  # type: ignore[attr-defined]

    def reload_agent(self) -> None:
        if not self.agent.observe().active:
            raise NotRunning("cannot reload: the resource is not running")
        self.agent.reload_agent()  # type: ignore[attr-defined]
        self.remember_parameters()

    # Parameters of the last start, for a stop that cannot read its own.

    def remember_parameters(self) -> None:
        agent = self.agent
        given = {
            GIVEN + name: agent.environment.parameters.get(name, "") for name, parameter in agent.parameters.items() if not parameter.secret
        }
        kept = {name: agent.memory.get(name) for name in agent.memory if not name.startswith(GIVEN)}
        agent.memory.replace({**kept, **given})

    def recall_parameters(self) -> bool:
        """Use the record of the last start where this stop's own parameters are wrong.

        Returns False where there is none and nothing of this resource is here: Pacemaker stops with the parameters of the last
        start, so nothing was ever started with these.
        """
        agent, wrong = self.agent, "; ".join(self.wrong)
        recorded = agent.memory.section(GIVEN)
        if not recorded:
            if agent.nothing_left():
                agent.log.warning(f"stop: {wrong}; nothing was started here since boot")
                return False
            raise Error(f"cannot tell what to stop: {wrong}")
        values, still_wrong = parameters.parse_all({name: p for name, p in agent.parameters.items() if not p.secret}, recorded)
        if still_wrong:
            raise Error(f"cannot tell what to stop: {wrong}; recorded: {'; '.join(still_wrong)}")
        agent.log.warning(f"stop: {wrong}; using the parameters of the last start")
        agent.values = {**values, **{name: agent.values[name] for name, p in agent.parameters.items() if p.secret}}
        return True


def without_ban(error: Error, *more: int) -> Error:
    """Return the error as one of the generic kind where its code would ban the resource from nodes for what was seen on one."""
    return Error(str(error)) if error.code in (*BANNING, *more) else error
