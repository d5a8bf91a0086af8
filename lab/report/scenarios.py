"""The scenarios that a whole report has, in its order, and how often each is to be run at least."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    ident: str
    title: str
    repeats: int = 1


ALL = (
    Scenario("S1", "standby of the active node"),
    Scenario("S2a", "corosync partition, the active node is the victim"),
    Scenario("S2b", "corosync partition, the standby node is the victim"),
    Scenario("S3", "hard power-off of the active node"),
    Scenario("S4", "kill -9 of the postmaster", 3),
    Scenario("S5", "both storage paths lost, no_path_retry fail", 3),
    Scenario("S6", "both storage paths lost, no_path_retry queue", 3),
    Scenario("S7", "one storage path lost", 3),
    Scenario("S8", "the WAL LUN hangs alone"),
    Scenario("S9", "the tablespace LUN hangs alone"),
    Scenario("S10", "postmaster stopped by SIGSTOP"),
    Scenario("S11", "storage slow but alive"),
    Scenario("S12", "file system full"),
    Scenario("S13", "power-off while the fence device is unreachable"),
    Scenario("S14", "both nodes booted at once after a power cut"),
    Scenario("S15", "the whole SAN away for 3 minutes"),
    Scenario("S16", "file system frozen for 30 s"),
)


def order(ident: str) -> tuple[int, str]:
    """Return what sorts scenarios: by number, S2a before S2b before S10; what has no number comes last."""
    number = re.match(r"S(\d+)", ident)
    return (int(number[1]) if number else 10**6, ident)
