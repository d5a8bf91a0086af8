"""What can go wrong, named by what the caller does about it."""

from __future__ import annotations


class FenceError(Exception):
    """An action that failed.  The text is one line for an administrator: what, where, what to do; never a secret."""


class Misconfigured(FenceError):
    """An option that is missing, malformed or contradicts another: nothing was tried, and trying again will not help."""


class Away(FenceError):
    """What has to answer does not: trying the same again in this action would only take the time of another way to fence."""


class OutOfTime(FenceError):
    """The time limit of the action came before its end."""
