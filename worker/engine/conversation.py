"""What the asking needs of a model, here or behind a server: open a volume, weigh choices, say answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Question
from worker.engine.auxiliary import Maps


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question as it is put to the model.

    Parameters
    ----------
    question
        Text, kind and options.
    frame_index
        The one frame that is shown, from 0; None for the whole volume.
    known
        What was found so far, as a line of the question; empty where it does not build on it.
    """

    question: Question
    frame_index: int | None = None
    known: str = ""


Weights = tuple[float, ...]
"""Natural logarithms of the probabilities of the choices: (yes, no), or one for each option."""


class Conversation(Protocol):
    """One volume, and everything that is asked about it."""

    def weigh(self, asked: Sequence[Ask], control: ReadingControl) -> list[Weights | None]:
        """Return how likely each choice is, for detection and classification questions.

        None where the model would rather say something else, or the time limit was reached.

        Raises
        ------
        EngineUnavailable
            If the reading was cancelled, or the model cannot be reached.
        """
        ...

    def say(self, asked: Sequence[Ask], control: ReadingControl) -> list[str | None]:
        """Return the model's answers in its own words; None where the time limit was reached before the end.

        Raises
        ------
        EngineUnavailable
            As :meth:`weigh`.
        """
        ...

    def tell(self, ask: Ask, control: ReadingControl) -> Iterator[str]:
        """Yield the model's answer to one question piece by piece, as it is written.

        Raises
        ------
        UnparsableAnswer
            If it is cut off: by its length, or by the time limit.
        EngineUnavailable, EngineError
            If it was cancelled, or the model cannot be asked.
        """
        ...

    def maps(self) -> Maps | None:
        """Return where findings may lie, by the model's auxiliary head; None where it has none."""
        ...

    def close(self) -> None:
        """Release what the volume holds; harmless twice."""
        ...


class Speaker(Protocol):
    """A model that can be shown volumes."""

    def open(self, frames: Frames, control: ReadingControl) -> Conversation:
        """Show a volume.

        Raises
        ------
        EngineUnavailable
            If memory is short, the model cannot be reached, or the reading was cancelled.
        EngineError
            If it cannot be shown.
        """
        ...

    def close(self) -> None:
        """Release the model; harmless twice."""
        ...
