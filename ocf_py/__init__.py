"""A small framework for OCF resource agents.

`import ocf_py as ocf`, subclass `ocf.Agent`, declare parameters and actions, write `observe`.  docs/writing-agents.md shows how.
At run time this package imports os, sys, time, errno, select, fcntl and marshal, nothing else: a monitor runs every few seconds.
"""

from __future__ import annotations

from .actions import action, monitor
from .agent import Agent
from .deadline import Deadline
from .guard import Account, Call, step
from .outcomes import (
    DEGRADED,
    DEGRADED_PROMOTED,
    ERR_ARGS,
    ERR_CONFIGURED,
    ERR_GENERIC,
    ERR_INSTALLED,
    ERR_PERM,
    ERR_UNIMPLEMENTED,
    FAILED_PROMOTED,
    NOT_RUNNING,
    PROMOTED,
    RUNNING,
    RUNNING_PROMOTED,
    STOPPED,
    SUCCESS,
    CannotRecord,
    CommandFailed,
    DeadlineExceeded,
    Error,
    FailedPromoted,
    Hung,
    InvalidHere,
    Misconfigured,
    NotInstalled,
    NotPermitted,
    NotRunning,
    State,
    Unanswered,
    Unsupported,
)
from .parameters import boolean, choice, duration, duration_or_auto, integer, path, string

__all__ = [
    "DEGRADED", "DEGRADED_PROMOTED", "ERR_ARGS", "ERR_CONFIGURED", "ERR_GENERIC", "ERR_INSTALLED", "ERR_PERM", "ERR_UNIMPLEMENTED",
    "FAILED_PROMOTED", "NOT_RUNNING", "PROMOTED", "RUNNING", "RUNNING_PROMOTED", "STOPPED", "SUCCESS", "Account", "Agent", "Call",
    "CannotRecord", "CommandFailed", "Deadline", "DeadlineExceeded", "Error", "FailedPromoted", "Hung", "InvalidHere", "Misconfigured",
    "NotInstalled", "NotPermitted", "NotRunning", "State", "Unanswered", "Unsupported", "action", "boolean", "choice", "duration",
    "duration_or_auto", "integer", "monitor", "path", "step", "string",
]  # fmt: skip
