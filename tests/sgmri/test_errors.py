"""The type of an error decides what happens: retry, reject or stop."""

import inspect

import pytest

from sgmri import errors
from sgmri.errors import (
    AlertUndelivered,
    AuditUnavailable,
    CommitmentFailed,
    EngineUnavailable,
    IncompleteSeries,
    JournalBehind,
    MalformedInstance,
    MemoryShort,
    OutOfMemory,
    PeerRejects,
    PeerUnavailable,
    SeriesError,
    SgmriError,
    SpoolUnavailable,
    StoreRefused,
    UnsupportedSeries,
)
from sgmri.lifecycle import Reason

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
every_class = pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)


@every_class
def test_one_tree(error: type[Exception]) -> None:
    """Every error descends from SgmriError and stands in the tree that the module's docstring draws."""
    assert issubclass(error, SgmriError)
    assert error.__name__ in (errors.__doc__ or "")


@every_class
def test_only_what_may_pass_by_itself_is_retried(error: type[SgmriError]) -> None:
    """Transient is what is not there now: engine, peer, memory, spool, journal, log or mail; bad input never is."""
    for_now = (
        *(EngineUnavailable, PeerUnavailable, OutOfMemory, MemoryShort, JournalBehind),
        *(SpoolUnavailable, AuditUnavailable, AlertUndelivered),
    )
    assert error.transient == (issubclass(error, for_now) and error is not PeerRejects)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (IncompleteSeries, Reason.INCOMPLETE_SERIES),
        (UnsupportedSeries, Reason.NOT_APPLICABLE),
        (MalformedInstance, Reason.MALFORMED_INSTANCE),
    ],
)
def test_a_series_error_carries_the_reason_that_the_journal_keeps(error: type[SeriesError], reason: Reason) -> None:
    """Each type has a reason, a call may name a better one, and that one does not stick to the type."""
    assert error("expected, found, do").reason is reason
    assert error("expected, found, do", Reason.TOO_LARGE).reason is Reason.TOO_LARGE
    assert error("expected, found, do").reason is reason


def test_a_refused_delivery_says_how() -> None:
    """The DIMSE status and the failure reasons travel with the error."""
    assert StoreRefused("refused", 0xA700).status == 0xA700
    assert CommitmentFailed("refused", {"2.25.1": 0x0112}).failures == {"2.25.1": 0x0112}
