"""Small TLS servers that do one thing wrong each, on loopback, with certificates of an authority made for the run."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, final

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fence_lab.https import HttpsTransport
from fence_lab.transport import Address, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# What a bound may be exceeded by on a machine with much to do.
GRACE = 3.0
YEAR = datetime.timedelta(days=365)
LOG = logging.getLogger("tests.fence.https")
TODAY = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


@dataclass
class Request:
    head: bytes
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").lower() == name.lower():
                return value.strip().decode("latin-1")
        return None


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: Server, wire: socket.socket, number: int) -> None:
        self.server, self.wire, self.number = server, wire, number

    def hear(self) -> Request | None:
        """Read one request; None when the client is gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.wire.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        request = Request(head, body, self.number)
        length = int(request.header("Content-Length") or 0)
        while len(request.body) < length:
            more = self.wire.recv(65536)
            if not more:
                return None
            request.body += more
        self.server.heard.append(request)
        return request

    def say(self, data: bytes) -> None:
        self.wire.sendall(data)

    def farewell(self) -> None:
        """End it as TLS wants it."""
        if isinstance(self.wire, ssl.SSLSocket):
            self.wire.settimeout(1)
            self.wire.unwrap()

    def reset(self) -> None:
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wire.close()


Manners = Callable[[Peer], None]


@final
@dataclass
class Server:
    """Serves each connection in a thread by `manners`; without a context, what it speaks is not TLS."""

    manners: Manners
    context: ssl.SSLContext | None
    host: str = "127.0.0.1"
    port: int = 0
    heard: list[Request] = field(default_factory=list)
    connections: int = 0
    # Set when the server is about to end: manners that wait, wait for this.
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Server:
        self.listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()
        return self

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.threads.append(threading.Thread(target=self._serve, args=(plain, self.connections), daemon=True))
            self.threads[-1].start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        wire = plain
        with contextlib.suppress(OSError, ValueError):
            plain.settimeout(20)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                wire = self.context.wrap_socket(plain, server_side=True)
            self.manners(Peer(self, wire, number))
        wire.close()
        plain.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        # accept() does not notice that its socket is closed, but that it is shut down.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def answering(*answers: bytes) -> Manners:
    """Give the answers in turn, the last one for ever, on one connection as on many."""
    given = 0

    def manners(peer: Peer) -> None:
        nonlocal given
        while peer.hear():
            peer.say(answers[min(given, len(answers) - 1)])
            given += 1

    return manners


def once(answer: bytes, end: str = "farewell") -> Manners:
    """Give one answer, or a part of one, and end the connection: by "farewell", "silence" (closed without TLS's end) or "reset"."""

    def manners(peer: Peer) -> None:
        if peer.hear():
            peer.say(answer)
            if end == "farewell":
                peer.farewell()
            if end == "reset":
                peer.reset()

    return manners


def dripping(answer: bytes, every: float) -> Manners:
    def manners(peer: Peer) -> None:
        peer.hear()
        for at in range(len(answer)):
            peer.say(answer[at : at + 1])
            if peer.server.over.wait(every):
                return

    return manners


def silent(peer: Peer) -> None:
    peer.server.over.wait(20)


def deaf(peer: Peer) -> None:
    """Hear, and never answer."""
    peer.hear()
    peer.server.over.wait(20)


def plain_http(peer: Peer) -> None:
    peer.wire.recv(1024)
    peer.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


class BlackHole:
    """A port whose backlog is full: the kernel drops what asks for a connection."""

    def __enter__(self) -> int:
        self.sockets = [socket.socket()]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.sockets[0].listen(0)
        port: int = self.sockets[0].getsockname()[1]
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            self.sockets.append(one)
        time.sleep(0.05)
        return port

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for one in self.sockets:
            one.close()


class Authority:
    """An authority as a Proxmox VE cluster makes it: without keyUsage.  trustme makes the others."""

    def __init__(self, begin: datetime.datetime = TODAY - YEAR, until: datetime.datetime = TODAY + 10 * YEAR) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Proxmox Virtual Environment")])
        self.certificate = (
            self._builder(self.name, self.key, begin, until)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime.datetime, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
        return builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(until)

    def save(self, path: Path) -> str:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def context(
        self, folder: Path, host: str, begin: datetime.datetime = TODAY - YEAR, until: datetime.datetime = TODAY + YEAR
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = self._builder(name, key, begin, until).add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        file = folder / f"{host}.pem"
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def context_of(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def fingerprint_of(leaf: trustme.LeafCert) -> str:
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())


class Place:
    """An authority, a certificate for loopback, and the ways to connect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.leaf = self.authority.issue_cert("127.0.0.1", "::1", "localhost", "pve1.example.org")
        self.context = context_of(self.leaf)
        self.fingerprint = fingerprint_of(self.leaf)

    def serve(self, manners: Manners, host: str = "127.0.0.1") -> Server:
        return Server(manners, self.context, host)

    def transport(self, **options: Any) -> HttpsTransport:
        return HttpsTransport(**{"ca_file": self.ca_file, "log": LOG, **options})


def ask(transport: HttpsTransport, server: Server, method: str = "GET", host: str = "", **options: Any) -> Reply:
    connection = transport.connection(Address(host or server.host, server.port))
    try:
        return connection.request(method, "/api2/json/version", **options)
    finally:
        connection.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every host name have these addresses, each with a port of its own."""
    original = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *, type: int, flags: int = 0) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            return original(host, port, type=type, flags=flags)
        return [row for host, port in addresses for row in original(host, port, type=type)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def took(seconds: float, began: float) -> bool:
    """Whether it ended at its bound: not before, and not long after."""
    spent = time.monotonic() - began
    return seconds - 0.1 <= spent <= seconds + GRACE
