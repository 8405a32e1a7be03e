"""Send audit messages to a syslog server: what stands in the host's log behind a cursor, in its order, again and again.

The log is the queue: while the server is away nothing is held in memory, and nothing is lost. No answer says what was
taken, so the last message is sent again on each new connection.

References
----------
RFC 5424 (message), RFC 5425 (TLS, octet counting), RFC 5426 (UDP); PS3.15 A.6 and A.7 (transport of audit messages)
"""

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from dicom_io.syncing import make_directory
from sgmri.audit_chain import AuditLine, decode
from sgmri.errors import ConfigError
from sgmri.settings import Settings
from sgmri.settings_audit import Audit
from worker.auditing.files import audit_dir, files_of, locked, this_host
from worker.auditing.messages import Identity, message

_log = logging.getLogger(__name__)

_PRIORITY = 10 * 8 + 5  # facility security/authorization, severity notice (IHE ITI TF-2 3.20)
_BATCH = 100
_LOOK_S = 0.5
_AGAIN_S = 5.0
_CURSOR = "syslog.json"
_LOCK = "syslog.lock"


def syslog_message(line: AuditLine, identity: Identity | None) -> bytes:
    """Return a line as a syslog message (RFC 5424 6), with the message ID of PS3.15 A.6."""
    stamp = line.at.replace("+00:00", "Z")
    header = f"<{_PRIORITY}>1 {stamp} {line.host} sgmri {line.process} DICOM+RFC3881 - "
    return header.encode("ascii", "replace") + b"\xef\xbb\xbf" + message(line, identity)


class SyslogLink:
    """A way to the server; raises OSError where it is away.

    Parameters
    ----------
    settings
        Where it is, and how it is trusted.

    Raises
    ------
    ConfigError
        If a certificate or key cannot be read.
    """

    def __init__(self, settings: Audit) -> None:
        self._settings = settings
        self._tls = _tls(settings) if settings.syslog_transport == "tls" else None
        self._connection: ssl.SSLSocket | None = None
        self._last = b""

    def send(self, content: bytes) -> None:
        """Send one message; on a new connection the one before comes first."""
        if self._tls is None:
            self._send_datagram(content)
            return
        try:
            connection = self._connected(self._tls)
            connection.sendall(_framed(content))
        except OSError:
            self.close()
            raise
        self._last = content

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()

    def _connected(self, tls: ssl.SSLContext) -> ssl.SSLSocket:
        if self._connection is not None and _is_open(self._connection):
            return self._connection
        self.close()
        where = (self._settings.syslog_host, self._settings.syslog_port)
        with ExitStack() as unfinished:
            plain = socket.create_connection(where, timeout=self._settings.syslog_timeout_s)
            unfinished.callback(plain.close)
            secure = tls.wrap_socket(plain, server_hostname=self._settings.syslog_host)
            unfinished.pop_all()
        secure.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection = secure
        if self._last:
            secure.sendall(_framed(self._last))
        return secure

    def _send_datagram(self, content: bytes) -> None:
        where = (self._settings.syslog_host, self._settings.syslog_port)
        family, kind, _, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as datagrams:
            datagrams.sendto(content, address)


def _is_open(connection: ssl.SSLSocket) -> bool:
    """Tell whether the server has not ended the connection; it says nothing else, but TLS 1.3 does (tickets)."""
    timeout_s = connection.gettimeout()
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except ssl.SSLWantReadError:
        return True
    finally:
        connection.settimeout(timeout_s)


def _framed(content: bytes) -> bytes:
    return f"{len(content)} ".encode("ascii") + content  # RFC 5425 4.3.1


def _tls(settings: Audit) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.syslog_ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.syslog_certificate_file:
            context.load_cert_chain(settings.syslog_certificate_file, settings.syslog_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            "audit.syslog_ca_file, audit.syslog_certificate_file: expected PEM files that can be used, found "
            f"{error.strerror}"
        ) from None
    return context


class Shipper:
    """Sends one host's log, as the only one of the host's processes at a time.

    Parameters
    ----------
    directory
        Of the host's log.
    link
        The way to the server.
    identify
        Whose a series is, by its key; None: nobody asks.
    """

    def __init__(self, directory: Path, link: SyslogLink, identify: Callable[[str], Identity | None] | None) -> None:
        self._directory = directory
        self._link = link
        self._identify = identify

    def ship(self) -> bool:
        """Send some of what waits; return whether there is more. Raises OSError where the server is away."""
        lines = list(islice(self._waiting(), _BATCH))
        for encoded, cursor in lines:
            try:
                line = decode(encoded)
            except ValueError:
                _log.error("a line of the audit log is damaged and not sent; see sgmri audit verify")
            else:
                key = line.event.series_key
                self._link.send(syslog_message(line, self._identify(key) if self._identify and key else None))
            self._keep(cursor)
        return len(lines) == _BATCH

    def _waiting(self) -> Iterator[tuple[bytes, dict[str, object]]]:
        """Yield each whole line that was not sent, with the cursor behind it."""
        cursor = self._kept()
        for path in files_of(self._directory):
            if path.name < str(cursor["file"]):
                continue
            with path.open("rb") as stream:
                if path.name == cursor["file"]:
                    stream.seek(int(str(cursor["offset"])))
                for encoded in stream:
                    if encoded.endswith(b"\n"):
                        yield encoded, {"file": path.name, "offset": stream.tell()}

    def _kept(self) -> dict[str, object]:
        try:
            found = json.loads((self._directory / _CURSOR).read_text(encoding="ascii"))
            return {"file": str(found["file"]), "offset": int(found["offset"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"file": "", "offset": 0}  # the first time, or damaged: all of it is sent

    def _keep(self, cursor: dict[str, object]) -> None:
        part = self._directory / f"{_CURSOR}.part"
        part.write_text(json.dumps(cursor), encoding="ascii")
        part.replace(self._directory / _CURSOR)

    def close(self) -> None:
        """End the connection."""
        self._link.close()


def start_shipping(
    settings: Settings, identify: Callable[[str], Identity | None] | None = None, *, stop: threading.Event
) -> threading.Thread | None:
    """Send this host's audit log in a thread, which is returned; None where no server is set.

    Parameters
    ----------
    settings
        The configuration.
    identify
        Whose a series is; None: the messages do not say.
    stop
        Ends the thread.

    Raises
    ------
    ConfigError
        If a certificate or key cannot be read.
    """
    if settings.audit.syslog_transport == "none":
        return None
    directory = audit_dir(settings) / this_host()
    shipper = Shipper(directory, SyslogLink(settings.audit), identify)
    thread = threading.Thread(target=_run, args=(shipper, directory, stop), name="syslog", daemon=True)
    thread.start()
    return thread


def _run(shipper: Shipper, directory: Path, stop: threading.Event) -> None:
    pause_s, is_away = 0.0, False
    while not stop.wait(pause_s):
        try:
            make_directory(directory)
            # One process of the host sends; the others wait here until it ends
            with locked(directory, _LOCK):
                pause_s = _LOOK_S
                while not stop.wait(0.0 if shipper.ship() else _LOOK_S):
                    if is_away:
                        _log.warning("audit messages are sent again; what waited is not lost")
                    is_away = False
        except (OSError, SQLAlchemyError) as error:
            if not is_away:
                _log.error("audit messages cannot be sent (%s); they wait in the audit log", type(error).__name__)
            is_away, pause_s = True, _AGAIN_S
    shipper.close()
