"""The HTTPS client against real TLS servers that each do one thing wrong."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from fence_lab import https, reach
from fence_lab.errors import FenceError
from fence_lab.transport import Address, Lost, Reply, Unreachable
from tests.fence import servers
from tests.fence.servers import GRACE, OK, Peer, Place, Server, answering, ask, once, took

ZIPPED = gzip.compress(b"ok")


pytestmark = pytest.mark.usefixtures("no_threads_left")


# A server that does as it should.

def test_one_connection_serves_many_requests(place: Place) -> None:
    transport = place.transport()
    with place.serve(answering(OK)) as server:
        connection = transport.connection(Address("127.0.0.1", server.port))
        assert connection.fingerprint is None
        for method in ("GET", "POST", "GET", "PUT", "DELETE"):
            assert connection.request(method, "/api2/json/x") == Reply(200, "OK", b"ok")
        connection.close()
        assert connection.fingerprint == place.fingerprint
        assert (server.connections, transport.handshakes, transport.requests) == (1, 1, 5)


def test_what_a_request_looks_like(place: Place) -> None:
    transport = place.transport()
    params = {"password": "p&=%+ ü\udcff", "username": "a@pve"}
    headers = {"Cookie": "PVEAuthCookie=PVE:a@pve:66F0::x+/=", "Authorization": "PVEAPIToken=a@pve!t=ü\udcff"}
    with place.serve(answering(OK)) as server:
        for method in ("GET", "POST"):
            ask(transport, server, method, params=params, headers=headers)
        get, post = server.heard
    form = "password=p%26%3D%25%2B+%C3%BC%FF&username=a%40pve"
    assert get.line == f"GET /api2/json/version?{form} HTTP/1.1"
    assert get.body == b""
    assert post.line == "POST /api2/json/version HTTP/1.1"
    assert post.body == form.encode()
    assert post.header("Content-Type") == "application/x-www-form-urlencoded"
    for request in (get, post):
        assert request.header("Host") == f"127.0.0.1:{server.port}"
        assert request.header("Accept-Encoding") == "identity"
        assert request.header("Cookie") == headers["Cookie"]
        assert (request.header("Authorization") or "").encode("latin-1") == "PVEAPIToken=a@pve!t=ü".encode() + b"\xff"


def test_a_post_without_parameters_names_its_length(place: Place) -> None:
    with place.serve(answering(OK)) as server:
        ask(place.transport(), server, "POST")
        assert server.heard[0].header("Content-Length") == "0"


def test_paths_with_a_task_are_sent_as_they_are(place: Place) -> None:
    path = "/api2/json/nodes/pve1/tasks/UPID:pve1:0001E240:00A1B2C3:66F0A1F0:qmstop:121:pacemaker@pve!fence:/status"
    with place.serve(answering(OK)) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        connection.request("GET", path)
        connection.close()
        assert server.heard[0].line == f"GET {path} HTTP/1.1"


def test_ipv6_addresses_are_bracketed(place: Place) -> None:
    with place.serve(answering(OK), "::1") as server:
        assert ask(place.transport(), server).status == 200
        assert server.heard[0].header("Host") == f"[::1]:{server.port}"


def test_nothing_of_the_environment_is_heeded(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    settings = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1",
                "REQUESTS_CA_BUNDLE": "/nowhere", "CURL_CA_BUNDLE": "/nowhere", "NETRC": str(netrc)}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with place.serve(answering(OK)) as server:
        assert ask(place.transport(), server).status == 200
        assert server.heard[0].header("Authorization") is None


def test_a_redirect_is_an_answer_and_cookies_are_not_kept(place: Place) -> None:
    body = b"moved elsewhere"
    answer = b"HTTP/1.1 301 Moved\r\nLocation: https://127.0.0.1:1/\r\nSet-Cookie: a=b\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with place.serve(answering(answer)) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        assert [connection.request("GET", "/") for _ in range(2)] == [Reply(301, "Moved", body)] * 2
        connection.close()
        assert server.heard[1].header("Cookie") is None


# Answers in all their forms.

COMPLETE = {
    "length": OK,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nok\r\n01\r\n!\r\n0\r\n\r\n",
    "closing": b"HTTP/1.1 500 VM 121 not running\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + b'{"data":null}',
    "status alone": b"HTTP/1.1 595 No route to host\r\nConnection: close\r\n\r\n",
}  # fmt: skip
READ = {
    "length": Reply(200, "OK", b"ok"),
    "empty": Reply(200, "OK", b""),
    "chunked": Reply(200, "OK", b"ok!"),
    "closing": Reply(500, "VM 121 not running", b'{"data":null}'),
    "status alone": Reply(595, "No route to host", b""),
}


@pytest.mark.parametrize("form", COMPLETE)
@pytest.mark.parametrize("end", ["farewell", "silence", "reset"])
def test_the_end_of_the_connection_after_the_answer_does_not_matter(place: Place, form: str, end: str) -> None:
    if end == "reset" and form == "status alone":
        end = "silence"  # A reset can overtake bytes that were not read yet; nothing but the end tells that this answer has ended.
    with place.serve(once(COMPLETE[form], end)) as server:
        assert ask(place.transport(), server) == READ[form]


@pytest.mark.parametrize("form", COMPLETE)
def test_an_answer_cut_anywhere_is_never_taken_for_another(place: Place, form: str) -> None:
    """After each byte, in the three ways a connection ends: what misses a byte is no answer."""
    whole, transport = COMPLETE[form], place.transport()
    with place.serve(servers.silent) as server:
        for end in ("silence", "farewell", "reset"):
            for at in range(len(whole)):
                server.manners = once(whole[:at], end)
                with pytest.raises(Lost, match=r"cut short|without an answer"):
                    ask(transport, server)
    assert len(server.heard) == 3 * len(whole)


def test_an_answer_of_unknown_length_needs_the_farewell(place: Place) -> None:
    """Where only the end of the connection ends the body, an end without TLS's own may be anybody's cut."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nsome text"
    with place.serve(once(answer)) as server:
        assert ask(place.transport(), server) == Reply(200, "OK", b"some text")
    for status, body in [(b"200 OK", b"some text"), (b"200 OK", b""), (b"500 Internal", b"some text")]:
        with place.serve(once(b"HTTP/1.1 " + status + b"\r\n\r\n" + body, "silence")) as server, pytest.raises(Lost, match="cut short"):
            ask(place.transport(), server)


@pytest.mark.parametrize("answer, body", [
    (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED, ZIPPED),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more that nobody asked for", b"ok"),
])  # fmt: skip
def test_odd_answers_are_read(place: Place, answer: bytes, body: bytes) -> None:
    with place.serve(once(answer)) as server:
        reply = ask(place.transport(), server)
        assert reply.body == body
        assert reply.status in (200, 204)


@pytest.mark.parametrize("answer, text", [
    (b"", "closed without an answer"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP answer"),
    (b"HTTP/1.1 OK\r\n\r\n", "not an HTTP answer"),
    (b"HTTP/1.1 99999 OK\r\n\r\n", "not an HTTP answer"),
    (b"\x00\xff\x00\xff\r\n\r\n", "not an HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "not an HTTP answer"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n", "not an HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{", "cut short"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", "cut short"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nok", "cut short"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 9\r\n\r\n2\r\nok", "cut short"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok", "not an HTTP answer|cut short"),
])  # fmt: skip
def test_what_is_not_an_answer_is_lost(place: Place, answer: bytes, text: str) -> None:
    with place.serve(once(answer)) as server, pytest.raises(Lost, match=text) as raised:
        ask(place.transport(), server)
    assert str(raised.value).startswith(f"127.0.0.1:{server.port}: ")
    assert "\n" not in str(raised.value)


def test_any_bytes_are_an_answer_or_lost(place: Place) -> None:
    """Whatever comes in place of a piece of an answer, nothing else is raised, and what is read is as long as the answer says."""
    transport = place.transport()
    with place.serve(servers.silent) as server:

        @hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
        @hypothesis.given(st.sampled_from(list(COMPLETE.values())), st.integers(0, 99), st.integers(0, 30), st.binary(max_size=40))
        def anything(whole: bytes, at: int, length: int, other: bytes) -> None:
            answer = whole[:at] + other + whole[at + length :]
            server.manners = once(answer)
            try:
                reply = ask(transport, server)
            except Lost:
                return
            assert isinstance(reply.status, int)
            assert reply.body in answer or b"chunked" in answer

        anything()


def test_after_a_lost_answer_its_rest_is_not_read_as_the_next(place: Place) -> None:
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"

    def manners(peer: Peer) -> None:
        while peer.hear():
            if peer.number == 1:
                peer.server.over.wait(0.6)
                peer.say(late)
            else:
                peer.say(OK)

    with place.serve(manners) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        with pytest.raises(Lost, match=r"no answer within 0\.3 s"):
            connection.request("GET", "/", read=0.3)
        time.sleep(0.5)
        assert connection.request("GET", "/").body == b"ok"
        connection.close()


@pytest.mark.parametrize("more", [b"x", OK, b" " * 12_000 + OK])
def test_what_comes_after_an_answer_is_not_the_next(place: Place, more: bytes) -> None:
    """In the same TLS record, beyond what the reader's buffer takes, and in a record of its own."""
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"

    def manners(peer: Peer) -> None:
        while peer.hear():
            peer.say(said + more if len(peer.server.heard) == 1 else said.replace(b"first", b"third"))
            peer.say(more)

    with place.serve(manners) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        assert connection.request("GET", "/").body == b"first"
        time.sleep(0.1)
        assert connection.request("POST", "/").body == b"third"
        connection.close()


def test_an_endless_answer_is_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "LARGEST_BODY", 2**20)
    with place.serve(once(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3 * 2**20)) as server, pytest.raises(Lost, match="longer than 1 MiB"):
        ask(place.transport(), server)


def test_a_large_answer_is_read(place: Place) -> None:
    body = os.urandom(5 * 2**20)
    with place.serve(once(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)) as server:
        assert ask(place.transport(), server).body == body


# Bounds.

@pytest.mark.parametrize("manners", [
    servers.deaf,
    servers.dripping(b"HTTP/1.1 200 OK\r\nX: and so on, and so on, and so on, and so on", 0.1),
    servers.dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, 0.03),
    servers.dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100, 0.03),
    servers.dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 40, 0.01),
    answering(b"HTTP/1.1 401 No ticket\r\n\r\n"),
], ids=["no answer", "slow headers", "slow body", "slow chunks", "continue, continue", "no end"])  # fmt: skip
def test_an_answer_is_bounded_whatever_comes(place: Place, manners: Callable[[Peer], None]) -> None:
    with place.serve(manners) as server:
        began = time.monotonic()
        with pytest.raises(Lost, match=r"within 0\.8 s"):
            ask(place.transport(), server, read=0.8)
        assert took(0.8, began)


def test_a_server_that_does_not_read_is_bounded(place: Place) -> None:
    with place.serve(servers.silent) as server:
        began = time.monotonic()
        with pytest.raises(Lost, match=r"no answer within 0\.5 s"):
            ask(place.transport(), server, "POST", params={"much": "x" * 2**24}, read=0.5)
        assert took(0.5, began)


def test_a_black_hole_is_bounded(place: Place) -> None:
    with servers.BlackHole() as port:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+: no connection within 0\.5 s"):
            place.transport().connection(Address("127.0.0.1", port)).request("GET", "/", connect=0.5)
        assert took(0.5, began)


def test_a_handshake_is_bounded(place: Place) -> None:
    with Server(servers.silent, None) as server:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"connected, but no TLS handshake within 0\.5 s"):
            ask(place.transport(), server, connect=0.5)
        assert took(0.5, began)


def test_a_dripping_handshake_is_bounded(place: Place) -> None:
    with Server(servers.dripping(b"\x16\x03\x03\x40\x00" + b"\x02" * 1000, 0.1), None) as server:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            ask(place.transport(), server, connect=0.5)
        assert time.monotonic() - began < 0.5 + GRACE


# What is no TLS.

@pytest.mark.parametrize("manners, text", [
    (servers.plain_http, "does not speak TLS: check the address and the port"),
    (lambda peer: peer.say(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"), "does not speak TLS"),
    (lambda peer: peer.wire.recv(1000), "closed during the TLS handshake"),
    (lambda peer: peer.wire.recv(1000) and peer.reset(), "closed during the TLS handshake"),
])  # fmt: skip
def test_no_tls_is_told(place: Place, manners: Callable[[Peer], None], text: str) -> None:
    with Server(manners, None) as server, pytest.raises(Unreachable, match=text):
        ask(place.transport(), server)


# Connections that were idle.

def closing_the_second(end: str) -> Callable[[Peer], None]:
    """Serve one request a connection, and hear but not answer the next: what an idle connection looks like that is just being closed."""

    def manners(peer: Peer) -> None:
        if peer.hear():
            peer.say(OK)
        if peer.hear() and end == "farewell":
            peer.farewell()
        if end == "reset":
            peer.reset()

    return manners


@pytest.mark.parametrize("end", ["farewell", "silence", "reset"])
def test_a_get_is_sent_once_more_where_a_post_is_lost(place: Place, end: str) -> None:
    transport = place.transport()
    with place.serve(closing_the_second(end)) as server:
        connection = transport.connection(Address("127.0.0.1", server.port))
        assert connection.request("GET", "/1").status == 200
        assert connection.request("GET", "/2").status == 200
        assert [(one.line.split()[1], one.connection) for one in server.heard] == [("/1", 1), ("/2", 1), ("/2", 2)]
        with pytest.raises(Lost):
            connection.request("POST", "/3")
        connection.close()
        assert [one.line.split()[1] for one in server.heard][3:] == ["/3"], "never sent twice"
    assert transport.requests == 4


def test_a_get_is_not_sent_a_third_time(place: Place) -> None:
    def manners(peer: Peer) -> None:
        if peer.hear() and peer.number == 1:
            peer.say(OK)
            peer.hear()

    with place.serve(manners) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        connection.request("GET", "/1")
        with pytest.raises(Lost, match="closed without an answer"):
            connection.request("GET", "/2")
        connection.close()
        assert len(server.heard) == 3


def test_a_post_uses_no_connection_that_was_idle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "IDLE_SECONDS", 0.3)
    with place.serve(answering(OK)) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        for method, pause in [("GET", 0), ("POST", 0.4), ("POST", 0), ("GET", 0.4)]:
            time.sleep(pause)
            connection.request(method, "/")
        connection.close()
        assert [one.connection for one in server.heard] == [1, 2, 2, 2]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_the_server_has_closed_is_made_again(place: Place, method: str) -> None:
    def manners(peer: Peer) -> None:
        if peer.hear():
            peer.say(OK)

    with place.serve(manners) as server:
        connection = place.transport().connection(Address("127.0.0.1", server.port))
        for _ in range(3):
            assert connection.request(method, "/").status == 200
            time.sleep(0.2)
        connection.close()
        assert len(server.heard) == 3


# Side by side.

def test_calls_side_by_side_keep_their_order_and_their_errors(place: Place) -> None:
    transport, over = place.transport(), threading.Event()

    def fail(error: Exception) -> int:
        raise error

    done = transport.side_by_side({
        "slow": lambda: int(not over.wait(0.2)),
        "lost": lambda: fail(Lost("x")),
        "quick": lambda: 2,
    }, within=5)  # fmt: skip
    assert list(done) == ["slow", "lost", "quick"]
    assert (done["slow"], done["quick"], str(done["lost"])) == (1, 2, "x")
    assert transport.side_by_side({}, within=1) == {}


def test_a_defect_in_one_call_leaves_the_others(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A hypervisor whose call ends in a defect is one that has not answered: a node was not fenced once though another one had."""
    caplog.set_level(logging.DEBUG)
    done = place.transport().side_by_side({"pve1": lambda: 1 // 0, "pve2": lambda: 1}, within=5)
    assert done["pve2"] == 1
    assert isinstance(done["pve1"], Lost)
    assert str(done["pve1"]) == "pve1: a defect kept the answer from being read (ZeroDivisionError)"
    (told,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert told.startswith("pve1: ZeroDivisionError: ")
    assert "(a defect; -v shows where)" in told
    assert "Traceback" in caplog.text


def test_a_defect_is_raised_where_nobody_answered(place: Place) -> None:
    def silent() -> int:
        raise Lost("x")

    with pytest.raises(ZeroDivisionError):
        place.transport().side_by_side({"pve1": lambda: 1 // 0, "pve2": silent}, within=5)


def test_a_call_that_hangs_is_given_up(place: Place) -> None:
    over = threading.Event()
    began = time.monotonic()
    done = place.transport().side_by_side({Address("pve1", 8006): lambda: over.wait(20), Address("pve2", 8006): lambda: True}, within=0.5)
    assert took(0.5, began)
    over.set()
    assert done[Address("pve2", 8006)] is True
    lost = done[Address("pve1", 8006)]
    assert isinstance(lost, Lost)
    assert str(lost) == "pve1:8006: no end within 0.5 s"


def test_a_connection_can_be_used_while_a_given_up_request_still_runs(place: Place) -> None:
    def manners(peer: Peer) -> None:
        while peer.hear():
            if peer.number == 1:
                peer.server.over.wait(1)
            peer.say(OK)

    transport = place.transport()
    with place.serve(manners) as server:
        connection = transport.connection(Address("127.0.0.1", server.port))
        done = transport.side_by_side({"a": lambda: connection.request("GET", "/")}, within=0.3)
        assert isinstance(done["a"], Lost)
        assert connection.request("GET", "/").status == 200
        assert server.connections == 2
        connection.close()


def test_many_connections_at_once(place: Place) -> None:
    transport = place.transport()
    with place.serve(answering(OK)) as server:
        found = transport.side_by_side({n: lambda: ask(transport, server).status for n in range(16)}, within=10)
    assert list(found.values()) == [200] * 16
    assert (transport.handshakes, transport.requests) == (16, 16)


PROGRAM = """
import logging, sys, threading, time
import fence_lab.https, fence_lab.reach
from fence_lab.transport import Address
assert not {"requests", "urllib3"} & set(sys.modules), "loaded before anything needs them"
transport = fence_lab.https.HttpsTransport(log=logging.getLogger())
print(*transport.side_by_side({"a": lambda: time.sleep(60)}, within=0.2).values())
fence_lab.reach.socket.getaddrinfo = lambda *a, flags=0, **k: time.sleep(0 if flags else 60) or []
try:
    transport.connection(Address("pve1", 8006)).request("GET", "/", connect=0.2)
except fence_lab.errors.FenceError as error:
    print(error)
"""


def test_what_hangs_does_not_keep_the_process() -> None:
    began = time.monotonic()
    folder = str(Path(reach.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}){PROGRAM}"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=50)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "a: no end within 0.2 s\npve1:8006: the host name was not resolved within 0.2 s\n"
    assert time.monotonic() - began < 30


# Secrets.

SECRET = "hush-" * 2 + "hush"


@pytest.mark.parametrize("manners", [answering(OK), servers.once(b""), servers.once(b"garbage\r\n\r\n"),
                                     once(b"HTTP/1.1 200 OK\r\nBad header hush-hush-hush\r\nContent-Length: 1\r\n\r\nx")])  # fmt: skip
def test_secrets_reach_neither_log_nor_exception(place: Place, caplog: pytest.LogCaptureFixture, manners: Callable[[Peer], None]) -> None:
    caplog.set_level(logging.DEBUG)
    told = ""
    with place.serve(manners) as server:
        for method in ("GET", "POST"):
            try:
                ask(place.transport(), server, method, params={"password": SECRET}, headers={"Cookie": SECRET})
            except FenceError as error:
                told += "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert len(server.heard) == 2
    assert SECRET not in told + caplog.text
    if not told:
        lines = [record.getMessage() for record in caplog.records]
        assert lines == [f"127.0.0.1:{server.port}: {method} /api2/json/version: 200" for method in ("GET", "POST")]


@pytest.mark.parametrize("headers", [{"Cookie": "secret\r\nX: y"}, {"Cookie": "secret\n"}, {"Bad Name\n": "secret"}])
def test_headers_that_cannot_be_sent_are_not_told(place: Place, headers: dict[str, str]) -> None:
    with place.serve(answering(OK)) as server, pytest.raises(Unreachable, match="cannot be sent") as raised:
        ask(place.transport(), server, headers=headers)
    assert "secret" not in str(raised.value)
    assert server.heard == []


def test_unverified_requests_are_not_warned_of(place: Place, recwarn: pytest.WarningsRecorder) -> None:
    with place.serve(answering(OK)) as server:
        assert ask(place.transport(verify=False, ca_file=""), server).status == 200
    assert [str(one.message) for one in recwarn.list] == []
