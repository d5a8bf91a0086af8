"""The client's memory: what it is about to write, and what it was told, as lines of JSON that only ever grow in number.

A line is one write() to a file opened for appending: when the call returns the kernel has it, and whatever becomes of the client,
SIGKILL included, the line is there.  It is not synced, unless that is asked for: what the lab breaks is the servers, never the
machine that the client runs on.  At the orderly end the file is synced in any case.

Times (`at`, `due`) are seconds from the moment that `begin` names on two clocks: of the day, and monotonic, which all processes
of a machine share.

    begin   run, epoch, monotonic, and how the client was told to work
    intent  stream, number, due     before the INSERT is sent: a row without this line is not ours
    end     stream, number, due, outcome; phase and why where it was not ok, server where one answered
    late    stream, number, outcome: the answer came after the operation's deadline, when its end had been noted
    mark    name                    what somebody did to the cluster
    finish                          the schedule is over and all that was under way is settled
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
OK, FAILED, UNKNOWN, NOT_SENT = "ok", "failed", "unknown", "not sent"
OUTCOMES = (OK, FAILED, UNKNOWN, NOT_SENT)

Key = tuple[str, int]


class Unreadable(Exception):
    """A ledger that this client cannot have written."""


class Ledger:
    """Appends events to a file.  `zero` is the monotonic time that times are counted from; `synced` syncs each line."""

    def __init__(self, path: Path, zero: float, run: str = "", *, new: bool = True, synced: bool = False) -> None:
        self.path, self.zero, self.run, self.synced = path, zero, run, synced
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0), 0o644)

    def now(self) -> float:
        return round(time.monotonic() - self.zero, 6)

    def note(self, event: str, **fields: Any) -> None:
        """Append a line.  Raises OSError where it did not get there as a whole."""
        line = json.dumps({"event": event, "at": self.now(), **fields}).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError(f"{self.path}: no room for a whole line")
        if self.synced:
            os.fsync(self._file)

    def close(self) -> None:
        os.fsync(self._file)
        os.close(self._file)


def mark(path: Path, name: str) -> None:
    """Add a mark to the ledger of a client that is at work: its appended lines and ours do not mix."""
    ledger = Ledger(path, read(path).monotonic, new=False)
    ledger.note("mark", name=name)
    ledger.close()


@dataclass
class Operation:
    """What the ledger knows of one row.  Without `ended` the client was ended first."""

    stream: str
    number: int
    due: float
    sent: float | None = None
    ended: float | None = None
    outcome: str = UNKNOWN
    phase: str = ""
    why: str = ""
    server: str = ""
    late: str = ""
    late_at: float | None = None

    @property
    def key(self) -> Key:
        return self.stream, self.number

    @property
    def acknowledged(self) -> float | None:
        """When the server said that the row is committed, be it too late for the one who waited."""
        return self.ended if self.outcome == OK else self.late_at if self.late == OK else None

    @property
    def denied(self) -> bool:
        """Tell whether the server, or the driver, said that the row was not written."""
        return FAILED in (self.outcome, self.late)


@dataclass
class History:
    """A ledger that was read.  `torn`: its last line is not whole; `finished`: the client came to its own end."""

    head: dict[str, Any] = field(default_factory=dict)
    operations: dict[Key, Operation] = field(default_factory=dict)
    marks: list[tuple[float, str]] = field(default_factory=list)
    last: float = 0.0
    finished: bool = False
    torn: bool = False

    @property
    def run(self) -> str:
        return str(self.head["run"])

    @property
    def monotonic(self) -> float:
        return float(self.head["monotonic"])

    @property
    def epoch(self) -> float:
        return float(self.head["epoch"])

    def of(self, stream: str) -> list[Operation]:
        return [operation for operation in self.operations.values() if operation.stream == stream]

    def streams(self) -> list[str]:
        return sorted({stream for stream, _ in self.operations})


def lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """Return the events of a file, and whether its last line is torn.  Raises Unreadable for any other line that is none."""
    *whole, rest = path.read_bytes().split(b"\n")
    return [parsed(path, number, line) for number, line in enumerate(whole, 1)], bool(rest)


def parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        raise Unreadable(f"{path}: line {number} is no JSON") from None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str) or not isinstance(event.get("at"), (int, float)):
        raise Unreadable(f"{path}: line {number} is no event")
    return event


def read(path: Path) -> History:
    """Read a ledger, be it of a client that is still at work or was killed.  Raises Unreadable and OSError."""
    events, torn = lines(path)
    if not events or events[0]["event"] != "begin" or events[0].get("format") != FORMAT:
        raise Unreadable(f"{path}: does not begin as a ledger of format {FORMAT}")
    history = History(head=events[0], torn=torn)
    for number, event in enumerate(events, 1):
        try:
            told(history, event)
        except (KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"{path}: line {number} says what no client says: {error!r}") from None
    return history


def told(history: History, event: dict[str, Any]) -> None:
    at, kind = float(event["at"]), event["event"]
    history.last = max(history.last, at)
    if kind == "mark":
        history.marks.append((at, event["name"]))
    elif kind == "finish":
        history.finished = True
    elif kind == "intent":
        add(history, event).sent = at
    elif kind == "end":
        operation = history.operations.get((event["stream"], event["number"])) or add(history, event)
        if operation.ended is not None or event["outcome"] not in OUTCOMES:
            raise ValueError(f"{operation.key} ends as {event['outcome']}")
        operation.ended, operation.outcome = at, event["outcome"]
        operation.phase, operation.why, operation.server = (event.get(name, "") for name in ("phase", "why", "server"))
    elif kind == "late":
        operation = history.operations[event["stream"], event["number"]]
        operation.late, operation.late_at = event["outcome"], at
    elif kind != "begin":
        raise ValueError(kind)


def add(history: History, event: dict[str, Any]) -> Operation:
    operation = Operation(event["stream"], int(event["number"]), float(event["due"]))
    if operation.key in history.operations:
        raise ValueError(f"{operation.key} twice")
    history.operations[operation.key] = operation
    return operation
