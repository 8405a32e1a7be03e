"""Every status and rejection that the listener answers, and what a delivery makes of the statuses that it gets.

The receivers answer with the members of these tables and with nothing else, deliveries judge responses by
:data:`STORE_RESPONSES`, :data:`FAILURE_REASONS` and :data:`HTTP_RESPONSES`, and the conformance statement prints them:
what a row says is what happens.

References
----------
PS3.4 B.2.3 (C-STORE), PS3.4 J.3.3 (N-EVENT-REPORT), PS3.7 Annex C (general statuses), PS3.8 9.3.4 (rejection),
PS3.18 10.5.3 (Store response), I.2 (Failure Reason)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Final, Self

from sgmri.errors import AssociationRejected
from sgmri.settings import RECEIVERS


class _Status(IntEnum):
    """A DIMSE status with its meaning in the standard and when it is answered."""

    meaning: str
    when: str

    def __new__(cls, code: int, meaning: str, when: str) -> Self:
        """Make a member that is its code."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning, member.when = meaning, when
        return member


class EchoStatus(_Status):
    """What the listener answers to C-ECHO."""

    SUCCESS = 0x0000, "Success", "always"


class StoreStatus(_Status):
    """What the listener answers to C-STORE."""

    SUCCESS = 0x0000, "Success", "the instance is as safe on disk as listener.durability says"
    PROCESSING_FAILURE = (
        0x0110,
        "Processing failure",
        "the instance is on disk but could not be journalled; it may be sent again",
    )
    NO_CONTEXT = (
        0x0122,
        "SOP class not supported",
        "the Affected SOP Class UID is not the abstract syntax of the presentation context",
    )
    OUT_OF_RESOURCES = (
        0xA700,
        "Out of resources",
        "less disk is free than listener.min_free_bytes, the disk cannot be written, or the instance is larger than "
        "listener.max_instance_bytes",
    )
    DOES_NOT_MATCH = (
        0xA900,
        "Data set does not match SOP class",
        "SOP Class or Instance UID of the data set are not those of the request, or are no UIDs",
    )
    CANNOT_UNDERSTAND = (
        0xC000,
        "Cannot understand",
        "the data set cannot be parsed or lacks Study or Series Instance UID; it is kept in the quarantine",
    )


class EventStatus(_Status):
    """What the listener answers to the N-EVENT-REPORT of storage commitment."""

    SUCCESS = 0x0000, "Success", "the result is taken, also where its transaction is not known"
    PROCESSING_FAILURE = (
        0x0110,
        "Processing failure",
        "the report is no result of storage commitment, or could not be journalled",
    )


class Rejection(Enum):
    """Why an association is rejected: result, source and reason of A-ASSOCIATE-RJ, and which receivers say it."""

    APPLICATION_CONTEXT = (1, 1, 2), "the application context name is not DICOM's", ("own",)
    PROTOCOL_VERSION = (1, 2, 2), "the protocol version is not 1"
    CALLED_AE_TITLE = (1, 1, 7), "the called AE title is not listener.ae_title"
    CALLING_AE_TITLE = (
        (1, 1, 3),
        "no peer of listener.peers has the calling AE title, or it calls from another address or with another "
        "certificate than configured",
    )
    CONGESTION = (
        (2, 3, 1),
        "less disk is free than listener.min_free_bytes; associations for Verification and Storage Commitment alone "
        "are accepted all the same",
    )
    LOCAL_LIMIT = (2, 3, 2), "there are too many associations"

    def __init__(self, fields: tuple[int, int, int], when: str, receivers: tuple[str, ...] = RECEIVERS) -> None:
        self.fields = fields
        self.when = when
        self.receivers = receivers

    def error(self, message: str) -> AssociationRejected:
        """Return the error that rejects the association for this reason."""
        return AssociationRejected(message, *self.fields)


class Outcome(StrEnum):
    """What becomes of an object after the response to its C-STORE."""

    STORED = "stored"
    TRY_AGAIN = "sent again later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRule:
    """What a delivery makes of a range of statuses, both ends included."""

    first: int
    last: int
    meaning: str
    outcome: Outcome


def _rule(first: int, meaning: str, outcome: Outcome, last: int | None = None) -> ResponseRule:
    return ResponseRule(first=first, last=first if last is None else last, meaning=meaning, outcome=outcome)


STORE_RESPONSES: Final = (
    _rule(0x0000, "Success", Outcome.STORED),
    _rule(0x0111, "Duplicate SOP instance: it is there already", Outcome.STORED),
    _rule(0xB000, "Coercion of data elements", Outcome.STORED),
    _rule(0xB006, "Elements discarded", Outcome.STORED),
    _rule(0xB007, "Data set does not match SOP class (warning)", Outcome.STORED),
    _rule(0x0110, "Processing failure", Outcome.TRY_AGAIN),
    _rule(0xA700, "Out of resources", Outcome.TRY_AGAIN, last=0xA7FF),
    _rule(0x0001, "Any other status", Outcome.REFUSED, last=0xFFFF),
)
"""C-STORE. In each table the first row that holds a status counts."""
FAILURE_REASONS: Final = tuple(rule for rule in STORE_RESPONSES if rule.first and rule.first & 0xF000 != 0xB000)
"""Failure Reason (0008,1197) of an object in a Store response: one with the code of a warning is a failure too."""
HTTP_RESPONSES: Final = (
    _rule(200, "Success: each object as the response says of it", Outcome.STORED, last=299),
    _rule(
        300, "Redirection: followed; where it leads nowhere, nothing is said of any object", Outcome.TRY_AGAIN, last=399
    ),
    _rule(408, "Request Timeout", Outcome.TRY_AGAIN),
    _rule(425, "Too Early", Outcome.TRY_AGAIN),
    _rule(429, "Too Many Requests", Outcome.TRY_AGAIN),
    _rule(500, "Server error", Outcome.TRY_AGAIN, last=599),
    _rule(400, "Any other refusal", Outcome.REFUSED, last=499),
)
"""STOW-RS and QIDO-RS, for a response that says nothing of single objects."""


def outcome_of(status: int, rules: Sequence[ResponseRule]) -> Outcome:
    """Return what becomes of an object after a status; one that no rule holds is none of the standard's."""
    return next((rule.outcome for rule in rules if rule.first <= status <= rule.last), Outcome.REFUSED)
