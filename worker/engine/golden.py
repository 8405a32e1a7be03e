"""Golden cases: volumes with known readings, replayed before a model may work, so that a broken stack is noticed.

A bundle brings them. What counts is what a report would say: the same answers, the same findings on the same frames,
boxes that agree, and features that agree. Wording and decimals of a probability may differ between devices.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgmri import readings
from sgmri.catalogue import STANDARD, by_id
from sgmri.errors import EngineError, SgmriError
from sgmri.findings import Tracklet
from sgmri.geometry import FrameScaling, iou
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import Answer
from sgmri.readings import Reading
from sgmri.volume import Anatomy, FrameRef, Plane, Weighting

FILE_NAME = "golden.npz"
LEAST_IOU = 0.9
"""How well boxes must agree."""
FEATURE_TOLERANCE = 2e-2
"""Largest relative L2 difference of the features: half precision on one device against another."""
_MAX_CASES = 16

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 (frames, rows, columns) -> float32 (frames, tokens, width)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenCase:
    """A volume with its reading.

    Parameters
    ----------
    frames
        What is shown; not scaled.
    reading
        What is said of it.
    features
        float16 (tokens, width): of its first frame; empty where the encoder is not compared.
    """

    frames: Frames
    reading: Reading
    features: NDArray[np.float16]


def case_of(engine: Engine, encode: Encode | None, frames: Frames, started_at: datetime) -> GoldenCase:
    """Have an engine read a volume, and keep what it says.

    Parameters
    ----------
    engine, encode
        As for :func:`replay`.
    frames
        The volume; its scaling is left out, boxes are those of the frames.
    started_at
        The reading's time, with a time zone.
    """
    count, rows, columns = frames.pixels.shape
    plain = replace(frames, scaling=FrameScaling(scale_x=1.0, scale_y=1.0, source_rows=rows, source_columns=columns))
    questions = STANDARD[frames.anatomy]
    answers = engine.answer(plain, questions, ReadingControl())
    tracklets = {tracklet.tracklet_id: tracklet for answer in answers for tracklet in answer.evidence}
    reading = Reading(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        anatomy=frames.anatomy,
        question_set_id=questions.set_id,
        engine=engine.describe(),
        started_at=started_at,
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"2.25.{10 + index}",
                frame_number=None,
                position_mm=(0.0, 0.0, index * frames.slice_spacing_mm),
            )
            for index in range(count)
        ),
        rows=rows,
        columns=columns,
        answers=answers,
        tracklets=tuple(tracklets.values()),
    )
    features = np.zeros((0, 0), np.float16) if encode is None else encode(frames.pixels[:1])[0].astype(np.float16)
    return GoldenCase(frames=plain, reading=reading, features=features)


def write(cases: Sequence[GoldenCase], path: Path) -> None:
    """Write cases as plain arrays."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, case in enumerate(cases):
        frames = case.frames
        arrays |= {
            f"{number}.pixels": frames.pixels,
            f"{number}.sizes_mm": np.array([frames.pixel_size_mm, frames.slice_spacing_mm]),
            f"{number}.kind": np.array([frames.plane.value, frames.weighting.value, _written(frames.fat_suppressed)]),
            f"{number}.reading": np.array(readings.to_json(case.reading)),
            f"{number}.features": case.features,
        }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its options
    path.write_bytes(stream.getvalue())


def _written(flag: bool | None) -> str:
    return {None: "", True: "yes", False: "no"}[flag]


def read(path: Path) -> tuple[GoldenCase, ...]:
    """Read the cases of a bundle.

    Raises
    ------
    EngineError
        If the file is none of :func:`write`.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            count = sum(name.endswith(".pixels") for name in arrays.files)
            if not 0 < count <= _MAX_CASES:
                raise ValueError("no cases, or too many")
            return tuple(_case(arrays, number) for number in range(count))
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, SgmriError) as error:
        raise EngineError(
            f"{path.name}: expected golden cases, found {type(error).__name__}; build the bundle again"
        ) from None


def _case(arrays: "np.lib.npyio.NpzFile", number: int) -> GoldenCase:
    pixels = np.ascontiguousarray(arrays[f"{number}.pixels"], dtype=np.uint8)
    reading = readings.from_json(str(arrays[f"{number}.reading"]))
    plane, weighting, fat = map(str, arrays[f"{number}.kind"])
    pixel_mm, slice_mm = map(float, arrays[f"{number}.sizes_mm"])
    _, rows, columns = pixels.shape
    frames = Frames(
        pixels=pixels,
        scaling=FrameScaling(scale_x=1.0, scale_y=1.0, source_rows=rows, source_columns=columns),
        pixel_size_mm=pixel_mm,
        slice_spacing_mm=slice_mm,
        anatomy=Anatomy(reading.anatomy),
        plane=Plane(plane),
        weighting=Weighting(weighting),
        fat_suppressed={"": None, "yes": True, "no": False}[fat],
    )
    return GoldenCase(frames=frames, reading=reading, features=arrays[f"{number}.features"].astype(np.float16))


def replay(engine: Engine, encode: Encode | None, cases: Sequence[GoldenCase]) -> tuple[str, ...]:
    """Read the cases anew and return what differs; empty is good.

    Parameters
    ----------
    engine
        That is to be let to work.
    encode
        Its encoder; None where it has none here.
    cases
        Of its bundle.
    """
    problems = []
    for number, case in enumerate(cases, start=1):
        given = engine.answer(case.frames, by_id(case.reading.question_set_id), ReadingControl())
        problems += [f"case {number}: {text}" for text in differences(case.reading.answers, given)]
        if encode is not None and case.features.size:
            problems += [f"case {number}: {text}" for text in _features(encode, case)]
    return tuple(problems)


def _features(encode: Encode, case: GoldenCase) -> list[str]:
    found = encode(case.frames.pixels[:1])[0].astype(np.float64)
    expected = case.features.astype(np.float64)
    if found.shape != expected.shape:
        return [f"features of shape {found.shape}, expected {expected.shape}"]
    relative = float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-9))
    return (
        [] if relative <= FEATURE_TOLERANCE else [f"features differ by {relative:.1e}, allowed {FEATURE_TOLERANCE:.0e}"]
    )


def differences(expected: Sequence[Answer], given: Sequence[Answer]) -> list[str]:
    """Return how answers differ in what a report would say."""
    if [answer.question_id for answer in expected] != [answer.question_id for answer in given]:
        return ["other questions were answered"]
    problems = []
    for old, new in zip(expected, given, strict=True):
        if (old.presence, old.count, old.chosen, old.unanswered) != (
            new.presence,
            new.count,
            new.chosen,
            new.unanswered,
        ):
            problems.append(f"{old.question_id}: another answer")
        elif not _same_places(old.evidence, new.evidence):
            problems.append(f"{old.question_id}: boxes agree less than {LEAST_IOU}, or lie on other frames")
    return problems


def _same_places(old: Sequence[Tracklet], new: Sequence[Tracklet]) -> bool:
    if len(old) != len(new):
        return False
    for one, other in zip(old, new, strict=True):
        if one.label != other.label or one.frame_indices != other.frame_indices:
            return False
        if any(iou(a.box, b.box) < LEAST_IOU for a, b in zip(one.findings, other.findings, strict=True)):
            return False
    return True
