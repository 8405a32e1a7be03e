"""Live updates by server-sent events: one look at the journal a second serves every page that is open.

References
----------
WHATWG HTML Standard, 9.2 (server-sent events)
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.journal import Journal
from worker.watching import pulse

_log = logging.getLogger(__name__)

_COMMENT_S = 15.0
"""A line that says nothing, so that proxies do not take the connection for dead."""
_LONGEST_S = 600.0
"""Then the browser connects again, and whoever was logged out meanwhile is refused."""


@dataclass(kw_only=True)
class Watch:
    """Looks at the journal for as long as a page is open, and says when it has changed.

    Parameters
    ----------
    journal
        The truth.
    most
        Connections at a time.
    look_s
        Time between two looks.
    """

    journal: Journal
    most: int
    look_s: float = 1.0
    connections: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None

    async def events(self) -> AsyncGenerator[str]:
        """Yield an event for each change of the journal, and comments between."""
        self.connections += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())
            loop = asyncio.get_running_loop()
            end = loop.time() + _LONGEST_S
            yield "retry: 3000\n\n"
            while loop.time() < end:
                try:
                    await asyncio.wait_for(self._changed.wait(), _COMMENT_S)
                    yield "event: changed\ndata:\n\n"
                except TimeoutError:
                    yield ":\n\n"
        finally:
            self.connections -= 1

    async def _look(self) -> None:
        known = None
        while self.connections:
            try:
                found = await run_in_threadpool(pulse, self.journal)
            except SQLAlchemyError as error:
                _log.warning("the journal is away (%s); pages are not kept up to date", type(error).__name__)
            else:
                if found != known and known is not None:
                    self._changed.set()  # wakes whoever waits now
                    self._changed = asyncio.Event()
                known = found
            await asyncio.sleep(self.look_s)


async def events(request: Request) -> Response:
    """Stream the changes; 503 where as many pages as allowed are kept up to date already."""
    watch: Watch = request.app.state.watch
    if watch.connections >= watch.most:
        raise HTTPException(503, "Too many pages are kept up to date; load this one again by hand.")
    return StreamingResponse(watch.events(), media_type="text/event-stream")
