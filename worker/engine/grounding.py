"""From what is seen on single frames to findings followed over the volume.

Volume-wide lists of boxes name the wrong frames; frames asked about alone do not. So every frame is asked whether a
finding is visible, the frames that say yes are asked where, and the boxes are linked to tracklets, whose gaps are
closed and whose ends lie where the neighbouring frame denies the finding. Where a bundle has an auxiliary head, what
it sees counts beside what was said.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
class Glance:
    """What one frame alone says of one label, not calibrated.

    Parameters
    ----------
    label, frame_index
        What was looked for, and where.
    said
        Log-odds of the language model.
    seen
        Log-odds of the auxiliary head; None where there is none, or it does not know the label.
    """

    label: str
    frame_index: int
    said: float
    seen: float | None


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
        odds: dict[str, dict[int, float]] = {label: {} for label in labels}
        for glance in self.glances(labels):
            odds[glance.label][glance.frame_index] = self.calibration.on_frame(glance.label, glance.said, glance.seen)
        return {label: Sight(label=label, log_odds=odds[label]) for label in labels}

    def glances(self, labels: Sequence[str]) -> Iterator[Glance]:
        """Yield what was said and seen of each label on each frame, not calibrated; without what was not decided."""
        maps = self.maps
        places = [(label, frame) for label in labels for frame in range(len(self.frames.pixels))]
        asked = [
            Ask(question=about_one_frame(QuestionKind.DETECTION, (label,), self.profile), frame_index=frame)
            for label, frame in places
        ]
        seen = {label: maps.on_frames(label) for label in labels if maps is not None and label in maps.labels}
        for (label, frame), weights in zip(places, self.conversation.weigh(asked, self.control), strict=True):
            if weights is not None:
                yield Glance(
                    label=label,
                    frame_index=frame,
                    said=weights[0] - weights[1],
                    seen=float(seen[label][frame]) if label in seen else None,
                )

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
        tracklets = self._without_doubtful([_closed(tracklet, sights) for tracklet in _followed(words)])
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
        said = (replace(finding, frame_index=frame) for finding in parsed.boxes)
        found = [finding for finding in said if self._is_believed(finding)]
        if self.calibration.snaps:
            pixels = self.frames.pixels[frame]
            found = [replace(finding, box=snap(pixels, finding.box)) for finding in found]
        return _without_doubles(found), (parsed.text, parsed.reasoning)

    def _without_doubtful(self, found: Sequence[Tracklet]) -> tuple[Tracklet, ...]:
        """Drop what is no finding of its own: seen once and weakly, or another one by a wrong name.

        One place has one name: of two findings that share their place, the head decides which it is.
        """
        threshold = self.calibration.box_threshold
        if self.maps is None or threshold is None:
            return tuple(found)
        strong = {tracklet.tracklet_id: self._strength(tracklet) for tracklet in found}

        def is_doubtful(one: Tracklet) -> bool:
            strength = strong[one.tracklet_id]
            if len(one.findings) == 1 and strength < threshold + _SEEN_ONCE:
                return True
            return any(
                other.label != one.label
                and (strong[other.tracklet_id], other.label) > (strength, one.label)
                and _share(one, other)
                for other in found
            )

        return tuple(tracklet for tracklet in found if not is_doubtful(tracklet))

    def _strength(self, tracklet: Tracklet) -> float:
        """Return how much the auxiliary head sees in a finding's boxes, on average."""
        known = [seen for finding in tracklet.findings if (seen := self._seen(finding)) is not None]
        return sum(known) / len(known) if known else 0.0

    def _is_believed(self, finding: Finding) -> bool:
        """Tell whether the auxiliary head does not deny what a box shows."""
        threshold = self.calibration.box_threshold
        if threshold is None:
            return True
        seen = self._seen(finding)
        return seen is None or seen >= threshold

    def _seen(self, finding: Finding) -> float | None:
        """Return the auxiliary head's log-odds of a box; None where there is no head, or it does not know the label."""
        if self.maps is None:
            return None
        _, rows, columns = self.frames.pixels.shape
        return self.maps.on_box(finding.label, finding.frame_index, finding.box, (rows, columns))


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
