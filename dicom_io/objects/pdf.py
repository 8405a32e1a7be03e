"""The page for people: questions, answers, certainty and thumbnails on one page of PDF, encapsulated in DICOM.

The page names no patient: the object around it does. Its only font is embedded and comes with the product, so that the
page looks the same everywhere; letters that the font lacks become "?". What does not fit is cut and says so: the
structured report holds everything.

References
----------
PS3.3 A.45.1 (Encapsulated PDF IOD), C.24.2 (Encapsulated Document)
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final

import numpy as np
from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage
from pypdf import PdfReader
from pypdf.errors import PyPdfError

from dicom_io.kinds import ResultKind
from dicom_io.objects import answers, envelope, pictures
from dicom_io.objects.answers import DecodedAnswer
from dicom_io.objects.marks import Mark, marks_by_frame
from dicom_io.objects.sources import by_instance, frame_geometry, ordered_sources
from dicom_io.objects.sr import question_set_of
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.findings import frames_as_text
from sgmri.questions import QuestionSet
from sgmri.readings import Reading

_TITLE: Final = "sgmri AI findings (research use only)"
_FONT: Final = "sans"
_WIDTH_MM, _HEIGHT_MM, _MARGIN_MM = 210.0, 297.0, 12.0
_COLUMNS_MM: Final = (72.0, 88.0, 26.0)
"""Widths of question, answer and certainty."""
_SHAPES: Final = ((8.5, 600), (7.5, 400), (6.5, 250), (5.5, 160), (5.0, 80), (4.5, 40))
"""Size of letters (pt) and most letters of an answer: the first with which everything fits is taken."""
_LINE_HEIGHT: Final = 0.45
"""Distance of lines in mm for each pt."""
_PER_ROW, _MOST_THUMBNAILS = 5, 10
_THUMBNAIL_MM: Final = 36.0
_CAPTION_MM: Final = 6.0
_THUMBNAIL_SIDE: Final = 384
"""Longest side of a thumbnail in pixels."""

_Row = tuple[str, str, str]
"""Question, answer, certainty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedDocument:
    """An encapsulated page of this product, as read back.

    Parameters
    ----------
    text
        All text of the page, line by line.
    thumbnails
        How many pictures it has.
    source_uids
        SOP Instance UIDs of the images that were read.
    """

    text: str
    thumbnails: int
    source_uids: tuple[str, ...]


def encode_document(
    reading: Reading,
    sources: Sequence[Dataset],
    *,
    pixels: Callable[[Sequence[int]], NDArray[np.float32]],
    questions: QuestionSet | None = None,
) -> Dataset:
    """Write a reading as one page of PDF.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.
    pixels
        Decodes frames, 0-based: float32 (frames, rows, columns), modality values; not called where there is no box.
    questions
        The set that was asked; None for the standard set of the reading's ``question_set_id``.

    Raises
    ------
    UnsupportedSeries
        If the source has no pixel spacing.
    SeriesError
        If the sources are not those of the reading, or their pixels cannot be decoded.
    EngineError
        If a label or the question set is unknown.
    """
    sources = ordered_sources(reading, sources)
    page = _page(reading, questions or question_set_of(reading), _thumbnails(reading, sources, pixels))
    ds = envelope.new_object(
        reading, ResultKind.PDF, EncapsulatedPDFStorage, modality="DOC", series_number=envelope.PDF_SERIES_NUMBER
    )
    ds.DocumentTitle = _TITLE
    ds.BurnedInAnnotation = "NO"  # it names no patient (PS3.3 C.24.2)
    ds.AcquisitionDateTime = ""
    ds.ConceptNameCodeSequence = []
    ds.VerificationFlag = "UNVERIFIED"
    class_of = {ref.sop_instance_uid: ref.sop_class_uid for ref in reading.frames}
    ds.SourceInstanceSequence = [_reference(class_of[uid], uid) for uid in class_of]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(page)
    ds.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    envelope.seal(ds, reading, sources[0], texts=[envelope.engine_text(reading)])
    return ds


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _key_marks(reading: Reading) -> tuple[Mark, ...]:
    """Return the largest box of each of the first tracklets: the thumbnails."""
    largest: dict[int, Mark] = {}
    for mark in chain.from_iterable(marks_by_frame(reading).values()):
        known = largest.get(mark.number)
        if known is None or mark.finding.box.area > known.finding.box.area:
            largest[mark.number] = mark
    return tuple(largest[number] for number in sorted(largest))[:_MOST_THUMBNAILS]


def _thumbnails(
    reading: Reading, sources: Sequence[Dataset], pixels: Callable[[Sequence[int]], NDArray[np.float32]]
) -> list[Image.Image]:
    marks = _key_marks(reading)
    if not marks:
        return []
    ref = reading.frames[0]
    scaling = pictures.scaling_of(reading, frame_geometry(by_instance(sources)[ref.sop_instance_uid], ref).orientation)
    grey = pictures.windowed(pixels([mark.finding.frame_index for mark in marks]))
    made = [
        pictures.marked_frame(frame, scaling, [mark], labelled=False) for frame, mark in zip(grey, marks, strict=True)
    ]
    for picture in made:
        picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return made


def _page(reading: Reading, questions: QuestionSet, thumbnails: Sequence[Image.Image]) -> bytes:
    pdf = FPDF(format=(_WIDTH_MM, _HEIGHT_MM))
    # all that could differ between two runs
    pdf.set_creation_date(reading.started_at)
    pdf.set_producer("sgmri")
    pdf.set_title(_TITLE)
    pdf.set_lang("en")
    pdf.set_margin(_MARGIN_MM)
    pdf.set_auto_page_break(False)
    pdf.set_image_filter("FlateDecode")
    pdf.add_font(_FONT, fname=pictures.font_file())
    pdf.add_page()
    _head(pdf, reading)
    rows = -(-len(thumbnails) // _PER_ROW)
    bottom_mm = _HEIGHT_MM - _MARGIN_MM - rows * (_THUMBNAIL_MM + _CAPTION_MM) - 6.0
    written = (answers.as_written(answer, questions[answer.question_id], reading.engine) for answer in reading.answers)
    _table(pdf, [_row(answer) for answer in written], bottom_mm)
    _pictures(pdf, reading, thumbnails, bottom_mm + 2.0)
    _line(pdf, _HEIGHT_MM - _MARGIN_MM - 4.0, RESEARCH_USE_STATEMENT, 9.0)
    return bytes(pdf.output())


def _head(pdf: FPDF, reading: Reading) -> None:
    _line(pdf, _MARGIN_MM, _TITLE, 14.0)
    _line(pdf, _MARGIN_MM + 7.0, RESEARCH_USE_STATEMENT, 10.0)
    count = len(reading.tracklets)
    facts = [
        f"MRI of the {reading.anatomy}, {len(reading.frames)} frames, "
        f"{'1 finding' if count == 1 else f'{count} findings'} marked.",
        f"Read by {envelope.engine_text(reading)} (sha256 {reading.engine.digest[:16]}...) at "
        f"{reading.started_at:%Y-%m-%d %H:%M %Z}, question set {reading.question_set_id}.",
        *_notes(reading),
    ]
    pdf.set_xy(_MARGIN_MM, _MARGIN_MM + 13.0)
    _text(pdf, sum(_COLUMNS_MM), " ".join(facts), 8.0)
    pdf.set_y(pdf.get_y() + 2.0)


def _notes(reading: Reading) -> list[str]:
    notes = [answers.REVISED] if reading.predecessor is not None else []
    if reading.is_lossy:
        notes.append(answers.LOSSY_SOURCE)
    if reading.anatomy_certainty is not None:
        notes.append(answers.by_image(reading.anatomy, reading.anatomy_certainty))
    return notes


def _row(answer: DecodedAnswer) -> _Row:
    certainty = ""
    if answer.certainty_percent is not None:
        certainty = f"{answer.certainty_percent:.0f} %, {'calibrated' if answer.calibrated else 'not calibrated'}"
    return answer.question, _said(answer), certainty


def _said(answer: DecodedAnswer) -> str:
    if answer.unanswered is not None:
        return f"Not assessed: {answer.unanswered.value}"
    value = ", ".join(answer.chosen)
    if answer.presence is not None:
        value = answer.presence.value
    elif answer.count is not None:
        value = str(answer.count)
    seen = f"({', '.join(answer.evidence)})" if answer.evidence else ""
    parts = (f"{value} {seen}".strip(), f"{answer.text} {answer.reasoning}".strip())
    return ": ".join(part for part in parts if part)


def _table(pdf: FPDF, rows: Sequence[_Row], bottom_mm: float) -> None:
    """Write the answers as large as they fit; of what does not fit even in the smallest letters, say how much it is."""
    room_mm = bottom_mm - pdf.get_y()
    for size_pt, most_letters in _SHAPES:
        cut = [_cut(row, most_letters) for row in rows]
        heights_mm = [_height_mm(pdf, row, size_pt) for row in cut]
        if sum(heights_mm) <= room_mm:
            break
    line_mm = size_pt * _LINE_HEIGHT
    fitting = (
        sum(end <= room_mm - line_mm for end in accumulate(heights_mm)) if sum(heights_mm) > room_mm else len(rows)
    )
    for row, height_mm in zip(cut[:fitting], heights_mm, strict=False):
        top_mm = pdf.get_y()
        for column, text in enumerate(row):
            pdf.set_xy(_MARGIN_MM + sum(_COLUMNS_MM[:column]), top_mm)
            _text(pdf, _COLUMNS_MM[column], text, size_pt)
        pdf.set_y(top_mm + height_mm)
        pdf.set_draw_color(200)
        pdf.line(_MARGIN_MM, pdf.get_y(), _WIDTH_MM - _MARGIN_MM, pdf.get_y())
    if fitting < len(rows):
        _line(pdf, pdf.get_y(), f"{len(rows) - fitting} more answers: see the structured report.", size_pt)


def _cut(row: _Row, most_letters: int) -> _Row:
    question, said, certainty = (
        text if len(text) <= most_letters else f"{text[: most_letters - 3]}..." for text in row
    )
    return question, said, certainty


def _height_mm(pdf: FPDF, row: _Row, size_pt: float) -> float:
    lines = [_text(pdf, width_mm, text, size_pt, dry_run=True) for width_mm, text in zip(_COLUMNS_MM, row, strict=True)]
    return max(lines) * size_pt * _LINE_HEIGHT + 0.5


def _pictures(pdf: FPDF, reading: Reading, thumbnails: Sequence[Image.Image], top_mm: float) -> None:
    for place, (mark, picture) in enumerate(zip(_key_marks(reading), thumbnails, strict=True)):
        row, column = divmod(place, _PER_ROW)
        x_mm = _MARGIN_MM + column * sum(_COLUMNS_MM) / _PER_ROW
        y_mm = top_mm + row * (_THUMBNAIL_MM + _CAPTION_MM)
        side_mm = _THUMBNAIL_MM - 1.0
        pdf.image(picture, x=x_mm, y=y_mm, w=side_mm, h=side_mm, keep_aspect_ratio=True)
        pdf.set_xy(x_mm, y_mm + side_mm)
        frames = f"frame {mark.finding.frame_index + 1} of {frames_as_text(mark.tracklet.frame_indices)}"
        _text(pdf, side_mm, _cut(("", f"{mark.text}; {frames}", ""), 90)[1], 5.5)
    left = len(reading.tracklets) - len(thumbnails)
    if left > 0:
        _line(pdf, _HEIGHT_MM - _MARGIN_MM - 8.0, f"{left} more findings: see the structured report.", 6.5)


def _line(pdf: FPDF, y_mm: float, text: str, size_pt: float) -> None:
    pdf.set_xy(_MARGIN_MM, y_mm)
    _text(pdf, sum(_COLUMNS_MM), text, size_pt)


def _text(pdf: FPDF, width_mm: float, text: str, size_pt: float, *, dry_run: bool = False) -> int:
    """Write a text from here on down; returns its number of lines. A dry run writes nothing."""
    pdf.set_font(_FONT, size=size_pt)
    known = pictures.letters()
    shown = "".join(letter if ord(letter) in known else "?" for letter in " ".join(text.split()))
    lines = pdf.multi_cell(
        width_mm, size_pt * _LINE_HEIGHT, shown, align="L", dry_run=True, output=MethodReturnValue.LINES
    )
    if not dry_run:
        pdf.multi_cell(width_mm, size_pt * _LINE_HEIGHT, shown, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    assert isinstance(lines, list)
    return len(lines)


def decode_document(ds: Dataset) -> DecodedDocument:
    """Read an encapsulated page of this product.

    Raises
    ------
    MalformedInstance
        If the object is no encapsulated PDF of one page, or lacks what :func:`encode_document` writes.
    """
    envelope.require_class(ds, EncapsulatedPDFStorage, what="an encapsulated PDF", kind="PDF")
    with envelope.as_written("a page", PyPdfError):
        (page,) = PdfReader(io.BytesIO(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])).pages
        return DecodedDocument(
            text=page.extract_text(),
            thumbnails=len(page.images),
            source_uids=tuple(str(item.ReferencedSOPInstanceUID) for item in ds.SourceInstanceSequence),
        )


def expected_document(reading: Reading, questions: QuestionSet) -> DecodedDocument:
    """Return what :func:`decode_document` reads from the page of a reading: it is set again, with blank thumbnails."""
    blank = [Image.new("RGB", (1, 1))] * len(_key_marks(reading))
    (page,) = PdfReader(io.BytesIO(_page(reading, questions, blank))).pages
    return DecodedDocument(
        text=page.extract_text(),
        thumbnails=len(blank),
        source_uids=tuple(dict.fromkeys(ref.sop_instance_uid for ref in reading.frames)),
    )
