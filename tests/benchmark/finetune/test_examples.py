"""Tokens, pixels and masks: what the model is taught with is what the worker will show it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLConfig

from benchmark.finetune.config import FinetuneConfig, RecipeName
from benchmark.finetune.examples import IGNORED, Batch, Example, Scribe, collate
from benchmark.finetune.exchange import Exchange
from benchmark.finetune.objective import answer_loss, measured, totals
from benchmark.finetune.run import prepare
from benchmark.items import Item
from sgmri.errors import ConfigError
from tests.worker.engine.plain_frames import plain_frames
from tests.worker.engine.whole_model import whole_inputs
from worker.engine.bundle import Bundle
from worker.engine.checkpoint import load_checkpoint
from worker.engine.loading import load_engine
from worker.engine.local import Device
from worker.engine.profiles import PixelBudget
from worker.engine.prompts import Role, Segment, answer_start, prefix, turn

_BUDGET = PixelBudget(min_pixels=4_096, max_pixels=16_384)


def _scribe(base: Path, max_tokens: int = 0) -> Scribe:
    return Scribe.of(base, Qwen3VLConfig.from_pretrained(base), max_tokens=max_tokens)


def _noise(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 96), dtype=np.uint8)


def _example(base: Path, item: Item, answer: tuple[str, ...], blocks: tuple[tuple[int, ...], ...]) -> Example:
    segments = (Segment(role=Role.USER, text="Look: "), *(Segment(role=Role.USER, frame_indices=b) for b in blocks))
    exchange = Exchange(segments=segments, question="\nQuestion: What?", answer=answer, budget=_BUDGET)
    return _scribe(base).write(item, exchange, plain_frames(_noise(4)))


def test_only_the_answer_is_learnt(base: Path, items: tuple[Item, ...]) -> None:
    """Labels are the answer's tokens and the token that ends it; prompt and padding have none."""
    scribe = _scribe(base)
    long = _example(base, items[0], ('{"answer": "', 'Yes"}'), ((0,), (1,)))
    short = _example(base, items[0], ("No",), ((2,),))
    batch = collate([long, short])
    said = [[token for token in row if token != IGNORED] for row in batch.labels.tolist()]
    assert scribe.tokenizer.decode(said[0], skip_special_tokens=False) == '{"answer": "Yes"}<|im_end|>'
    assert scribe.tokenizer.decode(said[1], skip_special_tokens=False) == "No<|im_end|>"
    assert batch.labels[1, :-2].eq(IGNORED).all()
    values = [int(batch.labels[row, column]) for row, column in enumerate(batch.values.tolist())]
    assert [scribe.tokenizer.id_to_token(token) for token in values] == ["Yes", "No"]
    assert batch.answer_tokens == len(said[0]) + len(said[1])
    width = batch.labels.shape[1]
    ends = batch.inputs["input_ids"][:, -width:]
    assert torch.equal(ends[batch.labels != IGNORED], batch.labels[batch.labels != IGNORED])
    assert not batch.inputs["attention_mask"][1, : len(long.ids) - len(short.ids)].any()


def test_examples_side_by_side_are_examples_alone(base: Path, items: tuple[Item, ...]) -> None:
    """Padding changes no loss, also where images and clips lie in one batch."""
    model = load_checkpoint(base, torch.float32)
    model.train(False)
    some = [
        _example(base, items[0], ("Yes, it is.",), ((0,), (1,), (2,))),
        _example(base, items[1], ("No",), ((0, 1), (2, 3))),
        _example(base, items[2], ("(", "A)"), ((3,),)),
    ]
    together = totals(model, collate(some))
    alone = torch.stack([totals(model, collate([one])) for one in some]).sum(dim=0)
    assert torch.allclose(together, alone, rtol=1e-4)
    assert together[2] == sum(one.answer_tokens for one in some) and together[4] == 3
    assert measured(together).loss == pytest.approx(answer_loss(model, collate(some)).item() / together[2].item())


def test_the_model_is_taught_what_the_worker_shows(taught: Bundle, items: tuple[Item, ...]) -> None:
    """Tokens up to the value, pixels and grids are those of the worker's own way to the model."""
    engine, speaker = load_engine(taught, Device())
    frames = plain_frames(_noise(5))
    profile = speaker.profile
    exchange = Exchange(
        segments=prefix(frames, profile),
        question="\nQuestion: Is there a mass?",
        answer=(answer_start(profile), 'Yes"}'),
        budget=profile.pixel_budget,
    )
    example = Scribe.of(taught.directory, Qwen3VLConfig.from_pretrained(taught.directory), max_tokens=0).write(
        items[0], exchange, frames
    )
    wanted = whole_inputs(speaker, frames, turn(exchange.question))
    asked = wanted["input_ids"][0].numpy()
    start = speaker.tokens(answer_start(profile))
    assert example.ids[: len(asked)].tolist() == asked.tolist()
    assert example.ids[len(asked) :].tolist() == [*start, *speaker.tokens('Yes"}'), *speaker.tokens("<|im_end|>")]
    batch: Batch = collate([example])
    assert torch.equal(batch.inputs["pixel_values"], wanted["pixel_values"])
    assert torch.equal(batch.inputs["image_grid_thw"], wanted["image_grid_thw"])
    engine.close()


def test_a_pair_of_frames_lies_side_by_side_in_time(base: Path, items: tuple[Item, ...]) -> None:
    """A patch of a clip holds, for each channel, the first frame's pixels, then the second's."""
    pair = _example(base, items[0], ("No",), ((0, 1),)).patches.reshape(-1, 3, 2, 16 * 16)
    alone = [_example(base, items[0], ("No",), ((index,),)).patches.reshape(-1, 3, 2, 16 * 16) for index in (0, 1)]
    assert np.array_equal(pair[:, :, 0], alone[0][:, :, 0])
    assert np.array_equal(pair[:, :, 1], alone[1][:, :, 1])
    assert np.array_equal(alone[0][:, :, 0], alone[0][:, :, 1])


def test_what_is_too_long_is_not_cut_off(base: Path, items: tuple[Item, ...]) -> None:
    """An exchange that does not fit names its item, its length and what to do."""
    segments = (Segment(role=Role.USER, text="Look"), Segment(role=Role.USER, frame_indices=(0,)))
    exchange = Exchange(segments=segments, question="\nQuestion: What?", answer=("No",), budget=_BUDGET)
    with pytest.raises(ConfigError, match=r"at most 20 tokens .* found \d+; allow more"):
        _scribe(base, max_tokens=20).write(items[0], exchange, plain_frames(_noise(1)))


def test_a_checkpoint_without_tokenizer_is_refused(base: Path, tmp_path: Path) -> None:
    """Nothing is tokenised by guesswork."""
    with pytest.raises(ConfigError, match=r"expected tokenizer\.json"):
        Scribe.of(tmp_path, Qwen3VLConfig.from_pretrained(base), max_tokens=0)


def test_lessons_follow_from_seed_and_position(config: FinetuneConfig) -> None:
    """The same position is the same example, whenever it is asked for; every epoch has every item once."""
    lessons = prepare(config).training.lessons
    again = prepare(config).training.lessons
    other = prepare(replace(config, seed=1)).training.lessons
    count = len(lessons)
    assert lessons[count + 3].ids.tolist() == again[count + 3].ids.tolist()
    first, second = ([lessons[epoch * count + place].item.item_id for place in range(count)] for epoch in (0, 1))
    assert first != second and sorted(first) == sorted(second) and len(set(first)) == count
    assert [other[place].item.item_id for place in range(count)] != first


def test_a_clip_fits_the_published_size(config: FinetuneConfig, items: tuple[Item, ...]) -> None:
    """16 frames of 256 x 256 pixels are 8 pairs of 64 tokens."""
    published = replace(
        config,
        recipe=RecipeName.PUBLISHED,
        max_pixels=0,
        data=replace(config.data, levels=tuple(type(items[0].level)), tasks=tuple(type(items[0].task))),
    )
    lessons = prepare(published).training.lessons
    example = lessons[lessons.longest()]
    assert (example.is_clip, example.blocks, tuple(example.grid)) == (True, 8, (16, 16))
    assert int((example.kinds == 2).sum()) == 8 * 64
