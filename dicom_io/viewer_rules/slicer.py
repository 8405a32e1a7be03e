"""3D Slicer with QuantitativeReporting (2025-10), read in DICOMTID1500Plugin.py; not run.

A report with planar regions is read with highdicom; one error in it, and nothing is loaded. It takes patient positions
from each file of the first series in the evidence, so that boxes on Enhanced images cannot be shown: no rule of ours
can mend that.
"""

from typing import Final

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.viewer_rules.rule import (
    Rule,
    all_have,
    code,
    evidence_series,
    groups,
    instances,
    is_measurement_report,
    is_segmentation,
    of_type,
    referenced,
    regions,
    template_of,
)

_REPORT_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
)
_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
_POINTS_READ: Final = 8
"""Values of Graphic Data that are read without looking how many there are."""

_NO_EVALUATION: Final = frozenset(
    {("DCM", "121071"), ("SCT", "363698007"), ("SRT", "G-C0E3"), ("SCT", "370129005"), ("SRT", "G-C306")}
)
"""CODE items that highdicom does not count among qualitative evaluations: finding, finding site, method."""


def _is_of_known_class(ds: Dataset) -> bool:
    return ds.get("SOPClassUID") in _REPORT_CLASSES and template_of(ds) == "1500"


def _ends_with_bounded_by(ds: Dataset) -> bool:
    return all(
        _is_bounded_by(evaluations[-1]) if (evaluations := _evaluations(group)) else False for group in groups(ds)
    )


def _evaluations(group: Dataset) -> list[Dataset]:
    names = ((item, code(item)) for item in of_type(group, "CODE"))
    return [item for item, name in names if (name.scheme, name.value) not in _NO_EVALUATION]


def _is_bounded_by(item: Dataset) -> bool:
    return (code(item), code(item, "ConceptCodeSequence")) == (codes.GEOMETRIC_PURPOSE, codes.BOUNDED_BY)


def _has_findings(ds: Dataset) -> bool:
    return all_have(ds, codes.FINDING, "CODE")


def _has_sites(ds: Dataset) -> bool:
    return all_have(ds, codes.FINDING_SITE, "CODE")


def _has_labels(ds: Dataset) -> bool:
    return all_have(ds, codes.TRACKING_IDENTIFIER, "TEXT")


def _states_pixel_origin(ds: Dataset) -> bool:
    return all(region.get("PixelOriginInterpretation") for group in groups(ds) for region in regions(group))


def _has_four_corners(ds: Dataset) -> bool:
    return all(
        region.get("GraphicType") == "POLYLINE" and len(region.get("GraphicData") or []) >= _POINTS_READ
        for group in groups(ds)
        for region in regions(group)
    )


def _has_images_first(ds: Dataset) -> bool:
    series = evidence_series(ds)
    first = {instance.get("ReferencedSOPInstanceUID") for instance in instances(series[0])} if series else set()
    shown = (
        reference.get("ReferencedSOPInstanceUID")
        for group in groups(ds)
        for region in regions(group)
        for image in of_type(region, "IMAGE")
        if (reference := referenced(image)) is not None
    )
    return all(uid in first for uid in shown)


def _has_one_segmentation(ds: Dataset) -> bool:
    classes = [
        instance.get("ReferencedSOPClassUID") for series in evidence_series(ds) for instance in instances(series)
    ]
    return classes.count(_SEGMENTATION) <= 1


def _has_shared_geometry(ds: Dataset) -> bool:
    shared = ds.get("SharedFunctionalGroupsSequence")
    return bool(shared) and all(shared[0].get(name) for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"))


def _names_its_series(ds: Dataset) -> bool:
    series = ds.get("ReferencedSeriesSequence")
    return bool(series and series[0].get("SeriesInstanceUID") and series[0].get("ReferencedInstanceSequence"))


RULES: Final = (
    Rule(
        name="slicer-report-class",
        why="isDICOMTID1500: Enhanced, Comprehensive or Comprehensive 3D SR with template 1500; others are not offered",
        applies_to=is_measurement_report,
        holds=_is_of_known_class,
    ),
    Rule(
        name="slicer-bounded-by",
        why="checkIfSRContainsBbox: boxes are drawn where the last qualitative evaluation is Geometric purpose of "
        "region = Bounded by, meanings included, and mere lines elsewhere",
        applies_to=is_measurement_report,
        holds=_ends_with_bounded_by,
    ),
    Rule(
        name="slicer-finding",
        why="extractBboxMetadataToVtkTableNode: the finding's code is read without asking for it",
        applies_to=is_measurement_report,
        holds=_has_findings,
    ),
    Rule(
        name="slicer-finding-site",
        why="createBboxTable: the first finding site is read without asking for it",
        applies_to=is_measurement_report,
        holds=_has_sites,
    ),
    Rule(
        name="slicer-tracking-identifier",
        why="displayBboxMarkups: the Tracking Identifier is the box's label",
        applies_to=is_measurement_report,
        holds=_has_labels,
    ),
    Rule(
        name="slicer-pixel-origin",
        why="extractBboxMetadataToVtkTableNode: Pixel Origin Interpretation is read without asking for it",
        applies_to=is_measurement_report,
        holds=_states_pixel_origin,
    ),
    Rule(
        name="slicer-four-corners",
        why="extractBboxMetadataToVtkTableNode: four points of a POLYLINE are read without counting them",
        applies_to=is_measurement_report,
        holds=_has_four_corners,
    ),
    Rule(
        name="slicer-images-first-in-evidence",
        why="getIPPFromSOP: the images are looked for in the first series of the evidence only",
        applies_to=is_measurement_report,
        holds=_has_images_first,
    ),
    Rule(
        name="slicer-one-segmentation",
        why='createLoadableAndAddReferences: "references more than one SEG. This has not been tested!"',
        applies_to=is_measurement_report,
        holds=_has_one_segmentation,
    ),
    Rule(
        name="slicer-seg-shared-geometry",
        why="dcmqi's segimage2itkimage reads pixel size and orientation from the shared functional groups",
        applies_to=is_segmentation,
        holds=_has_shared_geometry,
    ),
    Rule(
        name="slicer-seg-names-its-series",
        why="DICOMSegmentationPlugin: the series to load beneath is the first of Referenced Series Sequence",
        applies_to=is_segmentation,
        holds=_names_its_series,
    ),
)
