"""The API over the modelled cluster: authentication, rights, proxying between nodes and the forms of errors; no sockets.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .access import BadLogin
from .call import Call, Raised, forbidden, wrong
from .methods import METHODS, Method
from .nodes import ANSWERS, BLACK_HOLE, NO_ROUTE, REFUSING, Node
from .schema import Parameter, faults
from .world import World

# pve-http-server src/PVE/APIServer/AnyEvent.pm:1038 and 1618: whatever is not authorised is answered late.
UNAUTHORISED_SECONDS = 3.0
# AnyEvent.pm:835: how long a node waits for another.
PROXY_SECONDS = 30.0
# What a proxied call becomes that does not reach the other node: the code (595 until it is connected, 596 until the answer begins) and the
# reason of AnyEvent::HTTP (libanyevent-http-perl 2.25, HTTP.pm:857-861, 1163, 1186), and the seconds that it takes.
# The kernel gives up on a neighbour that does not answer ARP after 3 s.
UNREACHED = {
    BLACK_HOLE: (595, "Connection timed out", PROXY_SECONDS),
    NO_ROUTE: (595, "No route to host", 3.0),
    REFUSING: (595, "Connection refused", 0.01),
}


@dataclass(frozen=True)
class Request:
    """A request.  `path` is below /api2/json; `params` are query and form, merged; header names are lower-case."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """An answer.  Without a body it has no Content-Length either, and the connection is closed; `delay`: seconds until it leaves."""

    status: int
    reason: str
    body: bytes | None
    delay: float = 0.0


class Unanswered(Exception):
    """The node that was asked does not answer at all; the text is its `reach`."""


@dataclass(frozen=True)
class Caller:
    user: str
    by_token: bool


class Unauthorised(Exception):
    """A 401 that comes before the request is looked at: its text is the reason phrase, and there is no body."""


class Api:
    def __init__(self, world: World) -> None:
        self.world = world

    def handle(self, entry: str, request: Request) -> Response:
        """Answer a request that came to the node `entry`.  Raises Unanswered when nobody there would."""
        self.world.advance()
        node = self.world.nodes[entry]
        if node.reach != ANSWERS:
            raise Unanswered(node.reach)
        return self._handle(node, request)

    def _handle(self, node: Node, request: Request) -> Response:
        answer = self._answer(node, request)
        return Response(answer.status, answer.reason, answer.body, answer.delay + node.slow)

    def _answer(self, node: Node, request: Request) -> Response:
        try:
            caller = self._authenticate(node, request)
        except Unauthorised as why:
            # See AnyEvent.pm:1614-1647.
            return Response(401, str(why), None, UNAUTHORISED_SECONDS)
        parts = [unquote(part) for part in request.path.split("/") if part]
        for method in METHODS:
            found = method.match(request.method, parts)
            if found is not None:
                break
        else:
            # pve-manager PVE/HTTPServer.pm:148-158; pve-common src/PVE/RESTHandler.pm:434-454
            return self._error(Raised(f"Method '{request.method} {request.path}' not implemented", 501))
        try:
            return self._dispatch(node, request, method, found, caller)
        except Raised as error:
            return self._error(error)

    def _authenticate(self, node: Node, request: Request) -> Caller | None:
        """Find out who asks: cookie, cookie in the Authorization header, token (AnyEvent.pm:1574-1595, HTTPServer.pm:54-141)."""
        authorization = request.headers.get("authorization", "")
        ticket = _credential(request.headers.get("cookie", ""), "PVEAuthCookie") or _credential(authorization, "PVEAuthCookie")
        token = "" if ticket else _credential(authorization, "PVEAPIToken")
        if request.path.rstrip("/") == "/access/ticket" and request.method in {"GET", "POST"}:
            # A token is remembered, so that the method can refuse it; nothing is looked at.
            return Caller("", by_token=True) if token else None
        access, wall = self.world.access, self.world.wall(node)
        try:
            if token:
                return Caller(access.token_user(token), by_token=True)
            if not ticket:
                raise Unauthorised("No ticket")
            user = access.ticket_user(ticket, wall)
            access.check_enabled(user)
        except BadLogin:
            raise Unauthorised(self.world.bad_ticket) from None
        if request.method != "GET" and not access.csrf_valid(user, request.headers.get("csrfpreventiontoken", ""), wall):
            raise Unauthorised("Permission denied - invalid csrf token")
        return Caller(user, by_token=False)

    def _dispatch(self, node: Node, request: Request, method: Method, in_path: dict[str, str], caller: Caller | None) -> Response:
        """Check and answer in the order of HTTPServer.pm:157-234: all but the parameters before the call is proxied."""
        params = dict(in_path)
        for name, value in sorted(request.params.items()):
            if name == "_dc":
                continue
            if params.get(name, value) != value:
                raise wrong(name, "duplicate parameter (already defined in URI) with conflicting values!")
            params[name] = value
        if caller is not None and caller.by_token and not method.tokens:
            raise forbidden(f"URI '{request.path}' not available with API token, need proper ticket.\n")
        user = caller.user if caller is not None else ""
        if method.privilege:
            path = re.sub(r"\{(\w+)\}", lambda name: params[name[1]], method.path)
            if not self.world.access.may(user, path, method.privilege):
                # pve-access-control src/PVE/RPCEnvironment.pm:291-305
                raise forbidden(f"{path}, {method.privilege}")
        if method.proxied and params["node"] != node.name:
            return self._proxy(node, params["node"], request)
        if method.protected and node.daemon != ANSWERS:
            # The privileged half of the server on this node, at localhost:85 (HTTPServer.pm:192-196).
            return Response(*_unreached(node.daemon))
        found = faults(self._schema(method), params)
        if found:
            raise Raised("Parameter verification failed.\n", 400, found)
        call = Call(self.world, node, user, params)
        data = method.answer(call)
        return Response(200, "OK", json.dumps({"data": data}, separators=(",", ":")).encode(), call.late)

    def _schema(self, method: Method) -> dict[str, Parameter]:
        schema = dict(method.schema)
        if not self.world.overrule_shutdown:
            schema.pop("overrule-shutdown", None)
        return schema

    def _proxy(self, node: Node, name: str, request: Request) -> Response:
        """Ask another node in the caller's name (AnyEvent.pm:734-886): its answer is passed on, a failure has a code and no body."""
        if name in self.world.hosts:
            # Whatever resolves is taken for a node: a cluster node's own name, say, which is the guest's.
            return Response(*_unreached(self.world.hosts[name]))
        if name not in self.world.nodes:
            # pve-cluster src/PVE/Cluster.pm:811-829, pve-common src/PVE/Network.pm:886-892
            raise Raised(f"hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known\n")
        target = self.world.nodes[name]
        reach = target.reach
        if reach == ANSWERS and not self.world.connected(node, target):
            reach = BLACK_HOLE
        if reach != ANSWERS:
            return Response(*_unreached(reach))
        answer = self._handle(target, request)
        if answer.delay > PROXY_SECONDS:
            return Response(596, "Connection timed out", None, PROXY_SECONDS)
        return answer

    def _error(self, error: Raised) -> Response:
        """Put an error into JSON (pve-http-server src/PVE/APIServer/Formatter/Standard.pm:12-50); its first line is the reason phrase.

        The text in the body came with pve-http-server 5.2.0.
        """
        body: dict[str, object] = {"data": None}
        if error.errors:
            body["errors"] = error.errors
        if self.world.error_message:
            body["message"] = error.text
        delay = UNAUTHORISED_SECONDS if error.status == 401 else 0.0
        return Response(error.status, error.text.split("\n")[0], json.dumps(body, separators=(",", ":")).encode(), delay)


def _unreached(reach: str) -> tuple[int, str, None, float]:
    code, reason, seconds = UNREACHED.get(reach, (596, "Connection timed out", PROXY_SECONDS))
    return code, reason, None, seconds


def _credential(header: str, name: str) -> str:
    """Return "value" of "name=value" in a header (pve-http-server src/PVE/APIServer/Formatter.pm:78-88)."""
    found = re.search(rf"(?:^|\s){name}[= ]([^;]*)", header)
    return unquote(found[1]) if found else ""
