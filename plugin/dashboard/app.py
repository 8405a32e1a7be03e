"""The application: every address with the role that it needs, in one table."""

import threading
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from plugin.dashboard import (
    ask,
    failures,
    live,
    model_page,
    operating,
    rule_tester,
    series,
    studies,
    throughput,
    worklist,
)
from plugin.dashboard import reading as reading_page
from plugin.dashboard.access import Access, Role, limits_asks, requires, user_of
from plugin.dashboard.desk import Desk, make_templates, page, static_folder
from plugin.dashboard.frames import Frames
from sgmri.audit import Auditor
from sgmri.errors import SgmriError
from sgmri.settings import Settings
from worker.journal import Journal

_MAX_BODY_BYTES = 64 << 10
"""Of every request but a rule test: forms are small."""

Endpoint = Callable[[Request], Response | Awaitable[Response]]


def application(
    settings: Settings, journal: Journal, *, access: Access, auditor: Auditor, asking: ask.Asking | None = None
) -> Starlette:
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
    asking
        Who answers questions by hand; None where nobody does.
    """
    rule_tester.clear(settings)
    app = Starlette(
        routes=[*access.routes(), *_routes(settings), Mount("/static", StaticFiles(directory=static_folder()))],
        middleware=access.middleware(),
        exception_handlers={HTTPException: _refused, SgmriError: _failed},
    )
    app.state.desk = Desk(settings=settings, journal=journal, auditor=auditor, templates=make_templates())
    app.state.frames = Frames()
    app.state.scanners = throughput.Scanners()
    app.state.verified, app.state.verifying = None, threading.Lock()
    app.state.asking = None if asking is None else ask.OneAtATime(asking=asking)
    app.state.watch = live.Watch(journal=journal, most=settings.dashboard.max_live_pages)
    return app


def _routes(settings: Settings) -> list[BaseRoute]:
    reading = "/series/{key}/readings/{generation:int}"
    return [
        _get("/", studies.overview),
        _get("/events", live.events),
        _get("/worklist", worklist.overview),
        _get("/failures", failures.overview),
        _get("/throughput", throughput.overview),
        _get("/model", model_page.show),
        _get("/rules", rule_tester.show, Role.OPERATOR),
        _get("/series/{key}", series.detail),
        _get("/series/{key}/selection", series.selection),
        _get(reading, reading_page.show),
        _get(f"{reading}/boxes", reading_page.boxes),
        _get(f"{reading}/frames/{{frame_number:int}}", reading_page.frame),
        _post("/series/{key}/ask", limits_asks(ask.ask), Role.VIEWER),
        _post("/series/{key}/identity", series.identity, Role.VIEWER),
        _post("/series/{key}/retry", operating.retry),
        _post("/series/{key}/cancel", operating.cancel),
        _post("/series/{key}/replay", operating.replay),
        _post("/series/{key}/lane/{lane}", operating.move),
        _post("/worklist/suspend", operating.suspend),
        _post("/worklist/drain", operating.drain),
        _post("/worklist/resume", operating.resume),
        _post("/model/verify", model_page.verify),
        _post("/rules", rule_tester.test, max_bytes=settings.dashboard.max_test_bytes + _MAX_BODY_BYTES),
    ]


def _get(path: str, endpoint: Endpoint, role: Role = Role.VIEWER) -> Route:
    return Route(path, requires(role)(endpoint), methods=["GET"])


def _post(path: str, endpoint: Endpoint, role: Role = Role.OPERATOR, *, max_bytes: int | None = None) -> Route:
    return Route(path, requires(role)(endpoint), methods=["POST"], max_body_size=max_bytes)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _error(request, error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _failed(request: Request, error: Exception) -> Response:
    # what was expected, what was found and what to do, without a value of a header (sgmri.errors)
    return _error(request, 409, str(error))


def _error(request: Request, status_code: int, text: str) -> Response:
    try:
        user_of(request)
    except HTTPException:
        return PlainTextResponse(text, status_code=status_code)
    return page(request, "error.html", status_code=status_code, text=text)
