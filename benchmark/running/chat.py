"""Ask a model behind an OpenAI-compatible server one question, and keep what it said as it said it.

Nothing is forced upon the model: no grammar, no log-probabilities, so that any server will do. Pixels leave this
process as lossless PNG, with the question and the kind of series; no name, no header.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmark.items import Item, Prediction
from benchmark.running.profiles import MINIMAL
from benchmark.scoring.strict import question_of
from sgmri.errors import EngineError, EngineUnavailable
from sgmri.interfaces import Frames
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import question_text
from worker.engine.served import ServedSpeaker, Server, chat_messages, png_url

_WAITS_S = (1.0, 4.0, 16.0)
"""How long to wait before a server that fails by itself is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens cost, in USD."""

    prompt_usd: float
    completion_usd: float

    def cost_usd(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Return what an answer cost; None where the server counted no tokens."""
        if prompt_tokens is None or completion_tokens is None:
            return None
        return (prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd) / 1e6


class ChatModel:
    """A model that answers items.

    Parameters
    ----------
    server
        Where it is.
    profile
        How it is asked.
    prices
        What it costs; None where nobody knows.
    max_tokens
        Longest answer.
    sleep
        Waits some seconds; an argument for tests.
    """

    def __init__(
        self,
        server: Server,
        profile: PromptProfile,
        *,
        prices: Prices | None = None,
        max_tokens: int = 2048,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speaker = ServedSpeaker(server, profile)
        self._profile = profile
        self._prices = prices
        self._max_tokens = max_tokens
        self._sleep = sleep

    def check(self) -> None:
        """Ask whether the server knows the model; raises EngineError where it does not."""
        self._speaker.check()

    def close(self) -> None:
        """Close the connections."""
        self._speaker.close()

    def answer(self, item: Item, frames: Frames) -> Prediction:
        """Ask one question.

        Parameters
        ----------
        item, frames
            The question and what it is about.

        Returns
        -------
        What was said. A question that the server refuses has no text and says why; it is unanswered.

        Raises
        ------
        EngineUnavailable
            If the server cannot be reached or keeps failing: the run stops, and can be taken up again.
        """
        body = self.body(item, frames)
        begin = time.perf_counter()
        try:
            reply = self._reply(body)
            text, usage = _content(reply), reply.get("usage")
        except EngineUnavailable:
            raise
        except EngineError as error:
            return Prediction(item_id=item.item_id, text="", latency_s=time.perf_counter() - begin, error=str(error))
        tokens = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        return Prediction(
            item_id=item.item_id,
            text=text,
            latency_s=time.perf_counter() - begin,
            cost_usd=None if self._prices is None else self._prices.cost_usd(*tokens),
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
        )

    def body(self, item: Item, frames: Frames) -> dict[str, Any]:
        """Return the request for one question."""
        question = question_of(item)
        if self._profile.name == MINIMAL.name:
            question = replace(question, labels=())  # the bare question says nothing of how to label boxes
        messages = chat_messages(frames, self._profile, lambda index: png_url(frames.pixels[index]))
        messages[-1]["content"].append({"type": "text", "text": question_text(question, self._profile)})
        return {
            "model": self._speaker.server.model,
            "messages": messages,
            "temperature": 0,
            "seed": 42,  # as published
            "max_tokens": self._max_tokens,
        }

    def _reply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        for wait_s in _WAITS_S:
            try:
                return self._speaker.request("chat/completions", body)
            except EngineUnavailable:
                self._sleep(wait_s)
        return self._speaker.request("chat/completions", body)


def _content(reply: Mapping[str, Any]) -> str:
    try:
        content = reply["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        content = None
    if not isinstance(content, str):
        raise EngineError("expected one choice with a text in the model server's answer, found none; check its version")
    return content


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else None
