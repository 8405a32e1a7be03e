"""What stands around the content of every result: patient and study verbatim, equipment, times, character set.

All times are those of the reading, so that encoding twice gives the same bytes; nothing here asks the clock.

References
----------
PS3.3 C.12.1 (SOP Common), C.7.5.1 (General Equipment), C.12.1.1.2 (character sets), C.12.1.1.5 (Contributing
Equipment)
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Final

from highdicom import ContributingEquipment
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.sources import PATIENT_AND_STUDY, leniently
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import MalformedInstance
from sgmri.readings import Reading, ReportRef
from sgmri.volume import Anatomy

SERIES_DESCRIPTION: Final = "sgmri AI findings (research use only)"
REVISED_SERIES_DESCRIPTION: Final = "sgmri AI findings, revised (research use only)"
SR_SERIES_NUMBER: Final = 901
SEG_SERIES_NUMBER: Final = 902
PR_SERIES_NUMBER: Final = 903
KO_SERIES_NUMBER: Final = 904
SC_SERIES_NUMBER: Final = 905
PDF_SERIES_NUMBER: Final = 906
TEXT_SERIES_NUMBER: Final = 907
REJECTION_SERIES_NUMBER: Final = 908

_TYPE_2: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Written empty where the source lacks them (PS3.5 7.4.3)."""

_LEGAL: Final = MappingProxyType(
    {
        "DA": re.compile(r"[12]\d{3}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII),
        "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)? *", re.ASCII),
        "AS": re.compile(r"\d{3}[DWMY]", re.ASCII),
        "DS": re.compile(r"(?=.{1,16}$) *[+-]?(\d+\.?\d*|\.\d+)([Ee][+-]?\d+)? *", re.ASCII),
    }
)
"""Value representations whose values follow a pattern (PS3.5 6.2)."""

_LO_LENGTH: Final = 64
_UTF_8: Final = "ISO_IR 192"
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
_WIDEST_OFFSET_MIN: Final = 14 * 60
"""PS3.3 C.12.1.1.8: -1200 to +1400."""


def stand_in(source: Dataset) -> Dataset:
    """Return a source without its patient: what highdicom is shown while an object is built.

    highdicom checks patient and study values, and logs names that it doubts; so it sees none, and the true ones are
    put in by :func:`seal`.
    """
    with leniently():
        shown = Dataset()
        shown.SOPClassUID = MRImageStorage
        shown.Modality = "MR"
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(shown, keyword, source.get(keyword))
        for keyword in _TYPE_2:
            setattr(shown, keyword, "")
        for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"):
            if source.get(keyword):
                setattr(shown, keyword, source.get(keyword))
    return shown


def engine_text(reading: Reading) -> str:
    """Return name and version of the engine, at most 64 characters."""
    return f"{reading.engine.name} {reading.engine.version}"[:_LO_LENGTH]


def contributing_equipment(reading: Reading) -> ContributingEquipment:
    """Return the item that names this product and the model it read with (PS3.16 CID 7005)."""
    item = ContributingEquipment(
        manufacturer=identity.MANUFACTURER,
        purpose_of_reference=codes.written(codes.PROCESSING_EQUIPMENT),
        manufacturer_model_name=identity.MODEL_NAME,
        software_versions=[identity.SOFTWARE_VERSION, engine_text(reading)],
        contribution_description=RESEARCH_USE_STATEMENT,
    )
    item.DeviceUID = identity.device_uid(reading.engine)
    return item


def predecessors(reading: Reading) -> list[Dataset]:
    """Return the report that a reading revises, as highdicom takes references; none for a first reading."""
    if reading.predecessor is None:
        return []
    report = Dataset()
    report.SOPClassUID = reading.predecessor.sop_class_uid
    report.SOPInstanceUID = reading.predecessor.sop_instance_uid
    report.SeriesInstanceUID = reading.predecessor.series_instance_uid
    report.StudyInstanceUID = reading.study_instance_uid
    return [report]


def decode_predecessor(ds: Dataset) -> ReportRef | None:
    """Read back which report a report revises (PS3.3 C.17.2, Predecessor Documents Sequence); None where none."""
    if not ds.get("PredecessorDocumentsSequence"):
        return None
    series = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    reference = series.ReferencedSOPSequence[0]
    return ReportRef(
        sop_class_uid=str(reference.ReferencedSOPClassUID),
        sop_instance_uid=str(reference.ReferencedSOPInstanceUID),
        series_instance_uid=str(series.SeriesInstanceUID),
    )


def new_object(reading: Reading, kind: ResultKind, sop_class_uid: str, *, modality: str, series_number: int) -> Dataset:
    """Return an empty object of a kind that highdicom does not write, for :func:`seal` to finish."""
    uids = identity.result_uids(reading)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, uids.instance(kind)
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = uids.series(kind), series_number, 1
    ds.Modality = modality
    ds.ConversionType = "WSD"
    ds.ContributingEquipmentSequence = [contributing_equipment(reading)]
    return ds


def place_body_part(ds: Dataset, reading: Reading, source: Dataset) -> None:
    """Name the body part of a series of images or presentation states, and the side of one that comes in pairs.

    References
    ----------
    PS3.3 C.7.3.1 (Laterality is required, though it may be empty, where Body Part Examined is paired)
    """
    ds.BodyPartExamined = reading.anatomy.value.upper()
    if reading.anatomy is Anatomy.KNEE:
        ds.Laterality = _side(source)


def _side(source: Dataset) -> str:
    groups = [
        *(source.get("SharedFunctionalGroupsSequence") or []),
        *(source.get("PerFrameFunctionalGroupsSequence") or [])[:1],
    ]
    anatomies = [item for group in groups for item in group.get("FrameAnatomySequence") or []]
    stated = [
        source.get("Laterality"),
        source.get("ImageLaterality"),
        *(item.get("FrameLaterality") for item in anatomies),
    ]
    return next((str(side) for side in stated if side in ("L", "R")), "")


def seal(ds: Dataset, reading: Reading, source: Dataset, *, texts: Iterable[str]) -> None:
    """Put patient, study, times, equipment and character set of a finished result in place.

    Parameters
    ----------
    ds
        The object; changed in place.
    reading
        Its time and engine are written.
    source
        A source header; patient and study attributes are repeated verbatim, those that the standard forbids left empty.
    texts
        Every text of ours in the object: decides whether the source's character set can hold it.

    Raises
    ------
    SgmriError
        If the object holds a code that is not in :data:`dicom_io.codes.CODES`.
    """
    codes.require_known(ds)
    ds.SpecificCharacterSet = _character_set(source, texts)
    if not ds.SpecificCharacterSet:
        del ds.SpecificCharacterSet
    with leniently():
        for keyword in PATIENT_AND_STUDY:
            _copy_verbatim(source, ds, keyword)
    for keyword in _TYPE_2:
        if keyword not in ds:
            setattr(ds, keyword, "")
    _set_times(ds, reading, source)
    ds.SeriesDescription = REVISED_SERIES_DESCRIPTION if reading.predecessor else SERIES_DESCRIPTION
    ds.Manufacturer = identity.MANUFACTURER
    ds.ManufacturerModelName = identity.MODEL_NAME
    ds.SoftwareVersions = [identity.SOFTWARE_VERSION, engine_text(reading)]
    ds.DeviceSerialNumber = reading.engine.digest[:_LO_LENGTH]
    ds.DeviceUID = identity.device_uid(reading.engine)
    ds.ContentQualification = "RESEARCH"
    ds.file_meta.ImplementationClassUID = UID(identity.IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = identity.IMPLEMENTATION_VERSION_NAME


def _copy_verbatim(source: Dataset, target: Dataset, keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    if keyword in target:
        del target[tag]
    vr = dictionary_VR(tag)
    if keyword in source and _is_legal(vr, str(source[tag].value)):
        value = deepcopy(source[tag].value)
        target.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))


def _is_legal(vr: str, text: str) -> bool:
    # A date of the year 1 or an age without its unit would make our object break the standard (PS3.5 6.2): such a
    # value says nothing about the patient, and is left empty rather than repeated
    pattern = _LEGAL.get(vr)
    return pattern is None or not text or pattern.fullmatch(text) is not None


def _set_times(ds: Dataset, reading: Reading, source: Dataset) -> None:
    # One offset holds for the whole object (PS3.3 C.12.1.1.8), and the source's study time is repeated in it: so only
    # an offset that the source declares is declared; else the reading's own zone (the installation's), undeclared
    zone = _declared_zone(source)
    moment = reading.started_at.astimezone(zone or reading.started_at.tzinfo)
    date, time = moment.strftime("%Y%m%d"), _time(moment)
    for kind in ("Content", "Series", "InstanceCreation"):
        setattr(ds, f"{kind}Date", date)
        setattr(ds, f"{kind}Time", time)
    if zone is not None:
        ds.TimezoneOffsetFromUTC = moment.strftime("%z")
    for item in ds.get("ContributingEquipmentSequence", []):
        # highdicom's own item carries the time at which it was called
        if "ContributionDateTime" in item:
            item.ContributionDateTime = f"{date}{time}{moment.strftime('%z')}"


def _time(moment: datetime) -> str:
    return moment.strftime("%H%M%S.%f") if moment.microsecond else moment.strftime("%H%M%S")


def _declared_zone(source: Dataset) -> timezone | None:
    found = _OFFSET.fullmatch(str(source.get("TimezoneOffsetFromUTC") or ""))
    if found is None:
        return None
    sign, hours, minutes = found.groups()
    total_min = int(hours) * 60 + int(minutes)
    if total_min > _WIDEST_OFFSET_MIN:
        return None
    return timezone(timedelta(minutes=total_min if sign == "+" else -total_min))


def _character_set(source: Dataset, texts: Iterable[str]) -> str | list[str]:
    found = source.get("SpecificCharacterSet") or ""
    declared = list(found) if isinstance(found, MultiValue) else str(found)
    together = "".join(texts)
    if together.isascii() or declared == _UTF_8:
        return declared
    if declared == "ISO_IR 100" and all(ord(character) < 0x100 for character in together):
        return declared
    return _UTF_8


def require_class(ds: Dataset, *sop_class_uids: str, what: str, kind: str) -> None:
    """Raise MalformedInstance where an object that is read back is of none of some SOP classes.

    Parameters
    ----------
    ds
        The object.
    *sop_class_uids
        Those that it may have.
    what, kind
        What was expected, such as "a presentation state", and which object to hand over instead, such as "PR".
    """
    if ds.get("SOPClassUID") not in sop_class_uids:
        raise MalformedInstance(f"expected {what}, found another SOP class; hand over the {kind} object")


@contextmanager
def as_written(what: str, *also: type[Exception]) -> Iterator[None]:
    """Raise MalformedInstance where an object that is read back lacks a part of what this product writes.

    Parameters
    ----------
    what
        What was expected, such as "a presentation state".
    also
        Errors of a library that mean the same.
    """
    lacking: tuple[type[Exception], ...] = (AttributeError, IndexError, ValueError, *also)
    try:
        yield
    except lacking as error:
        raise MalformedInstance(
            f"expected {what} as sgmri writes it, found one that lacks a part ({type(error).__name__}); it was changed "
            "on its way or written by another product"
        ) from None


def clean_text(text: str) -> str:
    """Return a text as it is written: without control characters other than line breaks, and without outer blanks.

    References
    ----------
    PS3.5 6.2 (UT: trailing spaces carry no meaning) and 6.1.3 (control characters)
    """
    lines = text.replace("\r\n", "\n")
    kept = (character if character.isprintable() or character in "\n\t" else " " for character in lines)
    return "".join(kept).strip().replace("\n", "\r\n")
