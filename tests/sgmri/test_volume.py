"""A volume knows where each pixel lies in the patient, by the equation of the standard."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri.errors import InvalidGeometry
from sgmri.volume import Anatomy, FrameRef, Orientation, Plane, Volume

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def make_volume(
    positions_mm: list[tuple[float, float, float]],
    cosines: tuple[tuple[float, float, float], tuple[float, float, float]] = AXIAL,
    pixel_spacing_mm: tuple[float, float] = (0.5, 0.75),
    slice_spacing_mm: float = 3.0,
) -> Volume:
    """Make a volume of 4 rows by 6 columns with its frames at the given positions."""
    return Volume(
        voxels=np.zeros((len(positions_mm), 4, 6), np.float32),
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"2.25.{n}",
                frame_number=None,
                position_mm=position,
            )
            for n, position in enumerate(positions_mm, start=1)
        ),
        orientation=Orientation(row_cosines=cosines[0], column_cosines=cosines[1], pixel_spacing_mm=pixel_spacing_mm),
        slice_spacing_mm=slice_spacing_mm,
        frame_of_reference_uid="2.25.100",
        study_instance_uid="2.25.101",
        series_instance_uid="2.25.102",
        anatomy=Anatomy.BRAIN,
    )


@pytest.mark.parametrize(
    ("cosines", "plane"), [(AXIAL, Plane.AXIAL), (CORONAL, Plane.CORONAL), (SAGITTAL, Plane.SAGITTAL)]
)
@pytest.mark.parametrize("tilt_degrees", [-30.0, 0.0, 30.0])
def test_the_plane_is_the_nearest_one(
    cosines: tuple[tuple[float, float, float], tuple[float, float, float]], plane: Plane, tilt_degrees: float
) -> None:
    """A plane tilted by 30 degrees about its row direction keeps its name."""
    row, column = (np.asarray(direction) for direction in cosines)
    angle = math.radians(tilt_degrees)
    tilted = column * math.cos(angle) + np.cross(row, column) * math.sin(angle)
    orientation = Orientation(
        row_cosines=cosines[0], column_cosines=tuple(tilted.tolist()), pixel_spacing_mm=(1.0, 1.0)
    )
    assert orientation.plane is plane


def test_rows_and_columns_are_not_swapped() -> None:
    """Pixel Spacing (0028,0030) is (between rows, between columns): a step in x is the second value."""
    volume = make_volume([(10.0, 20.0, 30.0)], pixel_spacing_mm=(0.5, 0.75))
    assert (volume.rows, volume.columns) == (4, 6)
    affine = volume.frame_affine(0)
    np.testing.assert_allclose(affine @ [1, 0, 0, 1], [10.75, 20, 30, 1])
    np.testing.assert_allclose(affine @ [0, 1, 0, 1], [10, 20.5, 30, 1])


@given(
    st.tuples(*[st.floats(-200, 200)] * 3),
    st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
    st.integers(0, 5),
    st.integers(0, 3),
    st.sampled_from([AXIAL, CORONAL, SAGITTAL]),
)
def test_a_pixel_centre_lies_where_the_standard_says(
    position_mm: tuple[float, float, float],
    pixel_spacing_mm: tuple[float, float],
    column: int,
    row: int,
    cosines: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> None:
    """The centre of a pixel follows equation C.7.6.2.1-1 of PS3.3, written out by hand here."""
    volume = make_volume([position_mm], cosines, pixel_spacing_mm)
    expected = [
        position_mm[axis]
        + cosines[0][axis] * pixel_spacing_mm[1] * column
        + cosines[1][axis] * pixel_spacing_mm[0] * row
        for axis in range(3)
    ]
    np.testing.assert_allclose(volume.to_patient_mm(0, column + 0.5, row + 0.5), expected, atol=1e-9)


def test_the_corner_of_a_frame_lies_half_a_pixel_before_its_first_centre() -> None:
    """Image coordinate (0, 0) is the outer corner; Image Position (Patient) is the centre of the first pixel."""
    volume = make_volume([(0.0, 0.0, 0.0)], pixel_spacing_mm=(0.5, 0.75))
    np.testing.assert_allclose(volume.to_patient_mm(0, 0, 0), [-0.375, -0.25, 0])


def test_the_volume_affine_agrees_with_every_frame_of_an_even_stack() -> None:
    """Equally spaced frames: one affine for all gives each frame's own place."""
    volume = make_volume([(1.0, 2.0, 3.0 * n) for n in range(5)])
    for frame_index in range(5):
        np.testing.assert_allclose(
            volume.affine @ [2, 1, frame_index, 1], volume.frame_affine(frame_index) @ [2, 1, 0, 1]
        )


def test_uneven_frames_keep_their_own_place() -> None:
    """Unequal gaps: the frame's affine is exact, the volume's meets the first and the last frame."""
    volume = make_volume([(0.0, 0.0, 0.0), (0.0, 0.0, 2.0), (0.0, 0.0, 9.0)])
    assert volume.to_patient_mm(1, 0.5, 0.5)[2] == 2.0
    np.testing.assert_allclose(volume.affine @ [0, 0, 2, 1], [0, 0, 9, 1])


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL])
def test_the_normal_is_a_unit_vector_across_the_frames(
    plane: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> None:
    """Right-handed: row cosines, column cosines and normal form a rotation."""
    normal = make_volume([(0.0, 0.0, 0.0)], plane).orientation.normal
    assert np.linalg.det(np.array([plane[0], plane[1], normal])) == pytest.approx(1)


@pytest.mark.parametrize(
    "voxels",
    [np.zeros((1, 4, 6), np.float64), np.zeros((1, 4, 6), np.uint16), np.zeros((4, 6), np.float32)],
    ids=["float64", "uint16", "two axes"],
)
def test_voxels_of_another_type_or_shape_are_refused(voxels: np.ndarray) -> None:
    """A volume is float32 (frames, rows, columns), nothing else."""
    good = make_volume([(0.0, 0.0, 0.0)])
    with pytest.raises(InvalidGeometry, match="float32"):
        Volume(
            voxels=voxels,
            frames=good.frames,
            orientation=good.orientation,
            slice_spacing_mm=1.0,
            frame_of_reference_uid="",
            study_instance_uid="2.25.1",
            series_instance_uid="2.25.2",
            anatomy=Anatomy.KNEE,
        )


def test_a_frame_without_a_reference_is_refused() -> None:
    """Every frame of a volume names the DICOM frame that it came from."""
    good = make_volume([(0.0, 0.0, 0.0)])
    with pytest.raises(InvalidGeometry, match="one reference a frame"):
        Volume(
            voxels=np.zeros((2, 4, 6), np.float32),
            frames=good.frames,
            orientation=good.orientation,
            slice_spacing_mm=1.0,
            frame_of_reference_uid="",
            study_instance_uid="2.25.1",
            series_instance_uid="2.25.2",
            anatomy=Anatomy.KNEE,
        )
