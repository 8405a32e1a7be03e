import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgmri.catalogue import STANDARD
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import NONE_OF_THESE, Answer, Presence, QuestionKind, Unanswered
from sgmri.volume import Anatomy
from tests.worker.engine.plain_frames import plain_frames
from worker.engine.guard import guard

_QUESTIONS = STANDARD[Anatomy.BRAIN]
_FRAMES = replace(plain_frames(np.zeros((4, 20, 30), np.uint8)), fat_suppressed=False)
_INSIDE = Box(x0=2, y0=3, x1=30, y1=20)


def _tracklet(
    name: str = "lesion-1",
    *,
    box: Box = _INSIDE,
    frame_index: int = 3,
    label: str = "Mass",
    score: float | None = None,
) -> Tracklet:
    return Tracklet(tracklet_id=name, findings=(Finding(label=label, frame_index=frame_index, box=box, score=score),))


def _reading(*evidence: Tracklet) -> dict[str, Answer]:
    """Return a reading without a flaw: a mass, found everywhere it was asked for."""
    evidence = evidence or (_tracklet(),)
    kind = QuestionKind
    answers = [
        Answer(question_id="brain.any", kind=kind.DETECTION, presence=Presence.PRESENT, evidence=evidence),
        Answer(question_id="brain.where.any", kind=kind.LOCALISATION, text="there", evidence=evidence),
        Answer(question_id="brain.screen.mass", kind=kind.DETECTION, presence=Presence.PRESENT, evidence=evidence),
        Answer(question_id="brain.where.mass", kind=kind.LOCALISATION, text="there", evidence=evidence),
        Answer(question_id="brain.count.lesions", kind=kind.COUNTING, count=len(evidence), evidence=evidence),
        Answer(question_id="brain.count.kinds", kind=kind.COUNTING, count=1),
        Answer(question_id="brain.which", kind=kind.CLASSIFICATION, chosen=("Mass",)),
        Answer(question_id="brain.summary", kind=kind.CAPTIONING, text="a mass"),
    ]
    named = {answer.question_id: answer for answer in answers}
    for question in _QUESTIONS.questions:
        if question.follows is None and question.question_id not in named:
            named[question.question_id] = Answer(
                question_id=question.question_id, kind=question.kind, presence=Presence.ABSENT
            )
    return named


def _guarded(answers: dict[str, Answer]) -> dict[str, Answer]:
    return {answer.question_id: answer for answer in guard(answers.values(), _FRAMES, _QUESTIONS)}


def _refusals(answers: dict[str, Answer]) -> dict[str, Unanswered]:
    """Return what the guard refused, with its reasons."""
    checked = _guarded(answers)
    for name, answer in checked.items():
        if answer.unanswered is None:
            assert answer == answers[name], f"{name} was changed"
    return {name: answer.unanswered for name, answer in checked.items() if answer.unanswered is not None}


def test_flawless_reading_passes(caplog: pytest.LogCaptureFixture) -> None:
    """A reading without a flaw comes out as it went in, in the order of the questions, and nothing is logged."""
    answers = _reading()
    with caplog.at_level(logging.WARNING):
        checked = guard(reversed(answers.values()), _FRAMES, _QUESTIONS)
    assert checked == _QUESTIONS.in_order(answers.values())
    assert not caplog.records


@pytest.mark.parametrize(
    "tracklet",
    [
        _tracklet(box=Box(x0=2, y0=3, x1=30.5, y1=20)),
        _tracklet(box=Box(x0=2, y0=3, x1=30, y1=21)),
        _tracklet(frame_index=4),
        _tracklet(score=1.5),
        _tracklet(score=-0.1),
        _tracklet(score=float("nan")),
        _tracklet(label="Meniscus Tear"),
        _tracklet(label="A thing without a code"),
    ],
    ids=["right", "below", "frame", "score", "negative score", "score nan", "knee label", "unknown label"],
)
def test_impossible_evidence(tracklet: Tracklet) -> None:
    """Evidence that cannot exist or be coded takes its answer with it, and a detection's follow-ups too."""
    answers = _reading()
    answers["brain.screen.mass"] = replace(answers["brain.screen.mass"], evidence=(tracklet,))
    assert _refusals(answers) == {
        "brain.screen.mass": Unanswered.UNPARSABLE,
        "brain.where.mass": Unanswered.UNPARSABLE,
    }


def test_wrong_kind() -> None:
    """An answer of another kind than the question's is no answer."""
    answers = _reading()
    answers["brain.summary"] = Answer(question_id="brain.summary", kind=QuestionKind.COUNTING, count=1)
    assert _refusals(answers) == {"brain.summary": Unanswered.UNPARSABLE}
    assert _guarded(answers)["brain.summary"].kind is QuestionKind.CAPTIONING


def test_answered_twice() -> None:
    """Two answers to one question are none."""
    answers = _reading()
    again = replace(answers["brain.summary"], text="no mass")
    checked = guard([*answers.values(), again], _FRAMES, _QUESTIONS)
    assert [a.question_id for a in checked if a.unanswered is Unanswered.UNPARSABLE] == ["brain.summary"]
    assert len(checked) == len(answers)


def test_left_out() -> None:
    """An open question without an answer is "not assessed", never left away; one that is not open stays away."""
    answers = _reading()
    del answers["brain.count.kinds"], answers["brain.screen.cyst"]
    assert _refusals(answers) == {
        "brain.count.kinds": Unanswered.UNPARSABLE,
        "brain.screen.cyst": Unanswered.UNPARSABLE,
    }
    assert "brain.where.cyst" not in _guarded(answers)


def test_stranger_is_dropped() -> None:
    """An answer to a question of no such set says nothing about this one."""
    answers = _reading()
    stray = Answer(question_id="knee.any", kind=QuestionKind.DETECTION, presence=Presence.ABSENT)
    assert guard([*answers.values(), stray], _FRAMES, _QUESTIONS) == _QUESTIONS.in_order(answers.values())


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        (("Mass",), None),
        (("Mass", "Lacunar infarct"), None),
        ((NONE_OF_THESE,), None),
        (("Edema",), Unanswered.UNPARSABLE),
        (("Mass", "Edema"), Unanswered.UNPARSABLE),
        (("Mass", "Mass"), Unanswered.UNPARSABLE),
        (("Mass", NONE_OF_THESE), Unanswered.CONTRADICTION),
    ],
)
def test_choices(chosen: tuple[str, ...], reason: Unanswered | None) -> None:
    """A choice lies within the options, and "none of these" stands alone."""
    answers = _reading()
    answers["brain.which"] = replace(answers["brain.which"], chosen=chosen)
    assert _refusals(answers).get("brain.which") is reason


@pytest.mark.parametrize(
    ("count", "shown", "reason"),
    [
        (1, 1, None),
        (2, 2, None),
        (3, 0, None),
        (2, 1, Unanswered.CONTRADICTION),
        (1, 2, Unanswered.CONTRADICTION),
        (0, 0, Unanswered.CONTRADICTION),
    ],
)
def test_count_of_lesions(count: int, shown: int, reason: Unanswered | None) -> None:
    """A count is the number of lesions shown, where any are; none of something present is a contradiction."""
    tracklets = tuple(_tracklet(f"lesion-{number}") for number in range(1, shown + 1))
    answers = _reading(*tracklets)
    answers["brain.count.lesions"] = replace(answers["brain.count.lesions"], count=count, evidence=tracklets)
    assert _refusals(answers).get("brain.count.lesions") is reason


def test_count_of_kinds_is_not_the_number_of_boxes() -> None:
    """Two lesions may be of one kind."""
    tracklets = (_tracklet("lesion-1"), _tracklet("lesion-2"))
    answers = _reading(*tracklets)
    answers["brain.count.kinds"] = replace(answers["brain.count.kinds"], evidence=tracklets)
    assert _refusals(answers) == {}


def test_one_id_for_two_things() -> None:
    """Every answer that rests on an ambiguous tracklet id falls, and the follow-ups of those; others stay."""
    answers = _reading()
    other = _tracklet("lesion-1", frame_index=0)
    answers["brain.where.mass"] = replace(answers["brain.where.mass"], evidence=(other,))
    refused = _refusals(answers)
    assert set(refused.values()) == {Unanswered.CONTRADICTION}
    # The mass was shown by five answers; two more only follow "any", which fell with them
    assert set(refused) == {
        "brain.any",
        "brain.where.any",
        "brain.screen.mass",
        "brain.where.mass",
        "brain.count.lesions",
        "brain.count.kinds",
        "brain.which",
    }


def test_same_tracklet_twice_in_one_answer() -> None:
    """One lesion listed twice is a contradiction of that answer only."""
    answers = _reading()
    twice = answers["brain.where.mass"].evidence * 2
    answers["brain.where.mass"] = replace(answers["brain.where.mass"], evidence=twice)
    assert _refusals(answers) == {"brain.where.mass": Unanswered.CONTRADICTION}


@pytest.mark.parametrize("presence", [Presence.ABSENT, Presence.UNDETERMINED])
def test_absent_yet_shown(presence: Presence) -> None:
    """A finding that is not there cannot be pointed at: neither answer stands, and neither becomes a negative."""
    answers = _reading()
    answers["brain.screen.mass"] = replace(answers["brain.screen.mass"], presence=presence, evidence=())
    assert _refusals(answers) == {
        "brain.screen.mass": Unanswered.CONTRADICTION,
        "brain.where.mass": Unanswered.CONTRADICTION,
    }


def test_follow_up_of_an_unanswered_question() -> None:
    """A follow-up falls with its question, for the same reason."""
    answers = _reading()
    answers["brain.screen.mass"] = Answer(
        question_id="brain.screen.mass", kind=QuestionKind.DETECTION, unanswered=Unanswered.LOW_QUALITY
    )
    assert _refusals(answers) == {
        "brain.screen.mass": Unanswered.LOW_QUALITY,
        "brain.where.mass": Unanswered.LOW_QUALITY,
    }


def test_nothing_abnormal_beside_a_finding() -> None:
    """The answer that nothing is abnormal is refused beside a mass; the mass stays."""
    answers = _reading()
    for name in ("brain.where.any", "brain.count.lesions", "brain.count.kinds", "brain.which"):
        del answers[name]
    answers["brain.any"] = replace(answers["brain.any"], presence=Presence.ABSENT, evidence=())
    assert _refusals(answers) == {"brain.any": Unanswered.CONTRADICTION}


def test_artefact_is_no_abnormality() -> None:
    """A volume with motion may be normal otherwise."""
    answers = {
        question.question_id: Answer(question_id=question.question_id, kind=question.kind, presence=Presence.ABSENT)
        for question in _QUESTIONS.questions
        if question.follows is None and question.kind is QuestionKind.DETECTION
    }
    answers["brain.quality"] = replace(answers["brain.quality"], presence=Presence.PRESENT)
    answers["brain.summary"] = Answer(question_id="brain.summary", kind=QuestionKind.CAPTIONING, text="motion")
    assert _refusals(answers) == {}


def test_reasons_of_the_engine_are_kept() -> None:
    """What the engine itself left unanswered keeps the engine's reason."""
    answers = _reading()
    answers["brain.which"] = Answer(
        question_id="brain.which", kind=QuestionKind.CLASSIFICATION, unanswered=Unanswered.OUTSIDE_ENGINE_SCOPE
    )
    assert _refusals(answers) == {"brain.which": Unanswered.OUTSIDE_ENGINE_SCOPE}


def test_refusals_are_logged_without_text(caplog: pytest.LogCaptureFixture) -> None:
    """The log says how many answers were refused, and nothing that a model wrote."""
    answers = _reading()
    answers["brain.count.lesions"] = replace(answers["brain.count.lesions"], count=9, text="nine of them")
    with caplog.at_level(logging.WARNING):
        guard(answers.values(), _FRAMES, _QUESTIONS)
    (record,) = caplog.records
    assert record.getMessage() == f"guard refused 1 of {len(answers)} answers"


_BOXES = st.tuples(st.floats(0, 40), st.floats(0, 40), st.floats(0.1, 20), st.floats(0.1, 20)).map(
    lambda edges: Box(x0=edges[0], y0=edges[1], x1=edges[0] + edges[2], y1=edges[1] + edges[3])
)
_TRACKLETS = st.builds(
    _tracklet,
    st.sampled_from(["lesion-1", "lesion-2"]),
    box=_BOXES,
    frame_index=st.integers(0, 5),
    label=st.sampled_from(["Mass", "Edema", "artifact"]),
)


@settings(max_examples=200)
@given(st.data())
def test_guarded_twice_is_guarded_once(data: st.DataObject) -> None:
    """Whatever an engine says, the guard does not raise, invents no value, and finds nothing more the second time."""
    answers = []
    for question in data.draw(st.lists(st.sampled_from(_QUESTIONS.questions), max_size=20)):
        evidence = tuple(data.draw(st.lists(_TRACKLETS, max_size=2)))
        name, kind = question.question_id, question.kind
        if kind is QuestionKind.DETECTION:
            presence = data.draw(st.sampled_from(Presence))
            evidence = evidence if presence is Presence.PRESENT else ()
            answers.append(Answer(question_id=name, kind=kind, presence=presence, evidence=evidence))
        elif kind is QuestionKind.COUNTING:
            answers.append(Answer(question_id=name, kind=kind, count=data.draw(st.integers(0, 3)), evidence=evidence))
        elif kind is QuestionKind.CLASSIFICATION:
            answers.append(Answer(question_id=name, kind=kind, chosen=("Mass",), evidence=evidence))
        elif kind is QuestionKind.CAPTIONING or evidence:
            answers.append(Answer(question_id=name, kind=kind, text="text", evidence=evidence))
    once = guard(answers, _FRAMES, _QUESTIONS)
    assert guard(once, _FRAMES, _QUESTIONS) == once
    assert all(answer.unanswered is not None or answer in answers for answer in once)
    known: dict[str, Tracklet] = {}
    for answer in once:
        for tracklet in answer.evidence:
            assert known.setdefault(tracklet.tracklet_id, tracklet) == tracklet
            assert all(f.box.lies_within(20, 30) and f.frame_index < 4 for f in tracklet.findings)
