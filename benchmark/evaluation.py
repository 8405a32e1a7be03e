"""The examination of an engine: volumes with known findings go in, scores with their intervals come out.

Through the engine's own door (:class:`sgmri.interfaces.Engine`), so that any engine can sit it. A question that is
not answered is wrong, whatever the reason; how often that happened stands beside the scores.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmark.heldout import Case
from benchmark.metrics import Interval, auroc, bootstrap, expected_calibration_error, match
from sgmri.catalogue import STANDARD
from sgmri.findings import Finding
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import Answer, Presence, Question, QuestionKind, Unanswered
from worker.engine.guard import guard

ANY = "any finding"
SLICE_BINS = ((8, 15), (16, 23), (24, 31), (32, 48))
"""Volumes are also scored by how many frames they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One yes/no question about one volume.

    Parameters
    ----------
    label
        What was asked for; :data:`ANY` for any.
    truth
        Whether it is there.
    said
        Present, absent or undetermined; None where the question was not answered.
    certainty
        As stated; None where none was.
    """

    label: str
    truth: bool
    said: str | None
    certainty: float | None

    @property
    def is_right(self) -> bool:
        """Whether the answer is the truth; no answer is wrong."""
        return self.said == (Presence.PRESENT if self.truth else Presence.ABSENT)

    @property
    def chance_of_yes(self) -> float:
        """Probability of yes as stated; one half where nothing was said."""
        if self.said == Presence.PRESENT:
            return 1.0 if self.certainty is None else self.certainty
        if self.said == Presence.ABSENT:
            return 0.0 if self.certainty is None else 1 - self.certainty
        return 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one volume showed of an engine.

    Parameters
    ----------
    name, slices, is_normal
        The volume.
    detections
        Every yes/no question that the engine knows the labels of.
    lesions_right, kinds_right
        Whether the counts were exact; None for a normal volume.
    v_by_label
        Label -> published V of its localisation, for labels that are there.
    strict_v, published_v
        Over all boxes of the volume; the published one is None for a normal volume.
    asked, unparsable, abstained
        Questions that were open; of these not parsed, and not answered for any reason but the engine's scope.
    seconds
        Of the reading.
    """

    name: str
    slices: int
    is_normal: bool
    detections: tuple[Detection, ...]
    lesions_right: bool | None
    kinds_right: bool | None
    v_by_label: Mapping[str, float] = field(default_factory=dict)
    strict_v: float
    published_v: float | None
    asked: int
    unparsable: int
    abstained: int
    seconds: float


def examine(
    engine: Engine,
    cases: Iterable[Case],
    labels: Sequence[str],
    progress: Callable[[Sample], None] = lambda sample: None,
) -> list[Sample]:
    """Put volumes to an engine.

    Parameters
    ----------
    engine
        Who is examined.
    cases
        The volumes.
    labels
        Findings that are examined; questions about none of them are left out.
    progress
        Told every volume.
    """
    samples = []
    for case in cases:
        questions = STANDARD[case.frames.anatomy]
        begin = time.perf_counter()
        answers = guard(engine.answer(case.frames, questions, ReadingControl()), case.frames, questions)
        sample = _sample(case, answers, labels, time.perf_counter() - begin)
        progress(sample)
        samples.append(sample)
    return samples


def _sample(case: Case, answers: Sequence[Answer], labels: Sequence[str], seconds: float) -> Sample:
    questions = STANDARD[case.frames.anatomy]
    given = {answer.question_id: answer for answer in answers}
    there = {tracklet.label for tracklet in case.truth}
    detections = [
        _detection(question, given.get(question.question_id), there)
        for question in questions.questions
        if question.kind is QuestionKind.DETECTION and question.concerns(labels)
    ]
    truth = [finding for tracklet in case.truth for finding in tracklet.findings]
    evidence = {tracklet.tracklet_id: tracklet for answer in answers for tracklet in answer.evidence}
    found = [finding for tracklet in evidence.values() for finding in tracklet.findings]
    everything = match(truth, found)
    area = case.frames.anatomy.value
    reasons = [answer.unanswered for answer in answers]
    return Sample(
        name=case.name,
        slices=case.slices,
        is_normal=not case.truth,
        detections=tuple(detections),
        lesions_right=_count_is(given.get(f"{area}.count.lesions"), len(case.truth)) if case.truth else None,
        kinds_right=_count_is(given.get(f"{area}.count.kinds"), len(there)) if case.truth else None,
        v_by_label={label: _published(case, given, label) for label in sorted(there)},
        strict_v=everything.strict_v,
        published_v=everything.published_v if truth else None,
        asked=len(answers),
        unparsable=sum(reason is Unanswered.UNPARSABLE for reason in reasons),
        abstained=sum(reason not in (None, Unanswered.OUTSIDE_ENGINE_SCOPE) for reason in reasons),
        seconds=seconds,
    )


def _detection(question: Question, answer: Answer | None, there: set[str]) -> Detection:
    present = bool(there & set(question.labels)) if question.labels else bool(there)
    presence = None if answer is None else answer.presence
    return Detection(
        label=question.labels[0] if question.labels else ANY,
        truth=present,
        said=None if presence is None else presence.value,
        certainty=None if answer is None else answer.certainty,
    )


def _count_is(answer: Answer | None, truth: int) -> bool:
    return answer is not None and answer.count == truth


def _published(case: Case, given: Mapping[str, Answer], label: str) -> float:
    """Return the published V of the localisation question about a label; 0 where it was not asked or answered."""
    questions = STANDARD[case.frames.anatomy].questions
    where = next(q for q in questions if q.kind is QuestionKind.LOCALISATION and label in q.labels)
    answer = given.get(where.question_id)
    found: list[Finding] = [] if answer is None else [f for t in answer.evidence for f in t.findings]
    truth = [finding for t in case.truth if t.label == label for finding in t.findings]
    return match(truth, found, labels=False).published_v


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The scores of some volumes, or of one label on all of them."""

    name: str
    volumes: int
    accuracy: Interval
    auroc: Interval
    ece: Interval
    lesions: Interval
    kinds: Interval
    published_v: Interval
    strict_v: Interval


def scores(name: str, samples: Sequence[Sample], *, label: str | None = None, rounds: int = 1000) -> Row:
    """Return the scores of some volumes.

    Parameters
    ----------
    name
        Of the row.
    samples
        Of :func:`examine`.
    label
        The one label that is scored; None: all of them, and counts and boxes too.
    rounds
        Of the bootstrap.
    """

    def interval(score: Callable[[Sequence[Sample]], float]) -> Interval:
        return bootstrap(lambda places: score([samples[place] for place in places]), len(samples), rounds=rounds)

    def detections(some: Sequence[Sample]) -> list[Detection]:
        return [one for sample in some for one in sample.detections if label in (None, one.label)]

    def boxes(some: Sequence[Sample]) -> list[float]:
        return [v for sample in some for name, v in sample.v_by_label.items() if label in (None, name)]

    def strict(some: Sequence[Sample]) -> list[float]:
        return [] if label is not None else [sample.strict_v for sample in some if not sample.is_normal]

    return Row(
        name=name,
        volumes=len(samples),
        accuracy=interval(lambda some: _mean([one.is_right for one in detections(some)])),
        auroc=interval(lambda some: _auroc(detections(some))),
        ece=interval(lambda some: _ece(detections(some))),
        lesions=interval(
            lambda some: _mean([] if label else [s.lesions_right for s in some if s.lesions_right is not None])
        ),
        kinds=interval(lambda some: _mean([] if label else [s.kinds_right for s in some if s.kinds_right is not None])),
        published_v=interval(lambda some: _mean(boxes(some))),
        strict_v=interval(lambda some: _mean(strict(some))),
    )


def _mean(values: Sequence[bool] | Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _auroc(detections: Sequence[Detection]) -> float:
    return auroc([one.chance_of_yes for one in detections], [one.truth for one in detections])


def _ece(detections: Sequence[Detection]) -> float:
    stated = [one for one in detections if one.certainty is not None]
    certainties: NDArray[np.float64] = np.array([one.certainty for one in stated], dtype=np.float64)
    return expected_calibration_error(certainties, [one.is_right for one in stated])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that an examination says of an engine.

    Parameters
    ----------
    engine
        Who sat it.
    overall, by_label, by_slices
        The scores.
    parse_rate
        Part of the open questions whose answer could be read.
    abstained
        Part of the open questions that were not answered, the engine's scope apart.
    strict_v_all
        Strict V of all volumes, normal ones counting 1 where nothing was found.
    seconds
        Median of a reading.
    """

    engine: str
    overall: Row
    by_label: tuple[Row, ...]
    by_slices: tuple[Row, ...]
    parse_rate: float
    abstained: float
    strict_v_all: Interval
    seconds: float


def report(engine: str, samples: Sequence[Sample], labels: Sequence[str], *, rounds: int = 1000) -> Report:
    """Return the scores of an examination, by label and by number of slices too."""
    asked = sum(sample.asked for sample in samples)
    known = [name for name in (ANY, *labels) if any(one.label == name for s in samples for one in s.detections)]
    return Report(
        engine=engine,
        overall=scores("all", samples, rounds=rounds),
        by_label=tuple(
            scores(name, [s for s in samples if any(d.label == name for d in s.detections)], label=name, rounds=rounds)
            for name in known
        ),
        by_slices=tuple(
            scores(f"{low}-{high} slices", [s for s in samples if low <= s.slices <= high], rounds=rounds)
            for low, high in SLICE_BINS
            if any(low <= s.slices <= high for s in samples)
        ),
        parse_rate=1 - sum(sample.unparsable for sample in samples) / max(1, asked),
        abstained=sum(sample.abstained for sample in samples) / max(1, asked),
        strict_v_all=bootstrap(
            lambda places: _mean([samples[place].strict_v for place in places]), len(samples), rounds=rounds
        ),
        seconds=float(np.median([sample.seconds for sample in samples])) if samples else float("nan"),
    )


_COLUMNS = ("accuracy", "auroc", "ece", "lesions", "kinds", "published_v", "strict_v")
_TITLES = ("detection acc.", "AUROC", "ECE", "lesions exact", "kinds exact", "published V", "strict V*")


def as_markdown(result: Report) -> str:
    """Return a report as a Markdown table: each score with its 95 % interval over volumes."""
    lines = [
        f"| {result.engine} | volumes | {' | '.join(_TITLES)} |",
        f"|---|---|{'---|' * len(_TITLES)}",
    ]
    for row in (result.overall, *result.by_label, *result.by_slices):
        cells = " | ".join(str(getattr(row, column)) for column in _COLUMNS)
        lines.append(f"| {row.name} | {row.volumes} | {cells} |")
    lines += [
        "",
        f"Parse rate {result.parse_rate:.1%}; not answered (scope apart) {result.abstained:.1%}; strict V* with normal "
        f"volumes {result.strict_v_all}; median {result.seconds:.2f} s a volume. Not answered counts as wrong.",
    ]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Report], **facts: object) -> str:
    """Return reports as JSON, numbers that cannot be told as null."""
    return (
        json.dumps(_plain({**facts, "reports": [asdict(result) for result in results]}), indent=1, allow_nan=False)
        + "\n"
    )


def _plain(value: object) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 5)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def abstains(engine: Engine, frames: Frames) -> bool:
    """Tell whether an engine says neither present nor absent of anything about a volume, and shows no box."""
    answers = engine.answer(frames, STANDARD[frames.anatomy], ReadingControl())
    decided = any(answer.presence in (Presence.PRESENT, Presence.ABSENT) for answer in answers)
    return not decided and not any(answer.evidence or answer.count is not None for answer in answers)
