"""A small PACS for tests and demonstrations: stores, answers queries, gives back, and takes responsibility.

Not for patients' images: no users, no encryption, no backup. It keeps to the standard where a peer could be misled,
and its faults can be ordered (:class:`PacsBehaviour`).

References
----------
PS3.4 Annex A (Verification), B (Storage), C (Query/Retrieve), J (Storage Commitment)
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, N_ACTION
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from conformance.pacs_archive import SUCCESS, Archive
from conformance.pacs_commitment import CommitmentReporter, CommitmentRequest, send_at_once
from dicom_io.services import IMAGE_TRANSFER_SYNTAXES, UNCOMPRESSED
from sgmri.errors import ConfigError, MalformedInstance

_log = logging.getLogger(__name__)

_UNCOMPRESSED = list(UNCOMPRESSED)
_TRANSFER_SYNTAXES = list(IMAGE_TRANSFER_SYNTAXES)
_LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")  # not in pynetdicom's tables yet

PENDING, CANCEL = 0xFF00, 0xFE00
OUT_OF_RESOURCES, NOT_WHAT_IT_SAYS = 0xA700, 0xA900
"""C-STORE (PS3.4 B.2.3)."""
PROCESSING_FAILURE, NO_SUCH_INSTANCE, INVALID_ARGUMENT = 0x0110, 0x0112, 0x0115
CLASS_INSTANCE_CONFLICT, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0119, 0x0123, 0x0213
"""N-ACTION status (PS3.7 10.1.4.1.10) and Failure Reason (PS3.4 J.3.3.1, PS3.3 C.14.1.1)."""
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PacsBehaviour:
    """How the PACS misbehaves.

    Parameters
    ----------
    commitment_delay_s
        Seconds between the N-ACTION response and the report; what is stored is looked up after it.
    store_status
        Answer to every C-STORE; with a failure nothing is stored (PS3.4 B.2.3).
    answers_commitment
        False: the N-ACTION is answered with success, and then nothing ever comes.
    commitment_failures
        True: every instance is reported as failed, with Processing failure (0x0110).
    commitment_patience_s
        Seconds for which a report that is due is tried, and then given up.
    """

    commitment_delay_s: float = 0.0
    store_status: int = 0x0000
    answers_commitment: bool = True
    commitment_failures: bool = False
    commitment_patience_s: float = 60.0


class SmallPacs:
    """Storage, Study Root FIND and GET, and Storage Commitment as SCP.

    Parameters
    ----------
    ae_title
        Ours; associations that call another are rejected.
    directory
        Where instances are kept; what is there already is served again.
    peers
        AE title -> (host, port): who may call, and where each wants its commitment reports. The addresses are looked
        up for each report, so that a port may become known later.
    host, port
        Where to listen; port 0 takes a free one.
    behaviour
        The faults to show.

    Raises
    ------
    ConfigError
        If there are no peers, or the directory holds other files.
    """

    def __init__(
        self,
        ae_title: str,
        *,
        directory: Path,
        peers: Mapping[str, tuple[str, int]],
        host: str = "127.0.0.1",
        port: int = 0,
        behaviour: PacsBehaviour | None = None,
    ) -> None:
        if not peers:
            raise ConfigError("expected at least one peer that may call the PACS, found none")
        self.archive = Archive(directory)
        self._peers = peers
        self._address = (host, port)
        self._behaviour = behaviour or PacsBehaviour()
        self._ae = _acceptor(ae_title, list(peers))
        self._server: ThreadedAssociationServer | None = None
        self._reporter = CommitmentReporter(
            ae_title, peers, self._failure_reason, patience_s=self._behaviour.commitment_patience_s
        )

    @property
    def ae_title(self) -> str:
        """Our AE title."""
        return str(self._ae.ae_title)

    @property
    def port(self) -> int:
        """The TCP port that we listen on.

        Raises
        ------
        ConfigError
            If the PACS has not been started.
        """
        if self._server is None or self._server.socket is None:
            raise ConfigError("expected a running PACS, found one that is not started; call start() first")
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen and serve in threads of our own.

        Raises
        ------
        ConfigError
            If the PACS runs already, or the address cannot be bound.
        """
        if self._server is not None:
            raise ConfigError("expected a stopped PACS, found a running one")
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, send_at_once),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_N_ACTION, self._request_commitment),
        ]
        try:
            self._server = self._ae.start_server(self._address, block=False, evt_handlers=handlers)
        except OSError as error:
            raise ConfigError("expected a free address to listen on, found none; choose another port") from error
        self._reporter.start()
        _log.info("PACS listens with %d instances", len(self.archive))

    def stop(self) -> None:
        """Close what is open and stop; harmless twice."""
        if self._server is None:
            return
        self._server.shutdown()
        self._reporter.stop()
        for association in self._server.active_associations:
            handles_requests = association.is_established
            _close(association)
            if handles_requests:  # one that is still waiting for a request touches nothing of ours
                association.join(timeout=_TIMEOUT_S)
        self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _store(self, event: evt.Event) -> int:
        # success or a warning (PS3.7 annex C): anything else stores nothing
        status = self._behaviour.store_status
        if status != SUCCESS and not 0xB000 <= status <= 0xBFFF:
            return status
        if self.archive.is_full:
            return OUT_OF_RESOURCES
        request = event.request
        assert isinstance(request, C_STORE)
        try:
            self.archive.put(
                event.encoded_dataset(),
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
            )
        except MalformedInstance:
            return NOT_WHAT_IT_SAYS
        except OSError:
            return OUT_OF_RESOURCES
        return status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        identifier = event.identifier
        refusal = self.archive.refusal(identifier)
        if refusal != SUCCESS:
            yield refusal, None
            return
        for row in self.archive.find(identifier):
            if event.is_cancelled:
                yield CANCEL, None
                return
            row.RetrieveAETitle = self.ae_title
            yield PENDING, row

    def _get(self, event: evt.Event) -> Iterator[int | tuple[int, Dataset | None]]:
        identifier = event.identifier
        refusal = self.archive.refusal(identifier, is_retrieval=True)
        paths = self.archive.paths(identifier) if refusal == SUCCESS else ()
        # pynetdicom wants the number of sub-operations first, and never asks on after zero
        yield len(paths) if refusal == SUCCESS else 1
        if refusal != SUCCESS:
            yield refusal, None
        for path in paths:
            if event.is_cancelled:
                yield CANCEL, None
                return
            yield PENDING, dcmread(path)

    def _request_commitment(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take a request for storage commitment (PS3.4 J.3.2); the result follows on an association of our own."""
        request = event.request
        assert isinstance(request, N_ACTION)
        if request.RequestedSOPInstanceUID != StorageCommitmentPushModelInstance:
            return NO_SUCH_INSTANCE, None
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        ds = event.action_information
        references = tuple(
            (str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
            for item in ds.get("ReferencedSOPSequence", ())
        )
        if not ds.get("TransactionUID") or not references or not all(all(pair) for pair in references):
            return INVALID_ARGUMENT, None
        if not self._behaviour.answers_commitment:
            return SUCCESS, None
        taken = self._reporter.add(
            CommitmentRequest(
                ae_title=str(event.assoc.requestor.ae_title),
                transaction_uid=str(ds.TransactionUID),
                references=references,
                due_s=monotonic() + self._behaviour.commitment_delay_s,
            )
        )
        return (SUCCESS if taken else RESOURCE_LIMITATION), None

    def _failure_reason(self, sop_class_uid: str, sop_instance_uid: str) -> int | None:
        if self._behaviour.commitment_failures:
            return PROCESSING_FAILURE
        stored_as = self.archive.sop_class_of(sop_instance_uid)
        if stored_as is None:
            return NO_SUCH_INSTANCE
        return None if stored_as == sop_class_uid else CLASS_INSTANCE_CONFLICT


def _close(association: Association) -> None:
    """Close the connection of an association, in whatever state it is.

    An A-ABORT would be an invalid event before the peer's A-ASSOCIATE-RQ has come and after its release, and end the
    thread with an exception; a closed connection is a valid one in every state (PS3.8 9.2.3, Evt17).
    """
    with suppress(AttributeError, OSError):  # its own thread has just closed it
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]  # None once closed


def _acceptor(ae_title: str, calling_ae_titles: list[str]) -> AE:
    ae = AE(ae_title=ae_title)
    ae.require_called_aet = True
    ae.require_calling_aet = calling_ae_titles
    ae.maximum_associations = 16
    ae.acse_timeout = ae.dimse_timeout = _TIMEOUT_S
    ae.network_timeout = 2 * _TIMEOUT_S
    ae.maximum_pdu_size = 65536
    ae.add_supported_context(Verification, _UNCOMPRESSED)
    storage = [context.abstract_syntax for context in AllStoragePresentationContexts if context.abstract_syntax]
    for uid in (*storage, _LABEL_MAP_SEGMENTATION):
        # both roles: with C-GET we are the SCU of Storage on the peer's association (PS3.4 C.5.3)
        ae.add_supported_context(uid, _TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    for uid in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        StorageCommitmentPushModel,
    ):
        ae.add_supported_context(uid, _UNCOMPRESSED)
    return ae
