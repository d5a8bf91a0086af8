"""Calls that run to their own deadline: the agent is told of less time than it has."""

from __future__ import annotations

from typing import TypedDict

LATE_SECONDS = 20.0


class Hurry(TypedDict):
    timeout: float
    environment: dict[str, str]


def hurry(seconds: float) -> Hurry:
    """Return the options of a call that takes itself to have only so many seconds.

    It is killed some seconds later: on a busy machine the second that an agent keeps for its end may be too short, which is no fault of
    its.
    """
    return {"timeout": seconds + LATE_SECONDS, "environment": {"OCF_RESKEY_CRM_meta_timeout": f"{seconds * 1000:.0f}"}}
