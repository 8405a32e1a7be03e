"""Hostile input that may fill, slow down or break a peer: only for systems of one's own."""

import random
import struct
import time
import zlib
from contextlib import ExitStack, suppress

from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from conformance.network import wire
from conformance.network.checks.hostile import ALL
from conformance.network.checks.storage import MR, is_stored
from conformance.network.messages import Framing, command, store_rq
from conformance.network.proposal import associate
from conformance.network.samples import encoded
from conformance.network.session import UNCOMPRESSED, Session, check, checks_of
from conformance.report import Result, Severity, failed, observed, passed
from dicom_io.objects.sources import leniently
from dicom_io.services import MR_IMAGE
from sgmri.errors import AssociationRejected, ProtocolViolation

_EXPLICIT = ((MR_IMAGE, UNCOMPRESSED[:1]),)
_BOMB_MIB = 256
_ENDLESS_BYTES = 1 << 26
_STRANGERS = 200
_SEEDS = 200


def _status(session: Session, data: bytes, uid: str, syntax: str = UNCOMPRESSED[0]) -> int | None:
    """Send a data set; return the status, None where the association was ended."""
    try:
        with session.associated([(MR_IMAGE, (syntax,))]) as association:
            return association.store(MR_IMAGE, uid, data).status
    except ConnectionAbortedError:
        return None


def _said(status: int | None) -> str:
    return "ended" if status is None else f"0x{status:04X}"


@check(
    "destructive.paths",
    "a UID that is a path, has letters, NUL or 65 characters is refused",
    "PS3.5 9.1, PS3.4 B.2.3",
    Severity.CRITICAL,
)
def paths(session: Session) -> Result:
    taken = []
    for name, uid in {"a path": "../../../sgmri-evil", "letters": "1.2.abc", "66 characters": "1." + "2" * 64}.items():
        ds = session.samples.small()
        with leniently():
            ds.SOPInstanceUID = uid
            data = encoded(ds, UNCOMPRESSED[0])
        status = _status(session, data, uid)
        if status is not None and is_stored(status):
            taken.append(name)
    return failed(f"stored: {', '.join(taken)}") if taken else passed("refused")


@check("destructive.strangers", "200 silent connections keep nobody out", "PS3.8 9.1.4", Severity.CRITICAL)
def strangers(session: Session) -> Result:
    with ExitStack() as held:
        for _ in range(_STRANGERS):
            with suppress(OSError):
                held.enter_context(session.connected(plain=True))
        alive = session.is_alive()
    return passed("C-ECHO is answered meanwhile") if alive else failed("C-ECHO is not answered meanwhile")


@check("destructive.drip", "a peer that sends a byte at a time is cut off", "PS3.8 9.1.4, 9.2.3", Severity.MINOR)
def drip(session: Session) -> Result:
    ends_at = time.monotonic() + session.setup.patience_s
    with session.connected() as link:
        request = wire.pdu(wire.ASSOCIATE_RQ, session.proposal().body())
        link.stream.settimeout(0.25)
        for place in range(len(request) - 1):
            link.send(request[place : place + 1])
            try:
                link.pdu()
            except TimeoutError:
                if time.monotonic() < ends_at:
                    continue
                return observed(f"still listening after {session.setup.patience_s:.0f} s")
            return passed(f"cut off after {place + 1} bytes")
    return observed("the request was dripped to its end")


@check("destructive.pdu-length", "a PDU of 4 GiB is ended at its header", "PS3.8 D.1, 9.2.3 (AA-8)")
def pdu_length(session: Session) -> Result:
    with session.connected() as link:
        associate(link, session.proposal().body())
        link.send(wire.pdu(wire.P_DATA, bytes(1 << 20), 0xFFFFFFFF), "a PDU of 4 GiB, 1 MiB of it")
        try:
            answer = link.pdu()
        except TimeoutError:
            return failed("the peer waits for 4 GiB")
    return passed("ended") if answer is None or answer[0] == wire.ABORT else failed(f"a PDU of type {answer[0]} came")


@check("destructive.endless", "what becomes of a data set without end", "PS3.4 B.2.3 (A7xx)", Severity.MINOR)
def endless(session: Session) -> Result:
    ds = session.samples.small()
    head = encoded(ds, UNCOMPRESSED[0])[: -len(ds.PixelData) - 12]
    head += struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 0xFFFFFFF0)
    with session.connected() as link:
        association = associate(link, session.proposal(_EXPLICIT).body())
        number = association.context(MR_IMAGE)
        request = command(**store_rq(str(ds.SOPInstanceUID), message_id=1, data_set=0))
        link.send(wire.p_data(number, ALL, request) + wire.p_data(number, 0, head))
        size = min(association.peer_max_pdu_bytes or 1 << 16, 1 << 16) - 6
        sent = 0
        while sent < _ENDLESS_BYTES:
            link.send(wire.p_data(number, 0, bytes(size)))
            sent += size
        link.stream.settimeout(min(2.0, session.setup.destination.timeout_s))
        try:
            association.receive()
        except TimeoutError:
            return observed(f"{sent >> 20} MiB were taken")
        except ConnectionAbortedError:
            return observed(f"ended within {sent >> 20} MiB")
    return observed("answered before its end")


@check("destructive.nested", "20,000 nested sequences are survived", "PS3.5 7.5", Severity.CRITICAL)
def nested(session: Session) -> Result:
    ds = session.samples.small()
    data = encoded(ds, UNCOMPRESSED[0])
    place = data.index(b"\x20\x00\x0d\x00UI")
    opened = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * 20_000
    return observed(
        f"answered: {_said(_status(session, data[:place] + opened + closed + data[place:], ds.SOPInstanceUID))}"
    )


@check("destructive.deflate", "256 MiB of zeros in 256 KB are survived", "PS3.5 A.5", Severity.CRITICAL)
def deflate(session: Session) -> Result:
    ds = session.samples.small()
    head = encoded(ds, UNCOMPRESSED[0])[: -len(ds.PixelData) - 12]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = squeeze.compress(head + struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", _BOMB_MIB << 20))
    bomb += b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(_BOMB_MIB)) + squeeze.flush()
    bomb += b"\0" * (len(bomb) % 2)
    status = _status(session, bomb, ds.SOPInstanceUID, str(DeflatedExplicitVRLittleEndian))
    return observed(f"answered: {_said(status)}")


_ODD = {
    "an unknown VR": b"\x20\x00\x99\x40ZZ\x02\x00ab",
    "text in a DS": b"\x20\x00\x99\x40DS\x04\x00abc ",
    "a US of 3 bytes": b"\x20\x00\x99\x40US\x03\x00abc",
}


@check("destructive.values", "what becomes of values that their VR does not allow", "PS3.5 6.2", Severity.MINOR)
def odd_values(session: Session) -> Result:
    said = []
    for name, odd in _ODD.items():
        ds = session.samples.small()
        data = encoded(ds, UNCOMPRESSED[0])
        place = data.index(b"\x28\x00\x02\x00US")
        said.append(f"{name}: {_said(_status(session, data[:place] + odd + data[place:], ds.SOPInstanceUID))}")
    return observed("; ".join(said))


@check(
    "destructive.frames",
    "an image of 65,535 x 65,535 pixels that is not there is survived",
    "PS3.3 C.7.6.3",
    Severity.CRITICAL,
)
def frames(session: Session) -> Result:
    ds: Dataset = session.samples.small()
    ds.Rows = ds.Columns = 65_535
    return observed(f"answered: {_said(_status(session, encoded(ds, UNCOMPRESSED[0]), ds.SOPInstanceUID))}")


@check("destructive.random", "damaged messages are survived", "PS3.8 9.2.3", Severity.CRITICAL)
def damaged(session: Session) -> Result:
    luck = random.Random(session.samples.seed)  # noqa: S311 - reproducible, not secret
    ds = session.samples.small(size=16)
    request = command(**store_rq(str(ds.SOPInstanceUID), message_id=1, data_set=0))
    whole = b"".join(Framing().pdus(1, request, encoded(ds, UNCOMPRESSED[0])))
    for _ in range(_SEEDS):
        content = bytearray(whole)
        for _ in range(luck.randrange(1, 5)):
            content[luck.randrange(min(len(content), 400))] = luck.randrange(256)
        with suppress(AssociationRejected, ProtocolViolation, OSError), session.connected() as link:
            associate(link, session.proposal(MR).body())
            link.send(bytes(content) + wire.ABORT_PDU, "a damaged C-STORE, then A-ABORT")
            link.stream.settimeout(0.2)
            link.pdu()
    return passed(f"{_SEEDS} of them")


CHECKS = checks_of(globals())
