"""References: what an object names exists among the files, is of the class named, and is listed as evidence.

An instance whose series is not among the files is not judged; that is said in a note, never counted as right.

References
----------
PS3.3 C.17.2.3 (evidence), C.12.2 (Common Instance Reference), table 10-3 (Image SOP Instance Reference), C.18.4
"""

from collections.abc import Iterator, Mapping
from typing import Final

from conformance.objects.corpus import LABEL_MAP, SEGMENTATION, SR_MODALITIES, Corpus, Instance
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Item, Reference, Subject, integers, sequence, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"reference-{name}", group=Group.REFERENCE, says=says, source=source, severity=severity)


EXISTS: Final = _check("exists", "an instance of the source series", "PS3.3 table 10-11")
CLASS: Final = _check("class", "the SOP class of the instance that is named", "PS3.3 table 10-11")
FRAME: Final = _check("frame", "frame numbers from 1 to the number of frames", "PS3.3 table 10-3")
FRAME_GIVEN: Final = _check(
    "frame-given", "frame numbers where, and only where, the instance is multi-frame", "PS3.3 table 10-3"
)
EVIDENCE: Final = _check("evidence", "every instance of the content in the evidence sequences", "PS3.3 C.17.2.3")
LISTED: Final = _check("listed", "every instance that is used in Referenced Series Sequence", "PS3.3 C.12.2")
HIERARCHY: Final = _check("hierarchy", "the study and series that the instance lies in", "PS3.3 C.17.2.1, C.12.2")
UNCHECKED: Final = _check("no-source", "the source images, to be held against", "house rule", Severity.NOTE)
SELF: Final = _check("self", "no reference of an object to itself", "PS3.3 C.17.3")
CHECKS: Final = (EXISTS, CLASS, FRAME, FRAME_GIVEN, EVIDENCE, LISTED, HIERARCHY, UNCHECKED, SELF)

_IN_CONTENT: Final = frozenset({"IMAGE", "COMPOSITE", "WAVEFORM"})


def check(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield what is wrong with the references of an object."""
    placed = {uid: series for uid, (_, series, _) in listing(subject).items()}
    own_study = text(subject.ds, "StudyInstanceUID")
    unknown = False
    for reference in subject.references:
        instance = corpus.by_uid.get(reference.sop_instance_uid)
        yield from _numbers(reference)
        if instance is None:
            if reference.is_earlier:
                continue
            series = placed.get(reference.sop_instance_uid)
            if series in corpus.image_series or (series is None and own_study in corpus.image_studies):
                yield EXISTS.found(reference.part, "none of this UID among the files")
            else:
                unknown = True
        else:
            yield from _against(reference, instance, own_uid=text(subject.ds, "SOPInstanceUID"))
    if unknown or not any(corpus.image(one.sop_instance_uid) for one in subject.references):
        yield UNCHECKED.found("", "not checked: no source of some or all references among the files")
    yield from _hierarchy(subject, corpus)
    if text(subject.ds, "Modality") in SR_MODALITIES:
        yield from _evidence(subject)
    elif "ReferencedSeriesSequence" in subject.ds:
        yield from _listed(subject)
    yield from _segments_and_regions(subject, corpus)


def _numbers(reference: Reference) -> Iterator[Finding]:
    for what, numbers in (("frame", reference.frames), ("segment", reference.segments)):
        if any(number < 1 for number in numbers):
            yield FRAME.found(reference.part, f"{what} number {min(numbers)}", expected=f"{what} numbers from 1")


def _against(reference: Reference, instance: Instance, *, own_uid: str) -> Iterator[Finding]:
    if reference.sop_class_uid != instance.sop_class_uid:
        yield CLASS.found(reference.part, "another SOP class")
    if instance.sop_instance_uid == own_uid:
        yield SELF.found(reference.part, "the object's own UID")
    if not reference.frames:
        return
    if not instance.is_multi_frame:
        severity = Severity.WARNING if reference.frames == (1,) else Severity.ERROR
        yield FRAME_GIVEN.found(reference.part, "a frame number of a single-frame instance", severity=severity)
    elif max(reference.frames) > instance.frame_count:
        yield FRAME.found(
            reference.part, f"frame number {max(reference.frames)}", expected=f"at most {instance.frame_count}"
        )


def _segments_and_regions(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield regions on multi-frame images that name no frame: nobody can tell where they lie."""
    for item in subject.items():
        if item.value_type != "SCOORD":
            continue
        for image in item.children:
            for found in sequence(image.ds, "ReferencedSOPSequence"):
                instance = corpus.image(text(found, "ReferencedSOPInstanceUID"))
                frames = integers(found, "ReferencedFrameNumber")
                if instance is not None and instance.is_multi_frame and instance.frame_count > 1 and len(frames) != 1:
                    yield FRAME_GIVEN.found(image.part, f"{len(frames)} frame numbers", expected="one frame number")


def listing(subject: Subject) -> Mapping[str, tuple[str, str, str]]:
    """Return the instances that an object lists by study and series: UID -> (study, series, place of the list)."""
    ds = subject.ds
    own_study = text(ds, "StudyInstanceUID")
    found: dict[str, tuple[str, str, str]] = {}
    studies = [
        (keyword, text(study, "StudyInstanceUID"), study)
        for keyword in (
            "CurrentRequestedProcedureEvidenceSequence",
            "PertinentOtherEvidenceSequence",
            "StudiesContainingOtherReferencedInstancesSequence",
        )
        for study in sequence(ds, keyword)
    ]
    for keyword, study_uid, study in [*studies, ("ReferencedSeriesSequence", own_study, ds)]:
        for series in sequence(study, "ReferencedSeriesSequence"):
            for inner in ("ReferencedSOPSequence", "ReferencedInstanceSequence", "ReferencedImageSequence"):
                for one in sequence(series, inner):
                    place = (study_uid, text(series, "SeriesInstanceUID"), keyword)
                    found[text(one, "ReferencedSOPInstanceUID")] = place
    return found


def _hierarchy(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    wrong: dict[str, int] = {}
    for uid, (study, series, place) in listing(subject).items():
        instance = corpus.by_uid.get(uid)
        if instance is not None and (study, series) != (instance.study_instance_uid, instance.series_instance_uid):
            wrong[place] = wrong.get(place, 0) + 1
    for place, count in wrong.items():
        yield HIERARCHY.found(place, f"{count} instances under another study or series")


def _used_in_content(item: Item) -> str:
    found = sequence(item.ds, "ReferencedSOPSequence") if item.value_type in _IN_CONTENT else []
    return text(found[0], "ReferencedSOPInstanceUID") if found else ""


def _evidence(subject: Subject) -> Iterator[Finding]:
    evidence = {uid for uid, (_, _, place) in listing(subject).items() if place.endswith("EvidenceSequence")}
    for item in subject.items():
        uid = _used_in_content(item)
        if uid and uid not in evidence:
            yield EVIDENCE.found(item.part, "an instance that they do not list")


def _listed(subject: Subject) -> Iterator[Finding]:
    listed = set(listing(subject))
    for reference in subject.references:
        if not reference.is_listing and not reference.is_earlier and reference.sop_instance_uid not in listed:
            is_made = reference.sop_class_uid in (SEGMENTATION, LABEL_MAP)
            yield LISTED.found(
                reference.part,
                "an instance that it does not list",
                severity=Severity.WARNING if is_made else Severity.ERROR,
            )
