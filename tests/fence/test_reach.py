"""From host names to connections: name servers, black holes, and several addresses of one name."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from fence_lab.transport import Address, Unreachable
from tests.fence import servers
from tests.fence.servers import OK, Place, Server, answering, ask, resolving, took

pytestmark = pytest.mark.usefixtures("no_threads_left")


def test_a_resolver_that_hangs_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def getaddrinfo(*_: Any, flags: int = 0, **__: Any) -> list[Any]:
        if not flags:
            over.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"pve1:8006: the host name was not resolved within 0\.5 s"):
        place.transport().connection(Address("pve1", 8006)).request("GET", "/", connect=0.5)
    assert took(0.5, began)
    over.set()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70, "a b", "", "pve\x00"])
def test_what_is_no_host_is_unreachable(place: Place, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not host:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(Unreachable) as raised:
        place.transport().connection(Address(host, 8006)).request("GET", "/", connect=5)
    assert "\n" not in str(raised.value)


def test_a_refused_connection_is_named(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=rf"^127\.0\.0\.1:{port}: connection refused$"):
            place.transport().connection(Address("127.0.0.1", port)).request("POST", "/")


def test_all_addresses_are_tried(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.BlackHole() as hole, place.serve(answering(OK)) as server:
        resolving(monkeypatch, ("127.0.0.1", 1), ("127.0.0.1", hole), ("::1", 1), ("127.0.0.1", server.port))
        began = time.monotonic()
        connection = place.transport().connection(Address("pve1.example.org", 8006))
        assert connection.request("GET", "/").status == 200
        assert time.monotonic() - began < 3, "the black hole is not waited for"
        monkeypatch.setattr(socket, "getaddrinfo", pytest.fail)
        connection.close()
        assert connection.request("GET", "/").status == 200, "the name server is not needed again"
        connection.close()


def test_an_address_that_hangs_in_tls_leaves_time_for_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(servers.silent, None) as first, place.serve(answering(OK)) as second:
        resolving(monkeypatch, ("127.0.0.1", first.port), ("127.0.0.1", second.port))
        assert ask(place.transport(), second, host="pve1.example.org", connect=2).status == 200


def test_each_address_and_its_cause_are_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.BlackHole() as hole, Server(servers.plain_http, None) as plain:
        resolving(monkeypatch, ("127.0.0.1", 1), ("::1", 1), ("127.0.0.1", plain.port), ("127.0.0.1", hole))
        with pytest.raises(Unreachable) as raised:
            place.transport().connection(Address("pve1", 8006)).request("GET", "/", connect=1.5)
    text = str(raised.value)
    assert text.startswith("pve1:8006: ")
    for part in ["connection refused (127.0.0.1, ::1)", "does not speak TLS", "no connection within 1.5 s (127.0.0.1)"]:
        assert part in text
