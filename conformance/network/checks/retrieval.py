"""C-GET and C-MOVE: what was stored comes back unchanged, and what was refused does not (PS3.4 C.4.2, C.4.3, B.4.1)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from queue import Empty

from pydicom.dataset import Dataset

from conformance.network import wire
from conformance.network.acceptor import respond
from conformance.network.checks.ending import begun
from conformance.network.checks.query import identifier, is_there, keys_of, own, stored_all
from conformance.network.checks.storage import FRAMINGS, MR, changed, is_stored, store
from conformance.network.connection import Association, Message
from conformance.network.messages import C_GET, C_MOVE, query_rq
from conformance.network.samples import decoded, encoded
from conformance.network.session import UNCOMPRESSED, Session, check, checks_of
from conformance.report import Result, Severity, failed, not_applicable, passed
from dicom_io.services import MR_IMAGE, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from sgmri.errors import ProtocolViolation


@contextmanager
def _getting(
    session: Session, sop_class_uid: str, max_pdu_bytes: int
) -> Iterator[tuple[Association, list[tuple[Message, str]]]]:
    """Open an association for C-GET, on which instances are kept as they come."""
    came: list[tuple[Message, str]] = []
    contexts = [(STUDY_ROOT_GET, UNCOMPRESSED), (sop_class_uid, UNCOMPRESSED)]
    roles = wire.role(sop_class_uid, scu=True, scp=True)
    with session.associated(contexts, further=roles, max_pdu_bytes=max_pdu_bytes) as association:

        def keep(message: Message) -> None:
            came.append((message, association.contexts[message.number][1]))
            respond(association, message, 0x0000)

        association.on_request = keep
        yield association, came


def get(session: Session, ds: Dataset, max_pdu_bytes: int = wire.MAX_PDU_BYTES) -> list[Dataset]:
    """Fetch an instance with C-GET; return what came.

    Raises
    ------
    ProtocolViolation
        If the status is a failure.
    StoreRefused
        If the peer offers no C-GET.
    """
    with _getting(session, str(ds.SOPClassUID), max_pdu_bytes) as (association, came):
        number = association.context(STUDY_ROOT_GET)
        data = encoded(identifier("IMAGE", keys_of(ds, "IMAGE")), association.contexts[number][1])
        request = association.begin(number, query_rq(C_GET, STUDY_ROOT_GET), data)
        *_, last = association.responses(number, request)
        if last.status:
            raise ProtocolViolation(f"expected C-GET to succeed, found status 0x{last.status:04X}")
        if int(last.fields.get("completed", len(came))) != len(came):
            raise ProtocolViolation(
                "expected as many completed sub-operations as instances that came (PS3.4 C.4.3.1.6)"
            )
    return [decoded(message.data or b"", syntax) for message, syntax in came]


_MAY_CHANGE = frozenset({"SpecificCharacterSet", "RetrieveAETitle", "InstanceAvailability", "InstanceCreationDate"})


def _differences(sent: Dataset, came: Dataset) -> list[str]:
    """Return the attributes that were changed or lost; added ones are the archive's own."""
    names = [element.keyword for element in sent if element.keyword not in _MAY_CHANGE]
    changed_ones = [name for name in names if name not in came or _plain(sent[name].value) != _plain(came[name].value)]
    return changed_ones


def _plain(value: object) -> object:
    return value.rstrip(b"\0") if isinstance(value, bytes) else value


def _same(sent: Dataset, came: list[Dataset]) -> Result:
    if len(came) != 1:
        return failed(f"expected 1 instance, found {len(came)}")
    if bytes(came[0].get("PixelData", b"")) != sent.get("PixelData", b""):
        return failed("the pixels are not those that were stored")
    different = _differences(sent, came[0])
    if different:
        return failed(f"changed or lost: {', '.join(different[:5])}")
    return passed("pixels byte for byte, every attribute")


@check(
    "retrieve.get",
    "C-GET returns what was stored: every attribute, every pixel",
    "PS3.4 C.4.3, B.4.1 (level 2)",
    Severity.CRITICAL,
)
def retrieved(session: Session) -> Result:
    (ds,) = own(session)
    stored_all(session, ds)
    is_there(session, ds)
    return _same(ds, get(session, ds))


@check("retrieve.max-pdu", "C-GET sends PDUs within what we offer, 4096 bytes", "PS3.8 D.1")
def retrieved_in_pieces(session: Session) -> Result:
    (ds,) = own(session)
    stored_all(session, ds)
    is_there(session, ds)
    return _same(ds, get(session, ds, max_pdu_bytes=4096))


@check("retrieve.move", "C-MOVE brings what was stored to our own SCP", "PS3.4 C.4.2", Severity.CRITICAL)
def moved(session: Session) -> Result:
    inbox = session.inbox
    if inbox is None:
        return not_applicable("the peer does not know where we listen (--listen)")
    (ds,) = own(session)
    stored_all(session, ds)
    is_there(session, ds)
    status = _move(session, ds, session.setup.destination.calling_ae_title)
    if status:
        return failed(f"status 0x{status:04X}")
    try:
        association, message = inbox.instances.get(timeout=session.setup.destination.timeout_s)
    except Empty:
        return failed("no instance came, though C-MOVE was answered with success")
    return _same(ds, [decoded(message.data or b"", association.contexts[message.number][1])])


@check(
    "retrieve.move-unknown", "C-MOVE to a destination that the peer does not know is refused", "PS3.4 C.4.2.1.5 (A801)"
)
def moved_nowhere(session: Session) -> Result:
    (ds,) = own(session)
    stored_all(session, ds)
    is_there(session, ds)
    status = _move(session, ds, "NOBODY-KNOWS-ME")
    return passed("0xA801") if status == 0xA801 else failed(f"status 0x{status:04X}")


def _move(session: Session, ds: Dataset, destination: str) -> int:
    with session.associated([(STUDY_ROOT_MOVE, UNCOMPRESSED)]) as association:
        number = association.context(STUDY_ROOT_MOVE)
        data = encoded(identifier("IMAGE", keys_of(ds, "IMAGE")), association.contexts[number][1])
        request = association.begin(number, query_rq(C_MOVE, STUDY_ROOT_MOVE, destination=destination), data)
        *_, last = association.responses(number, request)
        return last.status


@check(
    "retrieve.fragments",
    "an image comes back unchanged however its message was cut",
    "PS3.8 E.1, PS3.4 B.4.1",
    Severity.CRITICAL,
)
def fragments_come_back(session: Session) -> Result:
    wrong = []
    for name, framing in FRAMINGS.items():
        (ds,) = own(session)
        with suppress(ConnectionAbortedError), session.associated(MR) as association:
            if is_stored(store(association, ds, framing=framing).status):
                is_there(session, ds)
                if _same(ds, get(session, ds)).outcome != "pass":
                    wrong.append(name)
    return failed(f"changed: {'; '.join(wrong)}") if wrong else passed("whatever was stored came back")


@check("retrieve.kinds", "every kind of object comes back as it was stored", "PS3.4 B.4.1, C.4.3", Severity.CRITICAL)
def kinds_come_back(session: Session) -> Result:
    wrong, asked = [], 0
    for kind, whole in session.samples.kinds.items():
        ds = deepcopy(whole)
        ds.SOPInstanceUID = session.samples.uid()
        with session.associated([(str(ds.SOPClassUID), UNCOMPRESSED)]) as association:
            if not association.contexts or not is_stored(store(association, ds).status):
                continue  # said by other checks
        asked += 1
        is_there(session, ds)
        result = _same(ds, get(session, ds))
        if result.outcome != "pass":
            wrong.append(f"{kind} ({result.text})")
    return failed("; ".join(wrong)) if wrong else passed(f"{asked} kinds")


@check(
    "retrieve.other-bytes",
    "a second image under one UID is not said to be stored and then lost",
    "PS3.4 B.2.3 (Success), PS3.5 9.1",
)
def other_bytes_kept(session: Session) -> Result:
    (ds,) = own(session)
    other = changed(ds)
    with session.associated(MR) as association:
        first, second = store(association, ds).status, store(association, other).status
    if not is_stored(first):
        return failed(f"the first image: status 0x{first:04X}")
    count = is_there(session, ds)
    came = get(session, ds)
    if count != 1 or len(came) != 1:
        return failed(f"one UID, {count} matches, {len(came)} instances retrieved")
    kept = {ds.PixelData: "first", other.PixelData: "second"}.get(bytes(came[0].get("PixelData", b"")), "neither")
    said = f"answered 0x{second:04X}, the {kept} image is kept"
    honest = kept == "second" if is_stored(second) else kept == "first"
    return passed(said) if honest else failed(said)


@check("retrieve.refused", "what was refused or interrupted is not there", "PS3.4 B.2.3, PS3.8 7.3", Severity.CRITICAL)
def refused_is_not_there(session: Session) -> Result:
    with session.connected() as link:
        uid, _ = begun(session, link)
        link.send(wire.ABORT_PDU)
        with suppress(TimeoutError):  # until the peer has seen it and closed the connection
            link.pdu()
    ds = session.samples.small()
    ds.SOPInstanceUID = uid
    if is_there(session, ds, wait=False):
        return failed("an instance whose transfer was aborted is found")
    wrong = session.samples.small()
    status = 0xC000
    with suppress(ConnectionAbortedError), session.associated(MR) as association:
        number = association.context(MR_IMAGE)
        data = encoded(wrong, association.contexts[number][1])[:-1000]
        status = association.store(MR_IMAGE, str(wrong.SOPInstanceUID), data).status
    found = is_there(session, wrong, wait=False)
    if found and not is_stored(status):
        return failed("an instance that was refused is found")
    return passed("neither the aborted nor the truncated instance" if not found else "not the aborted instance")


CHECKS = checks_of(globals())
