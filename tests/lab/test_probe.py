"""What the probe says of a port, against the kernel's own answers."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.client import probe
from lab.client.ledger import Ledger


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def nobody() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield port


@contextmanager
def swamped() -> Iterator[int]:
    """Listen with a queue that is full: the kernel drops what asks for more, and the asker hears nothing."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.mark.parametrize("place, result", [(listening, "open"), (nobody, "refused"), (swamped, "timeout")])
def test_a_port(place: object, result: str) -> None:
    assert callable(place)
    with place() as port:
        assert asyncio.run(probe.probe("127.0.0.1", port, within=0.5)) == result


def test_an_address_that_nothing_leads_to() -> None:
    """A root has loopback only: 192.0.2.1 is on no network."""
    assert asyncio.run(probe.probe("192.0.2.1", 5432)) == "no route"


@pytest.mark.parametrize(
    "number, name",
    [(errno.EHOSTUNREACH, "no route"), (errno.ENETUNREACH, "no route"), (errno.ECONNREFUSED, "refused"), (errno.ETIMEDOUT, "timeout"),
     (errno.ECONNRESET, "ECONNRESET"), (errno.EADDRNOTAVAIL, "EADDRNOTAVAIL")],
)  # fmt: skip
def test_errors_by_name(number: int, name: str) -> None:
    assert probe.named(OSError(number, "text")) == name


def test_slow_probes_do_not_hold_up_the_schedule(tmp_path: Path) -> None:
    async def run(port: int) -> None:
        book = Ledger(tmp_path / "x", 0.0)
        ending = asyncio.Event()
        asyncio.get_running_loop().call_later(0.6, ending.set)
        await probe.Prober("127.0.0.1", port, book, every=0.05, within=0.5).run(ending)
        book.close()

    with swamped() as port:
        asyncio.run(run(port))
    told = [json.loads(line) for line in (tmp_path / "x").read_text().splitlines()]
    assert {event["result"] for event in told} == {"timeout"}
    assert len(told) >= 6
    dues = sorted(event["due"] for event in told)
    assert all(after - before == pytest.approx(0.05, abs=1e-4) for before, after in zip(dues, dues[1:]))
