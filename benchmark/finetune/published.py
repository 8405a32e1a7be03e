"""The published recipe (arXiv 2604.15808): a bare question, a volume as a clip of at most 16 frames, free text.

Known only in part: the data loader is not public. A clip's frames are taken evenly, shown in pairs behind the time
that Qwen3-VL's processor writes, at the four frames a second that the published settings name. The answer is answer,
then reasoning, with boxes in whole pixels, as the published figures show it.
"""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from benchmark.finetune.exchange import Exchange
from benchmark.items import Item, Level
from benchmark.running.profiles import MINIMAL
from benchmark.scoring.strict import question_of
from sgmri.interfaces import Frames
from worker.engine.profiles import PixelBudget, PromptProfile
from worker.engine.prompts import Role, Segment, prefix, question_text

CLIP_FRAMES = 16
CLIP_FRAMES_A_SECOND = 4
_IMAGE = PixelBudget(min_pixels=12_544, max_pixels=451_584)
_CLIP = PixelBudget(min_pixels=200_704, max_pixels=1_304_576)
"""Of all frames of a clip together: 16 of 320 x 320 pixels become 256 x 256."""


class PublishedRecipe:
    """What the published weights were taught, as far as it is known."""

    @property
    def profile(self) -> PromptProfile:
        """Every frame as an image, as the published weights were examined: clips are for training alone."""
        return replace(MINIMAL, name="published-finetuned", answer_first=True)

    def exchange(self, item: Item, frames: Frames, rng: Generator) -> Exchange:
        """Return the only exchange about an item; nothing is drawn."""
        segments = prefix(frames, MINIMAL)
        budget = _IMAGE
        if item.level is Level.VOLUME:
            shown = sampled(len(frames.pixels))
            segments = (*(one for one in segments if one.role is Role.SYSTEM), *_clip(shown))
            pairs = len(shown) + len(shown) % 2
            budget = PixelBudget(min_pixels=_CLIP.min_pixels // pairs, max_pixels=_CLIP.max_pixels // pairs)
        # the bare question says nothing of how to label boxes
        asked = replace(question_of(item), labels=())
        return Exchange(
            segments=segments, question=question_text(asked, MINIMAL), answer=(published_answer(item),), budget=budget
        )


def published_answer(item: Item) -> str:
    """Return the text that is to be learnt: the answer, a full stop, the reasoning."""
    return f"{item.answer.rstrip('.')}. {item.reasoning}"


def sampled(count: int) -> tuple[int, ...]:
    """Return the frame indices of a clip: at most 16, evenly from the first to the last."""
    return tuple(int(index) for index in np.linspace(0, count - 1, min(count, CLIP_FRAMES)).round())


def _clip(shown: tuple[int, ...]) -> list[Segment]:
    """Return pairs of frames, the last one twice where it has no partner, each behind its time in the clip."""
    padded = (*shown, *shown[-1:]) if len(shown) % 2 else shown
    segments = []
    for first, second in zip(padded[::2], padded[1::2], strict=True):
        time_s = (first + second) / 2 / CLIP_FRAMES_A_SECOND
        segments += [
            Segment(role=Role.USER, text=f"<{time_s:.1f} seconds>"),
            Segment(role=Role.USER, frame_indices=(first, second)),
        ]
    return segments
