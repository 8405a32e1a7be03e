"""Ways in which a model can contradict itself: each is planted into an otherwise faultless reading, and none stands."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from sgmri.catalogue import STANDARD
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.interfaces import ReadingControl
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind, Unanswered
from sgmri.volume import Anatomy
from tests.worker.engine.scripted import LACUNE, NO, PROFILE, WHITE_MATTER, YES, Script, answer, card, frames, where
from worker.engine.conversation import Ask
from worker.engine.grounded import GroundedEngine
from worker.engine.guard import guard, refuse_wrong_sides
from worker.engine.parsing import parse, to_answer

_BRAIN = STANDARD[Anatomy.BRAIN]
_FRAMES = frames()
_PLACES = {WHITE_MATTER: {2: [(40, 60, 52, 70)], 3: [(41, 60, 54, 71)]}, LACUNE: {5: [(100, 90, 110, 99)]}}
_REFUSED = (Unanswered.CONTRADICTION, Unanswered.UNPARSABLE)


def _reading(script: Script) -> dict[str, Answer]:
    given = GroundedEngine(script, card()).answer(_FRAMES, _BRAIN, ReadingControl())
    return {one.question_id: one for one in guard(given, _FRAMES, _BRAIN)}


def _with(name: str, **changes: object) -> Answer:
    """Return what the guard leaves of a faultless reading in which one answer was changed."""
    good = _reading(Script(places=_PLACES))
    wrong = replace(good[name], **changes)  # type: ignore[arg-type]  # fields of an answer
    return next(a for a in guard((good | {name: wrong}).values(), _FRAMES, _BRAIN) if a.question_id == name)


def _spoken(text: str, kind: QuestionKind = QuestionKind.DETECTION) -> Answer:
    question = Question(question_id="q", kind=kind, text="?", labels=(WHITE_MATTER,), options=("Mass", "Edema"))
    count, rows, columns = _FRAMES.pixels.shape
    return to_answer(parse(text, question, PROFILE, (rows, columns, count), anatomy=Anatomy.BRAIN), question, "t")


def _shifting(ask: Ask) -> object:
    """Prefer whatever is listed first."""
    if ask.question.kind is QuestionKind.CLASSIFICATION:
        return tuple(-0.1 if place == 0 else -5.0 for place in range(len(ask.question.options)))
    return None


def _one_sided(side: str) -> Answer:
    box = Finding(label=WHITE_MATTER, frame_index=1, box=Box(x0=1, y0=1, x1=9, y1=9))
    lesion = Tracklet(tracklet_id="t-1", findings=(box,), laterality=Laterality.RIGHT)
    said = Answer(
        question_id="q",
        kind=QuestionKind.LOCALISATION,
        text=f"In the {side} frontal lobe.",
        evidence=(lesion,),
    )
    return refuse_wrong_sides([said])[0]


def _negative_with_box() -> Answer:
    return _spoken(answer("No", boxes=[{"frame": 2, "label": WHITE_MATTER, "bbox": [1, 1, 99, 99]}]))


def _yes_and_no() -> Answer:
    return _spoken(answer("Yes. No."))


def _frame_out_of_range() -> Answer:
    return _spoken(
        answer("here", boxes=[{"frame": 9, "label": WHITE_MATTER, "bbox": [1, 1, 99, 99]}]), QuestionKind.LOCALISATION
    )


def _box_outside_its_frame() -> Answer:
    return _spoken(
        answer("here", boxes=[{"frame": 1, "label": WHITE_MATTER, "bbox": [900, 1, 1400, 99]}]),
        QuestionKind.LOCALISATION,
    )


def _box_of_another_finding() -> Answer:
    return _spoken(
        answer("here", boxes=[{"frame": 1, "label": LACUNE, "bbox": [1, 1, 99, 99]}]), QuestionKind.LOCALISATION
    )


def _count_against_boxes() -> Answer:
    return _with("brain.count.lesions", count=3)


def _none_of_something() -> Answer:
    return _with("brain.count.lesions", count=0, evidence=())


def _side_against_orientation() -> Answer:
    return _one_sided("left")


def _volume_yes_frames_no() -> Answer:
    rule = _BRAIN["brain.screen.mass"]
    return _reading(Script(places=_PLACES, weigh_rule=lambda ask: YES if ask.question == rule else None))[
        "brain.screen.mass"
    ]


def _seen_but_nowhere() -> Answer:
    script = Script(
        places=_PLACES,
        say_rule=lambda ask: where(LACUNE, []) if ask.question.labels == (LACUNE,) else None,
    )
    return _reading(script)["brain.screen.lacunar-infarct"]


def _order_decides() -> Answer:
    return _reading(Script(places=_PLACES, weigh_rule=_shifting))["brain.which"]


def _class_of_nothing_found() -> Answer:
    return _reading(
        Script(
            places={LACUNE: _PLACES[LACUNE]},
            weigh_rule=lambda ask: (
                tuple(-0.1 if option == "Mass" else -5.0 for option in ask.question.options)
                if ask.question.options
                else None
            ),
        )
    )["brain.which"]


def _none_beside_another() -> Answer:
    return _with("brain.which", chosen=(WHITE_MATTER, NONE_OF_THESE))


def _nothing_abnormal_beside_a_finding() -> Answer:
    rule = _BRAIN["brain.any"]
    return _reading(Script(places=_PLACES, weigh_rule=lambda ask: NO if ask.question == rule else None))["brain.any"]


def _summary_of_other_frames() -> Answer:
    told = answer(f"{WHITE_MATTER} on Frames 3-8. {LACUNE} on Frame 6.")
    return _reading(Script(places=_PLACES, say_rule=_summary(told)))["brain.summary"]


def _summary_of_another_finding() -> Answer:
    told = answer(f"{WHITE_MATTER}, {LACUNE} and Mass.")
    return _reading(Script(places=_PLACES, say_rule=_summary(told)))["brain.summary"]


def _summary_of_nothing() -> Answer:
    return _reading(Script(places=_PLACES, say_rule=_summary(answer("No finding is seen."))))["brain.summary"]


def _one_name_for_two_places() -> Answer:
    good = _reading(Script(places=_PLACES))["brain.where.lacunar-infarct"]
    stolen = replace(good.evidence[0], tracklet_id="finding-1")
    return _with("brain.where.lacunar-infarct", evidence=(stolen,))


def _follow_up_of_a_negative() -> Answer:
    return _with("brain.screen.white-matter", presence=Presence.ABSENT, evidence=(), text="")


def _summary(told: str) -> Callable[[Ask], object]:
    return lambda ask: told if ask.question.kind is QuestionKind.CAPTIONING else None


@dataclass(frozen=True)
class _Planted:
    make: Callable[[], Answer]

    def __str__(self) -> str:
        return self.make.__name__.strip("_")


_PLANTED = [
    _Planted(make)
    for make in (
        _negative_with_box,
        _yes_and_no,
        _frame_out_of_range,
        _box_outside_its_frame,
        _box_of_another_finding,
        _count_against_boxes,
        _none_of_something,
        _side_against_orientation,
        _volume_yes_frames_no,
        _seen_but_nowhere,
        _order_decides,
        _class_of_nothing_found,
        _none_beside_another,
        _nothing_abnormal_beside_a_finding,
        _summary_of_other_frames,
        _summary_of_another_finding,
        _summary_of_nothing,
        _one_name_for_two_places,
        _follow_up_of_a_negative,
    )
]


def test_the_reading_that_they_are_planted_into_has_no_fault() -> None:
    """Without a planted contradiction every question within scope is answered: nothing below is refused by accident."""
    unanswered = {a.unanswered for a in _reading(Script(places=_PLACES)).values() if a.unanswered is not None}
    assert unanswered == {Unanswered.OUTSIDE_ENGINE_SCOPE}
    assert _one_sided("right").unanswered is None
    assert _spoken(where(WHITE_MATTER, [(1, 1, 9, 9)]), QuestionKind.LOCALISATION).evidence


@pytest.mark.parametrize("planted", _PLANTED, ids=str)
def test_a_contradiction_does_not_stand(planted: _Planted) -> None:
    """Each contradiction leads to an unanswered question with a coded reason; none to a value, none to a negative."""
    left = planted.make()
    assert left.unanswered in _REFUSED
    assert (left.presence, left.count, left.chosen, left.evidence) == (None, None, (), ())
