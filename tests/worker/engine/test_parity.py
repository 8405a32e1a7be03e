"""The embedded model on held-out volumes: packed answers are those of transformers' own generate, token for token.

Both see through the bundle's own encoder: its half precision is compared elsewhere (the parity report of an export).
Marked ``parity``: several minutes on two cores, so ``scripts/test-parity`` runs it and CI does not.
"""

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from benchmark import heldout
from benchmark.heldout import Case
from sgmri.catalogue import STANDARD
from sgmri.interfaces import ReadingControl
from sgmri.volume import Anatomy
from tests.worker.engine.whole_model import whole_inputs
from worker.engine.bundle import Bundle, load
from worker.engine.loading import load_engine
from worker.engine.local import Device, LocalSpeaker
from worker.engine.places import embedded_bundle
from worker.engine.prompts import answer_start, question_text, turn

_VOLUMES, _QUESTIONS, _NEW_TOKENS = 24, 20, 24
_MOST_SLICES = 16
_SEED = 7
"""Of the held-out volumes; not the examination's."""

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.parity, pytest.mark.timeout(1800)]


class Seen(nn.Module):
    """Stands in the place of transformers' tower, and gives what the bundle's encoder saw."""

    dtype = torch.float32
    spatial_merge_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[Tensor] = []

    def forward(self, pixels: Tensor, grid_thw: Tensor, **_: object) -> BaseModelOutputWithDeepstackFeatures:
        embeds, *deepstack = self.levels
        assert len(embeds) * 4 == len(pixels) == int(grid_thw.prod(1).sum())
        return BaseModelOutputWithDeepstackFeatures(pooler_output=embeds, deepstack_features=list(deepstack))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(embedded_bundle())


@pytest.fixture(scope="module")
def speaker(bundle: Bundle) -> Iterator[LocalSpeaker]:
    engine, speaker = load_engine(bundle, Device())
    yield speaker
    engine.close()


@pytest.fixture(scope="module")
def peer(bundle: Bundle) -> Qwen3VLForConditionalGeneration:
    model: Qwen3VLForConditionalGeneration = Qwen3VLForConditionalGeneration.from_pretrained(
        bundle.directory, local_files_only=True, dtype=torch.float32
    )
    model.model.visual = Seen()
    model.train(False)
    return model


def _cases() -> Iterator[Case]:
    short = (c for c in heldout.volumes(12 * _VOLUMES, seed=_SEED, backgrounds=False) if c.slices <= _MOST_SLICES)
    for number, case in enumerate(short):
        if number == _VOLUMES:
            return
        yield case


def _turns(speaker: LocalSpeaker, anatomy: Anatomy) -> list[str]:
    return [
        turn(question_text(question, speaker.profile)) + answer_start(speaker.profile)
        for question in STANDARD[anatomy].questions[:_QUESTIONS]
    ]


def test_packed_is_naive_token_for_token(speaker: LocalSpeaker, peer: Qwen3VLForConditionalGeneration) -> None:
    """24 volumes, 20 questions each: everything packed behind one prefix, against everything anew for each question."""
    control, compared, different = ReadingControl(), 0, []
    assert speaker.language is not None
    end = speaker.language.decoder.end_ids
    for case in _cases():
        turns = _turns(speaker, case.frames.anatomy)
        conversation = speaker.open(case.frames, control)
        session, features = conversation._volume, conversation._features
        assert session is not None
        assert features is not None
        peer.model.visual.levels = [
            torch.from_numpy(level).flatten(0, 1) for level in (features.embeds, *features.deepstack)
        ]
        run = speaker.language.run(session, [speaker.tokens(text) for text in turns], max_new_tokens=_NEW_TOKENS)
        conversation.close()
        for text, answer in zip(turns, run.answers, strict=True):
            inputs = whole_inputs(speaker, case.frames, text)
            with torch.inference_mode():
                written = peer.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False)[0]
            naive = [token for token in written[inputs["input_ids"].shape[1] :].tolist() if token not in end]
            compared += len(naive)
            if [token for token in answer.token_ids if token not in end] != naive:
                different.append((case.name, speaker.text(list(answer.token_ids)), speaker.text(naive)))
        _log.info("%s, %d slices: %d tokens, %d answers differ", case.name, case.slices, compared, len(different))
    assert compared > 1000
    assert not different
