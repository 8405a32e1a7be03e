"""The TCP side of the receiver: accept connections and give each a thread of its own.

Nothing in the accepting thread waits for a peer (what a secure transport has to agree on belongs into the
connection's thread, too). Connections that are not accepted as associations make room for who comes next, the oldest
first: who only connects cannot shut out who calls.

References
----------
PS3.8 9.1 (transport connections)
"""

import logging
import socket
import threading
from contextlib import suppress

from dicom_io.receiver.admission import Admission
from dicom_io.receiver.association import Association, Place
from dicom_io.receiver.negotiation import supported_contexts
from dicom_io.scp import Callbacks
from dicom_io.spool import Spool
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
        self._listening: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._strangers: dict[socket.socket, None] = {}  # in the order in which they came

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        assert self._listening is not None
        return int(self._listening.getsockname()[1])

    def start(self) -> None:
        """Begin to accept associations, in threads of their own."""
        host = self._settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, self._settings.port), family=family, backlog=_BACKLOG)
        self._accepting = threading.Thread(target=self._accept, args=(self._listening,), name="accept", daemon=True)
        self._accepting.start()
        _log.info("listening for associations")

    def stop(self) -> None:
        """Stop accepting, and end what runs."""
        if self._listening is None or self._accepting is None:
            return
        _shut(self._listening)  # wakes the thread
        self._accepting.join()
        self._listening.close()
        self._listening = None
        with self._lock:
            running = dict(self._connections)
        for connection in running:
            _shut(connection)
        for thread in running.values():
            thread.join()

    def _accept(self, listening: socket.socket) -> None:
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
            Association(self._place, connection, address, lambda: self._accepted(connection)).run()
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
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
