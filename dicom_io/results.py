"""From a reading to result files: written, read back, and compared before anything is sent.

Nothing that differs from the reading leaves the machine; and what comes back from a PACS can be compared with the
same functions.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_io import codes, identity
from dicom_io.objects import answers, seg, sr
from dicom_io.objects.masks import MaskForm
from dicom_io.objects.seg import DecodedMask
from dicom_io.objects.segments import segment_label
from dicom_io.objects.sources import leniently, read_sources
from sgmri.errors import EngineError, MalformedInstance, UnsupportedSeries
from sgmri.geometry import Box
from sgmri.questions import QuestionSet
from sgmri.readings import Reading

_POSITION_TOLERANCE_MM: Final = 1e-3
"""Positions are decimal strings of 16 characters."""


class ResultKind(StrEnum):
    """The kinds of result object, as Modality (0008,0060)."""

    SEG = "SEG"
    SR = "SR"


FILE_NAME: Final[Mapping[ResultKind, str]] = {ResultKind.SEG: "seg.dcm", ResultKind.SR: "sr.dcm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """One result on disk.

    Parameters
    ----------
    kind
        SEG or SR.
    sop_class_uid, sop_instance_uid, series_instance_uid
        What the object is.
    path
        Its file, in PS3.10 form.
    """

    kind: ResultKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: Path


def write_results(
    reading: Reading, source_paths: Sequence[Path], directory: Path, *, questions: QuestionSet | None = None
) -> tuple[ResultObject, ...]:
    """Write the result objects of a reading, and read them back.

    The second time gives the same bytes.

    Parameters
    ----------
    reading
        The reading.
    source_paths
        Files of the series that was read; files of other instances are passed over.
    directory
        Where ``seg.dcm`` and ``sr.dcm`` go; exists.
    questions
        The set that was asked; None for the standard set of the reading's ``question_set_id``.

    Returns
    -------
    In the order in which they are sent: the segmentation, where there is one, before the report that refers to it.

    Raises
    ------
    SeriesError
        If the sources are incomplete, malformed, or not those of the reading.
    EngineError
        If what was read back differs from the reading, or the reading holds an unknown label or question.
    """
    sources = read_sources(reading, source_paths)
    reason = ""
    try:
        segmentation: Dataset | None = seg.encode_segmentation(reading, sources)
    except UnsupportedSeries as refusal:
        segmentation, reason = None, str(refusal)
    report = sr.encode_report(
        reading, sources, segmentation=segmentation, no_segmentation_reason=reason, questions=questions
    )
    results = []
    if segmentation is None:
        # An earlier attempt may have left one that no longer belongs to the report
        (directory / FILE_NAME[ResultKind.SEG]).unlink(missing_ok=True)
    else:
        results.append(_written(segmentation, ResultKind.SEG, directory))
    results.append(_written(report, ResultKind.SR, directory))
    _prove(reading, results, questions)
    return tuple(results)


def _written(ds: Dataset, kind: ResultKind, directory: Path) -> ResultObject:
    """Write under a temporary name, make it durable, then give it its name."""
    path = directory / FILE_NAME[kind]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with leniently(), temporary.open("wb") as stream:
        ds.save_as(stream, enforce_file_format=True)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return ResultObject(
        kind=kind,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        path=path,
    )


def _prove(reading: Reading, results: Sequence[ResultObject], questions: QuestionSet | None) -> None:
    paths = {result.kind: result.path for result in results}
    found = differences_in_files(reading, paths[ResultKind.SR], paths.get(ResultKind.SEG), questions=questions)
    if found:
        raise EngineError(
            f"expected the written objects to say what the reading says, found {len(found)} differences, the first: "
            f"{found[0]}; nothing was sent, report this with the engine's name"
        )


def differences_in_files(
    reading: Reading, sr_path: Path, seg_path: Path | None, *, questions: QuestionSet | None = None
) -> tuple[str, ...]:
    """Return how result files differ from their reading; see :func:`differences`.

    Raises
    ------
    MalformedInstance
        If a file is no object of this product.
    """
    segmentation = None if seg_path is None else _read(seg_path)
    return differences(reading, _read(sr_path), segmentation, questions=questions)


def _read(path: Path) -> Dataset:
    try:
        with leniently():
            return dcmread(path)
    except (InvalidDicomError, EOFError) as error:
        raise MalformedInstance(
            f"expected a result object in PS3.10 form, found a file that fails with {type(error).__name__}; write it "
            "again"
        ) from None


def differences(
    reading: Reading, report: Dataset, segmentation: Dataset | None, *, questions: QuestionSet | None = None
) -> tuple[str, ...]:
    """Return how result objects differ from the reading that they were made of.

    Boxes, frames, labels, codes, sides, UIDs and answers are compared exactly; sentences as they are written
    (without control characters), certainties in per cent.

    Parameters
    ----------
    reading
        The truth.
    report
        The structured report, for instance as it came back from a PACS.
    segmentation
        The segmentation; None where none was written.
    questions
        The set that was asked; None for the standard set.

    Returns
    -------
    One sentence a difference, without header values; empty where there is none.

    Raises
    ------
    MalformedInstance
        If an object is none of this product.
    """
    with leniently():
        decoded = sr.decode_report(report)
        found = [
            *_different_boxes(reading, decoded),
            *_different_answers(reading, decoded, questions or sr.question_set_of(reading)),
        ]
        if segmentation is not None:
            found += _different_segments(reading, segmentation)
            if not reading.tracklets:
                found.append("segmentation: there is one, though the reading holds no box")
    uids = identity.result_uids(reading)
    if report.get("SOPInstanceUID") != uids.sr_instance:
        found.append("report: its SOP Instance UID is not the reading's")
    if segmentation is not None and not seg.has_uids_of(segmentation, reading):
        found.append("segmentation: its SOP Instance UID is not the reading's")
    return tuple(found)


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


def _different_segments(reading: Reading, segmentation: Dataset) -> Iterator[str]:
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
