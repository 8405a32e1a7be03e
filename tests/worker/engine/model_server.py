"""A local OpenAI-compatible server with recorded replies, and what it was asked."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, object]
"""HTTP status; and a JSON document, or the chunks of an event stream."""


@dataclass
class ModelServer:
    """What the server answers, and what it saw.

    Parameters
    ----------
    reply
        Given the body of a chat completion; returns the reply.
    """

    reply: Callable[[dict[str, Any]], Reply]
    models: tuple[str, ...] = ("recorded-8b",)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def completion(text: str, choices: dict[str, float] | None = None, *, finish: str = "stop") -> dict[str, Any]:
    """Return a recorded completion: one token a character, and the alternatives where the answer's value stands.

    Parameters
    ----------
    text
        What the model says.
    choices
        Alternative -> probability, at the first character of the value behind the answer's key.
    finish
        Why it stopped.
    """
    start = text.find('"answer": "') + len('"answer": "')
    start += text[start : start + 1] == "("
    tokens: list[dict[str, Any]] = []
    place = 0
    while place < len(text):
        if place == start and choices:
            said = next(word for word in choices if text.startswith(word, start))
            tops = [{"token": word, "logprob": math.log(chance)} for word, chance in choices.items()]
            tokens.append({"token": said, "logprob": math.log(choices[said]), "top_logprobs": tops})
            place += len(said)
            continue
        tokens.append({"token": text[place], "logprob": 0.0, "top_logprobs": []})
        place += 1
    return {
        "choices": [
            {
                "message": {"role": "assistant", "content": text},
                "logprobs": {"content": tokens},
                "finish_reason": finish,
            }
        ]
    }


@contextmanager
def serving(state: ModelServer) -> Iterator[ModelServer]:
    """Serve on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send((200, {"object": "list", "data": [{"id": name} for name in state.models]}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.bodies.append(body)
                state.keys.append(self.headers.get("Authorization", ""))
                state.under_way += 1
                state.most_under_way = max(state.most_under_way, state.under_way)
            time.sleep(0.01)
            try:
                self._send(state.reply(body))
            finally:
                with state.lock:
                    state.under_way -= 1

        def _send(self, reply: Reply) -> None:
            if isinstance(reply[1], list):  # an event stream, in these chunks
                self.send_response(reply[0])
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.send_header("Connection", "close")
                self.end_headers()
                for chunk in reply[1]:
                    self.wfile.write(chunk)
                    self.wfile.flush()
                self.close_connection = True
                return
            content = reply[1] if isinstance(reply[1], bytes) else json.dumps(reply[1]).encode()
            self.send_response(reply[0])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
