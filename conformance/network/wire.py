"""PDUs byte by byte, well formed or not, and what an A-ASSOCIATE-RQ or -AC says.

References
----------
PS3.8 9.3 (PDU structures), D (user information), PS3.7 D.3.3 (further user information)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian

from sgmri.errors import ProtocolViolation

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE, RELEASED, ABORT = 1, 2, 3, 4, 5, 6, 7
"""PDU types."""
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The DICOM application context name (PS3.7 A.2.1)."""
MAX_PDU_BYTES = 1 << 17
"""What we offer to receive where a check does not say otherwise."""
ROLE_ITEM = 0x54
_FIXED = struct.Struct(">H2x16s16s32x")


def item(kind: int, content: bytes) -> bytes:
    """Encode an item of an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    return struct.pack(">BxH", kind, len(content)) + content


def context(number: int, abstract: str, *transfer: str) -> bytes:
    """Encode a proposed presentation context; without transfer syntaxes, with Explicit VR Little Endian."""
    syntaxes = b"".join(item(0x40, uid.encode()) for uid in transfer or (ExplicitVRLittleEndian,))
    return item(0x20, struct.pack(">BxBx", number, 0) + item(0x30, abstract.encode()) + syntaxes)


def accepted_context(number: int, result: int, transfer: str) -> bytes:
    """Encode the answer to a presentation context (PS3.8 9.3.3.2)."""
    return item(0x21, struct.pack(">BxBx", number, result) + item(0x40, transfer.encode()))


def role(sop_class_uid: str, *, scu: bool, scp: bool) -> bytes:
    """Encode a role selection sub-item (PS3.7 D.3.3.4)."""
    uid = sop_class_uid.encode()
    return item(ROLE_ITEM, struct.pack(">H", len(uid)) + uid + bytes([scu, scp]))


def user_information(max_pdu_bytes: int = MAX_PDU_BYTES, further: bytes = b"") -> bytes:
    """Encode user information: the maximum length, an implementation class UID, and further sub-items."""
    return item(0x50, item(0x51, struct.pack(">L", max_pdu_bytes)) + item(0x52, b"2.25.7") + further)


def request_body(
    contexts: bytes, *, calling: str, called: str, version: int = 1, user: bytes = b"", reserved: bytes = bytes(32)
) -> bytes:
    """Encode an A-ASSOCIATE-RQ (or -AC) without its first six bytes."""
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    application = item(0x10, APPLICATION_CONTEXT.encode())
    return struct.pack(">Hxx", version) + titles + reserved + application + contexts + (user or user_information())


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Encode a PDU, with a length that may lie."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def pdv(number: int, control: int, content: bytes, length: int | None = None) -> bytes:
    """Encode a presentation data value item, with a length that may lie."""
    return struct.pack(">LBB", len(content) + 2 if length is None else length, number, control) + content


def p_data(number: int, control: int, content: bytes) -> bytes:
    """Encode a P-DATA-TF of one item."""
    return pdu(P_DATA, pdv(number, control, content))


RELEASE_RQ = pdu(RELEASE, bytes(4))
RELEASE_RP = pdu(RELEASED, bytes(4))
ABORT_PDU = pdu(ABORT, bytes(4))


def reject(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return pdu(ASSOCIATE_RJ, bytes([0, result, source, reason]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentationContext:
    """A presentation context as it was proposed or answered.

    Parameters
    ----------
    number
        Its id.
    result
        0: accepted; 1 to 4: why not (PS3.8 9.3.3.2); 0 in a proposal.
    abstract_syntax
        Empty in an answer.
    transfer_syntaxes
        In an answer, at most one.
    """

    number: int
    result: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiation:
    """What an A-ASSOCIATE-RQ or -AC says.

    Parameters
    ----------
    version, called_ae_title, calling_ae_title
        Of its fixed part.
    application_context
        Empty where it is missing.
    contexts
        Presentation contexts in the order of the PDU.
    user
        User information sub-items: type -> contents.
    """

    version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[PresentationContext, ...]
    user: dict[int, tuple[bytes, ...]]

    @property
    def max_pdu_bytes(self) -> int:
        """The maximum length received; 0 where there is none or it is missing (PS3.8 D.1)."""
        (value, *_) = self.user.get(0x51, (b"",))
        return int(struct.unpack(">L", value)[0]) if len(value) == 4 else 0

    @property
    def roles(self) -> dict[str, tuple[bool, bool]]:
        """SOP class -> (SCU, SCP) of the role selection sub-items."""
        found = {}
        for content in self.user.get(ROLE_ITEM, ()):
            length = int.from_bytes(content[:2], "big")
            if len(content) != length + 4:
                raise ProtocolViolation("expected a role selection sub-item of UID and two roles (PS3.7 D.3.3.4)")
            found[text(content[2 : 2 + length])] = (bool(content[-2]), bool(content[-1]))
        return found


def negotiation(body: bytes) -> Negotiation:
    """Decode an A-ASSOCIATE-RQ or -AC.

    Parameters
    ----------
    body
        The PDU after its first six bytes.

    Raises
    ------
    ProtocolViolation
        If it cannot be decoded.
    """
    if len(body) < _FIXED.size:
        raise ProtocolViolation("expected an association PDU of at least 68 bytes (PS3.8 9.3.2, 9.3.3)")
    version, called, calling = _FIXED.unpack_from(body)
    application, contexts, user = "", [], dict[int, tuple[bytes, ...]]()
    for kind, content in _items(body[_FIXED.size :]):
        match kind:
            case 0x10:
                application = text(content)
            case 0x20 | 0x21:
                contexts.append(_context(content, is_answer=kind == 0x21))
            case 0x50:
                for sub, value in _items(content):
                    user[sub] = (*user.get(sub, ()), value)
            case _:
                pass  # items of unrecognized types are ignored and skipped (PS3.8 9.3.1)
    return Negotiation(
        version=version,
        called_ae_title=text(called),
        calling_ae_title=text(calling),
        application_context=application,
        contexts=tuple(contexts),
        user=user,
    )


def text(content: bytes) -> str:
    """Return a UID or AE title without its padding."""
    return content.decode("ascii", "replace").strip(" \0")


def values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Return context id, control header and content of each item of a P-DATA-TF.

    Raises
    ------
    ProtocolViolation
        If they do not fit into it.
    """
    offset = 0
    while offset < len(body):
        length = int.from_bytes(body[offset : offset + 4], "big")
        if length < 2 or offset + 4 + length > len(body):
            raise ProtocolViolation("expected presentation data values that fit into their PDU (PS3.8 9.3.5)")
        yield body[offset + 4], body[offset + 5], body[offset + 6 : offset + 4 + length]
        offset += 4 + length


def _context(content: bytes, *, is_answer: bool) -> PresentationContext:
    if len(content) < 4:
        raise ProtocolViolation("expected a presentation context of at least 4 bytes (PS3.8 9.3.3.2)")
    result = content[2] if is_answer else 0
    # The transfer syntax of a refused context is not significant: it may be anything (PS3.8 9.3.3.2)
    items = [] if result else list(_items(content[4:]))
    return PresentationContext(
        number=content[0],
        result=result,
        abstract_syntax=next((text(value) for kind, value in items if kind == 0x30), ""),
        transfer_syntaxes=tuple(text(value) for kind, value in items if kind == 0x40),
    )


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(encoded):
        length = int.from_bytes(encoded[offset + 2 : offset + 4], "big")
        if offset + 4 + length > len(encoded):
            raise ProtocolViolation("expected items that fit into their association PDU (PS3.8 9.3.2, 9.3.3)")
        yield encoded[offset], encoded[offset + 4 : offset + 4 + length]
        offset += 4 + length
