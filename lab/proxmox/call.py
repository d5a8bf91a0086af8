"""A request as a method of the API sees it, and the errors that a method raises.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .nodes import Node
from .world import World

# What goes into JSON.
Data = object


class Raised(Exception):
    """An error of a method: `die` is 500, a faulty parameter 400 with `errors`, a missing privilege 403 (PVE/Exception.pm)."""

    def __init__(self, text: str, status: int = 500, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.text, self.status, self.errors = text, status, errors


def wrong(parameter: str, text: str) -> Raised:
    """Return the error of a faulty parameter (pve-common src/PVE/Exception.pm:78-97)."""
    return Raised("Parameter verification failed.\n", 400, {parameter: text})


def forbidden(what: str) -> Raised:
    """Return the error of a missing privilege (pve-common src/PVE/Exception.pm:53-68)."""
    return Raised(f"Permission check failed ({what})\n", 403)


@dataclass
class Call:
    """A request as a method sees it, on the node that answers it.  `late` is how long the answer takes."""

    world: World
    node: Node
    user: str
    params: Mapping[str, str]
    late: float = 0.0

    def flag(self, name: str) -> bool:
        return self.params.get(name, "0") == "1"

    def may(self, path: str, privilege: str) -> bool:
        return self.world.access.may(self.user, path, privilege)
