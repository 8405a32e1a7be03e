"""Key object selections: the frames that bear boxes, marked as of interest; and the note that rejects a reading.

Both are documents of TID 2010. A rejection note is how IHE's Imaging Object Change Management takes objects back: a
PACS that knows the profile hides what the note refers to, any other shows the note.

References
----------
PS3.16 TID 2010, CID 7010; PS3.3 A.35.4 (Key Object Selection Document IOD); IHE RAD TF-2 4.66.4.1.3 (rejection notes)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects import document, envelope, tree
from dicom_io.objects.marks import marks_by_frame
from dicom_io.objects.sources import leniently, ordered_sources
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.lifecycle import Reason
from sgmri.readings import Reading
from sgmri.vocabulary import CodedConcept

REJECTED_SERIES_DESCRIPTION: Final = "sgmri AI findings, rejected (research use only)"

REJECTION_TITLE: Final[Mapping[Reason, CodedConcept]] = MappingProxyType(
    {
        Reason.REJECTED_QUALITY: codes.REJECTED_FOR_QUALITY,
        Reason.REJECTED_SAFETY: codes.REJECTED_FOR_SAFETY,
        Reason.REJECTED_WORKLIST: codes.INCORRECT_WORKLIST_ENTRY,
        Reason.REJECTED_RETENTION: codes.RETENTION_EXPIRED,
    }
)
"""Why a reading is taken back -> title of the note (CID 7011)."""
_OF_REJECTION: Final = MappingProxyType({title: reason for reason, title in REJECTION_TITLE.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSelection:
    """A key object selection of this product, as read back.

    Parameters
    ----------
    title
        What the objects are selected for.
    description
        In words.
    objects
        (SOP Instance UID, frame numbers) of each; no frame number where the whole instance is meant.
    """

    title: CodedConcept
    description: str
    objects: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def rejection(self) -> Reason | None:
        """Why the objects are rejected; None where they are not."""
        return _OF_REJECTION.get(self.title)


def expected_selection(reading: Reading) -> DecodedSelection:
    """Return what :func:`decode_key_objects` reads from the key objects of a reading that holds a box."""
    frame_indices = tuple(marks_by_frame(reading))
    frame_numbers: dict[str, list[int]] = {}
    for ref in (reading.frames[index] for index in frame_indices):
        frame_numbers.setdefault(ref.sop_instance_uid, []).extend([ref.frame_number] if ref.frame_number else [])
    found = ", ".join(
        f"{codes.finding_concept(tracklet.label).label} {tracklet.tracklet_id} on {len(tracklet.findings)}"
        for tracklet in reading.tracklets
    )
    return DecodedSelection(
        title=codes.OF_INTEREST,
        description=f"Frames with AI findings ({found}). {RESEARCH_USE_STATEMENT}",
        objects=tuple((uid, tuple(sorted(numbers))) for uid, numbers in frame_numbers.items()),
    )


def encode_key_objects(reading: Reading, sources: Sequence[Dataset]) -> KeyObjectSelectionDocument | None:
    """Write the frames that bear boxes as key objects "Of Interest".

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
    IncompleteSeries, MalformedInstance
        If the sources are not those of the reading.
    """
    if not reading.tracklets:
        return None
    sources = ordered_sources(reading, sources)
    selection = expected_selection(reading)
    class_of = {ref.sop_instance_uid: ref.sop_class_uid for ref in reading.frames}
    images = []
    for uid, _ in selection.objects:
        image = envelope.stand_in(sources[0])
        image.SOPClassUID, image.SOPInstanceUID = class_of[uid], uid
        image.Rows, image.Columns = reading.rows, reading.columns  # by these highdicom tells an image
        images.append(image)
    ds = _document(reading, selection, images, series_number=envelope.KO_SERIES_NUMBER)
    envelope.seal(ds, reading, sources[0], texts=[selection.description, envelope.engine_text(reading)])
    return ds


def encode_rejection(
    reading: Reading, objects: Sequence[Dataset], reason: Reason, *, rejected_at: datetime
) -> KeyObjectSelectionDocument:
    """Write the note that a reading must not be used, for all of its objects.

    Parameters
    ----------
    reading
        The reading.
    objects
        The result objects that were written of it, at least one; patient and study are repeated from the first.
    reason
        Why, a key of :data:`REJECTION_TITLE`.
    rejected_at
        When, with a time zone.
    """
    selection = DecodedSelection(
        title=REJECTION_TITLE[reason],
        description=f"Not to be used: AI findings by {envelope.engine_text(reading)}. {RESEARCH_USE_STATEMENT}",
        objects=tuple((str(ds.SOPInstanceUID), ()) for ds in objects),
    )
    shown = []
    for ds in objects:
        item = envelope.stand_in(ds)
        item.SOPClassUID = ds.SOPClassUID
        if "Rows" in ds:
            item.Rows, item.Columns = ds.Rows, ds.Columns
        shown.append(item)
    # the note's time is that of the rejection
    note = replace(reading, started_at=rejected_at)
    ds = _document(note, selection, shown, series_number=envelope.REJECTION_SERIES_NUMBER)
    key = identity.reading_key(reading)
    ds.SeriesInstanceUID = identity.derived_uid("rejection series", key)
    ds.SOPInstanceUID = UID(identity.derived_uid("rejection instance", key, selection.title.value))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    envelope.seal(ds, note, objects[0], texts=[selection.description])
    ds.SeriesDescription = REJECTED_SERIES_DESCRIPTION
    return ds


def _document(
    reading: Reading, selection: DecodedSelection, shown: Sequence[Dataset], *, series_number: int
) -> KeyObjectSelectionDocument:
    uids = identity.result_uids(reading)
    with leniently():
        content = KeyObjectSelection(
            document_title=codes.written(selection.title),
            referenced_objects=shown,
            observer_device_context=document.device_observer(reading.engine),
            description=envelope.clean_text(selection.description),
        )
        items = tree.children(content[0], codes.SOURCE_OF_MEASUREMENT)
        for item, (_, frame_numbers) in zip(items, selection.objects, strict=True):
            if frame_numbers:
                item.ReferencedSOPSequence[0].ReferencedFrameNumber = list(frame_numbers)
        return KeyObjectSelectionDocument(
            evidence=shown,
            content=content,
            series_instance_uid=uids.series(ResultKind.KO),
            series_number=series_number,
            sop_instance_uid=uids.instance(ResultKind.KO),
            instance_number=1,
            manufacturer=identity.MANUFACTURER,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[envelope.contributing_equipment(reading)],
        )


def decode_key_objects(ds: Dataset) -> DecodedSelection:
    """Read a key object selection or rejection note of this product.

    Raises
    ------
    MalformedInstance
        If the object is no key object selection, or lacks what this module writes.
    """
    envelope.require_class(ds, KeyObjectSelectionDocumentStorage, what="a key object selection", kind="KO")
    with envelope.as_written("a key object selection"):
        return DecodedSelection(
            title=tree.name_of(ds),
            description=tree.text_of(tree.first(ds, codes.KEY_OBJECT_DESCRIPTION)),
            objects=tuple(_reference(item) for item in tree.children(ds, codes.SOURCE_OF_MEASUREMENT)),
        )


def _reference(item: Dataset) -> tuple[str, tuple[int, ...]]:
    reference = item.ReferencedSOPSequence[0]
    numbers = reference.get("ReferencedFrameNumber") or ()
    if isinstance(numbers, int):
        numbers = (numbers,)
    return str(reference.ReferencedSOPInstanceUID), tuple(int(number) for number in numbers)
