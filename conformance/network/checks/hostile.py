"""Hostile input that leaves nothing behind: what breaks the protocol must end its association, and nobody else's."""

import struct
from collections.abc import Callable

from conformance.network import wire
from conformance.network.checks.association import described
from conformance.network.checks.storage import MR, is_stored
from conformance.network.connection import Association
from conformance.network.messages import NO_DATA_SET, command, echo_rq, store_rq
from conformance.network.proposal import associate
from conformance.network.samples import encoded
from conformance.network.session import ECHO, UNCOMPRESSED, Check, Session, check, checks_of
from conformance.report import Result, Severity, failed, observed, passed
from dicom_io.services import MR_IMAGE, VERIFICATION

_STATE = "PS3.8 9.2.3 (AA-1, AA-7, AA-8)"
ALL = wire.COMMAND | wire.LAST


def _firsts(session: Session) -> dict[str, bytes]:
    """Return what must not come first on a connection."""
    return {
        "HTTP": b"GET / HTTP/1.0\r\nHost: pacs\r\n\r\n",
        "bytes without meaning": bytes(range(255, 127, -1)),
        "an unknown PDU type": wire.pdu(9, b"nothing known"),
        "P-DATA-TF": wire.p_data(1, ALL, b"data before any association"),
        "A-RELEASE-RQ": wire.RELEASE_RQ,
        "A-RELEASE-RP": wire.RELEASE_RP,
        "A-ASSOCIATE-AC": wire.pdu(wire.ASSOCIATE_AC, session.proposal().body()),
        "A-ASSOCIATE-RJ": wire.reject(1, 1, 1),
    }


def _requests(session: Session) -> dict[str, bytes]:
    """Return association requests that cannot be accepted."""
    whole = session.proposal().body()
    to = session.setup.destination

    def of(contexts: bytes) -> bytes:
        return wire.request_body(contexts, calling=to.calling_ae_title, called=to.ae_title)

    many = b"".join(wire.context(2 * (number % 128) + 1, VERIFICATION, *UNCOMPRESSED) for number in range(129))
    bodies = {
        "an empty request": b"",
        "67 bytes": whole[:67],
        "a request that ends within an item": whole[:-3],
        "an item longer than the request": of(b"\x20\0\xff\xff"),
        "129 presentation contexts": of(many),
        "two contexts with one id": of(wire.context(1, VERIFICATION) * 2),
        "an even context id": of(wire.context(2, VERIFICATION)),
        "no presentation context": of(b""),
        "a context without transfer syntax": of(wire.item(0x20, b"\1\0\0\0" + wire.item(0x30, VERIFICATION.encode()))),
    }
    return {name: wire.pdu(wire.ASSOCIATE_RQ, body) for name, body in bodies.items()}


_MUST_BE_REFUSED = ("129 presentation contexts", "two contexts with one id", "an even context id")


def _ended(session: Session, cases: dict[str, bytes], accepts: Callable[[str], bool]) -> Result:
    """Judge what comes first on a connection: it must end in time."""
    silent = []
    for name, content in cases.items():
        with session.connected() as link:
            link.send(content, name)
            try:
                answer = link.pdu()
            except TimeoutError:
                silent.append(name)
                continue
        if answer is not None and answer[0] == wire.ASSOCIATE_AC and not accepts(name):
            return failed(f"{name}: accepted")
        if answer is not None and answer[0] not in (wire.ASSOCIATE_AC, wire.ASSOCIATE_RJ, wire.ABORT):
            return failed(f"{name}: {described(answer)}")
    if silent:
        return observed(
            f"still waiting for more after {session.setup.destination.timeout_s:.0f} s: {', '.join(silent)}"
        )
    return passed(f"{len(cases)} cases: rejected, aborted or closed")


@check("hostile.first", "what is no association request ends the connection", _STATE)
def first(session: Session) -> Result:
    return _ended(session, _firsts(session), lambda name: False)


@check(
    "hostile.request",
    "an association request that breaks its rules is not accepted",
    "PS3.8 9.3.2, 9.3.2.2",
    Severity.MINOR,
)
def garbled_request(session: Session) -> Result:
    return _ended(session, _requests(session), lambda name: name not in _MUST_BE_REFUSED)


@check(
    "hostile.request-length",
    "a request that announces gigabytes is refused at its header",
    "PS3.8 9.3.2",
    Severity.MINOR,
)
def request_length(session: Session) -> Result:
    for announced in (1 << 31, (1 << 32) - 1):
        with session.connected() as link:
            link.send(wire.pdu(wire.ASSOCIATE_RQ, b"", announced), f"the header of a request of {announced} bytes")
            try:
                link.pdu()
            except TimeoutError:
                return observed(f"the peer waits for {announced} bytes")
    return passed("refused at once")


_NOT_ASKED_FOR = "a response that nobody asked for"


def _broken(session: Session) -> dict[str, bytes]:
    """Return what must end an association; its context 1 is for verification."""
    echo = echo_rq(message_id=1, data_set=NO_DATA_SET)
    good = command(**echo)
    return {
        "a value of length 0": wire.pdu(wire.P_DATA, wire.pdv(1, ALL, b"", 0)),
        "a value of length 1": wire.pdu(wire.P_DATA, wire.pdv(1, ALL, b"", 1)),
        "a value longer than its PDU": wire.pdu(wire.P_DATA, wire.pdv(1, ALL, b"abc", 500)),
        "a PDU of 3 bytes": wire.pdu(wire.P_DATA, b"\0\0\0"),
        "an unknown presentation context": wire.p_data(99, ALL, good),
        "an even presentation context": wire.p_data(2, ALL, good),
        "a second A-ASSOCIATE-RQ": wire.pdu(wire.ASSOCIATE_RQ, session.proposal().body()),
        "A-ASSOCIATE-AC": wire.pdu(wire.ASSOCIATE_AC, session.proposal().body()),
        "A-ASSOCIATE-RJ": wire.reject(1, 1, 1),
        "A-RELEASE-RP": wire.RELEASE_RP,
        "an unknown PDU type": wire.pdu(0x42, b"nothing known"),
        "a command set that cannot be parsed": wire.p_data(1, ALL, b"\0\0\2\0\xff\xff\xff\xff1.2"),
        "an empty command set": wire.p_data(1, ALL, b""),
        "no Message ID": wire.p_data(1, ALL, command(sop_class=VERIFICATION, field=0x30, data_set=NO_DATA_SET)),
        "no Command Field": wire.p_data(1, ALL, command(sop_class=VERIFICATION, message_id=1, data_set=NO_DATA_SET)),
        "an unknown Command Field": wire.p_data(1, ALL, command(**{**echo, "field": 0x7777})),
        _NOT_ASKED_FOR: wire.p_data(
            1, ALL, command(sop_class=VERIFICATION, field=0x8030, answered_id=1, data_set=NO_DATA_SET, status=0)
        ),
        "data without a command": wire.p_data(1, wire.LAST, b"nobody asked"),
    }


@check("hostile.pdu", "what breaks the protocol within an association ends it, or is refused", f"{_STATE}, PS3.7 C")
def broken(session: Session) -> Result:
    silent, wrong = [], []
    for name, content in _broken(session).items():
        with session.connected() as link:
            association = associate(link, session.proposal().body())
            link.send(content, name)
            try:
                if association.receive().status == 0:
                    wrong.append(name)
            except ConnectionAbortedError:
                continue
            except TimeoutError:
                if name != _NOT_ASKED_FOR:  # to say nothing to it is no fault
                    silent.append(name)
    if wrong:
        return failed(f"answered with success: {', '.join(wrong)}")
    return failed(f"not answered at all: {', '.join(silent)}") if silent else passed("each ended or refused")


def _store_fields(uid: str, *, data_set: int = 0) -> bytes:
    return command(**store_rq(uid, message_id=1, data_set=data_set))


@check(
    "hostile.order", "messages out of order, or without what they need, are refused or ended", "PS3.8 E.2, PS3.7 9.3.1"
)
def order(session: Session) -> Result:
    ds = session.samples.small()
    uid, content = str(ds.SOPInstanceUID), encoded(ds, UNCOMPRESSED[0])
    data = wire.p_data(1, wire.LAST, content)
    cases = {
        "C-STORE that says it has no data set": wire.p_data(1, ALL, _store_fields(uid, data_set=NO_DATA_SET)),
        "a command within a data set": wire.p_data(1, ALL, _store_fields(uid)) * 2,
        "C-STORE without SOP Instance UID": wire.p_data(
            1, ALL, command(sop_class=MR_IMAGE, field=1, message_id=1, priority=0, data_set=0)
        ) + data,
        "C-STORE without SOP Class UID": wire.p_data(
            1, ALL, command(field=1, message_id=1, priority=0, data_set=0, instance=uid)
        ) + data,
    }  # fmt: skip
    silent, wrong = [], []
    for name, message in cases.items():
        with session.connected() as link:
            association = associate(link, session.proposal([(MR_IMAGE, UNCOMPRESSED[:1])]).body())
            association.context(MR_IMAGE)
            link.send(message, name)
            try:
                if is_stored(association.receive().status):
                    wrong.append(name)
            except ConnectionAbortedError:
                continue
            except TimeoutError:
                silent.append(name)
    if wrong:
        return failed(f"answered as if it were stored: {', '.join(wrong)}")
    return failed(f"not answered at all: {', '.join(silent)}") if silent else passed("each ended or refused")


@check(
    "hostile.longer-pdu",
    "a PDU longer than the peer offers is a protocol error",
    "PS3.8 D.1, 9.2.3 (AA-8)",
    Severity.MINOR,
)
def longer_pdu(session: Session) -> Result:
    with session.connected() as link:
        association = associate(link, session.proposal(MR).body())
        limit = association.peer_max_pdu_bytes
        if not limit or limit > 1 << 22:
            return observed(
                "the peer offers to take PDUs of any length" if not limit else f"the peer offers {limit} bytes"
            )
        status = _store_at_once(session, association, limit + 4096)
    if status is None:
        return passed(f"aborted: {limit} bytes are offered")
    return failed(f"{limit} bytes are offered, and a PDU of {limit + 4096} was taken (status 0x{status:04X})")


def _store_at_once(session: Session, association: Association, at_least: int) -> int | None:
    number = association.context(MR_IMAGE)
    ds = session.samples.big(max(at_least, 1 << 14))
    data = encoded(ds, association.contexts[number][1])
    association.link.send(
        wire.p_data(number, ALL, _store_fields(str(ds.SOPInstanceUID))) + wire.p_data(number, wire.LAST, data),
        f"C-STORE with {len(data)} bytes in one PDU",
    )
    try:
        return association.receive().status
    except ConnectionAbortedError:
        return None


@check(
    "hostile.pipelined",
    "what becomes of requests that do not wait for the response before",
    "PS3.7 D.3.3.3",
    Severity.MINOR,
)
def pipelined(session: Session) -> Result:
    echo = command(sop_class=VERIFICATION, field=0x30, message_id=5, data_set=NO_DATA_SET)
    with session.associated(ECHO) as association:
        association.link.send(wire.p_data(1, ALL, echo) * 3, "three C-ECHO at once")
        answered = 0
        try:
            while answered < 3:
                association.receive()
                answered += 1
        except (ConnectionAbortedError, TimeoutError):
            return observed(f"{answered} of 3 answered")
    return observed("3 of 3 answered, in order")


@check("hostile.command-length", "a command set without end is cut off", "PS3.7 6.3.1", Severity.MINOR)
def command_length(session: Session) -> Result:
    with session.connected() as link:
        association = associate(link, session.proposal().body())
        for _ in range(1100):
            link.send(wire.p_data(1, wire.COMMAND, struct.pack("<HHL", 0, 0x902, 992) + bytes(992)))
        link.stream.settimeout(min(2.0, session.setup.destination.timeout_s))
        try:
            association.receive()
        except ConnectionAbortedError:
            return passed("aborted within 1.1 MB")
        except TimeoutError:
            return observed("1.1 MB of a command set were taken")
    return failed("a command set without end was answered")


CHECKS: tuple[Check, ...] = checks_of(globals())
