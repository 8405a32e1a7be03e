"""Our scores of one answer: read strictly, false positives counted, and what was not said never taken for a no.

Every output is read by the product's own parser (:mod:`worker.engine.parsing`) in the profile that the model was
asked in. What it cannot read is *unparsable*, what the model did not want to say is *unanswered*: both are counted
apart and have no scores.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from sacrebleu import sentence_bleu
from scipy.optimize import linear_sum_assignment

from benchmark.generator.wording import WORDS
from benchmark.items import Item, Level, Prediction, Task
from benchmark.metrics import match
from benchmark.scoring.published_text import rouge_l
from sgmri.findings import Finding, Tracklet, link
from sgmri.geometry import intersection_area
from sgmri.questions import Presence, Question, QuestionKind
from sgmri.vocabulary import FINDINGS
from worker.engine.parsing import Parsed, parse
from worker.engine.profiles import PromptProfile

SAME_LESION = 0.1
"""Overlap (IoU over all frames) from which on a predicted lesion is the true one."""

_KINDS: Mapping[Task, QuestionKind] = {
    Task.DETECTION: QuestionKind.DETECTION,
    Task.LOCALIZATION: QuestionKind.LOCALISATION,
    Task.COUNTING: QuestionKind.COUNTING,
    Task.CLASSIFICATION: QuestionKind.CLASSIFICATION,
    Task.DIAGNOSIS: QuestionKind.CLASSIFICATION,
    Task.CAPTIONING: QuestionKind.CAPTIONING,
}


class Outcome(StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    UNPARSABLE = "unparsable"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strict:
    """What one answer is worth.

    Parameters
    ----------
    outcome
        Whether there is an answer at all.
    scores
        Name of a score -> its value; empty without an answer.
    """

    outcome: Outcome
    scores: Mapping[str, float] = field(default_factory=dict)


def question_of(item: Item) -> Question:
    """Return an item's question in the product's words."""
    return Question(
        question_id=item.item_id,
        kind=_KINDS[item.task],
        text=item.question,
        labels=(item.label,) if item.label else (),
        options=item.options,
    )


def strict_score(item: Item, prediction: Prediction, profile: PromptProfile) -> Strict:
    """Score an answer strictly.

    Parameters
    ----------
    item
        With the truth.
    prediction
        What was said.
    profile
        The one that the model was asked in: what its numbers mean.
    """
    if prediction.error is not None or not prediction.text.strip():
        return Strict(outcome=Outcome.UNANSWERED)
    count = 1 if item.level is Level.IMAGE else len(item.frame_numbers)
    parsed = parse(prediction.text, question_of(item), profile, (item.rows, item.columns, count), anatomy=item.anatomy)
    match item.task:
        case Task.DETECTION:
            return _detection(item, parsed)
        case Task.COUNTING:
            return _counting(item, parsed)
        case Task.CLASSIFICATION | Task.DIAGNOSIS:
            return _choice(item, parsed)
        case Task.LOCALIZATION:
            return _localization(item, parsed)
        case Task.CAPTIONING:
            return _caption(item, parsed)


def _detection(item: Item, parsed: Parsed) -> Strict:
    if parsed.presence is None:
        return Strict(outcome=Outcome.UNPARSABLE)
    if parsed.presence is Presence.UNDETERMINED:
        return Strict(outcome=Outcome.UNANSWERED)
    right = (parsed.presence is Presence.PRESENT) == (item.answer == "Yes")
    return Strict(outcome=Outcome.ANSWERED, scores={"accuracy": float(right)})


def _counting(item: Item, parsed: Parsed) -> Strict:
    if parsed.count is None or item.count is None:
        return Strict(outcome=Outcome.UNPARSABLE)
    error = abs(parsed.count - item.count)
    return Strict(outcome=Outcome.ANSWERED, scores={"accuracy": float(error == 0), "count error": float(error)})


def _choice(item: Item, parsed: Parsed) -> Strict:
    if not parsed.chosen:
        return Strict(outcome=Outcome.UNPARSABLE)
    truth = {item.lettered_options[letter] for letter in item.letters}
    said = set(parsed.chosen)
    return Strict(
        outcome=Outcome.ANSWERED,
        scores={"accuracy": float(said == truth), "F1": 2 * len(said & truth) / (len(said) + len(truth))},
    )


_DENIES = re.compile(r"\A(?:there (?:is|are) )?(?:no|none|nothing)\b", re.IGNORECASE)


def _localization(item: Item, parsed: Parsed) -> Strict:
    if parsed.problems and not parsed.boxes and not (_DENIES.match(parsed.text) and len(parsed.problems) == 1):
        return Strict(outcome=Outcome.UNPARSABLE)
    said = _on_frames(item, parsed.boxes)
    truth = [box.finding for box in item.boxes]
    scores = {"V*": match(truth, said, labels=bool(item.label)).strict_v}
    if item.level is Level.VOLUME and truth:
        scores |= {
            "frame IoU": _frame_iou(truth, said),
            "key frame hit": float(_hits_key_frame(truth, said)),
            "lesion F1": lesion_f1(link(truth), link(said)),
        }
    return Strict(outcome=Outcome.ANSWERED, scores=scores)


def _on_frames(item: Item, boxes: Sequence[Finding]) -> list[Finding]:
    """Return boxes on the frames of the volume: of an image the model saw one frame, which it calls the first."""
    return [Finding(label=box.label, frame_index=item.frame_numbers[box.frame_index] - 1, box=box.box) for box in boxes]


def _frame_iou(truth: Sequence[Finding], said: Sequence[Finding]) -> float:
    """Return how well the frames with boxes agree, whatever the places."""
    real, claimed = ({finding.frame_index for finding in some} for some in (truth, said))
    return len(real & claimed) / len(real | claimed)


def _hits_key_frame(truth: Sequence[Finding], said: Sequence[Finding]) -> bool:
    """Tell whether a box overlaps a true one on the frame where the finding is largest."""
    areas: dict[int, float] = {}
    for finding in truth:
        areas[finding.frame_index] = areas.get(finding.frame_index, 0.0) + finding.box.area
    key = max(areas, key=lambda frame: (areas[frame], -frame))
    return any(
        real.frame_index == one.frame_index == key and intersection_area(real.box, one.box) > 0
        for real in truth
        for one in said
    )


def lesion_f1(truth: Sequence[Tracklet], said: Sequence[Tracklet]) -> float:
    """Return the F1 of lesions in space: matched one to one, from an overlap of :data:`SAME_LESION` on.

    Parameters
    ----------
    truth, said
        Lesions of one label; at least one of either.
    """
    table = np.array([[_overlap(real, one) for one in said] for real in truth]).reshape(len(truth), len(said))
    chosen = table[linear_sum_assignment(-table)]
    return float(2 * np.count_nonzero(chosen >= SAME_LESION) / (len(truth) + len(said)))


def _overlap(a: Tracklet, b: Tracklet) -> float:
    """Return the intersection over union of two lesions, in pixels of all frames."""
    others = {finding.frame_index: finding.box for finding in b.findings}
    shared = sum(
        intersection_area(finding.box, others[finding.frame_index])
        for finding in a.findings
        if finding.frame_index in others
    )
    return shared / (sum(f.box.area for f in (*a.findings, *b.findings)) - shared)


def _caption(item: Item, parsed: Parsed) -> Strict:
    if not parsed.text:
        return Strict(outcome=Outcome.UNPARSABLE)
    return Strict(
        outcome=Outcome.ANSWERED,
        scores={
            "entity F1": entity_f1(parsed.text, item.answer, item.labels),
            "ROUGE-L": rouge_l(parsed.text, item.answer),
            "BLEU": sentence_bleu(parsed.text, [item.answer], lowercase=True).score / 100,
        },
    )


_SIDES = re.compile(r"\b(left|right|bilateral|both sides|medial|lateral|anterior|posterior)\b")
_NAMED_FRAMES = re.compile(r"\bframes? ([0-9]+)(?: ?(?:-|–|to) ?([0-9]+))?")


def entity_f1(said: str, reference: str, labels: Sequence[str]) -> float:
    """Return how well two captions agree in findings, sides and frames that they name, 0 to 1.

    Parameters
    ----------
    said, reference
        The captions.
    labels
        What is there: a finding of the reference that the caption does not name costs, whatever its words.
    """
    claimed, wanted = _entities(said), _entities(reference) | set(labels)
    if not wanted and not claimed:
        return 1.0
    return 2 * len(claimed & wanted) / (len(claimed) + len(wanted))


def _entities(text: str) -> set[str]:
    lowered = text.lower()
    found = {_LABEL_OF[phrase] for phrase in _FINDINGS.findall(lowered)} | set(_SIDES.findall(lowered))
    for first, last in _NAMED_FRAMES.findall(lowered):
        found |= {f"frame {number}" for number in range(int(first), min(int(last or first), int(first) + 99) + 1)}
    return found


_LABEL_OF = {phrase.lower(): label for label in FINDINGS for phrase in (label, WORDS[label].noun)}
_FINDINGS = re.compile(
    # the longest first: an extra-axial mass is no mass
    rf"\b(?:{'|'.join(re.escape(phrase) for phrase in sorted(_LABEL_OF, key=len, reverse=True))})",
)
