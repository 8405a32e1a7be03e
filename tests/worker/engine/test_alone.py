"""Frames shown alone, and decoding steps of a fixed shape: both are the naive run, token for token."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sgmri.errors import EngineError
from tests.worker.engine.tiny_language import PATCH_FEATURES, TinyLanguage, TinyVolume, build, thw
from worker.engine.language import LanguageModel
from worker.engine.packing import PrefixSession
from worker.engine.static import WIDTHS, capacity_for

_NEW, _FRAMES, _GRID = 16, 5, (4, 6)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyLanguage:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def singles(tiny: TinyLanguage) -> list[TinyVolume]:
    """Five volumes of one frame, with the same prompt."""
    return [tiny.volume(seed, frames=1, grid=_GRID) for seed in range(_FRAMES)]


def _open_alone(tiny: TinyLanguage, singles: list[TinyVolume], language: LanguageModel | None = None) -> PrefixSession:
    with torch.inference_mode():
        features = [tiny.peer.model.visual(one.patches, grid_thw=thw(one)) for one in singles]
    assert singles[0].patches.shape[1] == PATCH_FEATURES
    return (language or tiny.language).open_alone(
        singles[0].prefix,
        embeds=torch.stack([one.pooler_output for one in features]),
        deepstack=[torch.stack(levels) for levels in zip(*(one.deepstack_features for one in features), strict=True)],
        grid=_GRID,
    )


def _asked(tiny: TinyLanguage) -> tuple[list[list[int]], list[int]]:
    """Return questions and the frame that each is about, in no order."""
    groups = [(3 * number) % _FRAMES for number in range(12)]
    return [tiny.question(number) for number in range(12)], groups


def test_frames_packed_together_answer_as_if_alone(tiny: TinyLanguage, singles: list[TinyVolume]) -> None:
    """Questions about five frames behind one start: every token equals transformers' run of that frame alone."""
    session = _open_alone(tiny, singles)
    questions, groups = _asked(tiny)
    decoding = tiny.language.run(session, questions, max_new_tokens=_NEW, groups=groups)
    naive = [tiny.naive(singles[group], question, _NEW) for question, group in zip(questions, groups, strict=True)]
    assert [list(answer.token_ids) for answer in decoding.answers] == naive
    assert len({tuple(answer) for answer in naive}) > 6


def test_the_start_is_kept_once(tiny: TinyLanguage, singles: list[TinyVolume]) -> None:
    """A session of five frames holds their common start once, and one block for each."""
    session, single = _open_alone(tiny, singles), tiny.open(singles[0])
    prompt = singles[0].prefix
    shared = int(np.argmax(np.isin(prompt, list(tiny.language.decoder.visual_ids))))
    assert session.length == shared + _FRAMES * (len(prompt) - shared)
    assert session.next_position == single.next_position
    assert session.groups == _FRAMES
    torch.testing.assert_close(session.keys[1][:, :, : len(prompt)], single.keys[1], rtol=1e-5, atol=1e-5)


def test_scores_of_frames_are_those_of_each_alone(tiny: TinyLanguage, singles: list[TinyVolume]) -> None:
    """Log-probabilities behind packed frames equal those behind a session of the one frame."""
    session = _open_alone(tiny, singles)
    questions, groups = _asked(tiny)
    packed = tiny.language.score(session, questions, (5, 6, 7), groups=groups)
    alone = [
        tiny.language.score(tiny.open(singles[group]), [question], (5, 6, 7))[0]
        for question, group in zip(questions, groups, strict=True)
    ]
    np.testing.assert_allclose(packed, np.stack(alone), rtol=1e-4, atol=1e-4)


def test_a_question_names_a_frame_that_is_there(tiny: TinyLanguage, singles: list[TinyVolume]) -> None:
    """No frame, a frame beyond the last, or a frame of a whole volume is a refused call."""
    session, question = _open_alone(tiny, singles), tiny.question(0)
    for groups in (None, [_FRAMES], [-1], [0, 1]):
        with pytest.raises(EngineError, match="block"):
            tiny.language.score(session, [question], (5, 6), groups=groups)
    with pytest.raises(EngineError, match="block"):
        tiny.language.score(tiny.open(singles[0]), [question], (5, 6), groups=[0])


def test_memory_bounds_the_frames_of_a_session(tiny: TinyLanguage, singles: list[TinyVolume]) -> None:
    """A limit says how many frames go together, and a session beyond it is refused."""
    limited = LanguageModel.load(tiny.directory, kv_limit_bytes=3 * 2 * len(singles[0].prefix) * 768)
    assert limited.decoder.token_bytes == 768
    assert limited.frames_a_session(len(singles[0].prefix)) == 2
    assert tiny.language.frames_a_session(99) is None
    tight = LanguageModel.load(tiny.directory, kv_limit_bytes=10_000)
    with pytest.raises(EngineError, match="at most 10000"):
        _open_alone(tiny, singles, tight)


def test_steps_of_a_fixed_shape_say_the_same(tiny: TinyLanguage, singles: list[TinyVolume]) -> None:
    """What a CUDA graph would replay, run here without one: the same tokens for a volume and for frames alone."""
    fixed = LanguageModel.load(tiny.directory, static=True)
    volume = tiny.volume(3)
    questions, groups = _asked(tiny)
    free = tiny.language.run(tiny.open(volume), questions, max_new_tokens=_NEW)
    same = fixed.run(replace(tiny, language=fixed).open(volume), questions, max_new_tokens=_NEW)
    assert same.answers == free.answers
    session = _open_alone(tiny, singles)
    free = tiny.language.run(session, questions, max_new_tokens=_NEW, groups=groups)
    assert fixed.run(session, questions, max_new_tokens=_NEW, groups=groups).answers == free.answers


def test_room_for_padding_is_never_used_by_a_question(tiny: TinyLanguage) -> None:
    """There is always a column more than all questions can fill, whatever their number."""
    for columns in range(1, 400):
        assert capacity_for(columns) > columns
    assert list(WIDTHS) == sorted(WIDTHS)
