"""The examination, with engines whose answers are known: a perfect one, one that denies all, one that affirms all."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmark.evaluation import ANY, Report, abstains, as_json, as_markdown, examine, report
from benchmark.heldout import CALIBRATION_SEED, FIRST_SEED, Case, strangers, volumes
from benchmark.training.examples import LABELS
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, QuestionSet
from sgmri.readings import EngineIdentity
from sgmri.volume import Anatomy
from tests.worker.engine.scripted import NO, Pixels, Script, card, frames
from worker.engine.calibration import Calibration
from worker.engine.conversation import Ask
from worker.engine.grounded import Card, GroundedEngine

_CARD = replace(card(*LABELS), calibration=Calibration())


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return list(volumes(6, seed=77, backgrounds=False))


class Knowing:
    """An engine that reads each volume as a script that is made for it says."""

    def __init__(self, cases: Sequence[Case], *, blind: bool = False, card: Card = _CARD) -> None:
        self._cases = {id(case.frames): case for case in cases}
        self._blind = blind
        self._card = card

    def describe(self) -> EngineIdentity:
        return self._card.identity

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        places: dict[str, dict[int, list[Pixels]]] = {}
        for tracklet in () if self._blind else self._cases[id(frames)].truth:
            for finding in tracklet.findings:
                x0, y0, x1, y1 = (round(edge) for edge in finding.box.as_tuple())
                places.setdefault(tracklet.label, {}).setdefault(finding.frame_index, []).append((x0, y0, x1, y1))
        script = _Scaled(places=places)
        return GroundedEngine(script, self._card).answer(frames, questions, control)

    def close(self) -> None:
        pass


class _Scaled(Script):
    """Writes boxes for frames of any size."""

    def open(self, frames: Frames, control: ReadingControl):  # type: ignore[no-untyped-def]
        talk = super().open(frames, control)
        _, rows, columns = frames.pixels.shape

        def said(ask: Ask) -> object:
            if ask.frame_index is None:
                return None
            label = ask.question.labels[0]
            boxes = [
                {
                    "frame": 1,
                    "label": label,
                    "bbox": [x0 / columns * 1000, y0 / rows * 1000, x1 / columns * 1000, y1 / rows * 1000],
                }
                for x0, y0, x1, y1 in self.places.get(label, {}).get(ask.frame_index, ())
            ]
            return json.dumps({"answer": "here", "reasoning": "", "bboxes": boxes})

        self.say_rule = said
        return talk


def _report(cases: list[Case], **changes: object) -> Report:
    engine = Knowing(cases, **changes)  # type: ignore[arg-type]  # options of the engine
    return report("engine", examine(engine, cases, LABELS), LABELS, rounds=100)


def test_half_are_normal_and_a_third_are_knees(cases: list[Case]) -> None:
    """Volumes come as promised, from 8 to 48 slices, with boxes on their frames, and findings where abnormal."""
    assert [bool(case.truth) for case in cases] == [False, True] * 3
    assert sum(case.frames.anatomy is Anatomy.KNEE for case in cases) == 2
    for case in cases:
        _, rows, columns = case.frames.pixels.shape
        assert 8 <= case.slices <= 48
        for tracklet in case.truth:
            assert all(finding.box.lies_within(rows, columns) for finding in tracklet.findings)
            assert max(tracklet.frame_indices) < case.slices


def test_the_seeds_of_training_calibration_and_examination_are_apart() -> None:
    """Nothing that is trained on, or calibrated on, is examined."""
    from benchmark.training.seal import GOLDEN_SEED

    assert 10_000 * 20 < CALIBRATION_SEED < GOLDEN_SEED < FIRST_SEED
    assert next(volumes(1, seed=1, backgrounds=False)).name != next(volumes(1, seed=2, backgrounds=False)).name


def test_a_perfect_engine_scores_full(cases: list[Case]) -> None:
    """What is planted, said as planted: every score is full, and nothing is unanswered but what is out of scope."""
    result = _report(cases)
    assert result.overall.accuracy.value == 1.0
    assert result.overall.auroc.value == 1.0
    assert result.overall.published_v.value > 0.97  # boxes are written in thousandths
    assert result.overall.strict_v.value > 0.9  # two findings of a label may be linked to one
    assert result.overall.kinds.value == 1.0
    assert result.overall.lesions.value >= 0.8
    assert result.overall.ece.value == pytest.approx(0.02, abs=0.005)
    assert result.parse_rate == 1.0


def test_an_engine_that_denies_everything_scores_what_is_normal(cases: list[Case]) -> None:
    """Always "no" is right for what is not there, finds no box, counts nothing, and ranks at chance."""
    result = _report(cases, blind=True)
    rows = {row.name: row for row in result.by_label}
    assert rows[ANY].accuracy.value == 0.5
    assert result.overall.auroc.value == 0.5
    assert result.overall.published_v.value == result.overall.strict_v.value == 0.0
    assert result.overall.lesions.value == 0.0
    assert result.strict_v_all.value == 0.5


def test_no_answer_is_wrong_and_counted(cases: list[Case]) -> None:
    """An engine that abstains from everything is right about nothing, and the report says how often."""
    silent = replace(_CARD, calibration=Calibration(planes={"brain": ("none",), "knee": ("none",)}))
    result = _report(cases, card=silent)
    assert result.overall.accuracy.value == 0.0
    assert math.isnan(result.overall.ece.value)
    assert result.abstained == 0.0  # out of scope is no abstention


def test_the_report_can_be_read(cases: list[Case]) -> None:
    """The table has a row for each label and bin that occur; the JSON has no NaN in it."""
    result = _report(cases)
    text = as_markdown(result)
    assert "| all | 6 |" in text
    assert any(line.startswith("| Joint Effusion |") for line in text.splitlines())
    assert "slices |" in text
    document = json.loads(as_json([result], seed=77), parse_constant=lambda name: pytest.fail(name))
    assert document["seed"] == 77
    assert document["reports"][0]["overall"]["accuracy"]["value"] == 1.0


def test_abstaining_is_saying_nothing() -> None:
    """A reading whose scope fails abstains; one that denies everything does not."""
    unknown = Script(weigh_rule=lambda ask: NO if "volume of the" in ask.question.text else None)
    engine = GroundedEngine(unknown, card())
    assert abstains(engine, frames())
    assert not abstains(GroundedEngine(Script(), card()), frames())


def test_strangers_are_called_what_they_are_not() -> None:
    """Volumes of known and of new kinds, each with its name and no truth."""
    for held_out in (False, True):
        found = list(strangers(4, seed=1, held_out=held_out))
        assert len({case.stranger for case in found}) > 2
        assert not any(case.truth for case in found)
