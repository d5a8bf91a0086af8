"""The API of Proxmox VE at one address: logging in, asking, and what its errors mean.

Sources: pve-http-server AnyEvent.pm (transport, 401 and 595), pve-manager HTTPServer.pm (tickets, tokens, CSRF), pve-access-control.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fence_lab import logs
from fence_lab.clock import Deadline
from fence_lab.errors import FenceError, Misconfigured
from fence_lab.transport import CONNECT_SECONDS, READ_SECONDS, Connection, Lost, Reply, Unreachable

ROOT = "/api2/json"
# What pveproxy answers when the node that it handed the request on to did not (AnyEvent::HTTP's own codes).
PROXY_FAILED = range(595, 600)
# What a reverse proxy in front answers by itself.
GATEWAY_FAILED = (502, 503, 504)
TOKEN = re.compile(r"(?:(?P<user>[^!=\s]+)!)?(?P<name>[^!=\s]+)=(?P<secret>\S+)")


class Refused(FenceError):
    """The API has understood and says no.  `text` is its reason, `errors` the parameters that it does not like."""

    def __init__(self, status: int, text: str, errors: Mapping[str, str], where: str) -> None:
        self.status, self.text, self.errors = status, text, errors
        details = "; ".join(f"{name}: {error}" for name, error in errors.items())
        super().__init__(f"{where} answered {status} {text}" + (f" ({details})" if details else ""))

    def says(self, *words: str) -> bool:
        """Tell whether one of the words is in what the API said."""
        said = " ".join([self.text, *self.errors, *self.errors.values()]).lower()
        return any(word in said for word in words)


class LoginRefused(FenceError):
    """The API does not accept who we are: no other time or address will change that."""


class Busy(Lost):
    """A question that a server could not answer for reasons of its own, as while one of its services restarts."""


class Garbled(Lost):
    """An answer that is not the API's: a page of some proxy, half of a document, another type than documented."""


class PeerLost(Lost):
    """The node that was asked could not get an answer from the node that the question was for."""


@dataclass(frozen=True)
class Credentials:
    """A user with a password, or a token; `name` may be logged."""

    user: str
    password: str = ""
    token: str = ""

    @property
    def name(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def may_skip_locks(self) -> bool:
        """The parameter skiplock is for root with a ticket; a token of root is not root (qemu-server API2/Qemu.pm)."""
        return self.user == "root@pam" and not self.token


def credentials(username: str, password: str, token: str) -> Credentials:
    """Return what to log in with.  Raises Misconfigured.

    `token` is "USER@REALM!NAME=SECRET", "NAME=SECRET", or the secret alone where `username` ends with "!NAME"; with such a
    user name the password may be the secret, too.
    """
    user, _, name = username.partition("!")
    if "=" in name:
        logs.hide(name.partition("=")[2])
        raise Misconfigured("username holds a token's secret: put USER@REALM!NAME=SECRET into token, or the secret into password")
    if not token:
        if not password:
            raise Misconfigured("no password and no token is set")
        return Credentials(user, password, name)
    found = TOKEN.fullmatch(token)
    if found:
        logs.hide(found["secret"])
        if found["user"] and username and found["user"] != user and "!" in username:
            raise Misconfigured(f"the token belongs to {found['user']}, but username is {username}")
        return Credentials(found["user"] or user, found["secret"], found["name"])
    if not name:
        raise Misconfigured("token has to be USER@REALM!NAME=SECRET, or the secret alone with username=USER@REALM!NAME")
    return Credentials(user, token, name)


class Endpoint:
    """The API at one address, logged in.  `node` is the name of the node that answers there, once it is known."""

    def __init__(self, connection: Connection, who: Credentials, deadline: Deadline, log: logging.Logger) -> None:
        self.connection, self.who, self.deadline, self.log = connection, who, deadline, log
        self.node = ""
        self.heard = deadline.began  # When it last gave an answer that could be read.
        self.dead = ""
        self._headers: dict[str, str] = {}
        self._csrf: dict[str, str] = {}
        self._again = True
        if who.token:
            self._headers = {"Authorization": f"PVEAPIToken={who.name}={who.password}"}

    def __str__(self) -> str:
        return f"{self.node} ({self.connection.address})" if self.node else str(self.connection.address)

    def login(self) -> None:
        """Get a ticket; a token needs none.  Raises LoginRefused or TransportError."""
        if self.who.token:
            return
        form = {"username": self.who.user, "password": self.who.password}
        reply = self._send("POST", "/access/ticket", form)
        if reply.status == 401:
            hint = "" if "@" in self.who.user else "; a user name ends with its realm, as in root@pam"
            raise LoginRefused(f"{self}: login refused for user {self.who.user}: check user name, realm and password{hint}")
        data = self._data(reply, "access/ticket")
        if not isinstance(data, dict) or not isinstance(data.get("ticket"), str):
            raise Garbled(f"{self} answered a login without a ticket")
        if data.get("NeedTFA"):
            raise LoginRefused(f"{self}: user {self.who.user} needs a second factor: use an API token (option token)")
        self.adopt(data["ticket"], str(data.get("CSRFPreventionToken") or ""))

    def adopt(self, ticket: str, csrf: str) -> None:
        """Use a ticket: one of any node is good at each node of its cluster.  Raises Garbled."""
        if not (ticket + csrf).isascii():
            raise Garbled(f"{self} answered a login with something other than a ticket")
        logs.hide(ticket)
        logs.hide(csrf)
        # The ticket last: a thread that sees it sends both, and another login may have been given up, but not ended.
        self._csrf = {"CSRFPreventionToken": csrf}
        self._headers = {"Cookie": f"PVEAuthCookie={quote(ticket, safe=':/=+@')}"}

    def like(self, other: Endpoint) -> Endpoint:
        """Take over another endpoint's login; returns this one."""
        self._headers, self._csrf = other._headers, other._csrf
        return self

    def get(self, path: str, params: Mapping[str, str] | None = None, read: float = READ_SECONDS) -> Any:
        """Return the data of an answer.  Raises Refused, LoginRefused or TransportError (Unreachable, Lost, Garbled, PeerLost)."""
        return self._ask("GET", path, params or {}, read)

    def post(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """As `get`.  A request whose answer was lost may have been obeyed: it is for the caller to look."""
        return self._ask("POST", path, params or {})

    def _ask(self, method: str, path: str, params: Mapping[str, str], read: float = READ_SECONDS) -> Any:
        if not self._headers:
            self.login()
        reply = self._send(method, path, params, read)
        if reply.status == 401 and self._again and not self.who.token:
            self._again = False
            self.log.debug("%s: the ticket is not accepted any more, logging in again", self)
            self.login()
            reply = self._send(method, path, params, read)
        if reply.status == 401:
            raise LoginRefused(f"{self}: {self.who.name} is not accepted: {reply.reason or 'no reason given'}")
        return self._data(reply, path, asked=method == "GET")

    def _send(self, method: str, path: str, params: Mapping[str, str], read: float = READ_SECONDS) -> Reply:
        # Both together never last longer than what is left.
        left = self.deadline.within(CONNECT_SECONDS + read)
        connect = left * CONNECT_SECONDS / (CONNECT_SECONDS + read)
        read = left - connect
        headers = {**self._headers, **(self._csrf if method != "GET" else {})}
        try:
            return self.connection.request(method, ROOT + path, params=params, headers=headers, connect=connect, read=read)
        except Unreachable as error:
            self.dead = str(error)
            raise

    def _data(self, reply: Reply, path: str, asked: bool = False) -> Any:
        what = f"{self}: {path.lstrip('/')}"
        if reply.status in PROXY_FAILED:
            raise PeerLost(f"{self} got no answer from the node concerned: {reply.status} {reply.reason}")
        if reply.status in GATEWAY_FAILED or 300 <= reply.status < 400:
            raise Garbled(f"{what} was answered with {reply.status} {reply.reason}: is this address a Proxmox VE node?")
        document = self._document(reply, what)
        if reply.status == 200:
            if "data" not in document:
                raise Garbled(f"{what} was answered without data")
            self.heard = self.deadline.clock.now()
            return document["data"]
        message, errors = document.get("message"), document.get("errors")
        text = reply.reason or (message if isinstance(message, str) else "")
        details = {str(name): str(error) for name, error in errors.items()} if isinstance(errors, dict) else {}
        error = Refused(reply.status, " ".join(text.split()), details, what)
        if asked and reply.status >= 500 and reply.status != 501 and not error.says("does not exist", "unable to find"):
            raise Busy(str(error))
        raise error

    def _document(self, reply: Reply, what: str) -> dict[str, Any]:
        if not reply.body and reply.status != 200:
            return {}
        try:
            document = json.loads(reply.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            # The body is not shown: a page of some proxy may repeat what was sent to it.
            hint = "is this address a Proxmox VE node?" if reply.body[:1] == b"<" else "the answer is not complete"
            raise Garbled(f"{what} was answered with {reply.status} {reply.reason} and no JSON document: {hint}")
        return document


def rows(data: Any, where: str) -> list[dict[str, Any]]:
    """Return data that has to be a list of objects.  Raises Garbled."""
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise Garbled(f"{where} answered with something other than a list")
    return data


__all__ = ["Busy", "Credentials", "Endpoint", "Garbled", "LoginRefused", "PeerLost", "Refused", "credentials", "rows"]
