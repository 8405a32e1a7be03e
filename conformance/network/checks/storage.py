"""C-STORE: what is taken, how it may be cut, and what must be refused (PS3.4 B.2, PS3.7 9.1.1)."""

from collections.abc import Callable
from copy import deepcopy
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from conformance.network.connection import Association, Message
from conformance.network.messages import Framing, echo_rq
from conformance.network.samples import encoded
from conformance.network.session import UNCOMPRESSED, Contexts, Session, check, checks_of
from conformance.phantom_headers import with_meta
from conformance.report import Result, Severity, Table, failed, observed, passed
from dicom_io.services import IMAGE_TRANSFER_SYNTAXES, MR_IMAGE

_DUPLICATE = 0x0111
_NATIVE = tuple(str(syntax) for syntax in IMAGE_TRANSFER_SYNTAXES[:4])
_COMPRESSED: dict[str, UID] = {str(one): one for one in (RLELossless, JPEGLSLossless, JPEG2000Lossless)}
MR: Contexts = ((MR_IMAGE, UNCOMPRESSED),)


def is_stored(status: int) -> bool:
    """Tell whether a status of C-STORE says that the instance is stored: success or a warning (PS3.4 B.2.3)."""
    return status == 0 or status >> 12 == 0xB


def store(association: Association, ds: Dataset, **how: Framing) -> Message:
    """Send a data set in the first context that is accepted for it."""
    number = association.context(str(ds.SOPClassUID))
    data = encoded(ds, association.contexts[number][1])
    return association.store(
        str(ds.SOPClassUID), str(ds.SOPInstanceUID), data, number=number, framing=how.get("framing")
    )


def _judged(status: int, what: str) -> Result:
    return passed(f"{what}: 0x{status:04X}") if is_stored(status) else failed(f"{what}: status 0x{status:04X}")


@check("storage.instance", "a classic MR image is stored", "PS3.4 B.2.3, PS3.7 9.3.1.2", Severity.CRITICAL)
def instance(session: Session) -> Result:
    with session.associated(MR) as association:
        return _judged(store(association, session.samples.small()).status, "a small image")


@check("storage.kinds", "What is stored: kind of object by transfer syntax", "PS3.4 B.5, PS3.5 10", Severity.CRITICAL)
def kinds(session: Session) -> Result:
    syntaxes = (*_NATIVE, *_COMPRESSED)
    rows, refused = [], 0
    for kind, whole in session.samples.kinds.items():
        uid = str(whole.SOPClassUID)
        row = [kind]
        for syntax in syntaxes:
            ds = deepcopy(whole)
            ds.SOPInstanceUID = session.samples.uid()
            data = _in(ds, syntax, kind)
            status = None if data is None else _offered(session, uid, str(ds.SOPInstanceUID), syntax, data)
            refused += status is not None and not is_stored(status)
            row.append(("" if data is None else "-") if status is None else f"0x{status:04X}")
        rows.append(tuple(row))
    columns = ("kind (-: not accepted)", *(UID(syntax).name for syntax in syntaxes))
    table = Table(columns=columns, rows=tuple(rows))
    if refused:
        return failed(f"{refused} objects were refused in contexts that were accepted", table)
    if all(cell in ("-", "") for row in rows for cell in row[1:]):
        return failed("no kind of object was accepted", table)
    return passed("every object in every accepted context", table)


def _in(ds: Dataset, syntax: str, kind: str) -> bytes | None:
    """Encode an object in a syntax; None where it is not made: results are not compressed."""
    if syntax in _NATIVE:
        return encoded(ds, syntax)
    if kind != "MR":
        return None
    stream = BytesIO()
    with_meta(ds).save_as(stream, enforce_file_format=True)
    ds = dcmread(BytesIO(stream.getvalue()))
    ds.compress(_COMPRESSED[syntax], generate_instance_uid=False)
    return encoded(ds, str(ExplicitVRLittleEndian))


def _offered(session: Session, sop_class_uid: str, sop_instance_uid: str, syntax: str, data: bytes) -> int | None:
    try:
        with session.associated([(sop_class_uid, (syntax,)), *MR]) as association:
            if 1 not in association.contexts:
                return None
            return association.store(sop_class_uid, sop_instance_uid, data, number=1).status
    except ConnectionAbortedError:
        return 0xFFFF


@check("storage.several", "20 instances over one association are answered one by one", "PS3.7 9.1.1, PS3.4 B.2")
def several(session: Session) -> Result:
    with session.associated(MR) as association:
        statuses = [store(association, session.samples.small()).status for _ in range(20)]
    refused = [status for status in statuses if not is_stored(status)]
    return failed(f"{len(refused)} refused, the first 0x{refused[0]:04X}") if refused else passed("20 of 20 stored")


@check("storage.tiny", "an image of 1 x 1 pixel is stored", "PS3.4 B.2.3", Severity.MINOR)
def tiny(session: Session) -> Result:
    with session.associated(MR) as association:
        return _judged(store(association, session.samples.small(size=1)).status, "1 x 1 pixel")


@check("storage.big", "a big instance is stored", "PS3.4 B.2.3, PS3.8 D.1")
def big(session: Session) -> Result:
    size = session.setup.big_bytes
    with session.associated(MR) as association:
        return _judged(store(association, session.samples.big(size)).status, f"{size / (1 << 20):.0f} MiB of pixels")


FRAMINGS = {
    "2 bytes in each value, 500 in a PDU": Framing(value_bytes=2, values_per_pdu=500),
    "64 bytes in each PDU": Framing(value_bytes=64),
    "many values in each PDU": Framing(value_bytes=256, values_per_pdu=40),
    "the command set in pieces of 10 bytes": Framing(command_bytes=10),
    "the command set in pieces, many in a PDU": Framing(command_bytes=8, values_per_pdu=50),
    "command set and data set in one PDU": Framing(value_bytes=4096, values_per_pdu=3, joins=True),
    "an empty last fragment": Framing(empty_last=True),
}
"""How a message may be cut (PS3.8 E.1)."""


@check("storage.fragments", "an instance is stored however its message is cut", "PS3.8 9.3.5, E.1, E.2")
def fragments(session: Session) -> Result:
    rows = []
    for name, framing in FRAMINGS.items():
        try:
            with session.associated(MR) as association:
                status = store(association, session.samples.small(size=32), framing=framing).status
                rows.append((name, f"0x{status:04X}", is_stored(status)))
        except ConnectionAbortedError:
            rows.append((name, "aborted", False))
    table = Table(columns=("how it is cut", "answer"), rows=tuple(row[:2] for row in rows))
    wrong = [name for name, _, stored in rows if not stored]
    return failed(f"not stored: {'; '.join(wrong)}", table) if wrong else passed(f"{len(rows)} ways", table)


@check("storage.longest-pdu", "PDUs exactly as long as the peer offers are taken", "PS3.8 D.1")
def longest_pdu(session: Session) -> Result:
    with session.associated(MR) as association:
        limit = min(association.peer_max_pdu_bytes or 1 << 18, 1 << 20) // 2 * 2
        size = min(4096, max(64, int((1.5 * limit / 2) ** 0.5)))
        ds = session.samples.big(2 * size * size)
        return _judged(store(association, ds, framing=Framing(value_bytes=limit - 6)).status, f"{limit} bytes")


@check("storage.duplicate", "the same instance again is stored, or said to be there", "PS3.4 B.2.3, PS3.7 C (0x0111)")
def duplicate(session: Session) -> Result:
    ds = session.samples.small()
    with session.associated(MR) as association:
        first, second = (store(association, ds).status for _ in range(2))
    if not is_stored(first):
        return failed(f"the first time: status 0x{first:04X}")
    if is_stored(second) or second == _DUPLICATE:
        return passed(f"the second time: 0x{second:04X}")
    return failed(f"the second time: status 0x{second:04X}")


@check(
    "storage.other-bytes", "what is answered to another image under a UID that is there", "PS3.5 9.1", Severity.MINOR
)
def other_bytes(session: Session) -> Result:
    ds = session.samples.small()
    other = changed(ds)
    with session.associated(MR) as association:
        first, second = store(association, ds).status, store(association, other).status
    return observed(f"first 0x{first:04X}, then 0x{second:04X}")


def changed(ds: Dataset) -> Dataset:
    """Return an image with other pixels under the same UID."""
    other = deepcopy(ds)
    other.PixelData = bytes(byte ^ 0x0F for byte in ds.PixelData)
    return other


Damage = Callable[[Session, Association], Message]


def _refused(session: Session, damage: Damage, what: str) -> Result:
    """Judge what must be answered with a failure, or end the association."""
    try:
        with session.associated(MR) as association:
            status = damage(session, association).status
    except ConnectionAbortedError:
        return passed(f"{what}: the association was aborted")
    if is_stored(status):
        return failed(f"{what}: answered 0x{status:04X}, as if it were stored")
    return passed(f"{what}: refused with 0x{status:04X}")


@check(
    "storage.other-instance",
    "a request for one instance with the data set of another is refused",
    "PS3.4 B.2.3 (A9xx), PS3.7 9.1.1",
    Severity.CRITICAL,
)
def other_instance(session: Session) -> Result:
    def send(session: Session, association: Association) -> Message:
        ds = session.samples.small()
        return association.store(MR_IMAGE, session.samples.uid(), encoded(ds, _syntax(association)))

    return _refused(session, send, "another SOP Instance UID in the data set")


@check(
    "storage.other-class",
    "a request with the data set of another SOP class is refused",
    "PS3.4 B.2.3 (A9xx)",
    Severity.CRITICAL,
)
def other_class(session: Session) -> Result:
    def send(session: Session, association: Association) -> Message:
        ds = session.samples.small()
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        return association.store(MR_IMAGE, str(ds.SOPInstanceUID), encoded(ds, _syntax(association)))

    return _refused(session, send, "CT Image Storage in the data set of an MR request")


@check(
    "storage.context-class",
    "a request of another SOP class than its presentation context's is refused",
    "PS3.7 9.1.1, C (0x0122)",
)
def context_class(session: Session) -> Result:
    def send(session: Session, association: Association) -> Message:
        ds = session.samples.small()
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        number = association.context(MR_IMAGE)
        return association.store(
            str(ds.SOPClassUID), str(ds.SOPInstanceUID), encoded(ds, _syntax(association)), number=number
        )

    return _refused(session, send, "a CT request in an MR context")


@check(
    "storage.truncated",
    "a data set whose pixels are cut short is refused",
    "PS3.4 B.2.3 (Cxxx), PS3.5 7.1",
    Severity.CRITICAL,
)
def truncated(session: Session) -> Result:
    def send(session: Session, association: Association) -> Message:
        ds = session.samples.small()
        return association.store(MR_IMAGE, str(ds.SOPInstanceUID), encoded(ds, _syntax(association))[:-1000])

    return _refused(session, send, "pixel data 1000 bytes short")


@check(
    "storage.truncated-header",
    "a data set that ends within an element is refused",
    "PS3.4 B.2.3 (Cxxx), PS3.5 7.1",
    Severity.CRITICAL,
)
def truncated_header(session: Session) -> Result:
    def send(session: Session, association: Association) -> Message:
        ds = session.samples.small()
        return association.store(MR_IMAGE, str(ds.SOPInstanceUID), encoded(ds, _syntax(association))[:402])

    return _refused(session, send, "a data set of 402 bytes")


@check(
    "storage.unplaced",
    "an instance without its study or series is refused",
    "PS3.4 B.2.3, PS3.3 C.7.2, C.7.3",
    Severity.MINOR,
)
def unplaced(session: Session) -> Result:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):

        def send(session: Session, association: Association, keyword: str = keyword) -> Message:
            ds = session.samples.small()
            delattr(ds, keyword)
            return association.store(MR_IMAGE, str(ds.SOPInstanceUID), encoded(ds, _syntax(association)))

        result = _refused(session, send, f"no {keyword}")
        if result.outcome != "pass":
            return result
    return passed("both are refused")


def _syntax(association: Association) -> str:
    return association.contexts[association.context(MR_IMAGE)][1]


@check(
    "storage.other-message",
    "a request other than C-STORE in a storage context is refused",
    "PS3.7 C (0x0211), PS3.4 B.2",
    Severity.MINOR,
)
def other_message(session: Session) -> Result:
    with session.associated(MR) as association:
        number = association.context(MR_IMAGE)
        association.send(number, echo_rq(sop_class=MR_IMAGE, message_id=3))
        try:
            status = association.receive().status
        except ConnectionAbortedError:
            return passed("the association was ended")
    return passed(f"answered 0x{status:04X}") if status else failed("C-ECHO in a storage context: answered 0x0000")


CHECKS = checks_of(globals())
