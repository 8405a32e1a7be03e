"""Certificates for tests of secure connections: sound ones, and each kind that must be refused."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
NOW = datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, in two files."""

    certificate: Path
    key: Path
    parsed: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """The SHA-256 fingerprint as openssl prints it."""
        return self.parsed.fingerprint(hashes.SHA256()).hex(":").upper()


@cache
def _rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, key: Key, days: tuple[float, float]) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )


class Authority:
    """Somebody who signs certificates, and may revoke them."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        builder = _builder(self._name, self._key, (-1, 30)).issuer_name(self._name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.ca = directory / f"{name}.pem"
        self.ca.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        *,
        days: tuple[float, float] = (-1, 30),
        rsa_bits: int = 0,
        self_signed: bool = False,
        usage: x509.ObjectIdentifier | None = None,
    ) -> Pair:
        """Issue a certificate, valid from the first to the last of the days as counted from now; ECDSA by default."""
        key: Key = _rsa_key(rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        issuer, signing_key = (_named(name), key) if self_signed else (self._name, self._key)
        builder = _builder(_named(name), key, days).issuer_name(issuer)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(signing_key, hashes.SHA256())
        pair = Pair(
            certificate=self._directory / f"{name}.crt", key=self._directory / f"{name}.key", parsed=certificate
        )
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        pair.key.chmod(0o600)
        return pair

    def revoke(self, name: str, *pairs: Pair, last_day: float = 30) -> Path:
        """Write a list of certificates that are revoked."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(NOW - timedelta(days=2)).next_update(NOW + timedelta(days=last_day))
        for pair in pairs:
            revoked = x509.RevokedCertificateBuilder().serial_number(pair.parsed.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(NOW - timedelta(days=1)).build())
        path = self._directory / f"{name}.crl"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path
