"""What a check is, and what it finds: frozen, small, and without a value of any patient.

A finding names a part of an object, such as ``content item 1.4.2`` or ``SegmentSequence[2]/SegmentNumber``; items are
counted from 1, as the standard counts them.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Severity(StrEnum):
    """How bad a finding is; in the order of :data:`ORDER`."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


ORDER = tuple(Severity)
"""From bad to harmless."""


class Group(StrEnum):
    """Checks that are chosen or left out together."""

    FILE = "file"
    IOD = "iod"
    ENTITY = "entity"
    CONTENT = "content"
    TEMPLATE = "template"
    REFERENCE = "reference"
    GEOMETRY = "geometry"
    SEGMENTATION = "segmentation"
    CODE = "code"
    IDENTITY = "identity"
    VIEWER = "viewer"
    AIR = "air"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where on a source frame a finding lies.

    Parameters
    ----------
    sop_instance_uid, frame_number
        The frame; frame number None where the object names none.
    points
        (column, row) in pixels, origin at the outer corner of the top-left pixel (PS3.3 C.18.6).
    """

    sop_instance_uid: str
    frame_number: int | None
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, or that was not checked.

    Parameters
    ----------
    check, group, severity
        Which check, and how bad.
    part
        The part of the object; empty for the object as a whole.
    expected, found
        In words; never a value that names a patient.
    source
        The paragraph that demands it.
    path
        The object's file; set by the runner.
    mark
        The place on a frame, for checks of geometry.
    """

    check: str
    group: Group
    severity: Severity
    part: str
    expected: str
    found: str
    source: str
    path: Path = Path()
    mark: Mark | None = None

    @property
    def text(self) -> str:
        """The finding in one sentence."""
        place = f"{self.part}: " if self.part else ""
        return f"{place}expected {self.expected}, found {self.found}"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as what JSON knows."""
        mark = self.mark
        return {
            "check": self.check,
            "group": str(self.group),
            "severity": str(self.severity),
            "object": str(self.path),
            "part": self.part,
            "expected": self.expected,
            "found": self.found,
            "source": self.source,
            "mark": None if mark is None else {
                "sop_instance_uid": mark.sop_instance_uid,
                "frame_number": mark.frame_number,
                "points": [list(point) for point in mark.points],
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule that objects are held against.

    Parameters
    ----------
    name
        Its id, such as ``reference-frame-exists``.
    group
        Its group.
    says
        What must hold.
    source
        The paragraph of the standard, or of the profile, that demands it.
    severity
        Of what it finds, where it is not told otherwise.
    """

    name: str
    group: Group
    says: str
    source: str
    severity: Severity = Severity.ERROR

    def found(
        self, part: str, found: str, *, expected: str = "", mark: Mark | None = None, severity: Severity | None = None
    ) -> Finding:
        """Return a finding of this check.

        Parameters
        ----------
        part, found
            Of the finding.
        expected
            Of the finding; by default what the check says.
        mark, severity
            Of the finding; the severity by default the check's.
        """
        return Finding(
            check=self.name,
            group=self.group,
            severity=severity or self.severity,
            part=part,
            expected=expected or self.says,
            found=found,
            source=self.source,
            mark=mark,
        )
