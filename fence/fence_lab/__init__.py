"""What fence agents are made of: options, actions, time, and an HTTPS client.

Subclass FenceAgent; docs/writing-fence-agents.md shows how.
"""

from __future__ import annotations

from fence_lab import logs, options
from fence_lab.agent import FenceAgent, Outlet, Power
from fence_lab.errors import FenceError, Misconfigured, OutOfTime
from fence_lab.options import Option

__all__ = ["FenceAgent", "FenceError", "Misconfigured", "Option", "OutOfTime", "Outlet", "Power", "logs", "options"]
