"""A report for people and machines: lines for a terminal, JUnit XML, JSON."""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Final
from xml.etree import ElementTree as ET

from conformance.objects.checking import Report
from conformance.objects.findings import ORDER, Finding, Severity

_MOST_ALIKE: Final = 3
"""Findings of one check in one object that a terminal shows; the other reports hold all."""


def lines(report: Report) -> Iterator[str]:
    """Yield the report as lines for a terminal: objects with their findings, then the sum."""
    for path in report.objects:
        found = [finding for finding in report.findings if finding.path == path]
        yield f"{path}: {_verdict(found)}"
        yield from _listed(found)
    yield from _listed([finding for finding in report.findings if finding.path not in set(report.objects)])
    counts = ", ".join(f"{report.count(severity)} {severity}s" for severity in ORDER)
    yield f"{len(report.objects)} objects against {report.sources} source instances: {counts}"


def _verdict(found: list[Finding]) -> str:
    worst = min((ORDER.index(finding.severity) for finding in found), default=len(ORDER))
    return ("FAILED", "warnings", "ok, with notes", "ok")[worst]


def _listed(found: list[Finding]) -> Iterator[str]:
    for (severity, check), alike in groupby(found, key=lambda one: (one.severity, one.check)):
        those = list(alike)
        for finding in those[:_MOST_ALIKE]:
            yield f"  {severity:7} {check}: {finding.text} [{finding.source}]"
        if len(those) > _MOST_ALIKE:
            yield f"  {severity:7} {check}: {len(those) - _MOST_ALIKE} more"


def as_json(report: Report) -> str:
    """Return the report as JSON: objects, counts and findings."""
    table = {
        "objects": [str(path) for path in report.objects],
        "sources": report.sources,
        "counts": {str(severity): report.count(severity) for severity in ORDER},
        "findings": [finding.as_json() for finding in report.findings],
    }
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def as_junit(report: Report) -> str:
    """Return the report as JUnit XML: a suite an object, a case a check that found something, or one that passed.

    Errors are failures; warnings and notes stand in the output of a case that passed.
    """
    top = ET.Element("testsuites", name="sgmri conformance objects")
    for path in report.objects:
        found = [finding for finding in report.findings if finding.path == path]
        suite = ET.SubElement(top, "testsuite", name=_xml(str(path)))
        failures = 0
        by_check = groupby(sorted(found, key=lambda one: one.check), key=lambda one: one.check)
        cases = [(check, list(those)) for check, those in by_check] or [("all-checks", [])]
        for check, those in cases:
            case = ET.SubElement(suite, "testcase", classname=_xml(path.name), name=check)
            errors = [one for one in those if one.severity is Severity.ERROR]
            others = [one for one in those if one.severity is not Severity.ERROR]
            if errors:
                failures += 1
                failure = ET.SubElement(case, "failure", message=_xml(errors[0].text), type=check)
                failure.text = _xml("\n".join(f"{one.text} [{one.source}]" for one in errors))
            if others:
                ET.SubElement(case, "system-out").text = _xml(
                    "\n".join(f"{one.severity}: {one.text}" for one in others)
                )
        suite.set("tests", str(len(cases)))
        suite.set("failures", str(failures))
    ET.indent(top)
    return ET.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Return a text without the characters that XML 1.0 cannot hold."""
    return (
        "".join(
            character if character in "\t\n" or (character >= " " and not 0xD800 <= ord(character) <= 0xDFFF) else "?"
            for character in text
        )
        .replace("￾", "?")
        .replace("￿", "?")
    )
