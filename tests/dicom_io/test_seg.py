import subprocess
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.colours import rgb
from dicom_io.objects.masks import MaskForm, painted
from dicom_io.objects.seg import DecodedSegment, decode_segmentation, encode_segmentation
from dicom_io.objects.segments import segment_label
from dicom_io.objects.sr import encode_report
from dicom_io.results import differences
from sgmri.errors import EngineError, IncompleteSeries, MalformedInstance, UnsupportedSeries
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
LESIONS = ["brain", "brain-enhanced", "brain-oblique", "brain-nonsquare", "knee", "knee-enhanced", "knee-nonsquare"]
ALLOWED = "DeviceUID"
"""The one warning of dciodvfy that is wrong: DeviceUID in Contributing Equipment is type 3 (PS3.3 C.12.1)."""


def _saved(ds: Dataset | None, path: Path) -> Path:
    assert ds is not None
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", LESIONS)
def test_segmentation_is_valid(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """The validator finds no error and no warning in any phantom's segmentation."""
    reading, sources = make_case(name)
    lines = dciodvfy(_saved(encode_segmentation(reading, sources), tmp_path / "seg.dcm"))
    assert [line for line in lines if ALLOWED not in line] == []


@pytest.mark.parametrize("name", LESIONS)
def test_read_back_masks_are_the_boxes(name: str, make_case: MakeCase, tmp_path: Path) -> None:
    """From the file: one segment a tracklet, one frame a box, filled, on the right source frame and place."""
    reading, sources = make_case(name)
    uids = identity.result_uids(reading)
    ds = pydicom.dcmread(_saved(encode_segmentation(reading, sources), tmp_path / "seg.dcm"))
    segments = decode_segmentation(ds)
    assert [s.tracklet_id for s in segments] == [t.tracklet_id for t in reading.tracklets]
    for tracklet, segment in zip(reading.tracklets, segments, strict=True):
        assert segment.tracking_uid == uids.segment_uid(tracklet)
        assert segment.label == segment_label(tracklet)
        assert segment.finding == FINDINGS[tracklet.label].written
        masks = {(mask.sop_instance_uid, mask.frame_number): mask for mask in segment.masks}
        assert len(masks) == len(segment.masks) == len(tracklet.findings)
        for finding in tracklet.findings:
            ref = reading.frames[finding.frame_index]
            mask = masks[ref.sop_instance_uid, ref.frame_number]
            assert mask.box == finding.box
            assert mask.pixels == finding.box.area
            assert mask.position_mm == pytest.approx(ref.position_mm, abs=1e-3)


@pytest.mark.parametrize("name", ["brain-enhanced", "brain-nonsquare", "knee-oblique"])
def test_mask_lies_where_the_box_lies_in_the_patient(name: str, make_case: MakeCase, tmp_path: Path) -> None:
    """Read by highdicom as a volume, the set voxels' centres in the patient are those of the box's pixels."""
    reading, sources = make_case(name)
    path = _saved(encode_segmentation(reading, sources), tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(path)
    for number, tracklet in enumerate(reading.tracklets, start=1):
        if len(tracklet.findings) < 2:
            continue
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True)
        indices = np.argwhere(volume.array > 0)
        assert len(indices) > 10
        found = volume.map_indices_to_reference(indices)
        expected = np.concatenate([_pixel_centres_mm(sources, reading, finding) for finding in tracklet.findings])
        assert _sorted(found) == pytest.approx(_sorted(expected), abs=2e-3)


def _pixel_centres_mm(sources: tuple[Dataset, ...], reading: Reading, finding: Finding) -> NDArray[np.float64]:
    """PS3.3 equation C.7.6.2.1-1, straight from the source header."""
    ref = reading.frames[finding.frame_index]
    source = next(s for s in sources if s.SOPInstanceUID == ref.sop_instance_uid)
    place = measures = plane = source
    if ref.frame_number is not None:
        place = source.PerFrameFunctionalGroupsSequence[ref.frame_number - 1].PlanePositionSequence[0]
        measures = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        plane = source.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    origin, cosines = np.array(place.ImagePositionPatient, float), np.array(plane.ImageOrientationPatient, float)
    between_rows_mm, between_columns_mm = (float(value) for value in measures.PixelSpacing)
    x0, y0, x1, y1 = (int(edge) for edge in finding.box.as_tuple())
    return np.array(
        [
            origin + cosines[:3] * column * between_columns_mm + cosines[3:] * row * between_rows_mm
            for row in range(y0, y1)
            for column in range(x0, x1)
        ]
    )


def _sorted(points: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded = np.round(points, 1)
    return points[np.lexsort(rounded.T)]


def test_overlapping_boxes_keep_all_their_pixels(make_case: MakeCase) -> None:
    """Two findings may share pixels: both segments are whole."""
    reading, sources = make_case("brain")
    boxes = (Box(x0=10, y0=20, x1=30, y1=50), Box(x0=20, y0=30, x1=60, y1=40))
    tracklets = tuple(
        Tracklet(tracklet_id=f"lesion-{n}", findings=(Finding(label="Mass", frame_index=4, box=box),))
        for n, box in enumerate(boxes, start=1)
    )
    ds = encode_segmentation(replace(reading, answers=(), tracklets=tracklets), sources)
    assert ds is not None
    assert ds.SegmentsOverlap == "YES"
    assert [segment.masks[0].box for segment in decode_segmentation(ds)] == list(boxes)
    assert [segment.masks[0].pixels for segment in decode_segmentation(ds)] == [600, 400]


def test_no_finding_gives_no_segmentation(make_case: MakeCase) -> None:
    """An empty segmentation is never written."""
    reading, sources = make_case("brain-normal")
    assert reading.tracklets == ()
    assert encode_segmentation(reading, sources) is None


def test_twice_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """No clock and no random UID gets into a segmentation."""
    reading, sources = make_case("knee")
    first = _saved(encode_segmentation(reading, sources), tmp_path / "1.dcm").read_bytes()
    second = _saved(encode_segmentation(reading, tuple(reversed(sources))), tmp_path / "2.dcm").read_bytes()
    assert first == second


def test_gaps_are_not_called_3d(make_case: MakeCase) -> None:
    """Frames 2 and 20 of one finding are no regular volume; frames 4, 5 and 6 are (C.7.6.17)."""
    reading, sources = make_case("brain")
    box = Box(x0=10, y0=20, x1=30, y1=50)

    def written(*frames: int) -> Dataset:
        findings = tuple(Finding(label="Mass", frame_index=index, box=box) for index in frames)
        tracklet = Tracklet(tracklet_id="lesion-1", findings=findings)
        ds = encode_segmentation(replace(reading, answers=(), tracklets=(tracklet,)), sources)
        assert ds is not None
        return ds

    gap, run = written(2, 20), written(4, 5, 6)
    assert gap.get("DimensionOrganizationType") != "3D"
    assert run.DimensionOrganizationType == "3D"
    for ds in (gap, run):
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert float(measures.SpacingBetweenSlices) == pytest.approx(5.0)


@pytest.mark.parametrize("thickness", ["", "0", None])
def test_missing_thickness_becomes_the_slice_spacing(
    thickness: str | None, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """A source without Slice Thickness gives a valid segmentation, not a copied 0."""
    reading, sources = make_case("brain")
    sources = deepcopy(sources)
    for source in sources:
        if thickness is None:
            del source.SliceThickness
        else:
            source.SliceThickness = thickness
    ds = encode_segmentation(reading, sources)
    path = _saved(ds, tmp_path / "seg.dcm")
    assert float(pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) == 5.0
    assert [line for line in dciodvfy(path) if ALLOWED not in line] == []


def test_geometry_that_forbids_a_segmentation_is_refused(make_case: MakeCase) -> None:
    """No Frame of Reference, mixed orientation, positions twice and absent spacing are coded refusals."""
    reading, sources = make_case("brain")
    frame_of_reference, orientation, spacing = (deepcopy(sources) for _ in range(3))
    for source in frame_of_reference:
        del source.FrameOfReferenceUID
    index = reading.findings[0].frame_index
    name = reading.frames[index].sop_instance_uid
    tilted = next(source for source in orientation if source.SOPInstanceUID == name)
    tilted.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    bare = next(source for source in spacing if source.SOPInstanceUID == name)
    bare.PixelSpacing = None
    for changed in (frame_of_reference, orientation, spacing):
        with pytest.raises(UnsupportedSeries):
            encode_segmentation(reading, changed)
    frames = list(reading.frames)
    frames[0] = replace(frames[0], position_mm=frames[1].position_mm)
    with pytest.raises(UnsupportedSeries, match="place of its own"):
        encode_segmentation(replace(reading, frames=tuple(frames)), sources)


def test_foreign_sources_are_refused(make_case: MakeCase) -> None:
    """A missing instance, another study and another matrix are errors, never a wrong reference."""
    reading, sources = make_case("brain")
    with pytest.raises(IncompleteSeries, match="1 are missing"):
        encode_segmentation(reading, sources[1:])
    for keyword, value in (("StudyInstanceUID", "2.25.1"), ("SeriesInstanceUID", "2.25.1"), ("Rows", 128)):
        changed = deepcopy(sources)
        setattr(changed[3], keyword, value)
        with pytest.raises(MalformedInstance):
            encode_segmentation(reading, changed)


def test_longest_label_fits() -> None:
    """Every label gives a Segment Label of at most 64 characters that still names tracklet and box (VR LO)."""
    for label in FINDINGS:
        finding = Finding(label=label, frame_index=0, box=Box(x0=0, y0=0, x1=1, y1=1))
        text = segment_label(Tracklet(tracklet_id="lesion-128", findings=(finding,)))
        assert len(text) <= 64
        assert text.endswith(" lesion-128 (box)")


def test_painted_covers_every_touched_pixel() -> None:
    """A fractional box paints the whole pixels that it touches."""
    rows, columns = painted(Box(x0=1.25, y0=2, x1=3.5, y1=4.015625))
    assert (rows, columns) == (slice(2, 5), slice(1, 4))


def test_display_colours_differ(make_reading: Callable[..., Reading], make_case: MakeCase) -> None:
    """Twelve segments have twelve colours, those of the table that every writer takes."""
    _, sources = make_case("brain")
    tracklets = tuple(
        Tracklet(
            tracklet_id=f"lesion-{n}",
            findings=(Finding(label="Mass", frame_index=n, box=Box(x0=1, y0=1, x1=5, y1=5)),),
        )
        for n in range(1, 13)
    )
    ds = encode_segmentation(make_reading(sources, Anatomy.BRAIN, tracklets), sources)
    assert ds is not None
    colours = {tuple(item.RecommendedDisplayCIELabValue) for item in ds.SegmentSequence}
    assert len(colours) == 12
    for number, item in enumerate(ds.SegmentSequence, start=1):
        assert CIELabColor(*_unscaled(item.RecommendedDisplayCIELabValue)).to_rgb() == rgb(number)


def _unscaled(values: Sequence[int]) -> tuple[float, float, float]:
    """PS3.3 C.10.7.1.1: 16 bits for 0 to 100, and for -128 to 127 twice."""
    lightness, a, b = values
    return lightness * 100 / 0xFFFF, a * 255 / 0xFFFF - 128, b * 255 / 0xFFFF - 128


def test_decoder_refuses_other_objects(make_case: MakeCase) -> None:
    """A report is no segmentation, and a segmentation whose frames were cut is not read as if whole."""
    reading, sources = make_case("brain")
    with pytest.raises(MalformedInstance, match="SOP class"):
        decode_segmentation(encode_report(reading, sources, segmentation=None))
    ds = encode_segmentation(reading, sources)
    assert ds is not None
    del ds.PerFrameFunctionalGroupsSequence[0]
    with pytest.raises(MalformedInstance, match="lacks a part"):
        decode_segmentation(ds)


def test_dcmtk_reads_it(make_case: MakeCase, tmp_path: Path) -> None:
    """DCMTK parses the file to its end without a word of complaint."""
    reading, sources = make_case("brain-enhanced")
    path = _saved(encode_segmentation(reading, sources), tmp_path / "seg.dcm")
    try:
        done = subprocess.run(["dcmdump", "+L", str(path)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("dcmdump of DCMTK is not installed")
    assert (done.returncode, done.stderr) == (0, "")


def _volume(reading: Reading, contrast: float) -> NDArray[np.float32]:
    """Noise with an ellipse in the middle of every box, nine tenths as wide and high."""
    volume = np.random.default_rng(3).normal(100, 4, (len(reading.frames), reading.rows, reading.columns))
    for finding in reading.findings:
        volume[finding.frame_index][_ellipse(reading, finding.box)] += contrast
    return volume.astype(np.float32)


def _ellipse(reading: Reading, box: Box) -> NDArray[np.bool_]:
    y, x = np.mgrid[: reading.rows, : reading.columns] + 0.5
    across = (2 * x - box.x0 - box.x1) / (0.9 * (box.x1 - box.x0))
    down = (2 * y - box.y0 - box.y1) / (0.9 * (box.y1 - box.y0))
    inside: NDArray[np.bool_] = across**2 + down**2 <= 1
    return inside


def _with_box(reading: Reading, *boxes: Box) -> Reading:
    tracklets = tuple(
        Tracklet(tracklet_id=f"lesion-{n}", findings=(Finding(label="Mass", frame_index=4, box=box),))
        for n, box in enumerate(boxes, start=1)
    )
    return replace(reading, answers=(), tracklets=tracklets)


@pytest.mark.parametrize("contrast", [60, -60])
@pytest.mark.parametrize("name", ["brain", "knee-enhanced"])
def test_what_stands_out_takes_the_place_of_its_box(
    name: str, contrast: float, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """A bright or dark ellipse is found to its edge; label, description and algorithm say that it was refined."""
    reading, sources = make_case(name)
    box = Box(x0=40, y0=50, x1=72, y1=74)
    reading = _with_box(reading, box)
    ds = encode_segmentation(reading, sources, pixels=_volume(reading, contrast))
    path = _saved(ds, tmp_path / "seg.dcm")
    assert [line for line in dciodvfy(path) if ALLOWED not in line] == []
    ds = pydicom.dcmread(path)
    (segment,) = decode_segmentation(ds)
    assert (segment.form, segment.label) == (MaskForm.REFINED, "Mass lesion-1 (refined inside box)")
    found, truth = ds.pixel_array.astype(bool).reshape(ds.Rows, ds.Columns), _ellipse(reading, box)
    assert not found[~_inside(reading, box)].any()
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    assert ds.ContentDescription.startswith("Refined inside boxes")
    (item,) = ds.SegmentSequence
    assert item.SegmentDescription.startswith("Otsu threshold inside the box on 1 of 1 frames")
    assert item.SegmentAlgorithmType == "AUTOMATIC"
    assert item.SegmentAlgorithmName == f"{reading.engine.name}, refined by Otsu threshold"
    report = encode_report(reading, sources, segmentation=ds)
    assert differences(reading, {ResultKind.SR: report, ResultKind.SEG: ds}) == ()


def _inside(reading: Reading, box: Box) -> NDArray[np.bool_]:
    inside = np.zeros((reading.rows, reading.columns), dtype=bool)
    inside[painted(box)] = True
    return inside


@pytest.mark.parametrize("what", ["noise", "flat", "speck", "half of everything", "not finite", "the whole frame"])
def test_what_is_not_plausible_stays_a_box(what: str, make_case: MakeCase) -> None:
    """Where nothing of its own stands out in a box the filled box is written, and called a box."""
    reading, sources = make_case("brain")
    box = Box(x0=40, y0=50, x1=72, y1=74)
    if what == "the whole frame":
        box = Box(x0=0, y0=0, x1=reading.columns, y1=reading.rows)
    reading = _with_box(reading, box)
    volume = _volume(reading, 0)
    match what:
        case "flat":
            volume[:] = 7
        case "speck":
            volume[:, 60:63, 50:53] += 200
        case "half of everything":
            volume[:, :, 56:] += 200
        case "not finite":
            volume[:, 60, 50] = np.nan
    ds = encode_segmentation(reading, sources, pixels=volume)
    assert ds is not None
    (segment,) = decode_segmentation(ds)
    assert (segment.form, segment.label) == (MaskForm.BOX, "Mass lesion-1 (box)")
    assert (segment.masks[0].box, segment.masks[0].pixels) == (box, box.area)
    assert ds.ContentDescription.startswith("Boxes")
    assert ds.SegmentSequence[0].SegmentAlgorithmName == reading.engine.name


def test_refined_and_not_are_told_apart(make_case: MakeCase) -> None:
    """Of two findings only the one that stands out is called refined; pixels of another size are refused."""
    reading, sources = make_case("brain")
    reading = _with_box(reading, Box(x0=40, y0=50, x1=72, y1=74), Box(x0=100, y0=50, x1=120, y1=74))
    volume = _volume(reading, 60)
    volume[:, :, 90:] = np.random.default_rng(4).normal(100, 4, volume[:, :, 90:].shape)
    ds = encode_segmentation(reading, sources, pixels=volume)
    assert ds is not None
    assert [segment.form for segment in decode_segmentation(ds)] == [MaskForm.REFINED, MaskForm.BOX]
    with pytest.raises(EngineError, match="pixels of shape"):
        encode_segmentation(reading, sources, pixels=volume[:-1])


def test_a_mask_beyond_its_box_is_a_difference(make_case: MakeCase) -> None:
    """A refined segment that left its box on the way is noticed."""
    reading, sources = make_case("brain")
    box = Box(x0=40, y0=50, x1=72, y1=74)
    ds = encode_segmentation(_with_box(reading, box), sources, pixels=_volume(_with_box(reading, box), 60))
    assert ds is not None
    moved = _with_box(reading, Box(x0=44, y0=50, x1=72, y1=74))
    report = encode_report(moved, sources, segmentation=ds)
    assert "segmentation, lesion-1: frame 5 differs" in differences(moved, {ResultKind.SR: report, ResultKind.SEG: ds})


@pytest.mark.parametrize("name", ["brain", "brain-enhanced", "knee"])
def test_label_map_says_the_same(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """As a label map the segmentation is valid, and has the same segments on the same frames as the binary one."""
    reading, sources = make_case(name)
    path = _saved(encode_segmentation(reading, sources, as_label_map=True), tmp_path / "seg.dcm")
    assert [line for line in dciodvfy(path) if ALLOWED not in line] == []
    ds = pydicom.dcmread(path)
    assert (ds.SOPClassUID, ds.SegmentationType) == ("1.2.840.10008.5.1.4.1.1.66.7", "LABELMAP")
    binary = encode_segmentation(reading, sources)
    assert binary is not None

    def said(segment: DecodedSegment) -> DecodedSegment:
        return replace(segment, masks=tuple(sorted(segment.masks, key=lambda mask: mask.position_mm)))

    assert [*map(said, decode_segmentation(ds))] == [*map(said, decode_segmentation(binary))]
    report = encode_report(reading, sources, segmentation=ds)
    assert differences(reading, {ResultKind.SR: report, ResultKind.LABELMAP: ds}) == ()
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    pixels = sum(mask.pixels for segment in decode_segmentation(binary) for mask in segment.masks)
    assert (volume.array > 0).sum() == pixels


def test_each_form_has_uids_of_its_own(make_case: MakeCase) -> None:
    """Boxes, refined masks and label maps are four objects in four series: a PACS keeps what it knows a UID of."""
    reading, sources = make_case("brain")
    reading = _with_box(reading, Box(x0=40, y0=50, x1=72, y1=74))
    volume = _volume(reading, 60)
    forms = [
        encode_segmentation(reading, sources, pixels=pixels, as_label_map=as_label_map)
        for pixels in (None, volume)
        for as_label_map in (False, True)
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({str(ds[keyword].value) for ds in forms if ds is not None}) == 4
    flat = encode_segmentation(reading, sources, pixels=np.zeros_like(volume))
    assert forms[0] is not None and flat is not None
    assert flat.SOPInstanceUID == forms[0].SOPInstanceUID, "nothing was refined: it is the same object"


def test_label_map_refuses_findings_that_share_pixels(make_case: MakeCase) -> None:
    """Where a pixel belongs to two findings there is no label map, and the reason says what could hold them."""
    reading, sources = make_case("brain")
    apart = _with_box(reading, Box(x0=10, y0=20, x1=30, y1=50), Box(x0=30, y0=20, x1=40, y1=50))
    assert encode_segmentation(apart, sources, as_label_map=True) is not None
    shared = _with_box(reading, Box(x0=10, y0=20, x1=30, y1=50), Box(x0=29, y0=49, x1=40, y1=60))
    with pytest.raises(UnsupportedSeries, match="share no pixel"):
        encode_segmentation(shared, sources, as_label_map=True)


def test_odd_sizes_are_packed_without_padding(make_case: MakeCase) -> None:
    """Frames whose pixels are no multiple of eight share octets, as highdicom and DCMTK expect (PS3.5 8.1.1)."""
    reading, sources = make_case("brain")
    sources = deepcopy(sources)
    for source in sources:
        source.Rows, source.Columns = 131, 97
    findings = tuple(
        Finding(label="Mass", frame_index=n, box=Box(x0=n, y0=2 * n, x1=n + 5, y1=2 * n + 3)) for n in range(6)
    )
    lesion = Tracklet(tracklet_id="lesion-1", findings=findings)
    reading = replace(reading, rows=131, columns=97, answers=(), tracklets=(lesion,))
    ds = encode_segmentation(reading, sources)
    assert ds is not None
    assert len(ds.PixelData) == 2 * -(-6 * 131 * 97 // 16)
    report = encode_report(reading, sources, segmentation=ds)
    assert differences(reading, {ResultKind.SR: report, ResultKind.SEG: ds}) == ()
