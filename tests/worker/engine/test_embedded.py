"""The model that comes with the product: whole, small, honest about itself, and right about the demonstration."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import heldout
from benchmark.evaluation import abstains
from conformance.phantoms import Phantom, make, write
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.errors import EngineError, EngineUnavailable
from sgmri.geometry import iou
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, Presence, QuestionKind, Unanswered
from worker.engine.bundle import Bundle, load
from worker.engine.conversation import Ask
from worker.engine.grounded import GroundedEngine
from worker.engine.loading import load_engine
from worker.engine.local import Device, LocalConversation, LocalSpeaker
from worker.engine.places import embedded_bundle
from worker.pipeline import load_frames

_CONTROL = ReadingControl()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(embedded_bundle())


@pytest.fixture(scope="module")
def loaded(bundle: Bundle) -> Iterator[tuple[GroundedEngine, LocalSpeaker]]:
    engine, speaker = load_engine(bundle, Device())
    yield engine, speaker
    engine.close()


def _frames(phantom: Phantom, directory: Path) -> Frames:
    return load_frames(list(write(phantom, directory)))


def test_it_is_small_and_says_what_it_is(bundle: Bundle) -> None:
    """At most 30 MB; every part that a bundle may have; the sentence, and that it knows synthetic lesions only."""
    assert bundle.size_bytes <= 30_000_000
    expected = {"encoder.onnx", "calibration.json", "golden.npz", "eval.json", "MODEL_CARD.md", "auxiliary.safetensors"}
    assert expected <= set(bundle.files)
    for text in (bundle.manifest.intended_use, bundle.path("MODEL_CARD.md").read_text(encoding="utf-8")):
        assert RESEARCH_USE_STATEMENT in text
        assert "synthetic lesions" in text


def test_its_card_has_the_numbers_of_its_examination(bundle: Bundle) -> None:
    """Both were written from one examination, on seeds that were never trained on, by label and by slices."""
    document = json.loads(bundle.path("eval.json").read_text(encoding="utf-8"))
    report, classical = document["reports"]
    card = bundle.path("MODEL_CARD.md").read_text(encoding="utf-8")
    assert document["first_seed"] == heldout.FIRST_SEED
    assert (report["engine"], classical["engine"]) == ("sgmri-embedded", "classical")
    assert report["overall"]["volumes"] == classical["overall"]["volumes"] >= 200
    assert report["parse_rate"] == 1
    assert f"{report['overall']['accuracy']['value']:.3f}" in card
    assert len(report["by_label"]) > 10
    assert len(report["by_slices"]) == 4


@pytest.mark.parametrize("name", ["brain", "knee", "knee-enhanced"])
def test_the_phantoms_of_the_demonstration_are_read(
    name: str, loaded: tuple[GroundedEngine, LocalSpeaker], tmp_path: Path
) -> None:
    """Every planted lesion is named, with boxes of IoU 0.5 and more on most of its frames; all else is absent."""
    phantom = make(name)
    frames = _frames(phantom, tmp_path)
    questions = STANDARD[frames.anatomy]
    answers = {answer.question_id: answer for answer in loaded[0].answer(frames, questions, _CONTROL)}
    planted = {lesion.label for lesion in phantom.lesions}
    for lesion in phantom.lesions:
        seen = [
            f for answer in answers.values() for t in answer.evidence for f in t.findings if f.label == lesion.label
        ]
        scale = frames.scaling
        right = [
            any(f.frame_index == p.frame_index and iou(f.box, scale.to_model(p.box)) >= 0.5 for f in seen)
            for p in lesion.findings
        ]
        assert sum(right) > len(right) / 2, lesion.label
    for question in questions.questions:
        if question.kind is QuestionKind.DETECTION:
            given = answers[question.question_id]
            if given.unanswered is not Unanswered.OUTSIDE_ENGINE_SCOPE:
                there = bool(planted & set(question.labels)) if question.labels else bool(planted)
                assert given.presence is (Presence.PRESENT if there else Presence.ABSENT), question.question_id


def test_the_findings_of_the_demonstration_are_counted_and_summarised(
    loaded: tuple[GroundedEngine, LocalSpeaker], tmp_path: Path
) -> None:
    """The default phantom: as many lesions and kinds as were planted, the main one chosen, each in the summary."""
    phantom = make("brain")
    frames = _frames(phantom, tmp_path)
    answers = {answer.question_id: answer for answer in loaded[0].answer(frames, STANDARD[frames.anatomy], _CONTROL)}
    planted = {lesion.label for lesion in phantom.lesions}
    assert answers["brain.count.lesions"].count == len(phantom.lesions)
    assert answers["brain.count.kinds"].count == len(planted)
    assert answers["brain.which"].chosen == ("Nonspecific white matter lesion",)
    assert all(label in answers["brain.summary"].text for label in planted)


@pytest.mark.parametrize("name", ["brain-normal", "knee-normal"])
def test_a_normal_phantom_is_normal(name: str, loaded: tuple[GroundedEngine, LocalSpeaker], tmp_path: Path) -> None:
    """Nothing is found where nothing was planted, and that is said of every finding that it knows."""
    frames = _frames(make(name), tmp_path)
    answers = loaded[0].answer(frames, STANDARD[frames.anatomy], _CONTROL)
    detections = [a for a in answers if a.kind is QuestionKind.DETECTION and _is_known(a)]
    assert len(detections) >= 4
    assert {answer.presence for answer in detections} == {Presence.ABSENT}
    assert not any(answer.evidence for answer in answers)


def _is_known(answer: Answer) -> bool:
    return answer.unanswered is not Unanswered.OUTSIDE_ENGINE_SCOPE


def test_most_of_what_is_no_head_and_no_knee_is_not_read(loaded: tuple[GroundedEngine, LocalSpeaker]) -> None:
    """Of kinds that it met in training: nothing present, absent, counted or boxed; how often is in the card."""
    silent = [abstains(loaded[0], case.frames) for case in heldout.strangers(6, seed=3, held_out=False)]
    assert sum(silent) >= 5


def test_one_changed_byte_and_it_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Somewhere in the middle of the weights."""
    directory = tmp_path / "other"
    shutil.copytree(bundle.directory, directory)
    weights = directory / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.safetensors"):
        load(directory)


def test_a_cancelled_reading_frees_its_volume(loaded: tuple[GroundedEngine, LocalSpeaker], tmp_path: Path) -> None:
    """Cancelled after the volume was shown: the error is a passing one, and nothing of the volume stays."""
    frames = _frames(make("brain"), tmp_path)
    opened: list[LocalConversation] = []
    engine, speaker = loaded
    original = speaker.open

    class Noting:
        def open(self, shown: Frames, control: ReadingControl) -> LocalConversation:
            opened.append(original(shown, control))
            return opened[-1]

        def close(self) -> None:
            pass

    engine = GroundedEngine(Noting(), engine._card)
    control = ReadingControl(is_cancelled=lambda: bool(opened))
    with pytest.raises(EngineUnavailable):
        engine.answer(frames, STANDARD[frames.anatomy], control)
    assert opened[0].bytes == 0
    assert loaded[0].answer(frames, STANDARD[frames.anatomy], ReadingControl()) != ()


def test_the_answer_is_weighed_where_it_is_written(loaded: tuple[GroundedEngine, LocalSpeaker], tmp_path: Path) -> None:
    """What one forward pass weighs as likelier is what the model writes when it is let."""
    frames = _frames(make("brain"), tmp_path)
    conversation = loaded[1].open(frames, _CONTROL)
    asks = [Ask(question=q) for q in STANDARD[frames.anatomy].questions if q.kind is QuestionKind.DETECTION]
    for weights, text in zip(conversation.weigh(asks, _CONTROL), conversation.say(asks, _CONTROL), strict=True):
        assert weights is not None and text is not None
        assert json.loads(text)["answer"] == ("Yes" if weights[0] >= weights[1] else "No")
    conversation.close()
