"""The audit against forged runs: whatever is wrong in one is found, as what it is, and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.client import audit
from lab.client.audit import Audit, Gap
from lab.client.journal import Row
from lab.client.ledger import FAILED, NOT_SENT, OK, UNKNOWN, History, Key, Operation

LIVES = (("rhel1", 10.0), ("rhel2", 500.0), ("rhel1", 900.0))
EVERY = 0.1
CALM = settings(deadline=None, max_examples=80)
NODE_BOOTS = 5.0  # Between the last row of one server and the first of the next.


@dataclass
class Run:
    """A run that went well, and what the database has of it."""

    history: History
    rows: list[Row]

    def audit(self) -> Audit:
        return audit.judge(self.history, self.rows)


KINDS = {
    "ok": (OK, "", True, True),
    "late": (UNKNOWN, OK, True, True),
    "late no": (UNKNOWN, FAILED, True, False),
    "unknown there": (UNKNOWN, "", True, True),
    "unknown not there": (UNKNOWN, "", True, False),
    "failed": (FAILED, "", True, False),
    "not connected": (FAILED, "", False, False),
    "not sent": (NOT_SENT, "", False, False),
}


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Make a run in which one server after the other wrote, none of whose clocks is right to more than 0.4 s."""
    history, rows, now = History(head={"run": "r", "epoch": 1000.0, "monotonic": 0.0}, finished=True), [], 0.0
    number = 0
    for host, started in LIVES[: draw(st.integers(1, len(LIVES)))]:
        wrong = 0.4 * draw(st.integers(-1, 1))
        # Each server has two rows that were surely acknowledged, so that it is known when it wrote.
        for kind in ["ok", *draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=6)), "ok"]:
            outcome, late, sent, there = KINDS[kind]
            operation = Operation(draw(st.sampled_from(["a", "b"])), number, now, ended=now + 0.05, outcome=outcome, late=late)
            operation.sent, operation.late_at = now + 0.01 if sent else None, now + 0.08 if late else None
            history.operations[operation.key] = operation
            if there:
                rows.append(Row(operation.stream, number, host, started, 1000 + now + 0.03 + wrong))
            number, now = number + 1, now + EVERY
        now += NODE_BOOTS
    return Run(history, draw(st.permutations(rows)))


def acknowledged(run: Run) -> list[Key]:
    return [key for key, operation in run.history.operations.items() if operation.acknowledged is not None]


def row_of(run: Run, key: Key) -> Row:
    return next(row for row in run.rows if (row.stream, row.number) == key)


@CALM
@given(runs())
def test_a_run_that_went_well_is_clean(run: Run) -> None:
    found = run.audit()
    assert found.clean, found
    assert found.acknowledged == len(acknowledged(run))
    assert sum(found.outcomes.values()) == len(run.history.operations)
    assert len(found.unknown_present) + found.acknowledged == len(run.rows)
    assert sum(span.rows for span in found.spans) == len(run.rows)


@CALM
@given(runs(), st.data())
def test_lost_rows_are_found(run: Run, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(acknowledged(run)), min_size=1))
    run.rows = [row for row in run.rows if (row.stream, row.number) not in gone]
    found = run.audit()
    assert found.lost == sorted(gone)
    assert not (found.clean or found.ghosts or found.contradicted or found.duplicates or found.overlaps)


@CALM
@given(runs(), st.data())
def test_ghosts_and_contradictions_are_found_and_told_apart(run: Run, data: st.DataObject) -> None:
    """A row that nobody sent is a ghost; one that was sent and said not to be written contradicts what was said."""
    absent = {key for key, operation in run.history.operations.items()
              if operation.denied or operation.outcome == NOT_SENT} | {("a", 10_000), ("c", 0)}  # fmt: skip
    extra = data.draw(st.sets(st.sampled_from(sorted(absent)), min_size=1))
    sent = {key for key in extra if key in run.history.operations and run.history.operations[key].sent is not None}
    # Each is said to be of the server that wrote at its time, or it would be an overlap besides.
    nearest = {(stream, number): min(run.rows, key=lambda row: abs(row.number - number)) for stream, number in extra}
    rows = [replace(row, stream=stream, number=number) for (stream, number), row in nearest.items()]
    found = audit.judge(run.history, [*run.rows, *rows])
    assert found.ghosts == sorted(extra - sent)
    assert found.contradicted == sorted(sent)
    assert not (found.clean or found.lost or found.duplicates or found.overlaps)


@CALM
@given(runs(), st.data())
def test_duplicates_are_found(run: Run, data: st.DataObject) -> None:
    twice = data.draw(st.sets(st.sampled_from(acknowledged(run)), min_size=1))
    run.rows += [row_of(run, key) for key in twice]
    found = run.audit()
    assert found.duplicates == sorted(twice)
    assert not (found.clean or found.lost or found.ghosts or found.contradicted or found.overlaps)


@CALM
@given(runs(), st.floats(0.1, 0.5), st.floats(0.5, 0.9))
def test_a_second_server_in_between_is_proven_by_the_clients_clock(run: Run, sent: float, ended: float) -> None:
    """The clocks of the servers say nothing here: the intruder's stands still."""
    first = LIVES[0]
    mine = [run.history.operations[row.stream, row.number] for row in run.rows if row.server == first]
    begin = min(operation.acknowledged for operation in mine if operation.acknowledged is not None)
    gap = max(operation.sent for operation in mine if operation.sent is not None) - begin
    between = Operation("c", 0, 0.0, begin + sent * gap, begin + ended * gap, OK)
    run.history.operations[between.key] = between
    run.rows.append(Row("c", 0, "rhel2", 77.0, written=0.0))
    found = run.audit()
    (overlap,) = found.overlaps
    assert set(overlap.servers) == {first, ("rhel2", 77.0)}
    assert (overlap.proof, overlap.seconds) == (("c", 0), 0.0)
    assert not (found.clean or found.lost or found.ghosts or found.contradicted or found.duplicates)


@CALM
@given(runs(), st.floats(-3.0, 3.0))
def test_servers_that_overlap_by_their_clocks(run: Run, common: float) -> None:
    """What clocks of two nodes may differ is no overlap; rows without an acknowledgement prove nothing but by these."""
    last = max(row.written for row in run.rows if row.server == LIVES[0])
    first = min(row.written for row in run.rows if row.server == LIVES[0])
    begin = last - common
    key = ("c", 0)
    run.history.operations[key] = Operation("c", 0, 0.0, 0.0, 5.0, UNKNOWN)
    run.rows = [row for row in run.rows if row.server == LIVES[0]] + [Row("c", number, "other", 77.0, at) for number, at in
                                                                     ((0, begin), (1, begin + 10))]  # fmt: skip
    run.history.operations["c", 1] = Operation("c", 1, 0.0, 0.0, 5.0, UNKNOWN)
    overlaps = [overlap for overlap in run.audit().overlaps if ("other", 77.0) in overlap.servers]
    there = min(last, begin + 10) - max(first, begin)
    assert bool(overlaps) == (there > audit.SKEW)
    assert all(overlap.proof is None and overlap.seconds == pytest.approx(there) for overlap in overlaps)


def test_two_lives_on_one_node_have_one_clock() -> None:
    written = [(1.0, 100.0), (1.0, 101.0), (2.0, 100.9), (2.0, 105.0)]
    rows = [Row("a", number, "rhel1", started, at) for number, (started, at) in enumerate(written)]
    history = History(operations={("a", number): Operation("a", number, 0.0, 0.0, 1.0, UNKNOWN) for number in range(4)})
    (overlap,) = audit.judge(history, rows).overlaps
    assert overlap.seconds == pytest.approx(0.1)


def answered(*times: float, stream: str = "a", first: int = 0) -> dict[Key, Operation]:
    return {(stream, number): Operation(stream, number, at, at, at, OK) for number, at in enumerate(times, first)}


UNANSWERED = {("a", 90): Operation("a", 90, 9.0, 9.0, 14.0, UNKNOWN)}
LATE = {("a", 91): Operation("a", 91, 3.0, 3.0, 8.0, UNKNOWN, late=OK, late_at=8.5)}


@pytest.mark.parametrize(
    "operations, injected, gap",
    [
        (answered(1, 2, 3, 7, 8), 3.5, Gap(3, 7, True)),
        (answered(1, 5, 6, 8, 9), 5.5, Gap(6, 8, True)),  # What was over before does not count.
        (answered(1, 5, 6, 8, 9), 4.0, Gap(1, 5, True)),  # What was not, does.
        ({**answered(1, 2, 3), **UNANSWERED}, 2.5, Gap(3, 9, False)),
        ({**answered(1, 2, 9, 10), **LATE}, 2.5, Gap(2, 9, True)),  # A late answer helps nobody.
        (UNANSWERED, 0.0, Gap(0, 9, False)),
        ({}, 0.0, Gap(0, 0, False)),
        ({**answered(1, 2, 8, 9), **answered(4, 6, stream="b", first=50)}, 1.5, Gap(2, 4, True)),  # Either stream is service.
    ],
)
def test_disruption(operations: dict[Key, Operation], injected: float, gap: Gap) -> None:
    assert audit.disruption(History(operations=operations), injected) == gap


def test_disruption_of_one_stream() -> None:
    history = History(operations={**answered(1, 2, 8, 9), **answered(1, 4, 6, 9, stream="b", first=50)})
    assert audit.disruption(history, 1.5, "a") == Gap(2, 8, True)
    assert audit.disruption(history, 1.5, "b") == Gap(1, 4, True)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"lost": [("a", 1)]}, "LOST, though acknowledged: 1: a 1"),
        ({"ghosts": [("a", 1), ("b", 2)]}, "GHOSTS, never sent: 2: a 1, b 2"),
        ({"contradicted": [("a", 1)]}, "CONTRADICTED, there though said to have failed: 1: a 1"),
        ({"duplicates": [("a", 1)]}, "DUPLICATES: 1: a 1"),
        ({"overlaps": [audit.Overlap((("rhel1", 1000.0), ("rhel2", 1005.0)), 2.0, ("a", 1))]},
         "TWO SERVERS WROTE AT ONCE: rhel1 of 0.0 s and rhel2 of 5.0 s: 2.0 s by their clocks; proven by a 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: dict[str, object], words: str) -> None:
    history = History(head={"epoch": 1000.0}, operations=answered(1, 2), finished=True)
    found = audit.judge(history, [Row("a", number, "rhel1", 1000.0, 1001.0 + number) for number in range(2)])
    assert audit.report(history, found, 1.5).splitlines()[-1] == "clean"
    said = audit.report(history, replace(found, **change), 1.5).splitlines()  # type: ignore[arg-type]  # One field of many types.
    assert words in said
    assert said[-1] == "NOT CLEAN"
