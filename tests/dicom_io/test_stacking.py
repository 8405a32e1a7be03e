"""The order of a volume's frames belongs to the patient, not to the scanner's cosines or the files' order."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.decode import decode
from dicom_io.series import describe
from sgmri.volume import Anatomy, Plane, Volume
from tests.series_files import written

_AXIAL = ((1, 0, 0), (0, 1, 0))
_CORONAL = ((1, 0, 0), (0, 0, -1))
_SAGITTAL = ((0, 1, 0), (0, 0, -1))
_LAST_TO_FIRST = {Plane.AXIAL: (0, 0, 1), Plane.CORONAL: (0, 1, 0), Plane.SAGITTAL: (-1, 0, 0)}
"""From the first frame to the last, in LPS: to the head, to the back, to the right."""


def _volume(datasets: list[Dataset], folder: Path) -> Volume:
    return decode(describe(written(datasets, folder)), Anatomy.KNEE)


def _scan(cosines: tuple[tuple[float, ...], tuple[float, ...]], tilt_degrees: float, count: int = 6) -> list[Dataset]:
    """Return a series of 5 x 7 pixels, each with its own values, its frames against the normal."""
    row, column = (np.array(vector, dtype=float) for vector in cosines)
    angle = np.deg2rad(tilt_degrees)
    column = column * np.cos(angle) + np.cross(row, column) * np.sin(angle)
    normal = np.cross(row, column)
    datasets = list(phantoms.make("knee-normal").datasets)[:count]
    for number, ds in enumerate(datasets):
        ds.Rows, ds.Columns = 5, 7
        ds.PixelData = (np.arange(35, dtype=np.uint16) + 100 * number).tobytes()
        ds.ImageOrientationPatient = [f"{value:.10f}" for value in (*row, *column)]
        ds.ImagePositionPatient = [f"{value:.10f}" for value in np.array([3.0, -4.0, 5.0]) - 4.0 * number * normal]
    return datasets


def _turned(datasets: list[Dataset], *, rows: bool, columns: bool) -> list[Dataset]:
    """Let the scanner run the other way along its rows or columns: the same points of the patient, other cosines."""
    for ds in datasets:
        row, column = np.split(np.array(ds.ImageOrientationPatient, dtype=float), 2)
        position = np.array(ds.ImagePositionPatient, dtype=float)
        row_mm, column_mm = (float(value) for value in ds.PixelSpacing)
        pixels: NDArray[np.uint16] = ds.pixel_array
        if rows:
            position, row, pixels = position + row * column_mm * (ds.Columns - 1), -row, pixels[:, ::-1]
        if columns:
            position, column, pixels = position + column * row_mm * (ds.Rows - 1), -column, pixels[::-1]
        ds.ImageOrientationPatient = [f"{value:.10f}" for value in (*row, *column)]
        ds.ImagePositionPatient = [f"{value:.10f}" for value in position]
        ds.PixelData = pixels.tobytes()
    return datasets


@pytest.mark.parametrize("tilt_degrees", [0.0, 25.0])
@pytest.mark.parametrize(
    ("cosines", "plane"),
    [(_AXIAL, Plane.AXIAL), (_CORONAL, Plane.CORONAL), (_SAGITTAL, Plane.SAGITTAL)],
    ids=["axial", "coronal", "sagittal"],
)
@pytest.mark.parametrize(
    "turn", [{"rows": True, "columns": False}, {"rows": False, "columns": True}, {"rows": True, "columns": True}]
)
def test_cosines_that_run_the_other_way_change_no_order(
    tmp_path: Path,
    cosines: tuple[tuple[int, ...], tuple[int, ...]],
    plane: Plane,
    tilt_degrees: float,
    turn: dict[str, bool],
) -> None:
    """The same patient scanned with turned rows or columns gives the same frames in the same order, none flipped."""
    volume = _volume(_scan(cosines, tilt_degrees), tmp_path / "plain")
    other = _volume(_turned(_scan(cosines, tilt_degrees), **turn), tmp_path / "turned")
    assert volume.orientation.plane is other.orientation.plane is plane
    assert [one.sop_instance_uid for one in other.frames] == [one.sop_instance_uid for one in volume.frames]
    back = (slice(None), slice(None, None, -1 if turn["columns"] else 1), slice(None, None, -1 if turn["rows"] else 1))
    np.testing.assert_array_equal(other.voxels[back], volume.voxels)
    for one in (volume, other):
        step_mm = np.array(one.frames[1].position_mm) - one.frames[0].position_mm
        assert step_mm @ _LAST_TO_FIRST[plane] > 0
        np.testing.assert_allclose(one.frame_affine(0)[:3, 2], step_mm, atol=1e-6)
        np.testing.assert_allclose(one.affine[:3, 2], step_mm, atol=1e-6)
        assert one.slice_spacing_mm == pytest.approx(4.0)
    x, y = (7 - 2.5 if turn["rows"] else 2.5), (5 - 1.5 if turn["columns"] else 1.5)
    np.testing.assert_allclose(other.to_patient_mm(3, x, y), volume.to_patient_mm(3, 2.5, 1.5), atol=1e-6)


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP", "HFDR", "FFDL"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_neither_the_position_nor_the_order_of_instances_matters(
    tmp_path: Path, position: str, is_reversed: bool
) -> None:
    """Head or feet first, numbered and stored forwards or backwards: LPS coordinates say where a frame lies."""
    plain = _volume(_scan(_AXIAL, 12.0), tmp_path / "plain")
    datasets = _scan(_AXIAL, 12.0)
    for number, ds in enumerate(datasets, start=1):
        ds.PatientPosition = position
        ds.InstanceNumber = len(datasets) - number + 1 if is_reversed else number
    other = _volume(datasets[::-1] if is_reversed else datasets, tmp_path / "other")
    assert other.frames == plain.frames
    np.testing.assert_array_equal(other.voxels, plain.voxels)


@pytest.mark.parametrize(("name", "plane"), [("brain", Plane.AXIAL), ("knee-oblique", Plane.CORONAL)])
def test_phantoms_run_as_radiologists_page(tmp_path: Path, name: str, plane: Plane) -> None:
    """A brain runs from inferior to superior, a coronal knee from anterior to posterior."""
    volume = _volume(list(phantoms.make(name).datasets), tmp_path / name)
    depths_mm = np.array([frame.position_mm for frame in volume.frames]) @ _LAST_TO_FIRST[plane]
    assert volume.orientation.plane is plane
    assert (np.diff(depths_mm) > 0).all()
