"""The certificates of a cluster, made as Proxmox VE makes them: a CA of the cluster's own and a leaf for each node.

What is in them follows pve-cluster 7091d92, src/PVE/Cluster/Setup.pm 406-570, but for the CA's key, which is shorter here.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
CA_DAYS, LEAF_DAYS = 3650, 730
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
    key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """A node's certificate: a PEM file with the certificate, its key behind it."""

    file: Path
    fingerprint: str


@functools.cache
def key(purpose: str) -> rsa.RSAPrivateKey:
    """Return the process's key for a purpose: making one takes longer than anything else here, and no test looks at it."""
    del purpose
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Authority:
    """A cluster's CA (pve-root-ca.pem).

    `old` leaves out what clusters that were made before Proxmox VE 9 do not have: the CA's key usage and the leaf's key identifiers,
    which a client that checks strictly (Python 3.13 with urllib3 2.4) asks for.
    """

    def __init__(self, directory: Path, *, name: str = "pve-root-ca", old: bool = False) -> None:
        self.directory, self.old = directory, old
        self.key = key("authority")
        self.name = x509.Name([
            x509.NameAttribute(NameOID.COMMON_NAME, "Proxmox Virtual Environment"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(uuid.uuid4())),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "PVE Cluster Manager CA"),
        ])
        builder = self._begun(self.name, self.key.public_key(), yesterday(), CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        if not old:
            builder = builder.add_extension(SIGNS_CERTIFICATES, critical=True)
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _begun(self, subject: x509.Name, public: rsa.RSAPublicKey, since: datetime, days: int) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(since + days * DAY)

    def leaf(self, node: str, address: str, *, domain: str = "", since: datetime | None = None, days: int = LEAF_DAYS) -> Leaf:
        """Make a node's certificate (pve-ssl.pem), valid for the node's address and name, from `since` (yesterday) on."""
        private = key("leaf")
        fqdn = f"{node}.{domain}" if domain else node
        subject = x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "PVE Cluster Node"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Proxmox Virtual Environment"),
            x509.NameAttribute(NameOID.COMMON_NAME, fqdn),
        ])
        addresses = dict.fromkeys(("127.0.0.1", "::1", address))
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        names += [x509.DNSName(each) for each in dict.fromkeys(("localhost", node, fqdn))]
        builder = self._begun(subject, private.public_key(), since or yesterday(), days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if not self.old:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM) + private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        file = self.directory / f"{node}-{certificate.serial_number:x}.pem"
        file.touch(mode=0o600)
        file.write_bytes(pem)
        return Leaf(file, fingerprint(certificate.public_bytes(serialization.Encoding.DER)))

    def expired_leaf(self, node: str, address: str) -> Leaf:
        """Make a certificate that ended yesterday, as where pveupdate has not run for two weeks (pve-manager bin/pveupdate)."""
        return self.leaf(node, address, since=yesterday() - LEAF_DAYS * DAY)


def yesterday() -> datetime:
    """Return when a certificate that is made now begins: a clock that is a little behind must not make it invalid."""
    return datetime.now(timezone.utc).replace(microsecond=0) - DAY


def fingerprint(der: bytes) -> str:
    """Return a certificate's SHA-256 as Proxmox VE writes it ("AB:CD:…")."""
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[start : start + 2] for start in range(0, len(digest), 2))
