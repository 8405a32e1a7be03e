"""Faults of a peer, each planted alone, and the checks that must find it."""

import threading
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance.network import messages, wire
from conformance.network.acceptor import respond
from conformance.network.connection import Association, Message
from conformance.network.link import Wire
from conformance.network.messages import Framing, command
from conformance.network.samples import Samples
from conformance.pacs_archive import SUCCESS
from conformance.phantom_headers import with_meta
from dicom_io.services import STORAGE_COMMITMENT, UNCOMPRESSED
from sgmri.errors import ProtocolViolation
from tests.conformance.network.peer import CALLER, Peer

SEED = 1


class AcceptsAnyCalling(Peer):
    def title_refusal(self, proposed: wire.Negotiation) -> bytes | None:
        return super().title_refusal(proposed) if proposed.calling_ae_title == CALLER else None


class AcceptsAnyCalled(Peer):
    def answer(self, proposed: wire.Negotiation) -> bytes:
        self.ae_title = proposed.called_ae_title
        return super().answer(proposed)

    def title_refusal(self, proposed: wire.Negotiation) -> bytes | None:
        return None if proposed.calling_ae_title == CALLER else wire.reject(1, 1, 3)


class ComparesBeginningsOfTitles(Peer):
    def answer(self, proposed: wire.Negotiation) -> bytes:
        if proposed.called_ae_title.startswith("PEER"):
            self.ae_title = proposed.called_ae_title
        return super().answer(proposed)

    def title_refusal(self, proposed: wire.Negotiation) -> bytes | None:
        refusal = super().title_refusal(proposed)
        return None if proposed.called_ae_title.startswith("PEER") else refusal


class GivesAnotherReason(Peer):
    def title_refusal(self, proposed: wire.Negotiation) -> bytes | None:
        return wire.reject(1, 1, 1) if super().title_refusal(proposed) else None


class SaysSuccessToWhatItRefuses(Peer):
    def store(self, association: Association, message: Message) -> int:
        super().store(association, message)
        return SUCCESS


class ReportsAnotherTransaction(Peer):
    def result(self, ds: Dataset) -> tuple[Dataset, int]:
        information, event_type = super().result(ds)
        information.TransactionUID = "2.25.4711"
        return information, event_type


class CommitsToWhatItLacks(Peer):
    def result(self, ds: Dataset) -> tuple[Dataset, int]:
        information = Dataset()
        information.TransactionUID, information.ReferencedSOPSequence = ds.TransactionUID, ds.ReferencedSOPSequence
        return information, 1


class ReportsTheWrongEventType(Peer):
    def result(self, ds: Dataset) -> tuple[Dataset, int]:
        return super().result(ds)[0], 1


class GivesTheWrongFailureReason(Peer):
    def reason(self, stored_as: str | None) -> int:
        return 0x0110


class ForgetsTheFailures(Peer):
    def result(self, ds: Dataset) -> tuple[Dataset, int]:
        information, event_type = super().result(ds)
        if "ReferencedSOPSequence" in information and "FailedSOPSequence" in information:
            del information.FailedSOPSequence
            event_type = 1
        return information, event_type


class DropsTheReport(Peer):
    def report(self, association: Association, number: int, ds: Dataset) -> None:
        pass


class TakesNoRoleElsewhere(Peer):
    reports_on_ours = False

    def role(self) -> bytes:
        return b""


class AbortsWhenReleasesCollide(Peer):
    reports_on_ours = False

    def farewell(self, ours: Association) -> None:
        ours.link.send(wire.RELEASE_RQ)
        answer = ours.link.pdu()
        if answer is not None and answer[0] != wire.RELEASED:
            ours.link.send(wire.ABORT_PDU)


class IgnoresTheMaximumLength(Peer):
    def talk(self, association: Association) -> None:
        association.peer_max_pdu_bytes = 0
        super().talk(association)


class TakesLongerPdus(Peer):
    def talk(self, association: Association) -> None:
        association.max_pdu_bytes = 0
        super().talk(association)


class AnswersAnotherMessage(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        changed = Message(number=message.number, fields={**message.fields, "message_id": 1}, data=message.data)
        super().respond(association, changed, status)


class NamesAnotherInstance(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        further = {"instance": "2.25.4711"} if "instance" in message.fields else {}
        respond(association, message, status, **further)


class NamesAnotherClass(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        respond(association, message, status, sop_class=STORAGE_COMMITMENT)


class AnswersWithADataSet(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        if message.fields["field"] != messages.C_STORE:
            super().respond(association, message, status)
            return
        fields = {"field": 0x8001, "answered_id": message.fields["message_id"], "status": status}
        association.send(message.number, fields, b"\x08\0\x16\0UI\0\0")


class AnswersInAnotherContext(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        number = max(association.contexts)
        super().respond(association, Message(number=number, fields=message.fields, data=None), status)


class CountsTheCommandWrongly(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        request = message.fields
        encoded = bytearray(
            command(
                field=int(request["field"]) | 0x8000, answered_id=request["message_id"], data_set=0x101, status=status
            )
        )
        encoded[8] += 2
        for one in Framing().pdus(message.number, bytes(encoded), None):
            association.link.send(one)


class ChoosesWhatWasNotOffered(Peer):
    def context(self, one: wire.PresentationContext) -> bytes:
        return wire.accepted_context(one.number, 0, UNCOMPRESSED[0])


class AcceptsEveryContext(Peer):
    def context(self, one: wire.PresentationContext) -> bytes:
        return wire.accepted_context(one.number, 0, one.transfer_syntaxes[0])


class LeavesAContextOut(Peer):
    def contexts(self, proposed: wire.Negotiation) -> bytes:
        return b"".join(self.context(one) for one in proposed.contexts[:3])


class RefusesTheDefaultSyntax(Peer):
    def context(self, one: wire.PresentationContext) -> bytes:
        if one.transfer_syntaxes == (UNCOMPRESSED[1],):
            return wire.accepted_context(one.number, 4, UNCOMPRESSED[1])
        return super().context(one)


class GivesUnaskedRoles(Peer):
    def accept(self, proposed: wire.Negotiation, contexts: bytes) -> bytes:
        for uid in proposed.roles:
            further = wire.role(uid, scu=True, scp=True)
            user = wire.user_information(self.max_pdu_bytes, further)
            body = wire.request_body(contexts, calling=CALLER, called=self.ae_title, user=user)
            return wire.pdu(wire.ASSOCIATE_AC, body)
        return super().accept(proposed, contexts)


class AnswersNothing(Peer):
    def respond(self, association: Association, message: Message, status: int) -> None:
        if message.fields["field"] != messages.C_STORE:
            super().respond(association, message, status)


class AbortsOnRelease(Peer):
    def release(self, association: Association) -> None:
        association.link.send(wire.ABORT_PDU)


class ClosesOnRelease(Peer):
    def release(self, association: Association) -> None:
        pass


class TakesWhatIsTruncated(Peer):
    def checked(self, data: bytes, syntax: str) -> tuple[str, str]:
        # what is missing is made up
        try:
            return super().checked(data, syntax)
        except Exception:  # noqa: BLE001 - a fault on purpose
            return super().checked(data + bytes(1000), syntax)

    def keep(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int:
        status = super().keep(sop_class_uid, sop_instance_uid, syntax, data)
        return SUCCESS if status == 0xC000 else status


class StoresLessThanItGot(Peer):
    def kept(self, data: bytes) -> bytes:
        return data[:-2]


class ChangesAPixel(Peer):
    def kept(self, data: bytes) -> bytes:
        return data[:-2] + bytes([data[-2] ^ 1, data[-1]])


class StoresNothing(Peer):
    def keep(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int:
        found = self.checked(data, syntax)
        return SUCCESS if found == (sop_class_uid, sop_instance_uid) else 0xA900


class KeepsTheFirstAndSaysSuccess(Peer):
    def keep(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int:
        if self.archive.sop_class_of(sop_instance_uid) is not None:
            return SUCCESS
        return super().keep(sop_class_uid, sop_instance_uid, syntax, data)


class SaysDuplicateAndKeepsTheSecond(Peer):
    def keep(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int:
        known = self.archive.sop_class_of(sop_instance_uid) is not None
        status = super().keep(sop_class_uid, sop_instance_uid, syntax, data)
        return 0x0111 if known and status == SUCCESS else status


class SaysDuplicateToWhatIsNew(Peer):
    def keep(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int:
        status = super().keep(sop_class_uid, sop_instance_uid, syntax, data)
        return 0x0111 if status == SUCCESS else status


class KeepsWhatWasInterrupted(Peer):
    def talk(self, association: Association) -> None:
        began: list[str] = []
        receive = association.link.pdu

        def watched() -> tuple[int, bytes] | None:
            answer = receive()
            if answer is not None and answer[0] == wire.P_DATA:
                ((_, control, content), *_) = wire.values(answer[1])
                if control & wire.COMMAND:
                    began.append(str(messages.decode(content).get("instance", "")))
            if answer is not None and answer[0] == wire.ABORT and began:
                self._keep_under(began[-1])
            return answer

        association.link.pdu = watched  # type: ignore[method-assign]  # a fault on purpose
        super().talk(association)

    def _keep_under(self, uid: str) -> None:
        ds = with_meta(Samples(SEED).small())
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        stream = BytesIO()
        ds.save_as(stream, enforce_file_format=True)
        self.archive.put(stream.getvalue(), sop_class_uid=str(ds.SOPClassUID), sop_instance_uid=uid)


class LeaksPlaces(Peer):
    def gone(self) -> None:
        pass


class LeaksWhatIsAborted(Peer):
    def talk(self, association: Association) -> None:
        try:
            super().talk(association)
        except ConnectionAbortedError:
            self.held += 1
            raise


class StuckAfterHalfAPdu(Peer):
    """One lock for all: who is stuck within a PDU sticks everybody."""

    _turn = threading.Lock()

    def serve(self, link: Wire) -> None:
        receive = link.pdu

        def one_at_a_time() -> tuple[int, bytes] | None:
            head = link.stream.recv(1)
            if not head:
                return None
            with self._turn:
                return _with(link, head, receive)

        link.pdu = one_at_a_time  # type: ignore[method-assign]  # a fault on purpose
        link.stream.settimeout(30.0)
        Peer.__mro__[1].serve(self, link)  # type: ignore[attr-defined]  # without the base's shorter limit


def _with(link: Wire, head: bytes, receive: Any) -> tuple[int, bytes] | None:
    exactly = link._exactly
    link._exactly = lambda count: head + exactly(count - 1)  # type: ignore[method-assign]
    try:
        first = exactly(5)
        length = int.from_bytes((head + first)[2:], "big")
        body = exactly(length)
        return head[0], body
    finally:
        link._exactly = exactly  # type: ignore[method-assign]


class NeverClosesAStuckConnection(Peer):
    def serve(self, link: Wire) -> None:
        link.stream.settimeout(60.0)
        try:
            Peer.__mro__[1].serve(self, link)  # type: ignore[attr-defined]  # without the base's shorter limit
        except ProtocolViolation:
            link.send(wire.ABORT_PDU)


class FindsEverything(Peer):
    def rows(self, asked: Dataset) -> list[Dataset]:
        keys = Dataset()
        keys.QueryRetrieveLevel = asked.QueryRetrieveLevel
        for element in asked:
            if element.keyword.endswith("UID"):
                keys.add(element)
        rows = super().rows(keys)
        for row in rows:
            for element in asked:
                if element.tag not in row:
                    row.add(element)
        return rows


class FindsEverythingTwice(Peer):
    def rows(self, asked: Dataset) -> list[Dataset]:
        return super().rows(asked) * 2


class SendsUnaskedKeys(Peer):
    def rows(self, asked: Dataset) -> list[Dataset]:
        rows = super().rows(asked)
        for row in rows:
            row.PatientComments = "unasked"
        return rows


class TakesEchoAnywhere(Peer):
    def handle(self, association: Association, message: Message) -> None:
        if message.fields["field"] == messages.C_ECHO:
            self.respond(association, message, SUCCESS)
        else:
            super().handle(association, message)


class DiesOfHttp(Peer):
    def serve(self, link: Wire) -> None:
        first = link.stream.recv(4, 2)  # MSG_PEEK
        if first == b"GET ":
            self.held = 1000
            return
        super().serve(link)


@dataclass(frozen=True)
class Planted:
    """A faulty peer, and ids of checks of which at least one must fail."""

    peer: type[Peer]
    found_by: tuple[str, ...]


FAULTS = (
    Planted(AcceptsAnyCalling, ("association.calling-ae",)),
    Planted(AcceptsAnyCalled, ("association.called-ae",)),
    Planted(ComparesBeginningsOfTitles, ("association.called-ae-near",)),
    Planted(GivesAnotherReason, ("association.called-ae",)),
    Planted(SaysSuccessToWhatItRefuses, ("storage.other-instance",)),
    Planted(ReportsAnotherTransaction, ("commitment.stored",)),
    Planted(CommitsToWhatItLacks, ("commitment.unknown",)),
    Planted(ReportsTheWrongEventType, ("commitment.unknown",)),
    Planted(GivesTheWrongFailureReason, ("commitment.unknown",)),
    Planted(ForgetsTheFailures, ("commitment.partial",)),
    Planted(DropsTheReport, ("commitment.stored",)),
    Planted(TakesNoRoleElsewhere, ("commitment.released",)),
    Planted(AbortsWhenReleasesCollide, ("commitment.release-collision",)),
    Planted(IgnoresTheMaximumLength, ("negotiation.max-pdu", "retrieve.max-pdu")),
    Planted(TakesLongerPdus, ("hostile.longer-pdu",)),
    Planted(AnswersAnotherMessage, ("verification.echo",)),
    Planted(NamesAnotherInstance, ("storage.instance",)),
    Planted(NamesAnotherClass, ("verification.echo",)),
    Planted(AnswersWithADataSet, ("storage.instance",)),
    Planted(AnswersInAnotherContext, ("negotiation.same-class",)),
    Planted(CountsTheCommandWrongly, ("verification.echo",)),
    Planted(ChoosesWhatWasNotOffered, ("negotiation.chosen-syntax",)),
    Planted(AcceptsEveryContext, ("negotiation.unknown-class",)),
    Planted(LeavesAContextOut, ("negotiation.128-contexts",)),
    Planted(RefusesTheDefaultSyntax, ("negotiation.default-syntax",)),
    Planted(GivesUnaskedRoles, ("association.role-selection",)),
    Planted(AnswersNothing, ("storage.instance",)),
    Planted(AbortsOnRelease, ("ending.release",)),
    Planted(ClosesOnRelease, ("ending.release",)),
    Planted(TakesWhatIsTruncated, ("storage.truncated",)),
    Planted(StoresLessThanItGot, ("retrieve.get", "storage.instance")),
    Planted(ChangesAPixel, ("retrieve.get",)),
    Planted(StoresNothing, ("query.stored",)),
    Planted(KeepsTheFirstAndSaysSuccess, ("retrieve.other-bytes",)),
    Planted(SaysDuplicateAndKeepsTheSecond, ("retrieve.other-bytes",)),
    Planted(SaysDuplicateToWhatIsNew, ("storage.instance",)),
    Planted(KeepsWhatWasInterrupted, ("retrieve.refused",)),
    Planted(LeaksPlaces, ("ending.places",)),
    Planted(LeaksWhatIsAborted, ("ending.places",)),
    Planted(StuckAfterHalfAPdu, ("timeouts.others",)),
    Planted(NeverClosesAStuckConnection, ("timeouts.closed",)),
    Planted(FindsEverything, ("query.single-values",)),
    Planted(FindsEverythingTwice, ("query.stored",)),
    Planted(SendsUnaskedKeys, ("query.stored",)),
    Planted(TakesEchoAnywhere, ("storage.other-message",)),
    Planted(DiesOfHttp, ("hostile.first",)),
)
