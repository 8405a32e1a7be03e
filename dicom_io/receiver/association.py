"""One association as acceptor, from its request to its end, in a thread of its own.

References
----------
PS3.8 9.2 (acceptor's part of the state machine), PS3.7 9.1.1, 9.1.5, 10.1.1 (C-STORE, C-ECHO, N-EVENT-REPORT)
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from dicom_io import services
from dicom_io.callers import Caller
from dicom_io.receipts import Receipt, peer_name, refusal
from dicom_io.receiver import commands, pdus
from dicom_io.receiver.admission import Admission
from dicom_io.receiver.messages import IncomingEvent, IncomingInstance, Message
from dicom_io.receiver.negotiation import Context, Negotiated, calling_ae_title, negotiate
from dicom_io.receiver.targets import Intake
from dicom_io.scp import Callbacks
from dicom_io.spool import Spool
from dicom_io.statuses import EchoStatus, Rejection
from dicom_io.stored import StoredInstance
from dicom_io.tls import close_notify
from sgmri.errors import AssociationRejected, ProtocolViolation
from sgmri.settings import Listener

_log = logging.getLogger(__name__)

_LINGER_S = 2.0
_WITHOUT_INSTANCES = frozenset({services.VERIFICATION, services.STORAGE_COMMITMENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all associations of a receiver share.

    Parameters
    ----------
    settings
        Limits and peers.
    spool
        Where instances go.
    callbacks
        Whom to tell.
    admission
        How many there may be.
    supported
        pynetdicom's presentation contexts that are offered.
    """

    settings: Listener
    spool: Spool
    callbacks: Callbacks
    admission: Admission
    supported: list[Any]


class Association:
    """One association.

    Parameters
    ----------
    place
        What it shares with others.
    connection, caller
        The accepted connection, after its handshake if it is a secure one, and who is on its other side.
    accepted
        Called when the peer may go on.
    """

    def __init__(self, place: Place, connection: socket.socket, caller: Caller, accepted: Callable[[], None]) -> None:
        self._place = place
        self._connection = connection
        self._caller = caller
        self._accepted = accepted
        settings = place.settings
        pdus.wait_at_most(connection, socket.SO_SNDTIMEO, settings.network_timeout_s)
        self._stream = pdus.PduStream(
            connection, max_pdu_bytes=settings.max_pdu_bytes, timeout_s=settings.network_timeout_s
        )
        self._intake = Intake(place.spool, in_segments=settings.durability == "journal")
        self._contexts: dict[int, Context] = {}
        self._command = bytearray()
        self._request: commands.Command | None = None  # whose data set is to come
        self._message: Message | None = None
        self._context_id = 0
        self._peer_max_pdu_bytes = 0
        self._receipt = Receipt(who=peer_name("", caller.address))
        self._rejected_for = ""
        self._callbacks = replace(place.callbacks, stored=self._stored)

    def run(self) -> None:
        """Serve the association to its end; nothing that the peer does is raised."""
        try:
            self._run()
        finally:
            # Last of all: the peer does not wait for the audit log
            self._receipt.tell(self._callbacks.audit)
            if self._rejected_for:
                self._callbacks.audit(refusal(self._receipt.who, self._rejected_for))

    def _run(self) -> None:
        try:
            last = self._end()
        finally:
            if self._message is not None:
                self._message.discard()
            self._intake.close()
        self._receipt.was_aborted = last != pdus.RELEASE_RP
        self._part_with(last)

    def _end(self) -> bytes:
        """Return what to part with, when it is over."""
        try:
            self._serve()
        except AssociationRejected as rejected:
            _log.warning("association from %s rejected: %s", self._caller.address, rejected)
            self._rejected_for = str(rejected)
            return pdus.reject(rejected.result, rejected.source, rejected.reason)
        except ProtocolViolation as violation:
            _log.warning("association with %s aborted: %s", self._caller.address, violation)
            return pdus.abort(violation.source, violation.reason)
        except (TimeoutError, BlockingIOError):
            _log.warning("connection from %s ended: it was silent or too slow", self._caller.address)
            return pdus.abort(0, 0) if self._contexts else b""
        except OSError:
            _log.warning("connection from %s ended by the peer", self._caller.address)
            return b""
        return pdus.RELEASE_RP

    def _serve(self) -> None:
        body = self._stream.request(self._place.settings.request_timeout_s)
        self._receipt.who = peer_name(calling_ae_title(body), self._caller.address)
        negotiated = negotiate(body, self._place.settings, self._caller, self._place.supported)
        with self._place.admission.association(negotiated.calling_ae_title):
            self._check_room(negotiated)
            self._accepted()
            self._send(negotiated.answer)
            self._contexts = negotiated.contexts
            self._peer_max_pdu_bytes = negotiated.max_pdu_bytes
            self._stream.end_at(time.monotonic() + self._place.settings.association_timeout_s)
            while (chunk := self._stream.chunk()) is not None:
                self._take(chunk)

    def _check_room(self, negotiated: Negotiated) -> None:
        # C-ECHO and commitment results are taken all the same: with the latter, room can be made
        other = {context.abstract_syntax for context in negotiated.contexts.values()} - _WITHOUT_INSTANCES
        if other and not self._place.spool.has_room(0):
            raise Rejection.CONGESTION.error("the spool is below its watermark (listener.min_free_bytes)")

    def _take(self, chunk: pdus.Chunk) -> None:
        if chunk.context_id not in self._contexts:
            raise ProtocolViolation("expected an accepted presentation context")
        if chunk.is_command:
            self._take_command(chunk)
        else:
            self._take_data(chunk)

    def _take_command(self, chunk: pdus.Chunk) -> None:
        if self._message is not None:
            raise ProtocolViolation("expected a data set, found a command", source=0, reason=0)
        self._command += chunk.content
        if len(self._command) > commands.MAX_COMMAND_BYTES:
            raise ProtocolViolation(f"expected a command set of at most {commands.MAX_COMMAND_BYTES} bytes")
        if not chunk.ends:
            return
        self._request = commands.decode(bytes(self._command))
        self._command.clear()
        self._context_id = chunk.context_id
        self._message = self._begin(self._request, self._contexts[chunk.context_id])
        if not self._request.has_data_set:
            self._finish()

    def _begin(self, request: commands.Command, context: Context) -> Message:
        settings, callbacks = self._place.settings, self._callbacks
        match request.field, context.abstract_syntax, request.has_data_set:
            case commands.C_ECHO_RQ, services.VERIFICATION, False:
                return Message(EchoStatus.SUCCESS, 0)
            case commands.N_EVENT_REPORT_RQ, services.STORAGE_COMMITMENT, _:
                return IncomingEvent(request, context, callbacks)
            case commands.C_STORE_RQ, uid, True if uid not in _WITHOUT_INSTANCES:
                return IncomingInstance(
                    request, context, self._intake, callbacks=callbacks, max_instance_bytes=settings.max_instance_bytes
                )
        raise ProtocolViolation("expected a request that belongs to its presentation context", source=0, reason=0)

    def _take_data(self, chunk: pdus.Chunk) -> None:
        if self._message is None or chunk.context_id != self._context_id:
            raise ProtocolViolation("expected a command before its data set", source=0, reason=0)
        self._message.take(chunk.content)
        if chunk.ends:
            self._finish()

    def _finish(self) -> None:
        assert self._message is not None
        assert self._request is not None
        message, self._message = self._message, None
        response = commands.response(self._request, message.finish())
        self._send(pdus.command_pdus(self._context_id, response, self._peer_max_pdu_bytes))

    def _stored(self, instance: StoredInstance) -> None:
        self._place.callbacks.stored(instance)
        self._receipt.add(instance.series_key)

    def _send(self, content: bytes) -> None:
        self._connection.sendall(content)

    def _part_with(self, last: bytes) -> None:
        """Send the last PDU and wait for the peer to close, or closing now could destroy what it has not yet read."""
        with suppress(OSError):
            if last:
                self._send(last)
            if isinstance(self._connection, ssl.SSLSocket):
                close_notify(self._connection)
            self._connection.shutdown(socket.SHUT_WR)
            ends_at = time.monotonic() + _LINGER_S
            while (left_s := ends_at - time.monotonic()) > 0:
                self._connection.settimeout(left_s)
                if not self._connection.recv(1 << 16):
                    return
