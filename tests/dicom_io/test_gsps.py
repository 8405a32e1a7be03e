from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from conformance.phantoms import CANARIES
from dicom_io import identity
from dicom_io.objects import colours
from dicom_io.objects.gsps import decode_presentation, encode_presentation
from dicom_io.objects.marks import label_place
from dicom_io.objects.seg import encode_segmentation
from dicom_io.objects.sr import comment, decode_report, encode_report
from sgmri.errors import MalformedInstance
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading
from sgmri.volume import Anatomy
from tests.dicom_io.forms import ALLOWED, LESIONS, MakeCase, saved


@pytest.mark.parametrize("name", LESIONS)
def test_presentation_state_is_valid_and_is_the_reading(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """The validator finds nothing, and every box, frame, label and identifier comes back as it was."""
    reading, sources = make_case(name)
    ds = saved(encode_presentation(reading, sources), tmp_path / "pr.dcm")
    assert [line for line in dciodvfy(tmp_path / "pr.dcm") if ALLOWED not in line] == []
    uids = identity.result_uids(reading)
    expected = {
        (ref.sop_instance_uid, ref.frame_number, finding.box, comment(tracklet, finding)): (
            tracklet.tracklet_id,
            uids.box_uid(tracklet, finding),
        )
        for tracklet in reading.tracklets
        for finding in tracklet.findings
        for ref in [reading.frames[finding.frame_index]]
    }
    found = {
        (mark.sop_instance_uid, mark.frame_number, mark.box, mark.text): (mark.tracklet_id, mark.tracking_uid)
        for mark in decode_presentation(ds)
    }
    assert found == expected


def test_boxes_bear_the_identifiers_of_the_report(make_case: MakeCase) -> None:
    """Report and presentation state name the same boxes by the same UIDs."""
    reading, sources = make_case("brain-enhanced")
    ds = encode_presentation(reading, sources)
    assert ds is not None
    report = decode_report(encode_report(reading, sources, segmentation=None))
    assert {box.tracking_uid for box in report.boxes} == {mark.tracking_uid for mark in decode_presentation(ds)}


@pytest.mark.parametrize("name", ["brain", "knee-nonsquare", "knee-enhanced"])
def test_grey_values_are_left_alone_and_all_images_are_shown_whole(name: str, make_case: MakeCase) -> None:
    """No VOI LUT, no rescale; every image of the series once; its whole area with its true pixel spacing; one layer."""
    reading, sources = make_case(name)
    ds = encode_presentation(reading, sources)
    assert ds is not None
    assert not {"SoftcopyVOILUTSequence", "RescaleSlope", "ModalityLUTSequence", "WindowCenter"} & set(ds.dir())
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == reading.series_instance_uid
    referenced = [item.ReferencedSOPInstanceUID for item in series.ReferencedImageSequence]
    assert sorted(referenced) == sorted(source.SOPInstanceUID for source in sources)
    (area,) = ds.DisplayedAreaSelectionSequence
    assert "ReferencedImageSequence" not in area
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [reading.columns, reading.rows]
    shared = sources[0].get("SharedFunctionalGroupsSequence")
    spacing = (shared[0].PixelMeasuresSequence[0] if shared else sources[0]).PixelSpacing
    assert [float(v) for v in area.PresentationPixelSpacing] == [float(v) for v in spacing]
    assert {item.GraphicLayer for item in ds.GraphicAnnotationSequence} == {
        item.GraphicLayer for item in ds.GraphicLayerSequence
    }
    assert len(ds.GraphicLayerSequence) == 1


def test_body_part_and_side_are_those_of_the_source(make_case: MakeCase) -> None:
    """A knee has its side, from classic and Enhanced headers, and an unknown side is empty; a brain has none."""
    for name, part, side in (("knee", "KNEE", "L"), ("knee-enhanced", "KNEE", "L"), ("brain", "BRAIN", None)):
        ds = encode_presentation(*make_case(name))
        assert ds is not None
        assert (ds.BodyPartExamined, ds.get("Laterality")) == (part, side), name
    reading, sources = make_case("knee")
    bare = deepcopy(sources)
    for source in bare:
        del source.Laterality
    ds = encode_presentation(reading, bare)
    assert ds is not None
    assert ds.Laterality == ""


def test_colours_are_those_of_the_segments(make_case: MakeCase) -> None:
    """Outline and segment of a finding have one colour."""
    reading, sources = make_case("brain")
    segmentation, ds = encode_segmentation(reading, sources), encode_presentation(reading, sources)
    assert segmentation is not None and ds is not None
    segments = {item.TrackingID: list(item.RecommendedDisplayCIELabValue) for item in segmentation.SegmentSequence}
    outlines = {
        outline.TrackingID: list(outline.LineStyleSequence[0].PatternOnColorCIELabValue)
        for annotation in ds.GraphicAnnotationSequence
        for outline in annotation.GraphicObjectSequence
    }
    assert outlines == segments
    assert len({colours.rgb(number) for number in range(1, 13)}) == 12


def test_without_boxes_there_is_none(make_case: MakeCase) -> None:
    """A reading that marks nothing has nothing to draw."""
    assert encode_presentation(*make_case("brain-normal")) is None


def test_second_time_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """The same reading, the same object; the patient is the source's."""
    reading, sources = make_case("knee-enhanced")
    first = saved(encode_presentation(reading, sources), tmp_path / "1.dcm")
    saved(encode_presentation(reading, sources[::-1]), tmp_path / "2.dcm")
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()
    assert first.PatientName == CANARIES.patient_name
    assert (first.Modality, first.SeriesNumber, first.ContentQualification) == ("PR", 903, "RESEARCH")


def edge_tracklets(rows: int, columns: int) -> tuple[Tracklet, ...]:
    boxes = (
        Box(x0=0, y0=0, x1=1, y1=1),
        Box(x0=columns - 1, y0=rows - 1, x1=columns, y1=rows),
        Box(x0=0, y0=0, x1=columns, y1=rows),
        Box(x0=1.25, y0=2.015625, x1=3.5, y1=4),
    )
    label = "Small vessel chronic white matter ischemic change"
    return tuple(
        Tracklet(tracklet_id=f"lesion-{n}", findings=(Finding(label=label, frame_index=3, box=box, score=0.5),))
        for n, box in enumerate(boxes, start=1)
    )


def test_labels_stay_inside_the_image(
    make_case: MakeCase, make_reading: Callable[..., Reading], dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """Boxes at every edge, as large as the frame and with fractions keep their edges; their labels lie on the frame."""
    _, sources = make_case("brain-nonsquare")
    rows, columns = int(sources[0].Rows), int(sources[0].Columns)
    reading = make_reading(sources, Anatomy.BRAIN, edge_tracklets(rows, columns))
    ds = saved(encode_presentation(reading, sources), tmp_path / "pr.dcm")
    assert [line for line in dciodvfy(tmp_path / "pr.dcm") if ALLOWED not in line] == []
    assert [mark.box for mark in decode_presentation(ds)] == [finding.box for finding in reading.findings]
    for text in ds.GraphicAnnotationSequence[0].TextObjectSequence:
        (x0, y0), (x1, y1) = text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner
        assert 0 <= x0 < x1 <= columns
        assert 0 <= y0 < y1 <= rows


def test_label_goes_above_then_below_then_inside() -> None:
    """A label covers its box only where it must."""
    size = (30.0, 10.0)
    above = label_place(Box(x0=90, y0=20, x1=95, y1=25), size, 100, 100)
    below = label_place(Box(x0=5, y0=5, x1=9, y1=9), size, 100, 100)
    inside = label_place(Box(x0=0, y0=2, x1=100, y1=98), size, 100, 100)
    assert above.as_tuple() == (70, 10, 100, 20)
    assert below.as_tuple() == (5, 9, 35, 19)
    assert inside.as_tuple() == (0, 2, 30, 12)


def _without_label(ds: Dataset) -> None:
    del ds.GraphicAnnotationSequence[0].TextObjectSequence[0]


def _open(ds: Dataset) -> None:
    outline = ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    outline.GraphicData = outline.GraphicData[:-2]


def _swapped(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].TextObjectSequence[0].TrackingUID = "2.25.1"


@pytest.mark.parametrize("change", [_without_label, _open, _swapped], ids=lambda one: one.__name__.strip("_"))
def test_decoder_refuses_what_was_changed(change: Callable[[Dataset], None], make_case: MakeCase) -> None:
    """A lost label, an open outline and the label of another box are errors; so is another object."""
    reading, sources = make_case("brain")
    ds = encode_presentation(reading, sources)
    assert ds is not None
    change(ds)
    with pytest.raises(MalformedInstance, match="lacks a part"):
        decode_presentation(ds)
    with pytest.raises(MalformedInstance, match="SOP class"):
        decode_presentation(encode_report(replace(reading), sources, segmentation=None))
