"""Who may call the listener: a peer by AE title, address and certificate.

References
----------
PS3.8 9.3.4 (A-ASSOCIATE-RJ), PS3.15 B.12
"""

import ipaddress
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicom_io.receipts import peer_name, refusal
from dicom_io.tls import fingerprint, is_refusal, reason
from sgmri.audit import Auditor
from sgmri.settings import Peer
from sgmri.settings_tls import fingerprints

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Where a connection comes from, and the certificate that was shown on it.

    Parameters
    ----------
    address
        IP address.
    fingerprint
        SHA-256 of the certificate in hexadecimal digits; empty: none was shown.
    names
        Its subject alternative names, in lower case.
    """

    address: str
    fingerprint: str = ""
    names: frozenset[str] = frozenset()


def caller_of(connection: socket.socket | None, address: str) -> Caller:
    """Return who is on the other side of a connection; of a secure one after its handshake."""
    if not isinstance(connection, ssl.SSLSocket):
        return Caller(address=address)
    named: Any = (connection.getpeercert() or {}).get("subjectAltName", ())  # pairs of kind and value
    return Caller(
        address=address,
        fingerprint=fingerprint(connection),
        names=frozenset(str(value).lower() for _, value in named),
    )


def shake_hands(connection: ssl.SSLSocket, address: str, *, timeout_s: float, audit: Auditor) -> bool:
    """Shake hands with a caller; False where it failed, and who was refused in it is remembered.

    Parameters
    ----------
    connection, address
        The accepted connection, of which nothing is read yet, and where it comes from.
    timeout_s
        Of the whole handshake.
    audit
        Who remembers.
    """
    connection.settimeout(timeout_s)
    try:
        connection.do_handshake()
    except OSError as error:
        if is_refusal(error):
            why = reason(error)
            _log.warning("secure connection from %s refused: %s", address, why)
            audit(refusal(peer_name("", address), f"TLS: {why}"))
        else:
            _log.warning("secure connection from %s ended: it was silent, too slow, or gone", address)
        return False
    return True


def objection(peers: Sequence[Peer], calling_ae_title: str, caller: Caller) -> str:
    """Say why a caller is none of the peers; empty where it is one of them. An empty list admits nobody."""
    known = [peer for peer in peers if peer.ae_title.strip() == calling_ae_title]
    if not known:
        return "the calling AE title is not configured"
    known = [peer for peer in known if _is_from(peer.host, caller.address)]
    if not known:
        return "the address is not the one configured for the calling AE title"
    if any(_shows(peer, caller) for peer in known):
        return ""
    if not caller.fingerprint:
        return "no certificate was shown, which is configured for the calling AE title"
    return "the certificate is not the one configured for the calling AE title"


def _is_from(host: str, address: str) -> bool:
    if not host:
        return True
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped  # who listens on :: sees IPv4 so
    return found in ipaddress.ip_network(host)


def _shows(peer: Peer, caller: Caller) -> bool:
    if peer.certificate_sha256 and caller.fingerprint not in fingerprints(peer.certificate_sha256):
        return False
    return not peer.certificate_names or not caller.names.isdisjoint(name.lower() for name in peer.certificate_names)
