from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import MeasurementReport, srread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from conformance import phantoms
from dicom_io import codes
from dicom_io.kinds import ResultKind
from dicom_io.objects.sources import leniently
from dicom_io.objects.sr import RECTANGLE_TOOL, measurement_groups
from dicom_io.profiles import KINDS, Profile
from dicom_io.results import write_results
from dicom_io.viewer_rules import RULES, Violation, violations
from dicom_io.writers import WRITERS
from sgmri.errors import ViewerRuleBroken
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading
from sgmri.volume import Anatomy

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
NAMES = ["brain", "brain-enhanced", "brain-normal", "brain-nonsquare", "knee", "knee-enhanced"]


@pytest.fixture(scope="module")
def ours(make_case: MakeCase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Objects of ours that keep every rule, by what they are."""
    reading, _ = make_case("brain")
    directory = tmp_path_factory.mktemp("brain")
    paths = phantoms.write(phantoms.make("brain"), directory / "sources")
    profile = Profile(kinds=frozenset(WRITERS) & frozenset({ResultKind.SEG, ResultKind.SR}), cornerstone_tracking=True)
    written = {
        result.kind: pydicom.dcmread(result.path)
        for result in write_results(reading, paths, directory, profile=profile)
    }
    return {"report": written[ResultKind.SR], "segmentation": written[ResultKind.SEG], **_plain_objects()}


def _plain_objects() -> dict[str, Dataset]:
    """The least of a presentation state, key object selection and secondary capture."""
    made = {}
    for name, sop_class, modality in (
        ("presentation", "1.2.840.10008.5.1.4.1.1.11.1", "PR"),
        ("key objects", "1.2.840.10008.5.1.4.1.1.88.59", "KO"),
        ("capture", "1.2.840.10008.5.1.4.1.1.7", "OT"),
    ):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = pydicom.uid.UID(sop_class)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = pydicom.uid.UID("2.25.1")
        ds.SeriesInstanceUID, ds.SeriesNumber, ds.SeriesDescription = pydicom.uid.UID("2.25.2"), 903, "AI"
        ds.Modality, ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = modality, "a", "b", "1"
        made[name] = ds
    image, reference, series, study = Dataset(), Dataset(), Dataset(), Dataset()
    image.ValueType, image.ReferencedSOPSequence = "IMAGE", [reference]
    reference.ReferencedSOPInstanceUID = "2.25.3"
    series.ReferencedSOPSequence, study.ReferencedSeriesSequence = [reference], [series]
    made["key objects"].ContentSequence = [image]
    made["key objects"].CurrentRequestedProcedureEvidenceSequence = [study]
    made["capture"].BurnedInAnnotation, made["capture"].BitsAllocated = "YES", 8
    made["capture"].PhotometricInterpretation = "RGB"
    return made


def _group(ds: Dataset) -> Dataset:
    return measurement_groups(ds)[1]


def _items(item: Dataset, value: str) -> list[Dataset]:
    """Return children by the value of their concept's code, or by value type."""
    return [
        child
        for child in item.ContentSequence
        if value in (child.ValueType, child.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue"))
    ]


def _drop(item: Dataset, value: str) -> None:
    item.ContentSequence = [child for child in item.ContentSequence if child not in _items(item, value)]


def _region(ds: Dataset) -> Dataset:
    return _items(_group(ds), "SCOORD")[0]


def _without_template(ds: Dataset) -> None:
    del ds.ContentTemplateSequence


def _other_template(ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage


def _other_meaning(ds: Dataset) -> None:
    _items(ds, "126010")[0].ConceptNameCodeSequence[0].CodeMeaning = "Imaging measurements"


def _without_region(ds: Dataset) -> None:
    _drop(_group(ds), "SCOORD")


def _with_number(ds: Dataset) -> None:
    number = Dataset()
    number.ValueType, number.RelationshipType = "NUM", "CONTAINS"
    _group(ds).ContentSequence.append(number)


def _with_second_region(ds: Dataset) -> None:
    second = deepcopy(_region(ds))
    second.GraphicData = [value + 1 for value in second.GraphicData]
    _group(ds).ContentSequence.append(second)


def _shared_uid(ds: Dataset) -> None:
    first, second = (_items(group, "UIDREF")[0] for group in measurement_groups(ds)[:2])
    second.UID = first.UID


def _slanted(ds: Dataset) -> None:
    region = _region(ds)
    region.GraphicData = [
        *region.GraphicData[:2],
        region.GraphicData[2],
        region.GraphicData[3] + 1,
        *region.GraphicData[4:],
    ]


def _other_region_name(ds: Dataset) -> None:
    _region(ds).ConceptNameCodeSequence[0].CodeValue = "111031"
    _items(_group(ds), "112039")[0].TextValue = "lesion-1"


def _contained_image(ds: Dataset) -> None:
    _region(ds).ContentSequence[0].RelationshipType = "CONTAINS"


def _without_comment(ds: Dataset) -> None:
    _drop(_group(ds), "121106")


def _segmentation_first(ds: Dataset) -> None:
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = list(series)[::-1]


def _plain_tracking_identifier(ds: Dataset) -> None:
    _items(_group(ds), "112039")[0].TextValue = "lesion-1"


def _fractional(ds: Dataset) -> None:
    ds.SegmentationType = "FRACTIONAL"


def _without_colour(ds: Dataset) -> None:
    del ds.SegmentSequence[-1].RecommendedDisplayCIELabValue


def _bounded_by_not_last(ds: Dataset) -> None:
    group = _group(ds)
    (purpose,) = _items(group, "130400")
    severity = deepcopy(purpose)
    severity.ConceptNameCodeSequence = [codes.written(codes.SEVERITY)]
    group.ContentSequence.append(severity)


def _without_finding(ds: Dataset) -> None:
    _drop(_group(ds), "121071")


def _without_site(ds: Dataset) -> None:
    _drop(_group(ds), "363698007")


def _empty_tracking_identifier(ds: Dataset) -> None:
    _items(_group(ds), "112039")[0].TextValue = ""


def _without_pixel_origin(ds: Dataset) -> None:
    del _region(ds).PixelOriginInterpretation


def _three_points(ds: Dataset) -> None:
    _region(ds).GraphicData = list(_region(ds).GraphicData)[:6]


def _two_segmentations(ds: Dataset) -> None:
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    series.append(deepcopy(series[-1]))


def _without_measures(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


def _without_series(ds: Dataset) -> None:
    del ds.ReferencedSeriesSequence


def _three_dimensional(ds: Dataset) -> None:
    region = _region(ds)
    region.ValueType = "SCOORD3D"


def _polygon(ds: Dataset) -> None:
    _region(ds).GraphicType = "POLYGON"


def _without_image(ds: Dataset) -> None:
    _region(ds).ContentSequence = []


def _alone(ds: Dataset) -> None:
    group = _group(ds)
    group.ContentSequence = _items(group, "SCOORD")


def _with_window(ds: Dataset) -> None:
    ds.SoftcopyVOILUTSequence = [Dataset()]


def _without_images(ds: Dataset) -> None:
    ds.ContentSequence = []


def _shared_identification(ds: Dataset) -> None:
    group = ds.PerFrameFunctionalGroupsSequence[0]
    ds.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence = group.SegmentIdentificationSequence
    del group.SegmentIdentificationSequence


def _illegal_uid(ds: Dataset) -> None:
    with leniently():
        ds.SeriesInstanceUID = pydicom.uid.UID("1.02.3")


def _other_file_meta(ds: Dataset) -> None:
    ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("2.25.9")


def _unnamed(ds: Dataset) -> None:
    ds.SeriesDescription = ""


def _nobody(ds: Dataset) -> None:
    del ds.Manufacturer


def _verified_by_nobody(ds: Dataset) -> None:
    ds.VerificationFlag = "VERIFIED"


def _unlisted(ds: Dataset) -> None:
    del ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[-1]


def _undeclared(ds: Dataset) -> None:
    ds.BurnedInAnnotation = "NO"


def _compressed(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


BREAKS: list[tuple[str, str, Callable[[Dataset], None]]] = [
    ("ohif-template-1500", "report", _without_template),
    ("ohif-code-meanings", "report", _other_meaning),
    ("ohif-every-group-has-coordinates", "report", _without_region),
    ("ohif-no-num-without-coordinates", "report", _with_number),
    ("ohif-one-region-per-group", "report", _with_second_region),
    ("ohif-unique-tracking-uid", "report", _shared_uid),
    ("ohif-closed-rectangle", "report", _slanted),
    ("ohif-image-region", "report", _other_region_name),
    ("ohif-selected-from-image", "report", _contained_image),
    ("ohif-comment-is-label", "report", _without_comment),
    ("ohif-images-first", "report", _segmentation_first),
    ("ohif-no-fractional-seg", "segmentation", _fractional),
    ("ohif-segment-colour", "segmentation", _without_colour),
    ("ohif-3.11-tool-name", "report", _plain_tracking_identifier),
    ("slicer-report-class", "report", _other_template),
    ("slicer-bounded-by", "report", _bounded_by_not_last),
    ("slicer-finding", "report", _without_finding),
    ("slicer-finding-site", "report", _without_site),
    ("slicer-tracking-identifier", "report", _empty_tracking_identifier),
    ("slicer-pixel-origin", "report", _without_pixel_origin),
    ("slicer-four-corners", "report", _three_points),
    ("slicer-images-first-in-evidence", "report", _segmentation_first),
    ("slicer-one-segmentation", "report", _two_segmentations),
    ("slicer-seg-shared-geometry", "segmentation", _without_measures),
    ("slicer-seg-names-its-series", "segmentation", _without_series),
    ("weasis-scoord-not-3d", "report", _three_dimensional),
    ("weasis-graphic-type", "report", _polygon),
    ("weasis-image-child", "report", _without_image),
    ("weasis-words-beside-link", "report", _alone),
    ("weasis-no-window-in-presentation-state", "presentation", _with_window),
    ("weasis-key-images", "key objects", _without_images),
    ("dwv-closed-rectangle", "report", _slanted),
    ("dwv-segment-identification-per-frame", "segmentation", _shared_identification),
    ("pacs-legal-uids", "report", _illegal_uid),
    ("pacs-file-meta", "segmentation", _other_file_meta),
    ("pacs-named-series", "capture", _unnamed),
    ("pacs-named-maker", "report", _nobody),
    ("pacs-report-status", "report", _verified_by_nobody),
    ("pacs-whole-evidence", "report", _unlisted),
    ("images-only-burnt-in-annotation", "capture", _undeclared),
    ("images-only-plain-pixels", "capture", _compressed),
]


@pytest.mark.parametrize(("rule", "name", "break_it"), BREAKS, ids=[row[0] for row in BREAKS])
def test_each_rule_is_broken_by_its_own_fault(
    rule: str, name: str, break_it: Callable[[Dataset], None], ours: dict[str, Dataset]
) -> None:
    """A good object keeps all rules of all viewers; one change breaks the rule, and of its viewer no other."""
    viewer = next(key for key, rules in RULES.items() if rule in [one.name for one in rules])
    ds = deepcopy(ours[name])
    assert violations(ds, RULES) == ()
    break_it(ds)
    assert violations(ds, [viewer]) == (Violation(viewer=viewer, rule=rule),)


def test_every_rule_is_tested_and_explained() -> None:
    """No rule without its fault above, its viewer's name in front and a reason."""
    rules = [rule for rules in RULES.values() for rule in rules]
    assert sorted(rule.name for rule in rules) == sorted(row[0] for row in BREAKS)
    assert all(rule.name.startswith(viewer.removeprefix("generic-")) for viewer, all_ in RULES.items() for rule in all_)
    assert all(rule.why for rule in rules)


def test_every_viewer_of_a_profile_has_rules() -> None:
    """What a destination may name is held against something."""
    assert set(KINDS) <= set(RULES)


@pytest.mark.parametrize("name", NAMES)
def test_our_objects_keep_the_rules_of_every_viewer(name: str, make_case: MakeCase, tmp_path: Path) -> None:
    """Classic and Enhanced, brain and knee, with and without findings: nothing that is written breaks a rule."""
    reading, _ = make_case(name)
    paths = phantoms.write(phantoms.make(name), tmp_path / "sources")
    for result in write_results(reading, paths, tmp_path, profile=Profile(kinds=frozenset(WRITERS))):
        viewers = [viewer for viewer, kinds in KINDS.items() if result.kind in kinds]
        assert violations(pydicom.dcmread(result.path), viewers) == ()


def test_a_broken_rule_stops_the_results(
    make_case: MakeCase, make_reading: Callable[..., Reading], tmp_path: Path
) -> None:
    """Two boxes with one tracking UID: OHIF would show the first only, so nothing is handed on for it."""
    _, sources = make_case("brain")
    findings = tuple(
        Finding(label="Mass", frame_index=index, box=Box(x0=10, y0=2, x1=30, y1=8), tracking_uid="2.25.7")
        for index in (3, 4)
    )
    reading = make_reading(sources, Anatomy.BRAIN, (Tracklet(tracklet_id="lesion-1", findings=findings),))
    paths = phantoms.write(phantoms.make("brain"), tmp_path / "sources")
    kinds = frozenset({ResultKind.SEG, ResultKind.SR})
    with pytest.raises(ViewerRuleBroken, match=r"ohif-unique-tracking-uid by SR \(viewer ohif\)") as caught:
        write_results(reading, paths, tmp_path, profile=Profile(viewers=("ohif", "slicer"), kinds=kinds))
    assert caught.value.rules == ("ohif-unique-tracking-uid",)
    assert len(write_results(reading, paths, tmp_path, profile=Profile(viewers=("slicer",), kinds=kinds))) == 2


def test_the_switch_for_old_versions_changes_the_identifiers_alone(make_case: MakeCase, tmp_path: Path) -> None:
    """With the tool's name in front OHIF 3.11 takes the boxes; what is read back is the reading all the same."""
    reading, _ = make_case("brain")
    paths = phantoms.write(phantoms.make("brain"), tmp_path / "sources")
    profile = Profile(viewers=("slicer",), kinds=frozenset({ResultKind.SR}), cornerstone_tracking=True)
    (result,) = write_results(reading, paths, tmp_path, profile=profile)
    assert {text.rpartition(":")[0] for text in _tracking_identifiers(result.path)} == {RECTANGLE_TOOL}


def _tracking_identifiers(path: Path) -> Iterator[str]:
    content = srread(path).content
    assert isinstance(content, MeasurementReport)
    for group in content.get_planar_roi_measurement_groups():
        yield str(group.tracking_identifier)


def test_slicer_finds_boxes_and_not_lines(make_case: MakeCase, tmp_path: Path) -> None:
    """What QuantitativeReporting reads with highdicom is there: its last evaluation, pixel origin, site and series."""
    reading, _ = make_case("brain-enhanced")
    paths = phantoms.write(phantoms.make("brain-enhanced"), tmp_path / "sources")
    results = write_results(reading, paths, tmp_path)
    report = srread(results[-1].path)
    assert isinstance(report.content, MeasurementReport)
    for group in report.content.get_planar_roi_measurement_groups():
        last = group.get_qualitative_evaluations()[-1][0]
        assert last.ConceptNameCodeSequence[0].CodeMeaning == "Geometric purpose of region"
        assert last.ConceptCodeSequence[0].CodeMeaning == "Bounded by"
        assert group.roi is not None and group.finding_type is not None
        assert group.roi.PixelOriginInterpretation == "FRAME"
        assert group.finding_sites[0].ConceptCodeSequence[0].CodeMeaning
        assert group.finding_type.CodeMeaning
        first = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        listed = [reference.ReferencedSOPInstanceUID for reference in first.ReferencedSOPSequence]
        assert group.roi.ContentSequence[0].referenced_sop_instance_uid in listed
