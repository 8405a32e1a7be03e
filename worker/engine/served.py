"""A model behind an OpenAI-compatible server (vLLM, SGLang): the same questions, the same answers, another process.

Every question of a volume starts with the same bytes, so that the server's prefix cache works; the first is asked
alone, the others at the same time. Pixels leave this process as lossless PNG and nothing else does: no UID, no
header, no name. The server must give log-probabilities, for without them nobody knows how sure an answer is.
"""

import base64
import io
import json
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sgmri.errors import ConfigError, EngineError, EngineUnavailable, UnparsableAnswer
from sgmri.interfaces import Frames, ReadingControl
from worker.engine import event_stream
from worker.engine.conversation import Ask, Weights
from worker.engine.grammar_schema import AnswerLimits, answer_schema
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import Role, answer_keys, choices, prefix, question_text

_log = logging.getLogger(__name__)
_MAX_RESPONSE_BYTES = 4 << 20
_TOP = 20
"""Alternatives that are asked for at every token: the most that the interface allows."""
_FLOOR = math.log(1e-6)
"""What a choice counts as that is not among the alternatives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the model is.

    Parameters
    ----------
    url
        Up to and including ``/v1``.
    model
        Name that the server knows it by.
    key
        Bearer token; empty: none. Never logged.
    timeout_s
        Of one request.
    at_a_time
        Requests under way together.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_s: float = 120.0
    at_a_time: int = 8

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")) or not self.model:
            raise ConfigError(
                "expected worker.served_url as http(s)://host:port/v1 and worker.served_model, found another; "
                "copy both from the server's start-up log"
            )


class ServedSpeaker:
    """A model behind a server (implements :class:`worker.engine.conversation.Speaker`).

    Parameters
    ----------
    server
        Where it is.
    profile
        What its weights were trained on.
    """

    def __init__(self, server: Server, profile: PromptProfile) -> None:
        self.server = server
        self.profile = profile
        headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        self._client = httpx.Client(base_url=server.url.rstrip("/") + "/", headers=headers, timeout=server.timeout_s)

    def check(self) -> None:
        """Ask whether the server knows the model.

        Raises
        ------
        EngineUnavailable
            If it cannot be reached.
        EngineError
            If it has another model.
        """
        known = self.request("models", None).get("data", [])
        names = [entry.get("id") for entry in known if isinstance(entry, dict)]
        if self.server.model not in names:
            raise EngineError(
                f"expected a server with the model that worker.served_model names, found one with {len(names)} others"
            )

    def open(self, frames: Frames, control: ReadingControl) -> "ServedConversation":
        """Prepare what every question of a volume starts with; nothing is sent yet."""
        if control.is_cancelled():
            raise EngineUnavailable("reading cancelled before the volume was sent; it can be started again")
        return ServedConversation(self, frames)

    def close(self) -> None:
        """Close the connections; harmless twice."""
        self._client.close()

    def request(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send one request and return the JSON object that answers it.

        Raises
        ------
        EngineUnavailable
            If the server cannot be reached, is busy, or fails by itself.
        EngineError
            If it refuses the request, or answers no JSON.
        """
        with self._response("GET" if body is None else "POST", path, body) as response:
            content = _bounded(response)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise EngineError(
                "expected a JSON object of the model server, found something else; check worker.served_url"
            )
        return document

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[str]:
        """Send one request and yield the words of its answer as they come; raises as :func:`event_stream.words`."""
        with self._response("POST", path, body) as response:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise EngineError("expected a stream of the model server, found another answer; check its version")
            yield from event_stream.words(response.iter_bytes())

    @contextmanager
    def _response(self, method: str, path: str, body: Mapping[str, Any] | None) -> Iterator[httpx.Response]:
        """Send one request; what goes wrong until its answer was read is an error of ours."""
        try:
            with self._client.stream(method, path, json=body) as response:
                _require_taken(response.status_code)
                yield response
        except httpx.HTTPError as error:
            raise EngineUnavailable(
                f"expected an answer of the model server, found {type(error).__name__}; check worker.served_url, "
                "the network between, and that the server is up"
            ) from None
        except RuntimeError:
            raise EngineUnavailable("the connection to the model server is closed; open the engine again") from None


def _require_taken(status: int) -> None:
    if status >= 500 or status in (408, 429):
        raise EngineUnavailable(f"expected an answer of the model server, found HTTP {status}; it is asked again")
    if status >= 400:
        raise EngineError(
            f"expected the model server to take the request, found HTTP {status}; check its model, its key, and "
            "that it allows images, JSON schemas and log-probabilities"
        )


class ServedConversation:
    """One volume, asked of a server (implements :class:`worker.engine.conversation.Conversation`).

    Parameters
    ----------
    speaker
        Where it is asked.
    frames
        The volume.
    """

    def __init__(self, speaker: ServedSpeaker, frames: Frames) -> None:
        self._speaker = speaker
        self._frames = frames
        self._lock = threading.Lock()
        self._images: dict[int, str] = {}

    def maps(self) -> None:
        """Return nothing: a server gives no visual tokens away."""

    def close(self) -> None:
        """Forget the images; harmless twice."""
        self._images.clear()

    def weigh(self, asked: Sequence[Ask], control: ReadingControl) -> list[Weights | None]:
        """Return how likely each choice is, read at the token where the answer stands."""
        replies = self._asked(asked, control)
        return [
            None if reply is None else _weights(ask, reply, self._speaker.profile)
            for ask, reply in zip(asked, replies, strict=True)
        ]

    def say(self, asked: Sequence[Ask], control: ReadingControl) -> list[str | None]:
        """Return the answers as text."""
        return [None if reply is None else _text(reply) for reply in self._asked(asked, control)]

    def tell(self, ask: Ask, control: ReadingControl) -> Iterator[str]:
        """Yield the answer to one question as the server writes it; leaving the generator ends the request."""
        body = {name: value for name, value in self._body(ask).items() if name not in ("logprobs", "top_logprobs")}
        for words in self._speaker.stream("chat/completions", {**body, "stream": True}):
            if control.is_cancelled():
                raise EngineUnavailable("the question was cancelled while the answer came; it can be asked again")
            if control.remaining_s() <= 0:
                raise UnparsableAnswer("the answer was cut off by the time limit")
            yield words

    def _asked(self, asked: Sequence[Ask], control: ReadingControl) -> list[dict[str, Any] | None]:
        replies: list[dict[str, Any] | None] = [None] * len(asked)
        with ThreadPoolExecutor(self._speaker.server.at_a_time) as pool:
            for places in self._waves(asked):
                bodies = []
                for place in places:
                    if control.is_cancelled():
                        raise EngineUnavailable("reading cancelled between questions; it can be started again")
                    if control.remaining_s() > 0:
                        bodies.append((place, self._body(asked[place])))
                futures = [
                    (place, pool.submit(self._speaker.request, "chat/completions", body)) for place, body in bodies
                ]
                for place, future in futures:
                    replies[place] = future.result()
        return replies

    def _waves(self, asked: Sequence[Ask]) -> Iterator[list[int]]:
        """Yield the places of questions that go out together: of each prefix one first, then the others."""
        seen: dict[int | None, int] = {}
        for place, ask in enumerate(asked):
            seen.setdefault(ask.frame_index, place)
        first = list(seen.values())
        step = self._speaker.server.at_a_time
        others = [place for place in range(len(asked)) if place not in set(first)]
        for group in (first, others):
            for start in range(0, len(group), step):
                yield group[start : start + step]

    def _body(self, ask: Ask) -> dict[str, Any]:
        profile, question = self._speaker.profile, ask.question
        alone = ask.frame_index is not None
        shown = self._frames if ask.frame_index is None else _only(self._frames, ask.frame_index)
        offset = ask.frame_index or 0
        messages = chat_messages(shown, profile, lambda index: self._image(index + offset))
        messages[-1]["content"].append({"type": "text", "text": question_text(question, profile, known=ask.known)})
        count, rows, columns = shown.pixels.shape
        first = profile.frame_base + shown.first_frame_index
        limits = AnswerLimits(
            frame_numbers=(first, first + count - 1),
            rows=rows,
            columns=columns,
            labels=question.labels,
            min_boxes=0 if alone else 1,
        )
        schema = answer_schema(question, profile, limits)
        budget = profile.pixel_budget
        return {
            "model": self._speaker.server.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": 1024,
            "logprobs": True,
            "top_logprobs": _TOP,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            },
            # vLLM and SGLang hand this to the processor; servers that do not know it leave it out
            "mm_processor_kwargs": {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels},
        }

    def _image(self, frame_index: int) -> str:
        """Return a frame as a data URL; made once, so that its bytes are always the same."""
        with self._lock:
            if frame_index not in self._images:
                self._images[frame_index] = png_url(self._frames.pixels[frame_index])
            return self._images[frame_index]


def chat_messages(frames: Frames, profile: PromptProfile, image: Callable[[int], str]) -> list[dict[str, Any]]:
    """Return the turns that show a volume, the user's own still open for the question.

    Parameters
    ----------
    frames, profile
        What is shown, and how.
    image
        Frame index -> its data URL.
    """
    messages: list[dict[str, Any]] = []
    for role, segments in groupby(prefix(frames, profile), key=lambda segment: segment.role):
        if role is Role.SYSTEM:
            messages.append({"role": "system", "content": "".join(segment.text for segment in segments)})
            continue
        content: list[dict[str, Any]] = []
        for segment in segments:
            if segment.text:
                content.append({"type": "text", "text": segment.text})
            for index in dict.fromkeys(segment.frame_indices):
                content.append({"type": "image_url", "image_url": {"url": image(index)}})
        messages.append({"role": "user", "content": content})
    return messages


def png_url(pixels: NDArray[np.uint8]) -> str:
    """Return a frame, uint8 (rows, columns), as a data URL of a lossless PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _only(frames: Frames, frame_index: int) -> Frames:
    return replace(frames, pixels=frames.pixels[frame_index : frame_index + 1], first_frame_index=0)


def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _MAX_RESPONSE_BYTES:
            raise EngineError(f"expected at most {_MAX_RESPONSE_BYTES} bytes of the model server, found more")
    return bytes(content)


def _choice_of(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise EngineError("expected one choice in the model server's answer, found none; check its version")
    first: Mapping[str, Any] = choices[0]
    return first


def _text(reply: Mapping[str, Any]) -> str | None:
    """Return the answer's text; None where it was cut off or is none."""
    choice = _choice_of(reply)
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) and choice.get("finish_reason") == "stop" else None


def _weights(ask: Ask, reply: Mapping[str, Any], profile: PromptProfile) -> Weights | None:
    """Return the log-probabilities of the choices behind the answer's key; None where it was not reached."""
    tokens = _tokens(reply)
    key = answer_keys(profile)[0] if profile.answer_first else answer_keys(profile)[1]
    opening, said = choices(ask.question, profile)
    mark = f'"{key}": "{opening}'
    text = ""
    for token in tokens:
        # White space is the server's own; the mark is looked for without it
        if _plain(text).endswith(_plain(mark)):
            return _among(token, said)
        text += str(token.get("token", ""))
    return None


def _plain(text: str) -> str:
    return "".join(text.split())


def _tokens(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    logprobs = _choice_of(reply).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not all(isinstance(token, dict) for token in content):
        raise EngineError(
            "expected log-probabilities in the model server's answer, found none; start the server so that it allows "
            "them (vLLM: --max-logprobs 20 or more)"
        )
    return content


def _among(token: Mapping[str, Any], choices: Sequence[str]) -> Weights | None:
    """Return the log-probabilities of the choices among a token's alternatives; None where none of them is there."""
    found: dict[str, float] = {}
    for entry in (token, *token.get("top_logprobs", [])):
        said, value = str(entry.get("token", "")).strip(), entry.get("logprob")
        if said in choices and isinstance(value, int | float) and math.isfinite(value):
            found[said] = max(float(value), _FLOOR)
    if not found:
        return None
    return tuple(found.get(choice, _FLOOR) for choice in choices)
