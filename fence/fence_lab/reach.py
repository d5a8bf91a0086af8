"""From a host's name to connected sockets, within a time that nothing prolongs."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fence_lab.transport import Address, Unreachable

# The next address of a name is tried beside the first after so long (RFC 8305, section 5).
STAGGER_SECONDS = 0.25

# A socket address, as long as its family wants.
Place = tuple[Any, ...]


def reason(error: Exception) -> str:
    """Return the system's words for an error, without its number."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or type(error).__name__).replace("_", " ").lower()
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def in_thread(function: Callable[[], None], name: str) -> threading.Thread:
    """Run it in a thread that does not keep the process alive."""
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    return thread


def resolve(address: Address, seconds: float) -> list[tuple[int, Place]]:
    """Return a host's (family, socket address) pairs.  Raises Unreachable, after so many seconds at the latest."""
    found: list[tuple[int, Place]] = []
    failed: list[Exception] = []

    def ask(flags: int = 0) -> None:
        try:
            found.extend((row[0], row[4]) for row in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags))
        except (OSError, ValueError) as error:
            failed.append(error)

    ask(socket.AI_NUMERICHOST)
    if found:
        return found
    failed.clear()
    # A resolver without a name server can take half a minute, and nothing interrupts it.
    in_thread(ask, f"resolve {address.host}").join(max(0.0, seconds))
    if found:
        return list(found)
    if failed:
        raise Unreachable(f"{address}: the host name cannot be resolved ({reason(failed[0])})")
    raise Unreachable(f"{address}: the host name was not resolved within {seconds:.1f} s")


class Race:
    """Connections to all addresses of a host, begun shortly after one another; `failures` are (cause, address)."""

    def __init__(self, places: Sequence[tuple[int, Place]], by: float) -> None:
        self.waiting, self.by = list(places), by
        self.pending: dict[int, tuple[socket.socket, int, Place]] = {}
        self.poll = select.poll()
        self.failures: list[tuple[str, str]] = []

    def runners(self) -> Iterator[tuple[socket.socket, int, Place]]:
        """Yield sockets that are connected, the first first, until none is left or the time is over."""
        try:
            while self.waiting or self.pending:
                left = self.by - time.monotonic()
                if left <= 0:
                    break
                if self.waiting:
                    self._begin(*self.waiting.pop(0))
                pause = min(left, STAGGER_SECONDS) if self.waiting else left
                for number, _ in self.poll.poll(int(pause * 1000) + 1) if self.pending else ():
                    one, family, place = self.pending.pop(number)
                    self.poll.unregister(number)
                    code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code:
                        self._failed(one, place, code)
                    else:
                        yield one, family, place
        finally:
            for one, _, _ in self.pending.values():
                one.close()

    def _begin(self, family: int, place: Place) -> None:
        try:
            one = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # A kernel without IPv6.
            self.failures.append((reason(error), str(place[0])))
            return
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = one.connect_ex(place)
        if code in (0, errno.EINPROGRESS):
            self.pending[one.fileno()] = one, family, place
            self.poll.register(one, select.POLLOUT)
        else:
            self._failed(one, place, code)

    def _failed(self, one: socket.socket, place: Place, code: int) -> None:
        one.close()
        self.failures.append((reason(OSError(code, os.strerror(code))), str(place[0])))

    def others(self) -> bool:
        return bool(self.waiting or self.pending)

    def unanswered(self, seconds: float) -> None:
        """Note those that neither came nor failed."""
        for place in [place for _, _, place in self.pending.values()] + [place for _, place in self.waiting]:
            self.failures.append((f"no connection within {seconds:.2g} s", str(place[0])))


def told(failures: Sequence[tuple[str, str]], host: str) -> str:
    """Return causes with the addresses that they hold for, each cause once."""
    causes: dict[str, list[str]] = {}
    for cause, where in failures:
        causes.setdefault(cause, []).append(where)
    return ", ".join(cause if where == [host] else f"{cause} ({', '.join(where)})" for cause, where in causes.items())
