"""The HTTPS front: what pve-http-server does with connections and requests, and the faults below the API."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from lab.proxmox import faults
from lab.proxmox.api import Api, Request, Response
from lab.proxmox.certificates import Authority
from lab.proxmox.server import Seen, Standin
from lab.proxmox.world import small_cluster

PVE1, PVE2 = "127.0.0.11", "127.0.0.12"


SPECIAL = {
    "/late": Response(200, "OK", b'{"data":"late"}', delay=1.0),
    "/denied": Response(401, "No ticket", None, delay=0.2),
    "/lost": Response(595, "No route to host", None),
    "/big": Response(200, "OK", json.dumps({"data": "x" * 5000}).encode()),
    "/forbidden": Response(403, "Permission check failed (/vms/121, VM.PowerMgmt)\n", b'{"data":null}'),
}


class Echo(Api):
    """An API that says what reached it; some paths have answers of their own."""

    def handle(self, entry: str, request: Request) -> Response:
        if request.path in SPECIAL:
            return SPECIAL[request.path]
        seen = {"entry": entry, "method": request.method, "path": request.path, "params": dict(request.params)}
        return Response(200, "OK", json.dumps({"data": {**seen, "headers": dict(request.headers)}}).encode())


@pytest.fixture
def echo(standin: Standin) -> Standin:
    standin.api = Echo(standin.world)
    return standin


@pytest.fixture
def session(standin: Standin) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.verify = str(standin.ca_file)
        yield opened


def url(standin: Standin, path: str, host: str = PVE1) -> str:
    return f"https://{host}:{standin.port}/api2/json{path}"


def connect(standin: Standin, host: str = PVE1, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    context = context or ssl.create_default_context(cafile=str(standin.ca_file))
    return context.wrap_socket(socket.create_connection((host, standin.port), timeout=10), server_hostname=host)


def ask(standin: Standin, method: str, target: str, headers: dict[str, str] | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    """Ask for exactly this, on a connection of its own."""
    context = ssl.create_default_context(cafile=str(standin.ca_file))
    connection = http.client.HTTPSConnection(PVE1, standin.port, context=context, timeout=10)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


# Requests.


@pytest.mark.parametrize("sent", [{"data": {"a": "b c&=é+", "n": "7"}}, {"json": {"a": "b c&=é+", "n": 7}}], ids=["form", "json"])
def test_body_and_query_become_one(echo: Standin, session: requests.Session, sent: dict[str, dict[str, str]]) -> None:
    answer = session.post(url(echo, "/x?n=8&q=1;r=2"), timeout=10, **sent)  # type: ignore[arg-type]  # one of two keywords
    assert answer.json()["data"]["params"] == {"a": "b c&=é+", "n": "8", "q": "1", "r": "2"}


def test_json_scalars_become_what_perl_makes_of_them(echo: Standin, session: requests.Session) -> None:
    answer = session.post(url(echo, "/x"), json={"yes": True, "no": False, "none": None, "n": 1}, timeout=10)
    assert answer.json()["data"]["params"] == {"yes": "1", "no": "0", "n": "1"}


def test_bytes_that_are_no_text_are_a_parameter_all_the_same(echo: Standin, session: requests.Session) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = session.post(url(echo, "/x"), data=b"a=\xff&b=2", headers=headers, timeout=10)
    assert answer.json()["data"]["params"] == {"a": "\ufffd", "b": "2"}


def test_a_quoted_path_is_unquoted(echo: Standin, session: requests.Session) -> None:
    answer = session.get(url(echo, "/nodes/pve1/tasks/UPID%3Apve1%3Ax%3A/status"), timeout=10)
    assert answer.json()["data"]["path"] == "/nodes/pve1/tasks/UPID:pve1:x:/status"


@pytest.mark.parametrize("given, name, value", [
    ({"Cookie": "PVEAuthCookie=PVE:a@b::x%2By%3D; other=1"}, "cookie", "PVEAuthCookie=PVE:a@b::x+y="),
    ({"Cookie": "first=1; PVEAuthCookie=PVE:a@b::x+y="}, "cookie", "PVEAuthCookie=PVE:a@b::x+y="),
    ({"Authorization": "PVEAuthCookie=PVE:a@b::x"}, "cookie", "PVEAuthCookie=PVE:a@b::x"),
    ({"Authorization": "PVEAPIToken=a@b!c=d-e"}, "authorization", "PVEAPIToken=a@b!c=d-e"),
    ({"Authorization": "PVEAPIToken a@b%21c=d-e"}, "authorization", "PVEAPIToken=a@b!c=d-e"),
    ({"Cookie": "PVEAuthCookie=t", "Authorization": "PVEAPIToken=a@b!c=d"}, "authorization", None),
])  # fmt: skip
def test_credentials_come_from_cookie_or_authorization(
    echo: Standin, session: requests.Session, given: dict[str, str], name: str, value: str | None
) -> None:
    seen = session.get(url(echo, "/x"), headers=given, timeout=10).json()["data"]["headers"]
    assert seen.get(name) == value


@pytest.mark.parametrize("method, target, headers, status, reason", [
    ("POST", "/api2/json/x", {"Transfer-Encoding": "chunked"}, 501, "chunked transfer encoding not supported"),
    ("POST", "/api2/json/x", {"Transfer-Encoding": "gzip"}, 501, "Unknown transfer encoding 'gzip'"),
    ("POST", "/api2/json/x", {"Content-Length": "524289"}, 501, "for data too large"),
    ("POST", "/api2/json/x", {"Content-Length": "3", "Content-Type": "text/xml"}, 506, "upload 'Content-Type 'text/xml' not implemented"),
    ("DELETE", "/api2/json/x", {"Content-Length": "3"}, 501, "Unexpected content for method 'DELETE'"),
    ("HEAD", "/api2/json/x", {}, 501, "method 'HEAD' not available"),
    ("GET", "//[/x", {}, 400, "invalid url"),
    ("GET", "/api2/xyz/x", {}, 501, "no formatter for uri /x, xyz"),
    ("GET", "/api2/", {}, 501, "no such uri"),
    ("GET", "/robots.txt", {}, 500, "no such file '/robots.txt'"),
])  # fmt: skip
def test_what_the_server_refuses_itself(
    echo: Standin, method: str, target: str, headers: dict[str, str], status: int, reason: str
) -> None:
    answer, body = ask(echo, method, target, headers)
    assert (answer.status, answer.reason, answer.headers["Connection"]) == (status, reason, "close")
    assert body.decode() == ("" if method == "HEAD" else reason)


def test_a_line_that_is_no_request_gets_400(echo: Standin) -> None:
    with connect(echo) as tls:
        tls.sendall(b"EHLO pve1\r\n")
        assert tls.recv(4096).startswith(b"HTTP/1.0 400 bad request\r\n")


# Answers.


def test_errors_close_the_connection_and_keep_their_reason(echo: Standin) -> None:
    answer, body = ask(echo, "GET", "/api2/json/forbidden")
    assert (answer.status, answer.reason, body) == (403, "Permission check failed (/vms/121, VM.PowerMgmt)", b'{"data":null}')
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("path, status, reason", [("/denied", 401, "No ticket"), ("/lost", 595, "No route to host")])
def test_some_errors_have_no_body_and_no_length(echo: Standin, path: str, status: int, reason: str) -> None:
    answer, body = ask(echo, "GET", f"/api2/json{path}")
    assert (answer.status, answer.reason, body) == (status, reason, b"")
    assert "Content-Length" not in answer.headers and "Content-Type" not in answer.headers


def test_long_answers_are_compressed_when_the_client_can(echo: Standin) -> None:
    answer, body = ask(echo, "GET", "/api2/json/big", {"Accept-Encoding": "gzip, deflate"})
    assert answer.headers["Content-Encoding"] == "gzip" and len(body) < 1000 and len(gzip.decompress(body)) > 5000
    answer, body = ask(echo, "GET", "/api2/json/big")
    assert "Content-Encoding" not in answer.headers and len(body) > 5000


def test_a_late_answer_holds_up_no_other(echo: Standin, session: requests.Session) -> None:
    late: list[str] = []
    waiting = threading.Thread(target=lambda: late.append(requests.get(url(echo, "/late"), verify=str(echo.ca_file), timeout=10).text))
    waiting.start()
    began = time.monotonic()
    for _ in range(5):
        assert session.get(url(echo, "/x"), timeout=10).status_code == 200
    assert time.monotonic() - began < 0.9 and not late
    waiting.join()
    assert late == ['{"data":"late"}']


# Connections.


def test_one_connection_serves_many_requests_and_both_are_recorded(echo: Standin, session: requests.Session) -> None:
    for path in ("/a", "/b", "/forbidden", "/c"):
        session.get(url(echo, path), timeout=10)
    session.get(url(echo, "/d", PVE2), timeout=10)
    assert [(seen.node, seen.method, seen.path, seen.status) for seen in echo.requests] == [
        ("pve1", "GET", "/a", 200), ("pve1", "GET", "/b", 200), ("pve1", "GET", "/forbidden", 403), ("pve1", "GET", "/c", 200),
        ("pve2", "GET", "/d", 200),
    ]  # fmt: skip
    assert [handshake.node for handshake in echo.handshakes] == ["pve1", "pve1", "pve2"]


def test_an_idle_connection_is_closed(echo: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    assert echo.idle_seconds == 5.0
    monkeypatch.setattr(echo, "idle_seconds", 0.3)
    with connect(echo) as tls:
        tls.sendall(b"GET /api2/json/x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Connection: Keep-Alive" in tls.recv(4096)
        began = time.monotonic()
        assert tls.recv(4096) == b"" and 0.2 < time.monotonic() - began < 5


def test_plain_http_is_sent_to_https(echo: Standin) -> None:
    plain = f"http://{PVE1}:{echo.port}/api2/json/version?x=1"
    answer = requests.get(plain, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (301, plain.replace("http:", "https:"))
    assert requests.post(plain, allow_redirects=False, timeout=10).status_code == 308


def test_nothing_is_left_when_the_standin_ends(tmp_path: Path) -> None:
    """A client that is connected, one that waits for an answer, and one that never said a word do not keep it."""
    before = threading.active_count()
    with Standin(small_cluster(time.monotonic), directory=tmp_path, port=0) as standin:
        standin.api = Echo(standin.world)
        standin.disturb(faults.slow(60).at(path="/never"))
        with connect(standin) as idle, connect(standin) as waiting, socket.create_connection((PVE2, standin.port)) as mute:
            waiting.sendall(b"GET /api2/json/never HTTP/1.1\r\n\r\n")
            time.sleep(0.2)
            standin.world.nodes["pve2"].api = "black hole"
            time.sleep(0.2)
            began = time.monotonic()
            standin.close()
            assert time.monotonic() - began < 5
            assert idle.fileno() > 0 and mute.fileno() > 0
    assert threading.active_count() == before
    for host in (PVE1, PVE2):
        with socket.socket() as again:
            again.bind((host, 0))
            assert again.connect_ex((host, standin.port)) != 0


def test_an_error_inside_reaches_who_uses_it(tmp_path: Path) -> None:
    class Broken(Api):
        def handle(self, entry: str, request: Request) -> Response:
            raise ZeroDivisionError

    def use() -> None:
        with Standin(small_cluster(time.monotonic), directory=tmp_path, port=0) as standin:
            standin.api = Broken(standin.world)
            with connect(standin) as tls:
                tls.sendall(b"GET /api2/json/x HTTP/1.1\r\n\r\n")
                assert tls.recv(1) == b""

    with pytest.raises(ZeroDivisionError):
        use()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((PVE2, 0))
        taken.listen()
        standin = Standin(small_cluster(time.monotonic), directory=tmp_path, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"), standin:
            pass


# Certificates.


def test_the_ca_verifies_each_node_by_address_and_name(echo: Standin) -> None:
    context = ssl.create_default_context(cafile=str(echo.ca_file))
    for node, host in (("pve1", PVE1), ("pve2", PVE2)):
        for name in (host, node, "localhost", "127.0.0.1"):
            with socket.create_connection((host, echo.port)) as plain, context.wrap_socket(plain, server_hostname=name) as tls:
                der = tls.getpeercert(binary_form=True)
                assert der and ssl.DER_cert_to_PEM_cert(der) in echo.leaves[node].file.read_text()
        assert echo.fingerprint(node) == echo.world.nodes[node].fingerprint
    assert echo.fingerprint("pve1") != echo.fingerprint("pve2")


@pytest.mark.parametrize("make, told", [
    (lambda standin, directory: standin.authority.expired_leaf("pve1", PVE1), "certificate has expired"),
    (lambda standin, directory: Authority(directory, name="foreign").leaf("pve1", PVE1), "signature failure|self.signed|unable to get"),
    (lambda standin, directory: standin.authority.leaf("pve9", "127.0.0.19"), "not valid for|doesn't match"),
], ids=["expired", "foreign", "another node's"])  # fmt: skip
def test_bad_certificates(echo: Standin, tmp_path: Path, make: Callable[[Standin, Path], object], told: str) -> None:
    echo.certify("pve1", make(echo, tmp_path))  # type: ignore[arg-type]  # the lambdas have no types
    with pytest.raises(ssl.SSLCertVerificationError, match=told):
        connect(echo)
    with connect(echo, PVE2):
        pass


@pytest.mark.parametrize("old", [False, True], ids=["of PVE 9", "older"])
def test_a_strict_client_and_the_age_of_a_ca(tmp_path: Path, old: bool) -> None:
    """OpenSSL 3, asked to check strictly as Python 3.13 does by default, wants a CA's key usage and key identifiers."""
    authority = Authority(tmp_path, old=old)
    context = ssl.create_default_context(cafile=str(authority.file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with Standin(small_cluster(time.monotonic), directory=tmp_path, port=0, authority=authority) as standin:
        if old and ssl.OPENSSL_VERSION_INFO >= (3,):
            with pytest.raises(ssl.SSLCertVerificationError, match=r"key usage|Key Identifier"):
                connect(standin, context=context)
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with connect(standin, context=context):
            pass


# Nodes that do not answer.


def test_a_black_hole_answers_nothing_and_comes_back(echo: Standin, session: requests.Session) -> None:
    assert session.get(url(echo, "/x"), timeout=10).status_code == 200
    echo.world.nodes["pve1"].api = "black hole"
    echo.settle()
    with pytest.raises(requests.ReadTimeout):
        session.get(url(echo, "/x"), timeout=0.5)
    with pytest.raises(requests.ConnectTimeout):
        session.get(url(echo, "/x"), timeout=0.5)
    assert session.get(url(echo, "/x", PVE2), timeout=10).status_code == 200
    asked = len(echo.requests)
    echo.world.nodes["pve1"].api = "up"
    echo.settle()
    assert session.get(url(echo, "/x"), timeout=10).status_code == 200
    assert len(echo.requests) == asked + 1


def test_a_dead_node_is_a_black_hole(echo: Standin) -> None:
    with echo.lock:
        echo.world.nodes["pve2"].power = "dead"
    echo.settle()
    with pytest.raises(requests.ConnectTimeout):
        requests.get(url(echo, "/x", PVE2), verify=str(echo.ca_file), timeout=0.5)


@pytest.mark.parametrize("reach", ["refusing", "unreachable"])
def test_a_node_without_a_listener(echo: Standin, session: requests.Session, reach: str) -> None:
    echo.world.nodes["pve1"].api = reach
    echo.settle()
    with pytest.raises(requests.ConnectionError, match="refused"):
        session.get(url(echo, "/x"), timeout=10)
    echo.world.nodes["pve1"].api = "up"
    echo.settle()
    assert session.get(url(echo, "/x"), timeout=10).status_code == 200


# Faults on the way.

REQUEST = b"GET /api2/json/x HTTP/1.1\r\nHost: x\r\n\r\n"


def read_all(tls: ssl.SSLSocket) -> tuple[bytes, str]:
    """Return what came, and how it ended."""
    came = b""
    try:
        while more := tls.recv(65536):
            came += more
    except OSError as error:
        return came, type(error).__name__
    return came, "closed"


@pytest.mark.parametrize("fault, begins, length", [
    (faults.reset(), b"", 0),
    (faults.reset(20), b"HTTP/1.1 200 OK\r\nCac", 20),
    (faults.cut(), b"HTTP/1.1 200 OK\r\n", None),
    (faults.garbage(), b"\xff\xfe", 1020),
    (faults.raw(b"220 mail\r\n"), b"220 mail\r\n", 10),
])  # fmt: skip
def test_an_answer_that_goes_wrong(echo: Standin, fault: faults.Fault, begins: bytes, length: int | None) -> None:
    with echo.disturbed(fault), connect(echo) as tls:
        tls.sendall(REQUEST)
        came, _ = read_all(tls)
    assert came.startswith(begins) and (length is None or len(came) == length)
    assert length is not None or came.endswith(b"\r\n\r\n")
    assert [seen.status for seen in echo.requests] == [0]


@pytest.mark.parametrize("fault, status, body", [
    (faults.html(), 502, "<html>"),
    (faults.html(200, "OK"), 200, "<html>"),
    (faults.data([1]), 200, '{"data": [1]}'),
    (faults.text(b"{"), 200, "{"),
    (faults.empty(595, "Connection timed out"), 595, ""),
    (faults.redirect("https://127.0.0.1/"), 302, ""),
    (faults.slow(0.3), 200, '{"data":'),
    (faults.dripping(0.0005), 200, '{"data":'),
])  # fmt: skip
def test_an_answer_of_another_kind(echo: Standin, session: requests.Session, fault: faults.Fault, status: int, body: str) -> None:
    with echo.disturbed(fault):
        answer = session.get(url(echo, "/x"), allow_redirects=False, timeout=10)
    assert answer.status_code == status and answer.text.startswith(body)
    assert session.get(url(echo, "/x"), timeout=10).status_code == 200


@pytest.mark.parametrize("fault", [faults.stalled(), faults.stalled(0), faults.mute()], ids=["head", "nothing", "mute"])
def test_silence(echo: Standin, session: requests.Session, fault: faults.Fault) -> None:
    echo.disturb(fault)
    with pytest.raises(requests.ConnectionError if fault == faults.stalled() else requests.Timeout, match="timed out"):
        session.get(url(echo, "/x"), timeout=0.5)
    echo.heal()
    assert session.get(url(echo, "/x"), timeout=10).status_code == 200


def test_something_that_is_not_tls(echo: Standin) -> None:
    with echo.disturbed(faults.no_tls()), pytest.raises(ssl.SSLError, match=r"(?i)wrong.version.number|packet length"):
        connect(echo)


def test_a_fault_can_be_for_some_requests_only(echo: Standin, session: requests.Session) -> None:
    echo.disturb(faults.empty(500, "no").at("pve1", method="POST", path="/status/stop$", times=2))

    def status(method: str, path: str, host: str = PVE1) -> int:
        return session.request(method, url(echo, path, host), timeout=10).status_code

    assert status("GET", "/status/stop") == 200
    assert status("POST", "/status/start") == 200
    assert status("POST", "/status/stop", PVE2) == 200
    assert [status("POST", "/status/stop") for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize("obeyed", [True, False])
def test_a_lost_answer_may_belong_to_a_request_that_was_obeyed(echo: Standin, obeyed: bool) -> None:
    reached: list[str] = []

    class Counting(Echo):
        def handle(self, entry: str, request: Request) -> Response:
            reached.append(request.path)
            return super().handle(entry, request)

    echo.api = Counting(echo.world)
    with echo.disturbed(faults.reset().at(obeyed=obeyed)), connect(echo) as tls:
        tls.sendall(REQUEST)
        assert read_all(tls)[0] == b""
    assert reached == (["/x"] if obeyed else [])
    assert echo.requests == [Seen("pve1", "GET", "/x", 0, echo.requests[0].at)]
