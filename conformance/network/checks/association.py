"""Who may open an association, in which words, and what the answer says (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3)."""

import struct
from collections.abc import Callable

from conformance.network import wire
from conformance.network.proposal import check_answer
from conformance.network.session import ECHO, Session, check, checks_of
from conformance.report import Result, Severity, failed, observed, passed
from dicom_io.headers import is_uid
from dicom_io.services import MR_IMAGE, STORAGE_COMMITMENT, VERIFICATION
from sgmri.errors import ProtocolViolation

_REASONS = {(1, 1, 2): "application context name not supported", (1, 1, 3): "calling AE title not recognized",
            (1, 1, 7): "called AE title not recognized", (1, 2, 2): "protocol version not supported",
            (2, 3, 1): "temporary congestion", (2, 3, 2): "local limit exceeded"}  # fmt: skip


def described(answer: tuple[int, bytes] | None) -> str:
    """Say what answers an association request."""
    if answer is None:
        return "a closed connection"
    kind, body = answer
    if kind == wire.ASSOCIATE_AC:
        return "accepted"
    if kind == wire.ASSOCIATE_RJ and len(body) == 4:
        result, source, reason = body[1:]
        return f"rejected {result}/{source}/{reason} ({_REASONS.get((result, source, reason), 'another reason')})"
    return "aborted" if kind == wire.ABORT else f"a PDU of type {kind}"


def _rejected(answer: tuple[int, bytes] | None, wanted: tuple[int, int, int], what: str) -> Result:
    """Judge the answer to what must be rejected."""
    if answer == (wire.ASSOCIATE_RJ, bytes([0, *wanted])):
        return passed(described(answer))
    if answer is not None and answer[0] == wire.ASSOCIATE_AC:
        return failed(f"{what} was accepted")
    return failed(f"{what}: expected {described((wire.ASSOCIATE_RJ, bytes([0, *wanted])))}, found {described(answer)}")


def _accepted(session: Session, body: bytes, what: str) -> Result:
    """Judge the answer to what must be accepted, and that it can be used."""
    answer = session.answer(body)
    if answer is None or answer[0] != wire.ASSOCIATE_AC:
        return failed(f"{what}: {described(answer)}")
    check_answer(wire.negotiation(body), wire.negotiation(answer[1]))
    return passed(f"{what}: accepted")


@check(
    "association.called-ae", "a called AE title that is not the peer's is rejected", "PS3.8 9.3.4", Severity.CRITICAL
)
def called_ae(session: Session) -> Result:
    return _rejected(
        session.answer(session.proposal(called="NOT-THIS-ONE").body()), (1, 1, 7), "another called AE title"
    )


@check("association.called-ae-near", "an AE title that only resembles the peer's is rejected", "PS3.5 6.2, PS3.8 9.3.4")
def called_ae_near(session: Session) -> Result:
    title = session.setup.destination.ae_title
    near = {title + "X" if len(title) < 16 else title[:-1] + "%", title[:-1] or "%"}
    answers = [session.answer(session.proposal(called=one).body()) for one in sorted(near)]
    if any(answer is not None and answer[0] == wire.ASSOCIATE_AC for answer in answers):
        return failed("one letter more or less was accepted")
    return passed(f"one letter more or less: {described(answers[0])}")


@check(
    "association.calling-ae",
    "a calling AE title that the peer does not know is rejected",
    "PS3.8 9.3.4",
    Severity.CRITICAL,
)
def calling_ae(session: Session) -> Result:
    answer = session.answer(session.proposal(calling="NOBODY-KNOWS-ME").body())
    return _rejected(answer, (1, 1, 3), "an unknown calling AE title")


@check("association.ae-case", "whether upper and lower case differ in AE titles", "PS3.5 6.2 (AE)", Severity.MINOR)
def ae_case(session: Session) -> Result:
    title = session.setup.destination.ae_title
    return observed(f"the called AE title in other case: {described(session.answer(_cased(session, title)))}")


def _cased(session: Session, title: str) -> bytes:
    return session.proposal(called=title.swapcase()).body()


@check("association.ae-spaces", "spaces around an AE title mean nothing", "PS3.8 9.3.2 (Table 9-11)", Severity.MINOR)
def ae_spaces(session: Session) -> Result:
    to = session.setup.destination
    called, calling = (f" {one}" if len(one) < 16 else one for one in (to.ae_title, to.calling_ae_title))
    return _accepted(session, session.proposal(called=called, calling=calling).body(), "a leading space")


@check("association.application-context", "another application context name is rejected", "PS3.8 9.3.4, PS3.7 A.2.1")
def application_context(session: Session) -> Result:
    body = session.proposal().body().replace(wire.APPLICATION_CONTEXT.encode(), b"1.2.840.10008.3.1.1.9")
    return _rejected(session.answer(body), (1, 1, 2), "another application context name")


@check(
    "association.protocol-version",
    "a request without protocol version 1 is rejected",
    "PS3.8 9.3.2, 9.3.4",
    Severity.MINOR,
)
def protocol_version(session: Session) -> Result:
    return _rejected(session.answer(session.proposal(version=2).body()), (1, 2, 2), "protocol version 2 alone")


@check(
    "association.later-version",
    "a request with version 1 among others is accepted",
    "PS3.8 9.3.2 (Table 9-11)",
    Severity.MINOR,
)
def later_version(session: Session) -> Result:
    return _accepted(session, session.proposal(version=3).body(), "versions 1 and 2")


@check("association.reserved", "reserved fields are not looked at", "PS3.8 9.3.2 (Table 9-11)", Severity.MINOR)
def reserved(session: Session) -> Result:
    return _accepted(session, session.proposal(reserved=b"\xa5" * 32).body(), "reserved bytes other than zero")


@check(
    "association.unknown-item",
    "items of unrecognized types are ignored and skipped",
    "PS3.8 9.3.1, D.2",
    Severity.MINOR,
)
def unknown_item(session: Session) -> Result:
    inner = session.proposal(further=wire.item(0x7E, b"later edition")).body()
    outer = session.proposal().body() + wire.item(0x7D, b"later edition")
    for body, where in ((inner, "in user information"), (outer, "beside user information")):
        result = _accepted(session, body, f"an unknown item {where}")
        if result.outcome != "pass":
            return result
    return passed("accepted within user information and beside it")


@check("association.answer", "A-ASSOCIATE-AC has all that it must have", "PS3.8 9.3.3, PS3.7 D.3.3.2")
def answer_is_whole(session: Session) -> Result:
    with session.associated() as association:
        said = association.answered
    lengths, implementations, names = (said.user.get(kind, ()) for kind in (0x51, 0x52, 0x55))
    if len(lengths) != 1 or len(lengths[0]) != 4:
        return failed("expected one maximum length sub-item, found none or several")
    if len(implementations) != 1 or not is_uid(wire.text(implementations[0])):
        return failed("expected one implementation class UID, found none, several or no UID")
    if len(names) > 1 or any(not 1 <= len(name) <= 16 for name in names):
        return failed("expected an implementation version name of 1 to 16 characters")
    limit = said.max_pdu_bytes or "unlimited"
    return passed(f"largest PDU {limit}, implementation class {wire.text(implementations[0])}")


@check(
    "association.titles",
    "A-ASSOCIATE-AC returns the AE titles of the request",
    "PS3.8 9.3.3 (Table 9-17)",
    Severity.MINOR,
)
def titles(session: Session) -> Result:
    to = session.setup.destination
    with session.associated() as association:
        said = association.answered
    if (said.called_ae_title, said.calling_ae_title) != (to.ae_title, to.calling_ae_title):
        return failed("other AE titles came back")
    return passed("they came back")


@check("association.role-selection", "no role is answered that was not proposed", "PS3.7 D.3.3.4")
def role_selection(session: Session) -> Result:
    found = []
    for uid, name in (
        (MR_IMAGE, "MR Image Storage"),
        (STORAGE_COMMITMENT, "Storage Commitment"),
        (VERIFICATION, "Verification"),
    ):
        for scu, scp in ((True, False), (False, True), (True, True)):
            contexts = [*ECHO, *([] if uid == VERIFICATION else [(uid, ECHO[0][1])])]
            with session.associated(contexts, further=wire.role(uid, scu=scu, scp=scp)) as association:
                found.append((name, scu, scp, association.answered.roles.get(uid)))
    answered = sum(reply is not None for *_, reply in found)
    return passed(f"{answered} of {len(found)} proposals were answered, all within what was proposed")


def _identity(kind: int, *, asks: bool) -> bytes:
    first, second = b"nobody", b"secret" if kind == 2 else b""
    return wire.item(
        0x58, bytes([kind, asks]) + struct.pack(">H", len(first)) + first + struct.pack(">H", len(second)) + second
    )


@check(
    "association.user-identity",
    "user identity is answered only if an answer was asked for",
    "PS3.7 D.3.3.7",
    Severity.MINOR,
)
def user_identity(session: Session) -> Result:
    said = []
    for kind, name in ((1, "user name"), (2, "passcode"), (3, "Kerberos"), (4, "SAML"), (5, "JSON Web Token")):
        for asks in (False, True):
            body = session.proposal(further=_identity(kind, asks=asks)).body()
            answer = session.answer(body)
            if answer is not None and answer[0] == wire.ASSOCIATE_AC:
                reply = wire.negotiation(answer[1])
                check_answer(wire.negotiation(body), reply)
                if 0x59 in reply.user and not asks:
                    return failed(f"{name}: a server response that was not asked for")
                said.append("accepted")
            elif answer is None or answer[0] != wire.ASSOCIATE_RJ:
                return failed(f"{name}: expected the association accepted or rejected, found {described(answer)}")
            else:
                said.append("rejected")
    return passed(f"{said.count('accepted')} of {len(said)} accepted, the others rejected")


def _asynchronous(session: Session) -> bytes:
    return session.proposal(further=wire.item(0x53, struct.pack(">HH", 5, 5))).body()


def _extended(session: Session) -> bytes:
    uid = MR_IMAGE.encode()
    return session.proposal(further=wire.item(0x56, struct.pack(">H", len(uid)) + uid + b"\2\0\3\0\0\0")).body()


def _common_extended(session: Session) -> bytes:
    uids = [one.encode() for one in (MR_IMAGE, "1.2.840.10008.4.2")]
    content = b"".join(struct.pack(">H", len(one)) + one for one in uids) + bytes(2)
    return session.proposal(further=wire.item(0x57, content)).body()


_FURTHER: dict[str, Callable[[Session], bytes]] = {
    "asynchronous operations window": _asynchronous,
    "extended negotiation": _extended,
    "common extended negotiation": _common_extended,
}


@check(
    "association.extended",
    "extended negotiation is answered within what was proposed, or ignored",
    "PS3.7 D.3.3.3, .5, .6",
    Severity.MINOR,
)
def extended(session: Session) -> Result:
    for name, make in _FURTHER.items():
        body = make(session)
        result = _accepted(session, body, name)
        if result.outcome != "pass":
            return result
    answer = session.answer(_asynchronous(session))
    window = wire.negotiation(answer[1]).user.get(0x53, (struct.pack(">HH", 1, 1),)) if answer else ()
    for one in window:
        if len(one) != 4 or not all(0 < number <= 5 for number in struct.unpack(">HH", one)):
            raise ProtocolViolation("expected a window within the proposed one (PS3.7 D.3.3.3)")
    return passed("windows, extended and common extended negotiation were accepted or ignored")


CHECKS = checks_of(globals())
