"""Real FLAIR with real lesions: what an engine made for synthetic ones sees of them, whatever that is.

Clinical FLAIR of MS patients (Lesjak et al., Univ. Ljubljana, CC BY). The masks hold only lesions that changed
between two visits, so sensitivity can be measured and false positives cannot: a box outside the masks may lie on a
lesion that did not change. Patients that were trained on are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.training.collect import HELD_OUT_PATIENTS, read_nifti
from sgmri.catalogue import STANDARD
from sgmri.geometry import Box, intersection_area
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import Answer
from sgmri.volume import Anatomy, FrameRef, Orientation, Volume, Weighting
from worker.rendering import render, to_source

_LABEL = "Nonspecific white matter lesion"
_LEAST_PIXELS = 16
"""Lesions that cover fewer pixels on every frame are below what the model was taught to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealResult:
    """What an engine saw of one patient.

    Parameters
    ----------
    patient
        Name of the data set's file.
    lesions, found
        Changed lesions of at least 16 pixels on a frame, and how many of them a box touches there.
    tracklets, unconfirmed
        White-matter lesions that the engine shows, and how many of them touch no mask.
    others
        Findings of other labels that it shows.
    presence
        Its answer to the question for white-matter lesions.
    """

    patient: str
    lesions: int
    found: int
    tracklets: int
    unconfirmed: int
    others: int
    presence: str


def patients(folder: Path) -> Iterator[tuple[str, Frames, NDArray[np.bool_]]]:
    """Yield (name, frames, mask) of every patient that is at hand and was not trained on.

    Parameters
    ----------
    folder
        Holds ``volumes/ms_ljubljana_long``.
    """
    for name in HELD_OUT_PATIENTS:
        image = folder / "volumes" / "ms_ljubljana_long" / f"{name}_study2_FLAIR.nii.gz"
        mask = image.with_name(f"{name}_study2_FLAIR_changed_lesions_derived.nii.gz")
        if image.is_file() and mask.is_file():
            voxels, spacing_mm = read_nifti(image)
            yield name, _frames(voxels, spacing_mm), read_nifti(mask)[0] > 0


def _frames(voxels: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> Frames:
    slice_mm, row_mm, column_mm = spacing_mm
    volume = Volume(
        voxels=voxels,
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"2.25.{index + 1}",
                frame_number=None,
                position_mm=(0.0, 0.0, index * slice_mm),
            )
            for index in range(len(voxels))
        ),
        orientation=Orientation(
            row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 1.0, 0.0), pixel_spacing_mm=(row_mm, column_mm)
        ),
        slice_spacing_mm=slice_mm,
        frame_of_reference_uid="2.25.1",
        study_instance_uid="2.25.2",
        series_instance_uid="2.25.3",
        anatomy=Anatomy.BRAIN,
        weighting=Weighting.FLAIR,
    )
    return render(volume)


def examine_real(engine: Engine, folder: Path) -> list[RealResult]:
    """Put the real patients to an engine."""
    results = []
    for name, frames, mask in patients(folder):
        answers = to_source(engine.answer(frames, STANDARD[Anatomy.BRAIN], ReadingControl()), frames)
        results.append(_result(name, answers, mask))
    return results


def _result(name: str, answers: tuple[Answer, ...], mask: NDArray[np.bool_]) -> RealResult:
    shown = {tracklet.tracklet_id: tracklet for answer in answers for tracklet in answer.evidence}.values()
    white = [tracklet for tracklet in shown if tracklet.label == _LABEL]
    boxes: dict[int, list[Box]] = {}
    for tracklet in white:
        for finding in tracklet.findings:
            boxes.setdefault(finding.frame_index, []).append(finding.box)
    lesions = _lesions(mask)
    touched = {index for index, lesion in enumerate(lesions) if _touches(lesion, boxes)}
    confirmed = sum(
        any(mask[f.frame_index, int(f.box.y0) : int(f.box.y1), int(f.box.x0) : int(f.box.x1)].any() for f in t.findings)
        for t in white
    )
    gate = next(answer for answer in answers if answer.question_id == "brain.screen.white-matter")
    return RealResult(
        patient=name,
        lesions=len(lesions),
        found=len(touched),
        tracklets=len(white),
        unconfirmed=len(white) - confirmed,
        others=len(shown) - len(white),
        presence=str(gate.presence or gate.unanswered),
    )


def _lesions(mask: NDArray[np.bool_]) -> list[dict[int, Box]]:
    """Return the boxes of every connected lesion that is large enough on some frame, by frame."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    lesions = []
    for number in range(1, count + 1):
        frames = {}
        for index in np.flatnonzero((labels == number).any(axis=(1, 2))):
            rows, columns = np.nonzero(labels[index] == number)
            if len(rows) >= _LEAST_PIXELS:
                frames[int(index)] = Box(
                    x0=float(columns.min()), y0=float(rows.min()), x1=float(columns.max() + 1), y1=float(rows.max() + 1)
                )
        if frames:
            lesions.append(frames)
    return lesions


def _touches(lesion: dict[int, Box], boxes: dict[int, list[Box]]) -> bool:
    return any(intersection_area(box, other) > 0 for index, box in lesion.items() for other in boxes.get(index, []))


def as_markdown(engine: str, results: list[RealResult]) -> str:
    """Return the results as a table with its warning."""
    lines = [
        f"| {engine}, real FLAIR | changed lesions | touched | tracklets | outside masks | other findings | answer |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        lines.append(
            f"| {one.patient} | {one.lesions} | {one.found} | {one.tracklets} | {one.unconfirmed} | {one.others} | "
            f"{one.presence} |"
        )
    lines += [
        "",
        "The masks hold changed lesions only: a tracklet that touches none may lie on one that did not change.",
    ]
    return "\n".join(lines) + "\n"
