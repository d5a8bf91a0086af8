"""Which servers are trusted, and what is said about the others, on real TLS servers."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from fence_lab import trust
from fence_lab.errors import Misconfigured
from fence_lab.https import HttpsTransport
from fence_lab.transport import Address, Untrusted
from tests.fence import servers
from tests.fence.servers import LOG, OK, Place, Server, answering, ask, resolving

pytestmark = pytest.mark.usefixtures("no_threads_left")


def refused(transport: HttpsTransport, server: Server, host: str = "") -> str:
    with pytest.raises(Untrusted) as raised:
        ask(transport, server, "POST", host, params={"password": "secret"})
    assert server.heard == [], "nothing was sent"
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_an_authority_like_proxmoxs_own_is_good(tmp_path: Path) -> None:
    """Python 3.13 refuses authorities without keyUsage by default, and openssl's default makes such."""
    authority = servers.Authority()
    with Server(answering(OK), authority.context(tmp_path, "localhost")) as server:
        transport = HttpsTransport(ca_file=authority.save(tmp_path / "root.pem"), log=LOG)
        assert ask(transport, server, host="localhost").status == 200


def test_an_unknown_authority_is_refused(place: Place, tmp_path: Path) -> None:
    with place.serve(answering(OK)) as server:
        text = refused(HttpsTransport(log=LOG), server)
        assert "an authority that this machine does not know: give that authority's certificate as ca_file" in text
        assert f"fingerprint={place.fingerprint} (compare" in text
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        assert f"not by an authority of {other}" in refused(place.transport(ca_file=str(other)), server)


def test_a_self_signed_certificate_is_refused(tmp_path: Path) -> None:
    """The authority's own certificate shown as the server's."""
    authority, leaf = trustme.CA(), tmp_path / "self.pem"
    leaf.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context = servers.context_of(trustme.CA().issue_cert("localhost"))
    context.load_cert_chain(leaf)
    with Server(answering(OK), context) as server:
        assert "does not know: give" in refused(HttpsTransport(log=LOG), server, "localhost")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    authority = servers.Authority()
    transport = HttpsTransport(ca_file=authority.save(tmp_path / "root.pem"), log=LOG)
    until = servers.TODAY - datetime.timedelta(days=3)
    with Server(answering(OK), authority.context(tmp_path, "localhost", until=until)) as server:
        text = refused(transport, server, "localhost")
        assert f"has expired ({until:%Y-%m-%d}): renew it, or pin it with fingerprint=" in text
        pin = re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", text)
        assert ask(HttpsTransport(fingerprints=pin, log=LOG), server, host="localhost").status == 200, "as the text says"


def test_a_certificate_of_tomorrow_is_refused(tmp_path: Path) -> None:
    authority = servers.Authority()
    transport = HttpsTransport(ca_file=authority.save(tmp_path / "root.pem"), log=LOG)
    context = authority.context(tmp_path, "localhost", begin=servers.TODAY + servers.YEAR / 2)
    with Server(answering(OK), context) as server:
        assert "is not valid yet: check the clocks" in refused(transport, server, "localhost")


def test_an_expired_authority_is_told_from_an_expired_certificate(tmp_path: Path) -> None:
    authority = servers.Authority(until=servers.TODAY - datetime.timedelta(days=3))
    transport = HttpsTransport(ca_file=authority.save(tmp_path / "root.pem"), log=LOG)
    with Server(answering(OK), authority.context(tmp_path, "localhost")) as server:
        text = refused(transport, server, "localhost")
        assert f"is good until {servers.TODAY + servers.YEAR:%Y-%m-%d}, but one of its authorities' has expired" in text


@pytest.mark.parametrize("until", ["19991231", "20491231", "20500101"])
def test_the_last_day_is_read_from_both_forms_of_time(tmp_path: Path, until: str) -> None:
    day = datetime.datetime.strptime(until, "%Y%m%d").replace(tzinfo=datetime.timezone.utc)
    certificate = servers.Authority(begin=day - servers.YEAR, until=day).certificate.public_bytes(serialization.Encoding.DER)
    assert trust.last_day(certificate) == f"{until[:4]}-{until[4:6]}-{until[6:]}"
    for at in range(len(certificate)):
        assert trust.last_day(certificate[:at]) in ("", f"{day:%Y-%m-%d}")


def test_another_hosts_certificate_is_refused(place: Place, tmp_path: Path) -> None:
    context = servers.context_of(place.authority.issue_cert("pve2.example.org"))
    for host in ("127.0.0.1", "localhost"):
        with Server(answering(OK), context) as server:
            assert f"not made out for {host}: use a name or address that it lists" in refused(place.transport(), server, host)


def test_the_dot_of_the_root_zone_is_not_part_of_a_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.serve(answering(OK)) as server:
        resolving(monkeypatch, ("127.0.0.1", server.port))
        assert ask(place.transport(), server, host="pve1.example.org.").status == 200


def test_pins_stand_in_for_everything_else(place: Place) -> None:
    context = servers.context_of(trustme.CA().issue_cert("elsewhere.example.org", not_after=servers.TODAY - servers.YEAR))
    seen = HttpsTransport(verify=False, log=LOG)
    with Server(answering(OK), context) as server:
        connection = seen.connection(Address("127.0.0.1", server.port))
        connection.request("GET", "/")
        connection.close()
        pin = connection.fingerprint
        assert pin
        for pins in ([pin], [pin.lower()], [pin.replace(":", "")], [place.fingerprint, f" {pin} "]):
            for verify in (True, False):
                assert ask(HttpsTransport(verify=verify, fingerprints=pins, log=LOG), server).status == 200
        server.heard.clear()
        for verify in (True, False):
            text = refused(place.transport(verify=verify, fingerprints=[place.fingerprint]), server)
            assert f"another fingerprint than was given: {pin}" in text


@pytest.mark.parametrize("text", ["", "AB:CD", "AB" * 20, "Z" * 64, "AB" * 33, "sha256//abc"])
def test_what_is_no_fingerprint_is_misconfigured(text: str) -> None:
    with pytest.raises(Misconfigured, match="not a SHA-256 fingerprint"):
        HttpsTransport(fingerprints=[text], log=LOG)


def test_bad_ca_files_are_misconfigured(tmp_path: Path) -> None:
    garbage, empty = tmp_path / "garbage.pem", tmp_path / "empty.pem"
    garbage.write_bytes(b"\x30\x82\x01\x00 not PEM")
    empty.write_bytes(b"")
    cases = {str(tmp_path / "missing"): "no such file", str(tmp_path): "is a directory|no certificate", str(garbage): "no certificate",
             str(empty): "no certificate", "with\0nul": "null"}  # fmt: skip
    for path, text in cases.items():
        with pytest.raises(Misconfigured, match=text) as raised:
            HttpsTransport(ca_file=path, log=LOG)
        assert str(raised.value).startswith("ca_file ")
