"""What is remembered of who did what: the events of the audit log.

References
----------
PS3.15 A.5 (audit trail messages)
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What was done."""

    START = "start"
    STOP = "stop"
    RECEIVE = "receive"
    REFUSE = "refuse"
    READ = "read"
    ASK = "ask"
    VIEW = "view"
    REVEAL_IDENTITY = "reveal-identity"
    BEGIN_SEND = "begin-send"
    SEND = "send"
    QUERY = "query"
    DELETE = "delete"
    OPERATE = "operate"
    CONFIGURE = "configure"
    LOG_IN = "log-in"
    LOG_OUT = "log-out"
    AUDIT = "audit"
    """Something befell the audit log itself: a line that was cut off, lines that are missing."""


class Outcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One thing that somebody did; it holds no identity of a patient and no value of a header.

    Parameters
    ----------
    action, outcome
        What, and how it ended.
    who
        A user's name, ``AE_TITLE@address`` of a peer, or the process that acts by itself (``listener``, ``worker``).
    series_key
        The series' key; empty where it is about none.
    detail
        What else must be known, in words of ours: a reason, the name of a setting, a destination.
    count
        How many instances or objects; 0 where nothing is counted.
    """

    action: Action
    who: str
    outcome: Outcome = Outcome.SUCCESS
    series_key: str = ""
    detail: str = ""
    count: int = 0


Auditor = Callable[[AuditEvent], None]
"""Who remembers: a call returns when the event is written, or raises :class:`sgmri.errors.AuditUnavailable`."""


def forget(event: AuditEvent) -> None:
    """Remember nothing: where parts are used without a product around them."""
