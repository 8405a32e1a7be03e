"""OHIF: what its structured report and segmentation extensions need, run in 3.11 to 3.14 and read in their sources.

It shows a TID 1500 report in two steps, a preview and then measurements, and places all groups at once: one that has no
place leaves all of them out.
"""

from typing import Final

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.objects import tree
from dicom_io.objects.sr import RECTANGLE_TOOL
from dicom_io.viewer_rules.rule import (
    SEGMENTATION_CLASSES,
    Rule,
    all_have,
    code,
    evidence_series,
    groups,
    instances,
    is_closed_rectangle,
    is_measurement_report,
    is_segmentation,
    of_type,
    referenced,
    regions,
    template_of,
)

_MATCHED_BY_MEANING: Final = (codes.TRACKING_IDENTIFIER, codes.TRACKING_UID)


def _has_template(ds: Dataset) -> bool:
    return template_of(ds) == "1500"


def _has_meanings(ds: Dataset) -> bool:
    measurements = tree.first(ds, codes.IMAGING_MEASUREMENTS)
    if measurements is None:
        return True  # a report without boxes has none
    names = [(measurements, codes.IMAGING_MEASUREMENTS)]
    for group in groups(ds):
        names.append((group, codes.MEASUREMENT_GROUP))
        names += [(item, name) for name in _MATCHED_BY_MEANING for item in tree.children(group, name)]
    return all(code(item).meaning == name.meaning for item, name in names)


def _has_coordinates(ds: Dataset) -> bool:
    return all(regions(group) for group in groups(ds))


def _has_no_number_without_coordinates(ds: Dataset) -> bool:
    return all(of_type(number, "SCOORD") for group in groups(ds) for number in of_type(group, "NUM"))


def _has_one_region_each(ds: Dataset) -> bool:
    return all(len(regions(group)) <= 1 for group in groups(ds))


def _has_unique_tracking_uids(ds: Dataset) -> bool:
    uids = [tuple(str(item.get("UID")) for item in tree.children(group, codes.TRACKING_UID)) for group in groups(ds)]
    return all(len(one) == 1 for one in uids) and len(set(uids)) == len(uids)


def _has_closed_rectangles(ds: Dataset) -> bool:
    return all(is_closed_rectangle(region) for group in groups(ds) for region in regions(group))


def _names_image_regions(ds: Dataset) -> bool:
    return all(
        tree.first(group, codes.IMAGE_REGION) in of_type(group, "SCOORD")
        for group in groups(ds)
        if of_type(group, "SCOORD") and not _tracking_identifier(group).startswith(RECTANGLE_TOOL)
    )


def _selects_images(ds: Dataset) -> bool:
    return all(
        any(item.get("RelationshipType") == "SELECTED FROM" and referenced(item) for item in of_type(region, "IMAGE"))
        for group in groups(ds)
        for region in regions(group)
    )


def _has_comments(ds: Dataset) -> bool:
    return all_have(ds, codes.COMMENT, "TEXT")


def _has_images_first(ds: Dataset) -> bool:
    classes = [
        instance.get("ReferencedSOPClassUID") for series in evidence_series(ds) for instance in instances(series)
    ]
    made = [one in SEGMENTATION_CLASSES for one in classes]
    return made == sorted(made)


def _has_tool_names(ds: Dataset) -> bool:
    return all(_tracking_identifier(group).startswith(RECTANGLE_TOOL) for group in groups(ds))


def _tracking_identifier(group: Dataset) -> str:
    item = tree.first(group, codes.TRACKING_IDENTIFIER)
    return "" if item is None else str(item.get("TextValue", ""))


def _is_not_fractional(ds: Dataset) -> bool:
    return bool(ds.get("SegmentationType") != "FRACTIONAL")


def _has_colours(ds: Dataset) -> bool:
    # The background of a label map is not drawn
    drawn = [segment for segment in ds.get("SegmentSequence") or [] if segment.get("SegmentNumber")]
    return all(segment.get("RecommendedDisplayCIELabValue") for segment in drawn)


RULES: Final = (
    Rule(
        name="ohif-template-1500",
        why="a report without Content Template Sequence 1500 is shown as text, without boxes",
        applies_to=is_measurement_report,
        holds=_has_template,
    ),
    Rule(
        name="ohif-code-meanings",
        why='"Imaging Measurements", "Measurement Group" and the tracking identifiers are found by their meanings',
        applies_to=is_measurement_report,
        holds=_has_meanings,
    ),
    Rule(
        name="ohif-every-group-has-coordinates",
        why="one group without SCOORD leaves the whole report blank (3.11.1 to 3.14.0-beta.6; issue 3390)",
        applies_to=is_measurement_report,
        holds=_has_coordinates,
    ),
    Rule(
        name="ohif-no-num-without-coordinates",
        why="coordinates are looked for in the first NUM where there is one, and none of the boxes follows (to 3.14)",
        applies_to=is_measurement_report,
        holds=_has_no_number_without_coordinates,
    ),
    Rule(
        name="ohif-one-region-per-group",
        why="of two boxes in a group the second is lost (3.11.1)",
        applies_to=is_measurement_report,
        holds=_has_one_region_each,
    ),
    Rule(
        name="ohif-unique-tracking-uid",
        why="a group without a tracking UID throws, and of boxes that share one only the first is shown (3.11 to 3.13)",
        applies_to=is_measurement_report,
        holds=_has_unique_tracking_uids,
    ),
    Rule(
        name="ohif-closed-rectangle",
        why="only POINT and POLYLINE of four or five points become measurements (3.12)",
        applies_to=is_measurement_report,
        holds=_has_closed_rectangles,
    ),
    Rule(
        name="ohif-image-region",
        why="without a tool's name only (111030, DCM, Image Region) becomes a measurement (3.12)",
        applies_to=is_measurement_report,
        holds=_names_image_regions,
    ),
    Rule(
        name="ohif-selected-from-image",
        why="a box is placed by the IMAGE that its SCOORD is SELECTED FROM",
        applies_to=is_measurement_report,
        holds=_selects_images,
    ),
    Rule(
        name="ohif-comment-is-label",
        why="the row's title is the Comment (121106, DCM); without it all boxes of a kind read alike (3.13.2)",
        applies_to=is_measurement_report,
        holds=_has_comments,
    ),
    Rule(
        name="ohif-images-first",
        why="what boxes are drawn on is looked for at the beginning of the evidence: images, then segmentations",
        applies_to=is_measurement_report,
        holds=_has_images_first,
    ),
    Rule(
        name="ohif-no-fractional-seg",
        why='FRACTIONAL segmentations are "not yet supported" (3.13.2)',
        applies_to=is_segmentation,
        holds=_is_not_fractional,
    ),
    Rule(
        name="ohif-segment-colour",
        why="a segment without Recommended Display CIELab Value raises a warning and gets a colour by chance (3.13.2)",
        applies_to=is_segmentation,
        holds=_has_colours,
    ),
)

RULES_3_11: Final = (
    Rule(
        name="ohif-3.11-tool-name",
        why="up to 3.11 only tracking identifiers that begin with a tool's name become measurements",
        applies_to=is_measurement_report,
        holds=_has_tool_names,
    ),
)
