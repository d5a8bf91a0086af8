"""The client's ledger: what a client that was killed has left, and what no client can have written."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import Any

import pytest

from lab.client import ledger
from lab.client.ledger import FAILED, NOT_SENT, OK, UNKNOWN, Ledger, Unreadable

HEAD = {"event": "begin", "at": 0.0, "format": ledger.FORMAT, "run": "r", "epoch": 1000.0, "monotonic": 50.0}
STORY: list[dict[str, Any]] = [
    HEAD,
    {"event": "intent", "at": 0.1, "stream": "a", "number": 0, "due": 0.0},
    {"event": "end", "at": 0.2, "stream": "b", "number": 0, "due": 0.0, "outcome": FAILED, "phase": "connect", "why": "refused"},
    {"event": "end", "at": 0.3, "stream": "a", "number": 0, "due": 0.0, "outcome": OK, "server": "rhel1 7"},
    {"event": "intent", "at": 0.4, "stream": "a", "number": 1, "due": 0.1},
    {"event": "end", "at": 0.5, "stream": "b", "number": 1, "due": 0.1, "outcome": NOT_SENT},
    {"event": "mark", "at": 0.6, "name": "paths cut"},
    {"event": "end", "at": 5.4, "stream": "a", "number": 1, "due": 0.1, "outcome": UNKNOWN, "phase": "insert", "why": "no answer"},
    {"event": "late", "at": 7.0, "stream": "a", "number": 1, "outcome": OK, "server": "rhel1 7"},
    {"event": "finish", "at": 8.0},
]


def written(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_a_story_is_read_as_it_was(tmp_path: Path) -> None:
    history = ledger.read(written(tmp_path / "x", STORY))
    first, second = history.of("a")
    assert (first.sent, first.ended, first.outcome, first.acknowledged, first.server) == (0.1, 0.3, OK, 0.3, "rhel1 7")
    assert (second.outcome, second.late, second.acknowledged, second.why) == (UNKNOWN, OK, 7.0, "no answer")
    refused, unsent = history.of("b")
    assert (refused.sent, refused.outcome, refused.phase, refused.denied) == (None, FAILED, "connect", True)
    assert (unsent.sent, unsent.outcome, unsent.denied, unsent.acknowledged) == (None, NOT_SENT, False, None)
    assert (history.marks, history.finished, history.torn, history.last) == ([(0.6, "paths cut")], True, False, 8.0)
    assert history.streams() == ["a", "b"]


def test_a_file_that_ends_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    """A client may be killed, and its disk may be full, at any byte."""
    whole = written(tmp_path / "x", STORY).read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole)):
        (tmp_path / "x").write_bytes(whole[:size])
        history = ledger.read(tmp_path / "x")
        lines = whole[:size].count(b"\n")
        assert history.torn == (whole[size - 1 : size] != b"\n")
        assert not history.finished
        assert len(history.operations) == len({(event["stream"], event["number"]) for event in STORY[:lines] if "stream" in event})
        assert all(operation.ended is not None or operation.outcome == UNKNOWN for operation in history.operations.values())


@pytest.mark.parametrize(
    "events, why",
    [
        ([], "does not begin"),
        (STORY[1:], "does not begin"),
        ([{**HEAD, "format": 99}], "does not begin"),
        ([*STORY[:2], STORY[1]], "twice"),
        ([*STORY[:4], STORY[3]], "ends as ok"),
        ([*STORY[:2], {**STORY[3], "outcome": "fine"}], "ends as fine"),
        ([HEAD, STORY[8]], "line 2"),
        ([HEAD, {"event": "intent", "at": 1.0}], "line 2"),
        ([HEAD, {"event": "dance", "at": 1.0}], "dance"),
        ([HEAD, {"at": 1.0}], "no event"),
        ([HEAD, {"event": "finish", "at": "noon"}], "no event"),
    ],
)
def test_what_no_client_wrote_is_refused(tmp_path: Path, events: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        ledger.read(written(tmp_path / "x", events))


def test_a_broken_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x", STORY)
    path.write_bytes(path.read_bytes().replace(b'{"event": "mark"', b'{"event": "ma'))
    with pytest.raises(Unreadable, match="line 7 is no JSON"):
        ledger.read(path)


def test_each_line_is_in_the_file_when_note_returns(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "x", time.monotonic(), synced=True)
    for number in range(3):
        book.note("mark", name=f"n{number}")
        assert (tmp_path / "x").read_bytes().count(b"\n") == number + 1
    book.close()
    with pytest.raises(FileExistsError):
        Ledger(tmp_path / "x", 0.0)


def test_a_line_that_does_not_fit_is_an_error() -> None:
    book = Ledger(Path("/dev/full"), 0.0, new=False)
    with pytest.raises(OSError, match="No space left") as raised:
        book.note("intent", stream="a", number=1, due=0.0)
    assert raised.value.errno == errno.ENOSPC


def test_a_mark_of_another_process_bears_the_time_of_the_run(tmp_path: Path) -> None:
    path = written(tmp_path / "x", [{**HEAD, "monotonic": time.monotonic() - 100}])
    ledger.mark(path, "cut")
    ((at, name),) = ledger.read(path).marks
    assert name == "cut"
    assert 100 <= at < 160
