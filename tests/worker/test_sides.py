"""The patient's left and right, from his head's place in LPS coordinates and from nothing that is written anywhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_io.kinds import ResultKind
from dicom_io.results import write_results
from sgmri.questions import Unanswered
from sgmri.readings import Reading
from tests.oriented_series import Kind, Scan, centred, datasets
from tests.series_files import written
from tests.worker.one_box_engine import read_brightest

_LEFT, _RIGHT = "7771000", "24028007"
"""SNOMED CT: a laterality."""
_LATERALITY = "272741003"
_HEAD_MM = np.array([14.0, -10.0, 8.0])
"""Where the head's centre is, LPS: beside the middle of the frames, as of a patient who lies off-centre."""
_SEMI_AXES_MM = np.array([72.0, 88.0, 80.0])
_MARK_VALUE = 4000
_PLANES = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "oblique": ((0.96, 0.28, 0.0), (-0.2688, 0.9216, 0.28)),
}


def _scan(plane: str, mark_x_mm: float) -> Scan:
    """Return a head of 144 mm with a mark so far to the left (or, below 0, to the right) of its midline."""
    row_cosines, column_cosines = (np.array(cosines) for cosines in _PLANES[plane])
    empty = np.zeros((36 if plane == "sagittal" else 12, 80, 80), np.uint16)
    scan = centred(empty, (row_cosines, column_cosines), (3.0, 3.0), slice_spacing_mm=6.0)
    from_centre_mm = scan.positions_mm(np.argwhere(empty == 0)).reshape(*empty.shape, 3) - _HEAD_MM
    voxels = np.where(np.linalg.norm(from_centre_mm / _SEMI_AXES_MM, axis=-1) < 1, 500, 0).astype(np.uint16)
    is_mark = np.abs(from_centre_mm - [mark_x_mm, 20, 5]).max(axis=-1) < 5
    voxels[is_mark] = _MARK_VALUE
    return replace(scan, voxels=voxels)


def _read(series: list[Dataset], folder: Path, text: str = "") -> tuple[Reading, str | None]:
    """Mark what is brightest; return the reading, and the code of the side in its report as pydicom sees it."""
    paths = written(series, folder / "in")
    reading = read_brightest(paths, text)[0].reading
    (folder / "out").mkdir()
    files = {result.kind: result.path for result in write_results(reading, paths, folder / "out")}
    sides = set(_sides(dcmread(files[ResultKind.SR])))
    assert len(sides) <= 1
    return reading, next(iter(sides), None)


def _sides(item: Dataset) -> list[str]:
    found = [side for child in item.get("ContentSequence", []) for side in _sides(child)]
    if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == _LATERALITY:
        found.append(str(item.ConceptCodeSequence[0].CodeValue))
    return found


def _as_series(scan: Scan, kind: Kind = Kind.CLASSIC) -> list[Dataset]:
    return datasets(scan, kind, range(len(scan.voxels)))


@pytest.mark.parametrize("mark_x_mm", [35.0, -35.0])
@pytest.mark.parametrize(
    ("plane", "axis", "kind"),
    [
        ("axial", 2, Kind.CLASSIC),
        ("coronal", 2, Kind.ENHANCED),
        ("oblique", 2, Kind.CLASSIC),
        ("sagittal", 0, Kind.ENHANCED),
    ],
)
def test_mirrored_pixels_change_sides_unless_the_orientation_is_mirrored_too(
    tmp_path: Path, plane: str, axis: int, kind: Kind, mark_x_mm: float
) -> None:
    """The same patient scanned the other way has his lesion on the same side; mirrored pixels alone change it."""
    scan = _scan(plane, mark_x_mm)
    here, opposite = (_LEFT, _RIGHT) if mark_x_mm > 0 else (_RIGHT, _LEFT)
    scanned = {
        "plain": (scan, here),
        "both": (scan.mirrored(axis, orientation=True), here),
        "pixels": (scan.mirrored(axis, orientation=False), opposite),
    }
    for name, (one, expected) in scanned.items():
        assert _read(_as_series(one, kind), tmp_path / name)[1] == expected, name


@pytest.mark.parametrize("kind", [Kind.CLASSIC, Kind.ENHANCED])
def test_what_is_written_does_not_change_the_side(tmp_path: Path, kind: Kind) -> None:
    """A header whose every word says "right" leaves a lesion on the left where it lies."""
    series = _as_series(_scan("axial", 35.0), kind)
    for ds in series:
        ds.Laterality = ds.ImageLaterality = "R"
        ds.SeriesDescription = ds.ProtocolName = "BRAIN RIGHT HEMISPHERE"
        ds.StudyDescription = "MR BRAIN, LESION RIGHT"
        ds.PatientOrientation = ["R", "A"]
        ds.PatientPosition = "FFP"
        for groups in ds.get("SharedFunctionalGroupsSequence", []):
            groups.FrameAnatomySequence[0].FrameLaterality = "R"
    assert _read(series, tmp_path)[1] == _LEFT


@pytest.mark.parametrize(("said", "stands"), [("left", True), ("right", False)])
def test_an_answer_that_names_the_other_side_is_refused(tmp_path: Path, said: str, stands: bool) -> None:
    """Words of the engine change no side either: they are held against the orientation, and what contradicts falls."""
    reading, side = _read(_as_series(_scan("axial", 35.0)), tmp_path, f"Yes, in the {said} frontal lobe.")
    (answer,) = (answer for answer in reading.answers if answer.question_id == "brain.any")
    assert answer.unanswered is (None if stands else Unanswered.CONTRADICTION)
    assert side == _LEFT


def _cut(scan: Scan, first_mm: float, last_mm: float) -> Scan:
    """Return the sagittal frames from so far to so far beside the head's midline."""
    kept = [first_mm <= origin[0] - _HEAD_MM[0] <= last_mm for origin in scan.origins_mm]
    return replace(scan, voxels=scan.voxels[kept], origins_mm=scan.origins_mm[kept])


@pytest.mark.parametrize(
    ("reach_mm", "mark_x_mm", "side"),
    [
        ((-66, -8), -20, None),  # a slab of the right half: its own middle is not the patient's
        ((8, 66), 20, None),
        ((-60, 60), 50, _LEFT),  # the usual stack, without the outermost of the head
        ((-60, 60), -50, _RIGHT),
        ((-60, 60), 20, None),
        ((-90, 20), -20, None),
        ((-90, 20), -40, _RIGHT),  # one side of the head is seen: the midline is the middle or farther from that side
        ((-20, 90), 40, _LEFT),
        ((-90, 90), 20, _LEFT),
    ],
)
def test_half_a_head_has_no_midline_of_its_own(
    tmp_path: Path, reach_mm: tuple[float, float], mark_x_mm: float, side: str | None
) -> None:
    """Where a stack ends inside the head a side is said only if it is the same wherever the rest of the head ends."""
    assert _read(_as_series(_cut(_scan("sagittal", mark_x_mm), *reach_mm)), tmp_path)[1] == side


@pytest.mark.parametrize("spoil", [lambda voxels: voxels[3:5, 40, -1], lambda voxels: voxels[7, 2:4, 79]])
def test_noise_in_the_air_moves_no_midline(
    tmp_path: Path, spoil: Callable[[NDArray[np.uint16]], NDArray[np.uint16]]
) -> None:
    """A few bright voxels at the edge of the frames, as spikes and ghosts leave them, change no side."""
    scan = _scan("axial", 12.0)
    spoil(scan.voxels)[...] = 500
    assert _read(_as_series(scan), tmp_path)[1] == _LEFT
