import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.items import Item, Level, Task
from benchmark.running.chat import ChatModel, Prices
from benchmark.running.ledger import Ledger
from benchmark.running.pictures import Pictures, blank
from benchmark.running.profiles import PROFILES, profile_named
from benchmark.running.run import ask_model, open_items
from sgmri.errors import ConfigError, EngineUnavailable
from tests.benchmark.scoring.examples import EVERY, IS_THERE, WHERE_IN_FRAME
from tests.worker.engine.model_server import ModelServer, Reply, completion, serving
from worker.engine.served import Server

_SMALL = replace(IS_THERE, frame_numbers=(1, 2, 3), rows=16, columns=24)


def _model(state: ModelServer, profile: str = "published-minimal", *, prices: Prices | None = None) -> ChatModel:
    server = Server(url=state.url, model="recorded-8b")
    return ChatModel(server, PROFILES[profile], prices=prices, sleep=lambda seconds: None)


def _text_of(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return "".join(part["text"] for part in content if part["type"] == "text")


def _always(text: str) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: (200, completion(text) | {"usage": {"prompt_tokens": 2000, "completion_tokens": 100}})


def test_an_answer_is_kept_as_it_came_with_its_cost() -> None:
    """The text is the server's, tokens are counted, and their prices give the cost."""
    with serving(ModelServer(reply=_always("<think>hm</think> Yes.\n"))) as state:
        model = _model(state, prices=Prices(prompt_usd=5.0, completion_usd=20.0))
        said = model.answer(_SMALL, blank(_SMALL))
        model.close()
    assert said.text == "<think>hm</think> Yes.\n"
    assert (said.prompt_tokens, said.completion_tokens, said.error) == (2000, 100, None)
    assert said.cost_usd == pytest.approx(0.012)
    assert said.latency_s > 0


def test_the_profiles_ask_as_they_say() -> None:
    """The bare question asks for no form; the JSON one does; ours names every frame."""
    where = replace(WHERE_IN_FRAME, rows=16, columns=24, boxes=(), context=())
    with serving(ModelServer(reply=_always("Yes."))) as state:
        for profile in ("published-minimal", "published-json", "sgmri"):
            _model(state, profile).answer(where, blank(where))
    minimal, published, ours = state.bodies
    assert _text_of(minimal).strip() == f"Question: {where.question}"
    assert "JSON" not in minimal["messages"][0]["content"]
    assert "JSON" in published["messages"][0]["content"] and "width, height" in published["messages"][0]["content"]
    assert _text_of(ours).startswith("Frame 1: ") and "0 to 1000" in ours["messages"][0]["content"]
    assert all(body["temperature"] == 0 and "response_format" not in body for body in state.bodies)


@pytest.mark.parametrize("reply", [(400, {}), (200, {"choices": []})])
def test_a_server_that_refuses_a_question_leaves_it_unanswered(reply: Reply) -> None:
    """Refused, or answered with no text: the reason is kept, and nothing counts as an answer."""
    with serving(ModelServer(reply=lambda body: reply)) as state:
        said = _model(state).answer(_SMALL, blank(_SMALL))
    assert said.text == "" and said.error is not None and "expected" in said.error


def test_a_server_that_fails_is_asked_again_and_then_stops_the_run(tmp_path: Path) -> None:
    """One failure costs nothing; a server that is gone ends the run, and what was answered is kept."""
    failures = Counter[str]()

    def reply(body: dict[str, Any]) -> Reply:
        question = _text_of(body)
        failures[question] += 1
        if "meniscus" in question and failures[question] == 1:
            return 503, {}
        return (503, {}) if "How many" in question else (200, completion("Yes."))

    items = [_SMALL, replace(_SMALL, item_id="b", question="How many findings are there?")]
    with serving(ModelServer(reply=reply)) as state, Ledger(tmp_path / "answers") as ledger:
        with pytest.raises(EngineUnavailable):
            ask_model(items, _model(state), blank, ledger, at_a_time=1)
        assert list(ledger.answers) == [_SMALL.item_id]
        assert open_items(items, ledger) == items[1:]
    assert sorted(failures.values()) == [2, 4]


def _write_frames(folder: Path, item: Item, columns: int) -> None:
    out = folder / "frames" / "published" / item.volume_id
    out.mkdir(parents=True)
    for number in item.frame_numbers:
        Image.fromarray(np.full((item.rows, columns), number, np.uint8)).save(out / f"{number:03d}.png")


def _first_pixels(body: dict[str, Any]) -> list[int]:
    urls = [part["image_url"]["url"] for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
    return [int(np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))[0, 0]) for url in urls]


def test_a_model_is_shown_the_frames_of_its_question(tmp_path: Path) -> None:
    """All frames of a volume in order, the one of an image, black ones when asked blindly."""
    image = replace(_SMALL, item_id="image", level=Level.IMAGE, frame_numbers=(2,))
    _write_frames(tmp_path, _SMALL, _SMALL.columns)
    shown = Pictures(tmp_path, "published").of
    with serving(ModelServer(reply=_always("Yes."))) as state:
        model = _model(state)
        for item, frames in ((_SMALL, shown(_SMALL)), (image, shown(image)), (image, blank(image))):
            model.answer(item, frames)
    assert [_first_pixels(body) for body in state.bodies] == [[1, 2, 3], [2], [0]]
    assert "file1000291" not in json.dumps(state.bodies)


def test_frames_that_are_missing_or_of_another_size_are_refused(tmp_path: Path) -> None:
    """No picture, no rendering of that name, and other pixels than the boxes are in: each is said."""
    with pytest.raises(ConfigError, match="benchmark images"):
        Pictures(tmp_path, "published")
    _write_frames(tmp_path, _SMALL, 25)
    with pytest.raises(ConfigError, match="expected 24 x 16 pixels"):
        Pictures(tmp_path, "published").of(_SMALL)
    with pytest.raises(ConfigError, match="none that can be read"):
        Pictures(tmp_path, "published").of(replace(_SMALL, frame_numbers=(9,)))


def test_every_profile_can_ask_every_task() -> None:
    """No question of the benchmark is refused by a profile, and an unknown one is."""
    with serving(ModelServer(reply=_always("Yes."))) as state:
        for name in PROFILES:
            for item in EVERY:
                _model(state, name).answer(item, blank(replace(item, rows=4, columns=4)))
    assert {item.task for item in EVERY} >= {Task.DETECTION, Task.DIAGNOSIS}
    assert len(state.bodies) == len(PROFILES) * len(EVERY)
    with pytest.raises(ConfigError, match="published-minimal"):
        profile_named("none")
