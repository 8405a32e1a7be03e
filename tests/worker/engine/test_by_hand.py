"""One question by hand: streamed words, cited frames, and a last word that alone counts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sgmri.asking import Answered, AskEvent, FrameCited, Piece, find_question
from sgmri.catalogue import STANDARD
from sgmri.errors import EngineUnavailable, UnparsableAnswer
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Presence, Question, QuestionKind, Unanswered
from sgmri.volume import Anatomy, Plane
from tests.worker.engine.model_server import ModelServer, Reply, completion, serving
from tests.worker.engine.scripted import MASS, NO, PROFILE, WHITE_MATTER, YES, Script, answer, card, frames
from worker.engine import event_stream
from worker.engine.classical import ClassicalEngine
from worker.engine.controls import scope
from worker.engine.free_text import Unfolding, neutralised
from worker.engine.grounded import GroundedEngine
from worker.engine.places import embedded_bundle
from worker.engine.prompts import question_text, turn
from worker.engine.served import ServedSpeaker, Server

_BRAIN = STANDARD[Anatomy.BRAIN]
_FREE = find_question("Is the brightest place deep?", _BRAIN)
_PLACES = {WHITE_MATTER: {2: [(40, 60, 52, 70)], 3: [(40, 60, 52, 72)]}}
_SHOWN = replace(frames(5), first_frame_index=9)
"""Frames 10 to 14 of a volume."""


def _asked(
    question: Question, script: Script, shown: Frames = _SHOWN, *, free_text: bool = True
) -> tuple[list[AskEvent], Answered]:
    engine = GroundedEngine(script, replace(card(), free_text=free_text))
    *events, last = engine.ask(shown, question, ReadingControl())
    assert isinstance(last, Answered)
    assert script.opened == script.closed
    return events, last


def _says(text: str, boxes: Sequence[object] = ()) -> Script:
    return Script(say_rule=lambda ask: answer(text, "A bright focus.", boxes))


def _streamed(events: Sequence[AskEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def test_free_text_is_streamed_and_rests_on_frames_of_the_series() -> None:
    """The words come in many pieces; frames and boxes are counted in the series; no certainty is made up."""
    box = {"frame": 12, "label": "Mass", "bbox": [100, 100, 300, 300]}
    events, last = _asked(_FREE, _says('It is "deep", on frame 11.', [box]))
    assert sum(isinstance(event, Piece) for event in events) > 3
    assert _streamed(events) == 'It is "deep", on frame 11.' == last.answer.text
    assert [event.frame_number for event in events if isinstance(event, FrameCited)] == [11, 12]
    (tracklet,) = last.answer.evidence
    assert (tracklet.label, tracklet.frame_indices) == (MASS, (2,))
    assert last.answer.certainty is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("no", Unanswered.UNPARSABLE),
        (answer("It is on frame 3."), Unanswered.UNPARSABLE),
        (answer(""), Unanswered.UNPARSABLE),
        ('{"answer": "No.", "reas', Unanswered.UNPARSABLE),
        (answer("No.") + answer("Yes."), Unanswered.UNPARSABLE),
        ("No.<|im_end|><|im_start|>user", Unanswered.UNPARSABLE),
    ],
)
def test_what_is_no_answer_is_never_a_negative(said: str, reason: Unanswered) -> None:
    """Broken, cut off, two answers, turns of its own, a frame that was not shown: not assessed, and why."""
    script = Script(say_rule=lambda ask: ... if said == "no" else said)
    _, last = _asked(_FREE, script)
    assert (last.answer.unanswered, last.answer.text) == (reason, "")
    assert last.note


def test_the_gates_of_a_reading_hold_for_a_question_too() -> None:
    """A plane that it never saw, an organ that it does not know, something impossible affirmed: nothing is said."""
    _, last = _asked(_FREE, Script(), replace(_SHOWN, plane=Plane.CORONAL))
    assert last.answer.unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE
    other = scope(Anatomy.BRAIN)
    _, last = _asked(_FREE, Script(weigh_rule=lambda ask: NO if ask.question == other else None))
    assert last.answer.unanswered is Unanswered.UNFAMILIAR
    _, last = _asked(_FREE, Script(weigh_rule=lambda ask: YES if ask.question.labels else None))
    assert last.answer.unanswered is Unanswered.CONTROL_FAILED


def test_a_model_that_knows_the_catalogue_only_refuses_other_words() -> None:
    """It is not even shown the volume; the nearest questions of the catalogue are named."""
    script = _says("It invents.")
    events, last = _asked(find_question("Any lacunar changes?", _BRAIN), script, free_text=False)
    assert (events, script.opened) == ([], 0)
    assert last.answer.unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE
    assert "would invent" in last.note
    assert "brain.screen.lacunar-infarct" in last.note
    (refused,) = ClassicalEngine().ask(_SHOWN, _FREE, ReadingControl())
    assert isinstance(refused, Answered)
    assert refused.answer.unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE
    assert "by rules" in refused.note


def test_a_question_of_the_catalogue_is_answered_as_in_a_reading() -> None:
    """The same answer; what it does not rest on is not asked; one that follows is answered by what it follows."""
    shown = frames()
    engine = GroundedEngine(Script(places=_PLACES), card())
    whole = {one.question_id: one for one in engine.answer(shown, _BRAIN, ReadingControl())}
    screened = ("brain.screen.white-matter", "brain.where.white-matter", "brain.screen.mass")
    for name in (*screened, "brain.any", "brain.which"):
        script = Script(places=_PLACES)
        _, last = _asked(_BRAIN[name], script, shown)
        assert last.answer == whole[name], name
        if "screen" in name:
            asked = {ask.question.question_id for ask in script.weighed if ask.frame_index is None}
            assert {name for name in asked if name.startswith("brain")} <= {name, "brain.quality"}
    _, last = _asked(_BRAIN["brain.where.mass"], Script(places=_PLACES), shown)
    assert (last.question, last.answer.presence) == (_BRAIN["brain.screen.mass"], Presence.ABSENT)
    assert "is asked only where" in last.note


def test_the_frames_that_an_answer_names_are_those_of_the_series() -> None:
    """With frames 10 to 14 shown, boxes on the third and fourth are said to be on frames 12 and 13."""
    events, last = _asked(_BRAIN["brain.where.white-matter"], Script(places=_PLACES))
    assert "on frames 12-13" in last.answer.text
    assert [event.frame_number for event in events if isinstance(event, FrameCited)] == [12, 13]


@given(st.text(st.sampled_from('ab "\\/{}:\n{"answer"é🧠\x1b'), max_size=40), st.data())
def test_streamed_words_are_the_answers_however_they_are_cut(text: str, data: st.DataObject) -> None:
    """Cut anywhere, through escapes too, the pieces are the answer's words without control characters."""
    written = json.dumps({"reasoning": 'he said "answer": "x', "answer": text}, ensure_ascii=data.draw(st.booleans()))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=6)))
    words = Unfolding(PROFILE)
    pieces = [words.more(written[i:j]) for i, j in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    assert "".join(pieces) == text.replace("\x1b", "")


def test_nothing_that_is_typed_becomes_a_token_of_the_models() -> None:
    """With every special token of the tokeniser in it, a question has the special tokens of any other, and no more."""
    tokenizer = Tokenizer.from_file(str(embedded_bundle() / "tokenizer.json"))
    special = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    assert "<|im_start|>" in special

    def tokens(text: str) -> list[int]:
        question = Question(question_id="q", kind=QuestionKind.FREE_TEXT, text=neutralised(text))
        ids = tokenizer.encode(turn(question_text(question, PROFILE)), add_special_tokens=False).ids
        return [number for number in ids if number in special.values()]

    typed = " ".join([*special, "<|im_end|>", "<|vision_start|><|image_pad|>", "<think>", "<<|im_start|>", "[INST]"])
    assert tokens(typed) == tokens("Is there a mass?")
    assert "[INST]" not in neutralised(typed)


def _event(content: str | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


def test_a_served_answer_is_streamed_from_a_real_server() -> None:
    """Only the frames asked of are sent, under their numbers; words arrive while the server still writes."""
    text = answer("Deep, on frame 11. é", "", [{"frame": 14, "label": MASS, "bbox": [0, 0, 100, 100]}])
    stream = b"".join(_event(text[i : i + 3]) for i in range(0, len(text), 3))
    stream += _event(None, "stop") + b'data: {"choices": [], "usage": {}}\r\n\r\n' + b"data: [DONE]\n\n"
    chunks = [b": alive\n\n", *(stream[i : i + 7] for i in range(0, len(stream), 7))]

    def reply(body: dict[str, Any]) -> Reply:
        if body.get("stream"):
            return 200, chunks
        said = "Yes" if scope(Anatomy.BRAIN).text in body["messages"][-1]["content"][-1]["text"] else "No"
        chances = {word: 0.98 if word == said else 0.02 for word in ("Yes", "No")}
        return 200, completion(json.dumps({"answer": said, "reasoning": "Seen."}), chances)

    state = ModelServer(reply=reply)
    with serving(state) as server:
        engine = GroundedEngine(
            ServedSpeaker(Server(url=server.url, model="recorded-8b"), PROFILE), replace(card(), free_text=True)
        )
        events = list(engine.ask(_SHOWN, _FREE, ReadingControl()))
        engine.close()
    last = events[-1]
    assert isinstance(last, Answered)
    assert _streamed(events) == "Deep, on frame 11. é" == last.answer.text
    assert [event.frame_number for event in events if isinstance(event, FrameCited)] == [11, 14]
    body = state.bodies[-1]
    assert (body["stream"], body.get("logprobs")) == (True, None)
    content = body["messages"][-1]["content"]
    assert sum(part["type"] == "image_url" for part in content) == 5
    assert [part["text"] for part in content if part["type"] == "text"][:-1] == [f"Frame {n}: " for n in range(10, 15)]


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([_event("Yes"), b"data: [DONE]\n\n"], UnparsableAnswer),
        ([_event("Yes"), _event(None, "length"), b"data: [DONE]\n\n"], UnparsableAnswer),
        ([_event("Yes")], UnparsableAnswer),
        ([b'data: {"error": {"message": "secret"}}\n\n'], EngineUnavailable),
    ],
)
def test_a_stream_that_ends_early_is_no_answer(chunks: list[bytes], error: type[Exception]) -> None:
    """Without its end, cut by its length, or failed in the midst; the server's own words are not repeated."""
    with pytest.raises(error) as found:
        list(event_stream.words(chunks))
    assert "secret" not in str(found.value)
