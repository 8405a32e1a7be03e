"""The TCP side of the receiver: accept connections and give each a thread of its own.

Nothing in the accepting threads waits for a peer: what a secure connection has to agree on belongs into its own thread,
too. Connections that are not accepted as associations make room for who comes next, the oldest
first: who only connects cannot shut out who calls.

References
----------
PS3.8 9.1 (transport connections), PS3.15 B.12 (secure ones have a port of their own)
"""

import logging
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial

from dicom_io.callers import caller_of, shake_hands
from dicom_io.receiver.admission import Admission
from dicom_io.receiver.association import Association, Place
from dicom_io.receiver.negotiation import supported_contexts
from dicom_io.scp import Callbacks
from dicom_io.spool import Spool
from dicom_io.tls import Renewed, secured, server_context
from sgmri.settings import Listener

_log = logging.getLogger(__name__)

_BACKLOG = 256
_MOST_STRANGERS = 64
_BREATH_S = 0.1


class Receiver:
    """A running SCP with our own data path; stands in for :class:`dicom_io.scp.StorageScp`.

    Parameters
    ----------
    settings
        AE title, address and limits; ``peers`` are the only application entities that may call.
    spool
        Where instances go.
    callbacks
        Whom to tell.
    """

    def __init__(self, settings: Listener, spool: Spool, callbacks: Callbacks) -> None:
        self._settings = settings
        self._place = Place(
            settings=settings,
            spool=spool,
            callbacks=callbacks,
            admission=Admission(settings),
            supported=supported_contexts(),
        )
        tls = settings.tls
        self._tls = Renewed(partial(server_context, tls), tls.files) if tls.is_on else None
        self._plain: socket.socket | None = None
        self._secure: socket.socket | None = None
        self._accepting: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._strangers: dict[socket.socket, None] = {}  # in the order in which they came

    @property
    def port(self) -> int:
        """The TCP port that is listened on without TLS."""
        assert self._plain is not None
        return int(self._plain.getsockname()[1])

    @property
    def tls_port(self) -> int:
        """The TCP port that is listened on with TLS."""
        assert self._secure is not None
        return int(self._secure.getsockname()[1])

    def start(self) -> None:
        """Begin to accept associations, in threads of their own; raises OSError if a port cannot be had."""
        tls = self._settings.tls
        try:
            if self._tls is not None:
                self._secure = self._listen(tls.port, self._tls)
            if self._tls is None or tls.plain:
                self._plain = self._listen(self._settings.port, None)
        except OSError:
            self.stop()
            raise
        _log.info("listening for associations")

    def _listen(self, port: int, tls: Renewed | None) -> socket.socket:
        host = self._settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        thread = threading.Thread(target=self._accept, args=(listening, tls), name="accept", daemon=True)
        self._accepting[listening] = thread
        thread.start()
        return listening

    def stop(self) -> None:
        """Stop accepting, and end what runs."""
        for listening, accepting in self._accepting.items():
            _shut(listening)  # wakes the thread
            accepting.join()
            listening.close()
        self._accepting.clear()
        self._plain = self._secure = None
        with self._lock:
            running = dict(self._connections)
        for connection in running:
            _shut(connection)
        for thread in running.values():
            thread.join()

    def _accept(self, listening: socket.socket, tls: Renewed | None) -> None:
        pause = threading.Event()
        while True:
            try:
                connection, (address, *_) = listening.accept()
            except OSError as error:
                if listening.fileno() < 0 or not _is_listening(listening):
                    return
                # Out of descriptors, or a connection that ended while it waited
                _log.error("a connection could not be accepted (errno %s)", error.errno)
                pause.wait(_BREATH_S)
                continue
            if tls is not None:
                try:
                    connection = secured(connection, tls)
                except OSError:
                    _log.warning("secure connection from %s ended before it began", address)
                    continue
            self._begin(connection, str(address))

    def _begin(self, connection: socket.socket, address: str) -> None:
        thread = threading.Thread(target=self._serve, args=(connection, address), name="association", daemon=True)
        with self._lock:
            self._connections[connection] = thread
            self._strangers[connection] = None
            if len(self._strangers) > _MOST_STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                _shut(oldest)
        try:
            thread.start()
        except RuntimeError:
            _log.error("no thread can be started for a connection")
            self._end(connection)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if isinstance(connection, ssl.SSLSocket) and not shake_hands(
                connection, address, timeout_s=self._settings.request_timeout_s, audit=self._place.callbacks.audit
            ):
                return
            caller = caller_of(connection, address)
            Association(self._place, connection, caller, lambda: self._accepted(connection)).run()
        except Exception as error:  # noqa: BLE001 - border: one association's thread must not end unseen
            _log.error("an association ended by a bug", exc_info=error)
        finally:
            self._end(connection)

    def _accepted(self, connection: socket.socket) -> None:
        with self._lock:
            self._strangers.pop(connection, None)

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.pop(connection, None)
            self._strangers.pop(connection, None)
        connection.close()


def _is_listening(listening: socket.socket) -> bool:
    # after shutdown a listening socket accepts no more, but is still open
    return bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _shut(connection: socket.socket) -> None:
    # Not SSLSocket's own, which takes the thread that waits in it its words
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
