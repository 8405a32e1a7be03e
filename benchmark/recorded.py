"""A speaker that remembers: what was asked of a volume once is not computed again.

Thresholds can then be tried on the same volumes in seconds instead of minutes, through the engine itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import QuestionKind
from worker.engine.auxiliary import Maps
from worker.engine.conversation import Ask, Conversation, Speaker, Weights


@dataclass(slots=True, kw_only=True, eq=False)
class _Tape:
    """Everything that was said of one volume; the volume is held, so that its identity stays its own."""

    frames: Frames
    weighed: dict[Ask, Weights | None] = field(default_factory=dict)
    said: dict[Ask, str | None] = field(default_factory=dict)
    maps: list[Maps | None] = field(default_factory=list)


class RecordedSpeaker:
    """Asks another speaker what it has not been asked before (implements :class:`worker.engine.conversation.Speaker`).

    Parameters
    ----------
    speaker
        Who is asked.
    unsaid
        Kinds of questions that are left without an answer: summary and main finding repeat what was found, and would be
        asked anew whenever a threshold changes that.
    """

    def __init__(self, speaker: Speaker, *, unsaid: frozenset[QuestionKind] = frozenset()) -> None:
        self._speaker = speaker
        self._unsaid = unsaid
        self._tapes: dict[int, _Tape] = {}

    def open(self, frames: Frames, control: ReadingControl) -> "RecordedConversation":
        """Show a volume; it is encoded once something new is asked."""
        tape = self._tapes.setdefault(id(frames), _Tape(frames=frames))
        return RecordedConversation(tape, lambda: self._speaker.open(frames, control), self._unsaid)

    def close(self) -> None:
        """Forget everything; the other speaker stays open."""
        self._tapes.clear()


class RecordedConversation:
    """One volume (implements :class:`worker.engine.conversation.Conversation`).

    Parameters
    ----------
    tape
        What was said of it.
    show
        Opens it with the speaker that knows the rest.
    unsaid
        Kinds of questions that are left without an answer.
    """

    def __init__(self, tape: _Tape, show: Callable[[], Conversation], unsaid: frozenset[QuestionKind]) -> None:
        self._tape = tape
        self._unsaid = unsaid
        self._show = show
        self._shown: Conversation | None = None

    @property
    def _open(self) -> Conversation:
        if self._shown is None:
            self._shown = self._show()
        return self._shown

    def weigh(self, asked: Sequence[Ask], control: ReadingControl) -> list[Weights | None]:
        """Return how likely each choice is."""
        known = self._tape.weighed
        new = [ask for ask in asked if ask not in known and ask.question.kind not in self._unsaid]
        if new:
            known.update(zip(new, self._open.weigh(new, control), strict=True))
        return [known.get(ask) for ask in asked]

    def say(self, asked: Sequence[Ask], control: ReadingControl) -> list[str | None]:
        """Return the model's answers."""
        known = self._tape.said
        new = [ask for ask in asked if ask not in known and ask.question.kind not in self._unsaid]
        if new:
            known.update(zip(new, self._open.say(new, control), strict=True))
        return [known.get(ask) for ask in asked]

    def tell(self, ask: Ask, control: ReadingControl) -> Iterator[str]:
        """Yield the model's answer to a free question; such are not recorded."""
        yield from self._open.tell(ask, control)

    def maps(self) -> Maps | None:
        """Return where findings may lie."""
        if not self._tape.maps:
            self._tape.maps.append(self._open.maps())
        return self._tape.maps[0]

    def close(self) -> None:
        """Release the volume; what was said stays known."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None
