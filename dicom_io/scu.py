"""Send instances with C-STORE.

References
----------
PS3.4 B.2.3 (statuses), PS3.7 9.1.1
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.association import Association

from dicom_io.network import MAX_CONTEXTS, NO_CONTEXT, Context, Destination, associate, status_of
from dicom_io.services import UNCOMPRESSED, Role, Use, for_use, proposed
from dicom_io.statuses import Outcome, outcome_of_store
from sgmri.errors import MalformedInstance, PeerUnavailable, StoreRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Sendable:
    """A file that can be sent: what its presentation context needs."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: UID


def sendable(path: Path) -> Sendable:
    """Look at a file's header.

    Raises
    ------
    MalformedInstance
        If it is no DICOM file with SOP Class and Instance UID.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are the receiver's business
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
            syntax = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
            sop_class, sop_instance = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
    except (InvalidDicomError, AttributeError, EOFError, ValueError, RecursionError, NotImplementedError) as error:
        raise MalformedInstance(
            f"expected a DICOM file with SOP Class and Instance UID, found {type(error).__name__}; leave it out"
        ) from None
    return Sendable(path=path, sop_class_uid=sop_class, sop_instance_uid=sop_instance, transfer_syntax_uid=UID(syntax))


def store(
    destination: Destination,
    instances: Sequence[Sendable],
    *,
    stored: Callable[[Sendable], None] = lambda instance: None,
) -> None:
    """Store instances on one association, in the given order.

    Parameters
    ----------
    destination
        Where.
    instances
        What; at most 128 distinct pairs of SOP class and transfer syntax.
    stored
        Called after each instance that the peer took.

    Raises
    ------
    PeerUnavailable
        If there is no association, it breaks, or the peer is out of resources (0xA7xx): try again later.
    StoreRefused
        If the peer refuses an instance for good.
    """
    with associate(destination, _contexts(instances)) as association:
        for instance in instances:
            _store_one(association, instance)
            stored(instance)


def store_results(
    destination: Destination,
    instances: Sequence[Sendable],
    *,
    stored: Callable[[Sendable], None] = lambda instance: None,
) -> None:
    """Store result objects as :func:`store` does, of the SOP classes that the table of services delivers only.

    Raises
    ------
    SgmriError
        If an object is of another SOP class.
    PeerUnavailable, StoreRefused
        As :func:`store`.
    """
    for instance in instances:
        proposed(instance.sop_class_uid, Use.DELIVER)
    store(destination, instances, stored=stored)


def _contexts(instances: Sequence[Sendable]) -> list[Context]:
    pairs = dict.fromkeys((instance.sop_class_uid, instance.transfer_syntax_uid) for instance in instances)
    delivered = {row.sop_class_uid: row.transfer_syntaxes for row in for_use(Use.DELIVER, role=Role.SCU)}
    contexts: list[Context] = []
    for sop_class_uid, syntax in pairs:
        if syntax.is_compressed:
            contexts.append((sop_class_uid, [syntax]))
        else:
            others = [other for other in delivered.get(sop_class_uid, UNCOMPRESSED) if other != syntax]
            contexts.append((sop_class_uid, [syntax]))
            if others:
                contexts.append((sop_class_uid, others))
    if len(contexts) > MAX_CONTEXTS:
        raise StoreRefused(
            f"expected at most {MAX_CONTEXTS} presentation contexts (PS3.8 9.3.2.2), found {len(contexts)}; send fewer "
            "kinds of object at a time",
            NO_CONTEXT,
        )
    return contexts


def _store_one(association: Association, instance: Sendable) -> None:
    if not any(context.abstract_syntax == instance.sop_class_uid for context in association.accepted_contexts):
        raise StoreRefused(
            f"the destination does not take SOP class {instance.sop_class_uid}; let its administrator enable it",
            NO_CONTEXT,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(instance.path)
        try:
            response = association.send_c_store(dataset)
        except ValueError:
            # pynetdicom: no accepted context with this transfer syntax, and it cannot be converted
            raise StoreRefused(
                f"the destination does not take transfer syntax {instance.transfer_syntax_uid} for this object",
                NO_CONTEXT,
            ) from None
        except RuntimeError:
            raise PeerUnavailable("the association ended while sending; the rest is sent again") from None
    status = status_of(response)
    if status is None:
        raise PeerUnavailable("the destination gave no status to a C-STORE; it is sent again")
    outcome = outcome_of_store(status)
    if outcome is Outcome.STORED:
        return
    if outcome is Outcome.TRY_AGAIN:
        raise PeerUnavailable(f"the destination cannot store now (status 0x{status:04X}); it is sent again")
    raise StoreRefused(f"the destination refused a C-STORE with status 0x{status:04X}", status)
