"""The seams that have more than one implementation, as Protocols of at most three methods."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sgmri.asking import AskEvent
from sgmri.geometry import FrameScaling
from sgmri.questions import Answer, Question, QuestionSet
from sgmri.readings import EngineIdentity
from sgmri.volume import Anatomy, Plane, Weighting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """What an engine sees: grey frames with square pixels, and the way back to the source.

    Parameters
    ----------
    pixels
        uint8 (frames, rows, columns); one frame for each frame of the volume, in its order.
    scaling
        Takes boxes back to source pixels; the same for all frames.
    pixel_size_mm
        Size of a (square) model pixel.
    slice_spacing_mm
        Distance between neighbouring frames.
    anatomy, plane, weighting, fat_suppressed
        What the series was taken for.
    first_frame_index
        Which frame of the volume the first of these is, from 0: more than 0 where only some of them are shown.
    """

    pixels: NDArray[np.uint8]
    scaling: FrameScaling
    pixel_size_mm: float
    slice_spacing_mm: float
    anatomy: Anatomy
    plane: Plane
    weighting: Weighting
    fat_suppressed: bool | None
    first_frame_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingControl:
    """How a running reading is steered from outside.

    Parameters
    ----------
    progress
        Called with (questions answered, questions known so far).
    is_cancelled
        Asked between questions; True ends the reading with :class:`sgmri.errors.EngineUnavailable`.
    remaining_s
        Seconds that are left; at 0 the questions not yet asked are answered "time limit reached".
    memory_share
        How much of its usual memory for keys and values the engine may use at a time: less after memory ran out.
    """

    progress: Callable[[int, int], None] = lambda done, known: None
    is_cancelled: Callable[[], bool] = lambda: False
    remaining_s: Callable[[], float] = lambda: float("inf")
    memory_share: float = 1.0


class Engine(Protocol):
    """Reads a volume (ADR 0008)."""

    def describe(self) -> EngineIdentity:
        """Return who this is; the digest changes whenever an answer could change."""
        ...

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        """Answer a question set in rounds; boxes in pixels and indices of ``frames``.

        Raises
        ------
        EngineUnavailable
            If the engine cannot work now, or the reading was cancelled.
        EngineError
            If this volume cannot be read by it.
        """
        ...

    def close(self) -> None:
        """Release memory and devices; harmless twice."""
        ...


class AskedEngine(Engine, Protocol):
    """An engine that can be asked one question by hand as well."""

    def ask(self, frames: Frames, question: Question, control: ReadingControl) -> Iterator[AskEvent]:
        """Answer one question of the catalogue or in free text as the words come, the judged answer last.

        Yields
        ------
        Pieces of text and cited frames, then exactly one :class:`sgmri.asking.Answered`, with boxes in pixels and
        indices of ``frames``: it alone counts, for what was streamed had not been checked. What the engine cannot
        answer is there unanswered, with a note that says why.

        Raises
        ------
        EngineUnavailable, EngineError
            As :meth:`Engine.answer`.
        """
        ...
