"""How requests reach an HTTP API: what its callers are written against.  `https` is the real thing; a simulation is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fence_lab.errors import Away, FenceError

CONNECT_SECONDS = 3.0
READ_SECONDS = 5.0

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Reply:
    """An HTTP answer.  `reason` is the phrase of the status line: with some servers the only text of an error."""

    status: int
    reason: str
    body: bytes


class TransportError(Away):
    """No usable HTTP answer."""


class Unreachable(TransportError):
    """Nothing was sent: no address, no connection, no TLS.  It can be tried again without harm."""


class Untrusted(Unreachable):
    """The server's certificate is not the one asked for."""


class Lost(TransportError):
    """The request may have been received and obeyed, but no answer came, or only a part of one."""


class Connection(Protocol):
    """A way to one server.  Connected at the first request, and again when the server has closed it."""

    address: Address

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the server's certificate ("AB:CD:…"), once connected; None before or when it cannot be had."""

    def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        connect: float = CONNECT_SECONDS, read: float = READ_SECONDS,
    ) -> Reply:  # fmt: skip
        """Ask once: `params` in the query of a GET, as a form in the body otherwise.

        `connect` and `read` bound the seconds until the connection (with TLS) stands and until the whole answer is there.
        Raises Unreachable (Untrusted) or Lost; any HTTP status is a Reply.
        """

    def close(self) -> None: ...


class Transport(Protocol):
    def connection(self, address: Address) -> Connection:
        """Return the way to a server; nothing is sent yet, and nothing raised."""

    def side_by_side(self, calls: Mapping[K, Callable[[], T]], within: float) -> dict[K, T | FenceError]:
        """Make the calls at the same time and return each one's value, or the FenceError that it raised, in the order of `calls`.

        A call without an end after `within` seconds is given up, as Lost.  Another exception is a defect: it is raised if no call has
        returned a value, else it is told and becomes Lost, as there is somebody to go on with.  (A simulation may always raise it.)
        """
