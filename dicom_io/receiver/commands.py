"""DIMSE command sets: what of a request matters here, and the responses.

References
----------
PS3.7 6.3.1 (encoding: Implicit VR Little Endian), 9.3 and 10.3 (messages), Annex E (command dictionary)
"""

import struct
from dataclasses import dataclass

from dicom_io.headers import is_uid
from sgmri.errors import ProtocolViolation

MAX_COMMAND_BYTES = 1 << 16
C_STORE_RQ, C_ECHO_RQ, N_EVENT_REPORT_RQ = 0x0001, 0x0030, 0x0100
_RESPONSE = 0x8000
_NO_DATA_SET = 0x0101
_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _ANSWERED_ID = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _SOP_INSTANCE, _EVENT_TYPE = 0x0800, 0x0900, 0x1000, 0x1002
_ELEMENT = struct.Struct("<HHL")
_US = struct.Struct("<H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request.

    Parameters
    ----------
    field
        Command Field (0000,0100).
    message_id
        Message ID (0000,0110).
    sop_class_uid, sop_instance_uid
        Affected SOP Class and Instance UID as they came; empty where missing.
    event_type
        Event Type ID (0000,1002) of an N-EVENT-REPORT.
    has_data_set
        Whether a data set follows.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int | None
    has_data_set: bool


def decode(encoded: bytes) -> Command:
    """Decode a request's command set.

    Raises
    ------
    ProtocolViolation
        If it cannot be parsed, or lacks Command Field, Message ID or Data Set Type.
    """
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(encoded):
        if len(encoded) - offset < _ELEMENT.size:
            raise _malformed()
        group, element, length = _ELEMENT.unpack_from(encoded, offset)
        offset += _ELEMENT.size
        if group != 0 or length > len(encoded) - offset:
            raise _malformed()
        elements[element] = encoded[offset : offset + length]
        offset += length
    field, message_id, data_set_type = (_number(elements, tag) for tag in (_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE))
    if field is None or message_id is None or data_set_type is None:
        raise _malformed()
    return Command(
        field=field,
        message_id=message_id,
        sop_class_uid=_text(elements, _SOP_CLASS),
        sop_instance_uid=_text(elements, _SOP_INSTANCE),
        event_type=_number(elements, _EVENT_TYPE),
        has_data_set=data_set_type != _NO_DATA_SET,
    )


def response(command: Command, status: int) -> bytes:
    """Encode the response to a request, without a data set."""
    elements = b""
    if is_uid(command.sop_class_uid):
        elements += _uid(_SOP_CLASS, command.sop_class_uid)
    elements += _us(_COMMAND_FIELD, command.field | _RESPONSE) + _us(_ANSWERED_ID, command.message_id)
    elements += _us(_DATA_SET_TYPE, _NO_DATA_SET) + _us(_STATUS, status)
    # a UID that is none is not sent back: the peer chose its length
    if is_uid(command.sop_instance_uid):
        elements += _uid(_SOP_INSTANCE, command.sop_instance_uid)
    if command.event_type is not None:
        elements += _us(_EVENT_TYPE, command.event_type)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(elements)) + elements


def _us(element: int, number: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + _US.pack(number)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value


def _number(elements: dict[int, bytes], element: int) -> int | None:
    value = elements.get(element, b"")
    return int(_US.unpack(value)[0]) if len(value) == _US.size else None


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def _malformed() -> ProtocolViolation:
    return ProtocolViolation(
        "expected a command set with Command Field, Message ID and Command Data Set Type (PS3.7 9.3)",
        source=0,
        reason=0,
    )
