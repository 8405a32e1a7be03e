"""Secure connections as data: whose certificates are believed, which is ours, and what of TLS is used.

References
----------
PS3.15 B.12 (BCP 195 RFC 8996, 9325 TLS), B.13 (its modification); B.1, B.3 and B.9 to B.11 are retired
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.setting_keys import check_choice, check_port, setting

PROFILES = ("bcp195", "bcp195-modified")
"""PS3.15 B.12 and B.13."""
DICOM_TLS_PORT = 2762
"""Registered for DICOM over TLS (PS3.8 9.1.1)."""

_PROFILE = "bcp195 (PS3.15 B.12) or bcp195-modified (B.13: its list of cipher suites, stronger ones first)"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerTls:
    """Secure associations to the listener; the files are read again when they have changed."""

    certificate: str = setting("", "PEM file of our certificate and of those that lead to its root; empty: no TLS")
    key: str = setting("", "PEM file of its private key, without passphrase, readable by its owner alone")
    ca: str = setting("", "PEM file of the authorities that peers' certificates must come from")
    crl: str = setting("", "PEM file of the revocation lists of all of them; empty: none is asked")
    client_certificate_required: bool = setting(True, "whether a peer without a certificate is refused")
    port: int = setting(DICOM_TLS_PORT, "TCP port of secure associations; 0 takes a free one")
    plain: bool = setting(False, "whether listener.port stays open beside it, for associations without TLS")
    profile: str = setting("bcp195", _PROFILE)

    @property
    def is_on(self) -> bool:
        """Whether secure associations are listened for."""
        return bool(self.certificate)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is named."""
        return tuple(filter(None, (self.certificate, self.key, self.ca, self.crl)))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletTls:
    """Secure connections to one destination; the files are read again when they have changed."""

    ca: str = setting(
        "",
        "PEM file of the authorities that the destination's certificate must come from; empty: dimse without TLS, "
        "https by the authorities of the Python package certifi",
    )
    crl: str = setting("", "PEM file of the revocation lists of all of them; empty: none is asked")
    certificate: str = setting("", "PEM file of our certificate and of those that lead to its root; empty: none")
    key: str = setting("", "PEM file of its private key, without passphrase, readable by its owner alone")
    server_name: str = setting("", "name or address that the destination's certificate must bear; empty: its host")
    check_name: bool = setting(True, "whether that is asked; false needs certificate_sha256")
    certificate_sha256: tuple[str, ...] = setting(
        (), "SHA-256 fingerprints, one of which the destination's certificate must have; empty: any"
    )
    profile: str = setting("bcp195", _PROFILE)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is named."""
        return tuple(filter(None, (self.ca, self.crl, self.certificate, self.key)))


def fingerprints(written: Sequence[str]) -> frozenset[str]:
    """Return fingerprints as 64 lower-case hexadecimal digits; they may be written with colons and capitals."""
    return frozenset(one.replace(":", "").lower() for one in written)


def check_listener_tls(tls: ListenerTls, *, plain_port: int) -> None:
    """Check what the settings say of secure associations to the listener.

    Raises
    ------
    ConfigError
        If a file is missing that another one needs, or the port is not one of its own.
    """
    check_choice("listener.tls.profile", tls.profile, PROFILES)
    check_port("listener.tls.port", tls.port)
    _check_files("listener.tls", tls)
    if not tls.is_on:
        return
    if tls.client_certificate_required and not tls.ca:
        raise ConfigError(
            "listener.tls.ca: expected the authorities of the peers' certificates, found none; name their file, or set "
            "listener.tls.client_certificate_required = false"
        )
    if tls.plain and tls.port == plain_port != 0:
        raise ConfigError("listener.tls.port: expected another port than listener.port (PS3.15 B.12)")


def check_outlet_tls(path: str, tls: OutletTls, *, is_dimse: bool) -> None:
    """Check what the settings say of secure connections to the destination at ``path``.

    Raises
    ------
    ConfigError
        If a file is missing that another one needs, or nothing would tell the destination from others.
    """
    check_choice(f"{path}.profile", tls.profile, PROFILES)
    _check_files(path, tls)
    _check_fingerprints(f"{path}.certificate_sha256", tls.certificate_sha256)
    if not tls.check_name and not tls.certificate_sha256:
        raise ConfigError(f"{path}.check_name: false needs certificate_sha256: else any certificate would do")
    if is_dimse and not tls.ca and tls != OutletTls(profile=tls.profile):
        raise ConfigError(f"{path}.ca: expected the authorities of its certificate; without them there is no TLS")


def check_caller(path: str, host: str, certificate_sha256: Sequence[str], *, tls: ListenerTls, shows: bool) -> None:
    """Check from where, and with which certificate, the peer at ``path`` may call.

    Parameters
    ----------
    path
        Such as ``listener.peers[0]``.
    host
        Address or network.
    certificate_sha256
        Fingerprints.
    tls
        Whether certificates are asked for.
    shows
        Whether the peer must show a certificate of its own.

    Raises
    ------
    ConfigError
        If nobody could ever be that peer.
    """
    try:
        ipaddress.ip_network(host or "0.0.0.0/0")
    except ValueError:
        raise ConfigError(
            f"{path}.host: expected an IP address, or a network such as 192.0.2.0/24 without bits beyond its length, "
            f"found {host!r}"
        ) from None
    _check_fingerprints(f"{path}.certificate_sha256", certificate_sha256)
    if shows and not (tls.is_on and tls.ca):
        raise ConfigError(f"{path}: a certificate is asked for; set listener.tls.certificate, key and ca")


def _check_files(path: str, tls: ListenerTls | OutletTls) -> None:
    if bool(tls.certificate) != bool(tls.key):
        raise ConfigError(f"{path}: expected certificate and key together, found one of them")
    if tls.crl and not tls.ca:
        raise ConfigError(f"{path}.crl: revocation lists need the authorities that sign them; name them in {path}.ca")


def _check_fingerprints(path: str, written: Sequence[str]) -> None:
    if not all(_FINGERPRINT.fullmatch(one) for one in fingerprints(written)):
        raise ConfigError(
            f"{path}: expected SHA-256 fingerprints, 64 hexadecimal digits each (openssl x509 -noout -fingerprint "
            "-sha256), found something else"
        )
