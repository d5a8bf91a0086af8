"""What happens on the nodes during a run, as events of lab.report.runs."""

from __future__ import annotations

from lab.watch.follow import Watch, events
from lab.watch.stand import standing

__all__ = ["Watch", "events", "standing"]
