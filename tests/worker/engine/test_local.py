"""The model in this process, on a random bundle: what it weighs and says is what transformers' whole model computes."""

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError, EngineError, EngineUnavailable, UnparsableAnswer
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import QuestionKind
from sgmri.volume import Anatomy
from tests.worker.engine.small_bundle import shown, small_bundle
from tests.worker.engine.whole_model import whole_inputs
from worker.engine.bundle import Bundle
from worker.engine.conversation import Ask
from worker.engine.loading import card_of, load_engine
from worker.engine.local import Device, LocalConversation, LocalSpeaker
from worker.engine.profiles import PROFILES, Layout
from worker.engine.prompts import about_one_frame, answer_start, question_text

_BRAIN = STANDARD[Anatomy.BRAIN]
_DETECTIONS = [question for question in _BRAIN.questions if question.kind is QuestionKind.DETECTION]
_CONTROL = ReadingControl()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def speaker(bundle: Bundle) -> LocalSpeaker:
    return load_engine(bundle, Device())[1]


@pytest.fixture(scope="module")
def peer(bundle: Bundle) -> Qwen3VLForConditionalGeneration:
    model: Qwen3VLForConditionalGeneration = Qwen3VLForConditionalGeneration.from_pretrained(
        bundle.directory, local_files_only=True, dtype=torch.float32
    )
    model.train(False)
    return model


@pytest.fixture
def talk(speaker: LocalSpeaker) -> Iterator[LocalConversation]:
    conversation = speaker.open(shown(), _CONTROL)
    yield conversation
    conversation.close()


def _turn(speaker: LocalSpeaker, ask: Ask) -> str:
    text = question_text(ask.question, speaker.profile, known=ask.known)
    return f"{text}<|im_end|>\n<|im_start|>assistant\n"


def _frames_of(ask: Ask, frames: Frames) -> Frames:
    if ask.frame_index is None:
        return frames
    return replace(frames, pixels=frames.pixels[ask.frame_index : ask.frame_index + 1])


def _asks() -> list[Ask]:
    alone = about_one_frame(QuestionKind.DETECTION, ("Mass",), PROFILES["sgmri"])
    return [*(Ask(question=q) for q in _DETECTIONS[:5]), *(Ask(question=alone, frame_index=f) for f in (0, 3, 2))]


def test_what_is_weighed_is_what_transformers_computes(
    talk: LocalConversation, speaker: LocalSpeaker, peer: Qwen3VLForConditionalGeneration
) -> None:
    """Yes and no, for the volume and for single frames: log-probabilities of the whole model run for each alone."""
    asks = _asks()
    yes, no = (speaker.tokens(word)[0] for word in ("Yes", "No"))
    weighed = talk.weigh(asks, _CONTROL)
    for ask, weights in zip(asks, weighed, strict=True):
        inputs = whole_inputs(speaker, _frames_of(ask, shown()), _turn(speaker, ask) + answer_start(speaker.profile))
        with torch.inference_mode():
            expected = peer(**inputs).logits[0, -1].log_softmax(0)[[yes, no]].numpy()
        if weights is None:
            assert np.exp(expected).sum() < 0.021  # the random model would rather say something else
        else:
            np.testing.assert_allclose(weights, expected, atol=2e-4)


def test_what_is_said_is_what_transformers_generates(
    talk: LocalConversation, speaker: LocalSpeaker, peer: Qwen3VLForConditionalGeneration
) -> None:
    """Answers under the grammar, all written together, equal a run of the whole model that masks the same tokens."""
    asks = [
        Ask(question=_DETECTIONS[0]),
        Ask(question=replace(_DETECTIONS[1], labels=("Mass",))),
        Ask(question=about_one_frame(QuestionKind.DETECTION, ("Mass",), speaker.profile), frame_index=1),
    ]
    said = talk.say(asks, _CONTROL)
    for ask, text in zip(asks, said, strict=True):
        assert text == _naive(talk, speaker, peer, ask)


def _naive(
    talk: LocalConversation, speaker: LocalSpeaker, peer: Qwen3VLForConditionalGeneration, ask: Ask
) -> str | None:
    """Return the answer of the whole model, token by token, under the same grammar."""
    matcher = talk._matcher(ask)
    inputs = whole_inputs(speaker, _frames_of(ask, shown()), _turn(speaker, ask))
    allowed = np.zeros(-(-matcher.vocabulary // 32), np.uint32)
    written: list[int] = []
    while not matcher.is_complete and len(written) < 384:
        matcher.write_mask(allowed)
        mask = np.unpackbits(allowed.view(np.uint8), bitorder="little")[: matcher.vocabulary].astype(bool)
        with torch.inference_mode():
            logits = peer(**inputs).logits[0, -1].numpy()
        token = int(np.where(mask, logits, -np.inf).argmax())
        if token in speaker.language.decoder.end_ids:  # type: ignore[union-attr]  # open
            return speaker.text(written)
        matcher.advance(token)
        written.append(token)
        one = torch.tensor([[token]])
        inputs |= {
            name: torch.cat([inputs[name], value], dim=1)
            for name, value in (
                ("input_ids", one),
                ("attention_mask", torch.ones_like(one)),
                ("mm_token_type_ids", torch.zeros_like(one).int()),
            )
        }
    return speaker.text(written) if matcher.is_complete else None


def test_what_is_told_piece_by_piece_is_what_is_said_at_once(talk: LocalConversation) -> None:
    """The same words in many pieces; what is cut off, by its length or the time limit, is no answer."""
    for kind in (QuestionKind.COUNTING, QuestionKind.FREE_TEXT):
        ask = Ask(question=replace(_DETECTIONS[1], kind=kind))
        pieces, is_whole = _told(talk, ask, _CONTROL)
        assert len(pieces) > 3
        (said,) = talk.say([ask], _CONTROL)
        assert is_whole is (said is not None)
        assert "".join(pieces) == (said or "".join(pieces))
        left_s = partial(next, iter([1.0, 1.0, 1.0]), 0.0)
        few, is_whole = _told(talk, ask, ReadingControl(remaining_s=left_s))
        assert (len(few) < len(pieces), is_whole) == (True, False)
        assert "".join(pieces).startswith("".join(few))


def _told(talk: LocalConversation, ask: Ask, control: ReadingControl) -> tuple[list[str], bool]:
    pieces = []
    try:
        for piece in talk.tell(ask, control):
            pieces.append(piece)
    except UnparsableAnswer:
        return pieces, False
    return pieces, True


@pytest.mark.parametrize("kind", [QuestionKind.LOCALISATION, QuestionKind.CAPTIONING, QuestionKind.COUNTING])
def test_every_answer_parses(talk: LocalConversation, kind: QuestionKind) -> None:
    """Even a random model writes answers of the profile's form, or is cut off and said nothing."""
    question = replace(_DETECTIONS[1], kind=kind, labels=("Mass",))
    for frame_index in (None, 2):
        (text,) = talk.say([Ask(question=question, frame_index=frame_index)], _CONTROL)
        if text is not None:
            assert list(json.loads(text))[:2] == ["answer", "reasoning"]


def test_options_are_weighed_by_their_letters(talk: LocalConversation) -> None:
    """A classification gives one weight an option; another order is another prompt."""
    which = _BRAIN["brain.which"]
    turned = replace(which, options=which.options[::-1])
    first, second = talk.weigh([Ask(question=which), Ask(question=turned)], _CONTROL)
    for weights in (first, second):
        assert weights is None or len(weights) == len(which.options)


def test_options_may_be_weighed_by_their_words(bundle: Bundle, peer: Qwen3VLForConditionalGeneration) -> None:
    """A profile that chooses by name: the log-probability of each option's first token, as transformers gives it."""
    speaker = LocalSpeaker.load(bundle, replace(PROFILES["sgmri"], options_by_name=True), Device())
    which = replace(_BRAIN["brain.which"], options=("Mass", "Edema", "None of these"))
    conversation = speaker.open(shown(), _CONTROL)
    (weights,) = conversation.weigh([Ask(question=which)], _CONTROL)
    inputs = whole_inputs(speaker, shown(), _turn(speaker, Ask(question=which)) + answer_start(speaker.profile))
    first = [speaker.tokens(option)[0] for option in which.options]
    with torch.inference_mode():
        expected = peer(**inputs).logits[0, -1].log_softmax(0)[first].numpy()
    if weights is None:
        assert np.exp(expected).sum() < 0.021
    else:
        np.testing.assert_allclose(weights, expected, atol=2e-4)
    alike = replace(which, options=("Mass", "Mass effect"))
    with pytest.raises(ConfigError, match="begin with different tokens"):
        conversation.weigh([Ask(question=alike)], _CONTROL)
    speaker.close()


def test_reasoning_is_written_before_the_choice_is_weighed(bundle: Bundle) -> None:
    """A profile that reasons first: the choice stands behind the reasoning that the model itself wrote."""
    profile = replace(PROFILES["sgmri-vqa-sft"], pixel_budget=PROFILES["sgmri"].pixel_budget)
    speaker = LocalSpeaker.load(bundle, profile, Device())
    conversation = speaker.open(shown(2), _CONTROL)
    asks = [Ask(question=question) for question in _DETECTIONS[:3]]
    said = conversation.say(asks, _CONTROL)
    weighed = conversation.weigh(asks, _CONTROL)
    for text, weights in zip(said, weighed, strict=True):
        if text is None:
            assert weights is None
        elif weights is not None:
            assert json.loads(text)["answer"] == ("Yes" if weights[0] > weights[1] else "No")
    speaker.close()


def test_two_volumes_at_once_do_not_mix(speaker: LocalSpeaker) -> None:
    """Conversations about two volumes, taking turns, say what each says alone."""
    asks = _asks()
    alone = []
    for seed in (0, 5):
        conversation = speaker.open(shown(seed=seed), _CONTROL)
        alone.append(conversation.weigh(asks, _CONTROL))
        conversation.close()
    one, two = (speaker.open(shown(seed=seed), _CONTROL) for seed in (0, 5))
    mixed = [[talk.weigh([ask], _CONTROL)[0] for ask in asks] for talk in (one, two)]
    for expected, found in zip(alone, mixed, strict=True):
        for a, b in zip(expected, found, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_tight_memory_limit_changes_nothing_but_the_parts(bundle: Bundle, talk: LocalConversation) -> None:
    """Frames alone are read in several sessions where memory is short, with the same weights."""
    alone = about_one_frame(QuestionKind.DETECTION, ("Mass",), PROFILES["sgmri"])
    asks = [Ask(question=alone, frame_index=frame) for frame in range(4)]
    speaker = LocalSpeaker.load(bundle, card_of(bundle).profile, Device(kv_limit_bytes=3_600_000))
    tight = speaker.open(shown(), _CONTROL)
    for a, b in zip(talk.weigh(asks, _CONTROL), tight.weigh(asks, _CONTROL), strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_allclose(a, b, atol=1e-4)
    assert tight.bytes < talk.bytes
    speaker.close()


def test_a_closed_volume_holds_nothing(speaker: LocalSpeaker) -> None:
    """Closing, or cancelling in the middle, lets features, keys and values go; nothing can be asked after it."""
    conversation = speaker.open(shown(), _CONTROL)
    conversation.weigh(_asks(), _CONTROL)
    assert conversation.bytes > 100_000
    kept = [weakref.ref(tensor) for tensor in conversation._volume.keys]  # type: ignore[union-attr]  # open
    conversation.close()
    conversation.close()
    gc.collect()
    assert all(reference() is None for reference in kept)
    assert conversation.bytes == 0
    with pytest.raises(EngineUnavailable, match="closed"):
        conversation.weigh(_asks(), _CONTROL)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_cancelling_at_any_point_is_transient(speaker: LocalSpeaker, step: int) -> None:
    """While the volume is shown, and between passes, a cancelled reading ends with an error that may be retried."""
    asked = iter(range(99))
    control = ReadingControl(is_cancelled=lambda: next(asked) >= step)
    with pytest.raises(EngineUnavailable, match="cancelled"):
        speaker.open(shown(), control).say([Ask(question=_BRAIN["brain.summary"])], control)


def test_after_the_deadline_nothing_is_asked(talk: LocalConversation) -> None:
    """At the time limit questions are left unanswered, not guessed."""
    late = ReadingControl(remaining_s=lambda: 0.0)
    assert set(talk.weigh(_asks(), late)) == {None}
    assert talk.say([Ask(question=_BRAIN["brain.summary"])], late) == [None]


def test_what_cannot_be_loaded_is_told(bundle: Bundle, speaker: LocalSpeaker) -> None:
    """No CUDA, frames shown in pairs, and a closed model are errors with their remedy."""
    if not torch.cuda.is_available():
        with pytest.raises(EngineUnavailable, match="CUDA"):
            LocalSpeaker.load(bundle, speaker.profile, Device(name="cuda"))
    pairs = replace(speaker.profile, layout=Layout.VIDEO_PAIRS)
    with pytest.raises(ConfigError, match="images"):
        LocalSpeaker(speaker.encoder, speaker.language, speaker.tokenizer, speaker.grammars, pairs)  # type: ignore[arg-type]  # open
    closed = LocalSpeaker.load(bundle, speaker.profile, Device())
    closed.close()
    closed.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        closed.open(shown(), _CONTROL)


def test_features_of_another_size_are_refused(speaker: LocalSpeaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tower that does not belong to the language model is noticed before anything is said."""
    assert speaker.encoder is not None
    encode: Callable[..., object] = speaker.encoder.encode

    def narrow(*arguments: object) -> object:
        features = encode(*arguments)
        return replace(features, embeds=features.embeds[..., :32])  # type: ignore[attr-defined, type-var]

    monkeypatch.setattr(speaker.encoder, "encode", narrow)
    with pytest.raises(EngineError, match="belong together"):
        speaker.open(shown(), _CONTROL)


def test_the_bundle_is_a_directory_that_was_sealed(bundle: Bundle, tmp_path: Path) -> None:
    """Its card says what the manifest says; without a calibration nothing is called calibrated."""
    card = card_of(bundle)
    assert card.identity == bundle.identity()
    assert card.labels == ("Nonspecific white matter lesion", "Mass")
    assert not card.calibration.lines
    assert card.calibration.scope_threshold is None
