"""What retention took from the disk: the series' rows stay, as a tombstone by which a study sent again is known.

The journal says first that the files of a series go, durably; then they go; then it says that they are gone. A process
that dies in between leaves a removal that the next one ends (PS3.4 Annex J decides when it may begin).
"""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker.journal import Journal, SeriesRow
from worker.journal_tables import DELIVERIES, INSTANCES, REMOVALS, RESULTS, RETRACTIONS, SERIES

_KEYS_AT_ONCE = 500  # SQLite bounds the variables of a statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A series whose files go, or are gone.

    Parameters
    ----------
    series_key
        Which.
    generation
        Instances and results up to this one.
    """

    series_key: str
    generation: int


def begin(journal: Journal, row: SeriesRow) -> Removal | None:
    """Say durably that the files of a series go; None if the series is no longer as ``row`` says, or is worked on."""
    now = journal.clock()
    with journal.begin(durable=True) as connection:
        query = select(SERIES).where(SERIES.c.series_key == row.series_key).with_for_update()
        found = connection.execute(query).one()
        before = (row.state.value, row.generation, row.updated_at)
        if (found.state, found.generation, found.updated_at) != before or found.lease_until > now:
            return None
        connection.execute(delete(REMOVALS).where(REMOVALS.c.series_key == row.series_key))
        connection.execute(insert(REMOVALS).values(series_key=row.series_key, generation=row.generation, began_at=now))
    journal.log(row, "files removed")
    return Removal(series_key=row.series_key, generation=row.generation)


def end(journal: Journal, removal: Removal) -> None:
    """Say that the files are gone."""
    with journal.begin() as connection:
        this = REMOVALS.c.series_key == removal.series_key
        connection.execute(update(REMOVALS).where(this).values(ended_at=journal.clock()))


def begun(journal: Journal) -> tuple[Removal, ...]:
    """Return the removals that were begun and not ended."""
    with journal.look() as connection:
        found = connection.execute(select(REMOVALS).where(REMOVALS.c.ended_at.is_(None)))
        return tuple(Removal(series_key=row.series_key, generation=row.generation) for row in found)


def removed_generation(journal: Journal, series_key: str) -> int | None:
    """Return up to which generation the files of a series were removed; None where none were."""
    with journal.look() as connection:
        query = select(REMOVALS.c.generation).where(REMOVALS.c.series_key == series_key)
        return connection.execute(query).scalar()


def file_names(journal: Journal, removal: Removal) -> tuple[str, ...]:
    """Return the spool files that a removal takes; what has come since is not among them."""
    query = select(INSTANCES.c.file_name).where(
        INSTANCES.c.series_key == removal.series_key, INSTANCES.c.generation <= removal.generation
    )
    with journal.look() as connection:
        return tuple(str(name) for (name,) in connection.execute(query))


def known(journal: Journal, keys: list[str]) -> dict[str, SeriesRow]:
    """Return the rows of those series that the journal has, by key."""
    rows: dict[str, SeriesRow] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        rows |= {row.series_key: row for row in journal.series_of(keys[start : start + _KEYS_AT_ONCE])}
    return rows


def is_delivered(journal: Journal, settings: Settings, row: SeriesRow) -> bool:
    """Tell whether every destination answers for the newest reading, as far as asked to, and has every rejection."""
    proves = any(outlet.proves for outlet in settings.outlets)
    done = {State.COMMITTED, State.RETRACTED} | (set() if proves else {State.STORED})
    if row.state not in done:
        return False
    unsent = select(RETRACTIONS).where(RETRACTIONS.c.series_key == row.series_key, RETRACTIONS.c.sent_at.is_(None))
    with journal.look() as connection:
        if connection.execute(unsent).first() is not None:
            return False
    return row.state is State.RETRACTED or not _undelivered(journal, settings, row, {row.generation})


def awaits_destination(journal: Journal, settings: Settings, row: SeriesRow) -> bool:
    """Tell whether a series that ended otherwise still has results that a destination does not answer for."""
    key = row.series_key
    rejected = select(RETRACTIONS.c.generation).where(
        RETRACTIONS.c.series_key == key, RETRACTIONS.c.sent_at.is_not(None)
    )
    query = select(RESULTS.c.generation).where(RESULTS.c.series_key == key, RESULTS.c.generation.not_in(rejected))
    with journal.look() as connection:
        generations = {int(generation) for (generation,) in connection.execute(query)}
    return _undelivered(journal, settings, row, generations)


def _undelivered(journal: Journal, settings: Settings, row: SeriesRow, generations: set[int]) -> bool:
    """Tell whether the results of a generation are on their way to nobody, or a destination lacks or does not prove.

    A destination that is no longer in the settings counts: it may come back.
    """
    proving = {outlet.name for outlet in settings.outlets if outlet.proves}
    known = {outlet.name for outlet in settings.outlets}
    query = select(DELIVERIES).where(
        DELIVERIES.c.series_key == row.series_key, DELIVERIES.c.generation.in_(generations)
    )
    with journal.look() as connection:
        deliveries = connection.execute(query).all()
    open_ones = [
        one
        for one in deliveries
        if one.state != State.COMMITTED
        and (one.state != State.STORED or one.destination in proving or one.destination not in known)
    ]
    return bool(open_ones) or {one.generation for one in deliveries} != generations
