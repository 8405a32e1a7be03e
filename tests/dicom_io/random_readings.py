"""Random readings of a phantom: every state of an answer, every label, text that is odd but legal."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from sgmri.catalogue import STANDARD
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Presence, Question, QuestionKind, Unanswered
from sgmri.readings import MeasuredAccuracy, Reading, ReportRef
from sgmri.vocabulary import FINDINGS

_WORDS = (
    *("Läsion, möglicherweise ödematös", "病変なし。", "뇌 병변", "очаг", "no lesion", "a\\b^c=d"),
    *("line\nline\r\nline\ttab", "\x00\x07\x1b[31m red \x7f", "\u2028\u00a0\ufeff", "\ud800", "  ", "🧠"),
    "Not assessed: the time limit was reached",
)
BY_HAND = Question(
    question_id="asked.0123456789abcdef.free-text", kind=QuestionKind.FREE_TEXT, text="Läuft es über <|im_start|>, 脳?"
)
_IDS = ("lesion", "Läsion", "病変", "a, b (score 0.50)", "lesion-1, lesion")
CHARACTER_SETS = ("ISO_IR 192", "ISO_IR 100", None)
"""Of a source: the last two cannot hold all that is said."""


def texts() -> st.SearchStrategy[str]:
    """Sentences in several scripts, control characters, lone surrogates, nothing, and 1,000 characters and more."""
    short = st.lists(st.sampled_from(_WORDS), max_size=3).map(" ".join)
    return short | st.text(max_size=20) | short.map(lambda text: f"{'Lang. ' * 170}{text}")


@st.composite
def _boxes(draw: st.DrawFn, reading: Reading) -> Box:
    """A box with edges on multiples of 1/64 pixel, which 32 bits hold exactly (FL)."""

    def edges(size: int) -> tuple[float, float]:
        low = draw(st.integers(0, size * 64 - 1))
        return low / 64, draw(st.integers(low + 1, size * 64)) / 64

    (x0, x1), (y0, y1) = edges(reading.columns), edges(reading.rows)
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


@st.composite
def _tracklets(draw: st.DrawFn, reading: Reading) -> tuple[Tracklet, ...]:
    labels = [label for label, concept in FINDINGS.items() if concept.anatomy is reading.anatomy]
    made = []
    for number in range(1, draw(st.integers(0, 4) | st.just(20)) + 1):
        label = draw(st.sampled_from(labels))
        indices = draw(st.sets(st.integers(0, len(reading.frames) - 1), min_size=1, max_size=4))
        findings = tuple(
            Finding(
                label=label,
                frame_index=index,
                box=draw(_boxes(reading)),
                score=draw(st.none() | st.floats(0, 1)),
                tracking_uid=draw(st.none() | st.just(f"2.25.{number}00{index}")),
            )
            for index in sorted(indices)
        )
        made.append(
            Tracklet(
                tracklet_id=f"{draw(st.sampled_from(_IDS))}-{number}",
                findings=findings,
                laterality=draw(st.none() | st.sampled_from(Laterality)),
                tracking_uid=draw(st.none() | st.just(f"2.25.{number}")),
            )
        )
    return tuple(made)


@st.composite
def _answers(draw: st.DrawFn, question: Question, known: tuple[Tracklet, ...]) -> Answer:
    """One answer that fits the question, resting on some of the tracklets where it may."""
    words: dict[str, Any] = {"text": draw(texts()), "reasoning": draw(texts())}
    kind = question.kind
    if draw(st.integers(0, 3)) == 0 or (kind is QuestionKind.LOCALISATION and not known):
        reason = draw(st.sampled_from(Unanswered))
        return Answer(question_id=question.question_id, kind=kind, unanswered=reason, **words)
    presence = draw(st.sampled_from(Presence)) if kind is QuestionKind.DETECTION else None
    options = st.lists(st.sampled_from(question.options or ("",)), min_size=1, max_size=3, unique=True)
    first = 1 if kind is QuestionKind.LOCALISATION else 0
    some = known[: draw(st.integers(first, len(known)))] if known else ()
    return Answer(
        question_id=question.question_id,
        kind=kind,
        presence=presence,
        count=draw(st.integers(0, 999)) if kind is QuestionKind.COUNTING else None,
        chosen=tuple(draw(options)) if kind is QuestionKind.CLASSIFICATION else (),
        evidence=() if presence in (Presence.ABSENT, Presence.UNDETERMINED) else some,
        certainty=draw(st.none() | st.floats(0, 1)),
        calibrated=draw(st.booleans()),
        **words,
    )


def _accuracies() -> st.SearchStrategy[tuple[MeasuredAccuracy, ...]]:
    part = st.floats(0, 1)
    return st.lists(
        st.builds(
            MeasuredAccuracy,
            kind=st.sampled_from(QuestionKind),
            measure=texts(),
            value=part,
            low=part,
            high=part,
            volumes=st.integers(1, 9999),
            source=texts(),
        ),
        max_size=3,
    ).map(tuple)


@st.composite
def readings(draw: st.DrawFn, plain: Reading) -> Reading:
    """A reading of the same series as ``plain``."""
    known = draw(_tracklets(plain))
    questions = (*STANDARD[plain.anatomy].questions, BY_HAND)
    asked = draw(st.lists(st.sampled_from(questions), unique=True, min_size=3))
    uids = st.integers(0, 9).map(lambda number: f"2.25.{number}")
    earlier = st.builds(ReportRef, sop_class_uid=uids, sop_instance_uid=uids, series_instance_uid=uids)
    return replace(
        plain,
        engine=replace(plain.engine, accuracy=draw(_accuracies())),
        answers=tuple(draw(_answers(question, known)) for question in asked),
        tracklets=known,
        is_lossy=draw(st.booleans()),
        anatomy_certainty=draw(st.none() | st.floats(0, 1)),
        predecessor=draw(st.none() | earlier),
        asked=tuple(question for question in asked if question is BY_HAND),
    )
