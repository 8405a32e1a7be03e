"""What this product promises beyond the standard, held against its own objects only; others are none of its business.

The promises are written here once more, on purpose: a writer that forgets one must not take its proof along.

References
----------
docs/adr/0006 (answers without a place), docs/conformance-objects.md
"""

from collections.abc import Iterator
from typing import Final

from conformance.objects.findings import Check, Finding, Group
from conformance.objects.regions import TRACKING_IDENTIFIER, is_upright_rectangle, regions_of, tracking_uid
from conformance.objects.subject import Item, Subject, sequence, text
from conformance.objects.templates import template_of


def _check(name: str, says: str) -> Check:
    return Check(name=f"profile-{name}", group=Group.PROFILE, says=says, source="sgmri: docs/conformance-objects.md")


RESEARCH_USE: Final = _check("research-use", "the statement of research use, in the object and its description")
RESEARCH: Final = _check("qualification", "RESEARCH as Content Qualification")
UNVERIFIED: Final = _check("unverified", "UNVERIFIED and PRELIMINARY")
DEVICE: Final = _check("device", "one Device UID in the header, the observer and the contributing equipment")
OBSERVER: Final = _check("observer", "a device as observer, and no person")
GROUPS: Final = _check("box-group", "one box, a finding, its site, algorithm, comment and tracking in every group")
NUMBER: Final = _check("no-number", "no NUM without coordinates in a group of boxes")
TRACKING: Final = _check("own-tracking-uid", "a Tracking Unique Identifier of its own for every box")
RECTANGLE: Final = _check("rectangle", "top left, top right, bottom right, bottom left, top left")
CODED: Final = _check("coded-answer", "a coded or counted answer, or the coded reason why there is none")
ANSWERS: Final = _check("answers", "one answer for each question")
COMPLETE: Final = _check("completeness", "COMPLETE where every question has an answer, and only there")
SUMMARY: Final = _check("summary", "a processing summary that agrees with the answers and boxes")
PERCENT: Final = _check("percent", "certainties from 0 to 100 per cent")
CHECKS: Final = (RESEARCH_USE, RESEARCH, UNVERIFIED, DEVICE, OBSERVER, GROUPS, NUMBER, TRACKING, RECTANGLE, CODED,
                 ANSWERS, COMPLETE, SUMMARY, PERCENT)  # fmt: skip

_MANUFACTURER: Final = "sgmri project"
_STATEMENT: Final = "not a medical device"
_GROUP, _EVALUATIONS = ("DCM", "125007"), ("UMLS", "C0034375")
_NOT_EVALUATED, _SUMMARY = ("SCT", "373121007"), ("DCM", "111017")
_SPOKEN: Final = frozenset({("SCT", "363698007"), ("DCM", "121111"), ("DCM", "121106")})
"""Names of answers that are sentences: where, and the summary."""
_CHOSEN: Final = ("DCM", "125309")
_NEEDED: Final = (("DCM", "112039"), ("DCM", "112040"), ("DCM", "121071"), ("SCT", "363698007"), ("DCM", "111001"),
                  ("DCM", "111003"), ("DCM", "130400"), ("DCM", "121106"))  # fmt: skip
_WITH_FINDINGS: Final = {"111241": False, "111242": True, "111243": False, "111244": True, "111245": False}
_ALL_SUCCEEDED: Final = frozenset({"111241", "111242"})


def check(subject: Subject) -> Iterator[Finding]:
    """Yield the promises that one of this product's own objects breaks."""
    ds = subject.ds
    if text(ds, "Manufacturer") != _MANUFACTURER:
        return
    if text(ds, "ContentQualification") != "RESEARCH":
        yield RESEARCH.found("ContentQualification", text(ds, "ContentQualification") or "none")
    yield from _statement(subject)
    yield from _device(subject)
    if text(ds, "Modality") == "SR":
        flags = (text(ds, "VerificationFlag"), text(ds, "PreliminaryFlag"))
        if flags != ("UNVERIFIED", "PRELIMINARY"):
            yield UNVERIFIED.found("VerificationFlag", " and ".join(flag or "none" for flag in flags))
    if subject.root is not None and template_of(subject.root) == "1500":
        yield from _groups(subject)
        for evaluations in subject.root.named(_EVALUATIONS):
            yield from _answers(subject, evaluations)


def _statement(subject: Subject) -> Iterator[Finding]:
    said = [text(item, "ContributionDescription") for item in sequence(subject.ds, "ContributingEquipmentSequence")]
    if not any(_STATEMENT in one.lower() for one in said):
        yield RESEARCH_USE.found("ContributingEquipmentSequence", "no statement")
    if "research use only" not in text(subject.ds, "SeriesDescription").lower():
        yield RESEARCH_USE.found("SeriesDescription", "no statement")
    if subject.root is not None and text(subject.ds, "Modality") == "SR":
        texts = (text(item.ds, "TextValue") for item in subject.items() if item.value_type == "TEXT")
        if not any(_STATEMENT in one.lower() for one in texts):
            yield RESEARCH_USE.found("content item 1", "no statement")


def _device(subject: Subject) -> Iterator[Finding]:
    ds = subject.ds
    found = {text(ds, "DeviceUID")}
    for item in sequence(ds, "ContributingEquipmentSequence"):
        if text(item, "Manufacturer") == _MANUFACTURER:
            found.add(text(item, "DeviceUID"))
    if subject.root is not None:
        observed = subject.root.named(("DCM", "121012"))
        found |= {text(item.ds, "UID") for item in observed}
        if not observed or subject.root.named(("DCM", "121008")):
            yield OBSERVER.found("content item 1", "none" if not observed else "a person")
    if len(found) != 1 or found == {""}:
        yield DEVICE.found("DeviceUID", f"{len(found)} values, or none")


def _groups(subject: Subject) -> Iterator[Finding]:
    groups = [item for item in subject.items() if item.name is not None and item.name.key == _GROUP]
    uids: dict[str, str] = {}
    for group in groups:
        names = [child.name.key for child in group.children if child.name is not None]
        missing = [value for scheme, value in _NEEDED if (scheme, value) not in names]
        regions = [child for child in group.children if child.value_type == "SCOORD"]
        if missing or len(regions) != 1:
            yield GROUPS.found(group.part, f"{len(regions)} regions, and no {', '.join(missing) or 'item missing'}")
        for child in group.children:
            if child.value_type == "NUM" and not any(inner.value_type == "SCOORD" for inner in child.children):
                yield NUMBER.found(child.part, "one")
        uid = tracking_uid(group)
        if uid and uid in uids:
            yield TRACKING.found(group.part, f"the one of {uids[uid]}")
        uids.setdefault(uid, group.part)
    for region in regions_of(subject):
        if region.group in groups and is_upright_rectangle(region.points):
            x0, y0, x1, y1 = region.extent
            if region.points != ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)):
                yield RECTANGLE.found(region.part, "another order of corners", mark=region.mark)


def _answers(subject: Subject, evaluations: Item) -> Iterator[Finding]:
    answers = [item for item in evaluations.children if item.named(TRACKING_IDENTIFIER)]
    asked: set[str] = set()
    for answer in answers:
        question = text(answer.named(TRACKING_IDENTIFIER)[0].ds, "TextValue")
        if question in asked:
            yield ANSWERS.found(answer.part, "a second answer to one question")
        asked.add(question)
        if not _is_coded(answer):
            yield CODED.found(answer.part, f"{answer.value_type} alone")
        yield from _percents(answer)
    if not answers:
        yield ANSWERS.found(evaluations.part, "no answer")
    for item in evaluations.children:
        if item.value_type == "CODE" and item not in answers and item.name is not None and item.name.key != _SUMMARY:
            yield ANSWERS.found(item.part, "an answer that names no question")
    unanswered = [answer for answer in answers if answer.named(_NOT_EVALUATED)]
    is_complete = text(subject.ds, "CompletionFlag") == "COMPLETE"
    if is_complete == bool(unanswered):
        yield COMPLETE.found("CompletionFlag", f"{text(subject.ds, 'CompletionFlag')}, {len(unanswered)} unanswered")
    yield from _summary(subject, evaluations, has_unanswered=bool(unanswered))


def _is_coded(answer: Item) -> bool:
    if answer.value_type in ("CODE", "NUM") or answer.named(_NOT_EVALUATED) or answer.named(_CHOSEN):
        return True
    counted = any(child.value_type == "NUM" and child.name == answer.name for child in answer.children)
    return counted or (answer.name is not None and answer.name.key in _SPOKEN)


def _percents(answer: Item) -> Iterator[Finding]:
    for number in answer.named(("DCM", "111012")):
        measured = sequence(number.ds, "MeasuredValueSequence")
        value = text(measured[0], "NumericValue") if measured else ""
        units = sequence(measured[0], "MeasurementUnitsCodeSequence") if measured else []
        try:
            is_percent = 0 <= float(value) <= 100 and bool(units) and text(units[0], "CodeValue") == "%"
        except ValueError:
            is_percent = False
        if not is_percent:
            yield PERCENT.found(number.part, "another value or unit")


def _summary(subject: Subject, evaluations: Item, *, has_unanswered: bool) -> Iterator[Finding]:
    has_boxes = any(True for _ in regions_of(subject))
    summaries = evaluations.named(_SUMMARY)
    if not summaries:
        yield SUMMARY.found(evaluations.part, "none")
    for item in summaries:
        code = item.code()
        if code is None or code.value not in _WITH_FINDINGS:
            yield SUMMARY.found(item.part, "another value")
        elif _WITH_FINDINGS[code.value] != has_boxes or (code.value in _ALL_SUCCEEDED) == has_unanswered:
            yield SUMMARY.found(item.part, f"({code.value}, DCM)")
