"""The events of a model server's answer as it is written (server-sent events, WHATWG HTML 9.2), within bounds."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from sgmri.errors import EngineError, EngineUnavailable, UnparsableAnswer

_MAX_BYTES = 4 << 20
_DONE = "[DONE]"


def words(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the words of a chat completion out of the bytes of its event stream.

    Parameters
    ----------
    chunks
        The response's body as it comes.

    Raises
    ------
    UnparsableAnswer
        If the answer was cut off: by its length, or because the stream ended early.
    EngineUnavailable
        If the server says in the stream that it failed.
    EngineError
        If the stream is none, or longer than any answer.
    """
    finished = None
    for data in _data(chunks):
        if data == _DONE:
            break
        event = _event(data)
        choices = event.get("choices")
        if not choices:
            continue  # the figures of usage that some servers send last
        choice = choices[0] if isinstance(choices, list) and isinstance(choices[0], dict) else {}
        delta = choice.get("delta")
        content = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(content, str) and content:
            yield content
        finished = choice.get("finish_reason") or finished
    if finished != "stop":
        raise UnparsableAnswer("the answer was cut off")


def _event(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise EngineError("expected JSON in the model server's stream, found something else; check its version")
    if "error" in event:
        raise EngineUnavailable("expected an answer of the model server, found an error in its stream; ask again")
    return event


def _data(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of every event; comments (a server's sign of life) and other fields are passed over."""
    held: list[str] = []
    for line in _lines(chunks):
        if line.startswith("data:"):
            held.append(line[5:].removeprefix(" "))
        elif not line and held:
            yield "\n".join(held)
            held = []


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest, size = b"", 0
    for chunk in chunks:
        size += len(chunk)
        if size > _MAX_BYTES:
            raise EngineError(f"expected at most {_MAX_BYTES} bytes of the model server, found more")
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
