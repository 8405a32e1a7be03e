"""What a suite of checks found, and its written forms: console, JUnit XML, JSON, Markdown and HTML.

A report holds no header value of a patient, no host name and no path.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from html import escape
from types import MappingProxyType
from xml.etree import ElementTree as ET


class Severity(StrEnum):
    """What follows where a claim does not hold."""

    CRITICAL = "critical"
    """Instances are lost, changed or ascribed to another, or others are shut out."""
    MAJOR = "major"
    """The standard is broken in a way that peers will meet."""
    MINOR = "minor"
    """The standard is broken where most peers will not notice."""


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    """It could not be asked here: an option or another check's result is missing."""
    NOT_SUPPORTED = "not supported"
    """The peer says that it does not have what was asked for."""
    OBSERVED = "observed"
    """A fact without a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text that a check adds to its result."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a check found.

    Parameters
    ----------
    outcome, text
        How it ended, and why, in one sentence.
    table
        What it found in detail.
    """

    outcome: Outcome
    text: str
    table: Table | None = None


def passed(text: str, table: Table | None = None) -> Result:
    """Return that a claim holds."""
    return Result(outcome=Outcome.PASS, text=text, table=table)


def failed(text: str, table: Table | None = None) -> Result:
    """Return that a claim does not hold."""
    return Result(outcome=Outcome.FAIL, text=text, table=table)


def observed(text: str, table: Table | None = None) -> Result:
    """Return a fact."""
    return Result(outcome=Outcome.OBSERVED, text=text, table=table)


def not_applicable(text: str) -> Result:
    """Return that a check could not be asked."""
    return Result(outcome=Outcome.NOT_APPLICABLE, text=text)


def not_supported(text: str) -> Result:
    """Return that the peer does not have what was asked for."""
    return Result(outcome=Outcome.NOT_SUPPORTED, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a report.

    Parameters
    ----------
    id, group
        Of the check, such as ``store.response`` of group ``store``.
    claim, source
        What must hold, and the paragraph that demands it.
    severity
        What follows if it does not.
    result
        What was found.
    evidence
        What was sent and answered, with times.
    took_s
        How long the check took.
    """

    id: str
    group: str
    claim: str
    source: str
    severity: Severity
    result: Result
    evidence: tuple[str, ...]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All lines of a run.

    Parameters
    ----------
    subject
        What was tested, as the user calls it.
    entries
        In the order in which they ran.
    """

    subject: str
    entries: tuple[Entry, ...]

    @property
    def failed(self) -> tuple[Entry, ...]:
        """The entries whose claim does not hold."""
        return tuple(entry for entry in self.entries if entry.result.outcome is Outcome.FAIL)

    @property
    def summary(self) -> str:
        """How many ended in which way."""
        counted = Counter(entry.result.outcome for entry in self.entries)
        return ", ".join(f"{counted[outcome]} {outcome}" for outcome in Outcome if counted[outcome])


def console(report: Report) -> str:
    """Write a report for a terminal: a line a check, tables below, evidence of what failed."""
    lines = []
    for entry in report.entries:
        lines.append(f"{entry.result.outcome:14} {entry.id:34} {entry.result.text}")
        if entry.result.outcome is Outcome.FAIL:
            lines.append(f"{'':14} {entry.severity}; {entry.claim} ({entry.source})")
            lines += [f"{'':14} {line}" for line in entry.evidence[-12:]]
    for entry in report.entries:
        if entry.result.table is not None:
            lines += ["", entry.claim, *_aligned(entry.result.table)]
    return "\n".join([*lines, "", f"{report.subject}: {report.summary}", ""])


def as_json(report: Report) -> str:
    """Write a report for machines; the keys are the fields of :class:`Entry`."""
    return json.dumps({"summary": report.summary, **asdict(report)}, indent=1) + "\n"


def junit(report: Report) -> str:
    """Write a report as JUnit XML: a check is a test case, what is no pass or failure is skipped."""
    suite = ET.Element(
        "testsuite",
        name=report.subject,
        tests=str(len(report.entries)),
        failures=str(len(report.failed)),
        skipped=str(sum(_is_skipped(entry) for entry in report.entries)),
        errors="0",
        time=f"{sum(entry.took_s for entry in report.entries):.3f}",
    )
    for entry in report.entries:
        case = ET.SubElement(suite, "testcase", classname=entry.group, name=entry.id, time=f"{entry.took_s:.3f}")
        if entry.result.outcome is Outcome.FAIL:
            element = ET.SubElement(case, "failure", type=entry.severity, message=entry.result.text)
            element.text = "\n".join([f"{entry.claim} ({entry.source})", *entry.evidence])
        elif _is_skipped(entry):
            ET.SubElement(case, "skipped", message=f"{entry.result.outcome}: {entry.result.text}")
        else:
            ET.SubElement(case, "system-out").text = f"{entry.result.outcome}: {entry.result.text}"
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def markdown(report: Report) -> str:
    """Write a report as Markdown."""
    lines = [f"# {report.subject}", "", f"{len(report.entries)} checks: {report.summary}.", ""]
    lines += ["| check | outcome | severity | what was found | claim | source |", "|---|---|---|---|---|---|"]
    for entry in report.entries:
        cells = (entry.id, entry.result.outcome, entry.severity, entry.result.text, entry.claim, entry.source)
        lines.append(_row(cells))
    for entry in report.entries:
        table = entry.result.table
        if table is not None:
            lines += ["", f"## {entry.claim}", "", _row(table.columns), "|" + "---|" * len(table.columns)]
            lines += [_row(row) for row in table.rows]
    for entry in report.failed:
        lines += ["", f"## Evidence: {entry.id}", "", "```", *(entry.evidence or ("nothing was sent",)), "```"]
    return "\n".join(lines) + "\n"


_STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #bbb;"
    "padding:.2em .5em;text-align:left;vertical-align:top}.fail{background:#fdd}.pass{background:#dfd}"
    "pre{font-size:90%}"
)


def html(report: Report) -> str:
    """Write a report as one HTML page; the evidence of each check folds out."""
    rows = []
    for entry in report.entries:
        evidence = f"<details><summary>evidence</summary><pre>{escape(chr(10).join(entry.evidence))}</pre></details>"
        detail = "" if entry.result.table is None else _html_table(entry.result.table)
        cells = (entry.id, entry.result.outcome, entry.severity, entry.claim, entry.source)
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(
            f'<tr class="{entry.result.outcome.replace(" ", "-")}">{shown}'
            f"<td>{escape(entry.result.text)}{detail}{evidence}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("check", "outcome", "severity", "claim", "source", "what was found"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(report.subject)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(report.subject)}</h1><p>{escape(report.summary)}</p>"
        f"<table><tr>{head}</tr>\n{chr(10).join(rows)}\n</table></html>\n"
    )


WRITERS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {"junit": junit, "json": as_json, "html": html, "markdown": markdown}
)
"""The written forms, by the option that asks for them."""


def _is_skipped(entry: Entry) -> bool:
    return entry.result.outcome in (Outcome.NOT_APPLICABLE, Outcome.NOT_SUPPORTED)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _aligned(table: Table) -> list[str]:
    rows = (table.columns, *table.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><tr>{head}</tr>{rows}</table>"
