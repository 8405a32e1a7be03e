"""The one tree of errors: the type decides retry, reject or stop.

::

    SgmriError
      ConfigError                      stop the process, exit 2
      InvalidGeometry                  a box, frame or volume that cannot exist
      SeriesError                      never retried; the journal says SKIPPED or FAILED with a reason
        IncompleteSeries  UnsupportedSeries  MalformedInstance
      EngineError
        EngineUnavailable (transient)  retried with back-off
          OutOfMemory                  retried with less memory
          MemoryShort                  waits until there is memory; no attempt
        UnparsableAnswer               kept as "no answer", never as a negative finding
      DeliveryError
        PeerUnavailable (transient)    retried
          PeerBusy                     it answers, and cannot store now
          PeerRejects                  retried slowly: it rejects our association for good (PS3.8 9.3.4)
        ViewerRuleBroken               never sent; the journal says FAILED
        StoreRefused                   carries the DIMSE status; its category decides (PS3.4 B.2.3)
          Undeliverable                no presentation context for the object is accepted
        CommitmentFailed               carries the failed instances' reasons (PS3.4 J.3)
      AssociationError                 a peer's association that is ended; nobody else's is concerned
        AssociationRejected            carries result, source and reason (PS3.8 9.3.4)
        ProtocolViolation              carries the A-ABORT's source and reason (PS3.8 9.3.8)
      AlertUndelivered (transient)     it waits, and is sent with what comes
      JournalBehind (transient)        the sender is told to send again
      AuditUnavailable (transient)     what must be recorded is not done (audit.on_failure = "stop")
      SpoolUnavailable (transient)     waits for the shared spool; no attempt
      StateError                       a transition that the lifecycle table does not have: our bug

A message says what was expected, what was found and what to do, and never a value from a DICOM header other
than a UID of the standard itself (SOP class, transfer syntax).
"""

from typing import ClassVar

from sgmri.lifecycle import Reason


class SgmriError(Exception):
    """Root of every error that sgmri raises on purpose."""

    transient: ClassVar[bool] = False
    """Whether the same call may succeed later; the task layer retries exactly these."""


class ConfigError(SgmriError):
    """The configuration cannot be used: the process stops with exit code 2."""


class InvalidGeometry(SgmriError, ValueError):
    """A box, frame or volume that cannot exist (empty, negative, not finite, wrong shape)."""


class SeriesError(SgmriError):
    """The series cannot be read; trying again with the same bytes would fail again.

    Parameters
    ----------
    message
        What was expected, what was found, what to do.
    reason
        The coded reason that the journal keeps.
    """

    reason: Reason = Reason.MALFORMED_INSTANCE

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class IncompleteSeries(SeriesError):
    """Instances or frames are missing, so that no volume can be made."""

    reason = Reason.INCOMPLETE_SERIES


class UnsupportedSeries(SeriesError):
    """A healthy series that this product does not read: SKIPPED, not FAILED."""

    reason = Reason.NOT_APPLICABLE


class MalformedInstance(SeriesError):
    """An instance that cannot be parsed or decoded."""

    reason = Reason.MALFORMED_INSTANCE


class EngineError(SgmriError):
    """The reading engine failed."""


class EngineUnavailable(EngineError):
    """The engine cannot take work now (starting, out of memory, device lost)."""

    transient = True


class OutOfMemory(EngineUnavailable):
    """Memory ran out in the middle of a reading: it may end well with less of it in use at a time."""


class MemoryShort(EngineUnavailable):
    """Too little memory is free to begin a reading."""


class UnparsableAnswer(EngineError):
    """An engine's output that is no valid answer: kept as "not assessed", never as a negative finding."""


class DeliveryError(SgmriError):
    """An object could not be delivered."""


class PeerUnavailable(DeliveryError):
    """The peer did not answer, refused the association for now, or aborted."""

    transient = True


class PeerBusy(PeerUnavailable):
    """The peer is there and cannot do it now (out of resources): only this object is tried again, the peer is well."""


class PeerRejects(PeerUnavailable):
    """The peer rejects our associations until somebody changes its configuration or ours.

    Parameters
    ----------
    message
        What was expected, what was found, what to do.
    reason
        Source and reason of the A-ASSOCIATE-RJ (PS3.8 9.3.4); None where it said so otherwise.
    """

    transient = False

    def __init__(self, message: str, reason: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class ViewerRuleBroken(DeliveryError):
    """A finished object that a viewer at the destination would not show as it should.

    Parameters
    ----------
    message
        What was expected, what was found, what to do.
    rules
        Names of the rules.
    """

    def __init__(self, message: str, rules: tuple[str, ...]) -> None:
        super().__init__(message)
        self.rules = rules


class StoreRefused(DeliveryError):
    """The peer answered a C-STORE with a status that is no success.

    Parameters
    ----------
    message
        What was expected, what was found, what to do.
    status
        The DIMSE status of the response (PS3.4 B.2.3).
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Undeliverable(StoreRefused):
    """The peer accepts no presentation context in which the object could be sent; others may well go."""


class CommitmentFailed(DeliveryError):
    """The peer refused to take responsibility for at least one instance (PS3.4 J.3).

    Parameters
    ----------
    message
        What was expected, what was found, what to do.
    failures
        Failure reason (0008,1197) for each refused SOP Instance UID.
    """

    def __init__(self, message: str, failures: dict[str, int]) -> None:
        super().__init__(message)
        self.failures = failures


class AssociationError(SgmriError):
    """A peer's association cannot be made, or cannot go on; other associations are not concerned."""


class AssociationRejected(AssociationError):
    """The association is not accepted.

    Parameters
    ----------
    message
        What was expected, what was found.
    result, source, reason
        Of the A-ASSOCIATE-RJ PDU (PS3.8 9.3.4).
    """

    def __init__(self, message: str, result: int, source: int, reason: int) -> None:
        super().__init__(message)
        self.result = result
        self.source = source
        self.reason = reason


class ProtocolViolation(AssociationError):
    """The peer sent what the protocol does not allow: the association is aborted.

    Parameters
    ----------
    message
        What was expected, what was found.
    source, reason
        Of the A-ABORT PDU (PS3.8 9.3.8); by default the provider's "invalid PDU parameter value".
    """

    def __init__(self, message: str, source: int = 2, reason: int = 6) -> None:
        super().__init__(message)
        self.source = source
        self.reason = reason


class AlertUndelivered(SgmriError):
    """An alert may not have reached the people whom it is for."""

    transient = True


class JournalBehind(SgmriError):
    """The journal has taken nothing for so long that no more instances can wait for it."""

    transient = True


class AuditUnavailable(SgmriError):
    """The audit log cannot be written, and the settings say that then nothing is done that it would record."""

    transient = True


class SpoolUnavailable(SgmriError):
    """The spool that machines share (``storage.spool_url``) cannot be reached, or lacks what was looked for."""

    transient = True


class StateError(SgmriError):
    """A transition that the lifecycle table does not have: a bug of ours."""
