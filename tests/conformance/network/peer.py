"""A whole peer in one class, sound as it stands: what is planted overrides one of its methods."""

import socket
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.network import messages, wire
from conformance.network.acceptor import Acceptor, answer_context, respond
from conformance.network.checks.commitment import INSTANCE
from conformance.network.connection import Association, Message
from conformance.network.link import Wire
from conformance.network.messages import RESPONSE
from conformance.network.proposal import Proposal, associate
from conformance.network.samples import decoded, encoded
from conformance.pacs_archive import SUCCESS, Archive
from dicom_io.header_scan import scan
from dicom_io.headers import is_uid
from dicom_io.receiver.targets import file_meta
from dicom_io.services import (
    IMAGE_TRANSFER_SYNTAXES,
    SERVICES,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    UNCOMPRESSED,
    VERIFICATION,
)
from sgmri.errors import MalformedInstance, ProtocolViolation, SgmriError

AE_TITLE, CALLER = "PEER", "SUITE"
PENDING = 0xFF00
MAX_ASSOCIATIONS = 10
TIMEOUT_S = 2.0
NOT_WHAT_IT_SAYS, CANNOT_UNDERSTAND, NOT_SUPPORTED = 0xA900, 0xC000, 0x0122
_UNCOMPRESSED_ONLY = (VERIFICATION, STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE)
_SUPPORTED = {service.sop_class_uid for service in SERVICES}


class Peer(Acceptor):
    """Verification, storage, query, retrieval and commitment as SCP.

    Parameters
    ----------
    directory
        Where it keeps what it stores.
    """

    reports_on_ours = True
    """Whether results of commitment come on the association of the request."""

    def __init__(self, directory: Path) -> None:
        super().__init__(AE_TITLE, max_pdu_bytes=16_384)
        self.archive = Archive(directory)
        self.destinations: dict[str, int] = {}
        self.held = 0
        self._counting = threading.Lock()

    # Associations

    def serve(self, link: Wire) -> None:
        link.stream.settimeout(TIMEOUT_S)
        try:
            super().serve(link)
        except ProtocolViolation:
            link.send(wire.ABORT_PDU)

    def answer(self, proposed: wire.Negotiation) -> bytes:
        if not proposed.version & 1:
            return wire.reject(1, 2, 2)
        refusal = self.title_refusal(proposed)
        if refusal:
            return refusal
        ids = [one.number for one in proposed.contexts]
        if not 0 < len(ids) <= 128 or len(set(ids)) != len(ids) or not all(number % 2 for number in ids):
            raise ProtocolViolation("context ids")
        with self._counting:
            if self.held >= MAX_ASSOCIATIONS:
                return wire.reject(2, 3, 2)
        return super().answer(proposed)

    def title_refusal(self, proposed: wire.Negotiation) -> bytes | None:
        if proposed.called_ae_title != AE_TITLE:
            return wire.reject(1, 1, 7)
        return None if proposed.calling_ae_title == CALLER else wire.reject(1, 1, 3)

    def context(self, one: wire.PresentationContext) -> bytes:
        if one.abstract_syntax not in _SUPPORTED:
            return wire.accepted_context(one.number, 3, one.transfer_syntaxes[0])
        only = one.abstract_syntax in _UNCOMPRESSED_ONLY
        return answer_context(one, UNCOMPRESSED if only else IMAGE_TRANSFER_SYNTAXES)

    def talk(self, association: Association) -> None:
        with self._counting:
            self.held += 1
        try:
            super().talk(association)
        finally:
            self.gone()

    def gone(self) -> None:
        with self._counting:
            self.held -= 1

    # Messages

    def handle(self, association: Association, message: Message) -> None:
        field = int(message.fields["field"])
        abstract = association.contexts[message.number][0]
        if "message_id" not in message.fields and field != messages.C_CANCEL:
            raise ProtocolViolation("no Message ID")
        match field, abstract:
            case messages.C_ECHO, uid if uid == VERIFICATION:
                self.respond(association, message, SUCCESS)
            case messages.C_STORE, uid if uid not in _UNCOMPRESSED_ONLY:
                self.respond(association, message, self.store(association, message))
            case messages.C_FIND, uid if uid == STUDY_ROOT_FIND:
                self.find(association, message)
            case messages.C_GET, uid if uid == STUDY_ROOT_GET:
                self.get(association, message)
            case messages.C_MOVE, uid if uid == STUDY_ROOT_MOVE:
                self.move(association, message)
            case messages.N_ACTION, uid if uid == STORAGE_COMMITMENT:
                self.act(association, message)
            case messages.C_CANCEL, _:
                pass  # what it cancels has been answered
            case _:
                raise ProtocolViolation("a request that is not its context's")

    def respond(self, association: Association, message: Message, status: int) -> None:
        respond(association, message, status)

    # Storage

    def store(self, association: Association, message: Message) -> int:
        abstract, syntax = association.contexts[message.number]
        requested = (str(message.fields.get("sop_class", "")), str(message.fields.get("instance", "")))
        if message.data is None:
            raise ProtocolViolation("C-STORE without a data set")
        if requested[0] != abstract:
            return NOT_SUPPORTED
        if not is_uid(requested[1]):
            return NOT_WHAT_IT_SAYS
        return self.keep(*requested, syntax, message.data)

    def keep(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int:
        try:
            found = self.checked(data, syntax)
            if found != (sop_class_uid, sop_instance_uid):
                return NOT_WHAT_IT_SAYS
            file = file_meta(sop_class_uid, sop_instance_uid, syntax) + self.kept(data)
            self.archive.put(file, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
        except MalformedInstance:
            return CANNOT_UNDERSTAND
        return SUCCESS

    def checked(self, data: bytes, syntax: str) -> tuple[str, str]:
        found = scan(lambda offset, count: data[offset : offset + count], len(data), syntax)
        return str(found.sop_class_uid), str(found.sop_instance_uid)

    def kept(self, data: bytes) -> bytes:
        return data

    # Query and retrieval

    def find(self, association: Association, message: Message) -> None:
        syntax = association.contexts[message.number][1]
        asked = decoded(message.data or b"", syntax)
        refusal = self.archive.refusal(asked)
        for row in self.rows(asked) if refusal == SUCCESS else ():
            row.RetrieveAETitle = AE_TITLE
            self.pending(association, message, encoded(row, syntax))
        self.respond(association, message, refusal)

    def rows(self, asked: Dataset) -> list[Dataset]:
        return list(self.archive.find(asked))

    def pending(self, association: Association, message: Message, data: bytes) -> None:
        request = message.fields
        fields = {
            "field": int(request["field"]) | RESPONSE,
            "answered_id": request["message_id"],
            "status": PENDING,
            "sop_class": request["sop_class"],
        }
        association.send(message.number, fields, data)

    def found(self, association: Association, message: Message) -> tuple[int, list[Dataset]]:
        asked = decoded(message.data or b"", association.contexts[message.number][1])
        refusal = self.archive.refusal(asked, is_retrieval=True)
        return refusal, [dcmread(path) for path in self.archive.paths(asked)] if refusal == SUCCESS else []

    def get(self, association: Association, message: Message) -> None:
        refusal, instances = self.found(association, message)
        for ds in instances:
            self.send(association, ds)
        self.respond(association, message, refusal)

    def send(self, association: Association, ds: Dataset) -> None:
        number = association.context(str(ds.SOPClassUID))
        data = encoded(ds, association.contexts[number][1])
        association.store(str(ds.SOPClassUID), str(ds.SOPInstanceUID), data, number=number)

    def move(self, association: Association, message: Message) -> None:
        port = self.destinations.get(str(message.fields.get("destination", "")))
        if port is None:
            self.respond(association, message, 0xA801)
            return
        refusal, instances = self.found(association, message)
        for ds in instances:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)) as stream:
                contexts = [(str(ds.SOPClassUID), UNCOMPRESSED)]
                ours = associate(Wire(stream), Proposal(contexts=contexts, calling=AE_TITLE, called=CALLER).body())
                self.send(ours, ds)
                ours.release()
        self.respond(association, message, refusal)

    # Commitment

    def act(self, association: Association, message: Message) -> None:
        ds = decoded(message.data or b"", association.contexts[message.number][1])
        if message.fields.get("requested_instance") != INSTANCE:
            self.acted(association, message, 0x0112)
        elif message.fields.get("action_type") != 1:
            self.acted(association, message, 0x0123)
        elif not ds.get("TransactionUID") or not ds.get("ReferencedSOPSequence"):
            self.acted(association, message, 0x0115)
        else:
            self.acted(association, message, SUCCESS)
            if self.reports_on_ours:
                self.report(association, message.number, ds)
            else:
                threading.Thread(target=self.report_elsewhere, args=(ds,), daemon=True).start()

    def acted(self, association: Association, message: Message, status: int) -> None:
        request = message.fields
        fields: dict[str, int | str] = {
            "field": messages.N_ACTION | RESPONSE,
            "answered_id": request["message_id"],
            "status": status,
            "sop_class": STORAGE_COMMITMENT,
            "instance": INSTANCE,
            "action_type": request.get("action_type", 1),
        }
        if status:
            for name in ("sop_class", "instance", "action_type"):
                del fields[name]
        association.send(message.number, fields)

    def report_elsewhere(self, ds: Dataset) -> None:
        time.sleep(0.05)
        address = ("127.0.0.1", self.destinations[CALLER])
        with suppress(SgmriError, OSError), closing(socket.create_connection(address, timeout=TIMEOUT_S)) as stream:
            contexts = [(STORAGE_COMMITMENT, UNCOMPRESSED)]
            proposal = Proposal(contexts=contexts, calling=AE_TITLE, called=CALLER, further=self.role())
            ours = associate(Wire(stream), proposal.body())
            self.report(ours, ours.context(STORAGE_COMMITMENT), ds)
            self.farewell(ours)

    def role(self) -> bytes:
        return wire.role(STORAGE_COMMITMENT, scu=False, scp=True)

    def farewell(self, ours: Association) -> None:
        """Release an association of ours, which the other side may ask for at the same time (PS3.8 9.2.3, AR-8, -9)."""
        ours.link.send(wire.RELEASE_RQ)
        answer = ours.link.pdu()
        if answer is not None and answer[0] == wire.RELEASE:
            ours.link.send(wire.RELEASE_RP)
            ours.link.pdu()

    def report(self, association: Association, number: int, ds: Dataset) -> None:
        information, event_type = self.result(ds)
        fields: dict[str, int | str] = {
            "sop_class": STORAGE_COMMITMENT,
            "field": messages.N_EVENT_REPORT,
            "instance": INSTANCE,
            "event_type": event_type,
        }
        association.begin(number, fields, encoded(information, association.contexts[number][1]))
        if association.receive_or_release() is None:  # who asked does not wait for it
            self.release(association)

    def result(self, ds: Dataset) -> tuple[Dataset, int]:
        information = Dataset()
        information.TransactionUID = ds.TransactionUID
        kept, failed = [], []
        for item in ds.ReferencedSOPSequence:
            stored_as = self.archive.sop_class_of(str(item.ReferencedSOPInstanceUID))
            if stored_as == item.ReferencedSOPClassUID:
                kept.append(item)
            else:
                item.FailureReason = self.reason(stored_as)
                failed.append(item)
        if kept:
            information.ReferencedSOPSequence = kept
        if failed:
            information.FailedSOPSequence = failed
        return information, 2 if failed else 1

    def reason(self, stored_as: str | None) -> int:
        return 0x0112 if stored_as is None else 0x0119
