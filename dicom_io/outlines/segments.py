"""Outlines of segmentations: every segment with its frames and their extents; binary, fractional and label map.

References
----------
PS3.3 C.8.20.2 (Segmentation Image), C.8.20.4 (Segment Description), C.7.6.16.2.6 (Derivation Image)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.outlines.outline import Item, Mark, Outline, class_name, extent_text
from dicom_io.viewer_rules.rule import code


def outline_segmentation(ds: Dataset) -> Outline:
    """Return the outline of a segmentation; reads its pixels."""
    masks: dict[int, list[tuple[int, Mark]]] = {}
    for frame_number, segment_number, mark in _masks(ds):
        masks.setdefault(segment_number, []).append((frame_number, mark))
    segments = [
        _segment(item, masks.get(int(item.get("SegmentNumber", 0)), [])) for item in ds.get("SegmentSequence") or []
    ]
    kind = str(ds.get("SegmentationType", ""))
    return Outline(
        what=f"{class_name(str(ds.SOPClassUID))}: {kind}, {len(segments)} segments, "
        f"{ds.get('Columns')} x {ds.get('Rows')} pixels",
        items=tuple(segments),
        marks=tuple(mark for number in sorted(masks) for _, mark in masks[number]),
    )


def _segment(item: Dataset, masks: list[tuple[int, Mark]]) -> Item:
    words = [
        f"segment {item.get('SegmentNumber')}: {item.get('SegmentLabel', '')}",
        code(item, "SegmentedPropertyCategoryCodeSequence").meaning,
        code(item, "SegmentedPropertyTypeCodeSequence").meaning,
        " ".join(filter(None, [str(item.get("SegmentAlgorithmType", "")), str(item.get("SegmentAlgorithmName", ""))])),
        str(item.get("TrackingID", "")),
        f"{len(masks)} frames",
    ]
    return Item(text=", ".join(filter(None, words)), items=tuple(_frame(number, mark) for number, mark in masks))


def _frame(frame_number: int, mark: Mark) -> Item:
    assert mark.mask is not None
    source = f" on {mark.sop_instance_uid}" if mark.sop_instance_uid else ""
    of_frame = "" if mark.frame_number is None else f" frame {mark.frame_number}"
    return Item(
        text=f"frame {frame_number}{source}{of_frame}: {extent_text(mark.extent)}, {int(mark.mask.sum())} pixels"
    )


def _masks(ds: Dataset) -> Iterator[tuple[int, int, Mark]]:
    """Yield frame number, segment number and mask of everything that is not empty."""
    labels = {int(item.get("SegmentNumber", 0)): str(item.get("SegmentLabel", "")) for item in ds.SegmentSequence}
    frames: NDArray[np.integer] = np.asarray(ds.pixel_array).reshape(-1, ds.Rows, ds.Columns)
    groups = ds.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * len(frames)
    for frame_number, (pixels, group) in enumerate(zip(frames, groups, strict=True), start=1):
        source = _part(_part(ds, group, "DerivationImageSequence"), Dataset(), "SourceImageSequence")
        number = source.get("ReferencedFrameNumber")
        for segment_number, mask in _segments_of(ds, group, pixels):
            if mask.any():
                yield (
                    frame_number,
                    segment_number,
                    Mark(
                        label=labels.get(segment_number, f"segment {segment_number}"),
                        sop_instance_uid=str(source.get("ReferencedSOPInstanceUID", "")),
                        frame_number=None if number is None else int(number),
                        mask=mask,
                    ),
                )


def _segments_of(ds: Dataset, group: Dataset, pixels: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    if ds.get("SegmentationType") == "LABELMAP":
        described = {int(item.get("SegmentNumber", 0)) for item in ds.SegmentSequence}
        # Segment 0 is the background, described or not
        yield from ((number, pixels == number) for number in sorted(described - {0}))
        return
    identification = _part(ds, group, "SegmentIdentificationSequence")
    yield int(identification.get("ReferencedSegmentNumber", 0)), pixels > 0


def _part(ds: Dataset, group: Dataset, keyword: str) -> Dataset:
    """Return the first item of a functional group, of the frame or shared by all; empty where there is none."""
    shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    found = group.get(keyword) or shared.get(keyword) or ds.get(keyword)
    return found[0] if found else Dataset()
