"""What is trained is what is asked: prompts, positions and masks of training are those of the engine."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from benchmark.training import model, wording
from benchmark.training.examples import ARTEFACTS, LABELS, PROFILE, Asked, Composer, Part
from benchmark.training.grids import Shape
from benchmark.training.phantoms import Batch, Maker, Mix
from benchmark.training.scanner import window
from benchmark.training.vocabulary import NUMBERS, build
from sgmri.catalogue import STANDARD
from sgmri.questions import NONE_OF_THESE, QuestionKind
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy, Plane
from worker.engine.language import LanguageModel
from worker.engine.parsing import parse
from worker.engine.prompts import about_one_frame, answer_start, question_text
from worker.engine.summary import agrees

_SHAPE = Shape(anatomy=Anatomy.BRAIN, plane=Plane.AXIAL, frames=6, rows=96, columns=128)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build(PROFILE)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Maker(seed=8, mix=Mix(normal=0.0, stranger=0.0)).batch(_SHAPE, 6)


@pytest.fixture
def composer(tokenizer: Tokenizer) -> Composer:
    return Composer(tokenizer=tokenizer, profile=PROFILE, rng=np.random.default_rng(0))


def _text(tokenizer: Tokenizer, ids: tuple[int, ...]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False)


def test_numbers_are_their_own_tokens(tokenizer: Tokenizer) -> None:
    """The token of a number from 0 to 1000 is that number: losses and embeddings rely on it."""
    for number in (0, 7, 10, 99, 255, 1000):
        assert tokenizer.token_to_id(str(number)) == number
    assert tokenizer.encode("[12, 345, 1000]", add_special_tokens=False).ids.count(345) == 1
    assert NUMBERS == 1001


def test_any_text_can_be_written(tokenizer: Tokenizer) -> None:
    """Words that were never taught come back byte for byte."""
    for text in ("Größe 3.5 mm – ünknown", "日本", '{"answer": "upper left"}', "\n\n  x"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_prompts_are_short(tokenizer: Tokenizer) -> None:
    """The catalogue's questions take few tokens each, options and labels included."""
    for questions in STANDARD.values():
        for question in questions.questions:
            length = len(tokenizer.encode(question_text(question, PROFILE), add_special_tokens=False).ids)
            assert length < 70


def test_training_text_is_the_engines(composer: Composer, tokenizer: Tokenizer, batch: Batch) -> None:
    """Questions are the catalogue's own prompts up to the answer, and whole answers parse to what was planted."""
    asked = composer.about_volume(batch, 0)
    starts = {
        f"{question_text(q, PROFILE)}<|im_end|>\n<|im_start|>assistant\n{answer_start(PROFILE)}"
        for q in STANDARD[Anatomy.BRAIN].questions
    }
    assert sum(_text(tokenizer, one.question) in starts for one in asked) > 8
    for volume in range(len(batch.truth)):
        for frame in range(_SHAPE.frames):
            for one in composer.about_frame(batch, volume, frame):
                _check_frame(tokenizer, batch, one, volume, frame)


def _check_frame(tokenizer: Tokenizer, batch: Batch, one: Asked, volume: int, frame: int) -> None:
    text = _text(tokenizer, one.question)
    label = next(label for label in sorted(LABELS, key=len, reverse=True) if label in text)
    boxes = [p.boxes[frame] for p in batch.truth[volume] if p.label == label and frame in p.boxes]
    answer = answer_start(PROFILE) + _text(tokenizer, one.answer)
    if "Where is" not in text:
        assert one.parts[0] == Part.VERDICT
        assert answer.startswith(answer_start(PROFILE) + ("Yes" if boxes else "No"))
        return
    question = about_one_frame(QuestionKind.LOCALISATION, (label,), PROFILE)
    parsed = parse(answer, question, PROFILE, (_SHAPE.rows, _SHAPE.columns, 1), anatomy=Anatomy.BRAIN)
    assert json.loads(answer)
    assert len(parsed.boxes) == len(boxes)
    assert one.parts.count(Part.EDGE) == 4 * len(boxes)
    for found, (x0, y0, x1, y1) in zip(parsed.boxes, sorted(boxes, key=lambda b: (b[1], b[0])), strict=True):
        np.testing.assert_allclose(found.box.as_tuple(), (x0, y0, x1, y1), atol=0.1)


def test_captions_agree_with_their_findings(composer: Composer, tokenizer: Tokenizer, batch: Batch) -> None:
    """What it is taught to summarise passes the check that the engine makes of summaries; its numbers are marked."""
    asked = [one for volume in range(len(batch.truth)) for one in composer.about_volume(batch, volume)]
    asked += [one for _ in range(30) for one in composer.about_findings(Anatomy.BRAIN, 24)]
    captions = [one for one in asked if "Summarise" in _text(tokenizer, one.question)]
    assert len(captions) >= 30 + 2 * len(batch.truth)
    for one in captions:
        known = _text(tokenizer, one.question).split("Findings: ")[1].split("\n")[0]
        text = json.loads(answer_start(PROFILE) + _text(tokenizer, one.answer))["answer"]
        facts = _facts(known)
        assert text == wording.caption(facts)
        assert agrees(text, facts, Anatomy.BRAIN)
        assert one.parts.count(Part.COPIED) == 3 * len(facts)


def test_the_main_finding_is_the_first_that_is_told(composer: Composer, tokenizer: Tokenizer, batch: Batch) -> None:
    """The answer is the first finding of the line, or "none of these", wherever it stands among the options."""
    asked = [one for volume in range(len(batch.truth)) for one in composer.about_volume(batch, volume)]
    asked += [one for _ in range(30) for one in composer.about_findings(Anatomy.BRAIN, 24)]
    right = set()
    for one in asked:
        text = _text(tokenizer, one.question)
        if "main finding" not in text:
            continue
        first = _facts(text.split("Findings: ")[1].split("\n")[0])[0].label
        option = _text(tokenizer, one.answer)
        assert option == (first if f") {first}\n" in text else NONE_OF_THESE)
        assert one.parts[0] == Part.VERDICT
        right.add((option, text.split(f") {option}\n")[0][-1]))
    assert len(right) > 8


def _facts(known: str):  # type: ignore[no-untyped-def]
    from worker.engine.summary import Fact

    if known == "none.":
        return ()
    found = []
    for part in known.rstrip(".").split("; "):
        label, places, extent = part.rsplit(", ", 2)
        first, last = extent.removeprefix("frames: ").split("-")
        found.append(Fact(label=label, places=int(places[8:]), first=int(first), last=int(last)))
    return tuple(found)


def test_what_is_not_known_is_not_asked(composer: Composer, tokenizer: Tokenizer, batch: Batch) -> None:
    """A background whose own lesions nobody marked: no "no" is taught for their label, nor "nothing abnormal"."""
    unknown = "Nonspecific white matter lesion"
    blank = replace(batch, truth=[[] for _ in batch.truth], unknown=(unknown,))
    texts = [_text(tokenizer, one.question) for one in composer.about_volume(blank, 0)]
    assert not any("white-matter" in text or "an abnormality" in text for text in texts)
    assert any("a mass" in text for text in texts)
    frame = [_text(tokenizer, one.question) for n in range(20) for one in composer.about_frame(blank, 0, n % 6)]
    assert not any(unknown in text for text in frame)


def test_training_and_reading_compute_the_same(tokenizer: Tokenizer, composer: Composer, batch: Batch) -> None:
    """The packed training pass and the engine's prefix session give the same logits for the same questions."""
    student = model.build(tokenizer, seed=1)
    torch.nn.Module.eval(student)
    tower = model.LiveTower(student)
    from benchmark.training.canvas import Dice

    grey = window(batch.voxels, Dice(0, "cpu"))[:1]
    start = composer.prefix(_SHAPE, _SHAPE.frames)
    asked = composer.about_volume(batch, 0)
    packed = composer.pack(start, [asked])
    with torch.inference_mode():
        features = tower.see(grey[0])
        trained = model.learnt(student, packed, tuple(level.flatten(0, 1) for level in features))
    language = LanguageModel(student)
    grid = (_SHAPE.rows // 16, _SHAPE.columns // 16)
    session = language.open(start.ids, embeds=features[0], deepstack=list(features[1:]), grids=[grid] * _SHAPE.frames)
    chosen = [one for one in asked if one.parts[0] == Part.VERDICT]
    vocabulary = range(language.vocabulary)
    read = language.score(session, [one.question for one in chosen], vocabulary)
    kinds, wanted = packed.kinds[packed.targets >= 0], trained.log_softmax(dim=1)
    first = wanted[(kinds == int(Part.VERDICT))][: len(chosen)]
    np.testing.assert_allclose(read, first.numpy(), atol=2e-3)


def test_labels_are_known_and_artefacts_apart() -> None:
    """Everything that is taught stands in the vocabulary; artefacts are not among the findings."""
    assert all(label in FINDINGS for label in (*LABELS, *ARTEFACTS.values()))
    assert not set(LABELS) & set(ARTEFACTS.values())
