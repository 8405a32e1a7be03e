"""A question in a person's own words: nothing of it is taken for the model's tokens, and the words come as written.

What comes back is held against the frames like every other answer; what is not said plainly is no answer. It has no
certainty: nothing was ever measured of such questions.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from sgmri.asking import Answered, AskEvent, Piece
from sgmri.errors import UnparsableAnswer
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Question, Unanswered
from worker.engine.by_hand import cited, unanswered
from worker.engine.conversation import Ask, Conversation
from worker.engine.parsing import parse, to_answer
from worker.engine.profiles import PromptProfile
from worker.engine.said import MAX_TEXT_BYTES, Problem
from worker.engine.said_boxes import frames_named

_TRACKLETS = "asked"


def neutralised(text: str) -> str:
    """Return a text that holds none of a model's own tokens.

    They are written ``<...>`` (Qwen, Llama, Gemma) or ``[...]`` (Mistral); with a space behind the bracket they are
    letters like others, for our tokeniser and for a server's alike.
    """
    return re.sub(r"([<\[])(?=\S)", r"\1 ", text)


def told(
    conversation: Conversation, profile: PromptProfile, frames: Frames, question: Question, control: ReadingControl
) -> Iterator[AskEvent]:
    """Put a free question to the model: its words as they come, the frames, then the judged answer.

    Parameters
    ----------
    conversation, profile, frames, control
        The model, how it is asked, and of what.
    question
        As it was typed.
    """
    ask = Ask(question=replace(question, text=neutralised(question.text)))
    words = Unfolding(profile)
    try:
        for piece in conversation.tell(ask, control):
            if new := words.more(piece):
                yield Piece(text=new)
    except UnparsableAnswer as error:
        reason = Unanswered.UNPARSABLE if control.remaining_s() > 0 else Unanswered.DEADLINE
        yield Answered(question=question, answer=unanswered(question, reason), note=str(error))
        return
    yield from _judged(words.text, question, profile, frames)


def _judged(text: str, question: Question, profile: PromptProfile, frames: Frames) -> Iterator[AskEvent]:
    count, rows, columns = frames.pixels.shape
    parsed = parse(
        text,
        question,
        profile,
        (rows, columns, count),
        anatomy=frames.anatomy,
        first_frame_index=frames.first_frame_index,
    )
    answer, note = to_answer(parsed, question, _TRACKLETS), ""
    first = profile.frame_base + frames.first_frame_index
    named = {number - first for number in frames_named(f"{answer.text} {answer.reasoning}")}
    if parsed.problem:
        note = f"of what the model wrote, this was wrong: {parsed.problem}"
    if not all(0 <= index < count for index in named):
        answer, note = unanswered(question, Unanswered.UNPARSABLE), "the model spoke of a frame that it was not shown"
    if answer.unanswered is None:
        rests_on = {index for tracklet in answer.evidence for index in tracklet.frame_indices}
        yield from cited(sorted(named | rests_on), frames)
    yield Answered(question=question, answer=answer, note=note)


class Unfolding:
    """The words of an answer as far as they have come, out of the JSON object that a model writes around them.

    Parameters
    ----------
    profile
        Has the answer's key.
    """

    def __init__(self, profile: PromptProfile) -> None:
        # a string up to the last whole escape
        string = r'"((?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)'
        self._value = re.compile(rf'"{profile.answer_format.answer}"\s*:\s*{string}')
        self._shown = ""
        self.text = ""
        """All that the model has written."""

    def more(self, piece: str) -> str:
        """Take what was written; return the words that can be shown because of it.

        Raises
        ------
        UnparsableAnswer
            If it becomes longer than any answer may be.
        """
        self.text += piece
        if len(self.text) > MAX_TEXT_BYTES:
            raise UnparsableAnswer(Problem.TOO_LONG)
        words = self._words()
        new, self._shown = words[len(self._shown) :], words
        return new

    def _words(self) -> str:
        text = self.text.lstrip()
        if text.startswith("<"):  # thoughts, not for people
            text = text.partition("</think>")[2].lstrip()
        if text.startswith(("{", "```")):
            match = self._value.search(text)
            text = "" if match is None else json.loads(f'"{match[1]}"', strict=False)
        return "".join(char for char in text if char == "\n" or unicodedata.category(char)[0] != "C")
