"""How result objects are held against the reading that they were made of, kind by kind.

Boxes, frames, labels, codes, sides, UIDs, certainties and answers are compared exactly; sentences as they are written
(without control characters), certainties of answers in per cent. A difference is a sentence without header values.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Final

from pydicom.dataset import Dataset

from dicom_io import codes, identity
from dicom_io.objects import answers, capture, gsps, key_objects, seg, sr, text_report
from dicom_io.objects.marks import marks_by_frame
from dicom_io.objects.masks import MaskForm
from dicom_io.objects.seg import DecodedMask
from dicom_io.objects.segments import segment_label
from sgmri.geometry import Box
from sgmri.questions import QuestionSet
from sgmri.readings import Reading

_POSITION_TOLERANCE_MM: Final = 1e-3
"""Positions are decimal strings of 16 characters."""


def report_differences(reading: Reading, report: Dataset, questions: QuestionSet) -> Iterator[str]:
    """Yield how a structured report differs from its reading.

    Raises
    ------
    MalformedInstance
        If the object is no report of this product.
    """
    decoded = sr.decode_report(report)
    yield from _different_boxes(reading, decoded)
    yield from _different_answers(reading, decoded, questions)


def _expected_boxes(reading: Reading) -> Iterator[sr.DecodedBox]:
    uids = identity.result_uids(reading)
    for tracklet in reading.tracklets:
        concept = codes.finding_concept(tracklet.label)
        for finding in tracklet.findings:
            ref = reading.frames[finding.frame_index]
            yield sr.DecodedBox(
                tracklet_id=tracklet.tracklet_id,
                tracking_uid=uids.box_uid(tracklet, finding),
                label=concept.label,
                finding=concept.written,
                site=concept.site,
                laterality=tracklet.laterality,
                sop_instance_uid=ref.sop_instance_uid,
                frame_number=ref.frame_number,
                box=finding.box,
                comment=sr.comment(tracklet, finding),
                score=finding.score,
            )


def _different_boxes(reading: Reading, decoded: sr.DecodedReport) -> Iterator[str]:
    expected = tuple(_expected_boxes(reading))
    if len(expected) != len(decoded.boxes):
        yield f"report: {len(decoded.boxes)} boxes, expected {len(expected)}"
    for number, (want, got) in enumerate(zip(expected, decoded.boxes, strict=False), start=1):
        yield from (f"report, box {number} ({want.tracklet_id}): {name} differs" for name in _unequal(want, got))
    labels = tuple(
        (tracklet.tracklet_id, codes.finding_concept(tracklet.label).label) for tracklet in reading.tracklets
    )
    if labels != decoded.labels:
        yield "report: the list of tracklets and their labels differs"


def _different_answers(reading: Reading, decoded: sr.DecodedReport, questions: QuestionSet) -> Iterator[str]:
    expected = tuple(
        answers.as_written(answer, questions[answer.question_id], reading.engine) for answer in reading.answers
    )
    if len(expected) != len(decoded.answers):
        yield f"report: {len(decoded.answers)} answers, expected {len(expected)}"
    for want, got in zip(expected, decoded.answers, strict=False):
        yield from (f"report, answer to {want.question_id}: {name} differs" for name in _unequal(want, got))
    if decoded.is_complete != all(answer.unanswered is None for answer in reading.answers):
        yield "report: the Completion Flag is wrong"
    if (answers.LOSSY_SOURCE in decoded.notes) != reading.is_lossy:
        yield "report: the note on lossy compression of the sources is wrong"
    certainty = reading.anatomy_certainty
    if certainty is not None and answers.by_image(reading.anatomy, certainty) not in decoded.notes:
        yield "report: the note on the anatomy taken from the image is missing"
    if decoded.predecessor != reading.predecessor or (answers.REVISED in decoded.notes) != bool(reading.predecessor):
        yield "report: what it says of the earlier report that it revises is wrong"


def _unequal(want: answers.DecodedAnswer | sr.DecodedBox, got: answers.DecodedAnswer | sr.DecodedBox) -> list[str]:
    names = [field.name for field in fields(want)]
    return [name for name in names if getattr(want, name) != getattr(got, name)]


def segmentation_differences(reading: Reading, segmentation: Dataset, _: QuestionSet) -> Iterator[str]:
    """Yield how a segmentation differs from its reading.

    Raises
    ------
    MalformedInstance
        If the object is no segmentation of this product.
    """
    if not reading.tracklets:
        yield "segmentation: there is one, though the reading holds no box"
    uids = identity.result_uids(reading)
    segments = seg.decode_segmentation(segmentation)
    if len(segments) != len(reading.tracklets):
        yield f"segmentation: {len(segments)} segments, expected {len(reading.tracklets)}"
    for tracklet, segment in zip(reading.tracklets, segments, strict=False):
        concept = codes.finding_concept(tracklet.label)
        expected = (tracklet.tracklet_id, uids.segment_uid(tracklet), segment_label(tracklet, segment.form))
        if (segment.tracklet_id, segment.tracking_uid, segment.label) != expected:
            yield f"segmentation, {tracklet.tracklet_id}: identifier, UID or label differs"
        if (segment.finding, segment.site) != (concept.written, concept.site):
            yield f"segmentation, {tracklet.tracklet_id}: code differs"
        masks = {(mask.sop_instance_uid, mask.frame_number): mask for mask in segment.masks}
        if len(masks) != len(tracklet.findings) or len(segment.masks) != len(masks):
            yield f"segmentation, {tracklet.tracklet_id}: its number of frames differs"
        for finding in tracklet.findings:
            ref = reading.frames[finding.frame_index]
            mask = masks.get((ref.sop_instance_uid, ref.frame_number))
            box = finding.box.grown_to_pixels()
            if mask is None or not _fills(mask, box, segment.form) or not _lies_at(mask, ref.position_mm):
                yield f"segmentation, {tracklet.tracklet_id}: frame {finding.frame_index + 1} differs"


def _fills(mask: DecodedMask, box: Box, form: MaskForm) -> bool:
    """Tell whether a mask is the filled box, or where it was refined does not leave it."""
    if form is MaskForm.REFINED:
        return mask.box.x0 >= box.x0 and mask.box.y0 >= box.y0 and mask.box.x1 <= box.x1 and mask.box.y1 <= box.y1
    return mask.box == box and mask.pixels == box.area


def _lies_at(mask: DecodedMask, position_mm: tuple[float, float, float]) -> bool:
    pairs = zip(mask.position_mm, position_mm, strict=True)
    return all(abs(found - wanted) <= _POSITION_TOLERANCE_MM for found, wanted in pairs)


def text_differences(reading: Reading, ds: Dataset, questions: QuestionSet) -> Iterator[str]:
    """Yield how a text report differs from its reading; raises as :func:`text_report.decode_text_report`.

    By which numbers a viewer calls the frames is not compared: the sources alone say it.
    """
    expected, found = text_report.as_text(reading, (), questions=questions), text_report.decode_text_report(ds)
    if [replace(answer, frames="") for answer in found.answers] != [
        replace(answer, frames="") for answer in expected.answers
    ]:
        yield "text report: what it says of the questions differs"
    if len(found.tracklets) != len(expected.tracklets):
        yield f"text report: {len(found.tracklets)} findings, expected {len(expected.tracklets)}"
    if not set(expected.notes) <= set(found.notes) or found.predecessor != expected.predecessor:
        yield "text report: what it says of the whole reading differs"


def presentation_differences(reading: Reading, presentation: Dataset, _: QuestionSet) -> Iterator[str]:
    """Yield how a presentation state differs from its reading; raises as :func:`gsps.decode_presentation`."""
    expected, found = gsps.expected_marks(reading), gsps.decode_presentation(presentation)
    if len(expected) != len(found):
        yield f"presentation state: {len(found)} boxes, expected {len(expected)}"
    for number, (want, got) in enumerate(zip(expected, found, strict=False), start=1):
        if want != got:
            yield f"presentation state, box {number} ({want.tracklet_id}) differs"


def capture_differences(reading: Reading, ds: Dataset, _: QuestionSet) -> Iterator[str]:
    """Yield how a secondary capture differs from its reading; raises as :func:`capture.decode_capture`."""
    marks, found = marks_by_frame(reading), capture.decode_capture(ds)
    if len(marks) != len(found):
        yield f"secondary capture: {len(found)} pictures, expected {len(marks)}"
    for frame_index, picture in zip(marks, found, strict=False):
        ref = reading.frames[frame_index]
        if (picture.sop_instance_uid, picture.frame_number) != (ref.sop_instance_uid, ref.frame_number):
            yield f"secondary capture, frame {frame_index + 1}: its source differs"
        if not capture.shows(picture, reading, frame_index, marks[frame_index]):
            yield f"secondary capture, frame {frame_index + 1}: what is drawn differs"


def document_differences(reading: Reading, ds: Dataset, questions: QuestionSet) -> Iterator[str]:
    """Yield how an encapsulated page differs from its reading; raises as :func:`pdf.decode_document`."""
    from dicom_io.objects import pdf  # not at the top: a tenth of the time in which a process starts

    expected, found = pdf.expected_document(reading, questions), pdf.decode_document(ds)
    for field in fields(expected):
        if getattr(expected, field.name) != getattr(found, field.name):
            yield f"page: {field.name} differs"


def key_object_differences(reading: Reading, ds: Dataset, _: QuestionSet) -> Iterator[str]:
    """Yield how key objects differ from their reading; raises as :func:`key_objects.decode_key_objects`."""
    expected, found = key_objects.expected_selection(reading), key_objects.decode_key_objects(ds)
    for field in fields(expected):
        if getattr(expected, field.name) != getattr(found, field.name):
            yield f"key objects: {field.name} differs"
