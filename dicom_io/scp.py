"""The listener's SCP: C-ECHO, C-STORE and the storage commitment result.

pynetdicom negotiates and moves the bytes; here it is decided who may call, what is stored before Success is
answered, and what a commitment result means. Nothing here parses pixels, and a handler hands a stored instance to
the given callback and answers.

References
----------
PS3.4 B.2.3 (statuses of C-STORE), PS3.4 J.3 (N-EVENT-REPORT of storage commitment), PS3.8 9.3.4 (rejection)
"""

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from dicom_io.callers import caller_of, objection
from dicom_io.commitment import CommitmentResult, parse_result
from dicom_io.header_scan import scan_file
from dicom_io.headers import is_uid
from dicom_io.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.network import no_delay
from dicom_io.receipts import Receipt, peer_name, refusal
from dicom_io.receiver.negotiation import supported_contexts
from dicom_io.secure_server import SecureAssociationServer
from dicom_io.services import STORAGE_COMMITMENT, VERIFICATION
from dicom_io.spool import Spool
from dicom_io.statuses import EchoStatus, EventStatus, Rejection, StoreStatus
from dicom_io.stored import StoredInstance, identify
from dicom_io.tls import Renewed, server_context
from sgmri.audit import Auditor, forget
from sgmri.errors import MalformedInstance
from sgmri.settings import Listener

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What the SCP tells the roof.

    Parameters
    ----------
    stored
        Called in the association's thread after the instance is durable and before Success is answered; it must
        be quick.
    committed
        Called with a storage commitment result.
    audit
        Told at an association's end what it brought, an event a series, and of every association that is rejected.
    """

    stored: Callable[[StoredInstance], None]
    committed: Callable[[CommitmentResult], None]
    audit: Auditor = forget


class StorageScp:
    """A running SCP.

    Parameters
    ----------
    settings
        AE title, address and limits; ``peers`` are the only application entities that may call.
    spool
        Where instances go.
    callbacks
        Whom to tell.
    """

    def __init__(self, settings: Listener, spool: Spool, callbacks: Callbacks) -> None:
        self._settings = settings
        self._spool = spool
        self._callbacks = callbacks
        self._tls = Renewed(partial(server_context, settings.tls), settings.tls.files) if settings.tls.is_on else None
        self._plain: ThreadedAssociationServer | None = None
        self._secure: ThreadedAssociationServer | None = None
        self._receipts: dict[Association, Receipt] = {}  # of the associations that are open
        self._renamed: dict[Association, tuple[str, str]] = {}  # who they were that are about to be rejected, and why
        self._ae = self._application_entity()

    def _application_entity(self) -> AE:
        ae = AE(ae_title=self._settings.ae_title)
        ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.require_called_aet = True
        ae.require_calling_aet = [peer.ae_title for peer in self._settings.peers] or [_unguessable()]
        ae.maximum_associations = self._settings.max_associations
        ae.maximum_pdu_size = self._settings.max_pdu_bytes
        ae.network_timeout = self._settings.network_timeout_s
        ae.acse_timeout = self._settings.request_timeout_s
        ae.dimse_timeout = self._settings.network_timeout_s
        for context in supported_contexts():
            syntaxes = list(context.transfer_syntax)
            ae.add_supported_context(str(context.abstract_syntax), syntaxes, context.scu_role, context.scp_role)
        return ae

    @property
    def port(self) -> int:
        """The TCP port that is listened on without TLS."""
        assert self._plain is not None
        return int(self._plain.server_address[1])

    @property
    def tls_port(self) -> int:
        """The TCP port that is listened on with TLS."""
        assert self._secure is not None
        return int(self._secure.server_address[1])

    def start(self) -> None:
        """Begin to accept associations, in threads of their own; raises OSError if a port cannot be had."""
        host, tls = self._settings.host, self._settings.tls
        if self._tls is not None:
            self._secure = self._ae.make_server(
                (host, tls.port),
                evt_handlers=self._handlers(),
                server_class=SecureAssociationServer,
                tls=self._tls,
                handshake_timeout_s=self._settings.request_timeout_s,
                audit=self._callbacks.audit,
            )
            self._ae._servers.append(self._secure)  # as start_server does, which knows no server of ours
            threading.Thread(target=self._secure.serve_forever, name="accept", daemon=True).start()
        if self._tls is None or tls.plain:
            self._plain = self._ae.start_server((host, self._settings.port), block=False, evt_handlers=self._handlers())
        _log.info("listening for associations")

    def stop(self) -> None:
        """Stop accepting and end what runs."""
        for server in filter(None, (self._plain, self._secure)):
            server.shutdown()
        self._plain = self._secure = None
        for association in list(self._receipts):
            self._ended(association, was_aborted=True)

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, no_delay),
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_C_ECHO, _echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._event_report),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_RELEASED, lambda event: self._ended(event.assoc, was_aborted=False)),
        ]

    def _accepted(self, event: evt.Event) -> None:
        self._receipts[event.assoc] = Receipt(who=_caller(event.assoc))

    def _rejected(self, event: evt.Event) -> None:
        _log.warning("association rejected")
        answer = event.assoc.acceptor.primitive
        assert answer is not None
        self._refused(event.assoc, (answer.result, answer.result_source, answer.diagnostic))

    def _refused(self, association: Association, fields: tuple[int | None, ...]) -> None:
        why = next((one.when for one in Rejection if one.fields == fields), "the association cannot be accepted")
        who, why = self._renamed.pop(association, (_caller(association), why))
        self._callbacks.audit(refusal(who, why))

    def _aborted(self, event: evt.Event) -> None:
        _log.warning("association aborted")
        self._ended(event.assoc, was_aborted=True)

    def _ended(self, association: Association, *, was_aborted: bool) -> None:
        receipt = self._receipts.pop(association, None)
        if receipt is not None:
            receipt.was_aborted = was_aborted
            receipt.tell(self._callbacks.audit)

    def _admit(self, event: evt.Event) -> None:
        # pynetdicom compares AE titles only; one that comes from elsewhere, or with another certificate, is renamed
        # to a title that is not on the list, and so rejected with "calling AE title not recognised" (PS3.8 9.3.4)
        primitive = event.assoc.requestor.primitive
        assert primitive is not None
        title, address = primitive.calling_ae_title.strip(), event.assoc.requestor.address or ""
        transport = event.assoc.dul.socket
        caller = caller_of(None if transport is None else transport.socket, address)
        why = objection(self._settings.peers, title, caller)
        if why:
            _log.warning("association from %s rejected: %s", address, why)
            self._renamed[event.assoc] = (_caller(event.assoc), why)
            primitive.calling_ae_title = _unguessable()
            return
        proposed = {str(context.abstract_syntax) for context in primitive.presentation_context_definition_list}
        if proposed - {VERIFICATION, STORAGE_COMMITMENT} and not self._spool.has_room(0):
            event.assoc.acse.send_reject(*Rejection.CONGESTION.fields)
            self._refused(event.assoc, Rejection.CONGESTION.fields)
            event.assoc.kill()

    def _store(self, event: evt.Event) -> StoreStatus:
        request: Any = event.request
        if request.AffectedSOPClassUID != event.context.abstract_syntax:
            _log.warning("instance refused: its SOP class is not that of its presentation context")
            return StoreStatus.NO_CONTEXT
        encoded = event.encoded_dataset()
        if len(encoded) > self._settings.max_instance_bytes or not self._spool.has_room(len(encoded)):
            _log.warning("no room for an instance of %d bytes", len(encoded))
            return StoreStatus.OUT_OF_RESOURCES
        requested = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        try:
            identifiers = scan_file(lambda offset, count: encoded[offset : offset + count], len(encoded))
            if (identifiers.sop_class_uid, identifiers.sop_instance_uid) != requested or not is_uid(requested[1]):
                _log.warning("instance refused: the data set's UIDs differ from the request's (PS3.7 9.1.1)")
                return StoreStatus.DOES_NOT_MATCH
            instance = self._spool.store(identify(identifiers, len(encoded)), encoded)
        except MalformedInstance as error:
            _log.warning("instance refused: %s", error)
            return self._set_aside(encoded)
        except OSError as error:
            _log.error("spool cannot be written (errno %s)", error.errno)
            return StoreStatus.OUT_OF_RESOURCES
        try:
            self._callbacks.stored(instance)
        except Exception as error:  # noqa: BLE001 - border: the DIMSE handler must answer
            # The file is durable and will be indexed at the next start; the sender is told to send again
            _log.error("an instance could not be journalled", exc_info=error)
            return StoreStatus.PROCESSING_FAILURE
        self._receipts[event.assoc].add(instance.series_key)
        return StoreStatus.SUCCESS

    def _set_aside(self, encoded: bytes) -> StoreStatus:
        try:
            self._spool.quarantine.keep(self._spool.write_part(encoded))
        except OSError as error:
            _log.error("spool cannot be written (errno %s)", error.errno)
            return StoreStatus.OUT_OF_RESOURCES
        return StoreStatus.CANNOT_UNDERSTAND

    def _event_report(self, event: evt.Event) -> tuple[EventStatus, Dataset | None]:
        request: Any = event.request
        try:
            self._callbacks.committed(parse_result(int(request.EventTypeID), event.event_information))
        except Exception as error:  # noqa: BLE001 - border: the DIMSE handler must answer
            _log.error("a commitment result could not be taken", exc_info=error)
            return EventStatus.PROCESSING_FAILURE, None
        return EventStatus.SUCCESS, None


def _echo(event: evt.Event) -> EchoStatus:
    return EchoStatus.SUCCESS


def _caller(association: Association) -> str:
    primitive = association.requestor.primitive
    return peer_name(primitive.calling_ae_title.strip() if primitive else "", association.requestor.address or "")


def _unguessable() -> str:
    return secrets.token_hex(8)  # 16 characters, the length of an AE title (PS3.5 6.2)
