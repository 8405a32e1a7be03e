"""A question that a person asks about one series: put to the engine, checked like a reading, and kept if wanted.

The command line and the dashboard call the same functions. What is asked is held against the same gate as a reading;
the answer is in no report before it is recorded: then a new reading of the series says what the one before said, and
the answer besides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from dicom_io.decode import decode
from dicom_io.profiles import DEFAULT, Profile
from dicom_io.results import ResultObject, write_results
from dicom_io.revision import revise, with_asked
from dicom_io.selection import Choice, choose
from dicom_io.series import describe
from sgmri import readings
from sgmri.asking import Answered, AskEvent, BoxShown, as_asked, find_question, frame_span
from sgmri.audit import Action, AuditEvent, Auditor, Outcome
from sgmri.catalogue import by_id
from sgmri.errors import EngineError, SgmriError, UnsupportedSeries
from sgmri.interfaces import AskedEngine, ReadingControl
from sgmri.lifecycle import TRANSITIONS, State
from sgmri.questions import Answer, QuestionSet
from sgmri.readings import Reading
from worker.deliveries import is_in_hand
from worker.journal import Journal, SeriesRow, series_row
from worker.journal_tables import SERIES
from worker.leases import this_worker
from worker.outbox import ResultRow
from worker.pipeline import to_reading
from worker.rendering import render
from worker.revisions import earlier_readings, next_generation
from worker.tasks import READING_FILE, Workplace, write_form

STAGE = "asked"
"""What the timeline calls it."""
_OF_SOME = "asked of some frames only, and certainties were calibrated on whole volumes: none is stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asks.

    Parameters
    ----------
    text
        Id or text of a catalogue question, or free text.
    frames
        "10-14" or "7": the only frames to be shown, by their numbers in the series from 1; empty: all.
    """

    text: str
    frames: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of a question.

    Parameters
    ----------
    answered
        The answer, checked; boxes in source pixels, indices of the series' frames.
    reading
        The answer alone as a reading, for :func:`dicom_io.revision.with_asked`.
    """

    answered: Answered
    reading: Reading


def ask(
    choice: Choice,
    engine: AskedEngine,
    question: Question,
    *,
    started_at: datetime,
    tell: Callable[[AskEvent], None],
    control: ReadingControl | None = None,
) -> Asked:
    """Ask an engine about a series that was chosen for reading.

    Parameters
    ----------
    choice
        The series, as selection decided.
    engine
        Who is asked.
    question
        What.
    started_at
        The answer's time, with a time zone.
    tell
        Told every event as it comes, the checked answer last.
    control
        Cancel and time limit.

    Raises
    ------
    ConfigError
        If the question or the frames cannot be used.
    UnsupportedSeries
        If the series is not for us; carries the reason.
    SeriesError, EngineError
        As for a reading.
    """
    if not choice.taken:
        raise UnsupportedSeries(f"nothing is asked of the series: {choice.explanation}", choice.reason)
    assert choice.anatomy is not None and choice.question_set_id is not None and choice.sub_volume is not None
    questions = by_id(choice.question_set_id)
    meant = find_question(question.text, questions)
    volume = decode(choice.sub_volume.facts, choice.anatomy)
    shown = frame_span(question.frames, len(volume.frames))
    frames = render(volume)
    some = replace(frames, pixels=frames.pixels[shown.start : shown.stop], first_frame_index=shown.start)
    answered = None
    for event in engine.ask(some, meant, control or ReadingControl()):
        if isinstance(event, Answered):
            answered = event
        else:
            tell(event)
    if answered is None:
        raise EngineError("expected an answer at the end of what the engine says, found none; report this as a bug")
    asked = as_asked(answered.question, shown, len(volume.frames))
    answer = replace(_in_series(answered.answer, shown, len(volume.frames)), question_id=asked.question_id)
    one = QuestionSet(set_id=questions.set_id, anatomy=questions.anatomy, questions=(asked,))
    reading = replace(to_reading(volume, frames, one, engine, [answer], started_at), asked=(asked,))
    is_part = answered.answer.certainty is not None and len(shown) < len(volume.frames)
    note = "; ".join(filter(None, (answered.note, _OF_SOME if is_part else "")))
    answered = Answered(question=asked, answer=reading.answers[0], note=note)
    for finding in reading.findings if answered.answer.unanswered is None else ():
        tell(BoxShown(frame_number=finding.frame_index + 1, label=finding.label, box=finding.box))
    tell(answered)
    return Asked(answered=answered, reading=reading)


def _in_series(answer: Answer, shown: range, count: int) -> Answer:
    """Count the frames of an answer in the series; what was asked of some of them has no calibrated certainty."""
    evidence = tuple(
        replace(one, findings=tuple(replace(f, frame_index=f.frame_index + shown.start) for f in one.findings))
        for one in answer.evidence
    )
    answer = replace(answer, evidence=evidence)
    return answer if len(shown) == count else replace(answer, certainty=None, calibrated=False)


def ask_series(  # noqa: PLR0913 - who asks whom what about which series, and who is told; all but two keyword-only
    place: Workplace,
    row: SeriesRow,
    *,
    engine: AskedEngine,
    question: Question,
    tell: Callable[[AskEvent], None],
    who: str,
    audit: Auditor,
    control: ReadingControl | None = None,
) -> Asked:
    """Ask about a series of the journal; the timeline and the audit log say that it was asked, not what.

    Parameters
    ----------
    place
        Journal, spool and rules.
    row
        The series; its instances are in the spool.
    engine, question, tell, control
        As for :func:`ask`.
    who, audit
        Who asks, and who remembers it.

    Raises
    ------
    SgmriError
        As :func:`ask`.
    """
    begin, outcome = place.journal.clock(), Outcome.FAILURE
    try:
        choice = choose(describe(spooled(place, row)), rules=place.rules)
        started_at = datetime.fromtimestamp(int(begin), UTC).astimezone()
        asked = ask(choice, engine, question, started_at=started_at, tell=tell, control=control)
        outcome = Outcome.SUCCESS
    finally:
        audit(AuditEvent(action=Action.ASK, who=who, outcome=outcome, series_key=row.series_key[:8]))
    place.journal.log(row, STAGE, duration_s=place.journal.clock() - begin)
    return asked


def spooled(place: Workplace, row: SeriesRow) -> list[Path]:
    """Return the instances of a series."""
    return [place.spool.path(row.series_key, name) for name in place.journal.file_names(row.series_key)]


def of_study(journal: Journal, study_instance_uid: str) -> tuple[SeriesRow, ...]:
    """Return the series of a study that selection has taken: those that have a question set."""
    chosen = (SERIES.c.study_instance_uid == study_instance_uid) & SERIES.c.question_set_id.is_not(None)
    with journal.look() as connection:
        found = connection.execute(select(SERIES).where(chosen).order_by(SERIES.c.received_at))
        return tuple(series_row(row) for row in found)


def standing(place: Workplace, row: SeriesRow, form: str = "") -> Reading:
    """Return the reading of a series that counts now.

    Parameters
    ----------
    place, row
        The series.
    form
        In which shape its objects are.

    Raises
    ------
    SgmriError
        If there is none, its report has not reached its destination, or retention has removed it.
    """
    later = replace(row, generation=row.generation + 1)
    delivered = earlier_readings(place.journal, later, delivered=bool(place.settings.outlets))
    path = place.results_dir(row) / form / READING_FILE
    if not delivered or delivered[0].generation != row.generation or not path.exists():
        raise SgmriError(
            "expected a reading of the series whose report has reached its destination and lies in the outbox, found "
            "none: wait until it is delivered, or read the series again, then ask again"
        )
    return readings.from_json(path.read_text(encoding="utf-8"))


def added(earlier: Reading, asked: Asked) -> Reading:
    """Return an earlier reading with an answer added to it.

    Raises
    ------
    SgmriError
        If there is no answer, the reading holds it, or another engine or other frames than those asked have made it.
    """
    _require_answer(asked)
    mine, others = asked.reading.engine, earlier.engine
    if (mine.name, mine.version, mine.digest) != (others.name, others.version, others.digest):
        raise SgmriError(
            "expected the engine that made the report, found another: a report names one engine; ask that one, or read "
            "the series again (sgmri reread)"
        )
    if asked.reading.frames != earlier.frames:
        raise SgmriError("expected the frames of the report, found others: ask of the series that it is about")
    if asked.reading.asked[0] in earlier.asked:
        raise SgmriError("the report holds this question with its answer: nothing is written")
    return with_asked(earlier, asked.reading)


def _require_answer(asked: Asked) -> None:
    if asked.answered.answer.unanswered is not None:
        raise SgmriError("expected an answer to write down, found none: nothing is written")


def write_down(
    asked: Asked, earlier: Reading | None, paths: Sequence[Path], directory: Path, profile: Profile = DEFAULT
) -> tuple[ResultObject, ...]:
    """Write the objects of an answer as files, beside the outbox.

    Parameters
    ----------
    asked
        What came of the question.
    earlier
        The reading whose report is revised: the new one says all that it says; None for a report of the answer alone.
    paths
        Instances of the series.
    directory
        Where they go; made if needed.
    profile
        Which objects, in which shape.

    Raises
    ------
    SgmriError
        As :func:`added`, and as :func:`dicom_io.results.write_results`.
    """
    _require_answer(asked)
    reading = asked.reading if earlier is None else revise(added(earlier, asked), [earlier])
    directory.mkdir(parents=True, exist_ok=True)
    results = write_results(reading, paths, directory, profile=profile)
    (directory / READING_FILE).write_text(readings.to_json(reading), encoding="utf-8")
    return results


def record(place: Workplace, row: SeriesRow, asked: Asked, *, who: str, audit: Auditor) -> SeriesRow:
    """Put a new version of a series' report, with the answer in it, into the outbox.

    Parameters
    ----------
    place, row
        The series; its reading is the newest one and nobody is at it.
    asked
        What came of the question.
    who, audit
        Who wants it kept, and who remembers that.

    Returns
    -------
    The series, READ for another generation: the sweeper has it delivered.

    Raises
    ------
    SgmriError
        As :func:`standing` and :func:`added`; or if the series is being worked on.
    """
    if State.QUEUED not in TRANSITIONS[row.state] or is_in_hand(place.journal, row):
        raise _busy()
    later = replace(row, generation=row.generation + 1)
    results: list[ResultRow] = []
    for form, profile in {"": place.profile, **place.further_profiles}.items():
        results += write_form(place, later, added(standing(place, row, form), asked), spooled(place, row), profile)
    _take(place, row)
    rows = [replace(result, position=position) for position, result in enumerate(results)]
    taken = place.journal.series(row.series_key)
    if taken.generation != later.generation or not place.outbox.put(taken, rows):
        raise _busy()
    detail = "a report with the answer to a question"
    audit(AuditEvent(action=Action.OPERATE, who=who, series_key=row.series_key[:8], detail=detail, count=len(rows)))
    return place.journal.series(row.series_key)


def _take(place: Workplace, row: SeriesRow) -> None:
    """Make a reading of a series without letting a worker have it in between."""
    journal, now = place.journal, place.journal.clock()
    queued = replace(row, state=State.QUEUED, generation=row.generation + 1, lease_owner=None)
    with journal.begin() as connection:
        done = journal.move_within(connection, row, State.QUEUED, **next_generation(row, now, place.settings.queue))
        if not done or not journal.lease_within(connection, queued, this_worker(), place.settings.worker.lease_s):
            raise _busy()


def _busy() -> SgmriError:
    return SgmriError("expected a series that nobody works on, found one in hand; ask again when it is done")
