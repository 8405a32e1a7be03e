"""The order of a volume's frames belongs to the patient, not to the scanner's cosines or the files' order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.decode import decode
from dicom_io.series import describe
from dicom_io.stacking import arrange
from sgmri.volume import Anatomy, FrameRef, Plane, Volume
from tests.oriented_series import Kind, Scan, centred, datasets
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


@st.composite
def _legal_scans(draw: st.DrawFn) -> tuple[Scan, float, int]:
    """Scans of any orientation, size and spacing, with the slice spacing and how many frames were lost in between."""
    turn = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(part * part for part in q) > 0.1)))
    w, x, y, z = turn / np.linalg.norm(turn)
    row_cosines = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
    column_cosines = np.array([2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)])
    shape = draw(st.tuples(st.integers(12, 16), st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pixel_spacing_mm = draw(st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)))
    spacing_mm = draw(st.floats(0.3, 12))
    voxels = rng.integers(0, 4096, shape).astype(np.uint16)
    whole = centred(voxels, (row_cosines, column_cosines), pixel_spacing_mm, spacing_mm)
    uneven_mm = draw(st.sampled_from([0.0, 0.04])) * spacing_mm * rng.uniform(-1, 1, (shape[0], 1))
    origins_mm = whole.origins_mm + uneven_mm * np.cross(row_cosines, column_cosines)
    # The first and the last frame are no loss that anybody could notice
    lost = draw(st.sets(st.integers(1, shape[0] - 2), max_size=2))
    kept = [index for index in range(shape[0]) if index not in lost]
    return replace(whole, voxels=voxels[kept], origins_mm=origins_mm[kept]), spacing_mm, len(lost)


@settings(max_examples=60)
@given(drawn=_legal_scans(), kind=st.sampled_from(Kind), data=st.data())
def test_any_legal_series_keeps_its_pixels_and_their_places(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Scan, float, int], kind: Kind, data: st.DataObject
) -> None:
    """Frames run to head, back or right; none is turned, each voxel lies where its header says, gaps are counted."""
    scan, spacing_mm, lost = drawn
    order = data.draw(st.permutations(range(len(scan.voxels))))
    facts = describe(written(datasets(scan, kind, order), tmp_path_factory.mktemp("scan")))
    volume = decode(facts, Anatomy.BRAIN)
    assert arrange(facts).missing == lost
    assert volume.slice_spacing_mm == pytest.approx(spacing_mm, rel=0.1)
    assert len(volume.frames) == len(scan.voxels)
    direction = np.array(_LAST_TO_FIRST[volume.orientation.plane])
    normal = np.cross(scan.row_cosines, scan.column_cosines)
    assert abs(normal @ direction) == pytest.approx(np.abs(normal).max())
    depths_mm = np.array([frame.position_mm for frame in volume.frames]) @ normal * np.sign(normal @ direction)
    assert (np.diff(depths_mm) > 0).all()
    pixels = np.argwhere(np.ones(scan.voxels.shape[1:]))
    for frame_index, ref in enumerate(volume.frames):
        source = _frame_of(ref, order)
        np.testing.assert_array_equal(volume.voxels[frame_index], scan.voxels[source])
        row, column = pixels.T
        centres = np.stack([column, row, np.zeros_like(row), np.ones_like(row)])
        found_mm = (volume.frame_affine(frame_index) @ centres)[:3].T
        np.testing.assert_allclose(found_mm, scan.positions_mm(np.insert(pixels, 0, source, axis=1)), atol=1e-6)


def _frame_of(ref: FrameRef, order: list[int]) -> int:
    """Return the frame of the scan that a reference names."""
    if ref.frame_number is not None:
        return order[ref.frame_number - 1]
    return int(ref.sop_instance_uid.removeprefix("2.25.")) - 1000
