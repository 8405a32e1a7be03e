from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.objects.sources import leniently
from dicom_io.outlines import Outline, has_outline, outline
from dicom_io.outlines.outline import shapes
from dicom_io.results import write_results
from sgmri.errors import MalformedInstance, UnsupportedSeries
from sgmri.readings import Reading

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]

FOREIGN = {
    "dcmjs_ohif/sample-sr.dcm": (2, "Long Axis: 64.4505437946691", "Cornerstone3DTools@^0.1.0:Bidirectional"),
    "dcmjs_ohif/structured_report.dcm": (7, "Finding: ExampleText (CST4 CORNERSTONEFREETEXT)", "ExampleText"),
    "dcmjs_ohif/tumor_User1_Manual_Trial1_seg.dcm": (13, "segment 2: Neoplasm, Secondary", "Neoplasm, Primary"),
    "dcmqi/segmentations_24x38x3_seg_label.seg": (1, "columns 4 to 24, rows 0 to 20, 315 pixels", "Liver"),
    "dcmqi/segmentations_liver.dcm": (3, "columns 79 to 351, rows 145 to 367, 36233 pixels", "Liver"),
    "dcmqi/segmentations_partial_overlaps.dcm": (7, "segment 5: DARK_BLUE, Tissue, Vein, MANUAL, 1 frames", "GREEN"),
    "dcmqi/segmentations_sparse-labelmap-noppv.dcm": (2, "segment 1: Liver, Tissue, Liver, SEMIAUTOMATIC", "Liver"),
    "dcmqi/sr-example_seg.dcm": (13, "segment 1: Neoplasm, Primary", "Neoplasm, Primary"),
    "dcmqi/sr-example_sr.dcm": (0, "Referenced Segment: Segmentation Storage", ""),
    "highdicom/seg_image_cr_binary.dcm": (1, "columns 0 to 16, rows 0 to 16, 151 pixels", "first segment"),
    "highdicom/seg_image_ct_binary.dcm": (3, "segment 1: first segment, Tissue, Bone, AUTOMATIC", "first segment"),
    "highdicom/seg_image_ct_binary_fractional.dcm": (3, "FRACTIONAL, 1 segments", "first segment"),
    "highdicom/seg_image_ct_binary_overlap.dcm": (8, "segment 2: second segment", "first segment"),
    "highdicom/seg_image_ct_binary_single_frame.dcm": (1, "columns 5 to 102, rows 6 to 95", "first segment"),
    "highdicom/seg_image_ct_true_fractional.dcm": (3, "FRACTIONAL, 1 segments", "first segment"),
    "highdicom/sr_document.dcm": (1, "Image Region: CIRCLE, columns 47 to 69", "Spinal cord Planar ROI Measurements"),
    "highdicom/sr_document_with_multiple_groups.dcm": (2, "POINT in space", "Nodule LungNodule0001"),
    "misc/reportsi.dcm": (0, "Report Text: Enter text", ""),
    "misc/test-SR.dcm": (0, "Diameter: 3 cm", ""),
}
"""File -> how many marks, a piece of the text, the label of the first mark."""


def _foreign(shared_series: Callable[[str], list[Path]], name: str) -> Path:
    folder, _, file = name.partition("/")
    return next(path for path in shared_series(f"seg_sr/{folder}") if path.name == file)


def _outline(path: Path) -> Outline:
    with leniently():
        return outline(pydicom.dcmread(path))


@pytest.mark.parametrize("name", FOREIGN)
def test_objects_of_other_products_are_read(name: str, shared_series: Callable[[str], list[Path]]) -> None:
    """dcmqi's, highdicom's, OHIF's and DCMTK's objects come out as text, with every region and segment frame."""
    found = _outline(_foreign(shared_series, name))
    marks, piece, label = FOREIGN[name]
    assert len(found.marks) == marks
    assert piece in "\n".join(found.lines())
    assert found.marks[0].label.startswith(label) if marks else not label


@pytest.mark.parametrize("name", ["dcmqi/sr-example_rwvm.dcm", "dcmqi/segmentations_24x38x3_multiframe_mf.dcm"])
def test_other_kinds_of_object_are_refused(name: str, shared_series: Callable[[str], list[Path]]) -> None:
    """A real world value map or an image is no result of a reading; the error says what was found."""
    path = _foreign(shared_series, name)
    with pytest.raises(UnsupportedSeries, match=r"found (Real World Value Mapping|Legacy Converted Enhanced CT)"):
        _outline(path)
    assert not has_outline(pydicom.dcmread(path, specific_tags=["SOPClassUID", "Modality"]))


@pytest.mark.parametrize("name", ["brain", "brain-enhanced", "knee"])
def test_our_objects_mark_what_the_reading_found(name: str, make_case: MakeCase, tmp_path: Path) -> None:
    """Each box is a mark of SR and SEG on its own frame, at its very place, classic and Enhanced."""
    reading, _ = make_case(name)
    results = write_results(reading, phantoms.write(phantoms.make(name), tmp_path / "sources"), tmp_path)
    segmentation, report = (_outline(result.path) for result in results)
    wanted = [
        (ref.sop_instance_uid, ref.frame_number, finding.box.as_tuple())
        for tracklet in reading.tracklets
        for finding in tracklet.findings
        for ref in [reading.frames[finding.frame_index]]
    ]
    assert [(mark.sop_instance_uid, mark.frame_number, mark.extent) for mark in report.marks] == wanted
    grown = [
        (ref.sop_instance_uid, ref.frame_number, finding.box.grown_to_pixels().as_tuple())
        for tracklet in reading.tracklets
        for finding in tracklet.findings
        for ref in [reading.frames[finding.frame_index]]
    ]
    assert sorted(_places(segmentation)) == sorted(grown)
    content = srread(results[-1].path).content
    assert len(report.marks) == len(content.get_planar_roi_measurement_groups())  # type: ignore[attr-defined]  # TID 1500
    assert not any("NIGHTINGALE" in line for found in (segmentation, report) for line in found.lines())


def _places(found: Outline) -> list[tuple[str, int | None, tuple[float, ...]]]:
    return [(mark.sop_instance_uid, mark.frame_number, mark.extent) for mark in found.marks]


def test_presentation_states_key_objects_and_others_are_read() -> None:
    """A presentation state gives its texts and graphics; a document its title; a capture that it is burnt in."""
    reference, graphic, text, annotation = Dataset(), Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber = "2.25.3", [2, 3]
    graphic.GraphicAnnotationUnits, graphic.GraphicType = "PIXEL", "POLYLINE"
    graphic.GraphicData = [1.0, 2.0, 5.0, 2.0, 5.0, 8.0, 1.0, 8.0, 1.0, 2.0]
    text.UnformattedTextValue = "lesion-1"
    annotation.GraphicLayer, annotation.ReferencedImageSequence = "BOXES", [reference]
    annotation.GraphicObjectSequence, annotation.TextObjectSequence = [graphic], [text]
    state = Dataset()
    state.SOPClassUID, state.ContentLabel = pydicom.uid.GrayscaleSoftcopyPresentationStateStorage, "AI"
    state.GraphicAnnotationSequence = [annotation]
    found = outline(state)
    assert _places(found) == [("2.25.3", 2, (1, 2, 5, 8)), ("2.25.3", 3, (1, 2, 5, 8))]
    assert list(found.lines())[1:3] == ["  layer BOXES on 2.25.3 frame 2, 2.25.3 frame 3", "    text: lesion-1"]

    document = Dataset()
    document.SOPClassUID, document.DocumentTitle = pydicom.uid.EncapsulatedPDFStorage, "Summary"
    document.MIMETypeOfEncapsulatedDocument, document.EncapsulatedDocument = "application/pdf", b"%PDF"
    assert list(outline(document).lines())[1] == "  application/pdf, 4 bytes"

    capture = Dataset()
    capture.SOPClassUID, capture.BurnedInAnnotation = pydicom.uid.SecondaryCaptureImageStorage, "YES"
    assert list(outline(capture).lines())[1] == "  burnt in annotation: YES"


def test_damaged_objects_are_an_error(make_case: MakeCase, tmp_path: Path) -> None:
    """A segmentation without its pixels or a frame's group is refused with our type, never shown in half."""
    reading, _ = make_case("brain")
    results = write_results(reading, phantoms.write(phantoms.make("brain"), tmp_path / "sources"), tmp_path)
    segmentation = pydicom.dcmread(results[0].path)
    del segmentation.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(MalformedInstance, match="Segmentation Storage"):
        outline(segmentation)
    del segmentation.PixelData
    with pytest.raises(MalformedInstance, match="Segmentation Storage"):
        outline(segmentation)


def test_what_a_report_lacks_is_left_out() -> None:
    """A report of another product may lack values, codes, points and references: the rest is shown."""
    report, container, region, image, odd = (Dataset() for _ in range(5))
    image.ValueType, image.ReferencedSOPSequence = "IMAGE", [Dataset()]
    region.ValueType, region.GraphicType, region.ContentSequence = "SCOORD", "POLYLINE", [image]
    odd.ValueType, container.ValueType, container.ContentSequence = "NUM", "CONTAINER", [region, odd]
    report.Modality, report.ContentSequence = "SR", [container]
    found = outline(report)
    assert found.marks == ()
    lines = ["unknown class: Document", "item", "POLYLINE, on unknown class without UID", "no value"]
    assert [line.strip() for line in found.lines()] == lines


@pytest.mark.parametrize(
    ("graphic_type", "values", "extent"),
    [
        ("CIRCLE", [10, 10, 13, 14], (5, 5, 15, 15)),
        ("ELLIPSE", [0, 5, 20, 5, 10, 2, 10, 8], (0, 2, 20, 8)),
        ("MULTIPOINT", [1, 2, 3, 4], (1, 2, 3, 4)),
        ("POLYLINE", [1, 2, 3, 4, 5, 0], (1, 0, 5, 4)),
        ("POINT", [1, 2], (1, 2, 1, 2)),
    ],
)
def test_shapes_have_their_standard_extent(
    graphic_type: str, values: Sequence[float], extent: tuple[float, ...]
) -> None:
    """Circles by centre and edge, ellipses by the ends of both axes (PS3.3 C.18.6.1.2)."""
    points = np.asarray([point for shape in shapes(graphic_type, values) for point in shape])
    np.testing.assert_allclose([*points.min(axis=0), *points.max(axis=0)], extent, atol=0.05)
