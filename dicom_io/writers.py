"""How each kind of result object is made of a reading, and held against it: one row a kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import proof
from dicom_io.kinds import ResultKind
from dicom_io.objects import capture, gsps, key_objects, seg, sr, text_report
from dicom_io.profiles import Profile
from sgmri.questions import QuestionSet
from sgmri.readings import Reading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """What an encoder may ask for beside the reading and its source headers.

    Parameters
    ----------
    questions
        The set that was asked.
    profile
        What the destination gets.
    pixels
        Decodes frames, 0-based: float32 (frames, rows, columns), modality values; nothing is decoded before it is
        called.
    made
        The objects that were made before, by kind.
    left_out
        Why a kind was not made though the profile has it, by kind.
    """

    questions: QuestionSet
    profile: Profile
    pixels: Callable[[Sequence[int]], NDArray[np.float32]]
    made: Mapping[ResultKind, Dataset]
    left_out: Mapping[ResultKind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """One kind's row.

    Parameters
    ----------
    encode
        Makes the object of a reading and its source headers; None where there is nothing to say. Raises
        UnsupportedSeries where the source forbids this kind alone.
    differences
        Yields one sentence for each difference between a reading and an object that was read back.
    """

    encode: Callable[[Reading, Sequence[Dataset], Context], Dataset | None]
    differences: Callable[[Reading, Dataset, QuestionSet], Iterator[str]]


_SEGMENTATIONS: Final = (ResultKind.SEG, ResultKind.LABELMAP)


def _masks(reading: Reading, sources: Sequence[Dataset], context: Context, *, as_label_map: bool) -> Dataset | None:
    pixels = None
    if context.profile.refined_masks and reading.tracklets:
        # frames without a box are not looked at, so that they need not be decoded
        indices = sorted({finding.frame_index for finding in reading.findings})
        pixels = np.zeros((len(reading.frames), reading.rows, reading.columns), dtype=np.float32)
        pixels[indices] = context.pixels(indices)
    return seg.encode_segmentation(reading, sources, pixels=pixels, as_label_map=as_label_map)


def _report(reading: Reading, sources: Sequence[Dataset], context: Context) -> Dataset:
    return sr.encode_report(
        reading,
        sources,
        segmentation=next((context.made[kind] for kind in _SEGMENTATIONS if kind in context.made), None),
        no_segmentation_reason=_no_segmentation_reason(context),
        questions=context.questions,
        cornerstone_tracking=context.profile.cornerstone_tracking,
    )


def _text(reading: Reading, sources: Sequence[Dataset], context: Context) -> Dataset:
    reason = _no_segmentation_reason(context)
    return text_report.encode_text_report(reading, sources, no_segmentation_reason=reason, questions=context.questions)


def _no_segmentation_reason(context: Context) -> str:
    return next((context.left_out[kind] for kind in _SEGMENTATIONS if kind in context.left_out), "")


def _presentation(reading: Reading, sources: Sequence[Dataset], _: Context) -> Dataset | None:
    return gsps.encode_presentation(reading, sources)


def _capture(reading: Reading, sources: Sequence[Dataset], context: Context) -> Dataset | None:
    return capture.encode_capture(reading, sources, pixels=context.pixels)


def _document(reading: Reading, sources: Sequence[Dataset], context: Context) -> Dataset:
    from dicom_io.objects import pdf  # not at the top: a tenth of the time in which a process starts

    return pdf.encode_document(reading, sources, pixels=context.pixels, questions=context.questions)


def _key_objects(reading: Reading, sources: Sequence[Dataset], _: Context) -> Dataset | None:
    return key_objects.encode_key_objects(reading, sources)


WRITERS: Final[Mapping[ResultKind, Writer]] = MappingProxyType(
    {
        ResultKind.SEG: Writer(encode=partial(_masks, as_label_map=False), differences=proof.segmentation_differences),
        ResultKind.LABELMAP: Writer(
            encode=partial(_masks, as_label_map=True), differences=proof.segmentation_differences
        ),
        ResultKind.SR: Writer(encode=_report, differences=proof.report_differences),
        ResultKind.TEXT_SR: Writer(encode=_text, differences=proof.text_differences),
        ResultKind.PR: Writer(encode=_presentation, differences=proof.presentation_differences),
        ResultKind.SC: Writer(encode=_capture, differences=proof.capture_differences),
        ResultKind.PDF: Writer(encode=_document, differences=proof.document_differences),
        ResultKind.KO: Writer(encode=_key_objects, differences=proof.key_object_differences),
    }
)
"""Every kind's row."""


def writers_for(profile: Profile) -> Mapping[ResultKind, Writer]:
    """Return the rows of a profile's kinds, in the order of making and sending."""
    return {kind: WRITERS[kind] for kind in ResultKind if kind in profile.kinds}
