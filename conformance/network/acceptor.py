"""A small SCP of our own, for what a peer brings us: commitment results and retrieved instances.

References
----------
PS3.4 J.3.3 (N-EVENT-REPORT on an association of the SCP's), C.4.2 (C-MOVE sub-operations), PS3.7 D.3.3.4 (roles)
"""

import logging
import socket
import threading
from collections.abc import Collection
from contextlib import suppress
from queue import Queue
from typing import Self

from conformance.network import messages, wire
from conformance.network.connection import Association, Message
from conformance.network.link import Trace, Wire
from conformance.network.messages import RESPONSE, Fields
from dicom_io.services import UNCOMPRESSED
from sgmri.errors import ConfigError, SgmriError

_log = logging.getLogger(__name__)

_TIMEOUT_S = 30.0


class Acceptor:
    """Accepts associations on a thread each, and hands every message to :meth:`handle`.

    Parameters
    ----------
    ae_title
        Ours; who calls another is rejected.
    host, port
        Where to listen; port 0 takes a free one.
    max_pdu_bytes
        The maximum length that we offer.
    """

    def __init__(self, ae_title: str, *, host: str = "127.0.0.1", port: int = 0, max_pdu_bytes: int = 16_384) -> None:
        self.ae_title = ae_title
        self.max_pdu_bytes = max_pdu_bytes
        self.trace: Trace | None = None
        self._address = (host, port)
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The TCP port that we listen on."""
        assert self._listening is not None
        return int(self._listening.getsockname()[1])

    def __enter__(self) -> Self:
        try:
            self._listening = socket.create_server(self._address)
        except OSError as error:
            raise ConfigError(
                "expected a free address of this machine to listen on, found none; choose another"
            ) from error
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._listening is not None
        _shut(self._listening)
        self._listening.close()
        with self._lock:
            for stream in self._open:
                _shut(stream)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                stream, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(stream)
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        try:
            with stream:
                stream.settimeout(_TIMEOUT_S)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve(Wire(stream, self.trace))
        except (SgmriError, OSError, ValueError, LookupError) as error:
            _log.warning("an association with our SCP ended by %s", type(error).__name__)
            self.ended(error)
        finally:
            with self._lock:
                self._open.discard(stream)

    def serve(self, link: Wire) -> None:
        """Serve a connection to its end."""
        request = link.pdu()
        if request is None:
            return
        kind, body = request
        if kind != wire.ASSOCIATE_RQ:
            link.send(wire.ABORT_PDU)
            return
        proposed = wire.negotiation(body)
        answer = self.answer(proposed)
        link.send(answer)
        if answer[0] != wire.ASSOCIATE_AC:
            return
        self.talk(Association(link, proposed, wire.negotiation(answer[6:]), is_requestor=False))

    def answer(self, proposed: wire.Negotiation) -> bytes:
        """Return the PDU that answers an association request: contexts with an uncompressed transfer syntax."""
        if proposed.called_ae_title != self.ae_title:
            return wire.reject(1, 1, 7)
        if proposed.application_context != wire.APPLICATION_CONTEXT:
            return wire.reject(1, 1, 2)
        return self.accept(proposed, self.contexts(proposed))

    def accept(self, proposed: wire.Negotiation, contexts: bytes) -> bytes:
        """Return an A-ASSOCIATE-AC."""
        roles = b"".join(wire.role(uid, scu=scu, scp=scp) for uid, (scu, scp) in proposed.roles.items())
        return wire.pdu(
            wire.ASSOCIATE_AC,
            wire.request_body(
                contexts,
                calling=proposed.calling_ae_title,
                called=proposed.called_ae_title,
                user=wire.user_information(self.max_pdu_bytes, roles),
            ),
        )

    def contexts(self, proposed: wire.Negotiation) -> bytes:
        """Answer the presentation contexts."""
        return b"".join(self.context(one) for one in proposed.contexts)

    def context(self, one: wire.PresentationContext) -> bytes:
        """Answer a presentation context."""
        return answer_context(one, UNCOMPRESSED)

    def talk(self, association: Association) -> None:
        """Take messages until the peer asks for release."""
        while (message := association.receive_or_release()) is not None:
            self.handle(association, message)
        self.release(association)

    def release(self, association: Association) -> None:
        """Answer a release request."""
        association.link.send(wire.RELEASE_RP)

    def handle(self, association: Association, message: Message) -> None:
        """Take a message."""
        raise NotImplementedError

    def ended(self, error: Exception) -> None:
        """Hear that an association has ended by a fault, ours or the peer's."""


def answer_context(one: wire.PresentationContext, supported: Collection[str]) -> bytes:
    """Answer a presentation context with the first transfer syntax of its own that is supported."""
    chosen = next((syntax for syntax in one.transfer_syntaxes if syntax in supported), None)
    if chosen is None:
        return wire.accepted_context(one.number, 4, one.transfer_syntaxes[0])
    return wire.accepted_context(one.number, 0, chosen)


def respond(association: Association, message: Message, status: int, **fields: int | str) -> None:
    """Send the response to a request, without a data set."""
    request = message.fields
    response: Fields = {
        "field": int(request["field"]) | RESPONSE,
        "answered_id": request.get("message_id", 0),
        "status": status,
        **{name: request[name] for name in ("sop_class", "instance", "event_type") if name in request},
        **fields,
    }
    association.send(message.number, response)


class Inbox(Acceptor):
    """What a peer brings us, in the order of its coming."""

    def __init__(self, ae_title: str, *, host: str, port: int, max_pdu_bytes: int = 16_384) -> None:
        super().__init__(ae_title, host=host, port=port, max_pdu_bytes=max_pdu_bytes)
        self.events: Queue[tuple[Association, Message]] = Queue()
        self.instances: Queue[tuple[Association, Message]] = Queue()
        self.faults: Queue[Exception] = Queue()
        self.collides = False
        """Whether a release request is met with one of ours (PS3.8 9.2.3, AR-8)."""
        self.collisions: Queue[int | None] = Queue()

    def release(self, association: Association) -> None:
        """Answer a release request, after one of ours where they are to collide."""
        if self.collides:
            association.link.send(wire.RELEASE_RQ)
            answer = association.link.pdu()
            self.collisions.put(None if answer is None else answer[0])
        super().release(association)

    def handle(self, association: Association, message: Message) -> None:
        """Keep what came and answer with success."""
        match message.fields["field"]:
            case messages.N_EVENT_REPORT:
                self.events.put((association, message))
            case messages.C_STORE:
                self.instances.put((association, message))
        respond(association, message, 0x0000)

    def ended(self, error: Exception) -> None:
        """Keep the fault."""
        self.faults.put(error)


def _shut(stream: socket.socket) -> None:
    with suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)
