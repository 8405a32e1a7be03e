from dataclasses import replace

import pytest

from sgmri.catalogue import STANDARD
from sgmri.errors import EngineUnavailable
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, Presence, QuestionKind, Unanswered
from sgmri.volume import Anatomy, Plane
from tests.worker.engine.scripted import LACUNE, MASS, NO, UNSURE, WHITE_MATTER, YES, Script, card, frames
from worker.engine.calibration import Calibration
from worker.engine.controls import absent_by_design, scope
from worker.engine.grounded import GroundedEngine
from worker.engine.guard import guard

_BRAIN = STANDARD[Anatomy.BRAIN]
_SPOT = (40, 60, 52, 70)
_PLACES = {WHITE_MATTER: {2: [_SPOT], 3: [(41, 60, 54, 71)]}, LACUNE: {5: [(100, 90, 110, 99)]}}


def _read(script: Script, shown: Frames | None = None, **changes: object) -> dict[str, Answer]:
    shown = shown or frames()
    engine = GroundedEngine(script, replace(card(), **changes))  # type: ignore[arg-type]  # fields of a card
    questions = STANDARD[shown.anatomy]
    answers = engine.answer(shown, questions, ReadingControl())
    assert guard(answers, shown, questions) == answers  # nothing is left for the last check to refuse
    return {answer.question_id: answer for answer in answers}


def test_a_normal_volume_takes_one_pass() -> None:
    """Nothing affirmed: every known finding is absent with its certainty, and no frame is looked at alone."""
    script = Script()
    answers = _read(script)
    for name in ("brain.any", "brain.screen.white-matter", "brain.screen.lacunar-infarct", "brain.screen.mass"):
        assert answers[name].presence is Presence.ABSENT
        assert answers[name].certainty == pytest.approx(0.98)
    assert answers["brain.screen.dura"].unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE
    assert not any(ask.frame_index is not None for ask in (*script.weighed, *script.said))
    assert [ask.question.kind for ask in script.said] == [QuestionKind.CAPTIONING]
    assert (script.opened, script.closed) == (1, 1)


def test_findings_are_named_placed_and_counted() -> None:
    """Boxes lie on the frames that were asked alone, in pixels; counts, kinds, class and summary follow from them."""
    answers = _read(Script(places=_PLACES))
    assert answers["brain.any"].presence is Presence.PRESENT
    assert answers["brain.screen.white-matter"].presence is Presence.PRESENT
    assert answers["brain.screen.mass"].presence is Presence.ABSENT
    (lesion,) = answers["brain.where.white-matter"].evidence
    assert [(f.frame_index, f.box.as_tuple()) for f in lesion.findings] == [(2, _SPOT), (3, (41, 60, 54, 71))]
    assert {finding.score for finding in lesion.findings} == {0.98}
    assert answers["brain.count.lesions"].count == 2
    assert answers["brain.count.kinds"].count == 2
    assert answers["brain.which"].chosen == (WHITE_MATTER,)
    assert "Frames 3-4" in answers["brain.summary"].text
    assert answers["brain.summary"].evidence == answers["brain.where.any"].evidence
    assert not answers["brain.any"].calibrated


def test_controls_are_asked_first_and_never_shown() -> None:
    """Scope and impossible findings are weighed with the first pass and are no answers."""
    script = Script()
    answers = _read(script)
    asked = [ask.question for ask in script.weighed]
    assert asked[0] == scope(Anatomy.BRAIN)
    assert set(absent_by_design(Anatomy.BRAIN)) <= set(asked)
    assert not any(name.startswith(("control", "knee")) for name in answers)


@pytest.mark.parametrize(("threshold", "is_read"), [(3.0, True), (5.0, False)])
def test_an_organ_that_is_hardly_recognised_is_not_read(threshold: float, is_read: bool) -> None:
    """The script recognises it with log-odds 3.9: less than the calibration asks for is unfamiliar."""
    answers = _read(Script(places=_PLACES), calibration=Calibration(scope_threshold=threshold))
    reasons = {answer.unanswered for answer in answers.values()}
    assert (reasons == {Unanswered.UNFAMILIAR}) is not is_read


@pytest.mark.parametrize(
    ("denied", "affirmed", "reason"),
    [
        (scope(Anatomy.BRAIN), None, Unanswered.UNFAMILIAR),
        (None, scope(Anatomy.KNEE), Unanswered.UNFAMILIAR),
        (None, absent_by_design(Anatomy.BRAIN)[1], Unanswered.CONTROL_FAILED),
        (None, absent_by_design(Anatomy.BRAIN)[2], Unanswered.CONTROL_FAILED),
    ],
)
def test_a_failed_control_silences_the_reading(denied: object, affirmed: object, reason: Unanswered) -> None:
    """An unknown organ, or an affirmed impossibility: no question has an answer, and all say why."""
    rule = {denied: NO, affirmed: YES}
    script = Script(places=_PLACES, weigh_rule=lambda ask: rule.get(ask.question))
    answers = _read(script)
    assert {answer.unanswered for answer in answers.values()} == {reason}
    assert not script.said


def test_a_control_without_a_plain_word_silences_too() -> None:
    """Where the model would say something else than yes or no to a control, it is not taken for the right answer."""
    script = Script(weigh_rule=lambda ask: ... if ask.question == scope(Anatomy.BRAIN) else None)
    assert {answer.unanswered for answer in _read(script).values()} == {Unanswered.UNFAMILIAR}


def test_weights_without_scope_are_not_asked_for_it() -> None:
    """A model that was never taught to tell organs apart still has to deny the impossible findings."""
    script = Script()
    _read(script, calibration=Calibration())
    asked = [ask.question for ask in script.weighed]
    assert scope(Anatomy.BRAIN) not in asked
    assert sum(question in asked for question in absent_by_design(Anatomy.BRAIN)) == 2


def test_other_planes_and_sets_are_out_of_scope() -> None:
    """A plane that was not taught, and a set of the same id with other questions, are refused unseen."""
    script = Script(places=_PLACES)
    answers = _read(script, frames(plane=Plane.SAGITTAL))
    assert {answer.unanswered for answer in answers.values()} == {Unanswered.OUTSIDE_ENGINE_SCOPE}
    changed = replace(_BRAIN, questions=tuple(replace(q, text=q.text + "?") for q in _BRAIN.questions))
    given = GroundedEngine(script, card()).answer(frames(), changed, ReadingControl())
    assert {answer.unanswered for answer in given} == {Unanswered.OUTSIDE_ENGINE_SCOPE}
    assert script.opened == 0


def test_an_unplain_answer_is_no_negative() -> None:
    """A detection on which the model says neither yes nor no is "no valid answer"."""
    rule = _BRAIN["brain.screen.mass"]
    answers = _read(Script(weigh_rule=lambda ask: ... if ask.question == rule else None))
    assert answers["brain.screen.mass"].unanswered is Unanswered.UNPARSABLE


def test_an_undecided_volume_is_looked_at_frame_by_frame() -> None:
    """Between the thresholds, frames decide: seen is present without a certainty, unseen stays undetermined."""
    rule = {_BRAIN["brain.screen.white-matter"]: UNSURE, _BRAIN["brain.screen.mass"]: UNSURE}
    calibration = Calibration(scope_threshold=0.0, undecided=0.1)
    script = Script(places={WHITE_MATTER: {2: [_SPOT]}}, weigh_rule=lambda ask: rule.get(ask.question))
    answers = _read(script, calibration=calibration)
    assert answers["brain.screen.white-matter"].presence is Presence.PRESENT
    assert answers["brain.screen.white-matter"].certainty is None
    assert answers["brain.screen.mass"].presence is Presence.UNDETERMINED
    assert answers["brain.count.lesions"].unanswered is Unanswered.CONTRADICTION  # what is open cannot be counted


def test_an_artefact_makes_no_finding_absent() -> None:
    """Where the images are limited, what is not seen is not assessed; what is seen stays."""
    quality = _BRAIN["brain.quality"]
    script = Script(places=_PLACES, weigh_rule=lambda ask: YES if ask.question == quality else None)
    answers = _read(script)
    assert answers["brain.quality"].presence is Presence.PRESENT
    assert not answers["brain.quality"].evidence
    assert answers["brain.screen.mass"].unanswered is Unanswered.LOW_QUALITY
    assert answers["brain.screen.white-matter"].presence is Presence.PRESENT


def test_a_cancelled_reading_ends_and_releases() -> None:
    """Cancelling before or in the middle is a transient error, and the volume is let go."""
    script = Script(places=_PLACES)
    engine = GroundedEngine(script, card())
    with pytest.raises(EngineUnavailable):
        engine.answer(frames(), _BRAIN, ReadingControl(is_cancelled=lambda: True))
    assert script.opened == 0
    rounds = iter(range(9))
    with pytest.raises(EngineUnavailable):
        engine.answer(frames(), _BRAIN, ReadingControl(is_cancelled=lambda: next(rounds) >= 1))
    assert (script.opened, script.closed) == (1, 1)


def test_time_that_runs_out_is_said() -> None:
    """What was not reached in time is "time limit reached", never absent, and what was decided stays."""
    clock = {"left": 10.0}

    def stop(ask: object) -> object:
        clock["left"] = 0.0
        return ...

    script = Script(places=_PLACES, say_rule=stop)
    engine = GroundedEngine(script, card())
    given = engine.answer(frames(), _BRAIN, ReadingControl(remaining_s=lambda: clock["left"]))
    answers = {answer.question_id: answer for answer in given}
    assert answers["brain.screen.white-matter"].unanswered is Unanswered.DEADLINE
    assert answers["brain.screen.mass"].presence is Presence.ABSENT
    assert answers["brain.summary"].unanswered is Unanswered.DEADLINE
    none = engine.answer(frames(), _BRAIN, ReadingControl(remaining_s=lambda: 0.0))
    assert {answer.unanswered for answer in none} == {Unanswered.DEADLINE}


def test_calibration_changes_certainty_and_verdict() -> None:
    """A label's line scales its odds and marks the certainty as calibrated; a shift can turn the verdict."""
    from worker.engine.calibration import Line

    lines = {MASS: Line(temperature=2.0), LACUNE: Line(temperature=1.0, shift=9.0)}
    answers = _read(Script(), calibration=Calibration(scope_threshold=0.0, lines=lines))
    mass = answers["brain.screen.mass"]
    assert mass.calibrated
    assert mass.certainty == pytest.approx(1 / (1 + (0.02 / 0.98) ** 0.5))
    # Said to be there by the shifted odds, seen on no frame: two passes that disagree
    assert answers["brain.screen.lacunar-infarct"].unanswered is Unanswered.CONTRADICTION


def test_close_reaches_the_model() -> None:
    """Closing the engine closes what it speaks with."""
    script = Script()
    GroundedEngine(script, card()).close()
    assert script.closed == 1
