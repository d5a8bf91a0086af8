"""HTTPS whose bounds hold: a connection with TLS by one moment, the whole answer by another, whatever the other side does.

requests and urllib3 write requests, read answers and keep connections.  What they leave to luck is decided beneath them: names are
resolved in a thread that can be given up, all addresses of a name are tried, every read asks the same clock how much is left
(their own timeout starts again with each byte), and an answer that is cut short is never taken for a short answer.

Nothing of a request or an answer but its method, path and status is logged or put into an exception.
"""

from __future__ import annotations

import functools
import http.client
import io
import logging
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fence_lab import reach, trust
from fence_lab.errors import FenceError
from fence_lab.transport import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Address,
    Connection,
    K,
    Lost,
    Reply,
    T,
    Transport,
    TransportError,
    Unreachable,
    Untrusted,
)

if TYPE_CHECKING:
    import requests

LARGEST_BODY = 32 * 2**20
# Proxmox VE closes a connection that was idle for 5 s (AnyEvent.pm, keep-alive of pve-http-server).  A request that changes
# something is not sent on one that may be about to be closed: whether it was obeyed would be unknown.
IDLE_SECONDS = 3.0
USER_AGENT = "fence_lab"


class Exchange:
    """One request and its answer: their bounds, and how far they have come."""

    def __init__(self, address: Address, connect: float, read: float, over_by: float | None = None) -> None:
        now = time.monotonic()
        self.address, self.connect, self.read = address, connect, read
        self.over_by = now + connect + read if over_by is None else over_by
        self.connected_by = min(now + connect, self.over_by)
        self.answered_by = self.over_by
        self.wire: Any = None
        self.fresh = self.sent = self.torn = self.ended = False
        self.received = 0

    def begin(self, wire: Any) -> bool:
        """Note that bytes of the request leave now.  Returns whether these are the first."""
        first = not self.sent
        if first:
            self.wire, self.sent = wire, True
            self.answered_by = min(time.monotonic() + self.read, self.over_by)
        return first

    def left(self) -> float:
        """Return the seconds until the whole answer must be there.  Raises Lost when there are none."""
        left = self.answered_by - time.monotonic()
        if left <= 0:
            raise self.late()
        return left

    def late(self) -> Lost:
        what = "the answer did not end" if self.received else "no answer"
        return Lost(f"{self.address}: {what} within {self.read:.2g} s")

    def broken(self, error: Exception) -> TransportError:
        """Return what to raise for an error of the libraries.  Their texts may hold headers, so only the type is told."""
        if not self.sent:
            return Unreachable(f"{self.address}: the request cannot be sent ({type(error).__name__})")
        if self.received and (self.torn or self.ended):
            return Lost(f"{self.address}: the answer was cut short")
        if self.received:
            return Lost(f"{self.address}: what came is not an HTTP answer ({type(error).__name__})")
        return Lost(f"{self.address}: the connection was closed without an answer")


class TimedSocket(ssl.SSLSocket):
    """A TLS socket on which an exchange has an end, not each single read."""

    exchange: Exchange

    def send(self, data: Any, flags: int = 0) -> int:
        self.settimeout(self.exchange.left())
        try:
            return super().send(data, flags)
        except socket.timeout:
            raise self.exchange.late() from None
        except OSError:
            self.exchange.torn = True
            raise

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        exchange, left = self.exchange, self.exchange.left()
        try:
            self.settimeout(left)
            count = super().recv_into(buffer, nbytes, flags)
        except socket.timeout:
            raise exchange.late() from None
        except OSError:
            # Reset, or ended without TLS's own farewell: for the reader it ends here, and who judges the answer knows how.
            exchange.torn = True
            return 0
        exchange.received += count
        exchange.ended = exchange.ended or not count
        return count


class WholeLines(io.BufferedReader):
    """http.client takes the end of the connection for the end of a line, and within the headers for the end of them."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise ConnectionResetError("the connection ended within a line")
        return line


class Answer(http.client.HTTPResponse):
    """An HTTP answer that has the end of its headers, or is none."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = WholeLines(self.fp.detach())


class HttpsConnection(Connection):
    """The way to one server: kept open between requests, and opened again where the server has closed it."""

    def __init__(self, transport: HttpsTransport, address: Address) -> None:
        self.address = address
        self._transport, self._trust = transport, transport.trust
        self._fingerprint: str | None = None
        self._places: list[tuple[int, reach.Place]] = []
        # More than one thread comes here when a caller gave up a request and asks again, and when several nodes are asked for the names
        # of their guests by way of one: each thread has its own exchange and wire.
        self._of_thread = threading.local()
        self._wires: list[Any] = []
        self._adapter = adapter(self)

    @property
    def fingerprint(self) -> str | None:
        return self._fingerprint

    @property
    def exchange(self) -> Exchange:
        """The exchange of this thread: urllib3's layers have no place to hand it through."""
        found: Exchange = self._of_thread.exchange
        return found

    def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        connect: float = CONNECT_SECONDS, read: float = READ_SECONDS,
    ) -> Reply:  # fmt: skip
        exchange = Exchange(self.address, connect, read)
        if method != "GET":
            self._close_idle(IDLE_SECONDS)
        try:
            reply = self._ask(exchange, method, path, params, headers)
        except Lost:
            # The server had closed an idle connection just as it was used again.  A GET may be obeyed twice.
            if method != "GET" or exchange.fresh or exchange.received or not (exchange.torn or exchange.ended):
                raise
            self._close_idle(0)
            reply = self._ask(Exchange(self.address, connect, read, exchange.over_by), method, path, params, headers)
        self._transport.log.debug("%s: %s %s: %d", self.address, method, path.partition("?")[0], reply.status)
        return reply

    def _ask(self, exchange: Exchange, method: str, path: str, params: Mapping[str, str] | None,
             headers: Mapping[str, str] | None) -> Reply:  # fmt: skip
        self._of_thread.exchange = exchange
        response = None
        try:
            prepared = prepared_request(self.address, method, path, params, headers)
            # The adapter alone, no Session: nothing follows redirects, keeps cookies or looks at the environment and netrc for
            # proxies, passwords and authorities.  verify concerns urllib3's own TLS, which `open` stands in for.
            response = self._adapter.send(prepared, stream=True, timeout=exchange.connect + exchange.read, verify=False, proxies={})
            body = whole_body(exchange, response)
            keep(response, exchange)
            return Reply(response.status_code, response.reason or "", body)
        except FenceError:
            give_up(response, exchange)
            raise
        except Exception as error:  # noqa: BLE001 - the texts of two libraries' exceptions may hold headers: none gets out
            give_up(response, exchange)
            raise exchange.broken(error) from None

    def open(self) -> TimedSocket:
        """Return a new TLS socket to the server.  Raises Unreachable, Untrusted."""
        exchange = self.exchange
        exchange.fresh = True
        # A name that was resolved once is good for the rest of a short life: the name server may be gone by now.
        places = self._places or reach.resolve(self.address, exchange.connected_by - time.monotonic())
        race = reach.Race(places, exchange.connected_by)
        untrusted: Untrusted | None = None
        for plain, family, place in race.runners():
            left = exchange.connected_by - time.monotonic()
            try:
                # A server that is connected but says nothing must not use up the time of the next address.
                wire, self._fingerprint = self._greet(plain, family, place, left / 2 if race.others() else left)
            except Untrusted as error:
                untrusted = untrusted or error
            except socket.timeout:
                race.failures.append((f"connected, but no TLS handshake within {exchange.connect:.2g} s", str(place[0])))
            except (OSError, ValueError) as error:
                race.failures.append((trust.no_tls(error), str(place[0])))
            else:
                self._places = places
                assert isinstance(wire, TimedSocket)
                wire.exchange = exchange
                return wire
        race.unanswered(exchange.connect)
        raise untrusted or Unreachable(f"{self.address}: {reach.told(race.failures, self.address.host)}")

    def _greet(self, plain: socket.socket, family: int, place: reach.Place, seconds: float) -> tuple[ssl.SSLSocket, str]:
        by = time.monotonic() + seconds
        self._transport.count(handshakes=1)
        try:
            with plain:  # The TLS socket takes its descriptor over, or it is closed.
                return self._trust.greet(plain, self.address, seconds)
        except ssl.SSLCertVerificationError as error:
            raise self._trust.refusal(self.address, error, trust.presented(family, place, self.address, by)) from None

    def adopt(self, wire: Any) -> None:
        self._wires.append(wire)

    def sending(self, wire: Any) -> None:
        """Note that the exchange's bytes go out on this wire."""
        exchange = self.exchange
        wire.sock.exchange = exchange
        wire.idle_since = None
        if exchange.begin(wire):
            self._transport.count(requests=1)

    def _close_idle(self, seconds: float) -> None:
        now = time.monotonic()
        for wire in self._wires:
            if wire.idle_since is not None and now - wire.idle_since >= seconds:
                wire.close()

    def close(self) -> None:
        self._adapter.close()


def adapter(way: HttpsConnection) -> requests.adapters.HTTPAdapter:
    """Return requests' way to a server over sockets that `way` opens: DNS, TLS and time are ours, HTTP is theirs."""
    import urllib3
    from requests.adapters import HTTPAdapter

    class Wire(urllib3.connection.HTTPSConnection):
        response_class = Answer

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.idle_since: float | None = None
            way.adopt(self)

        def connect(self) -> None:
            self.sock = way.open()
            # Read for urllib3's warning about unverified requests only; who asked for those knows.
            self.is_verified = True

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            way.sending(self)
            super().send(data)

    class Pool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Wire

    found = HTTPAdapter(pool_connections=1, pool_maxsize=4, max_retries=0)
    found.poolmanager.pool_classes_by_scheme = {"https": Pool}
    return found


def prepared_request(
    address: Address, method: str, path: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None
) -> requests.PreparedRequest:
    import requests

    # Text that is not UTF-8 came in as surrogates and leaves as the bytes that it was.
    form = urlencode(params or {}, errors="surrogateescape")
    sent: dict[str, str | bytes] = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    url, data = f"https://{Address(trust.certified_name(address.host), address.port)}{path}", None
    if method == "GET":
        url += f"?{form}" if form else ""
    else:
        data = form
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    sent.update((name, value.encode("utf-8", "surrogateescape")) for name, value in (headers or {}).items())
    return requests.Request(method, url, headers=sent, data=data).prepare()


def whole_body(exchange: Exchange, response: requests.Response) -> bytes:
    """Read the body to the end that the answer itself names.  Raises Lost when it comes before or not at all."""
    body = bytearray()
    while True:
        piece = response.raw.read(65536, decode_content=False)
        if not piece:
            break
        body += piece
        if len(body) > LARGEST_BODY:
            raise Lost(f"{exchange.address}: the answer is longer than {LARGEST_BODY >> 20} MiB")
    # What http.client takes for chunked, and no more: it has seen to the last chunk then.
    if response.status_code in (204, 304) or response.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return bytes(body)
    length = response.headers.get("Content-Length")
    if length is None:
        # It ends where the connection does.  Without TLS's farewell anybody may have cut it, but where nothing of a body came, the
        # status is all that there is: Proxmox VE's errors of proxying and of authentication are such.
        if exchange.torn and (body or response.status_code < 400):
            raise Lost(f"{exchange.address}: the answer was cut short")
    elif not length.isdigit() or int(length) != len(body):
        raise Lost(f"{exchange.address}: the answer was cut short ({len(body)} of {length[:20]} bytes)")
    return bytes(body)


def keep(response: requests.Response, exchange: Exchange) -> None:
    """Hand the connection back for the next request, unless more than the answer came on it: that would be read as the next answer."""
    wire = exchange.wire
    if wire.sock is not None and wire.sock.pending():
        wire.close()
    wire.idle_since = time.monotonic()
    response.raw.release_conn()


def give_up(response: requests.Response | None, exchange: Exchange) -> None:
    """Close what an unfinished answer came on: its rest must not be read as the next answer."""
    if response is not None:
        response.raw.close()
    if exchange.wire is not None:
        exchange.wire.close()


class HttpsTransport(Transport):
    """HTTPS over TCP.  `fingerprints` (SHA-256), if any, stand in for authorities, dates and host names.

    Raises Misconfigured.  `handshakes` and `requests` count what was begun.
    """

    def __init__(self, *, verify: bool = True, ca_file: str = "", fingerprints: Sequence[str] = (), log: logging.Logger) -> None:
        self.trust, self.log = trust.Trust(verify, ca_file, fingerprints), log
        self.trust.context.sslsocket_class = TimedSocket
        self.handshakes = self.requests = 0
        self._counting = threading.Lock()
        # Loaded here, in the first thread and before any is begun.  Distributions mix versions that requests warns of.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import requests.adapters  # noqa: F401 - it is looked up again where it is used
        # At the debug level it writes each query; at the others, nothing that is not raised too.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)

    def count(self, handshakes: int = 0, requests: int = 0) -> None:
        with self._counting:
            self.handshakes += handshakes
            self.requests += requests

    def connection(self, address: Address) -> HttpsConnection:
        return HttpsConnection(self, address)

    def side_by_side(self, calls: Mapping[K, Callable[[], T]], within: float) -> dict[K, T | FenceError]:
        by = time.monotonic() + within
        values: dict[K, T | FenceError] = {}
        defects: dict[K, BaseException] = {}

        def make(key: K, call: Callable[[], T]) -> None:
            try:
                values[key] = call()
            except FenceError as error:
                values[key] = error
            except BaseException as error:  # noqa: BLE001 - raised or told by the thread that asked
                defects[key] = error

        threads = [reach.in_thread(functools.partial(make, key, call), f"beside {key}") for key, call in calls.items()]
        for thread in threads:
            thread.join(max(0.0, by - time.monotonic()))
        ended = dict(values)
        answered = any(not isinstance(value, FenceError) for value in ended.values())
        for key, error in dict(defects).items():
            if not answered:
                raise error
            self.log.warning("%s: %s: %s (a defect; -v shows where)", key, type(error).__name__, error)
            self.log.debug("traceback", exc_info=error)
            ended[key] = Lost(f"{key}: a defect kept the answer from being read ({type(error).__name__})")
        return {key: ended[key] if key in ended else Lost(f"{key}: no end within {within:.2g} s") for key in calls}
