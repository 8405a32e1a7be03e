"""The rules of named viewers, as findings: an object may be fine DICOM and yet not be shown."""

from collections.abc import Iterator, Sequence
from typing import Final

from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Subject
from dicom_io.viewer_rules import RULES, violations

_WHY: Final = {rule.name: rule.why for rules in RULES.values() for rule in rules}


def checks(viewers: Sequence[str]) -> Iterator[Check]:
    """Yield the rules of some viewers as checks."""
    for viewer in viewers:
        for rule in RULES[viewer]:
            yield Check(
                name=rule.name,
                group=Group.VIEWER,
                says=rule.why,
                source=f"viewer {viewer} (docs/viewer-rules.md)",
                severity=Severity.WARNING,
            )


def check(subject: Subject, viewers: Sequence[str]) -> Iterator[Finding]:
    """Yield the rules of some viewers that an object breaks."""
    broken = {violation.rule for violation in violations(subject.ds, viewers)}
    for one in checks(viewers):
        if one.name in broken:
            yield one.found("", "an object that the viewer does not show as it should", expected=f"{one.name} to hold")
