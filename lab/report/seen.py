"""What the client saw, from its ledger, in the terms of a report."""

from __future__ import annotations

from pathlib import Path

from lab.client import ledger
from lab.report.runs import Outcome, Probe, Reach, Session, Write


def writes(history: ledger.History, injected: float) -> tuple[Write, ...]:
    """Return the operations, in the order in which they were due; `injected` is the injection in the ledger's time."""
    found = [
        Write(
            round(one.due - injected, 6), Session(one.stream), Outcome(one.outcome),
            None if one.ended is None else round(one.ended - one.due, 6), " ".join(filter(None, (one.phase, one.why))),
        ) for one in history.operations.values()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda write: (write.due, write.session.value)))


def probes(path: Path, injected: float) -> tuple[Probe, ...]:
    """Return what the TCP probe saw, leaving out what it had seen the time before.  Raises ledger.Unreadable and OSError."""
    events, _ = ledger.lines(path)
    found: list[Probe] = []
    for event in sorted((event for event in events if event["event"] == "probe"), key=lambda event: float(event["due"])):
        reach = next((reach for reach in Reach if reach.value == event["result"]), Reach.OTHER)
        if not found or found[-1].reach is not reach:
            found.append(Probe(round(float(event["due"]) - injected, 6), reach))
    return tuple(found)
