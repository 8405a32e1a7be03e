"""From what is seen on single frames to findings followed over the volume.

Volume-wide lists of boxes name the wrong frames; frames asked about alone do not. So every frame is asked whether a
finding is visible, the frames that say yes are asked where, and the boxes are linked to tracklets, whose gaps are
closed and whose ends lie where the neighbouring frame denies the finding. Where a bundle has an auxiliary head, what
it sees counts beside what was said.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sgmri.findings import Finding, Tracklet, link
from sgmri.geometry import Box, iou
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Question, QuestionKind
from worker.engine.auxiliary import Maps
from worker.engine.calibration import Calibration
from worker.engine.conversation import Ask, Conversation
from worker.engine.parsing import parse
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import about_one_frame
from worker.engine.snapping import snap

_SAME_PLACE = 0.4
"""Two boxes of one label on one frame that overlap more are one."""
_SEEN_ONCE = 0.5
"""How much more log-odds the auxiliary head must give a finding on a single frame."""
_LINK_IOU = 0.1
_GAP_FRAMES = 2
"""Boxes of a tracklet lie at most so many frames apart: a single missing frame is closed."""
_GAP_LOG_ODDS = -3.0
"""A frame in a gap may be closed unless it denies the finding more surely than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What single frames say of one label.

    Parameters
    ----------
    label
        Of :mod:`sgmri.vocabulary`.
    log_odds
        log(P(visible) / P(not)), calibrated, by frame index; frames that were not decided are left out.
    """

    label: str
    log_odds: Mapping[int, float]

    def frames(self, threshold: float) -> tuple[int, ...]:
        """Return the frames on which it is visible, ascending."""
        return tuple(sorted(frame for frame, odds in self.log_odds.items() if odds >= threshold))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounded:
    """What was found of some labels.

    Parameters
    ----------
    tracklets
        All of them, ids unique.
    words
        Tracklet id -> (where, sign): the model's words about its key frame.
    sights
        Label -> what the frames said.
    unfinished
        Labels whose boxes were not all asked for in time.
    """

    tracklets: tuple[Tracklet, ...]
    words: Mapping[str, tuple[str, str]]
    sights: Mapping[str, Sight]
    unfinished: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grounding:
    """Looks at the frames of one volume.

    Parameters
    ----------
    conversation
        Of the volume.
    frames, profile
        What is shown and how it is asked.
    calibration
        What odds mean, and how boxes are treated.
    maps
        Of the auxiliary head; None where there is none.
    control
        Of the reading.
    """

    conversation: Conversation
    frames: Frames
    profile: PromptProfile
    calibration: Calibration
    maps: Maps | None
    control: ReadingControl

    def look(self, labels: Sequence[str]) -> dict[str, Sight]:
        """Ask every frame, alone, whether each of some labels is visible on it."""
        asked = [
            Ask(question=about_one_frame(QuestionKind.DETECTION, (label,), self.profile), frame_index=frame)
            for label in labels
            for frame in range(len(self.frames.pixels))
        ]
        odds: dict[str, dict[int, float]] = {label: {} for label in labels}
        seen = {label: self._suspicion(label) for label in labels}
        for ask, weights in zip(asked, self.conversation.weigh(asked, self.control), strict=True):
            if weights is not None and ask.frame_index is not None:
                label, frame = ask.question.labels[0], ask.frame_index
                suspicion = None if (highest := seen[label]) is None else float(highest[frame])
                odds[label][frame] = self.calibration.on_frame(label, weights[0] - weights[1], suspicion)
        return {label: Sight(label=label, log_odds=odds[label]) for label in labels}

    def _suspicion(self, label: str) -> NDArray[np.float32] | None:
        return self.maps.on_frames(label) if self.maps is not None and label in self.maps.labels else None

    def ground(self, sights: Mapping[str, Sight]) -> Grounded:
        """Ask the frames that see something where it is, and follow it over the volume.

        Parameters
        ----------
        sights
            By label, from :meth:`look`.
        """
        asked = [
            Ask(question=about_one_frame(QuestionKind.LOCALISATION, (label,), self.profile), frame_index=frame)
            for label, sight in sights.items()
            for frame in sight.frames(self.calibration.frame_threshold)
        ]
        words: dict[Finding, tuple[str, str]] = {}
        unfinished = set()
        for ask, text in zip(asked, self.conversation.say(asked, self.control), strict=True):
            label, frame = ask.question.labels[0], ask.frame_index
            assert frame is not None
            if text is None:
                unfinished.add(label)
                continue
            score = _probability(sights[label].log_odds[frame])
            boxes, said = self._boxes(ask.question, frame, text)
            words |= {replace(finding, score=score): said for finding in boxes}
        found = [_closed(tracklet, sights) for tracklet in _followed(words)]
        tracklets = tuple(tracklet for tracklet in found if not self._is_doubtful(tracklet, found))
        return Grounded(
            tracklets=tracklets,
            words={tracklet.tracklet_id: _words_of(tracklet, words) for tracklet in tracklets},
            sights=sights,
            unfinished=frozenset(unfinished),
        )

    def _boxes(self, question: Question, frame: int, text: str) -> tuple[list[Finding], tuple[str, str]]:
        """Return the boxes of an answer, without what is not believed and what is said twice; and its words."""
        _, rows, columns = self.frames.pixels.shape
        parsed = parse(text, question, self.profile, (rows, columns, 1), anatomy=self.frames.anatomy)
        found = [replace(finding, frame_index=frame) for finding in parsed.boxes if self._is_believed(finding, frame)]
        if self.calibration.snaps:
            pixels = self.frames.pixels[frame]
            found = [replace(finding, box=snap(pixels, finding.box)) for finding in found]
        return _without_doubles(found), (parsed.text, parsed.reasoning)

    def _is_doubtful(self, tracklet: Tracklet, others: Sequence[Tracklet]) -> bool:
        """Tell whether a finding is no finding of its own: seen once and weakly, or another one by a wrong name.

        One place has one name: of two findings that share their place, the head decides which it is.
        """
        if self.maps is None or self.calibration.box_threshold is None:
            return False
        strength = self._strength(tracklet)
        if len(tracklet.findings) == 1 and strength < self.calibration.box_threshold + _SEEN_ONCE:
            return True
        return any(
            other.label != tracklet.label
            and _share(tracklet, other)
            and (self._strength(other), other.label) > (strength, tracklet.label)
            for other in others
        )

    def _strength(self, tracklet: Tracklet) -> float:
        """Return how much the auxiliary head sees in a finding's boxes, on average."""
        assert self.maps is not None
        shape = (self.frames.pixels.shape[1], self.frames.pixels.shape[2])
        seen = [self.maps.on_box(tracklet.label, f.frame_index, f.box, shape) for f in tracklet.findings]
        known = [value for value in seen if value is not None]
        return sum(known) / len(known) if known else 0.0

    def _is_believed(self, finding: Finding, frame: int) -> bool:
        """Tell whether the auxiliary head does not deny what a box shows."""
        threshold, shape = self.calibration.box_threshold, self.frames.pixels.shape
        if threshold is None or self.maps is None:
            return True
        seen = self.maps.on_box(finding.label, frame, finding.box, (shape[1], shape[2]))
        return seen is None or seen >= threshold


def _share(one: Tracklet, other: Tracklet) -> bool:
    """Tell whether two findings lie in one place on at least half of the shorter one's frames."""
    boxes = {finding.frame_index: finding.box for finding in other.findings}
    same = sum(
        iou(finding.box, boxes[finding.frame_index]) > _SAME_PLACE
        for finding in one.findings
        if finding.frame_index in boxes
    )
    return 2 * same >= min(len(one.findings), len(boxes))


def _followed(found: Iterable[Finding]) -> tuple[Tracklet, ...]:
    return link(found, min_iou=_LINK_IOU, max_gap_frames=_GAP_FRAMES, prefix="finding")


def _without_doubles(boxes: Sequence[Finding]) -> list[Finding]:
    """Drop boxes that say the same place again; the first stays."""
    kept: list[Finding] = []
    for box in boxes:
        if all(iou(box.box, other.box) <= _SAME_PLACE for other in kept):
            kept.append(box)
    return kept


def _closed(tracklet: Tracklet, sights: Mapping[str, Sight]) -> Tracklet:
    """Put interpolated boxes on single frames that a tracklet skips, unless the frame denies the finding."""
    odds = sights[tracklet.label].log_odds
    findings: list[Finding] = []
    for finding in tracklet.findings:
        before = findings[-1] if findings else None
        if before is not None and finding.frame_index - before.frame_index == _GAP_FRAMES:
            between = before.frame_index + 1
            if odds.get(between, -math.inf) >= _GAP_LOG_ODDS:
                middle = Box(
                    **{
                        name: (getattr(before.box, name) + getattr(finding.box, name)) / 2
                        for name in ("x0", "y0", "x1", "y1")
                    }
                )
                findings.append(
                    Finding(label=finding.label, frame_index=between, box=middle, score=_probability(odds[between]))
                )
        findings.append(finding)
    return replace(tracklet, findings=tuple(findings))


def key_finding(tracklet: Tracklet) -> Finding:
    """Return the finding that shows a tracklet best: the largest box."""
    return max(tracklet.findings, key=lambda finding: finding.box.area)


def _words_of(tracklet: Tracklet, words: Mapping[Finding, tuple[str, str]]) -> tuple[str, str]:
    said = [finding for finding in tracklet.findings if finding in words]
    return words[max(said, key=lambda finding: finding.box.area)] if said else ("", "")


def _probability(log_odds: float) -> float:
    return round(1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds)))), 4)
