"""What actions cost, however long they take on a busy machine."""

from __future__ import annotations

import resource


def cpu_of_children() -> float:
    """Return the seconds of CPU, user and system, of all children so far that have ended and been waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
