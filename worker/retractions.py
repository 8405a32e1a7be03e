"""Take a reading back: the journal says so first, then the destination gets a note that rejects all of its objects.

In this order nothing of the reading is delivered any more from the first step on; a note that could not be sent is
written again, byte for byte, when the operator tries again (ADR 0016).
"""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, insert, select, update

from dicom_io.objects.key_objects import encode_rejection
from dicom_io.results import read_object, write_object
from dicom_io.scu import sendable, store_results
from sgmri import readings as reading_json
from sgmri.errors import IncompleteSeries, SgmriError
from sgmri.lifecycle import Reason, State, may_follow
from sgmri.settings import Settings
from worker.delivery import destination
from worker.journal import Journal, SeriesRow
from worker.journal_tables import RESULTS, RETRACTIONS
from worker.revisions import ReadingRow, readings
from worker.tasks import READING_FILE

REJECTION_FILE = "rejection.dcm"


def retract(journal: Journal, row: SeriesRow, reason: Reason) -> ReadingRow:
    """Take the newest reading of a series back that was not; or go on with one whose note is still to be sent.

    Parameters
    ----------
    journal, row
        The series as it is now.
    reason
        Why, one of the REJECTED reasons. A retraction that is gone on with keeps its own.

    Returns
    -------
    The reading, as it now is.

    Raises
    ------
    SgmriError
        If the series has no reading to take back, or somebody is at it.
    """
    known = readings(journal, row.series_key)
    unsent = [one for one in known if one.retracted is not None and one.note_sent_at is None]
    if unsent:
        return unsent[-1]
    counting = [one for one in known if one.retracted is None]
    if not counting:
        raise SgmriError(f"expected a series with a reading, found one that is {row.state} and has none to take back")
    reading = counting[-1]
    if row.lease_until > journal.clock() or not _record(journal, row, reading, reason):
        raise SgmriError("expected a series at rest, found one that is being worked on; try again in a minute")
    return next(one for one in readings(journal, row.series_key) if one.generation == reading.generation)


def _record(journal: Journal, row: SeriesRow, reading: ReadingRow, reason: Reason) -> bool:
    """Record the retraction, with the state of the series where the reading is that of its present generation."""
    with journal.begin() as connection:
        if reading.generation == row.generation and may_follow(row.state, State.RETRACTED):
            change = {"lease_owner": None, "lease_until": 0.0, "next_try_at": 0.0}
            if not journal.move_within(connection, row, State.RETRACTED, reason=reason, **change):
                return False
        connection.execute(
            insert(RETRACTIONS).values(
                series_key=row.series_key,
                generation=reading.generation,
                reason=reason,
                retracted_at=journal.clock(),
            )
        )
    journal.log(row, "reading retracted", reason=reason)
    return True


def send_note(journal: Journal, settings: Settings, row: SeriesRow, reading: ReadingRow, directory: Path) -> Path:
    """Write the rejection note of a retracted reading, and send it where there is a destination.

    It is sent also where no C-STORE of an object is known to have succeeded: the response may have been lost.

    Parameters
    ----------
    journal, settings
        The truth, and where to.
    row, reading
        The series, and its reading that was taken back.
    directory
        Where the reading's objects lie.

    Returns
    -------
    The note's file.

    Raises
    ------
    IncompleteSeries
        If the objects are no longer in the outbox.
    DeliveryError
        If the destination could not be reached, or refused the note.
    """
    path = directory / REJECTION_FILE
    _write_note(journal, row, reading, path)
    if settings.delivery.ae_title:
        store_results(destination(settings), [sendable(path)])
    with journal.begin() as connection:
        connection.execute(update(RETRACTIONS).where(_is(row, reading)).values(sent_at=journal.clock()))
    journal.log(row, "rejection note sent" if settings.delivery.ae_title else "rejection note written")
    return path


def _write_note(journal: Journal, row: SeriesRow, reading: ReadingRow, path: Path) -> None:
    objects = (
        select(RESULTS.c.file_name)
        .where(RESULTS.c.series_key == row.series_key, RESULTS.c.generation == reading.generation)
        .order_by(RESULTS.c.position)
    )
    with journal.look() as connection:
        retracted_at = connection.execute(select(RETRACTIONS.c.retracted_at).where(_is(row, reading))).scalar_one()
        names = [str(name) for (name,) in connection.execute(objects)]
    assert reading.retracted is not None
    try:
        note = encode_rejection(
            reading_json.from_json((path.parent / READING_FILE).read_text(encoding="utf-8")),
            [read_object(path.parent / name) for name in names],
            reading.retracted,
            rejected_at=datetime.fromtimestamp(retracted_at, UTC).astimezone(),
        )
    except FileNotFoundError:
        raise IncompleteSeries(
            "expected the objects of the reading in the outbox, found that they were removed; reject them at the "
            "destination by hand"
        ) from None
    write_object(note, path)


def _is(row: SeriesRow, reading: ReadingRow) -> ColumnElement[bool]:
    return (RETRACTIONS.c.series_key == row.series_key) & (RETRACTIONS.c.generation == reading.generation)
