"""Which server is the right one: certificates, authorities, fingerprints, and what to do about one that is refused."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import time
from collections.abc import Sequence

from fence_lab.errors import Misconfigured
from fence_lab.reach import Place, reason
from fence_lab.transport import Address, Untrusted

# What OpenSSL's versions say when something else than TLS comes.
NOT_TLS = {"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER"}
# x509_vfy.h: X509_V_ERR_…
NOT_YET_VALID, EXPIRED = 9, 10
UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
OTHER_NAME = {62, 64}


class Trust:
    """How a server proves that it is the right one: by an authority and its name, by a fingerprint, or not at all."""

    def __init__(self, verify: bool, ca_file: str, fingerprints: Sequence[str]) -> None:
        self.pins = {normal_fingerprint(text) for text in fingerprints}
        if self.pins or not verify:
            self.context = anyone()
        else:
            self.context = by_authority(ca_file)
        # Python 3.10 and 3.11 let OpenSSL 3 take a cut connection for one that TLS has ended.
        self.context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 1 << 7)
        self.ca_file = ca_file

    def greet(self, plain: socket.socket, address: Address, seconds: float) -> tuple[ssl.SSLSocket, str]:
        """Return the TLS socket over a connected one, and the fingerprint of the server.  Raises Untrusted and OSError."""
        plain.settimeout(max(seconds, 0.001))
        wire = self.context.wrap_socket(plain, server_hostname=certified_name(address.host), do_handshake_on_connect=False,
                                        suppress_ragged_eofs=False)  # fmt: skip
        try:
            wire.do_handshake()
            seen = fingerprint_of(wire.getpeercert(True) or b"")
            if self.pins and seen not in self.pins:
                raise Untrusted(f"{address}: the server's certificate has another fingerprint than was given: {seen}; "
                                "if the certificate was renewed on purpose, give the new one as fingerprint")  # fmt: skip
        except BaseException:
            wire.close()
            raise
        return wire, seen

    def refusal(self, address: Address, error: ssl.SSLCertVerificationError, certificate: bytes) -> Untrusted:
        """Return why a certificate was refused and what to do; `certificate` is the refused one, empty when it is not known."""
        pin = f"pin it with fingerprint={fingerprint_of(certificate)}" if certificate else "pin it with fingerprint"
        pin += " (compare it with the server's own)"
        code, whole = error.verify_code, f"{address}: the server's certificate "
        if code == EXPIRED:
            day = last_day(certificate)
            if day and day > time.strftime("%Y-%m-%d", time.gmtime()):
                return Untrusted(f"{whole}is good until {day}, but one of its authorities' has expired: renew that, or {pin}")
            return Untrusted(f"{whole}has expired{f' ({day})' if day else ''}: renew it, or {pin}")
        if code == NOT_YET_VALID:
            return Untrusted(f"{whole}is not valid yet: check the clocks of this machine and of the server")
        if code in OTHER_NAME:
            return Untrusted(f"{whole}is not made out for {address.host}: use a name or address that it lists, or {pin}")
        if code in UNKNOWN_AUTHORITY:
            known = f"not by an authority of {self.ca_file}" if self.ca_file else "by an authority that this machine does not know"
            way = "give the right ca_file" if self.ca_file else "give that authority's certificate as ca_file"
            return Untrusted(f"{whole}is signed {known}: {way}, or {pin}")
        return Untrusted(f"{whole}is refused ({error.verify_message}): replace it, or {pin}")


def anyone() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def by_authority(ca_file: str) -> ssl.SSLContext:
    """Return a context that trusts one file of authorities, or the machine's.  Raises Misconfigured."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise Misconfigured(f"ca_file {ca_file}: holds no certificate in PEM form") from None
    except (OSError, ValueError) as error:
        raise Misconfigured(f"ca_file {ca_file}: {reason(error)}") from None
    # From Python 3.13 on, this default refuses authorities without keyUsage: every Proxmox VE cluster's own.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def normal_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as Proxmox VE writes it ("AB:CD:…").  Raises Misconfigured."""
    digits = re.sub(r"[\s:]", "", text).upper()
    if not re.fullmatch(r"[0-9A-F]{64}", digits):
        raise Misconfigured(f"fingerprint {text.strip()!r} is not a SHA-256 fingerprint: 32 pairs of hexadecimal digits, AB:CD:…")
    return ":".join(re.findall("..", digits))


def fingerprint_of(certificate: bytes) -> str:
    return normal_fingerprint(hashlib.sha256(certificate).hexdigest())


def certified_name(host: str) -> str:
    """Return a host as certificates name it: without an interface or the dot of the root zone."""
    return host.partition("%")[0].rstrip(".")


def last_day(certificate: bytes) -> str:
    """Return notAfter of a DER certificate as "2026-01-01", or "": the ssl module decodes no certificate that it has refused."""

    def element(at: int) -> tuple[int, int, int]:
        tag, length, start = certificate[at], certificate[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(certificate[at + 2 : start], "big")
        return tag, start, start + length

    try:
        at = element(element(0)[1])[1]  # The certificate, and in it what was signed.
        if element(at)[0] == 0xA0:  # Its version may be left out.
            at = element(at)[2]
        for _ in ("serial number", "algorithm", "issuer"):
            at = element(at)[2]
        tag, start, end = element(element(element(at)[1])[2])
        text = certificate[start:end].decode("ascii")
    except (IndexError, UnicodeDecodeError):
        return ""
    if tag == 0x17:  # UTCTime has two digits for the year (RFC 5280, 4.1.2.5.1).
        text = ("19" if text >= "50" else "20") + text
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if re.match(r"\d{8}", text) else ""


def presented(family: int, place: Place, address: Address, by: float) -> bytes:
    """Return the certificate that a server shows, trusted or not; empty when it cannot be had in time.  It is for messages only."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as plain:
            plain.settimeout(max(by - time.monotonic(), 0.001))
            plain.connect(place)
            plain.settimeout(max(by - time.monotonic(), 0.001))
            with anyone().wrap_socket(plain, server_hostname=certified_name(address.host)) as wire:
                return wire.getpeercert(True) or b""
    except (OSError, ValueError):
        return b""


def no_tls(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in NOT_TLS:
        return "what answers on this port does not speak TLS: check the address and the port"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)) or "eof" in reason(error):
        return "the connection was closed during the TLS handshake"
    return f"the TLS handshake failed: {reason(error)}"


