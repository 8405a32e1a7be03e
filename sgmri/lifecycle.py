"""The life of a series, from the first instance to storage commitment, as one table.

Written as pynetdicom writes the upper layer's state machine (PS3.8 9.2): the states, the coded reasons that a
state may carry, and the transitions that exist. Everything else is :class:`sgmri.errors.StateError`.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a series stands."""

    RECEIVING = "RECEIVING"
    """Instances arrive; the quiet period has not passed."""
    COMPLETE = "COMPLETE"
    """Quiet period passed or expected count reached; not yet looked at."""
    SKIPPED = "SKIPPED"
    """Healthy, but not for us; the reason says why."""
    QUEUED = "QUEUED"
    """Selected; a worker has been or will be rung."""
    READING = "READING"
    """A worker holds the lease."""
    READ = "READ"
    """The result objects are on disk in the outbox, re-read and compared."""
    STORED = "STORED"
    """The destination answered every C-STORE with success."""
    COMMITTED = "COMMITTED"
    """The destination took responsibility (PS3.4 Annex J). Where commitment is switched off, STORED is the end."""
    FAILED = "FAILED"
    """Given up; the reason says why."""
    RETRACTED = "RETRACTED"
    """The newest reading was taken back by an operator; the reason says why."""


class Reason(StrEnum):
    """Why a series stands where it stands: an enumeration, never free text."""

    NONE = "NONE"
    """Nothing to explain."""
    NOT_MR = "NOT_MR"
    """No MR or Enhanced MR image in the series."""
    NOT_APPLICABLE = "NOT_APPLICABLE"
    """MR, but neither a brain nor a knee series that a question set covers."""
    TEST_OBJECT = "TEST_OBJECT"
    """A test object (phantom) of quality assurance, no patient."""
    RULE = "RULE"
    """A rule of the site says that it is left."""
    ANATOMY_UNKNOWN = "ANATOMY_UNKNOWN"
    """No evidence for brain or knee in the series."""
    LOCALISER = "LOCALISER"
    """A localiser (scout)."""
    DERIVED = "DERIVED"
    """Derived images (maps, MIP, MPR, subtraction)."""
    COLOUR = "COLOUR"
    """Colour images."""
    TOO_FEW_FRAMES = "TOO_FEW_FRAMES"
    """Fewer frames than a volume needs."""
    MIXED_GEOMETRY = "MIXED_GEOMETRY"
    """Several orientations, matrices or positions twice: not one volume."""
    OTHER_SUBVOLUME = "OTHER_SUBVOLUME"
    """Could be read, but another sub-volume of the same series is."""
    INCOMPLETE_SERIES = "INCOMPLETE_SERIES"
    """Frames are missing."""
    MALFORMED_INSTANCE = "MALFORMED_INSTANCE"
    """An instance cannot be parsed or decoded."""
    TRUNCATED_INSTANCE = "TRUNCATED_INSTANCE"
    """The pixel data of an instance ends too early."""
    TOO_LARGE = "TOO_LARGE"
    """Above the configured limits."""
    ENGINE_FAILED = "ENGINE_FAILED"
    """The engine gave up on this series."""
    MEMORY_SHORT = "MEMORY_SHORT"
    """Waits for free memory where it is to be read."""
    SPOOL_UNAVAILABLE = "SPOOL_UNAVAILABLE"
    """Waits for the shared spool, which could not be reached or lacked something."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """Memory ran out while it was read; it is read again with less at a time."""
    WORKER_LOST = "WORKER_LOST"
    """The worker that read it fell silent: it died, or was killed for the time limit or for memory."""
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
    """Started as often as allowed and never ended."""
    PEER_UNAVAILABLE = "PEER_UNAVAILABLE"
    """The destination cannot be reached; delivery goes on trying."""
    PEER_REJECTS = "PEER_REJECTS"
    """The destination rejects our associations for good; it is tried once in a while."""
    STORE_REFUSED = "STORE_REFUSED"
    """The destination refused an object for good."""
    UNDELIVERABLE = "UNDELIVERABLE"
    """The destination accepts no presentation context for an object; the others are sent."""
    NOTHING_TO_SEND = "NOTHING_TO_SEND"
    """Read, but the destination's viewers get no object of such a reading: without a box there is nothing to draw."""
    VIEWER_RULE = "VIEWER_RULE"
    """A result breaks a rule of a viewer at the destination; the log names the rule, and nothing was sent."""
    COMMITMENT_REFUSED = "COMMITMENT_REFUSED"
    """The destination refused storage commitment."""
    COMMITMENT_LATE = "COMMITMENT_LATE"
    """The destination has not sent its N-EVENT-REPORT in time; it is asked again."""
    REJECTED_QUALITY = "REJECTED_QUALITY"
    """Taken back: the reading is wrong."""
    REJECTED_SAFETY = "REJECTED_SAFETY"
    """Taken back: the reading could harm the patient."""
    REJECTED_WORKLIST = "REJECTED_WORKLIST"
    """Taken back: the images belong to another patient or study."""
    REJECTED_RETENTION = "REJECTED_RETENTION"
    """Taken back: it may no longer be kept."""
    CANCELLED = "CANCELLED"
    """An operator wants nothing more to be done for it; a retry goes on where it stood."""
    INTERNAL = "INTERNAL"
    """A bug of ours; the log has the traceback under the series key."""


_S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.RECEIVING: frozenset({_S.RECEIVING, _S.COMPLETE}),
    _S.COMPLETE: frozenset({_S.RECEIVING, _S.SKIPPED, _S.QUEUED, _S.FAILED}),
    _S.SKIPPED: frozenset({_S.RECEIVING}),
    # QUEUED -> FAILED when the attempts are exhausted; QUEUED -> QUEUED when an operator does not want to wait
    _S.QUEUED: frozenset({_S.RECEIVING, _S.QUEUED, _S.READING, _S.FAILED}),
    # READING -> QUEUED when the lease expires or the engine asks for a retry; READING -> SKIPPED when only the
    # pixels show that the series is not for us
    _S.READING: frozenset({_S.RECEIVING, _S.QUEUED, _S.READ, _S.SKIPPED, _S.FAILED}),
    # READ -> READ marks a delivery attempt that did not succeed. An operator may have whatever was read read again
    # (QUEUED), or take it back (RETRACTED)
    _S.READ: frozenset({_S.RECEIVING, _S.QUEUED, _S.READ, _S.STORED, _S.FAILED, _S.RETRACTED}),
    # STORED -> READ when commitment is refused or late and the objects are sent again
    _S.STORED: frozenset({_S.RECEIVING, _S.QUEUED, _S.READ, _S.STORED, _S.COMMITTED, _S.FAILED, _S.RETRACTED}),
    _S.COMMITTED: frozenset({_S.RECEIVING, _S.QUEUED, _S.RETRACTED}),
    # An operator's retry puts a failed series back into the queue or back into delivery
    _S.FAILED: frozenset({_S.RECEIVING, _S.QUEUED, _S.READ, _S.RETRACTED}),
    _S.RETRACTED: frozenset({_S.RECEIVING, _S.QUEUED}),
}
"""State -> states that may follow. RECEIVING follows every state: a late instance opens a new generation."""

FINAL_STATES = frozenset({State.SKIPPED, State.COMMITTED, State.FAILED, State.RETRACTED})
"""States in which nothing more happens by itself."""


FAULTS = frozenset(
    {Reason.INCOMPLETE_SERIES, Reason.MALFORMED_INSTANCE, Reason.TRUNCATED_INSTANCE, Reason.TOO_LARGE, Reason.INTERNAL}
)
"""Reasons for which a series is FAILED; for every other reason not to read it, it is healthy and SKIPPED."""


def ending(reason: Reason) -> State:
    """Return the state of a series that is not read for this reason.

    Parameters
    ----------
    reason
        Why it is not read.
    """
    return State.FAILED if reason in FAULTS else State.SKIPPED


def may_follow(before: State, after: State) -> bool:
    """Tell whether the table has the transition.

    Parameters
    ----------
    before, after
        The state that is left and the state that is entered.
    """
    return after in TRANSITIONS[before]
