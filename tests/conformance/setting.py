"""What the conformance tests need to know of an agent."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setting:
    """How an agent can be started and stopped here.  `kills` is how often each of its actions is killed."""

    parameters: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    timeout: float | None = None
    kills: int = 10
