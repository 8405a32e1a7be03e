"""Take a reading back: the journal says so first, then each destination gets a note that rejects all of its objects.

In this order nothing of the reading is delivered any more from the first step on; a note that could not be sent is
written again, byte for byte, when the operator tries again (ADR 0016).
"""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, insert, select, update

from dicom_io.objects.key_objects import encode_rejection
from dicom_io.results import read_object, write_object
from dicom_io.scu import deliverable
from sgmri import readings as reading_json
from sgmri.errors import DeliveryError, IncompleteSeries, SgmriError
from sgmri.lifecycle import Reason, State, may_follow
from sgmri.outlets import Outlet
from sgmri.settings import Settings
from worker.deliveries import Deliveries, DeliveryRow, is_in_hand
from worker.destinations import open_sender, targets
from worker.journal import Journal, SeriesRow
from worker.journal_tables import REJECTIONS, RESULTS, RETRACTIONS
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
    if is_in_hand(journal, row) or not _record(journal, row, reading, reason):
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
    """Write the rejection note of a retracted reading, and send it to every destination that the reading was for.

    It is sent also where no C-STORE of an object is known to have succeeded: the response may have been lost. What one
    destination does not take does not hold it back from the others.

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
    The note's file; destinations whose objects have another form get one of their own.

    Raises
    ------
    IncompleteSeries
        If the objects are no longer in the outbox.
    DeliveryError
        If a destination could not be reached, or refused the note.
    """
    outlets = {target.outlet.name: target.outlet for target in targets(settings)}
    known = Deliveries(journal=journal, targets=targets(settings))
    known.begin_late(replace(row, generation=reading.generation))
    deliveries = known.of(row, reading.generation)
    paths = {
        form: _write_note(journal, row, reading, directory, form)
        for form in sorted({"", *(one.form for one in deliveries)})
    }
    failures = []
    for delivery in deliveries:
        try:
            _send(journal, settings, outlets[delivery.destination], delivery, paths[delivery.form])
        except DeliveryError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    with journal.begin() as connection:
        connection.execute(update(RETRACTIONS).where(_is(row, reading)).values(sent_at=journal.clock()))
    journal.log(row, "rejection note sent" if deliveries else "rejection note written")
    return paths[""]


def _send(journal: Journal, settings: Settings, outlet: Outlet, delivery: DeliveryRow, path: Path) -> None:
    """Send a note to one destination, if it has not taken it already."""
    taken = {
        "series_key": delivery.series_key,
        "generation": delivery.generation,
        "destination": outlet.name,
    }
    has_it = select(REJECTIONS).where(*(REJECTIONS.c[column] == value for column, value in taken.items()))
    with journal.look() as connection:
        if connection.execute(has_it).first() is not None:
            return
    with closing(open_sender(settings, outlet)) as sender:
        for _, refusal in sender.store([deliverable(path)]):
            if refusal is not None:
                raise refusal
    with journal.begin() as connection:
        connection.execute(insert(REJECTIONS).values(**taken, sent_at=journal.clock()))


def _write_note(journal: Journal, row: SeriesRow, reading: ReadingRow, directory: Path, form: str) -> Path:
    objects = (
        select(RESULTS.c.file_name)
        .where(
            RESULTS.c.series_key == row.series_key,
            RESULTS.c.generation == reading.generation,
            RESULTS.c.form == form,
        )
        .order_by(RESULTS.c.position)
    )
    with journal.look() as connection:
        retracted_at = connection.execute(select(RETRACTIONS.c.retracted_at).where(_is(row, reading))).scalar_one()
        names = [str(name) for (name,) in connection.execute(objects)]
    assert reading.retracted is not None
    path = directory / form / REJECTION_FILE
    try:
        note = encode_rejection(
            reading_json.from_json((path.parent / READING_FILE).read_text(encoding="utf-8")),
            [read_object(directory / name) for name in names],
            reading.retracted,
            rejected_at=datetime.fromtimestamp(retracted_at, UTC).astimezone(),
        )
    except FileNotFoundError:
        raise IncompleteSeries(
            "expected the objects of the reading in the outbox, found that they were removed; reject them at the "
            "destination by hand"
        ) from None
    write_object(note, path)
    return path


def _is(row: SeriesRow, reading: ReadingRow) -> ColumnElement[bool]:
    return (RETRACTIONS.c.series_key == row.series_key) & (RETRACTIONS.c.generation == reading.generation)
