"""How an association comes about: what is proposed, and what may be answered.

References
----------
PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3
"""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.network import wire
from conformance.network.connection import Association
from conformance.network.link import NAMES, Wire
from sgmri.errors import AssociationRejected, ProtocolViolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to propose.

    Parameters
    ----------
    contexts
        SOP class and transfer syntaxes of each presentation context; ids are 1, 3, 5 ...
    calling, called
        AE titles.
    max_pdu_bytes
        The maximum length that we offer to receive; 0: none.
    further
        Further user information sub-items, encoded.
    version, reserved
        Protocol version and the reserved 32 bytes.
    """

    contexts: Sequence[tuple[str, Sequence[str]]]
    calling: str
    called: str
    max_pdu_bytes: int = wire.MAX_PDU_BYTES
    further: bytes = b""
    version: int = 1
    reserved: bytes = bytes(32)

    def body(self) -> bytes:
        """Return the A-ASSOCIATE-RQ without its first six bytes."""
        contexts = b"".join(
            wire.context(2 * place + 1, abstract, *transfers)
            for place, (abstract, transfers) in enumerate(self.contexts)
        )
        return wire.request_body(
            contexts,
            calling=self.calling,
            called=self.called,
            version=self.version,
            user=wire.user_information(self.max_pdu_bytes, self.further),
            reserved=self.reserved,
        )


def associate(link: Wire, body: bytes) -> Association:
    """Ask for an association; hold the answer against the request.

    Parameters
    ----------
    link
        The connection.
    body
        The A-ASSOCIATE-RQ without its first six bytes.

    Raises
    ------
    AssociationRejected
        If it is rejected.
    ConnectionAbortedError
        If it is aborted, or the connection closed.
    ProtocolViolation
        If the answer breaks the standard.
    """
    link.send(wire.pdu(wire.ASSOCIATE_RQ, body))
    answer = link.pdu()
    if answer is None or answer[0] == wire.ABORT:
        raise ConnectionAbortedError("the peer ended the association in its negotiation")
    kind, content = answer
    if kind == wire.ASSOCIATE_RJ and len(content) == 4:
        raise AssociationRejected("the peer rejected the association", content[1], content[2], content[3])
    if kind != wire.ASSOCIATE_AC:
        raise ProtocolViolation(f"expected A-ASSOCIATE-AC or -RJ, found {NAMES.get(kind, f'a PDU of type {kind}')}")
    proposed, answered = wire.negotiation(body), wire.negotiation(content)
    check_answer(proposed, answered)
    return Association(link, proposed, answered, is_requestor=True)


def check_answer(proposed: wire.Negotiation, answered: wire.Negotiation) -> None:
    """Hold an A-ASSOCIATE-AC against its request (PS3.8 9.3.3, PS3.7 D.3.3).

    Raises
    ------
    ProtocolViolation
        If it says what the request does not allow.
    """
    _check_contexts(proposed, answered)
    if not answered.version & 1:
        raise ProtocolViolation("expected protocol version 1 in A-ASSOCIATE-AC (PS3.8 9.3.3)")
    if answered.application_context != wire.APPLICATION_CONTEXT:
        raise ProtocolViolation("expected the DICOM application context name in A-ASSOCIATE-AC (PS3.7 A.2.1)")
    for uid, (scu, scp) in answered.roles.items():
        asked = proposed.roles.get(uid)
        if asked is None or (scu and not asked[0]) or (scp and not asked[1]):
            raise ProtocolViolation("expected no role that was not proposed (PS3.7 D.3.3.4)")
    unasked = {0x53, 0x56, 0x59} & set(answered.user) - set(proposed.user)
    if 0x59 in answered.user and 0x58 in proposed.user:
        unasked -= {0x59}
    if unasked:
        raise ProtocolViolation(
            f"expected no user information that was not proposed, found {sorted(map(hex, unasked))}"
        )


def _check_contexts(proposed: wire.Negotiation, answered: wire.Negotiation) -> None:
    offered = {one.number: one for one in proposed.contexts}
    if sorted(one.number for one in answered.contexts) != sorted(offered):
        raise ProtocolViolation("expected one answer for each proposed presentation context (PS3.8 9.3.3.2)")
    for one in answered.contexts:
        if one.result > 4:
            raise ProtocolViolation(f"expected a result of 0 to 4 for a context, found {one.result} (PS3.8 9.3.3.2)")
        if one.result:
            continue
        if len(one.transfer_syntaxes) != 1 or one.transfer_syntaxes[0] not in offered[one.number].transfer_syntaxes:
            raise ProtocolViolation(
                "expected one of the proposed transfer syntaxes for an accepted context, found another (PS3.8 9.3.3.2)"
            )
