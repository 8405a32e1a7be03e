"""A question by hand: posted from the page of a reading, answered piece by piece.

Who answers is handed in (:class:`Asking`); without one the page has no form.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from plugin.dashboard.access import user_of
from plugin.dashboard.desk import series_of
from sgmri.errors import SgmriError
from worker.journal import SeriesRow

MAX_QUESTION = 300
"""Characters of a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One piece of an answer.

    Parameters
    ----------
    kind
        A piece of text; a frame that it names; a box on one; at the end the whole answer; or why there is none.
    text
        The piece, the label of the box, the whole, or the reason.
    frame_number
        Of the series' volume, from 1.
    box
        x0, y0, x1, y1 in source pixels.
    """

    kind: Literal["text", "frame", "box", "final", "refused"]
    text: str = ""
    frame_number: int | None = None
    box: tuple[float, float, float, float] | None = None


class Asking(Protocol):
    """Who answers a question by hand, and audits it."""

    def __call__(self, row: SeriesRow, *, question: str, frames: str, who: str, tell: Callable[[Said], None]) -> None:
        """Answer a question about a series, or only about some frames ("10-14"; empty: all).

        Raises
        ------
        SgmriError
            If the question is refused, or nobody can answer now.
        """
        ...


@dataclass(kw_only=True)
class OneAtATime:
    """Lets one question be answered at a time: an answer takes a whole engine.

    Parameters
    ----------
    asking
        Who answers.
    """

    asking: Asking
    is_busy: bool = False

    async def events(self, row: SeriesRow, question: str, frames: str, who: str) -> AsyncIterator[str]:
        """Yield the pieces of the answer as server-sent events, as they come."""
        self.is_busy = True
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Said | None]()

        def tell(said: Said | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, said)

        def answer() -> None:
            try:
                self.asking(row, question=question, frames=frames, who=who, tell=tell)
            except SgmriError as error:
                tell(Said(kind="refused", text=str(error)))
            finally:
                tell(None)

        answering = asyncio.create_task(run_in_threadpool(answer))
        answering.add_done_callback(self._done)  # also where the browser has gone meanwhile
        while (said := await pieces.get()) is not None:
            yield f"event: {said.kind}\ndata: {json.dumps(asdict(said))}\n\n"

    def _done(self, answering: "asyncio.Task[None]") -> None:
        self.is_busy = False
        answering.result()


async def ask(request: Request) -> Response:
    """Answer a question about a series, as a stream of events."""
    answering: OneAtATime | None = request.app.state.asking
    if answering is None:
        raise HTTPException(404, "Nobody answers questions here.")
    row = await run_in_threadpool(series_of, request)
    async with request.form(max_files=0, max_fields=8) as form:
        question, frames = str(form.get("question", "")).strip(), str(form.get("frames", "")).strip()
    if not 0 < len(question) <= MAX_QUESTION:
        raise HTTPException(422, f"Expected a question of at most {MAX_QUESTION} characters.")
    if answering.is_busy:
        raise HTTPException(429, "Another question is being answered; ask again in a moment.")
    events = answering.events(row, question, frames, user_of(request).name)
    return StreamingResponse(events, media_type="text/event-stream")
