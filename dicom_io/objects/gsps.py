"""The presentation state: boxes with their labels as vectors over the original images, and no word on grey values.

A workstation that knows no structured reports can show it. It holds no VOI LUT: how bright the images are is left to
the viewer and its user. Boxes are written unchanged, for PIXEL units count from the outer corner of the top-left pixel,
as :class:`sgmri.geometry.Box` does (ADR 0003).

References
----------
PS3.3 A.33.1 (Grayscale Softcopy Presentation State IOD), C.10.4 (Displayed Area), C.10.5 (Graphic Annotation)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from highdicom.pr.enum import GraphicTypeValues
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from dicom_io import identity
from dicom_io.kinds import ResultKind
from dicom_io.objects import colours, envelope
from dicom_io.objects.marks import Mark, label_place, marks_by_frame
from dicom_io.objects.seg import CONTENT_CREATOR, CONTENT_LABEL
from dicom_io.objects.sources import by_instance, frame_geometry, leniently, ordered_sources
from dicom_io.objects.sr import box_of
from sgmri.geometry import Box
from sgmri.readings import Reading
from sgmri.volume import FrameRef

_LAYER: Final = "FINDINGS"
_LINES_PER_FRAME: Final = 28
"""A label is as high as this part of the frame."""
_LETTER_WIDTH: Final = 0.55
"""Mean width of a letter, in heights."""
_LINE_THICKNESS: Final = 1.0
"""In presentation pixels at a magnification of 1 (PS3.3 C.10.5.1.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMark:
    """One box of a presentation state, as read back.

    Parameters
    ----------
    tracklet_id, tracking_uid
        Tracking ID and Tracking UID; those of the same box in the structured report.
    sop_instance_uid, frame_number
        The source frame; frame number None for a single-frame source.
    box
        Where, in pixels.
    text
        Its label.
    """

    tracklet_id: str
    tracking_uid: str
    sop_instance_uid: str
    frame_number: int | None
    box: Box
    text: str


def expected_marks(reading: Reading) -> tuple[DecodedMark, ...]:
    """Return what :func:`decode_presentation` reads from the presentation state of a reading."""
    uids = identity.result_uids(reading)
    return tuple(
        DecodedMark(
            tracklet_id=mark.tracklet.tracklet_id,
            tracking_uid=uids.box_uid(mark.tracklet, mark.finding),
            sop_instance_uid=reading.frames[frame_index].sop_instance_uid,
            frame_number=reading.frames[frame_index].frame_number,
            box=mark.finding.box,
            text=mark.text,
        )
        for frame_index, marks in marks_by_frame(reading).items()
        for mark in marks
    )


def encode_presentation(reading: Reading, sources: Sequence[Dataset]) -> GrayscaleSoftcopyPresentationState | None:
    """Write a reading's boxes and labels as a presentation state of all its images.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.

    Returns
    -------
    None where the reading holds no box.

    Raises
    ------
    UnsupportedSeries
        If the source has no pixel spacing.
    IncompleteSeries, MalformedInstance
        If the sources are not those of the reading.
    """
    if not reading.tracklets:
        return None
    sources = ordered_sources(reading, sources)
    shown = _stand_ins(reading, sources)
    uids = identity.result_uids(reading)
    layer = GraphicLayer(_LAYER, 1, description="AI findings, research use", display_color=colours.cielab(1))
    annotations = list(_annotations(reading, shown, layer))
    with leniently():
        ds = GrayscaleSoftcopyPresentationState(
            referenced_images=shown,
            series_instance_uid=uids.series(ResultKind.PR),
            series_number=envelope.PR_SERIES_NUMBER,
            sop_instance_uid=uids.instance(ResultKind.PR),
            instance_number=1,
            manufacturer=identity.MANUFACTURER,
            manufacturer_model_name=identity.MODEL_NAME,
            software_versions=identity.SOFTWARE_VERSION,
            device_serial_number=reading.engine.digest,
            content_label=CONTENT_LABEL,
            content_description="Boxes around findings. Research use",
            content_creator_name=CONTENT_CREATOR,
            graphic_annotations=annotations,
            graphic_layers=[layer],
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[envelope.contributing_equipment(reading)],
        )
    _settle_displayed_area(ds, reading, sources)
    envelope.place_body_part(ds, reading, sources[0])
    texts = [mark.text for marks in marks_by_frame(reading).values() for mark in marks]
    envelope.seal(ds, reading, sources[0], texts=[envelope.engine_text(reading), *texts])
    # a presentation state has a time of creation in place of one of content (PS3.3 C.11.10)
    ds.PresentationCreationDate, ds.PresentationCreationTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime
    return ds


def _stand_ins(reading: Reading, sources: Sequence[Dataset]) -> list[Dataset]:
    class_of = {ref.sop_instance_uid: ref.sop_class_uid for ref in reading.frames}
    images = []
    for source in sources:
        image = envelope.stand_in(source)
        image.SOPClassUID = class_of[str(source.SOPInstanceUID)]
        image.Rows, image.Columns, image.SamplesPerPixel = reading.rows, reading.columns, 1
        image.NumberOfFrames = source.get("NumberOfFrames") or 1
        # highdicom looks into a multi-frame image for grey value transformations; it shall find none to repeat
        image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [Dataset()], []
        images.append(image)
    return images


def _annotations(reading: Reading, shown: Sequence[Dataset], layer: GraphicLayer) -> Iterator[GraphicAnnotation]:
    """Yield one annotation for each frame that bears a box."""
    images = by_instance(shown)
    uids = identity.result_uids(reading)
    for frame_index, marks in marks_by_frame(reading).items():
        ref = reading.frames[frame_index]
        yield GraphicAnnotation(
            referenced_images=[images[ref.sop_instance_uid]],
            graphic_layer=layer,
            referenced_frame_number=ref.frame_number,
            graphic_objects=[_outline(mark, uids.box_uid(mark.tracklet, mark.finding)) for mark in marks],
            text_objects=[_label(mark, reading, uids.box_uid(mark.tracklet, mark.finding)) for mark in marks],
        )


def _outline(mark: Mark, tracking_uid: str) -> GraphicObject:
    item = GraphicObject(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.asarray(mark.finding.box.polyline(), dtype=np.float64),
        units=AnnotationUnitsValues.PIXEL,
        tracking_id=mark.tracklet.tracklet_id,
        tracking_uid=tracking_uid,
    )
    item.LineStyleSequence = [_line_style(mark)]
    return item


def _line_style(mark: Mark) -> Dataset:
    style = Dataset()
    style.PatternOnColorCIELabValue = list(colours.cielab(mark.number).value)
    style.PatternOnOpacity = 1.0
    style.LineThickness = _LINE_THICKNESS
    style.LineDashingStyle = "SOLID"
    style.ShadowStyle = "OFF"
    style.ShadowOffsetX = style.ShadowOffsetY = 0.0
    style.ShadowColorCIELabValue = [0, 32896, 32896]  # black
    style.ShadowOpacity = 0.0
    return style


def _label(mark: Mark, reading: Reading, tracking_uid: str) -> TextObject:
    height = reading.rows / _LINES_PER_FRAME
    size = (height * _LETTER_WIDTH * len(mark.text), height)
    return TextObject(
        text_value=mark.text,
        units=AnnotationUnitsValues.PIXEL,
        bounding_box=label_place(mark.finding.box, size, reading.rows, reading.columns).as_tuple(),
        text_justification=TextJustificationValues.LEFT,
        tracking_id=mark.tracklet.tracklet_id,
        tracking_uid=tracking_uid,
    )


def _settle_displayed_area(ds: Dataset, reading: Reading, sources: Sequence[Dataset]) -> None:
    """Say how large pixels are: highdicom calls all of them square."""
    ref: FrameRef = reading.frames[0]
    spacing_mm = frame_geometry(by_instance(sources)[ref.sop_instance_uid], ref).orientation.pixel_spacing_mm
    (area,) = ds.DisplayedAreaSelectionSequence
    area.PresentationPixelSpacing = [format_number_as_ds(value) for value in spacing_mm]
    del area.PresentationPixelAspectRatio


def decode_presentation(ds: Dataset) -> tuple[DecodedMark, ...]:
    """Read the boxes of a presentation state of this product, frame by frame.

    Raises
    ------
    MalformedInstance
        If the object is no presentation state, or lacks what :func:`encode_presentation` writes.
    """
    envelope.require_class(ds, GrayscaleSoftcopyPresentationStateStorage, what="a presentation state", kind="PR")
    with envelope.as_written("a presentation state"):
        return tuple(
            _decoded_mark(annotation.ReferencedImageSequence[0], outline, label)
            for annotation in ds.GraphicAnnotationSequence
            for outline, label in zip(annotation.GraphicObjectSequence, annotation.TextObjectSequence, strict=True)
        )


def _decoded_mark(reference: Dataset, outline: Dataset, label: Dataset) -> DecodedMark:
    if outline.TrackingUID != label.TrackingUID:
        raise ValueError("outline and label of different boxes")
    number = reference.get("ReferencedFrameNumber")
    return DecodedMark(
        tracklet_id=str(outline.TrackingID),
        tracking_uid=str(outline.TrackingUID),
        sop_instance_uid=str(reference.ReferencedSOPInstanceUID),
        frame_number=None if number is None else int(number),
        box=box_of(outline),
        text=str(label.UnformattedTextValue),
    )
