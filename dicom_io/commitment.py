"""Storage commitment: ask the destination to take responsibility, and understand its answer.

The request goes out from a delivery worker; the answer usually comes on an association of the PACS's own to the
listener, minutes or hours later (ADR 0007).

References
----------
PS3.4 Annex J; PS3.3 C.14 (failure reasons)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from dicom_io.network import Destination, associate, status_of
from dicom_io.services import STORAGE_COMMITMENT, Use, proposed
from sgmri.errors import MalformedInstance, PeerUnavailable, StoreRefused

_WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
_REQUEST_ACTION = 1
_EVENT_SUCCESS = 1
_EVENT_FAILURES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentResult:
    """What the PACS answered.

    Parameters
    ----------
    transaction_uid
        Of the request.
    committed
        SOP Instance UIDs for which it took responsibility.
    failures
        Failure Reason (0008,1197) for each refused SOP Instance UID.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failures: dict[str, int] = field(default_factory=dict)


def request(destination: Destination, transaction_uid: str, instances: Sequence[tuple[str, str]]) -> None:
    """Ask for storage commitment (N-ACTION, PS3.4 J.3.2).

    Parameters
    ----------
    destination
        Whom to ask.
    transaction_uid
        Ours, journalled *before* this call: the answer may overtake the response.
    instances
        (SOP Class UID, SOP Instance UID) of what was stored there.

    Raises
    ------
    PeerUnavailable
        If there is no association, or a response without a status.
    StoreRefused
        If the peer refuses the request, or does not offer the service (then set ``delivery.commitment = false``).
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
    with associate(destination, [proposed(STORAGE_COMMITMENT, Use.COMMIT)]) as association:
        response, _ = association.send_n_action(information, _REQUEST_ACTION, STORAGE_COMMITMENT, _WELL_KNOWN_INSTANCE)
    status = status_of(response)
    if status is None:
        raise PeerUnavailable("the destination gave no status to the storage commitment request; it is asked again")
    if status != 0x0000:
        raise StoreRefused(f"the destination refused the storage commitment request with status 0x{status:04X}", status)


def parse_result(event_type: int, information: Dataset) -> CommitmentResult:
    """Understand an N-EVENT-REPORT (PS3.4 J.3.3).

    Parameters
    ----------
    event_type
        1: all instances are committed; 2: some failed.
    information
        The Event Information.

    Raises
    ------
    MalformedInstance
        If it is no result of storage commitment.
    """
    transaction_uid = str(information.get("TransactionUID", ""))
    if event_type not in (_EVENT_SUCCESS, _EVENT_FAILURES) or not transaction_uid:
        raise MalformedInstance(
            f"expected event type 1 or 2 with a Transaction UID (PS3.4 J.3.3), found type {event_type}"
        )
    return CommitmentResult(
        transaction_uid=transaction_uid,
        committed=tuple(str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()),
        failures={
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
            for item in information.get("FailedSOPSequence") or ()
        },
    )


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
