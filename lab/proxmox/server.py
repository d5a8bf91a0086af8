"""The HTTPS front of the modelled cluster: one listener for each node, on the node's own address.

What a node does to connections follows the world (Node.reach): a black hole drops SYNs and keeps silent on what was connected, one that
refuses has no listener, and neither has one without a route to it, which loopback does not know.  What else can go wrong on the way is
in `faults`.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from lab.proxmox import faults, wire
from lab.proxmox.api import Api, Request
from lab.proxmox.certificates import Authority, Leaf
from lab.proxmox.nodes import ANSWERS, BLACK_HOLE, NO_ROUTE, REFUSING, Node
from lab.proxmox.world import World

if TYPE_CHECKING:
    from typing_extensions import Self

IDLE_SECONDS = 5.0  # AnyEvent.pm 2109
KEEP_ALIVE_REQUESTS = 100  # pve-manager bin/pveproxy: keep_alive => 100
TICK_SECONDS = 0.05
BACKLOG = 128
LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Seen:
    """A request: `status` is 0 while it has no answer, and for ever where it got none, or another than the API's."""

    node: str
    method: str
    path: str
    status: int
    at: float


@dataclass(frozen=True)
class Handshake:
    node: str
    at: float


class Closing(Exception):
    """The connection's end, without another word."""


class Front:
    """A node's side of the network: its listener, open, closed or full."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.listener: socket.socket | None = None
        self.fillers: list[socket.socket] = []

    @property
    def name(self) -> str:
        return self.node.name

    def listen(self, port: int) -> int:
        """Open the listener and return its port.  Raises OSError."""
        family = socket.AF_INET6 if ":" in self.node.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind((self.node.address, port))
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        self.listener = listener
        return int(listener.getsockname()[1])

    def fill(self) -> None:
        """Make the kernel drop SYNs, as for an address behind which nothing lives: a queue of one, and nobody takes from it.

        A connection that was in the queue before stays there: its client waits for an answer.
        """
        assert self.listener is not None
        self.listener.listen(0)
        for _ in range(2):
            filler = socket.socket(self.listener.family, socket.SOCK_STREAM)
            filler.setblocking(False)
            self.fillers.append(filler)
            with contextlib.suppress(BlockingIOError):
                filler.connect(self.listener.getsockname()[:2])

    def drain(self) -> None:
        """Take connections again."""
        for filler in self.fillers:
            filler.close()
        self.fillers.clear()
        if self.listener is not None:
            self.listener.listen(BACKLOG)

    def close(self) -> None:
        self.drain()
        if self.listener is not None:
            self.listener.close()
            self.listener = None


class Standin:
    """A cluster that answers.  A context manager: at its end no thread and no socket is left.

    `port` 0 takes any port that is free at all nodes' addresses; certificates go into `directory`.  A client may be silent for
    `idle_seconds`, while TLS begins too.
    """

    def __init__(
        self, world: World, *, directory: Path, port: int = 8006, authority: Authority | None = None, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self.world, self.api, self.port, self.idle_seconds = world, Api(world), port, idle_seconds
        self.authority = authority or Authority(directory)
        self.leaves: dict[str, Leaf] = {}
        self.requests: list[Seen] = []
        self.handshakes: list[Handshake] = []
        # Whoever looks at the world or changes it while it is served holds this.
        self.lock = threading.RLock()
        self._faults: list[faults.Fault] = []
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._fronts: dict[str, Front] = {}
        self._selector = selectors.DefaultSelector()
        self._closing = threading.Event()
        self._turns = 0
        self._threads: set[threading.Thread] = set()
        self._sockets: set[socket.socket] = set()
        self._books = threading.Lock()
        self._failure: BaseException | None = None

    @property
    def ca_file(self) -> Path:
        return self.authority.file

    def fingerprint(self, node: str) -> str:
        return self.leaves[node].fingerprint

    def certify(self, node: str, leaf: Leaf | None = None) -> None:
        """Give a node a certificate, by default one of the cluster's CA; connections made from now on see it."""
        leaf = leaf or self.authority.leaf(node, self.world.nodes[node].address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(leaf.file)
        self.leaves[node], self._contexts[node] = leaf, context
        self.world.nodes[node].fingerprint = leaf.fingerprint

    # Faults on the way.

    def disturb(self, fault: faults.Fault) -> faults.Fault:
        """Make something go wrong from now on; of several that match a request the first is taken."""
        with self._books:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Take back all faults on the way; those of the world are not touched."""
        with self._books:
            self._faults.clear()

    @contextmanager
    def disturbed(self, fault: faults.Fault) -> Iterator[None]:
        self.disturb(fault)
        try:
            yield
        finally:
            with self._books:
                self._faults = [each for each in self._faults if each is not fault]

    def _fault(self, greets: bool, node: str, method: str = "", path: str = "") -> faults.Fault | None:
        with self._books:
            for index, fault in enumerate(self._faults):
                if fault.greets == greets and fault.matches(node, method, path):
                    if fault.times is not None:
                        left = fault.at(fault.node, method=fault.method, path=fault.path, times=fault.times - 1, obeyed=fault.obeyed)
                        self._faults[index : index + 1] = [left] if fault.times > 1 else []
                    return fault
        return None

    # Life and death.

    def __enter__(self) -> Self:
        try:
            self._listen_everywhere()
            self._start(self._accept, "accepting")
            self._start(self._tick, "ticking")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
        if self._failure is not None and error is None:
            raise self._failure

    def close(self) -> None:
        """End everything; twice is as good as once."""
        self._closing.set()
        while True:
            with self._books:
                connected, threads = list(self._sockets), [thread for thread in self._threads if thread.is_alive()]
            if not threads:
                break
            for each in connected:
                with contextlib.suppress(OSError):
                    # Not the TLS object's own: that one forgets its TLS at once, under the hands of the thread that uses it.
                    socket.socket.shutdown(each, socket.SHUT_RDWR)
            # Not for ever: a connection that was accepted meanwhile is not among those.
            threads[0].join(0.2)
        for front in self._fronts.values():
            front.close()
        self._selector.close()

    def _start(self, work: Callable[..., None], name: str, *arguments: object) -> None:
        def working() -> None:
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001 - the test that uses us hears of it in __exit__
                self._failure = error

        thread = threading.Thread(target=working, name=f"standin {name}", daemon=True)
        with self._books:
            self._threads = {each for each in self._threads if each.is_alive()}
            thread.start()
            self._threads.add(thread)

    def _listen_everywhere(self) -> None:
        for node in self.world.nodes.values():
            self.certify(node.name)
            self._fronts[node.name] = Front(node)
        # Another program may hold, at one of the addresses, the port that was free at the first.
        tries = 1 if self.port else 20
        while not self._listening(tries > 1):
            tries -= 1
        for front in self._fronts.values():
            self._follow(front)

    def _listening(self, again: bool) -> bool:
        port = self.port
        try:
            for front in self._fronts.values():
                port = front.listen(port)
        except OSError:
            for front in self._fronts.values():
                front.close()
            if again:
                return False
            raise
        self.port = port
        return True

    def _follow(self, front: Front) -> None:
        """Make a node's listener what the node's power says, and let it be waited for where it takes connections."""
        reach = front.node.reach
        if reach in (REFUSING, NO_ROUTE) and front.listener is not None:
            self._watch(front, False)
            front.close()
        if reach in (ANSWERS, BLACK_HOLE) and front.listener is None:
            front.listen(self.port)
        if reach == BLACK_HOLE and not front.fillers:
            self._watch(front, False)
            front.fill()
        if reach == ANSWERS and front.fillers:
            front.drain()
        self._watch(front, reach == ANSWERS)

    def _watch(self, front: Front, wanted: bool) -> None:
        watched = front.listener is not None and front.listener in self._selector.get_map()
        if front.listener is not None and wanted and not watched:
            self._selector.register(front.listener, selectors.EVENT_READ, front)
        elif front.listener is not None and watched and not wanted:
            self._selector.unregister(front.listener)

    def _accept(self) -> None:
        while not self._closing.is_set():
            for front in self._fronts.values():
                self._follow(front)
            for key, _ in self._selector.select(TICK_SECONDS):
                front = key.data
                if front.node.reach != ANSWERS:
                    continue
                with contextlib.suppress(OSError):
                    accepted, _ = front.listener.accept()
                    self._start(self._serve, front.name, front, accepted)
            self._turns += 1

    def settle(self) -> None:
        """Wait until the listeners have followed what was done to the world before."""
        # The turn that is under way may have been past a node before it changed.
        turns = self._turns + 2
        while self._turns < turns and self._failure is None and not self._closing.wait(TICK_SECONDS / 10):
            pass

    def _tick(self) -> None:
        while not self._closing.wait(TICK_SECONDS):
            with self.lock:
                self.world.advance()

    # One connection.

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self._closing.wait(seconds):
            raise Closing

    def _hold(self, front: Front) -> None:
        """Keep silent while nothing reaches the node; the connections of a dead one do not survive its boot."""
        silent = False
        while front.node.reach in (BLACK_HOLE, NO_ROUTE):
            silent = True
            self._sleep(TICK_SECONDS)
        if silent or front.node.reach != ANSWERS:
            raise Closing

    @contextmanager
    def _kept(self, connection: socket.socket) -> Iterator[None]:
        """Let close() find a connection, and see that it is closed."""
        with self._books:
            self._sockets.add(connection)
        try:
            yield
        finally:
            with self._books:
                self._sockets.discard(connection)
            connection.close()

    def _serve(self, front: Front, accepted: socket.socket) -> None:
        accepted.setblocking(True)
        accepted.settimeout(self.idle_seconds)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._kept(accepted), contextlib.suppress(Closing, OSError, wire.Gone):
            self._greet(front, accepted)
            if accepted.recv(1, socket.MSG_PEEK) != b"\x16":
                self._plain(accepted)
                return
            tls = self._contexts[front.name].wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            with self._kept(tls):
                tls.do_handshake()
                with self._books:
                    self.handshakes.append(Handshake(front.name, time.time()))
                self._converse(front, tls)
                self._part(tls)

    def _part(self, tls: ssl.SSLSocket) -> None:
        """End TLS in form (137-176): an answer without a length is whole only then."""
        tls.settimeout(1.0)
        tls.unwrap()

    def _greet(self, front: Front, accepted: socket.socket) -> None:
        fault = self._fault(True, front.name)
        if fault and fault.silent:
            self._stall(accepted)
        if fault and fault.greeting is not None:
            accepted.sendall(fault.greeting)
            raise Closing

    def _plain(self, accepted: socket.socket) -> None:
        """Send who speaks plain HTTP to https (1502-1537)."""
        with accepted.makefile("rb") as stream:
            incoming = wire.read_request(stream)
        host = re.sub("^https?://", "", incoming.headers.get("host", ""))
        if host:
            status, reason = (301, "Moved Permanently") if incoming.method == "GET" else (308, "Permanent Redirect")
            to = {"Location": f"https://{host}{incoming.target}"}
            accepted.sendall(wire.answer(status, reason, reason.encode(), incoming=incoming, content_type="", headers=to))

    def _converse(self, front: Front, tls: ssl.SSLSocket) -> None:
        with tls.makefile("rb") as stream:
            for count in range(1, KEEP_ALIVE_REQUESTS + 1):
                incoming, refused = None, None
                try:
                    incoming = wire.read_request(stream)
                except wire.Refused as refusal:
                    refused = refusal
                except (OSError, wire.Gone):
                    self._hold(front)
                    raise
                self._hold(front)
                if not self._answer(front, tls, incoming, refused, count < KEEP_ALIVE_REQUESTS):
                    return

    def _answer(
        self, front: Front, tls: ssl.SSLSocket, incoming: wire.Incoming | None, refused: wire.Refused | None, keep: bool
    ) -> bool:
        """Answer a request; return whether the connection goes on."""
        if incoming is None:
            assert refused is not None
            tls.sendall(wire.answer(refused.status, refused.reason, refused.reason.encode(), content_type=""))
            return False
        fault = self._fault(False, front.name, incoming.method, incoming.uri)
        with self._books:
            place = len(self.requests)
            self.requests.append(Seen(front.name, incoming.method, incoming.uri, 0, time.time()))
        status, full = (0, b"") if fault and not fault.obeyed else self._result(front, incoming, keep)
        self._hold(front)
        if fault:
            full = self._send_faulty(tls, fault, full)
        else:
            # Before it is sent: who has the answer may look at the record.
            with self._books:
                self.requests[place] = replace(self.requests[place], status=status)
            tls.sendall(full)
        return keep and incoming.keeps_alive() and b"\r\nConnection: Keep-Alive\r\n" in full

    def _result(self, front: Front, incoming: wire.Incoming, keep: bool) -> tuple[int, bytes]:
        """Ask the API, wait as long as its answer takes, and return its status and the whole answer."""
        kept = keep and incoming.keeps_alive()
        try:
            incoming.refuse_others()
            request = Request(incoming.method, incoming.uri, incoming.params(), wire.credentials(incoming.headers))
        except wire.Refused as refusal:
            full = wire.answer(refusal.status, refusal.reason, refusal.reason.encode(), incoming=incoming, content_type="", keep=kept)
            return refusal.status, full
        with self.lock:
            self.world.advance()
            response = self.api.handle(front.name, request)
        self._sleep(response.delay)
        return response.status, wire.answer(response.status, response.reason, response.body, incoming=incoming, keep=kept)

    def _send_faulty(self, tls: ssl.SSLSocket, fault: faults.Fault, right: bytes) -> bytes:
        """Send what the fault makes of the right answer, and return it."""
        full = right if fault.answer is None else fault.answer
        if fault.ending:
            full = full[: full.find(b"\r\n\r\n") + 4 if fault.after is None else fault.after]
        self._sleep(fault.seconds)
        if fault.pause:
            for byte in full:
                tls.sendall(bytes([byte]))
                self._sleep(fault.pause)
        elif full:
            tls.sendall(full)
        if fault.ending == faults.RESET:
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        if fault.ending == faults.STALLED:
            self._stall(tls)
        if fault.ending:
            raise Closing
        return full

    def _stall(self, connection: socket.socket) -> None:
        """Say nothing until the client leaves."""
        connection.settimeout(TICK_SECONDS)
        while not self._closing.is_set():
            try:
                if not connection.recv(4096):
                    break
            except socket.timeout:
                pass
        raise Closing
