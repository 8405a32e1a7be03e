"""Where a mark lies in the patient: planted in the scanner's frames, found again in SR and SEG by a reader of its own.

That reader is pydicom and PS3.3 equation C.7.6.2.1-1: it takes positions from the source files and from the
segmentation itself, and knows nothing of this product.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_io.kinds import ResultKind
from dicom_io.results import write_results
from tests.oriented_series import TO_PATIENT, Kind, Scan, centred, datasets
from tests.series_files import written
from tests.worker.one_box_engine import read_brightest

_FRAMES, _ROWS, _COLUMNS = 6, 68, 76
_MARK = (slice(1, 3), slice(15, 19), slice(47, 53))
"""Frames, rows and columns: away from every middle, so that any flip or swap moves it."""
_MARK_VALUE = 4000
_PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0), (0.9, 0.9)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (0.8, 1.1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0.9, 0.9)),
    "oblique": ((1, 0, 0), (0, 1, 0), (1.25, 0.7)),
}
"""Row and column cosines in the scanner's axes, and pixel spacing (between rows, between columns) in mm."""
_ORDERS = {"ascending": [0, 1, 2, 3, 4, 5], "reversed": [5, 4, 3, 2, 1, 0], "shuffled": [3, 0, 5, 1, 4, 2]}
_PACKED = [
    *((order, kind) for order in ("ascending", "reversed") for kind in (Kind.CLASSIC, Kind.ENHANCED)),
    *(("shuffled", kind) for kind in Kind),
]


def _turned(degrees: float, axis: int) -> NDArray[np.float64]:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.insert(np.insert([[cosine, -sine], [sine, cosine]], axis, 0, axis=0), axis, 0, axis=1)
    turn[axis, axis] = 1
    return turn


def _scan(patient_position: str, plane: str) -> Scan:
    voxels = np.random.default_rng(5).integers(100, 900, (_FRAMES, _ROWS, _COLUMNS)).astype(np.uint16)
    voxels[_MARK] = _MARK_VALUE
    *in_scanner, pixel_spacing_mm = _PLANES[plane]
    to_patient = np.array(TO_PATIENT[patient_position], dtype=float).T
    if plane == "oblique":
        to_patient = to_patient @ _turned(20, 1) @ _turned(25, 0)
    row_cosines, column_cosines = (to_patient @ np.array(cosines, dtype=float) for cosines in in_scanner)
    return centred(voxels, (row_cosines, column_cosines), pixel_spacing_mm, slice_spacing_mm=5.5)


@pytest.mark.parametrize(("order", "kind"), _PACKED)
@pytest.mark.parametrize("plane", _PLANES)
@pytest.mark.parametrize("patient_position", TO_PATIENT)
def test_a_mark_is_at_one_place_of_the_patient_in_model_sr_and_seg(
    tmp_path: Path, patient_position: str, plane: str, order: str, kind: Kind
) -> None:
    """What is marked in the volume lies in SR and SEG within 1e-3 mm of where it was planted, and is lit in the model.

    It is planted by its grey value, so the loader must not have turned, swapped or renumbered anything.
    """
    scan = _scan(patient_position, plane)
    series = datasets(scan, kind, _ORDERS[order])
    for ds in series:
        ds.PatientPosition = patient_position
    paths = written(series, tmp_path / "in")
    product, boxes = read_brightest(paths)
    (tmp_path / "out").mkdir()
    files = {result.kind: result.path for result in write_results(product.reading, paths, tmp_path / "out")}

    planted_mm = scan.positions_mm(np.argwhere(scan.voxels == _MARK_VALUE))
    segmented_mm = _positions_in_seg(dcmread(files[ResultKind.SEG]))
    assert _farthest_mm(segmented_mm, planted_mm) <= 1e-3
    corners_mm = np.concatenate(list(_corners_in_sr(dcmread(files[ResultKind.SR]), [dcmread(path) for path in paths])))
    assert _farthest_mm(corners_mm, _planted_corners_mm(scan)) <= 1e-3
    for index, pixels in enumerate(product.frames.pixels):
        lit = np.argwhere(pixels > 240)
        assert (index in boxes) == bool(len(lit))
        if index in boxes:
            row, column = lit.mean(axis=0) + 0.5
            assert (column, row) == pytest.approx(boxes[index].centre, abs=0.5)


def _planted_corners_mm(scan: Scan) -> NDArray[np.float64]:
    """Return the outer corners of the mark on each of its frames: half a pixel beyond the centres of its voxels."""
    frames, rows, columns = _MARK
    across_mm = scan.row_cosines * scan.pixel_spacing_mm[1] / 2
    down_mm = scan.column_cosines * scan.pixel_spacing_mm[0] / 2
    return np.concatenate(
        [
            scan.positions_mm(np.array([[frame, row, column]])) + y * down_mm + x * across_mm
            for frame in range(frames.start, frames.stop)
            for row, y in ((rows.start, -1), (rows.stop - 1, 1))
            for column, x in ((columns.start, -1), (columns.stop - 1, 1))
        ]
    )


def _farthest_mm(found_mm: NDArray[np.float64], planted_mm: NDArray[np.float64]) -> float:
    """Return how far apart two sets of as many points are: from each point to the other set's nearest, the most."""
    assert len(found_mm) == len(planted_mm)
    distances_mm = np.linalg.norm(found_mm[:, np.newaxis] - planted_mm, axis=2)
    return float(max(distances_mm.min(axis=0).max(), distances_mm.min(axis=1).max()))


def _position_mm(
    place: tuple[Dataset, Dataset, Dataset],
    column: NDArray[np.int64] | NDArray[np.float64],
    row: NDArray[np.int64] | NDArray[np.float64],
) -> NDArray[np.float64]:
    """Apply PS3.3 equation C.7.6.2.1-1 to pixel-centre indices; place: holders of position, orientation, spacing."""
    origin = np.array(place[0].ImagePositionPatient, dtype=float)
    cosines = np.array(place[1].ImageOrientationPatient, dtype=float)
    row_mm, column_mm = (float(value) for value in place[2].PixelSpacing)
    return origin + np.outer(column * column_mm, cosines[:3]) + np.outer(row * row_mm, cosines[3:])


def _groups(ds: Dataset, frame: Dataset) -> tuple[Dataset, Dataset, Dataset]:
    shared = ds.SharedFunctionalGroupsSequence[0]
    position, orientation, measures = (
        (frame if keyword in frame else shared)[keyword].value[0]
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    )
    return position, orientation, measures


def _positions_in_seg(ds: Dataset) -> NDArray[np.float64]:
    """Return the centres of a segmentation's set pixels, from its own functional groups alone."""
    masks = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    found = []
    for mask, frame in zip(masks, ds.PerFrameFunctionalGroupsSequence, strict=True):
        row, column = np.argwhere(mask).T
        found.append(_position_mm(_groups(ds, frame), column, row))
    return np.concatenate(found)


def _items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _corners_in_sr(report: Dataset, sources: list[Dataset]) -> Iterator[NDArray[np.float64]]:
    """Give the corners of every SCOORD, placed by the frame that it refers to, as its source file says.

    An SCOORD is measured from the outer corner of the first pixel (PS3.3 C.18.6), a position from its centre.
    """
    by_uid = {source.SOPInstanceUID: source for source in sources}
    regions = [item for item in _items(report) if item.ValueType == "SCOORD"]
    assert not any(item.ValueType == "SCOORD3D" for item in _items(report))
    for region in regions:
        reference = region.ContentSequence[0].ReferencedSOPSequence[0]
        source = by_uid[reference.ReferencedSOPInstanceUID]
        place = (source, source, source)
        if "PerFrameFunctionalGroupsSequence" in source:
            number = int(reference.get("ReferencedFrameNumber", 1))
            place = _groups(source, source.PerFrameFunctionalGroupsSequence[number - 1])
        column, row = np.array(region.GraphicData, dtype=float).reshape(-1, 2)[:4].T
        yield _position_mm(place, column - 0.5, row - 0.5)
