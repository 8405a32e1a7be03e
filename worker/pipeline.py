"""From the files of a series to a reading: decode, render, ask, map back.

Everything that touches pixels happens here, once for the plug-in and once for the command line.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dicom_io.decode import decode
from dicom_io.rulings import BUILT_IN, Rules
from dicom_io.selection import Choice, choose
from dicom_io.series import describe
from sgmri.catalogue import by_id
from sgmri.errors import UnsupportedSeries
from sgmri.findings import Tracklet
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import Answer, QuestionSet
from sgmri.readings import Reading
from sgmri.volume import Volume
from worker.engine.guard import guard, refuse_wrong_sides
from worker.rendering import render, to_source
from worker.sides import side_of

Timing = Callable[[str, float], None]
"""Told the name of a stage and how many seconds it took."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    """A reading and the frames that it was made from (for a contact sheet)."""

    reading: Reading
    frames: Frames


def read_paths(
    paths: Sequence[Path],
    engine: Engine,
    *,
    started_at: datetime,
    control: ReadingControl | None = None,
    timing: Timing = lambda stage, seconds: None,
    rules: Rules = BUILT_IN,
) -> Product:
    """Read one series from its files.

    Parameters
    ----------
    paths
        Every instance of the series.
    engine
        Who reads.
    started_at
        The reading's time, with a time zone.
    control
        Progress, cancel and deadline.
    timing
        Told the duration of each stage.
    rules
        Who says which question set a volume is asked.

    Raises
    ------
    UnsupportedSeries
        If the series is not for us; carries the reason.
    SeriesError
        If it cannot be decoded.
    EngineError
        If the engine gives up.
    """
    with _timed("describe", timing):
        choice = choose(describe(paths), rules=rules)
    if not choice.taken:
        raise UnsupportedSeries(f"the series is not read: {choice.explanation}", choice.reason)
    return read_series(choice, engine, started_at=started_at, control=control or ReadingControl(), timing=timing)


def read_series(
    choice: Choice,
    engine: Engine,
    *,
    started_at: datetime,
    control: ReadingControl,
    timing: Timing = lambda stage, seconds: None,
) -> Product:
    """Read a series that has been chosen, from the sub-volume that was chosen; see :func:`read_paths`."""
    assert choice.anatomy is not None and choice.question_set_id is not None and choice.sub_volume is not None
    questions = by_id(choice.question_set_id)
    with _timed("decode", timing):
        volume = decode(choice.sub_volume.facts, choice.anatomy)
    with _timed("render", timing):
        frames = render(volume)
    with _timed("answer", timing):
        answers = engine.answer(frames, questions, control)
    return Product(reading=to_reading(volume, frames, questions, engine, answers, started_at), frames=frames)


def load_frames(paths: Sequence[Path]) -> Frames:
    """Return what an engine would be shown of a series (for a contact sheet); raises as :func:`read_paths`."""
    choice = choose(describe(paths))
    if choice.anatomy is None or choice.sub_volume is None:
        raise UnsupportedSeries(f"the series is not read: {choice.explanation}", choice.reason)
    return render(decode(choice.sub_volume.facts, choice.anatomy))


def to_reading(
    volume: Volume,
    frames: Frames,
    questions: QuestionSet,
    engine: Engine,
    answers: Sequence[Answer],
    started_at: datetime,
) -> Reading:
    """Check an engine's answers, map their boxes back to the source and hold what they say of sides against these."""
    checked = to_source(guard(answers, frames, questions), frames)
    tracklets: dict[str, Tracklet] = {}
    placed = []
    for answer in checked:
        for tracklet in answer.evidence:
            if tracklet.tracklet_id not in tracklets:
                tracklets[tracklet.tracklet_id] = replace(tracklet, laterality=side_of(tracklet, volume))
        placed.append(replace(answer, evidence=tuple(tracklets[t.tracklet_id] for t in answer.evidence)))
    return Reading(
        study_instance_uid=volume.study_instance_uid,
        series_instance_uid=volume.series_instance_uid,
        anatomy=volume.anatomy,
        question_set_id=questions.set_id,
        engine=engine.describe(),
        started_at=started_at,
        frames=volume.frames,
        rows=volume.rows,
        columns=volume.columns,
        answers=refuse_wrong_sides(placed),
        tracklets=tuple(tracklets.values()),
        is_lossy=volume.is_lossy,
        anatomy_certainty=volume.anatomy_certainty,
    )


@contextmanager
def _timed(stage: str, timing: Timing) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timing(stage, time.perf_counter() - start)
