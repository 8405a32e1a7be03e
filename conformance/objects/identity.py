"""Identity: a result lies in the study of its sources, with their patient unchanged, in a series of its own.

Values are compared, never repeated.

References
----------
PS3.3 C.7.1.1 (Patient), C.7.2.1 (General Study), C.7.3.1 (General Series); IHE AI Results (result in the same study)
"""

from collections.abc import Iterator
from typing import Final

from conformance.objects.corpus import IDENTITY, Corpus, Instance
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Subject, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"identity-{name}", group=Group.IDENTITY, says=says, source=source, severity=severity)


STUDY: Final = _check("study", "the study of the images that it refers to", "PS3.3 C.7.2.1")
PATIENT: Final = _check("attributes", "patient and study as in the source images", "PS3.3 C.7.1.1, C.7.2.1")
SERIES: Final = _check(
    "series", "a series of its own, apart from other modalities and equipment", "PS3.3 C.7.3.1, A.1.2.3"
)
UNIQUE: Final = _check("instance", "a SOP Instance UID of its own", "PS3.5 section 9")
UNCHECKED: Final = _check("no-source", "the source images, to be held against", "house rule", Severity.NOTE)
CHECKS: Final = (STUDY, PATIENT, SERIES, UNIQUE, UNCHECKED)


def check(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield where an object's patient, study or series is not as its sources demand."""
    ds = subject.ds
    study, series = text(ds, "StudyInstanceUID"), text(ds, "SeriesInstanceUID")
    used = [image for one in subject.references if (image := corpus.image(one.sop_instance_uid))]
    beside = corpus.image_studies.get(study, ())
    if used and all(image.study_instance_uid != study for image in used):
        yield STUDY.found("StudyInstanceUID", "another study")
    if not used and not beside:
        yield UNCHECKED.found("", "not checked: no image of its study among the files")
    else:
        source = used[0] if used else beside[0]
        yield from _attributes(subject, source)
    if series in corpus.image_series:
        yield SERIES.found("SeriesInstanceUID", "the series of source images")


def _attributes(subject: Subject, source: Instance) -> Iterator[Finding]:
    theirs = dict(source.identity)
    for keyword in IDENTITY:
        if keyword == "StudyInstanceUID":
            continue  # has a check of its own
        own, source_value = _plain(text(subject.ds, keyword)), _plain(theirs[keyword])
        if own == source_value or (keyword not in subject.ds and keyword in _OPTIONAL):
            continue
        if not own and not _may_be_kept(keyword, source_value):
            continue
        yield PATIENT.found(keyword, "another value" if own else "none")


_OPTIONAL: Final = frozenset({"IssuerOfPatientID", "StudyDescription"})


def _plain(value: str) -> str:
    return value.rstrip("^= ").strip()


def _may_be_kept(keyword: str, value: str) -> bool:
    """Tell whether a source's value is legal: one that is not may be left empty."""
    if keyword in ("PatientBirthDate", "StudyDate"):
        return len(value) == 8 and value.isdigit() and "01" <= value[4:6] <= "12" and "01" <= value[6:] <= "31"
    if keyword == "StudyTime":
        return value[:6].isdigit() and value[:2] < "24"
    return True


def check_together(corpus: Corpus) -> Iterator[tuple[Instance, Finding]]:
    """Yield instances that share a UID which should be theirs alone: with other files, or other modalities."""
    first: dict[str, Instance] = {}
    in_series: dict[str, Instance] = {}
    for instance in corpus.instances:
        same = first.setdefault(instance.sop_instance_uid, instance)
        if same is not instance and (instance.is_result or same.is_result) and _differ(same, instance):
            yield instance, UNIQUE.found("SOPInstanceUID", f"the one of {same.path.name}, which is another object")
        other = in_series.setdefault(instance.series_instance_uid, instance)
        kinds = {other.modality, instance.modality}
        if len(kinds) > 1 and other.is_result and instance.is_result:
            yield instance, SERIES.found("SeriesInstanceUID", f"the one of {other.path.name}, of another modality")


def _differ(one: Instance, other: Instance) -> bool:
    return one.path.read_bytes() != other.path.read_bytes()
