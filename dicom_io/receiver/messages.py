"""What becomes of a request's data set: an instance is stored, a commitment result is told, anything else is drained.

References
----------
PS3.4 B.2.3 (statuses of C-STORE), PS3.4 J.3 (N-EVENT-REPORT), PS3.7 Annex C (general statuses)
"""

import logging
from collections.abc import Callable
from io import BytesIO

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as decode_dataset

from dicom_io.commitment import parse_result
from dicom_io.header_scan import scan
from dicom_io.headers import is_uid
from dicom_io.receiver.commands import Command
from dicom_io.receiver.negotiation import Context
from dicom_io.receiver.targets import Intake, Target, file_meta
from dicom_io.scp import Callbacks
from dicom_io.statuses import EventStatus, StoreStatus
from dicom_io.stored import StoredInstance, identify
from sgmri.errors import MalformedInstance, ProtocolViolation

_log = logging.getLogger(__name__)

_CHECK_ROOM_BYTES = 1 << 24
MAX_EVENT_BYTES = 1 << 23


class Message:
    """A request whose data set comes in; by itself it drains the data set and answers a status.

    Parameters
    ----------
    status
        What to answer.
    max_bytes
        A longer data set ends the association.
    """

    def __init__(self, status: int, max_bytes: int) -> None:
        self.status = status
        self._bytes_left = max_bytes

    def take(self, content: memoryview) -> None:
        """Take a piece of the data set.

        Raises
        ------
        ProtocolViolation
            If it is too long.
        """
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            raise ProtocolViolation("expected a data set of limited size, found no end of it", source=0, reason=0)

    def finish(self) -> int:
        """Return the status to answer, once the data set is whole."""
        return self.status

    def discard(self) -> None:
        """Leave nothing of it: the association has ended."""


class IncomingInstance(Message):
    """The data set of a C-STORE.

    Parameters
    ----------
    command, context
        The request.
    intake
        Where its bytes go.
    callbacks
        Whom to tell.
    max_instance_bytes
        A larger one is drained and answered 0xA700.
    """

    def __init__(
        self, command: Command, context: Context, intake: Intake, *, callbacks: Callbacks, max_instance_bytes: int
    ) -> None:
        # What is refused is drained up to the same size again, then the association is ended
        super().__init__(StoreStatus.SUCCESS, 2 * max_instance_bytes)
        self._command = command
        self._context = context
        self._intake = intake
        self._callbacks = callbacks
        self._max_bytes = max_instance_bytes
        self._room_checked_at = 0
        self._target: Target | None = None
        self._meta_bytes = 0
        self._try(self._begin)

    def _begin(self) -> None:
        command, context = self._command, self._context
        if command.sop_class_uid != context.abstract_syntax:
            self._refuse(StoreStatus.NO_CONTEXT, "its SOP class is not that of its presentation context")
        elif not is_uid(command.sop_instance_uid):
            self._refuse(StoreStatus.DOES_NOT_MATCH, "its SOP Instance UID is none (PS3.5 9.1)")
        elif not self._intake.has_room():
            self._refuse(StoreStatus.OUT_OF_RESOURCES, "there is no room for it")
        else:
            self._target = self._intake.begin()
            meta = file_meta(command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax)
            self._meta_bytes = len(meta)
            self._target.append(meta)

    def take(self, content: memoryview) -> None:
        """Take a piece; an instance that is too large, or for which there is no room, is drained from there on."""
        super().take(content)
        target = self._target
        if target is None:
            return
        try:
            self._append(target, content)
        except OSError as error:
            self._refuse_unwritten(error)

    def _append(self, target: Target, content: memoryview) -> None:
        if target.size_bytes + len(content) > self._max_bytes + self._meta_bytes:
            self._refuse(StoreStatus.OUT_OF_RESOURCES, "it is too large")
            return
        if target.size_bytes - self._room_checked_at > _CHECK_ROOM_BYTES:
            self._room_checked_at = target.size_bytes
            if not self._intake.has_room():
                self._refuse(StoreStatus.OUT_OF_RESOURCES, "there is no room for it")
                return
        target.append(content)

    def finish(self) -> int:
        """Store the instance and tell; return the status."""
        self._try(self._finish)
        self.discard()
        return self.status

    def _finish(self) -> None:
        target = self._target
        if target is None:
            return
        try:
            stored = self._store(target)
        except MalformedInstance as error:
            target.set_aside()
            self._refuse(StoreStatus.CANNOT_UNDERSTAND, str(error))
            return
        if stored is None:
            return
        self._target = None
        try:
            self._callbacks.stored(stored)
        except Exception as error:  # noqa: BLE001 - border: the request must be answered
            # The file is durable and will be indexed at the next start; the sender is told to send again
            _log.error("an instance could not be journalled", exc_info=error)
            self.status = StoreStatus.PROCESSING_FAILURE

    def _store(self, target: Target) -> StoredInstance | None:
        size, start = target.size_bytes, self._meta_bytes
        identifiers = scan(
            lambda offset, count: target.read_at(start + offset, count), size - start, self._context.transfer_syntax
        )
        found = (identifiers.sop_class_uid, identifiers.sop_instance_uid)
        if found != (self._command.sop_class_uid, self._command.sop_instance_uid):
            self._refuse(StoreStatus.DOES_NOT_MATCH, "the data set's UIDs differ from the request's (PS3.7 9.1.1)")
            return None
        return target.commit(identify(identifiers, size))

    def discard(self) -> None:
        """Remove what was written."""
        if self._target is not None:
            self._target.discard()
            self._target = None

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self._refuse_unwritten(error)

    def _refuse_unwritten(self, error: OSError) -> None:
        self._refuse(StoreStatus.OUT_OF_RESOURCES, f"the spool cannot be written (errno {error.errno})")

    def _refuse(self, status: StoreStatus, why: str) -> None:
        _log.warning("instance refused with status 0x%04X: %s", status, why)
        self.status = status
        self.discard()


class IncomingEvent(Message):
    """The data set of an N-EVENT-REPORT: a storage commitment result.

    Parameters
    ----------
    command, context
        The request.
    committed
        Whom to tell.
    """

    def __init__(self, command: Command, context: Context, callbacks: Callbacks) -> None:
        super().__init__(EventStatus.SUCCESS, MAX_EVENT_BYTES)
        self._command = command
        self._context = context
        self._callbacks = callbacks
        self._content = bytearray()

    def take(self, content: memoryview) -> None:
        """Take a piece."""
        super().take(content)
        self._content += content

    def finish(self) -> int:
        """Tell the result; return the status."""
        implicit = self._context.transfer_syntax == "1.2.840.10008.1.2"
        try:
            information = decode_dataset(BytesIO(self._content), implicit, True) if self._content else Dataset()
            self._callbacks.committed(parse_result(self._command.event_type or 0, information))
        except Exception as error:  # noqa: BLE001 - border: the request must be answered
            _log.error("a commitment result could not be taken", exc_info=error)
            return EventStatus.PROCESSING_FAILURE
        return self.status
