import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError, EngineError, EngineUnavailable
from sgmri.interfaces import ReadingControl
from sgmri.questions import Answer, Presence, QuestionKind, Unanswered
from sgmri.settings import Worker
from sgmri.volume import Anatomy
from tests.worker.engine.model_server import ModelServer, Reply, completion, serving
from tests.worker.engine.scripted import LACUNE, PROFILE, WHITE_MATTER, Script, card, frames
from worker.engine.conversation import Ask
from worker.engine.grounded import GroundedEngine
from worker.engine.profiles import PROFILES
from worker.engine.served import ServedSpeaker, Server
from worker.engine.served_card import served_engine

_BRAIN = STANDARD[Anatomy.BRAIN]
_PLACES = {WHITE_MATTER: {2: [(40, 60, 52, 70)], 3: [(40, 60, 52, 72)]}, LACUNE: {5: [(100, 90, 112, 100)]}}
_FRAMES = replace(frames(), pixels=np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((8, 200, 250), np.uint8))


def _recorded(script: Script) -> Callable[[dict[str, Any]], Reply]:
    """Return a server's replies that say what a script says; the frame is told by its grey value."""
    talk = script.open(_FRAMES, ReadingControl())
    questions = {question.text: question for question in _BRAIN.questions}

    def reply(body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        images = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        asked = content[-1]["text"]
        frame = _grey(images[0]) if len(images) == 1 else None
        lines = asked.strip().split("\n")
        text = lines[0].removeprefix("Question: ")
        ask = _ask(text, asked, frame, questions)
        if ask.question.kind in (QuestionKind.LOCALISATION, QuestionKind.CAPTIONING):
            return 200, completion(str(talk.say([ask], ReadingControl())[0]))
        weights = talk.weigh([ask], ReadingControl())[0]
        assert weights is not None
        words = ("Yes", "No") if ask.question.kind is QuestionKind.DETECTION else tuple("ABCD"[: len(weights)])
        chances = {word: float(np.exp(weight)) for word, weight in zip(words, weights, strict=True)}
        said = max(chances, key=lambda word: chances[word])
        value = said if ask.question.kind is QuestionKind.DETECTION else f"({said})"
        return 200, completion(json.dumps({"answer": value, "reasoning": "Seen."}), chances)

    return reply


def _ask(text: str, asked: str, frame: int | None, questions: dict[str, Any]) -> Ask:
    from sgmri.questions import Question
    from worker.engine.controls import absent_by_design, scope

    controls = {question.text: question for question in (scope(Anatomy.BRAIN), *absent_by_design(Anatomy.BRAIN))}
    question = questions.get(text) or controls.get(text)
    if question is None:
        kind = QuestionKind.LOCALISATION if text.startswith("Where") else QuestionKind.DETECTION
        label = next(label for label in (WHITE_MATTER, LACUNE, "Mass") if label in text)
        question = Question(question_id="frame", kind=kind, text=text, labels=(label,))
    options = tuple(line[4:] for line in asked.split("\n") if line[:1] == "(" and line[2:4] == ") ")
    known = next((line for line in asked.split("\n") if line.startswith("Findings:")), "")
    return Ask(question=replace(question, options=options), frame_index=frame, known=known)


def _grey(url: str) -> int:
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return int(np.asarray(image)[0, 0])


@contextmanager
def _engine(state: ModelServer, *, key: str = "") -> Iterator[GroundedEngine]:
    with serving(state):
        speaker = ServedSpeaker(Server(url=state.url, model="recorded-8b", key=key), PROFILE)
        yield GroundedEngine(speaker, card())
        speaker.close()


def _read(engine: GroundedEngine) -> dict[str, Answer]:
    return {answer.question_id: answer for answer in engine.answer(_FRAMES, _BRAIN, ReadingControl())}


def test_the_same_questions_give_the_same_answers() -> None:
    """Recorded replies of a server lead to the answers that the same words lead to in this process."""
    local = _read(GroundedEngine(Script(places=_PLACES), card()))
    with _engine(ModelServer(reply=_recorded(Script(places=_PLACES)))) as engine:
        served = _read(engine)
    assert served.keys() == local.keys()
    for name, answer in served.items():
        mine = local[name]
        assert (answer.presence, answer.count, answer.chosen, answer.unanswered) == (
            mine.presence,
            mine.count,
            mine.chosen,
            mine.unanswered,
        )
        assert answer.evidence == mine.evidence
    assert served["brain.screen.white-matter"].presence is Presence.PRESENT
    assert served["brain.screen.mass"].certainty == pytest.approx(0.98)


def test_every_question_of_a_volume_starts_with_the_same_bytes() -> None:
    """All bodies about the volume share everything before the question; the first goes out before the others."""
    state = ModelServer(reply=_recorded(Script(places=_PLACES)))
    with _engine(state) as engine:
        _read(engine)
    whole = [body for body in state.bodies if len(body["messages"][-1]["content"]) > 4]
    starts = {json.dumps([body["messages"][0], body["messages"][-1]["content"][:-1]]) for body in whole}
    assert len(whole) > 8
    assert len(starts) == 1
    assert state.most_under_way > 1
    assert all(body["temperature"] == 0 for body in state.bodies)
    budget = PROFILE.pixel_budget
    assert state.bodies[0]["mm_processor_kwargs"] == {
        "min_pixels": budget.min_pixels,
        "max_pixels": budget.max_pixels,
    }


def test_pixels_arrive_as_they_are_and_alone() -> None:
    """Frames are lossless PNG, and a request holds words of the prompt and nothing else."""
    state = ModelServer(reply=_recorded(Script()))
    rng = np.random.default_rng(0)
    shown = replace(_FRAMES, pixels=rng.integers(0, 256, (1, 40, 50), dtype=np.uint8))
    with _engine(state) as engine:
        conversation = engine._speaker.open(shown, ReadingControl())
        conversation.weigh([Ask(question=_BRAIN["brain.any"])], ReadingControl())
    (image,) = [part["image_url"]["url"] for part in state.bodies[0]["messages"][-1]["content"] if "image_url" in part]
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))))
    np.testing.assert_array_equal(decoded, shown.pixels[0])
    assert set(state.bodies[0]) == {
        "model",
        "messages",
        "temperature",
        "max_tokens",
        "logprobs",
        "top_logprobs",
        "response_format",
        "mm_processor_kwargs",
    }


def test_the_key_is_sent_and_never_shown() -> None:
    """The bearer token reaches the server and stands in no representation."""
    state = ModelServer(reply=_recorded(Script()))
    with _engine(state, key="secret-token") as engine:
        engine.answer(_FRAMES, _BRAIN, ReadingControl())
    assert set(state.keys) == {"Bearer secret-token"}
    assert "secret-token" not in repr(Server(url="http://h/v1", model="m", key="secret-token"))


def test_reasoning_first_profiles_are_weighed_at_the_answer() -> None:
    """Where the weights reason first, the choice is read behind the answer's key, not at the reasoning's start."""
    text = '{"reasoning": "Yes, dark.", "answer": "No"}'
    with serving(ModelServer(reply=lambda body: (200, completion(text, {"No": 0.9, "Yes": 0.1})))) as state:
        speaker = ServedSpeaker(Server(url=state.url, model="recorded-8b"), PROFILES["sgmri-vqa-sft"])
        (weights,) = speaker.open(_FRAMES, ReadingControl()).weigh(
            [Ask(question=_BRAIN["brain.any"])], ReadingControl()
        )
        speaker.close()
    assert weights is not None
    assert weights[1] > weights[0]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((503, {"error": "busy"}), EngineUnavailable),
        ((429, {"error": "slow down"}), EngineUnavailable),
        ((400, {"error": "no images"}), EngineError),
        ((401, {"error": "no key"}), EngineError),
        ((200, b"<html>"), EngineError),
        ((200, []), EngineError),
        ((200, {"choices": []}), EngineError),
        ((200, {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]}), EngineError),
        ((200, b"[" * (5 << 20)), EngineError),
    ],
)
def test_a_server_that_fails_is_told_from_one_that_refuses(reply: Reply, error: type[Exception]) -> None:
    """Busy and broken are tried again; refusals, strange documents, missing log-probabilities and floods are not."""
    with _engine(ModelServer(reply=lambda body: reply)) as engine, pytest.raises(error) as caught:
        engine.answer(_FRAMES, _BRAIN, ReadingControl())
    assert type(caught.value) is error


def test_a_server_that_is_not_there_is_transient() -> None:
    """No connection, and a closed one, may come back."""
    speaker = ServedSpeaker(Server(url="http://127.0.0.1:9/v1", model="m"), PROFILE)
    with pytest.raises(EngineUnavailable):
        speaker.check()
    speaker.close()
    speaker.close()
    with pytest.raises(EngineUnavailable):
        speaker.check()


def _always(document: dict[str, object]) -> Callable[[dict[str, object]], tuple[int, dict[str, object]]]:
    return lambda body: (200, document)


def test_what_is_cut_off_or_strange_is_no_answer() -> None:
    """A cut-off text, and a choice that is not among the alternatives, are nothing: never a negative."""
    for document in (
        completion('{"answer": "No", "reas', {"No": 1.0}, finish="length"),
        completion('{"answer": "Perhaps"}', {"Perhaps": 1.0}),
        completion('{"reasoning": "only"}'),
    ):
        with _engine(ModelServer(reply=_always(document))) as engine:
            conversation = engine._speaker.open(_FRAMES, ReadingControl())
            asks = [Ask(question=_BRAIN["brain.any"])]
            said = conversation.say(asks, ReadingControl())
            weighed = conversation.weigh(asks, ReadingControl())
        assert None in (said[0], weighed[0])


def test_cancel_and_deadline_stop_between_questions() -> None:
    """A cancelled reading sends nothing more; after the time limit nothing more is asked."""
    state = ModelServer(reply=_recorded(Script()))
    with _engine(state) as engine:
        with pytest.raises(EngineUnavailable, match="cancelled"):
            conversation = engine._speaker.open(_FRAMES, ReadingControl())
            conversation.weigh([Ask(question=_BRAIN["brain.any"])], ReadingControl(is_cancelled=lambda: True))
        late = conversation.say([Ask(question=_BRAIN["brain.summary"])], ReadingControl(remaining_s=lambda: 0.0))
    assert late == [None]
    assert not state.bodies


def test_the_engine_is_made_from_settings() -> None:
    """URL, model and profile come from the table worker; a wrong one is named; the identity fits into DICOM."""
    with serving(ModelServer(reply=_recorded(Script()), models=("org/Model-8B:" + "x" * 80,))) as state:
        settings = Worker(engine="served", served_url=state.url, served_model=state.models[0])
        engine = served_engine(settings, "")
        identity = engine.describe()
        assert len(identity.name) <= 64
        assert len(identity.digest) == 64
        engine.close()
        with pytest.raises(EngineError, match="others"):
            served_engine(replace(settings, served_model="another"), "")
        with pytest.raises(ConfigError, match="served_profile"):
            served_engine(replace(settings, served_profile="none"), "")
    for url in ("", "ftp://x", "127.0.0.1:80"):
        with pytest.raises(ConfigError, match="served_url"):
            Server(url=url, model="m")


def test_a_finding_on_a_frame_is_asked_with_that_frame_only() -> None:
    """A question about one frame carries one image, of that frame, and allows its number alone."""
    state = ModelServer(reply=_recorded(Script(places=_PLACES)))
    with _engine(state) as engine:
        answers = _read(engine)
    assert answers["brain.where.white-matter"].unanswered is not Unanswered.UNPARSABLE
    single = [body for body in state.bodies if sum("image_url" in p for p in body["messages"][-1]["content"]) == 1]
    assert {
        _grey(next(p["image_url"]["url"] for p in b["messages"][-1]["content"] if "image_url" in p)) for b in single
    } == set(range(8))
    boxed = next(body for body in single if "bboxes" in json.dumps(body["response_format"]))
    box = boxed["response_format"]["json_schema"]["schema"]["properties"]["bboxes"]["items"]
    assert box["properties"]["frame"] == {"type": "integer", "minimum": 1, "maximum": 1}
