import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sgmri.errors import ConfigError, EngineError
from sgmri.questions import Question, QuestionKind
from tests.worker.engine.tiny_language import token_id, tokenizer
from worker.engine.grammar import Grammars, Matcher, allowed_tokens
from worker.engine.grammar_schema import AnswerLimits, answer_schema
from worker.engine.profiles import PROFILES
from worker.engine.prompts import answer_keys

_TOKENS = tokenizer()
_VOCABULARY = _TOKENS.get_vocab_size() + 37  # padded, and no multiple of 32
_END = token_id(_TOKENS, "<|im_end|>")
_LIMITS = AnswerLimits(
    frame_numbers=(2, 11), rows=64, columns=96, labels=("Mass", "Edema"), max_boxes=3, max_count=12, max_characters=30
)
_PROFILE = PROFILES["sgmri-vqa-sft"]
_OPTIONS = ("Mass", "Bone- Subchondral edema", "None of these")


def _question(kind: QuestionKind) -> Question:
    return Question(question_id="q", kind=kind, text="?", options=_OPTIONS)


@pytest.fixture(scope="module")
def grammars(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    _TOKENS.save(str(file))
    return Grammars(file, vocabulary=_VOCABULARY, end_id=_END)


def _walk(matcher: Matcher, random: np.random.Generator, *, force: bool) -> tuple[str, int]:
    """Return an answer of random tokens among those that are allowed, and how many choices it took."""
    ids: list[int] = list(matcher.take_forced()) if force else []
    choices = 0
    while not matcher.is_complete:
        allowed = allowed_tokens([matcher], _VOCABULARY)[0]
        token = int(np.where(allowed, random.random(_VOCABULARY), -1).argmax())
        choices += 1
        if token == _END:
            break
        matcher.advance(token)
        ids += [token, *(matcher.take_forced() if force else ())]
    return _TOKENS.decode(ids, skip_special_tokens=False), choices


def _check(kind: QuestionKind, answer: dict[str, Any]) -> None:
    boxed = kind in (QuestionKind.LOCALISATION, QuestionKind.CAPTIONING, QuestionKind.FREE_TEXT)
    assert list(answer) == ["reasoning", "answer", *(["bboxes"] if boxed else [])]
    assert len(answer["reasoning"]) <= 30
    if kind is QuestionKind.DETECTION:
        assert answer["answer"] in ("Yes", "No")
    elif kind is QuestionKind.COUNTING:
        assert type(answer["answer"]) is int
        assert 0 <= answer["answer"] <= 12
    elif kind is QuestionKind.CLASSIFICATION:
        assert re.fullmatch(r"\([A-C]\)(, \([A-C]\)){0,2}", answer["answer"])
    boxes = answer.get("bboxes", [])
    assert len(boxes) <= 3
    assert boxes or kind is not QuestionKind.LOCALISATION
    for box in boxes:
        x, y, width, height = box["bbox"]
        assert 2 <= box["frame"] <= 11
        assert box["label"] in ("Mass", "Edema")
        assert 0 <= x < 96
        assert 0 <= y < 64
        assert 1 <= width <= 96
        assert 1 <= height <= 64


@pytest.mark.parametrize("kind", list(QuestionKind))
def test_random_logits_give_valid_answers(grammars: Grammars, kind: QuestionKind) -> None:
    """Twelve answers of each kind from random logits (sixty in all) parse, with every number and name in range."""
    schema = answer_schema(_question(kind), _PROFILE, _LIMITS)
    texts = set()
    for seed in range(12):
        text, _ = _walk(grammars.matcher(schema), np.random.default_rng(seed), force=True)
        _check(kind, json.loads(text))
        texts.add(text)
    assert len(texts) > 1


@pytest.mark.parametrize("kind", list(QuestionKind))
def test_answers_without_fast_forward_are_valid_too(grammars: Grammars, kind: QuestionKind) -> None:
    """Choosing forced tokens one by one gives valid answers as well, and takes more choices."""
    schema = answer_schema(_question(kind), _PROFILE, _LIMITS)
    forced_choices = slow_choices = 0
    for seed in range(4):
        text, choices = _walk(grammars.matcher(schema), np.random.default_rng(seed), force=False)
        _check(kind, json.loads(text))
        slow_choices += choices
        forced_choices += _walk(grammars.matcher(schema), np.random.default_rng(seed), force=True)[1]
    assert forced_choices < slow_choices


def test_full_answer_is_spelt_as_in_training(grammars: Grammars) -> None:
    """The grammar takes the training set's own spelling, token by token, and is complete at its end."""
    text = (
        '{"reasoning": "A focus.", "answer": "one", "bboxes": [{"frame": 7, "label": "Mass", "bbox": [5, 60, 12, 3]}]}'
    )
    matcher = grammars.matcher(answer_schema(_question(QuestionKind.LOCALISATION), _PROFILE, _LIMITS))
    for token in _TOKENS.encode(text).ids:
        assert not matcher.is_complete
        matcher.advance(token)
    assert matcher.is_complete
    assert matcher.take_forced() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        '{"reasoning": "", "answer": "", "bboxes": []}',  # a localisation needs a box
        '{"reasoning": "", "answer": "", "bboxes": [{"frame": 12, "label": "Mass", "bbox": [5, 6, 1, 3]}]}',
        '{"reasoning": "", "answer": "", "bboxes": [{"frame": 7, "label": "Cyst", "bbox": [5, 6, 1, 3]}]}',
        '{"reasoning": "", "answer": "", "bboxes": [{"frame": 7, "label": "Mass", "bbox": [96, 6, 1, 3]}]}',
        '{"reasoning": "", "answer": "", "bboxes": [{"frame": 7, "label": "Mass", "bbox": [5, 6, 0, 3]}]}',
    ],
)
def test_answers_out_of_range_are_refused(grammars: Grammars, wrong: str) -> None:
    """A missing box, a foreign frame, a foreign label, a corner outside and a box without width are not allowed."""
    matcher = grammars.matcher(answer_schema(_question(QuestionKind.LOCALISATION), _PROFILE, _LIMITS))
    with pytest.raises(EngineError, match="allows"):
        for token in _TOKENS.encode(wrong).ids:
            matcher.advance(token)


def test_one_frame_fixes_the_frame_number(grammars: Grammars) -> None:
    """Asked of a single frame, the frame number is forced."""
    limits = AnswerLimits(frame_numbers=(7, 7), rows=64, columns=96, labels=("Mass",))
    matcher = grammars.matcher(answer_schema(_question(QuestionKind.LOCALISATION), _PROFILE, limits))
    matcher.take_forced()
    written = '{"reasoning": "", "answer": "'
    for token in _TOKENS.encode(written).ids[len(_TOKENS.encode('{"reasoning": "').ids) :]:
        matcher.advance(token)
    matcher.advance(token_id(_TOKENS, '"'))
    assert '"frame": 7, "label": "Mass", "bbox": [' in _TOKENS.decode(list(matcher.take_forced()))


@pytest.mark.parametrize("name", ["sgmri", "qwen3-vl"])
def test_the_profile_decides_keys_order_and_coordinates(grammars: Grammars, name: str) -> None:
    """Random answers have the profile's keys in its order, and boxes in its coordinates: thousandths, not pixels."""
    profile = PROFILES[name]
    schema = answer_schema(_question(QuestionKind.LOCALISATION), profile, _LIMITS)
    numbers: list[int] = []
    for seed in range(12):
        text, _ = _walk(grammars.matcher(schema), np.random.default_rng(seed), force=True)
        answer = json.loads(text)
        assert list(answer)[:2] == list(answer_keys(profile))
        numbers += [number for box in answer["bboxes"] for number in box[profile.answer_format.box]]
    assert max(numbers) > 96
    assert all(0 <= number <= 1000 for number in numbers)


def test_a_frame_may_show_nothing(grammars: Grammars) -> None:
    """Where a box is not demanded, the empty list is an answer."""
    limits = AnswerLimits(frame_numbers=(1, 1), rows=64, columns=96, labels=("Mass",), min_boxes=0)
    matcher = grammars.matcher(answer_schema(_question(QuestionKind.LOCALISATION), _PROFILE, limits))
    for token in _TOKENS.encode('{"reasoning": "", "answer": "", "bboxes": []}').ids:
        matcher.advance(token)
    assert matcher.is_complete


def test_padding_rows_are_never_allowed(grammars: Grammars) -> None:
    """Tokens beyond the tokenizer, and the special ones, are masked; an answer without grammar may be anything."""
    matcher = grammars.matcher(answer_schema(_question(QuestionKind.DETECTION), _PROFILE, _LIMITS))
    allowed = allowed_tokens([matcher, None], _VOCABULARY)
    assert allowed.shape == (2, _VOCABULARY)
    assert allowed[0].any()
    assert not allowed[0, _TOKENS.get_vocab_size() :].any()
    assert not allowed[0, _END]
    assert allowed[1].all()


def test_a_tokenizer_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    """A missing or broken tokenizer.json stops the process with an explanation."""
    broken = tmp_path / "tokenizer.json"
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        Grammars(broken, vocabulary=10, end_id=0)
    broken.write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        Grammars(broken, vocabulary=10, end_id=0)


def test_a_schema_that_cannot_be_followed_is_refused(grammars: Grammars) -> None:
    """A schema that the library does not know is an error, not a free answer."""
    with pytest.raises(EngineError, match="schema"):
        grammars.matcher({"type": "no such type"})
