"""A revised reading: it names the report that it revises, and what both saw keeps its tracking identifiers.

A series that has grown, or that another model reads, is read as a whole again. Whoever follows a finding from the first
report to the second finds the same identifiers on the same boxes; a finding that only the second has never bears a name
of the first.

References
----------
PS3.3 C.17.2 (Predecessor Documents Sequence), PS3.16 TID 1410 (Tracking Identifier, Tracking Unique Identifier)
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.services import COMPREHENSIVE_3D_SR
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import iou
from sgmri.questions import Answer
from sgmri.readings import Reading, ReportRef

SAME_BOX_IOU: Final = 0.3
"""Overlap (0 to 1) from which on two boxes on one frame are one thing: a lesion of 3 x 3 pixels whose box is a pixel
larger on every side has 0.36."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """A tracklet and its likely earlier self."""

    tracklet: Tracklet
    earlier: Tracklet
    boxes: Mapping[int, Finding]
    """Frame index of the tracklet -> the earlier box that lies there."""
    overlap: float
    """Sum of the overlaps of all these boxes."""


def revise(reading: Reading, earlier: Sequence[Reading], *, reported: bool = True) -> Reading:
    """Let a reading revise the earlier ones of its series.

    Parameters
    ----------
    reading
        The reading of the series as it is now.
    earlier
        The readings whose objects are out, the newest first.
    reported
        Whether a structured report of the newest of them is out: only then can it be named.

    Returns
    -------
    The reading with the newest report as its predecessor. A tracklet that the newest earlier reading has too (same
    label, overlapping boxes on the same frames) bears its identifiers, any other an identifier that was not used there.
    Unchanged where there is no earlier reading. Where one of them is of the very same frames, engine and questions, its
    report is this one's, and it is returned as it is: there is nothing to revise.
    """
    key = identity.reading_key(reading)
    for one in earlier:
        if identity.reading_key(one) == key:
            return one
    if not earlier:
        return reading
    revised = _revised(reading, earlier[0])
    return revised if reported else replace(revised, predecessor=None)


def with_asked(earlier: Reading, asked: Reading) -> Reading:
    """Return a reading that says what an earlier one says, and the answers to what was asked by hand.

    Parameters
    ----------
    earlier
        Of the series.
    asked
        Of the same frames by the same engine: nothing but answers to ``asked.asked``. A tracklet with the very boxes of
        an earlier one is that one; the others get identifiers that were not used there.
    """
    same = {
        tracklet.tracklet_id: one
        for tracklet in asked.tracklets
        for one in earlier.tracklets
        if _boxes(tracklet) == _boxes(one)
    }
    names = _names(asked, earlier, {name: one.tracklet_id for name, one in same.items()})
    tracklets = {
        one.tracklet_id: same.get(one.tracklet_id, replace(one, tracklet_id=names[one.tracklet_id]))
        for one in asked.tracklets
    }
    new = tuple(tracklet for name, tracklet in tracklets.items() if name not in same)
    return replace(
        earlier,
        answers=earlier.answers + tuple(_renamed(answer, tracklets, names) for answer in asked.answers),
        tracklets=earlier.tracklets + new,
        asked=earlier.asked + asked.asked,
        started_at=asked.started_at,
        predecessor=None,
    )


def _boxes(tracklet: Tracklet) -> tuple[object, ...]:
    return (tracklet.label, *((finding.frame_index, finding.box) for finding in tracklet.findings))


def _revised(reading: Reading, earlier: Reading) -> Reading:
    uids = identity.result_uids(earlier)
    matches = {match.tracklet.tracklet_id: match for match in _matches(reading, earlier)}
    names = _names(reading, earlier, {name: match.earlier.tracklet_id for name, match in matches.items()})
    tracklets = {
        tracklet.tracklet_id: replace(
            _followed(matches[tracklet.tracklet_id], uids) if tracklet.tracklet_id in matches else tracklet,
            tracklet_id=names[tracklet.tracklet_id],
        )
        for tracklet in reading.tracklets
    }
    return replace(
        reading,
        tracklets=tuple(tracklets.values()),
        answers=tuple(_renamed(answer, tracklets, names) for answer in reading.answers),
        predecessor=ReportRef(
            sop_class_uid=COMPREHENSIVE_3D_SR,
            sop_instance_uid=uids.instance(ResultKind.SR),
            series_instance_uid=uids.series(ResultKind.SR),
        ),
    )


def _matches(reading: Reading, earlier: Reading) -> Iterator[_Match]:
    """Pair tracklets with their earlier selves, best overlap first, each at most once."""
    likely = (
        _match(reading, tracklet, earlier, before) for tracklet in reading.tracklets for before in earlier.tracklets
    )
    taken: set[str] = set()
    continued: set[str] = set()
    # sorted is stable: of equal overlaps the first in the reading's order
    for match in sorted((one for one in likely if one.boxes), key=lambda one: -one.overlap):
        if match.tracklet.tracklet_id not in taken and match.earlier.tracklet_id not in continued:
            taken.add(match.tracklet.tracklet_id)
            continued.add(match.earlier.tracklet_id)
            yield match


def _match(reading: Reading, tracklet: Tracklet, earlier: Reading, before: Tracklet) -> _Match:
    boxes: dict[int, Finding] = {}
    overlap = 0.0
    if codes.finding_concept(tracklet.label) == codes.finding_concept(before.label):
        place = {_place(earlier, finding): finding for finding in before.findings}
        for finding in tracklet.findings:
            there = place.get(_place(reading, finding))
            if there is not None and iou(finding.box, there.box) >= SAME_BOX_IOU:
                boxes[finding.frame_index] = there
                overlap += iou(finding.box, there.box)
    return _Match(tracklet=tracklet, earlier=before, boxes=boxes, overlap=overlap)


def _place(reading: Reading, finding: Finding) -> tuple[str, int | None]:
    # Frame indices shift when a frame comes in between; instances and their frame numbers stay
    ref = reading.frames[finding.frame_index]
    return ref.sop_instance_uid, ref.frame_number


def _names(reading: Reading, earlier: Reading, continued: Mapping[str, str]) -> Mapping[str, str]:
    """Return the identifier of every tracklet: its earlier self's, or one that no earlier tracklet has."""
    before = {tracklet.tracklet_id for tracklet in earlier.tracklets}
    taken = before | {tracklet.tracklet_id for tracklet in reading.tracklets}
    names: dict[str, str] = {}
    for tracklet in reading.tracklets:
        name = continued.get(tracklet.tracklet_id, tracklet.tracklet_id)
        if tracklet.tracklet_id not in continued and name in before:
            stem = name.rpartition("-")[0] or name
            name = next(free for number in count(1) if (free := f"{stem}-{number}") not in taken)
            taken.add(name)
        names[tracklet.tracklet_id] = name
    return names


def _followed(match: _Match, uids: identity.ResultUids) -> Tracklet:
    findings = (
        replace(finding, tracking_uid=uids.box_uid(match.earlier, match.boxes[finding.frame_index]))
        if finding.frame_index in match.boxes
        else finding
        for finding in match.tracklet.findings
    )
    return replace(match.tracklet, findings=tuple(findings), tracking_uid=uids.segment_uid(match.earlier))


def _renamed(answer: Answer, tracklets: Mapping[str, Tracklet], names: Mapping[str, str]) -> Answer:
    return replace(
        answer,
        text=_in_words(answer.text, names),
        reasoning=_in_words(answer.reasoning, names),
        evidence=tuple(tracklets[tracklet.tracklet_id] for tracklet in answer.evidence),
    )


def _in_words(text: str, names: Mapping[str, str]) -> str:
    """Return a sentence with the identifiers that it names renamed."""
    if not names:
        return text
    named = "|".join(re.escape(name) for name in names)
    return re.sub(rf"(?<![\w-])(?:{named})(?![\w-])", lambda found: names[found[0]], text)
