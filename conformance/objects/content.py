"""Content items one by one: value types, values, relationships, graphics, and the flags of the document.

References
----------
PS3.3 C.17.3 (SR Document Content), C.18.1 to C.18.9 (value types), A.35.13.3.1.2 (relationships), C.17.2 (flags)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset

from conformance.objects.corpus import KEY_OBJECTS
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Item, Subject, code_of, numbers, sequence, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"content-{name}", group=Group.CONTENT, says=says, source=source, severity=severity)


WALKED: Final = _check("walked", "a content tree that can be walked to its end", "a limit of this program")
NAME: Final = _check("concept-name", "a concept name", "PS3.3 C.17.3.2.2")
VALUE: Final = _check("value", "a value of the item's value type", "PS3.3 C.18.1 to C.18.9")
RELATED: Final = _check("relationship", "a relationship that the value types allow", "PS3.3 A.35.13.3.1.2")
GRAPHIC: Final = _check("graphic", "as many points as the graphic type needs", "PS3.3 C.18.6")
BY_REFERENCE: Final = _check("by-reference", "the content item that is referred to", "PS3.3 C.17.3.2.5")
ORDER: Final = _check("flags", "Completion and Verification Flag that fit together", "PS3.3 C.17.2")
TRACKING: Final = _check("tracking-uid", "a well-formed Tracking Unique Identifier", "PS3.16 TID 1410, TID 1411")
CHECKS: Final = (WALKED, NAME, VALUE, RELATED, GRAPHIC, BY_REFERENCE, ORDER, TRACKING)

_ANY: Final = frozenset(
    [
        "TEXT",
        "CODE",
        "NUM",
        "DATETIME",
        "DATE",
        "TIME",
        "UIDREF",
        "PNAME",
        "COMPOSITE",
        "IMAGE",
        "WAVEFORM",
        "SCOORD",
        "SCOORD3D",
        "TCOORD",
        "CONTAINER",
        "TABLE",
    ]
)
_SIMPLE: Final = frozenset(["TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME"])
_SPOKEN: Final = frozenset(["CONTAINER", "TEXT", "CODE", "NUM"])
_RELATIONS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = MappingProxyType(
    {
        "CONTAINS": (frozenset({"CONTAINER"}), _ANY),
        "HAS OBS CONTEXT": (_SPOKEN, _SIMPLE | {"COMPOSITE"}),
        "HAS ACQ CONTEXT": (_SPOKEN | {"IMAGE", "WAVEFORM", "COMPOSITE"}, _SIMPLE | {"CONTAINER"}),
        "HAS CONCEPT MOD": (_ANY, frozenset({"TEXT", "CODE"})),
        "HAS PROPERTIES": (_ANY - {"CONTAINER"}, _ANY),
        "INFERRED FROM": (_ANY - {"CONTAINER"}, _ANY),
        "SELECTED FROM": (frozenset({"SCOORD", "TCOORD"}), frozenset({"IMAGE", "WAVEFORM", "SCOORD"})),
    }
)
"""Relationship -> value types of the parent, and of the child; the union over the SR IODs."""
_NAMED: Final = _SIMPLE
_VALUES: Final = MappingProxyType(
    {"TEXT": "TextValue", "DATETIME": "DateTime", "DATE": "Date", "TIME": "Time", "PNAME": "PersonName"}
)
_POINTS: Final = MappingProxyType({"POINT": (1, 1), "MULTIPOINT": (1, 0), "POLYLINE": (2, 0), "POLYGON": (4, 0),
                                   "CIRCLE": (2, 2), "ELLIPSE": (4, 4), "ELLIPSOID": (6, 6)})  # fmt: skip
"""Graphic type -> the fewest and the most points; 0 for any number."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with an object's content items, whatever its template."""
    if not subject.is_whole:
        yield WALKED.found("", "more items, or deeper ones, than are walked")
    if subject.root is None:
        return
    yield from _flags(subject)
    for item in subject.items():
        yield from _item(item, subject)


def _flags(subject: Subject) -> Iterator[Finding]:
    ds = subject.ds
    if subject.sop_class_uid == KEY_OBJECTS:
        return
    if text(ds, "CompletionFlag") not in ("COMPLETE", "PARTIAL"):
        yield ORDER.found("CompletionFlag", text(ds, "CompletionFlag") or "none", expected="COMPLETE or PARTIAL")
    verified, observers = text(ds, "VerificationFlag"), sequence(ds, "VerifyingObserverSequence")
    if verified not in ("VERIFIED", "UNVERIFIED"):
        yield ORDER.found("VerificationFlag", verified or "none", expected="VERIFIED or UNVERIFIED")
    elif verified == "VERIFIED" and not observers:
        yield ORDER.found("VerificationFlag", "VERIFIED and no observer", expected="a Verifying Observer Sequence")
    elif verified == "UNVERIFIED" and observers:
        yield ORDER.found("VerifyingObserverSequence", "an observer", expected="none beside UNVERIFIED")
    if text(ds, "PreliminaryFlag") not in ("", "PRELIMINARY", "FINAL"):
        yield ORDER.found("PreliminaryFlag", "another value", expected="PRELIMINARY or FINAL")
    if (text(ds, "PreliminaryFlag"), text(ds, "CompletionFlag"), verified) == ("FINAL", "PARTIAL", "UNVERIFIED"):
        yield ORDER.found("PreliminaryFlag", "FINAL, yet partial and unverified", severity=Severity.WARNING)


def _item(item: Item, subject: Subject) -> Iterator[Finding]:
    if "ReferencedContentItemIdentifier" in item.ds:
        yield from _by_reference(item, subject)
        return
    if item.value_type not in _ANY:
        yield VALUE.found(item.part, item.value_type or "none", expected="a value type of PS3.3 C.17.3.2.1")
        return
    if item.name is None and (item.value_type in _NAMED or item.parent is None):
        yield NAME.found(item.part, "none")
    if item.parent is not None:
        yield from _relationship(item, item.parent)
    problem = _PROBLEMS.get(item.value_type, _plain)(item)
    if problem:
        yield VALUE.found(item.part, problem)
    if item.value_type in ("SCOORD", "SCOORD3D"):
        yield from _graphic(item)
    if item.name is not None and item.name.key == ("DCM", "112040") and not _is_uid(text(item.ds, "UID")):
        yield TRACKING.found(item.part, "another value")


def _by_reference(item: Item, subject: Subject) -> Iterator[Finding]:
    place = ".".join(str(int(number)) for number in numbers(item.ds, "ReferencedContentItemIdentifier"))
    if place not in {other.number for other in subject.items()}:
        yield BY_REFERENCE.found(item.part, f"no item {place}")


def _relationship(item: Item, parent: Item) -> Iterator[Finding]:
    parents, children = _RELATIONS.get(item.relationship, (frozenset[str](), frozenset[str]()))
    if parent.value_type not in parents or item.value_type not in children:
        yield RELATED.found(
            item.part, f"{parent.value_type or 'item'} {item.relationship or 'without one'} {item.value_type}"
        )


def _plain(item: Item) -> str:
    keyword = _VALUES.get(item.value_type)
    return "" if keyword is None or text(item.ds, keyword) else f"no {keyword}"


def _code(item: Item) -> str:
    return _problem_of(sequence(item.ds, "ConceptCodeSequence"), "code")


def _problem_of(found: Sequence[Dataset], what: str) -> str:
    if len(found) != 1:
        return f"{len(found)} {what}s"
    code = code_of(found[0])
    return "" if code.value and code.meaning else f"an incomplete {what}"


def _number(item: Item) -> str:
    measured = sequence(item.ds, "MeasuredValueSequence")
    if not measured:
        has_reason = bool(sequence(item.ds, "NumericValueQualifierCodeSequence"))
        return "" if has_reason and "MeasuredValueSequence" in item.ds else "no value, and no qualifier that says why"
    if len(numbers(measured[0], "NumericValue")) != 1:
        return "no number"
    return _problem_of(sequence(measured[0], "MeasurementUnitsCodeSequence"), "unit")


def _uid(item: Item) -> str:
    return "" if _is_uid(text(item.ds, "UID")) else "no well-formed UID"


def _is_uid(value: str) -> bool:
    parts = value.split(".")
    return len(value) <= 64 and all(part.isascii() and part.isdigit() and str(int(part)) == part for part in parts)


def _instance(item: Item) -> str:
    found = sequence(item.ds, "ReferencedSOPSequence")
    if len(found) != 1:
        return f"{len(found)} references"
    uids = (text(found[0], "ReferencedSOPClassUID"), text(found[0], "ReferencedSOPInstanceUID"))
    return "" if all(_is_uid(uid) for uid in uids) else "a reference without well-formed UIDs"


def _container(item: Item) -> str:
    return "" if text(item.ds, "ContinuityOfContent") in ("SEPARATE", "CONTINUOUS") else "no Continuity Of Content"


def _coordinates(item: Item) -> str:
    values = numbers(item.ds, "GraphicData")
    size = 3 if item.value_type == "SCOORD3D" else 2
    if not values or len(values) % size:
        return "no complete, finite coordinates"
    return (
        "no Referenced Frame of Reference UID"
        if size == 3 and not text(item.ds, "ReferencedFrameOfReferenceUID")
        else ""
    )


_PROBLEMS: Final[Mapping[str, Callable[[Item], str]]] = MappingProxyType(
    {
        "CODE": _code,
        "NUM": _number,
        "UIDREF": _uid,
        "IMAGE": _instance,
        "COMPOSITE": _instance,
        "WAVEFORM": _instance,
        "CONTAINER": _container,
        "SCOORD": _coordinates,
        "SCOORD3D": _coordinates,
    }
)


def _graphic(item: Item) -> Iterator[Finding]:
    kind = text(item.ds, "GraphicType")
    size = 3 if item.value_type == "SCOORD3D" else 2
    count = len(numbers(item.ds, "GraphicData")) // size
    fewest, most = _POINTS.get(kind, (0, -1))
    if most < 0 or (size == 2 and kind in ("POLYGON", "ELLIPSOID")):
        yield GRAPHIC.found(item.part, kind or "none", expected="a graphic type of PS3.3 C.18.6 or C.18.9")
    elif count < fewest or (most and count > most):
        yield GRAPHIC.found(item.part, f"{count} points of a {kind}")
