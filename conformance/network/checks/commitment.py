"""Storage commitment: the request, and the result on the same association or on one of the peer's (PS3.4 Annex J)."""

import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, Queue

from pydicom.dataset import Dataset

from conformance.network import wire
from conformance.network.acceptor import respond
from conformance.network.checks.storage import MR, is_stored, store
from conformance.network.connection import Association, Message
from conformance.network.link import NAMES
from conformance.network.messages import N_ACTION, N_EVENT_REPORT
from conformance.network.samples import decoded, encoded
from conformance.network.session import UNCOMPRESSED, Session, check, checks_of
from conformance.report import Result, Severity, failed, not_applicable, observed, passed
from dicom_io.services import MR_IMAGE, STORAGE_COMMITMENT
from sgmri.errors import ProtocolViolation

INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of the push model (PS3.4 J.3.5)."""
NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0112, 0x0119
_RETIRED = ("ReferencedPerformedProcedureStepSequence", "ReferencedStudyComponentSequence")
_ALLOWED = frozenset({"TransactionUID", "ReferencedSOPSequence", "FailedSOPSequence", "RetrieveAETitle",
                      "StorageMediaFileSetID", "StorageMediaFileSetUID", "SpecificCharacterSet"})  # fmt: skip
"""Event Information (PS3.4 Table J.3-2)."""
Reference = tuple[str, str]


def request(
    association: Association, transaction_uid: str, references: Sequence[Reference], **changes: int | str
) -> int:
    """Send N-ACTION; return the status."""
    ds = Dataset()
    if transaction_uid:
        ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [_item(*one) for one in references]
    number = association.context(STORAGE_COMMITMENT)
    fields: dict[str, int | str] = {
        "requested_class": STORAGE_COMMITMENT,
        "field": N_ACTION,
        "requested_instance": INSTANCE,
        "action_type": 1,
        **changes,
    }
    return association.request(number, fields, encoded(ds, association.contexts[number][1])).status


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return ds


class Event:
    """A result that came.

    Parameters
    ----------
    association, message
        Where it came, and what.
    was_ours
        Whether it came on the association of the request.
    """

    def __init__(self, association: Association, message: Message, *, was_ours: bool) -> None:
        self.association, self.was_ours = association, was_ours
        self.fields = message.fields
        if message.data is None:
            raise ProtocolViolation("expected Event Information in N-EVENT-REPORT (PS3.4 J.3.3.1)")
        self.information = decoded(message.data, association.contexts[message.number][1])

    @property
    def committed(self) -> list[Reference]:
        """What the peer takes responsibility for."""
        return _references(self.information, "ReferencedSOPSequence")

    @property
    def refused(self) -> dict[Reference, int]:
        """What it does not, with the reasons."""
        items = self.information.get("FailedSOPSequence") or ()
        return dict(
            zip(
                _references(self.information, "FailedSOPSequence"),
                (int(item.get("FailureReason") or 0) for item in items),
                strict=True,
            )
        )


def _references(ds: Dataset, keyword: str) -> list[Reference]:
    return [
        (str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in ds.get(keyword) or ()
    ]


def commit(session: Session, references: Sequence[Reference], *, stays: bool = True) -> Event:
    """Ask for commitment and return the result.

    Parameters
    ----------
    session
        The session.
    references
        For which instances.
    stays
        Whether our association stays open for the result.

    Raises
    ------
    TimeoutError
        If none comes in time.
    ProtocolViolation
        If the request is refused, or the result is not one to it (PS3.4 J.3.3).
    """
    transaction_uid = session.samples.uid()
    ours: Queue[tuple[Association, Message]] = Queue()
    _forget(session)
    with session.associated([(STORAGE_COMMITMENT, UNCOMPRESSED)]) as association:

        def take(message: Message) -> None:
            respond(association, message, 0x0000)
            ours.put((association, message))

        association.on_request = take
        status = request(association, transaction_uid, references)
        if status:
            raise ProtocolViolation(f"expected the request to be taken, found status 0x{status:04X}")
        if not stays:
            with suppress(ProtocolViolation):  # how it ends is another check's
                for message in association.release():  # a result that crossed our request for release
                    ours.put((association, message))
        event = _awaited(session, association, ours, stays=stays)
    if event is None:
        event = _elsewhere(session, session.setup.patience_s)
    if event is None:
        where = "on our association or on one of the peer's" if session.inbox else "on our association (see --listen)"
        raise TimeoutError(f"expected N-EVENT-REPORT {where} within {session.setup.patience_s:.0f} s, found none")
    _check_event(event, transaction_uid)
    return event


def _forget(session: Session) -> None:
    while session.inbox is not None and not session.inbox.events.empty():
        session.inbox.events.get()


def _awaited(
    session: Session, association: Association, ours: Queue[tuple[Association, Message]], *, stays: bool
) -> Event | None:
    """Wait on our association, and at our SCP at the same time."""
    ends_at = time.monotonic() + session.setup.patience_s
    while stays and ours.empty() and time.monotonic() < ends_at:
        event = _elsewhere(session, 0.0)
        if event is not None:
            return event
        association.link.stream.settimeout(0.2)
        try:
            message = association.receive()
        except TimeoutError:
            continue
        except ConnectionAbortedError:
            break
        finally:
            association.link.stream.settimeout(session.setup.destination.timeout_s)
        if message.fields["field"] != N_EVENT_REPORT:
            raise ProtocolViolation("expected N-EVENT-REPORT, found another message")
        respond(association, message, 0x0000)
        ours.put((association, message))
    return None if ours.empty() else Event(*ours.get(), was_ours=True)


def _elsewhere(session: Session, timeout_s: float) -> Event | None:
    if session.inbox is None:
        return None
    ends_at = time.monotonic() + timeout_s
    while True:
        if not session.inbox.faults.empty():
            raise ProtocolViolation(f"on its own association the peer went wrong: {session.inbox.faults.get()}")
        try:
            return Event(*session.inbox.events.get(timeout=0.05), was_ours=False)
        except Empty:
            if time.monotonic() > ends_at:
                return None


def _check_event(event: Event, transaction_uid: str) -> None:
    information, fields = event.information, event.fields
    if (fields.get("sop_class"), fields.get("instance")) != (STORAGE_COMMITMENT, INSTANCE):
        raise ProtocolViolation(
            "expected the push model's class and well-known instance in N-EVENT-REPORT (PS3.4 J.3.3.1)"
        )
    if str(information.get("TransactionUID", "")) != transaction_uid:
        raise ProtocolViolation("expected the Transaction UID of the request, found another (PS3.4 J.3.3.1)")
    failures = "FailedSOPSequence" in information and bool(information.FailedSOPSequence)
    if fields.get("event_type") != (2 if failures else 1):
        raise ProtocolViolation("expected event type 1 without failures, 2 with some (PS3.4 J.3.3.1)")
    for keyword in ("ReferencedSOPSequence", "FailedSOPSequence"):
        if keyword in information and not information[keyword].value:
            raise ProtocolViolation(f"expected no empty {keyword} (PS3.4 J.3.3.1)")
    if not event.was_ours:
        proposed = event.association.proposed
        if not proposed.roles.get(STORAGE_COMMITMENT, (True, False))[1]:
            raise ProtocolViolation(
                "expected the SCP's role proposed on the peer's association (PS3.4 J.3.3, PS3.7 D.3.3.4)"
            )


def _images(session: Session, count: int) -> list[Reference]:
    images = [session.samples.small() for _ in range(count)]
    with session.associated(MR) as association:
        for ds in images:
            if not is_stored(store(association, ds).status):
                raise ProtocolViolation("expected an image to be stored, found a failure")
    return [(MR_IMAGE, str(ds.SOPInstanceUID)) for ds in images]


def _unknown(session: Session, count: int = 1) -> list[Reference]:
    return [(MR_IMAGE, session.samples.uid()) for _ in range(count)]


def _judged(event: Event, committed: Sequence[Reference], refused: Sequence[Reference], reason: int = 0) -> Result:
    if sorted(event.committed) != sorted(committed):
        return failed(f"expected {len(committed)} instances committed, found {len(event.committed)}, or others")
    if sorted(event.refused) != sorted(refused):
        return failed(f"expected {len(refused)} instances refused, found {len(event.refused)}, or others")
    reasons = set(event.refused.values())
    if refused and reason and reasons != {reason}:
        return failed(
            f"expected the reason 0x{reason:04X}, found {', '.join(f'0x{one:04X}' for one in sorted(reasons))}"
        )
    where = "on our association" if event.was_ours else "on an association of the peer's"
    return passed(f"{len(committed)} committed, {len(refused)} refused, {where}")


@check("commitment.stored", "what is stored is committed", "PS3.4 J.3.2, J.3.3", Severity.CRITICAL)
def stored(session: Session) -> Result:
    images = _images(session, 3)
    return _judged(commit(session, images), images, [])


@check(
    "commitment.unknown",
    "what is not there is refused, as no such object instance",
    "PS3.4 J.3.3.1, PS3.3 C.14.1.1 (0112)",
    Severity.CRITICAL,
)
def unknown(session: Session) -> Result:
    references = _unknown(session, 2)
    return _judged(commit(session, references), [], references, NO_SUCH_INSTANCE)


@check(
    "commitment.partial",
    "of several instances those that are there are committed, the others refused",
    "PS3.4 J.3.3.1",
    Severity.CRITICAL,
)
def partial(session: Session) -> Result:
    images, others = _images(session, 2), _unknown(session)
    return _judged(commit(session, [images[0], *others, images[1]]), images, others, NO_SUCH_INSTANCE)


@check(
    "commitment.other-class",
    "an instance under another SOP class is refused, as class-instance conflict",
    "PS3.3 C.14.1.1 (0119)",
)
def other_class(session: Session) -> Result:
    ((_, uid),) = _images(session, 1)
    reference = ("1.2.840.10008.5.1.4.1.1.2", uid)
    event = commit(session, [reference])
    if not event.committed and set(event.refused.values()) == {NO_SUCH_INSTANCE}:
        return failed("refused as no such object instance")
    return _judged(event, [], [reference], CLASS_CONFLICT)


@check("commitment.again", "a second request for the same instance is answered, too", "PS3.4 J.3.2")
def again(session: Session) -> Result:
    images = _images(session, 1)
    commit(session, images)
    return _judged(commit(session, images), images, [])


@check(
    "commitment.released", "the result comes although our association has ended", "PS3.4 J.3.3 (A.5, new association)"
)
def released(session: Session) -> Result:
    if session.inbox is None:
        return not_applicable("the peer does not know where we listen (--listen)")
    images = _images(session, 1)
    return _judged(commit(session, images, stays=False), images, [])


@check(
    "commitment.many", "a result with 100 instances is whole, in PDUs within what we offer", "PS3.4 J.3.3, PS3.8 D.1"
)
def many(session: Session) -> Result:
    images, others = _images(session, 2), _unknown(session, 98)
    return _judged(commit(session, [*others, *images]), images, others, NO_SUCH_INSTANCE)


@check(
    "commitment.attributes",
    "the result holds the attributes of its table, and none that is retired",
    "PS3.4 J.3.3.1 (Table J.3-2)",
    Severity.MINOR,
)
def attributes(session: Session) -> Result:
    event = commit(session, _images(session, 1))
    found = [element.keyword for element in event.information]
    retired = [keyword for keyword in found if keyword in _RETIRED]
    if retired:
        return failed(f"retired: {', '.join(retired)}")
    others = [keyword or "a private one" for keyword in found if keyword not in _ALLOWED]
    return failed(f"not in the table: {', '.join(others)}") if others else passed(f"{len(found)} attributes")


@check(
    "commitment.malformed",
    "requests that say too little, or something else, are refused",
    "PS3.7 10.1.4.1.10, PS3.4 J.3.2",
)
def malformed(session: Session) -> Result:
    uid = session.samples.uid()
    cases: dict[str, tuple[str, int, dict[str, int | str]]] = {
        "no Transaction UID": ("", 1, {}),
        "no references": (uid, 0, {}),
        "action type 2": (uid, 1, {"action_type": 2}),
        "another SOP instance than the well-known one": (uid, 1, {"requested_instance": "1.2.840.10008.1.20.1.2"}),
    }
    statuses = []
    for name, (transaction_uid, count, changes) in cases.items():
        try:
            with session.associated([(STORAGE_COMMITMENT, UNCOMPRESSED)]) as association:
                status = request(association, transaction_uid, _unknown(session, count), **changes)
        except ConnectionAbortedError:
            status = 0xFFFF
        if status == 0:
            return failed(f"{name}: answered with success")
        statuses.append("aborted" if status == 0xFFFF else f"0x{status:04X}")
    return passed(", ".join(statuses))


@check(
    "commitment.release-collision",
    "release requests of both sides at the same time end the association of the result",
    "PS3.8 9.2.3 (AR-8, AR-9)",
    Severity.MINOR,
)
def release_collision(session: Session) -> Result:
    inbox = session.inbox
    if inbox is None:
        return not_applicable("the peer does not know where we listen (--listen)")
    images = _images(session, 1)
    inbox.collides = True
    try:
        if commit(session, images).was_ours:
            return not_applicable("the result came on our association")
        kind = inbox.collisions.get(timeout=session.setup.destination.timeout_s)
    except Empty:
        return failed("the peer did not ask for release")
    finally:
        inbox.collides = False
    if kind != wire.RELEASED:
        found = "a closed connection" if kind is None else NAMES.get(kind, f"a PDU of type {kind}")
        return failed(f"expected A-RELEASE-RP, found {found}")
    return passed("answered with A-RELEASE-RP")


@check(
    "commitment.role",
    "whether the peer is SCP of storage commitment for who asks",
    "PS3.4 J.3, PS3.7 D.3.3.4",
    Severity.MINOR,
)
def role(session: Session) -> Result:
    further = wire.role(STORAGE_COMMITMENT, scu=True, scp=False)
    with session.associated([(STORAGE_COMMITMENT, UNCOMPRESSED)], further=further) as association:
        association.context(STORAGE_COMMITMENT)
        said = association.answered.roles.get(STORAGE_COMMITMENT)
    return observed("no role was answered, so it is" if said is None else f"SCU for us: {'yes' if said[0] else 'no'}")


CHECKS = checks_of(globals())
