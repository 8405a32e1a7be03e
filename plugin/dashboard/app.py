"""The application: every address with the role that it needs, in one table."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from plugin.dashboard import live, studies
from plugin.dashboard.access import Access, Role, requires, user_of
from plugin.dashboard.desk import Desk, make_templates, page, static_folder
from sgmri.audit import Auditor
from sgmri.errors import SgmriError
from sgmri.settings import Settings
from worker.journal import Journal

_MAX_BODY_BYTES = 64 << 10
"""Of every request but a rule test: forms are small."""

Endpoint = Callable[[Request], Response | Awaitable[Response]]


def application(settings: Settings, journal: Journal, *, access: Access, auditor: Auditor) -> Starlette:
    """Make the dashboard.

    Parameters
    ----------
    settings
        The configuration.
    journal
        The truth; open for as long as the application runs.
    access
        Who may log in, and as what.
    auditor
        Who remembers what was seen and done.
    """
    app = Starlette(
        routes=[*access.routes(), *_routes(), Mount("/static", StaticFiles(directory=static_folder()))],
        middleware=access.middleware(),
        exception_handlers={HTTPException: _refused, SgmriError: _failed},
        max_body_size=_MAX_BODY_BYTES,
    )
    app.state.desk = Desk(settings=settings, journal=journal, auditor=auditor, templates=make_templates())
    app.state.watch = live.Watch(journal=journal, most=settings.dashboard.max_live_connections)
    return app


def _routes() -> list[BaseRoute]:
    pages: tuple[tuple[str, Endpoint], ...] = (
        ("/", studies.overview),
        ("/events", live.events),
    )
    return [_route(path, endpoint, Role.VIEWER, "GET") for path, endpoint in pages]


def _route(path: str, endpoint: Endpoint, role: Role, method: str) -> Route:
    return Route(path, requires(role)(_in_thread(endpoint)), methods=[method])


def _in_thread(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Let an endpoint that waits for the journal or the disk run in a thread; one that is a coroutine is left."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @functools.wraps(endpoint)
    async def run(request: Request) -> Response:
        return await run_in_threadpool(cast(Callable[[Request], Response], endpoint), request)

    return run


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, error.detail)


def _failed(request: Request, error: Exception) -> Response:
    # what was expected, what was found and what to do, without a value of a header (sgmri.errors)
    return _error(request, 409, str(error))


def _error(request: Request, status_code: int, text: str) -> Response:
    try:
        user_of(request)
    except HTTPException:
        return PlainTextResponse(text, status_code=status_code)
    return page(request, "error.html", status_code=status_code, text=text)
