"""dwv 0.36: a viewer without WebGL, run as a library page."""

from typing import Final

from pydicom.dataset import Dataset

from dicom_io.viewer_rules.rule import (
    Rule,
    groups,
    is_closed_rectangle,
    is_measurement_report,
    is_segmentation,
    regions,
)


def _has_closed_rectangles(ds: Dataset) -> bool:
    return all(is_closed_rectangle(region) for group in groups(ds) for region in regions(group))


def _identifies_segments_by_frame(ds: Dataset) -> bool:
    frames = ds.get("PerFrameFunctionalGroupsSequence") or []
    return ds.get("SegmentationType") == "LABELMAP" or all(
        frame.get("SegmentIdentificationSequence") for frame in frames
    )


RULES: Final = (
    Rule(
        name="dwv-closed-rectangle",
        why="a closed right-angled POLYLINE of five points becomes a rectangle on its frame; others become nothing",
        applies_to=is_measurement_report,
        holds=_has_closed_rectangles,
    ),
    Rule(
        name="dwv-segment-identification-per-frame",
        why="a Segment Identification Sequence in the shared groups makes loading fail",
        applies_to=is_segmentation,
        holds=_identifies_segments_by_frame,
    ),
)
