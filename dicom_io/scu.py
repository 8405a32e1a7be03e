"""Send instances with C-STORE.

References
----------
PS3.4 B.2.3 (statuses), PS3.7 9.1.1
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.association import Association

from dicom_io.network import MAX_CONTEXTS, NO_CONTEXT, Context, Destination, echo, open_association, settle, status_of
from dicom_io.query import Level, find
from dicom_io.services import UNCOMPRESSED, Role, Use, for_use, proposed
from dicom_io.statuses import STORE_RESPONSES, Outcome, outcome_of
from sgmri.errors import MalformedInstance, PeerBusy, PeerUnavailable, StoreRefused, Undeliverable

_log = logging.getLogger(__name__)

Refusal = PeerBusy | StoreRefused
"""Why an instance was not taken: not now, or not at all."""
PROBE_TIMEOUT_S = 5.0
"""A peer that takes longer to say that it is there would hold back the deliveries to others."""


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


def deliverable(path: Path) -> Sendable:
    """Look at a result's header as :func:`sendable` does; only the table of services says what is delivered.

    Raises
    ------
    MalformedInstance
        As :func:`sendable`.
    SgmriError
        If the table delivers no such SOP class.
    """
    instance = sendable(path)
    proposed(instance.sop_class_uid, Use.DELIVER)
    return instance


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
        If the peer refuses an instance for good; those after it are not sent.
    """
    with closing(StoreScu(destination)) as scu:
        for instance, refusal in scu.store(instances):
            if refusal is not None:
                raise refusal
            stored(instance)


class StoreScu:
    """Stores at one destination, on an association that stays open from one call to the next.

    An association that broke meanwhile, or lacks a context that is needed, is replaced by another one, and the
    instance in hand is sent on that.

    Parameters
    ----------
    destination
        Whom to call.
    idle_timeout_s
        An association without traffic is released after this time.
    """

    def __init__(self, destination: Destination, *, idle_timeout_s: float = 60.0) -> None:
        self.destination = destination
        self._idle_timeout_s = idle_timeout_s
        self._association: Association | None = None
        self._message_id = 0

    def store(self, instances: Sequence[Sendable]) -> Iterator[tuple[Sendable, Refusal | None]]:
        """Store instances in the given order, each when it is asked for.

        Parameters
        ----------
        instances
            What; at most 128 distinct pairs of SOP class and transfer syntax.

        Yields
        ------
        Each instance, and why the peer did not take it, for now (PeerBusy) or for good; None where it took it.

        Raises
        ------
        PeerUnavailable
            If there is no association, or it breaks: try again later.
        """
        for instance in instances:
            yield instance, self._store(instance, instances)

    def probe(self) -> None:
        """Verify the peer with C-ECHO, quickly; raises PeerUnavailable if it does not answer with success."""
        echo(replace(self.destination, timeout_s=min(self.destination.timeout_s, PROBE_TIMEOUT_S)))

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """Return which SOP instances of a series the peer lists (C-FIND, PS3.4 C.4.1).

        Raises
        ------
        PeerUnavailable
            If it does not answer.
        StoreRefused
            If it does not offer the service.
        """
        keys = {
            "StudyInstanceUID": study_instance_uid,
            "SeriesInstanceUID": series_instance_uid,
            "SOPInstanceUID": "",
        }
        return frozenset(match["SOPInstanceUID"] for match in find(self.destination, Level.IMAGE, keys))

    def close(self) -> None:
        """Release the association, if there is one."""
        if self._association is not None:
            self._association.release()
            self._association = None

    def _store(self, instance: Sendable, group: Sequence[Sendable]) -> Refusal | None:
        if self._association is not None and self._association.is_established:
            try:
                return self._send(self._association, instance)
            except (PeerUnavailable, Undeliverable):
                _log.debug("the association is of no use any more; another one is opened")
        self.close()
        try:
            self._association = open_association(
                self.destination, _contexts(group), idle_timeout_s=self._idle_timeout_s
            )
            return self._send(self._association, instance)
        except Undeliverable as refusal:
            return refusal

    def _send(self, association: Association, instance: Sendable) -> Refusal | None:
        self._message_id = self._message_id % 65535 + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = dcmread(instance.path)
                settle(association)
                response = association.send_c_store(dataset, msg_id=self._message_id)
            except ValueError:
                # pynetdicom: no accepted context with this transfer syntax, and it cannot be converted
                raise Undeliverable(
                    f"the destination does not take SOP class {instance.sop_class_uid} in transfer syntax "
                    f"{instance.transfer_syntax_uid}; let its administrator enable it",
                    NO_CONTEXT,
                ) from None
            except RuntimeError:
                raise PeerUnavailable("the association ended while sending; the rest is sent again") from None
        return _refusal(status_of(response))


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


def _refusal(status: int | None) -> Refusal | None:
    """Return why an instance was refused; None where it was taken."""
    if status is None:
        raise PeerUnavailable("the destination gave no status to a C-STORE; it is sent again")
    if status & 0xF000 == 0xB000:
        _log.warning("the destination answered an object with warning status 0x%04X", status)
    outcome = outcome_of(status, STORE_RESPONSES)
    if outcome is Outcome.STORED:
        return None
    if outcome is Outcome.TRY_AGAIN:
        return PeerBusy(f"the destination cannot store now (status 0x{status:04X}); it is sent again")
    return StoreRefused(f"the destination refused a C-STORE with status 0x{status:04X}", status)
