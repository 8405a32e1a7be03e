"""What is drawn for a reading's boxes, wherever they are drawn: outline, label, colour, and the place of the label."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_io.objects import colours, sr
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One box to draw.

    Parameters
    ----------
    number
        Of its tracklet in the reading, counted from 1: chooses the colour.
    tracklet, finding
        What it marks.
    """

    number: int
    tracklet: Tracklet
    finding: Finding

    @property
    def text(self) -> str:
        """The label beside the box; the same as in the structured report."""
        return sr.comment(self.tracklet, self.finding)

    @property
    def colour(self) -> tuple[int, int, int]:
        """Its colour."""
        return colours.rgb(self.number)


def marks_by_frame(reading: Reading) -> Mapping[int, tuple[Mark, ...]]:
    """Return the marks of every frame that bears a box: frame index -> marks, frames ascending."""
    found: dict[int, list[Mark]] = {}
    for number, tracklet in enumerate(reading.tracklets, start=1):
        for finding in tracklet.findings:
            found.setdefault(finding.frame_index, []).append(Mark(number=number, tracklet=tracklet, finding=finding))
    return {frame_index: tuple(found[frame_index]) for frame_index in sorted(found)}


def label_place(box: Box, size: tuple[float, float], rows: int, columns: int) -> Box:
    """Return where the label of a box goes: above it, below it where no room is above, else inside; on the frame.

    Parameters
    ----------
    box
        Lies on the frame.
    size
        Width and height of the label, in pixels; cut to the frame where it is larger.
    rows, columns
        Size of the frame.
    """
    width, height = min(size[0], columns), min(size[1], rows)
    x0 = min(box.x0, columns - width)
    if box.y0 >= height:
        y0 = box.y0 - height
    elif box.y1 + height <= rows:
        y0 = box.y1
    else:
        y0 = min(box.y0, rows - height)
    return Box(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height)
