from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance import phantoms
from conformance.phantom_headers import make_item
from dicom_io.decode import decode
from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts, inspect
from dicom_io.selection import Choice, choose
from dicom_io.series import SeriesFacts, describe, restricted
from dicom_io.stacking import arrange
from dicom_io.subvolumes import split
from sgmri.errors import SeriesError
from sgmri.lifecycle import Reason
from sgmri.volume import Plane, Weighting
from tests import series_files

Written = Callable[[Sequence[Dataset]], SeriesFacts]


def _small(name: str = "brain-normal") -> list[Dataset]:
    """Return a classic phantom along the normal; every frame of 64 x 64 pixels holds its place along the normal."""
    datasets = sorted(phantoms.make(name).datasets, key=lambda ds: -int(ds.InstanceNumber))
    for place, ds in enumerate(datasets):
        ds.Rows = ds.Columns = 64
        ds.PixelData = np.full((64, 64), place, np.uint16).tobytes()
    return datasets


def _again(datasets: Sequence[Dataset], mark: int, **attributes: object) -> list[Dataset]:
    """Return further instances at the same positions; their pixels and Instance Numbers are raised by the mark."""
    copies = deepcopy(list(datasets))
    for ds in copies:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SOPInstanceUID[:50]}.{mark}")
        ds.InstanceNumber = int(ds.InstanceNumber) + mark
        ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) + np.uint16(mark)).tobytes()
    return _with(copies, **attributes)


def _with(datasets: list[Dataset], **attributes: object) -> list[Dataset]:
    for ds in datasets:
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
    return datasets


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a series and describe it."""
    return lambda datasets: describe(series_files.written(datasets, tmp_path))


def _reasons(choice: Choice) -> dict[str, Reason]:
    assert not any(
        canary in choice.explanation for canary in ("PHANTOM", "SYNTHETIC", "CANARY", "NIGHTINGALE", "2.25.")
    )
    return {verdict.sub_volume.name: verdict.reason for verdict in choice.verdicts}


def _places(choice: Choice) -> list[int]:
    """Return the first pixel of each frame that is read, as it was written."""
    assert choice.sub_volume is not None and choice.anatomy is not None
    return [int(voxels[0, 0]) for voxels in decode(choice.sub_volume.facts, choice.anatomy).voxels]


@pytest.mark.parametrize(
    ("phantom", "taken", "weighting", "why"),
    [
        ("knee-oblique", "echo 1 of 2", Weighting.PD, "its weighting is preferred"),
        ("brain-normal", "echo 2 of 2", Weighting.T2, "its weighting is preferred"),
    ],
)
def test_of_two_echoes_one_is_read(written: Written, phantom: str, taken: str, weighting: Weighting, why: str) -> None:
    """An echo of 20 ms is PD, one of 100 ms is T2; the knee is read by the one, the brain by the other."""
    first = _with(_small(phantom), EchoTime="20", RepetitionTime="3000", InversionTime="", ScanningSequence="SE")
    facts = written([*_again(first, 100, EchoTime="100"), *first])
    assert facts.weighting is Weighting.UNKNOWN
    choice = choose(facts)
    assert choice.sub_volume is not None
    assert choice.sub_volume.name == taken
    assert choice.sub_volume.facts.weighting is weighting
    assert {name: reason for name, reason in _reasons(choice).items() if name != taken} == {
        next(name for name in _reasons(choice) if name != taken): Reason.OTHER_SUBVOLUME
    }
    assert f"Of 2 sub-volumes {taken} is read: {why}" in choice.explanation
    offset = 100 if taken == "echo 2 of 2" else 0
    assert _places(choice) == [offset + place for place in range(len(first))]


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"], "ComplexImageComponent": "PHASE"},
    ],
)
def test_phase_beside_magnitude_is_left(written: Written, attributes: dict[str, object]) -> None:
    """Of magnitude and phase the magnitude is read, and the phase is derived."""
    first = _with(_small(), ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    choice = choose(written([*first, *_again(first, 100, **attributes)]))
    assert _reasons(choice) == {"magnitude": Reason.NONE, "phase": Reason.DERIVED}
    assert _places(choice) == list(range(22))


def test_private_component_of_ge_parts_real_and_imaginary(written: Written) -> None:
    """GE gives all components one Image Type; its private "raw data type" tells them apart."""
    first, others = _small(), []
    for code in (1, 2, 3):
        others += _again(first, 100 * code)
        for ds in others[-22:]:
            ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", code)
    choice = choose(written([*first, *others]))
    assert _reasons(choice) == {
        "magnitude": Reason.NONE,
        "phase": Reason.DERIVED,
        "real part": Reason.DERIVED,
        "imaginary part": Reason.DERIVED,
    }


_PRIVATE_B = [
    (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000"),
    (0x2001, "Philips Imaging DD 001", 0x03, "FL", 1000.0),
    (0x0043, "GEMS_PARM_01", 0x39, "IS", ["1000001000", "8", "0", "0"]),
]


@pytest.mark.parametrize("private", [None, *_PRIVATE_B])
def test_lowest_b_value_is_read(
    written: Written, private: tuple[int, str, int, str, object] | None, tmp_path: Path
) -> None:
    """Of two b-values, in the standard's attribute or in the vendors', the lower one is read."""
    first = _with(_small(), ScanningSequence=["EP", "SE"])
    second = _again(first, 100)
    for ds in second:
        if private is None:
            ds.DiffusionBValue = 1000.0
        else:
            group, creator, element, vr, value = private
            ds.private_block(group, creator, create=True).add_new(element, vr, value)
    facts = written([*second, *first])
    assert {frame.b_value for image in facts.images for frame in image.frames} == {None, 1000.0}
    choice = choose(facts)
    assert _reasons(choice) == {"b-value 1 of 2": Reason.NONE, "b-value 2 of 2": Reason.OTHER_SUBVOLUME}
    assert "its b-value is the lowest" in choice.explanation
    assert _places(choice) == list(range(22))


@pytest.mark.parametrize("keyword", ["TemporalPositionIdentifier", "AcquisitionNumber"])
def test_first_time_point_is_read(written: Written, keyword: str) -> None:
    """Of a dynamic series the first time point is read, though the last one lacks a slice."""
    first = _with(_small(), **{keyword: "1"})
    facts = written([*_again(first, 100, **{keyword: "2"}), *_again(first[1:], 200, **{keyword: "3"}), *first])
    choice = choose(facts)
    word = "time point" if keyword.startswith("T") else "acquisition"
    assert choice.sub_volume is not None and choice.sub_volume.name == f"{word} 1 of 3"
    assert "it is the earliest in time" in choice.explanation
    assert _places(choice) == list(range(22))


def test_echo_planar_time_series_is_left(written: Written) -> None:
    """A functional or perfusion series is no volume to read, whole as its time points are."""
    first = _with(_small(), ScanningSequence=["EP", "GR"], TemporalPositionIdentifier="1")
    choice = choose(written([*first, *_again(first, 100, TemporalPositionIdentifier="2")]))
    assert choice.reason is Reason.NOT_APPLICABLE


def test_of_two_orientations_one_is_read(written: Written) -> None:
    """Of an axial and a coronal stack in one series the axial one is read, frames of the other never."""
    axial = _small()
    coronal = _again(axial, 100, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    for number, ds in enumerate(coronal):
        ds.ImagePositionPatient = [-100, -60 + 5 * number, 100]
    choice = choose(written([*coronal, *axial]))
    assert choice.sub_volume is not None
    assert choice.sub_volume.facts.plane is Plane.AXIAL
    assert "its plane is preferred" in choice.explanation
    assert sorted(_reasons(choice).values()) == [Reason.NONE, Reason.OTHER_SUBVOLUME]
    assert _places(choice) == list(range(22))


@pytest.mark.parametrize(
    "times",
    [
        lambda number: {"TemporalPositionSequence": [make_item(TemporalPositionTimeOffset=30.0 * number)]},
        lambda number: {"CardiacSynchronizationSequence": [make_item(NominalCardiacTriggerDelayTime=40.0 * number)]},
    ],
)
def test_time_points_are_told_by_their_times(written: Written, times: Callable[[int], dict[str, object]]) -> None:
    """Enhanced time points without an index are parted by their offset in time, or their delay from the trigger."""
    (ds,) = _enhanced_echoes(echoes=(90.0, 90.0, 90.0))
    for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        for keyword, value in times(2 - number % 3).items():
            setattr(groups, keyword, value)
    choice = choose(written([ds]))
    assert choice.sub_volume is not None and choice.sub_volume.name == "time point 1 of 3", choice.explanation
    assert {(frame.frame_number or 0) % 3 for frame in choice.sub_volume.frames} == {0}


def test_images_of_other_times_are_no_copies(written: Written) -> None:
    """Two runs with the same Instance Numbers, told apart by nothing but the clock, are not mixed into one volume."""
    first = _small()
    second = _again(first, 100, AcquisitionTime="101800")
    for ds, other in zip(second, first, strict=True):
        ds.InstanceNumber = other.InstanceNumber
    assert choose(written([*first, *second])).reason is Reason.MIXED_GEOMETRY


def test_stacks_have_times_of_their_own(written: Written) -> None:
    """A stack of T1 behind one of FLAIR in one Enhanced instance is T1: its frames say so, not the first frame."""
    (ds,) = _enhanced_echoes(echoes=(120.0,))
    shared = ds.SharedFunctionalGroupsSequence[0]
    for keyword in ("MRTimingAndRelatedParametersSequence", "MRModifierSequence"):
        for groups in ds.PerFrameFunctionalGroupsSequence:
            setattr(groups, keyword, deepcopy(shared[keyword].value))
        delattr(shared, keyword)
    for groups in ds.PerFrameFunctionalGroupsSequence[:8]:
        groups.FrameContentSequence[0].StackID = "2"
        x, y, z = (float(value) for value in groups.PlanePositionSequence[0].ImagePositionPatient)
        groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 200]
        groups.MRTimingAndRelatedParametersSequence[0].RepetitionTime = 500.0
        groups.MREchoSequence[0].EffectiveEchoTime = 10.0
        del groups.MRModifierSequence[0].InversionTimes
    weightings = [part.facts.weighting for part in split(written([ds]))]
    assert weightings == [Weighting.FLAIR, Weighting.T1]


def test_projections_are_told_by_how_they_were_calculated(written: Written) -> None:
    """An Enhanced projection whose frame type says ORIGINAL is derived by its calculation technique."""
    (ds,) = _enhanced_echoes(echoes=(90.0,))
    ds.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0].VolumeBasedCalculationTechnique = "MAX_IP"
    assert choose(written([ds])).reason is Reason.DERIVED


def test_stacks_behind_each_other_are_two(written: Written, tmp_path: Path) -> None:
    """Two stacks of one orientation are two sub-volumes by their Stack ID, and the larger one is read."""
    (ds,) = _enhanced_echoes(echoes=(90.0,))
    for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        if number < 8:
            groups.FrameContentSequence[0].StackID = "2"
            x, y, z = (float(value) for value in groups.PlanePositionSequence[0].ImagePositionPatient)
            groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 200]
    choice = choose(written([ds]))
    assert choice.sub_volume is not None and choice.sub_volume.name == "stack 1 of 2"
    assert len(choice.sub_volume.frames) == 14
    assert "it has the most frames" in choice.explanation


def test_copies_are_left_out(written: Written) -> None:
    """A series that came twice under new SOP Instance UIDs is read once, and it is said how often."""
    first = _small()
    copies = _again(first, 100)
    for ds in copies:
        ds.InstanceNumber = int(ds.InstanceNumber) - 100
    choice = choose(written([*first, *copies]))
    assert "22 frames that are there twice left out" in choice.explanation
    assert choice.sub_volume is not None and choice.sub_volume.duplicates == 22
    assert _places(choice) == list(range(22))


def test_few_resent_frames_are_left_out(written: Written) -> None:
    """A few frames that came again with another Instance Number are left out; the first number stays."""
    first = _small()
    choice = choose(written([*_again(first[3:5], 100), *first]))
    assert "2 frames that are there twice left out" in choice.explanation
    assert _places(choice) == list(range(22))


@pytest.mark.parametrize("attributes", [{}, {"InversionTime": "1900"}])
def test_pairs_that_nothing_explains_are_left(written: Written, attributes: dict[str, object]) -> None:
    """Two frames at every position, of which no header says what they are, are not taken for copies."""
    first = _small()
    choice = choose(written([*first, *_again(first, 100, **attributes)]))
    assert choice.reason is Reason.MIXED_GEOMETRY


@pytest.mark.parametrize(("gone", "said"), [((7,), "1 slice seems"), ((7, 8), "2 slices seem")])
def test_missing_slices_are_said(written: Written, gone: tuple[int, ...], said: str) -> None:
    """The explanation counts the slices that seem to be missing."""
    datasets = [ds for number, ds in enumerate(_small()) if number not in gone]
    choice = choose(written(datasets))
    assert choice.taken
    assert f"{said} to be missing." in choice.explanation


def test_eight_echoes_of_one_slice_are_no_volume(written: Written) -> None:
    """Eight echoes of one slice are eight times too few frames, never eight slices."""
    one = _small("knee-oblique")[11:12]
    echoes = [ds for number in range(1, 8) for ds in _again(one, 100 * number, EchoTime=str(6.3 * (number + 1)))]
    choice = choose(written([*_with(one, EchoTime="6.3"), *echoes]))
    assert choice.reason is Reason.TOO_FEW_FRAMES
    assert set(_reasons(choice).values()) == {Reason.TOO_FEW_FRAMES}
    assert len(choice.verdicts) == 8


def test_echo_times_that_vary_part_nothing(written: Written) -> None:
    """Where each position has one frame, echo times and acquisition numbers that alternate halve nothing."""
    datasets = _small()
    _with(datasets[::2], EchoTime="111", AcquisitionNumber="2")
    choice = choose(written(datasets))
    assert choice.sub_volume is not None and choice.sub_volume.name == ""
    assert _places(choice) == list(range(22))


def _enhanced_echoes(*, echoes: tuple[float, ...] = (), times: int = 0) -> list[Dataset]:
    """Return a small Enhanced brain with each frame several times; every frame's pixels hold its frame number."""
    (ds,) = phantoms.make("brain-enhanced").datasets
    frames = []
    for groups in ds.PerFrameFunctionalGroupsSequence:
        for echo_time_ms in echoes:
            frames.append(deepcopy(groups))
            frames[-1].MREchoSequence = [make_item(EffectiveEchoTime=echo_time_ms)]
        for index in range(times, 0, -1):
            frames.append(deepcopy(groups))
            frames[-1].FrameContentSequence[0].TemporalPositionIndex = index
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.Rows = ds.Columns = 64
    ds.NumberOfFrames = len(frames)
    numbers = np.arange(1, len(frames) + 1, dtype=np.uint16)
    ds.PixelData = np.repeat(numbers, 64 * 64).tobytes()
    return [ds]


@pytest.mark.parametrize(
    ("datasets", "name", "first"),
    [
        (lambda: _enhanced_echoes(echoes=(190.0, 90.0)), "echo 1 of 2", 2),
        (lambda: _enhanced_echoes(times=2), "time point 1 of 2", 2),
        (lambda: _enhanced_echoes(times=3), "time point 1 of 3", 3),
    ],
)
def test_frame_numbers_of_enhanced_frames_are_right(
    written: Written, datasets: Callable[[], list[Dataset]], name: str, first: int
) -> None:
    """Of an Enhanced instance the frames of one sub-volume are decoded, each from its own frame number."""
    choice = choose(written(datasets()))
    assert choice.sub_volume is not None and choice.anatomy is not None
    assert choice.sub_volume.name == name
    volume = decode(choice.sub_volume.facts, choice.anatomy)
    numbers = [frame.frame_number for frame in volume.frames]
    assert numbers == [int(voxels[0, 0]) for voxels in volume.voxels]
    # the phantom stores its frames against the normal
    assert numbers == sorted(range(first, 22 * first + 1, first), reverse=True)


def test_enhanced_phase_is_left(written: Written) -> None:
    """Magnitude and phase in one Enhanced instance: only frames of the magnitude are read."""
    (ds,) = _enhanced_echoes(times=2)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "FLUID_ATTENUATED", "MIXED"]
    ds.ComplexImageComponent = "MIXED"
    for groups in ds.PerFrameFunctionalGroupsSequence:
        is_phase = groups.FrameContentSequence[0].TemporalPositionIndex == 2
        del groups.FrameContentSequence[0].TemporalPositionIndex
        groups.MRImageFrameTypeSequence = [
            make_item(
                FrameType=["ORIGINAL", "PRIMARY", "FLUID_ATTENUATED", "NONE"],
                ComplexImageComponent="PHASE" if is_phase else "MAGNITUDE",
                AcquisitionContrast="FLUID_ATTENUATED",
            )
        ]
    choice = choose(written([ds]))
    assert _reasons(choice) == {"magnitude": Reason.NONE, "phase": Reason.DERIVED}
    assert choice.sub_volume is not None
    assert choice.sub_volume.facts.weighting is Weighting.FLAIR
    assert all(number % 2 == 0 for number in _places(choice))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> InstanceFacts:
    path = tmp_path_factory.mktemp("plain") / "one.dcm"
    _small()[0].save_as(path, enforce_file_format=True)
    return inspect(path)


_ROTATIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(part * part for part in q) > 0.1)


def _axes(quaternion: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    row = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
    column = np.array([2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)])
    return row, column


def test_radial_slices_stay_together(plain: InstanceFacts) -> None:
    """Frames of twenty orientations, as around an axis, are not parted into twenty."""
    turns = [np.pi * number / 20 for number in range(20)]
    frames = [
        replace(plain.frames[0], row_cosines=(np.cos(turn), np.sin(turn), 0.0), column_cosines=(0.0, 0.0, -1.0))
        for turn in turns
    ]
    facts = _facts(plain, describe([plain.path]), frames, enhanced=False)
    assert [len(one.frames) for one in split(facts)] == [20]


@st.composite
def _legal_frames(draw: st.DrawFn) -> list[FrameFacts]:
    """Frames of one or two orientations, with gaps, echoes, time points, phase images and copies, in any order."""
    frames: list[FrameFacts] = []
    for rotation in draw(st.lists(_ROTATIONS, min_size=1, max_size=2)):
        row, column = _axes(rotation)
        step_mm = draw(st.floats(0.3, 12))
        echoes = draw(st.lists(st.floats(1, 300), min_size=1, max_size=3, unique=True))
        times = draw(st.integers(1, 2))
        for place in draw(st.sets(st.integers(0, 11), min_size=1)):
            x, y, z = np.cross(row, column) * place * step_mm
            for echo_time_ms in echoes:
                for time in range(1, times + 1):
                    frame = FrameFacts(
                        frame_number=None,
                        position_mm=(float(x), float(y), float(z)),
                        row_cosines=(float(row[0]), float(row[1]), float(row[2])),
                        column_cosines=(float(column[0]), float(column[1]), float(column[2])),
                        pixel_spacing_mm=(1.0, 1.0),
                        echo_time_ms=echo_time_ms,
                        temporal_position=time if times > 1 else None,
                        complex_component=draw(st.sampled_from(["MAGNITUDE"] * 9 + ["PHASE"])),
                    )
                    frames += [frame] * draw(st.sampled_from([1] * 9 + [2]))
    return draw(st.permutations(frames))


def _facts(plain: InstanceFacts, whole: SeriesFacts, frames: Sequence[FrameFacts], *, enhanced: bool) -> SeriesFacts:
    if enhanced:
        numbered = [replace(frame, frame_number=number) for number, frame in enumerate(frames, start=1)]
        images = [replace(plain, frames=tuple(numbered), number_of_frames=len(frames))]
    else:
        images = [
            replace(plain, frames=(frame,), sop_instance_uid=f"2.25.{number}", instance_number=number)
            for number, frame in enumerate(frames, start=1)
        ]
    return restricted(whole, images)


@given(frames=_legal_frames(), enhanced=st.booleans())
def test_no_frame_is_lost_or_read_twice(plain: InstanceFacts, frames: list[FrameFacts], enhanced: bool) -> None:
    """Each frame of a legal series is in one sub-volume or counted as a copy; what is read runs one way."""
    facts = _facts(plain, describe([plain.path]), frames, enhanced=enhanced)
    sub_volumes = split(facts)
    seen = [
        (image.sop_instance_uid, frame.frame_number)
        for one in sub_volumes
        for image in one.facts.images
        for frame in image.frames
    ]
    assert len(seen) == len(set(seen))
    assert len(seen) + sum(one.duplicates for one in sub_volumes) == len(frames)
    assert len({one.name for one in sub_volumes}) == len(sub_volumes)
    for one in sub_volumes:
        try:
            stack = arrange(one.facts)
        except SeriesError:
            continue
        depths_mm = [
            float(np.dot(frame.position_mm or (), stack.orientation.frame_direction)) for _, frame in stack.frames
        ]
        assert all(np.diff(depths_mm) > 0)
        assert len(stack.frames) == len(one.frames)
    read = choose(facts).sub_volume
    if read is not None:
        assert not any(frame.complex_component == "PHASE" for frame in read.frames)


@given(frames=_legal_frames(), data=st.data())
def test_order_of_the_files_does_not_matter(
    plain: InstanceFacts, frames: list[FrameFacts], data: st.DataObject
) -> None:
    """The same frames in another order give the same sub-volumes under the same names, and the same choice."""
    images = _facts(plain, describe([plain.path]), frames, enhanced=False)
    shuffled = replace(images, instances=tuple(data.draw(st.permutations(images.instances))))

    def told(facts: SeriesFacts) -> tuple[object, ...]:
        choice = choose(facts)
        owners = {
            one.sub_volume.name: sorted(image.sop_instance_uid for image in one.sub_volume.facts.images)
            for one in choice.verdicts
        }
        return owners, choice.reason, choice.explanation

    assert told(images) == told(shuffled)
