"""What can become of a connection or of an answer on its way: below the API, where the modelled cluster knows nothing of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lab.proxmox import wire

# How an answer ends that does not end as it should.
RESET, CUT, STALLED = "reset", "cut", "stalled"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, for the requests that match.

    `node` is where the client connected, `path` a regular expression searched for in the path below /api2/json; empty ones match
    everything.  `times` is how often it happens, None for ever.  An answer that goes wrong belongs to a request that was obeyed,
    unless `obeyed` is False.
    """

    answer: bytes | None = None  # instead of the right one
    ending: str = ""
    after: int | None = None  # bytes of the answer that still leave; None: all of its head
    seconds: float = 0.0  # before the first byte
    pause: float = 0.0  # between any two bytes
    greeting: bytes | None = None  # sent instead of TLS, as soon as the client has connected; then the connection is closed
    silent: bool = False  # accepted, and never a byte
    obeyed: bool = True
    node: str = ""
    method: str = ""
    path: str = ""
    times: int | None = None

    def at(self, node: str = "", *, method: str = "", path: str = "", times: int | None = None, obeyed: bool = True) -> Fault:
        """Return the fault for a part of the requests."""
        return replace(self, node=node, method=method, path=path, times=times, obeyed=obeyed)

    @property
    def greets(self) -> bool:
        """Tell whether it happens before any request."""
        return self.greeting is not None or self.silent

    def matches(self, node: str, method: str = "", path: str = "") -> bool:
        return self.node in ("", node) and self.method in ("", method) and re.search(self.path, path) is not None


def reset(after: int = 0) -> Fault:
    """After so many bytes of the answer the connection is reset: a peer that crashed, a firewall that lost its state."""
    return Fault(ending=RESET, after=after)


def cut(after: int | None = None) -> Fault:
    """After so many bytes, or the head, the connection is closed: pveproxy's worker was restarted."""
    return Fault(ending=CUT, after=after)


def stalled(after: int | None = None) -> Fault:
    """After so many bytes, or the head, nothing more comes, and the connection stays."""
    return Fault(ending=STALLED, after=after)


def slow(seconds: float) -> Fault:
    return Fault(seconds=seconds)


def dripping(pause: float) -> Fault:
    """Each byte comes so many seconds after the one before it: no single read takes long."""
    return Fault(pause=pause)


def raw(answer: bytes) -> Fault:
    """Bytes that need not be HTTP."""
    return Fault(answer=answer)


def garbage() -> Fault:
    return raw(bytes(range(255, 0, -1)) * 4)


def html(status: int = 502, reason: str = "Bad Gateway") -> Fault:
    """The page of some proxy or portal between the client and the API; with status 200 only its content gives it away."""
    page = f"<html><head><title>{status} {reason}</title></head><body><h1>{reason}</h1></body></html>\n"
    return raw(wire.answer(status, reason, page.encode(), content_type="text/html", keep=True))


def empty(status: int, reason: str) -> Fault:
    """An answer without a body, as those of a login that was refused or of a peer that cannot be reached (595)."""
    return raw(wire.answer(status, reason, None))


def text(body: bytes, status: int = 200, reason: str = "OK") -> Fault:
    """An answer with this body, which need not be JSON."""
    return raw(wire.answer(status, reason, body, keep=True))


def data(value: object) -> Fault:
    """A right answer but for its data: of another type than the caller expects."""
    return text(json.dumps({"data": value}).encode())


def redirect(location: str) -> Fault:
    headers: Mapping[str, str] = {"Location": location}
    return raw(wire.answer(302, "Found", None, headers=headers))


def no_tls(greeting: bytes = b"SSH-2.0-OpenSSH_9.2\r\n") -> Fault:
    """Something else listens there: it speaks first, and it is not TLS."""
    return Fault(greeting=greeting)


def mute() -> Fault:
    """The kernel accepts connections and nobody reads from them: pveproxy's workers hang."""
    return Fault(silent=True)
