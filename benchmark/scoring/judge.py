"""A language model as judge of texts, behind an OpenAI-compatible server: optional, and never part of our own scores.

As published it sees the output and the reference, neither question nor image. What it said is kept in no file: marks
of another model or another day are another score.
"""

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmark.scoring.published_text import Opinion
from sgmri.errors import EngineError
from worker.engine.profiles import PROFILES
from worker.engine.served import ServedSpeaker, Server

_PROMPT = """You compare a radiology answer with a reference answer.
Give whole marks from 1 to 10 for accuracy, relevance and helpfulness.
Reply with one JSON object only: {{"accuracy": n, "relevance": n, "helpfulness": n}}

Reference answer:
{reference}

Answer to be marked:
{candidate}"""
_MARKS = ("accuracy", "relevance", "helpfulness")


class Judge:
    """Asks a model for marks.

    Parameters
    ----------
    server
        Where the model is; text only.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._speaker = ServedSpeaker(server, PROFILES["sgmri"])  # a judge is shown no frames: any profile will do

    @property
    def name(self) -> str:
        """The model's name."""
        return self._server.model

    def opinions(self, texts: Sequence[tuple[str, str] | None]) -> list[Opinion | None]:
        """Return an opinion of every pair of output and reference, in order; None where there is no pair.

        The reference is marked against itself as well, once. A judge that fails gives no marks for an output, and
        is published as 0; one that fails at the reference leaves it at full marks.
        """
        wanted = {pair for text in texts if text is not None for pair in (text, (text[1], text[1]))}
        marks = self._marks(sorted(wanted))
        return [
            None if text is None else Opinion(candidate=marks[text], reference=marks[text[1], text[1]] or (10, 10, 10))
            for text in texts
        ]

    def _marks(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int, int] | None]:
        asked = list(pairs)
        with ThreadPoolExecutor(self._server.at_a_time) as pool:
            return dict(zip(asked, pool.map(self._mark, asked), strict=True))

    def _mark(self, pair: tuple[str, str]) -> tuple[int, int, int] | None:
        body = {
            "model": self._server.model,
            "messages": [{"role": "user", "content": _PROMPT.format(candidate=pair[0], reference=pair[1])}],
            "temperature": 0,
            "max_tokens": 200,
        }
        try:
            reply = self._speaker.request("chat/completions", body)
            text = reply["choices"][0]["message"]["content"]
            found = json.loads(re.sub(r"\A.*?(?=\{)|(?<=\})[^}]*\Z", "", text, flags=re.DOTALL))
            accuracy, relevance, helpfulness = (int(found[name]) for name in _MARKS)
        except (EngineError, LookupError, TypeError, ValueError):
            return None
        marks = accuracy, relevance, helpfulness
        return marks if all(1 <= mark <= 10 for mark in marks) else None
