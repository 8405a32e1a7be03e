"""Reports the results of storage commitment as SCP, each on an association of our own (PS3.4 J.3.3)."""

import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from time import monotonic

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

_log = logging.getLogger(__name__)

COMPLETE, COMPLETE_WITH_FAILURES = 1, 2
"""Event types (PS3.4 J.3.3.1)."""
_MAX_WAITING = 64
"""Requests that wait at most."""
_PAUSE_S = 1.0
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """Somebody waits to hear whether we take responsibility.

    Parameters
    ----------
    ae_title
        Who asked.
    transaction_uid
        How they call the request.
    references
        (SOP class, SOP instance) of each object.
    due_s
        When to report, on the monotonic clock.
    """

    ae_title: str
    transaction_uid: str
    references: tuple[tuple[str, str], ...]
    due_s: float


class CommitmentReporter:
    """A thread that reports, one request after another.

    Parameters
    ----------
    ae_title
        Ours.
    peers
        AE title -> (host, port), looked up for each report.
    failure_reason
        Tells, at the time of the report, why an instance (SOP class, SOP instance) is refused; None if it is not.
    patience_s
        How long after it is due a report is tried; long enough for a peer that restarts just then.
    """

    def __init__(
        self,
        ae_title: str,
        peers: Mapping[str, tuple[str, int]],
        failure_reason: Callable[[str, str], int | None],
        *,
        patience_s: float,
    ) -> None:
        self._peers = peers
        self._patience_s = patience_s
        self._failure_reason = failure_reason
        self._waiting: Queue[CommitmentRequest | None] = Queue(maxsize=_MAX_WAITING)
        self._stopping = Event()
        self._thread: Thread | None = None
        self._ae = AE(ae_title=ae_title)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = _TIMEOUT_S
        self._ae.connection_timeout = _TIMEOUT_S
        self._ae.add_requested_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])

    def start(self) -> None:
        """Start the thread; requests that were never reported before are forgotten."""
        self._waiting = Queue(maxsize=_MAX_WAITING)
        self._stopping.clear()
        self._thread = Thread(target=self._run, name="pacs-commitment", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; harmless twice."""
        self._stopping.set()
        with suppress(Full):
            self._waiting.put_nowait(None)
        if self._thread is not None:
            self._thread.join(timeout=_TIMEOUT_S)
            self._thread = None

    def add(self, request: CommitmentRequest) -> bool:
        """Take a request; False if too many are waiting."""
        try:
            self._waiting.put_nowait(request)
        except Full:
            return False
        return True

    def _run(self) -> None:
        # the delay is the same for all, so the first that came is the first that is due
        while (request := self._waiting.get()) is not None:
            if self._stopping.wait(max(0.0, request.due_s - monotonic())):
                return
            while not self._report(request):
                if monotonic() > request.due_s + self._patience_s:
                    _log.warning("a storage commitment report could not be delivered in %.0f s", self._patience_s)
                    break
                if self._stopping.wait(_PAUSE_S):
                    return

    def _report(self, request: CommitmentRequest) -> bool:
        host, port = self._peers[request.ae_title]
        # we call, yet are the SCP: the roles are reversed (PS3.7 D.3.3.4)
        association = self._ae.associate(
            host,
            port,
            ae_title=request.ae_title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once)],
        )
        if not association.is_established:
            return False
        try:
            return self._send(association, request)
        finally:
            association.release()

    def _send(self, association: Association, request: CommitmentRequest) -> bool:
        if not any(context.as_scp for context in association.accepted_contexts):
            _log.warning("a peer refuses the role of SCU for storage commitment; it cannot hear the result")
            return False
        ds, event_type = self._result(request)
        try:
            status, _ = association.send_n_event_report(
                ds, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except RuntimeError:  # the peer aborted in between
            return False
        return bool(status.get("Status") == 0x0000)

    def _result(self, request: CommitmentRequest) -> tuple[Dataset, int]:
        ds = Dataset()
        ds.TransactionUID = request.transaction_uid
        kept, failed = [], []
        for sop_class_uid, sop_instance_uid in request.references:
            item = Dataset()
            item.ReferencedSOPClassUID = sop_class_uid
            item.ReferencedSOPInstanceUID = sop_instance_uid
            reason = self._failure_reason(sop_class_uid, sop_instance_uid)
            if reason is None:
                kept.append(item)
            else:
                item.FailureReason = reason
                failed.append(item)
        if kept:
            ds.ReferencedSOPSequence = kept
        if failed:
            ds.FailedSOPSequence = failed
        return ds, COMPLETE_WITH_FAILURES if failed else COMPLETE


def send_at_once(event: evt.Event) -> None:
    """Switch Nagle's algorithm off on a new connection (a handler for ``EVT_CONN_OPEN``).

    Together with delayed acknowledgement it costs 40 ms for each small message.
    """
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
