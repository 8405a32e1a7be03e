"""From the files of a series to a reading: decode, render, ask, map back.

Everything that touches pixels happens here, once for the plug-in and once for the command line.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from dicom_io.decode import decode
from dicom_io.rulings import BUILT_IN, Rules
from dicom_io.selection import Choice, choose
from dicom_io.series import describe
from sgmri.catalogue import by_id
from sgmri.errors import UnsupportedSeries
from sgmri.findings import Laterality, Tracklet
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import Answer, QuestionSet
from sgmri.readings import Reading
from sgmri.volume import Anatomy, Volume
from worker.engine.guard import guard, refuse_wrong_sides
from worker.rendering import render, to_source

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


def side_of(tracklet: Tracklet, volume: Volume) -> Laterality | None:
    """Tell on which side of the head a tracklet lies; None for a knee, or on the midline.

    The midline is the centre of the tissue's extent along x (LPS: x grows to the patient's left), so an off-centre
    head does not matter. Within 5 mm of it no side is given.
    """
    if volume.anatomy is not Anatomy.BRAIN:
        return None
    midline_mm = _midline_mm(volume)
    positions = [
        float(volume.to_patient_mm(finding.frame_index, *finding.box.centre)[0]) for finding in tracklet.findings
    ]
    offset_mm = float(np.mean(positions)) - midline_mm
    if abs(offset_mm) < _MIDLINE_MARGIN_MM:
        return None
    return Laterality.LEFT if offset_mm > 0 else Laterality.RIGHT


_MIDLINE_MARGIN_MM = 5.0
_TISSUE = 0.2  # of the 99th percentile: above air, below any tissue


def _midline_mm(volume: Volume) -> float:
    tissue = volume.voxels > _TISSUE * float(np.percentile(volume.voxels, 99))
    frame, row, column = (np.flatnonzero(tissue.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    if not len(frame):
        frame, row, column = (np.array([0, length - 1]) for length in volume.voxels.shape)
    corners = [
        volume.affine @ np.array([c, r, f, 1.0])
        for c in (column[0], column[-1])
        for r in (row[0], row[-1])
        for f in (frame[0], frame[-1])
    ]
    x_mm = [float(corner[0]) for corner in corners]
    return (min(x_mm) + max(x_mm)) / 2


@contextmanager
def _timed(stage: str, timing: Timing) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timing(stage, time.perf_counter() - start)
