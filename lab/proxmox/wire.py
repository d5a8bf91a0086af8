"""HTTP as pveproxy speaks it: requests read from a stream, answers made as bytes.

Lines cited are of pve-http-server 5c9e4ea, src/PVE/APIServer/AnyEvent.pm.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

MAX_HEADERS, MAX_HEADER_BYTES, MAX_BODY = 64, 8 * 1024, 512 * 1024  # 52-54
METHODS = ("GET", "POST", "PUT", "DELETE")  # 56-61
COMPRESSED_FROM = 1024  # 345
JSON = "application/json;charset=UTF-8"


class Refused(Exception):
    """A request that is answered before anybody looks at what it asks for."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason = status, reason


class Gone(Exception):
    """The client left, or said nothing for too long."""


@dataclass
class Incoming:
    method: str
    target: str
    version: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def uri(self) -> str:
        """Return the path below /api2/json, or the whole path of something else."""
        found = re.match("/api2/+json(/.*)?$", self.path)
        return (found[1] or "/") if found else self.path

    def refuse_others(self) -> None:
        """Raise Refused for what is not in the JSON API: the user interface and the other formats are not here (63-70, 962-969, 1255)."""
        if not self.path.startswith("/api2"):
            raise Refused(500, f"no such file '{self.path}'")
        found = re.match("/api2/+([a-z][a-z0-9]+)(/.*)?$", self.path)
        if not found:
            raise Refused(501, "no such uri")
        if found[1] != "json":
            raise Refused(501, f"no formatter for uri {found[2] or '/'}, {found[1]}")

    def keeps_alive(self) -> bool:
        """Tell whether the client wants the connection kept (1465-1471)."""
        wanted = self.headers.get("connection")
        return "close" not in wanted.lower() if wanted else self.version >= "HTTP/1.1"

    def params(self) -> dict[str, str]:
        """Return body and query merged, the query last (923-947).  Raises Refused for a body that is no JSON object."""
        found: dict[str, str] = {}
        if self.method in ("POST", "PUT"):
            form = self.content_type() != "application/json"
            found.update(form_params(self.body.decode(errors="replace")) if form else json_params(self.body))
        found.update(form_params(urlsplit(self.target).query))
        found.pop("_dc", None)  # 978: it only keeps browsers from caching
        return found

    def content_type(self) -> str:
        return re.split(r"\s*[;,]\s*", self.headers.get("content-type", ""))[0]


def line_of(stream: BinaryIO) -> str:
    line = stream.readline(MAX_HEADER_BYTES)
    if not line.endswith(b"\n"):
        raise Gone
    return line.rstrip(b"\r\n").decode("latin-1")


def read_request(stream: BinaryIO) -> Incoming:
    """Read the next request with its body.

    Raises Refused for what the server does not take, with the status and the words it has for that (1447-1480, 1652-1727,
    1739-1781), and Gone at the end of the stream.
    """
    line = ""
    while not line:
        line = line_of(stream)
    parts = re.search(r"(\S+) (\S+) HTTP/(\d+)\.(\d+)", line)
    if not parts:
        raise Refused(400, "bad request")
    method, target, major, minor = parts.groups()
    try:
        urlsplit(target)
    except ValueError:
        raise Refused(400, "invalid url") from None
    if major != "1":
        raise Refused(506, f"http protocol version {major}.{minor} not supported")
    incoming = Incoming(method, target, f"HTTP/{major}.{minor}")
    read_headers(stream, incoming)
    if method not in METHODS:
        raise Refused(501, f"method '{method}' not available")
    encoding = incoming.headers.get("transfer-encoding")
    if encoding:
        known = encoding.lower() == "chunked"
        raise Refused(501, "chunked transfer encoding not supported" if known else f"Unknown transfer encoding '{encoding}'")
    read_body(stream, incoming)
    return incoming


def read_headers(stream: BinaryIO, incoming: Incoming) -> None:
    last = ""
    for _ in range(MAX_HEADERS):
        line = line_of(stream)
        if not line:
            return
        name, colon, value = line.partition(":")
        if line[0] in " \t" and last:
            incoming.headers[last] += " " + line.strip()
        elif colon and name.strip():
            last = name.strip().lower()
            incoming.headers[last] = value.strip()
        else:
            raise Refused(506, "unable to parse request header")
    raise Gone  # 1414: the connection dies without an answer


def read_body(stream: BinaryIO, incoming: Incoming) -> None:
    digits = re.match(r"\s*(\d+)", incoming.headers.get("content-length", ""))  # what Perl makes a number of
    length = int(digits[1]) if digits else 0
    if not length:
        return
    if incoming.method not in ("POST", "PUT"):
        raise Refused(501, f"Unexpected content for method '{incoming.method}'")
    if length > MAX_BODY:
        raise Refused(501, "for data too large")
    if incoming.content_type() not in ("", "application/x-www-form-urlencoded", "application/json"):
        raise Refused(506, f"upload 'Content-Type '{incoming.headers['content-type']}' not implemented")
    incoming.body = stream.read(length)
    if len(incoming.body) < length:
        raise Gone


def form_params(text: str) -> dict[str, str]:
    """Read a form or a query (890-921): a key that stands twice is kept as Perl's list would be shown, which no caller wants."""
    found: dict[str, str] = {}
    for pair in re.split("[&;]", text):
        if pair:
            parts = [unquote(part.replace("+", " ")) for part in pair.split("=")]
            found[parts[0]] = parts[1] if len(parts) > 1 else ""
    return found


def json_params(body: bytes) -> dict[str, str]:
    try:
        value = json.loads(body)
    except ValueError:
        raise Refused(500, "malformed JSON string") from None
    if not isinstance(value, dict):
        raise Refused(500, "Not a HASH reference")
    # Perl knows one kind of scalar: true is 1, false is 0, null is no value.
    return {key: str(int(each)) if isinstance(each, bool) else str(each) for key, each in value.items() if each is not None}


def secret_in(header: str, name: str) -> str:
    """Return the ticket or token in a Cookie or Authorization header, decoded; "" when there is none (Formatter.pm 88-98)."""
    found = re.search(rf"(?:^|\s){re.escape(name)}[= ]([^;]*)", header)
    return unquote(found[1]) if found else ""


def credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with one credential in plain: the cookie, else a ticket in Authorization, else an API token (1575-1591)."""
    plain = {name: value for name, value in headers.items() if name not in ("cookie", "authorization")}
    authorization = headers.get("authorization", "")
    ticket = secret_in(headers.get("cookie", ""), "PVEAuthCookie") or secret_in(authorization, "PVEAuthCookie")
    if ticket:
        plain["cookie"] = f"PVEAuthCookie={ticket}"
    elif token := secret_in(authorization, "PVEAPIToken"):
        plain["authorization"] = f"PVEAPIToken={token}"
    return plain


def compressed(body: bytes, accepted: str) -> tuple[bytes, str]:
    """Return the body as the client will get it, and how it is encoded (344-354)."""
    if len(body) <= COMPRESSED_FROM:
        return body, ""
    if "gzip" in accepted:
        return gzip.compress(body), "gzip"
    if "deflate" in accepted:
        return zlib.compress(body), "deflate"
    return body, ""


def answer(
    status: int, reason: str, body: bytes | None, *, incoming: Incoming | None = None, content_type: str = JSON, keep: bool = False,
    headers: Mapping[str, str] | None = None,
) -> bytes:  # fmt: skip
    """Make an answer as response() does (293-400): from 400 on the connection ends, without a body there is no length."""
    keep = keep and status < 400
    lines = {
        "Cache-Control": "max-age=0", "Connection": "Keep-Alive" if keep else "close", "Date": formatdate(usegmt=True),
        "Pragma": "no-cache", "Server": "pve-api-daemon/3.0", **(headers or {}),
    }  # fmt: skip
    if body:
        body, encoding = compressed(body, incoming.headers.get("accept-encoding", "") if incoming else "")
        if encoding:
            lines["Content-Encoding"] = encoding
        lines["Content-Length"] = str(len(body))
    if body and content_type:
        lines["Content-Type"] = content_type
    lines["Expires"] = lines["Date"]
    # The reason is the first line of the message (304-310), or what the status is called.
    phrase = reason.strip().splitlines()[0] if reason.strip() else http.client.responses.get(status, "")
    version = incoming.version if incoming else "HTTP/1.0"
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{version} {status} {phrase}\r\n{head}\r\n".encode() + (body or b"")
