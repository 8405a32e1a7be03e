"""Every value of a file: file meta information that agrees, value representations kept, text that decodes.

References
----------
PS3.10 7.1 (file meta information), PS3.5 6.2 (value representations), 6.1.2 (character sets), 9.1 (UIDs)
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from conformance.objects.corpus import KEY_OBJECTS, LABEL_MAP, SEGMENTATION
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Subject, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"file-{name}", group=Group.FILE, says=says, source=source, severity=severity)


META: Final = _check("meta", "file meta information that agrees with the data set", "PS3.10 7.1")
UID_FORM: Final = _check("uid", "a well-formed UID of at most 64 characters", "PS3.5 9.1")
VALUE_FORM: Final = _check("value", "a value that its value representation allows", "PS3.5 6.2")
CHARACTERS: Final = _check("characters", "text of the character set that is declared", "PS3.5 6.1.2, PS3.3 C.12.1.1.2")
MODALITY: Final = _check("modality", "the modality of the SOP class", "PS3.3 C.7.3.1.1.1")
PRESENT: Final = _check("identifiers", "the UIDs that place an instance", "PS3.3 C.7.2.1, C.7.3.1, C.12.1")
CHECKS: Final = (META, UID_FORM, VALUE_FORM, CHARACTERS, MODALITY, PRESENT)

_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)
_DAYS: Final = r"(0[1-9]|[12]\d|3[01])"
_FORMS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "DA": re.compile(rf"\d{{4}}(0[1-9]|1[0-2]){_DAYS}", re.ASCII),
        "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)? *", re.ASCII),
        "DT": re.compile(
            rf"\d{{4}}((0[1-9]|1[0-2])({_DAYS}(([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{{1,6}})?)?)?)?)?)?"
            r"([+-](0\d|1[0-4])[0-5]\d)? *",
            re.ASCII,
        ),
        "CS": re.compile(r"[A-Z0-9_ ]{0,16}", re.ASCII),
        "AS": re.compile(r"\d{3}[DWMY]", re.ASCII),
        "IS": re.compile(r" *[+-]?\d{1,11} *", re.ASCII),
        "DS": re.compile(r"(?=.{1,16}$) *[+-]?(\d+\.?\d*|\.\d+)([Ee][+-]?\d+)? *", re.ASCII),
        "LO": re.compile(r"[^\\]{0,64}", re.DOTALL),
        "SH": re.compile(r"[^\\]{0,16}", re.DOTALL),
    }
)
_TEXTS: Final = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "PN"})
_MODALITIES: Final = MappingProxyType(
    {
        SEGMENTATION: "SEG",
        LABEL_MAP: "SEG",
        KEY_OBJECTS: "KO",
        "1.2.840.10008.5.1.4.1.1.104.1": "DOC",
        **{f"1.2.840.10008.5.1.4.1.1.88.{end}": "SR" for end in ("11", "22", "33", "34", "35")},
        **{f"1.2.840.10008.5.1.4.1.1.11.{end}": "PR" for end in ("1", "2", "3", "4")},
    }
)
_DECODED_WRONG: Final = "�"


def check(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the values of a file, wherever they stand."""
    ds = subject.ds
    yield from _meta(ds)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not text(ds, keyword):
            yield PRESENT.found(keyword, "none", expected=f"a {keyword}")
    wanted = _MODALITIES.get(subject.sop_class_uid)
    if wanted is not None and text(ds, "Modality") != wanted:
        yield MODALITY.found("Modality", text(ds, "Modality") or "none", expected=wanted)
    declared = ds.get("SpecificCharacterSet")
    only_ascii = declared in (None, "", "ISO_IR 6") or (isinstance(declared, MultiValue) and not any(declared))
    for part, element in subject.elements:
        yield from _element(part, element, only_ascii=only_ascii)


def _meta(ds: Dataset) -> Iterator[Finding]:
    meta: Any = getattr(ds, "file_meta", None) or Dataset()
    for keyword, own in (("MediaStorageSOPClassUID", "SOPClassUID"), ("MediaStorageSOPInstanceUID", "SOPInstanceUID")):
        if text(meta, keyword) != text(ds, own):
            yield META.found(keyword, "another UID" if text(meta, keyword) else "none", expected=f"the {own}")
    if not text(meta, "TransferSyntaxUID"):
        yield META.found("TransferSyntaxUID", "none", expected="a transfer syntax")


def _element(part: str, element: DataElement, *, only_ascii: bool) -> Iterator[Finding]:
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    for value in values:
        if value is None or value == "":
            continue
        if element.VR == "UI":
            if len(str(value)) > 64 or not _UID.fullmatch(str(value)):
                yield UID_FORM.found(part, "another form")
        elif element.VR in _FORMS and not _FORMS[element.VR].fullmatch(_as_written(value)):
            yield VALUE_FORM.found(part, f"another form of {element.VR}")
        if element.VR in _TEXTS and _is_garbled(str(value), only_ascii=only_ascii):
            yield CHARACTERS.found(part, "bytes of another one")
            return


def _as_written(value: Any) -> str:
    # DS and IS keep what stood in the file
    return str(getattr(value, "original_string", value))


def _is_garbled(value: str, *, only_ascii: bool) -> bool:
    return _DECODED_WRONG in value or (only_ascii and not value.isascii())
