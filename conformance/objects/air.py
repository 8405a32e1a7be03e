"""Points of IHE AI Results, "AIR-style": what public notes on the profile say; no claim of conformance with it.

A result that is fine DICOM may miss any of them, so they are notes, and warnings only where they are asked for.

References
----------
IHE Radiology AI Results (AIR) Rev. 1.1, 6.5.3, as quoted by public implementations; each check names its own
"""

from collections.abc import Iterator
from typing import Final

from conformance.objects.corpus import Corpus, Instance
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.regions import TRACKING_UID
from conformance.objects.subject import Subject, sequence, text
from conformance.objects.templates import group_template, template_of


def _check(name: str, says: str, source: str) -> Check:
    return Check(name=f"air-{name}", group=Group.AIR, says=says, source=f"AIR-style: {source}", severity=Severity.NOTE)


SR_CLASS: Final = _check("sr-class", "Comprehensive 3D SR for TID 1500", "AIR 6.5.3, IODs of result primitives")
EQUIPMENT: Final = _check(
    "equipment", "the algorithm in Contributing Equipment: manufacturer, model, version, Device UID", "AIR 6.5.3.1"
)
DEVICE_UID: Final = _check(
    "device-uid", "one Device UID for one build of the model, and another for another", "AIR 6.5.3.1"
)
ALGORITHM: Final = _check("algorithm", "Algorithm Name and Version", "AIR 6.5.3.1, PS3.16 TID 4019")
TRACKED: Final = _check(
    "tracking", "a Tracking Identifier and Unique Identifier for every finding", "AIR 6.5.3, result primitives"
)
UNVERIFIED: Final = _check("unverified", "UNVERIFIED where only a device observed", "AIR, notes on verification")
CHECKS: Final = (SR_CLASS, EQUIPMENT, DEVICE_UID, ALGORITHM, TRACKED, UNVERIFIED)

_COMPREHENSIVE_3D: Final = "1.2.840.10008.5.1.4.1.1.88.34"
_ALGORITHMS: Final = frozenset({("DCM", "109102"), ("99IHE", "Newcode1")})
"""Purposes of reference: Processing Equipment, and the placeholder of the trial text."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield the points that an object misses."""
    ds, root = subject.ds, subject.root
    if text(ds, "Modality") not in ("SR", "SEG"):
        return
    yield from _equipment(subject)
    if root is None:
        return
    if template_of(root) == "1500" and subject.sop_class_uid != _COMPREHENSIVE_3D:
        yield SR_CLASS.found("SOPClassUID", "another SR class")
    observers = {code.value for item in root.named(("DCM", "121005")) if (code := item.code()) is not None}
    if observers == {"121007"} and text(ds, "VerificationFlag") == "VERIFIED":
        yield UNVERIFIED.found("VerificationFlag", "VERIFIED")
    if template_of(root) == "1500":
        for group in (item for item in subject.items() if item.name is not None and item.name.key == ("DCM", "125007")):
            if not group.named(TRACKING_UID):
                yield TRACKED.found(group.part, "no Tracking Unique Identifier")
            if group_template(group) != "1501" and not group.named(("DCM", "111001")):
                yield ALGORITHM.found(group.part, "none")


def _equipment(subject: Subject) -> Iterator[Finding]:
    items = sequence(subject.ds, "ContributingEquipmentSequence")
    algorithms = [
        item
        for item in items
        if any(
            (text(code, "CodingSchemeDesignator"), text(code, "CodeValue")) in _ALGORITHMS
            for code in sequence(item, "PurposeOfReferenceCodeSequence")
        )
    ]
    keywords = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID")
    if not any(all(text(item, keyword) for keyword in keywords) for item in algorithms):
        yield EQUIPMENT.found("ContributingEquipmentSequence", "no complete item")
    uids = {uid for item in algorithms if (uid := text(item, "DeviceUID"))}
    uids |= {uid for item in subject.items() if item.name is not None and item.name.key == ("DCM", "121012")
             if (uid := text(item.ds, "UID"))} if uids else set()  # fmt: skip
    if uids and (own := text(subject.ds, "DeviceUID")):
        uids.add(own)
    if len(uids) > 1:
        yield DEVICE_UID.found("ContributingEquipmentSequence", f"{len(uids)} Device UIDs in one object")


def check_together(corpus: Corpus) -> Iterator[tuple[Instance, Finding]]:
    """Yield results whose Device UID stayed while their software changed, or changed while it stayed."""
    by_uid: dict[str, Instance] = {}
    by_device: dict[tuple[str, ...], Instance] = {}
    for instance in corpus.instances:
        uid = instance.device[-1]
        if not instance.is_result or not uid:
            continue
        same_uid = by_uid.setdefault(uid, instance)
        if same_uid.device != instance.device:
            yield instance, DEVICE_UID.found("DeviceUID", f"the one of {same_uid.path.name}, of other software")
        same = by_device.setdefault(instance.device[:-1], instance)
        if same.device != instance.device and same.study_instance_uid == instance.study_instance_uid:
            yield instance, DEVICE_UID.found("DeviceUID", f"another than in {same.path.name}, of the same software")
