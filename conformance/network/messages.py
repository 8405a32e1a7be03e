"""DIMSE messages: command sets encoded and decoded strictly, and cut into presentation data values in any way.

References
----------
PS3.7 6.3.1 (encoding), 9.3 and 10.3 (messages), E.1 (command dictionary), PS3.8 E (fragments)
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conformance.network import wire
from dicom_io.services import MR_IMAGE, VERIFICATION
from sgmri.errors import ProtocolViolation

NO_DATA_SET = 0x0101
C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO, N_EVENT_REPORT, N_ACTION, C_CANCEL = (
    1,
    0x10,
    0x20,
    0x21,
    0x30,
    0x100,
    0x130,
    0xFFF,
)
"""Command Field of the requests (PS3.7 E.1)."""
RESPONSE = 0x8000

_TAGS: Mapping[str, int] = {
    "sop_class": 0x0002,
    "requested_class": 0x0003,
    "field": 0x0100,
    "message_id": 0x0110,
    "answered_id": 0x0120,
    "destination": 0x0600,
    "priority": 0x0700,
    "data_set": 0x0800,
    "status": 0x0900,
    "instance": 0x1000,
    "requested_instance": 0x1001,
    "event_type": 0x1002,
    "action_type": 0x1008,
    "remaining": 0x1020,
    "completed": 0x1021,
    "failed": 0x1022,
    "warning": 0x1023,
    "originator": 0x1030,
    "originator_id": 0x1031,
}
_NAMES = {tag: name for name, tag in _TAGS.items()}
_TEXTS = frozenset({"sop_class", "requested_class", "destination", "instance", "requested_instance", "originator"})
_ELEMENT = struct.Struct("<HHL")

Fields = Mapping[str, int | str]
"""Elements of a command set, by the names above."""


def command(**elements: int | str) -> bytes:
    """Encode a command set, in the order of its tags."""
    encoded = b""
    for name in sorted(elements, key=_TAGS.__getitem__):
        value = elements[name]
        content = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        # an AE title is padded with a space, a UID with NUL (PS3.5 6.2)
        content += (b" " if name in ("destination", "originator") else b"\0") * (len(content) % 2)
        encoded += _ELEMENT.pack(0, _TAGS[name], len(content)) + content
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(encoded)) + encoded


def echo_rq(**changes: int | str) -> dict[str, int | str]:
    """Return the fields of a C-ECHO-RQ, without its Message ID."""
    return {"sop_class": VERIFICATION, "field": C_ECHO, **changes}


def store_rq(sop_instance_uid: str, sop_class_uid: str = MR_IMAGE, **changes: int | str) -> dict[str, int | str]:
    """Return the fields of a C-STORE-RQ, without its Message ID."""
    return {"sop_class": sop_class_uid, "field": C_STORE, "priority": 0, "instance": sop_instance_uid, **changes}


def query_rq(field: int, sop_class_uid: str, **changes: int | str) -> dict[str, int | str]:
    """Return the fields of a C-FIND-RQ, C-GET-RQ or C-MOVE-RQ, without its Message ID."""
    return {"sop_class": sop_class_uid, "field": field, "priority": 0, **changes}


def decode(encoded: bytes) -> dict[str, int | str]:
    """Decode a command set, holding it against PS3.7 6.3.1.

    Raises
    ------
    ProtocolViolation
        If it is no sequence of elements of group 0000 in ascending order, or its group length is wrong.
    """
    found: dict[str, int | str] = {}
    offset, before = 0, -1
    while offset < len(encoded):
        group, element, length = _ELEMENT.unpack_from(encoded.ljust(offset + _ELEMENT.size, b"\xff"), offset)
        offset += _ELEMENT.size
        if group or element <= before or length % 2 or offset + length > len(encoded):
            raise ProtocolViolation("expected command elements of even length in ascending order (PS3.7 6.3.1)")
        value, before = encoded[offset : offset + length], element
        offset += length
        if element == 0 and int.from_bytes(value, "little") != len(encoded) - offset:
            raise ProtocolViolation("expected Command Group Length to count what follows it (PS3.7 9.3)")
        name = _NAMES.get(element)
        if name in _TEXTS:
            found[name] = wire.text(value)
        elif name is not None:
            if length != 2:
                raise ProtocolViolation(f"expected two bytes in command element (0000,{element:04X}) (PS3.7 E.1)")
            found[name] = int.from_bytes(value, "little")
    if not encoded.startswith(_ELEMENT.pack(0, 0, 4)):
        raise ProtocolViolation("expected a command set that begins with its group length (PS3.7 9.3)")
    for name in ("field", "data_set"):
        if name not in found:
            raise ProtocolViolation(f"expected command element (0000,{_TAGS[name]:04X}), found none (PS3.7 9.3)")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a message is cut into presentation data values and PDUs.

    Parameters
    ----------
    value_bytes
        Content of each data set fragment, at most.
    values_per_pdu
        Presentation data values in each PDU.
    command_bytes
        Content of each fragment of the command set; 0: it is not cut.
    joins
        Whether command set and data set may share a PDU.
    empty_last
        Whether the last fragment of the data set is an empty one.
    """

    value_bytes: int = 32_000
    values_per_pdu: int = 1
    command_bytes: int = 0
    joins: bool = False
    empty_last: bool = False

    def pdus(self, number: int, encoded_command: bytes, data: bytes | None) -> Iterator[bytes]:
        """Cut a message for a presentation context."""
        groups = [list(_cut(number, wire.COMMAND, encoded_command, self.command_bytes or len(encoded_command)))]
        if data is not None:
            pieces = list(_cut(number, 0, data, self.value_bytes, empty_last=self.empty_last))
            if self.joins:
                groups[0] += pieces
            else:
                groups.append(pieces)
        for group in groups:
            for place in range(0, len(group), self.values_per_pdu):
                yield wire.pdu(wire.P_DATA, b"".join(group[place : place + self.values_per_pdu]))


def _cut(number: int, control: int, content: bytes, size: int, *, empty_last: bool = False) -> Iterator[bytes]:
    ends = [*range(size, len(content), size), len(content)]
    if empty_last:
        ends.append(len(content))
    start = 0
    for place, end in enumerate(ends, start=1):
        yield wire.pdv(number, control | (wire.LAST if place == len(ends) else 0), content[start:end])
        start = end
