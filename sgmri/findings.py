"""What is seen, and where: a finding on one frame, and a tracklet that follows it over adjacent frames."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from sgmri.errors import InvalidGeometry
from sgmri.geometry import Box, cover, iou

_MOSTLY = 0.6
"""Part of the smaller of two boxes that the larger covers, from which on they are one thing."""


class Laterality(StrEnum):
    """The patient's side (DICOM CID 244)."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One box on one frame.

    Parameters
    ----------
    label
        A label of :mod:`sgmri.vocabulary`.
    frame_index
        0-based frame of the volume (or of the frames that the engine was given, before mapping back).
    box
        Where, in pixels of that frame.
    score
        0 to 1, higher is surer; None where the engine has no meaningful score.
    tracking_uid
        Tracking Unique Identifier that the box had in an earlier reading; None where it is new.
    """

    label: str
    frame_index: int
    box: Box
    score: float | None = None
    tracking_uid: str | None = None

    def __post_init__(self) -> None:
        if self.frame_index < 0:
            raise InvalidGeometry(f"a frame index is 0 or more, found {self.frame_index}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracklet:
    """One finding followed over adjacent frames.

    Parameters
    ----------
    tracklet_id
        Readable and unique within a reading, such as "lesion-1"; ties SR boxes and SEG segment together.
    findings
        One a frame, ascending frame index, all of one label.
    laterality
        The patient's side, from geometry; None where it has no meaning or is not known.
    tracking_uid
        Tracking UID that its segment had in an earlier reading; None where it is new.
    """

    tracklet_id: str
    findings: tuple[Finding, ...]
    laterality: Laterality | None = None
    tracking_uid: str | None = None

    def __post_init__(self) -> None:
        if not self.findings:
            raise InvalidGeometry("a tracklet needs at least one finding")
        indices = [finding.frame_index for finding in self.findings]
        if indices != sorted(set(indices)):
            raise InvalidGeometry(f"a tracklet's frames ascend without repeats, found {indices}")
        if len({finding.label for finding in self.findings}) > 1:
            raise InvalidGeometry("a tracklet's findings have one label")

    @property
    def label(self) -> str:
        """The label of all its findings."""
        return self.findings[0].label

    @property
    def frame_indices(self) -> tuple[int, ...]:
        """0-based frames on which it is seen, ascending."""
        return tuple(finding.frame_index for finding in self.findings)

    @property
    def score(self) -> float | None:
        """The best score of its findings; None where none has one."""
        return max((f.score for f in self.findings if f.score is not None), default=None)


def link(
    findings: Iterable[Finding], *, min_iou: float = 0.1, max_gap_frames: int = 1, prefix: str = "lesion"
) -> tuple[Tracklet, ...]:
    """Link findings of one label over adjacent frames into tracklets.

    Greedy, best overlap first, one finding a frame and tracklet; a finding without a partner starts a tracklet of
    its own. The same findings give the same tracklets in whatever order they come.

    Parameters
    ----------
    findings
        Boxes in any order, all in one pixel space.
    min_iou
        Overlap (0 to 1) that the boxes of neighbouring frames need; or the smaller lies mostly in the other, as the
        cap of a round lesion does.
    max_gap_frames
        How many frames lie at most between two linked boxes, counting one; 1 links neighbours only.
    prefix
        Start of the identifiers, which are numbered from 1 in order of first frame, then of place.
    """
    chains: list[list[Finding]] = []
    for _, group in groupby(sorted(findings, key=_order), key=lambda finding: finding.frame_index):
        here = list(group)
        taken = _partners(chains, here, min_iou, max_gap_frames)
        for place, finding in enumerate(here):
            if place in taken:
                chains[taken[place]].append(finding)
            else:
                chains.append([finding])
    ordered = sorted(chains, key=lambda chain: _order(chain[0]))
    return tuple(
        Tracklet(tracklet_id=f"{prefix}-{number}", findings=tuple(chain))
        for number, chain in enumerate(ordered, start=1)
    )


def _partners(
    chains: Sequence[Sequence[Finding]], here: Sequence[Finding], min_iou: float, max_gap_frames: int
) -> dict[int, int]:
    """Give the findings of one frame to open chains, best overlap first: place in ``here`` -> chain."""
    pairs = sorted(
        (-iou(chain[-1].box, finding.box), -cover(chain[-1].box, finding.box), number, place)
        for place, finding in enumerate(here)
        for number, chain in enumerate(chains)
        if chain[-1].label == finding.label and 0 < finding.frame_index - chain[-1].frame_index <= max_gap_frames
    )
    taken: dict[int, int] = {}
    for overlap, covered, number, place in pairs:
        if (-overlap > min_iou or -covered > _MOSTLY) and place not in taken and number not in taken.values():
            taken[place] = number
    return taken


def _order(finding: Finding) -> tuple[int, float, float, float, float, str]:
    return (finding.frame_index, finding.box.y0, finding.box.x0, finding.box.y1, finding.box.x1, finding.label)


def frames_as_text(frame_indices: Sequence[int]) -> str:
    """Write frame indices as frame numbers, runs joined: ``(3, 4, 5, 9)`` -> ``"4-6, 10"``."""
    runs: list[list[int]] = []
    for index in frame_indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(run[0] + 1) if len(run) == 1 else f"{run[0] + 1}-{run[-1] + 1}" for run in runs)
