"""What can go wrong, named by what the caller does about it."""

from __future__ import annotations


class FenceError(Exception):
    """An action that failed.  The text is one line for an administrator: what, where, what to do; never a secret."""


class Misconfigured(FenceError):
    """An option that is missing, malformed or contradicts another: nothing was tried, and trying again will not help."""


class OutOfTime(FenceError):
    """The time limit of the action came before its end."""
