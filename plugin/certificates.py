"""What ``sgmri doctor`` says of certificates and keys: readable, belonging together, valid today, and nobody else's.

References
----------
PS3.15 B.12; RFC 5280
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from dicom_io.tls import client_context, server_context
from sgmri.errors import ConfigError
from sgmri.settings import Settings
from sgmri.settings_tls import ListenerTls, OutletTls

_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found of one table of settings.

    Parameters
    ----------
    name
        The table, such as ``listener.tls``.
    problems
        Each with its remedy; empty where all is well.
    text
        What may be said of it where all is well.
    """

    name: str
    problems: tuple[str, ...]
    text: str


def examine_certificates(settings: Settings, *, now: datetime | None = None) -> Iterator[Examined]:
    """Examine the files of every secure connection that the settings name; ``now`` is the time in UTC."""
    tables: list[tuple[str, ListenerTls | OutletTls]] = [("listener.tls", settings.listener.tls)]
    tables += [(f"tls of {outlet.name}", outlet.tls) for outlet in settings.outlets]
    for name, tls in tables:
        if tls.files:
            yield _examined(name, tls, now or datetime.now(UTC))


def _examined(name: str, tls: ListenerTls | OutletTls, now: datetime) -> Examined:
    problems: list[str] = []
    ends: list[datetime] = []
    for key, path in (("certificate", tls.certificate), ("ca", tls.ca)):
        if path:
            problems += _certificates(f"{name} {key}", Path(path), now, ends)
    if tls.crl:
        problems += _revocation_lists(f"{name} crl", Path(tls.crl), now)
    if tls.key:
        problems += _private_key(f"{name} key", Path(tls.key))
    if not problems:
        problems += _context(name, tls)
    return Examined(name=name, problems=tuple(problems), text=_until(min(ends, default=now), now))


def _until(end: datetime, now: datetime) -> str:
    text = f"certificates are valid until {end:%Y-%m-%d}"
    return f"{text}: renew what ends then" if end - now < _SOON else text


def _certificates(where: str, path: Path, now: datetime, ends: list[datetime]) -> list[str]:
    try:
        found: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        return [f"{where}: expected a readable PEM file of certificates, found {_said(error)}"]
    problems = []
    for certificate in found:
        ends.append(certificate.not_valid_after_utc)
        if certificate.not_valid_after_utc < now:
            problems.append(f"{where}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; have it renewed")
        if certificate.not_valid_before_utc > now:
            begins = certificate.not_valid_before_utc
            problems.append(f"{where}: not valid before {begins:%Y-%m-%d}; set this machine's clock, or wait")
    return problems


def _revocation_lists(where: str, path: Path, now: datetime) -> list[str]:
    try:
        blocks = path.read_bytes().split(b"-----BEGIN X509 CRL-----")[1:]
        found = [x509.load_pem_x509_crl(b"-----BEGIN X509 CRL-----" + block) for block in blocks]
    except (OSError, ValueError) as error:
        return [f"{where}: expected a readable PEM file of revocation lists, found {_said(error)}"]
    if not found:
        return [f"{where}: expected a revocation list in PEM form, found none; openssl crl -inform DER converts one"]
    return [
        f"{where}: a list ran out on {one.next_update_utc:%Y-%m-%d}, and nobody is let in; fetch the present one"
        for one in found
        if one.next_update_utc is not None and one.next_update_utc < now
    ]


def _private_key(where: str, path: Path) -> list[str]:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        return [f"{where}: expected a readable PEM file, found {_said(error)}"]
    if mode & 0o077:
        return [f"{where}: expected a file that its owner alone may read, found mode {mode:03o}; chmod 600 it"]
    return []


def _context(name: str, tls: ListenerTls | OutletTls) -> list[str]:
    """Load them as they will be: they may not belong together, or be too weak."""
    try:
        if isinstance(tls, ListenerTls):
            server_context(tls)
        else:
            client_context(tls, where=name)
    except ConfigError as error:
        return [str(error)]
    return []


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "something else"
