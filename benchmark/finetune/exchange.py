"""One exchange: what is shown, what is asked, and the answer to be learnt."""

from dataclasses import dataclass
from typing import Protocol

from numpy.random import Generator

from benchmark.items import Item
from sgmri.interfaces import Frames
from worker.engine.profiles import PixelBudget, PromptProfile
from worker.engine.prompts import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question with the answer that is to be learnt.

    Parameters
    ----------
    segments
        The prefix: system turn, names of frames, and vision blocks by frame index.
    question
        As :func:`worker.engine.prompts.question_text` writes it.
    answer
        The answer in the pieces that are put into tokens one by one, as the worker puts together what it weighs.
    budget
        How large frames are shown.
    """

    segments: tuple[Segment, ...]
    question: str
    answer: tuple[str, ...]
    budget: PixelBudget


class Recipe(Protocol):
    """How items become exchanges."""

    @property
    def profile(self) -> PromptProfile:
        """How the trained model is to be asked; the bundle carries it."""
        ...

    def exchange(self, item: Item, frames: Frames, rng: Generator) -> Exchange:
        """Return an exchange about an item.

        Parameters
        ----------
        item
            With its truth.
        frames
            What it is about: one frame at image level, all of them at volume level.
        rng
            Source of every choice.
        """
        ...
