"""Secure transport connections: which TLS is spoken, whose certificates are believed, and how a handshake ends.

What is offered and accepted lies in :data:`SUITES`, TLS 1.2 and 1.3, and in the security level of OpenSSL: signatures
with SHA-1, RSA keys below 2048 and curves below 224 bits are refused, in every certificate of a chain. Of what PS3.15
B.13 lists, the suites of TLS 1.3 with CCM are not offered: Python's library cannot name them.

References
----------
PS3.15 B.12 and B.13 (profiles), RFC 9325 4 (cipher suites), RFC 8996 (no TLS 1.0 and 1.1)
"""

import hashlib
import logging
import socket
import ssl
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sgmri.errors import ConfigError
from sgmri.settings_tls import ListenerTls, OutletTls, fingerprints

_log = logging.getLogger(__name__)

_RECOMMENDED = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
SUITES: dict[str, tuple[str, ...]] = {
    "bcp195": _RECOMMENDED,
    "bcp195-modified": (
        *_RECOMMENDED,
        "ECDHE-ECDSA-AES256-CCM",
        "ECDHE-ECDSA-AES128-CCM",
        "ECDHE-ECDSA-AES256-CCM8",
        "ECDHE-ECDSA-AES128-CCM8",
    ),
}
"""Cipher suites of TLS 1.2 by profile, in order of preference; all give forward secrecy and authenticate (AEAD)."""
TLS13_SUITES = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
"""Those of TLS 1.3, of either profile: OpenSSL's own choice."""
_LEVEL = 2  # of OpenSSL: 112 bits everywhere (RFC 9325 4.5)


def server_context(tls: ListenerTls) -> ssl.SSLContext:
    """Return the context of the listener's side.

    Raises
    ------
    ConfigError
        If a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A session that is taken up again would show no certificate, though it may have expired or been revoked meanwhile
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    _furnish(context, tls, where="listener.tls")
    if tls.ca:
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_certificate_required else ssl.CERT_OPTIONAL
    return context


class ClientContext(ssl.SSLContext):
    """A context of the calling side, which also holds the peer to its fingerprints."""

    fingerprints: frozenset[str] = frozenset()
    failure: str = ""
    """Why the last handshake failed."""


class _ClientSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; nothing but the handshake goes to whoever has another certificate than it should."""
        context = self.context
        assert isinstance(context, ClientContext)
        try:
            super().do_handshake(block)
            if context.fingerprints and fingerprint(self) not in context.fingerprints:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the certificate has another fingerprint")
        except OSError as error:
            context.failure = reason(error)
            raise

    def shutdown(self, how: int) -> None:
        """Shut it down; that the peer was first is no error, after which pynetdicom would leave it open."""
        with suppress(OSError):
            super().shutdown(how)


ClientContext.sslsocket_class = _ClientSocket


def client_context(tls: OutletTls, *, where: str) -> ClientContext:
    """Return the context of a connection to a destination; ``where`` names it in errors.

    Raises
    ------
    ConfigError
        If a file cannot be used.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.check_name
    context.fingerprints = fingerprints(tls.certificate_sha256)
    _furnish(context, tls, where=where)
    return context


class Renewed:
    """A context that is made anew when one of its files has changed; one thread at a time may ask for it.

    Parameters
    ----------
    make
        Makes it; raises ConfigError if a file cannot be used.
    files
        What it is made of.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[str]) -> None:
        self._make = make
        self._files = files
        self._stamp = self._look()
        self._context = make()

    def context(self) -> ssl.SSLContext:
        """Return the context; the former one where changed files do not (yet) belong together."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._make()
            except ConfigError as error:
                _log.error("changed certificates cannot be used, the former ones are: %s", error)
            else:
                _log.info("changed certificates are in use")
        return self._context

    def _look(self) -> list[tuple[int, ...]]:
        stamps: list[tuple[int, ...]] = []
        for file in self._files:
            try:
                found = Path(file).stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return stamps


def secured(connection: socket.socket, tls: Renewed) -> ssl.SSLSocket:
    """Return an accepted connection as a secure one, of which nothing is read or sent yet.

    Raises
    ------
    OSError
        If the peer has gone already; then it is closed.
    """
    try:
        return tls.context().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    except OSError as error:
        connection.close()
        # What wrap_socket had made of it, and holds its descriptor, is known only there
        for frame, _ in traceback.walk_tb(error.__traceback__):
            made = frame.f_locals.get("self")
            if isinstance(made, ssl.SSLSocket):
                made.close()
        raise


def fingerprint(connection: ssl.SSLSocket) -> str:
    """Return the SHA-256 fingerprint of the peer's certificate in hexadecimal digits; empty where it showed none."""
    encoded = connection.getpeercert(binary_form=True)
    return hashlib.sha256(encoded).hexdigest() if encoded else ""


def is_refusal(error: OSError) -> bool:
    """Tell whether a handshake failed by what was said in it; else the peer was silent, too slow, or gone."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def reason(error: OSError) -> str:
    """Say in OpenSSL's words, which hold nothing of the peer's, why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code:
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        said: str = getattr(error, "reason", None) or error.strerror or type(error).__name__  # ours have no reason
        return said.replace("_", " ").lower()
    return type(error).__name__


def close_notify(connection: ssl.SSLSocket) -> None:
    """Tell the peer that nothing more comes (RFC 8446 6.1), and wait for nothing; some take an end without it ill."""
    connection.settimeout(0)
    with suppress(OSError):
        connection.unwrap()


def _furnish(context: ssl.SSLContext, tls: ListenerTls | OutletTls, *, where: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{':'.join(SUITES[tls.profile])}:@SECLEVEL={_LEVEL}")
    try:
        for file in filter(None, (tls.ca, tls.crl)):
            context.load_verify_locations(file)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    except OSError as error:  # ssl.SSLError is one
        said = reason(error) if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"{where}: expected readable PEM files of certificates and a private key that belong together, without "
            f"passphrase, RSA of 2048 bits or more, found: {said}; sgmri doctor --config FILE says which"
        ) from None
    if tls.crl:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal
    return ""
