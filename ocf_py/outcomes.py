"""What an action can come to: exit codes, states and errors, one class for each meaning."""

from __future__ import annotations

# Exit codes of OCF 1.1.  Plain integers: the enum module costs more than the rest of this package to import.
SUCCESS = 0
ERR_GENERIC = 1
ERR_ARGS = 2
ERR_UNIMPLEMENTED = 3
ERR_PERM = 4
ERR_INSTALLED = 5
ERR_CONFIGURED = 6
NOT_RUNNING = 7
RUNNING_PROMOTED = 8
FAILED_PROMOTED = 9
DEGRADED = 190
DEGRADED_PROMOTED = 191

# Codes that ban a resource from this node or from all nodes.  They speak of an installation or a configuration, never of
# something that a monitor or a stop has seen (Pacemaker: lib/pengine/unpack.c, remap_operation).
BANNING = (ERR_ARGS, ERR_PERM, ERR_INSTALLED, ERR_CONFIGURED)


class State:
    """What an observation found.  Compare with `is`, or by `active` and `promoted`; `reason` is set when degraded."""

    __slots__ = ("code", "name", "reason")

    def __init__(self, name: str, code: int, reason: str = "") -> None:
        self.name, self.code, self.reason = name, code, reason

    def __repr__(self) -> str:
        return f"<{self.name}{': ' + self.reason if self.reason else ''}>"

    @property
    def active(self) -> bool:
        return self.code != NOT_RUNNING

    @property
    def promoted(self) -> bool:
        return self.code in (RUNNING_PROMOTED, DEGRADED_PROMOTED)

    def degraded(self, reason: str) -> State:
        """Return this state with a warning: Pacemaker treats it as healthy and shows the reason to the user."""
        if not self.active:
            raise ValueError("only an active resource can be degraded")
        together = f"{self.reason}; {reason}" if self.reason else reason
        return State(self.name, DEGRADED_PROMOTED if self.promoted else DEGRADED, together)


STOPPED = State("stopped", NOT_RUNNING)
RUNNING = State("running", SUCCESS)
PROMOTED = State("promoted", RUNNING_PROMOTED)


class Error(Exception):
    """An action failed; the text is the exit reason.  The root of all errors that an agent raises on purpose."""

    code = ERR_GENERIC


class InvalidHere(Error):
    """A parameter is valid in itself and wrong on this node."""

    code = ERR_ARGS


class Unsupported(Error):
    """The agent has no such action."""

    code = ERR_UNIMPLEMENTED


class NotPermitted(Error):
    """The agent may not do what the action needs."""

    code = ERR_PERM


class NotInstalled(Error):
    """Software that the action needs is not on this node."""

    code = ERR_INSTALLED


class Misconfigured(Error):
    """A parameter is missing or inherently wrong: no node could run the resource."""

    code = ERR_CONFIGURED


class NotRunning(Error):
    """The resource is cleanly stopped where the action needs it active."""

    code = NOT_RUNNING


class FailedPromoted(Error):
    """The resource is in the promoted role and failed."""

    code = FAILED_PROMOTED


class DeadlineExceeded(Error):
    """The action's own time ended before its work."""


class CommandFailed(Error):
    """A program ended with a code that was not expected.  `finished` holds its output."""

    def __init__(self, text: str, finished: object = None) -> None:
        super().__init__(text)
        self.finished = finished


class CannotRecord(Error):
    """The memory under HA_RSCTMP cannot be written; a child that may hang is not started without a record of it."""


class Hung(Error):
    """A child did not answer in its time and was left behind.

    `target` is what it worked on, `pid` the child, `seconds` how long it has been unanswered.
    """

    def __init__(self, target: str, pid: int, seconds: float, text: str = "") -> None:
        super().__init__(text or f"{target}: no answer for {seconds:.1f} s (process {pid} left behind)")
        self.target, self.pid, self.seconds = target, pid, seconds


class Unanswered(Hung):
    """The action's own time ended before the child's: nothing can be said yet, the next action judges by the child's age."""
