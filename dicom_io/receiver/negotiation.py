"""From an A-ASSOCIATE-RQ to its answer: who may call, and which presentation contexts are accepted.

What strangers send is looked at as little as possible: AE titles stand at fixed places and are compared first; then
the items are counted; only then does pynetdicom decode them.

References
----------
PS3.8 9.3.2 to 9.3.4, PS3.7 Annex D.3.3 (role selection)
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from dicom_io.headers import LIBRARY_ERRORS
from dicom_io.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.network import MAX_CONTEXTS
from dicom_io.services import Role, Use, for_use
from dicom_io.statuses import Rejection
from sgmri.errors import ProtocolViolation
from sgmri.settings import Listener, Peer

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 Annex A.2.1
_FIXED = struct.Struct(">H2x16s16s32x")
_ITEM = struct.Struct(">BxH")
_ITEM_TYPES = frozenset({0x10, 0x20, 0x50})  # application context, presentation context, user information
_CONTEXT_ITEM, _USER_ITEM = 0x20, 0x50
_USER_ITEM_TYPES = frozenset(range(0x51, 0x5A))  # PS3.7 D.3.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """An association that can be accepted.

    Parameters
    ----------
    calling_ae_title
        The peer's.
    contexts
        Accepted presentation contexts by id.
    max_pdu_bytes
        The longest PDU that the peer takes; 0: any (PS3.8 D.1).
    answer
        The A-ASSOCIATE-AC PDU.
    """

    calling_ae_title: str
    contexts: dict[int, Context]
    max_pdu_bytes: int
    answer: bytes


def supported_contexts() -> list[PresentationContext]:
    """Return the presentation contexts that the listener offers, from the table of services."""
    contexts = [
        build_context(service.sop_class_uid, list(service.transfer_syntaxes))
        for service in for_use(Use.ECHO, Use.READ, Use.SET_ASIDE, role=Role.SCP)
    ]
    # The PACS opens an association to us and acts as SCP on it (role reversal, PS3.4 J.3, PS3.7 D.3.3.4)
    for service in for_use(Use.COMMIT, role=Role.SCU):
        commitment = build_context(service.sop_class_uid, list(service.transfer_syntaxes))
        commitment.scu_role = commitment.scp_role = True
        contexts.append(commitment)
    return contexts


def admits(peers: tuple[Peer, ...], calling_ae_title: str, address: str) -> bool:
    """Tell whether a peer of this AE title may call from this address; an empty list admits nobody."""
    return any(peer.ae_title.strip() == calling_ae_title and peer.host in ("", address) for peer in peers)


def negotiate(body: bytes, settings: Listener, address: str, supported: Sequence[PresentationContext]) -> Negotiated:
    """Answer an association request.

    Parameters
    ----------
    body
        The A-ASSOCIATE-RQ PDU after its first six bytes.
    settings
        Our AE title, the peers and the largest PDU.
    address
        Where the peer calls from.
    supported
        What :func:`supported_contexts` returned.

    Raises
    ------
    AssociationRejected
        If the peer may not call, or asks for another protocol.
    ProtocolViolation
        If the request cannot be understood.
    """
    calling_ae_title = _calling(body, settings, address)
    body = body[: _FIXED.size] + _known(body[_FIXED.size :], _ITEM_TYPES)
    _check_contexts(body[_FIXED.size :])
    try:
        request = A_ASSOCIATE_RQ()
        request.decode(b"\1\0" + struct.pack(">L", len(body)) + body)
        primitive = request.to_primitive()
        roles: dict[UID, tuple[bool | None, bool | None]] = {
            item.sop_class_uid: (bool(item.scu_role), bool(item.scp_role))
            for item in primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid
        }
        if str(primitive.application_context_name) != APPLICATION_CONTEXT:
            raise Rejection.APPLICATION_CONTEXT.error("expected the DICOM application context name")
        proposed = primitive.presentation_context_definition_list
        results, role_replies = negotiate_as_acceptor(proposed, list(supported), roles)
        answer = _answer(primitive, results, role_replies, settings.max_pdu_bytes)
    except (*LIBRARY_ERRORS, Warning):  # a warning of pydicom's where warnings are errors
        raise ProtocolViolation("expected an A-ASSOCIATE-RQ whose items can be decoded (PS3.8 9.3.2)") from None
    return Negotiated(
        calling_ae_title=calling_ae_title,
        contexts={
            context.context_id: Context(
                abstract_syntax=str(context.abstract_syntax), transfer_syntax=str(context.transfer_syntax[0])
            )
            for context in results
            if context.result == 0 and context.context_id is not None
        },
        max_pdu_bytes=next(
            (
                item.maximum_length_received
                for item in primitive.user_information
                if isinstance(item, MaximumLengthNotification)
            ),
            0,
        ),
        answer=answer,
    )


def _calling(body: bytes, settings: Listener, address: str) -> str:
    if len(body) < _FIXED.size:
        raise ProtocolViolation("expected an A-ASSOCIATE-RQ of at least 68 bytes")
    version, called, calling = _FIXED.unpack_from(body)
    called_ae_title, calling_ae_title = _title(called), _title(calling)
    if not version & 1:
        raise Rejection.PROTOCOL_VERSION.error("expected protocol version 1")
    if called_ae_title != settings.ae_title.strip():
        raise Rejection.CALLED_AE_TITLE.error("the called AE title is not ours")
    if not admits(settings.peers, calling_ae_title, address):
        raise Rejection.CALLING_AE_TITLE.error("the calling AE title or its address is not configured")
    return calling_ae_title


def calling_ae_title(body: bytes) -> str:
    """Return who an A-ASSOCIATE-RQ (after its first six bytes) says that it comes from; empty where it is cut off."""
    return _title(_FIXED.unpack_from(body)[2]) if len(body) >= _FIXED.size else ""


def _title(encoded: bytes) -> str:
    return encoded.decode("ascii", "replace").strip(" \0")


def _known(items: bytes, types: frozenset[int]) -> bytes:
    """Leave out items of unrecognized types, which are to be ignored and skipped (PS3.8 9.3.1, D.2)."""
    known = []
    for kind, content in _items(items):
        if kind in types:
            kept = _known(content, _USER_ITEM_TYPES) if kind == _USER_ITEM else content
            known += [_ITEM.pack(kind, len(kept)), kept]
    return b"".join(known)


def _check_contexts(items: bytes) -> None:
    """Refuse what would be laborious or ambiguous to decode."""
    ids = [content[0] for kind, content in _items(items) if kind == _CONTEXT_ITEM and content]
    if not 0 < len(ids) <= MAX_CONTEXTS or len(set(ids)) != len(ids) or not all(number % 2 for number in ids):
        raise ProtocolViolation("expected 1 to 128 presentation contexts with different odd ids (PS3.8 9.3.2.2)")


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(encoded):
        if len(encoded) - offset < _ITEM.size:
            raise ProtocolViolation("expected a whole item in A-ASSOCIATE-RQ")
        kind, length = _ITEM.unpack_from(encoded, offset)
        offset += _ITEM.size
        if length > len(encoded) - offset:
            raise ProtocolViolation("expected an item that fits into A-ASSOCIATE-RQ", reason=4)
        yield kind, encoded[offset : offset + length]
        offset += length


def _answer(request: A_ASSOCIATE, results: list[Any], role_replies: list[Any], max_pdu_bytes: int) -> bytes:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    accept = A_ASSOCIATE()
    accept.application_context_name = UID(APPLICATION_CONTEXT)
    accept.calling_ae_title = request.calling_ae_title
    accept.called_ae_title = request.called_ae_title
    accept.result = 0
    accept.result_source = 1
    accept.presentation_context_definition_results_list = results
    accept.user_information = [length, implementation, version, *role_replies]
    encoded: bytes = A_ASSOCIATE_AC(accept).encode()
    return encoded
