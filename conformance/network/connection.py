"""An association over a connection, message by message.

Everything that a peer sends is held against the standard as it comes: what breaks it raises, whatever check is running.

References
----------
PS3.8 9.3.5, D.1 (maximum length), E (fragments), PS3.7 9.1, 10.1 (responses)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from conformance.network import wire
from conformance.network.link import NAMES, Wire
from conformance.network.messages import (
    C_ECHO,
    C_STORE,
    N_EVENT_REPORT,
    NO_DATA_SET,
    RESPONSE,
    Fields,
    Framing,
    command,
    decode,
    echo_rq,
    store_rq,
)
from dicom_io.services import VERIFICATION
from sgmri.errors import ProtocolViolation, StoreRefused

_NO_DATA_SET_IN = frozenset({C_STORE | RESPONSE, C_ECHO | RESPONSE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A whole DIMSE message that came.

    Parameters
    ----------
    number
        Its presentation context.
    fields
        Its command set.
    data
        Its data set, encoded; None without one.
    """

    number: int
    fields: dict[str, int | str]
    data: bytes | None

    @property
    def status(self) -> int:
        """Status of a response; raises ProtocolViolation where there is none."""
        if "status" not in self.fields:
            raise ProtocolViolation("expected a response with a status (PS3.7 C)")
        return int(self.fields["status"])


class Association:
    """An accepted association, from either side.

    Parameters
    ----------
    link
        The connection.
    proposed, answered
        The two halves of the negotiation.
    max_pdu_bytes
        The maximum length that we have offered; 0: none.
    peer_max_pdu_bytes
        The one that the peer has offered; 0: none.
    """

    def __init__(self, link: Wire, proposed: wire.Negotiation, answered: wire.Negotiation, *, is_requestor: bool):
        self.link = link
        self.proposed, self.answered = proposed, answered
        ours, theirs = (proposed, answered) if is_requestor else (answered, proposed)
        self.max_pdu_bytes, self.peer_max_pdu_bytes = ours.max_pdu_bytes, theirs.max_pdu_bytes
        abstract = {one.number: one.abstract_syntax for one in proposed.contexts}
        self.contexts: dict[int, tuple[str, str]] = {
            one.number: (abstract[one.number], one.transfer_syntaxes[0])
            for one in answered.contexts
            if one.result == 0 and one.number in abstract
        }
        self.on_request: Callable[[Message], None] | None = None
        """Takes requests of the peer that come while a response is awaited."""
        self._message_id = 10
        self.longest_pdu_bytes = 0
        self.is_releasing = False

    def context(self, sop_class_uid: str, transfer_syntax: str | None = None) -> int:
        """Return the id of the accepted context for a SOP class.

        Raises
        ------
        StoreRefused
            If the peer has accepted none.
        """
        for number, (abstract, transfer) in self.contexts.items():
            if abstract == sop_class_uid and transfer_syntax in (None, transfer):
                return number
        raise StoreRefused("the peer accepted no presentation context for it", 0x0122)

    def send(self, number: int, fields: Fields, data: bytes | None = None, framing: Framing | None = None) -> None:
        """Send a message; without a framing, in PDUs as long as the peer takes, up to 32 KB."""
        if framing is None:
            limit = self.peer_max_pdu_bytes - 6 if self.peer_max_pdu_bytes else 32_000
            size = max(2, min(32_000, limit // 2 * 2))
            framing = Framing(value_bytes=size, command_bytes=size)
        encoded = command(**{**fields, "data_set": NO_DATA_SET if data is None else 0})
        for one in framing.pdus(number, encoded, data):
            self.link.send(one)

    def receive(self) -> Message:
        """Return the next message; as :meth:`receive_or_release`, where the peer may not ask for release."""
        message = self.receive_or_release()
        if message is None:
            raise ProtocolViolation("expected P-DATA-TF, found A-RELEASE-RQ")
        return message

    def receive_or_release(self) -> Message | None:
        """Return the next message; None when the peer asks for release.

        Raises
        ------
        ProtocolViolation
            If it breaks the standard.
        ConnectionAbortedError
            If the peer ends the association.
        """
        content = {True: bytearray(), False: bytearray()}
        fields: dict[str, int | str] | None = None
        while (body := self._data()) is not None:
            for number, control, piece in wire.values(body):
                if number not in self.contexts:
                    raise ProtocolViolation(f"expected an accepted presentation context, found id {number}")
                is_command = bool(control & wire.COMMAND)
                if is_command != (fields is None):
                    raise ProtocolViolation("expected a command set, then its data set (PS3.8 E.2)")
                content[is_command] += piece
                if not control & wire.LAST:
                    continue
                if is_command:
                    fields = decode(bytes(content[True]))
                    if fields["data_set"] != NO_DATA_SET:
                        continue
                assert fields is not None
                data = None if fields["data_set"] == NO_DATA_SET else bytes(content[False])
                self.link.trace.add(f"    {_said(fields, data)}")
                return Message(number=number, fields=fields, data=data)
        return None

    def _data(self) -> bytes | None:
        answer = self.link.pdu()
        if answer is None:
            raise ConnectionAbortedError("the peer closed the connection")
        kind, body = answer
        if kind == wire.ABORT:
            raise ConnectionAbortedError("the peer aborted the association")
        if kind == wire.RELEASE and self.is_releasing:
            self.link.send(wire.RELEASE_RP)  # both at once: ours is answered, too (PS3.8 9.2.3, AR-8, AR-9)
            return self._data()
        if kind == (wire.RELEASED if self.is_releasing else wire.RELEASE):
            return None
        if kind != wire.P_DATA:
            raise ProtocolViolation(f"expected P-DATA-TF, found {NAMES.get(kind, f'a PDU of type {kind}')}")
        self.longest_pdu_bytes = max(self.longest_pdu_bytes, len(body))
        if self.max_pdu_bytes and len(body) > self.max_pdu_bytes:
            raise ProtocolViolation(
                f"expected PDUs of at most {self.max_pdu_bytes} bytes, as offered, found one of {len(body)} (PS3.8 D.1)"
            )
        return body

    def request(
        self, number: int, fields: Fields, data: bytes | None = None, framing: Framing | None = None
    ) -> Message:
        """Send a request and return its only response, which must be one to this request."""
        sent = self.begin(number, fields, data, framing)
        return self.response(number, sent)

    def begin(self, number: int, fields: Fields, data: bytes | None = None, framing: Framing | None = None) -> Fields:
        """Send a request; return its fields, with the message id that it was given."""
        self._message_id += 7  # not 1, 2, 3: a peer that counts by itself shows
        sent = {"message_id": self._message_id, **fields}
        self.send(number, sent, data, framing)
        return sent

    def response(self, number: int, request: Fields) -> Message:
        """Return the next response, which must be one to this request.

        Raises
        ------
        ProtocolViolation
            If it answers another one, or names another SOP class or instance.
        """
        message = self.receive()
        while not int(message.fields["field"]) & RESPONSE:
            if self.on_request is None or message.fields["field"] not in (C_STORE, N_EVENT_REPORT):
                raise ProtocolViolation("expected a response, found a request")
            self.on_request(message)
            message = self.receive()
        check_response(request, message, number)
        return message

    def responses(self, number: int, request: Fields) -> Iterator[Message]:
        """Return the responses to this request, to the last."""
        while True:
            message = self.response(number, request)
            yield message
            if message.status not in (0xFF00, 0xFF01):
                return

    def echo(self) -> Message:
        """Send C-ECHO and return the response (PS3.7 9.1.5)."""
        return self.request(self.context(VERIFICATION), echo_rq())

    def store(
        self, sop_class_uid: str, sop_instance_uid: str, data: bytes, *, number: int = 0, framing: Framing | None = None
    ) -> Message:
        """Send C-STORE and return the response (PS3.7 9.1.1)."""
        number = number or self.context(sop_class_uid)
        return self.request(number, store_rq(sop_instance_uid, sop_class_uid), data, framing)

    def release(self) -> list[Message]:
        """Release the association; return what came before the answer, which can no longer be answered (PS3.8 7.2).

        Raises
        ------
        ProtocolViolation
            If the answer is anything but A-RELEASE-RP.
        """
        self.is_releasing = True
        self.link.send(wire.RELEASE_RQ)
        late: list[Message] = []
        try:
            while (message := self.receive_or_release()) is not None:
                late.append(message)
        except ConnectionAbortedError as ended:
            raise ProtocolViolation(f"expected A-RELEASE-RP, found that {ended} (PS3.8 9.2.3)") from None
        return late


_ALLOWED: dict[str, tuple[str, ...]] = {"sop_class": ("sop_class", "requested_class"),
                                        "instance": ("instance", "requested_instance")}  # fmt: skip


def check_response(request: Fields, message: Message, number: int) -> None:
    """Hold a response against its request (PS3.7 9.3, 10.3).

    Raises
    ------
    ProtocolViolation
        If it is none to it.
    """
    found = message.fields
    wanted = {"field": int(request["field"]) | RESPONSE, "answered_id": request["message_id"]}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ProtocolViolation(f"expected {name} {value} in the response, found {found.get(name, 'none')}")
    for name, sources in _ALLOWED.items():
        expected = next((request[source] for source in sources if source in request), None)
        if name in found and found[name] != expected:
            raise ProtocolViolation(
                f"expected the request's affected SOP {name.removeprefix('sop_')} UID, found another"
            )
    for name in ("event_type", "action_type"):
        if name in found and found[name] != request.get(name):
            raise ProtocolViolation(f"expected the request's {name} in the response, found another")
    message.status  # noqa: B018 - raises where there is none
    if found["field"] in _NO_DATA_SET_IN and message.data is not None:
        raise ProtocolViolation("expected a response without a data set (PS3.7 9.3)")
    if message.number != number:
        raise ProtocolViolation(f"expected the response in presentation context {number}, found it in {message.number}")


def _said(fields: Fields, data: bytes | None) -> str:
    """Say what a message is, for the evidence: numbers only."""
    said = [f"command 0x{int(fields['field']):04X}"]
    if "status" in fields:
        said.append(f"status 0x{int(fields['status']):04X}")
    said += [f"{name} {fields[name]}" for name in ("answered_id", "message_id", "event_type") if name in fields]
    if data is not None:
        said.append(f"data set of {len(data)} bytes")
    return ", ".join(said)
