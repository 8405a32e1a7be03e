"""Who may do what on the dashboard: sessions, roles and tokens against forged requests; nobody may log in yet.

The smallest thing that has the signatures which the pages need: without users given in code everybody is refused.
"""

import functools
import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_io.header_values import read_values
from sgmri.settings import Settings

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Role(StrEnum):
    """What a user may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        """Return whether this role may what another may."""
        order = tuple(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who is logged in: name, role, and whether a patient's identity may be shown to them."""

    name: str
    role: Role
    may_see_identity: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientIdentity:
    """Who a patient is: the values as they stand in the header; empty where absent."""

    patient_name: str
    patient_id: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str


Endpoint = Callable[[Request], Awaitable[Response] | Response]


class Access:
    """Sessions and roles.

    Parameters
    ----------
    settings
        The configuration.
    users
        Password -> user.
    """

    def __init__(self, settings: Settings, users: Mapping[str, User] | None = None) -> None:
        del settings
        self._users = users or {}

    def middleware(self) -> list[Middleware]:
        """Return what every request passes."""
        return [
            Middleware(SessionMiddleware, secret_key=secrets.token_hex(32), same_site="strict"),
            Middleware(_Guard, users={user.name: user for user in self._users.values()}),
        ]

    def routes(self) -> list[BaseRoute]:
        """Return log-in and log-out."""
        return [
            Route("/login", _login_page, methods=["GET"]),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/logout", _log_out, methods=["POST"]),
        ]

    def serve(self, app: Starlette, *, host: str, port: int) -> None:
        """Serve an application that has our middleware, until SIGTERM or SIGINT."""
        uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2)

    async def _log_in(self, request: Request) -> Response:
        user = self._users.get(str((await request.form()).get("password", "")))
        if user is None:
            raise HTTPException(403)
        request.session.clear()
        request.session["user"] = user.name
        return RedirectResponse("/", status_code=303)


async def _login_page(request: Request) -> Response:
    return HTMLResponse(
        "<!doctype html><html lang='en'><title>Log in</title>"
        "<link rel='icon' href='/static/icon.svg'><main><h1>sgmri</h1><p>Research use only. Not a medical "
        f"device.</p><form method='post'><input type='hidden' name='csrf' value='{csrf_token(request)}'><label>Password"
        " <input type='password' name='password'></label><button>Log in</button></form></main></html>"
    )


async def _log_out(request: Request) -> Response:
    request.session.clear()
    return RedirectResponse("/login", status_code=303)


def user_of(request: Request) -> User:
    """Return who asks; 401 where nobody is logged in."""
    user: User | None = request.scope.get("sgmri.user")
    if user is None:
        raise HTTPException(401)
    return user


def requires(role: Role) -> Callable[[Endpoint], Callable[[Request], Awaitable[Response]]]:
    """Let an endpoint be reached from a role on; others get 403, and who is not logged in the log-in page."""

    def decorate(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            if request.scope.get("sgmri.user") is None:
                return RedirectResponse("/login", status_code=303)
            if not user_of(request).role.covers(role):
                raise HTTPException(403, f"This needs the role {role}.")
            if inspect.iscoroutinefunction(endpoint):
                return cast(Response, await endpoint(request))
            return cast(Response, await run_in_threadpool(endpoint, request))

        return guarded

    return decorate


def limits_asks(endpoint: Endpoint) -> Endpoint:
    """Let an endpoint be reached only so often; here as often as somebody likes."""
    return endpoint


async def reveal_identity(request: Request, series_key: str, spool_dir: Path) -> PatientIdentity:
    """Return who the patient of a series is, from the first instance in the spool; 403 and 404 as HTTPException."""
    if not user_of(request).may_see_identity:
        raise HTTPException(403, "Your role may not see who a patient is.")
    keywords = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber")
    paths = sorted((spool_dir / series_key).glob("*.dcm"))[:1]
    if not paths:
        raise HTTPException(404, "The images of this series are not in the spool.")
    found = await run_in_threadpool(read_values, paths, keywords)
    values = [", ".join(map(str, found.get(keyword, ()))) for keyword in keywords]
    name, patient_id, birth_date, sex, accession = values
    return PatientIdentity(
        patient_name=name,
        patient_id=patient_id,
        patient_birth_date=birth_date,
        patient_sex=sex,
        accession_number=accession,
    )


def csrf_token(request: Request) -> str:
    """Return the token that unsafe requests of this session must bear."""
    return str(request.session.setdefault("csrf", secrets.token_hex(16)))


class _Guard:
    """Finds the user of a session, refuses forged requests, and adds the headers."""

    def __init__(self, app: ASGIApp, users: Mapping[str, User]) -> None:
        self._app, self._users = app, users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["sgmri.user"] = self._users.get(scope["session"].get("user", ""))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        if scope["method"] in _UNSAFE:
            request = Request(scope, receive)
            token = request.headers.get("x-csrf-token", "")
            if not token and request.headers.get("content-type") == "application/x-www-form-urlencoded":
                body = await request.body()
                token = parse_qs(body.decode("latin-1")).get("csrf", [""])[0]

                async def again() -> Message:
                    return {"type": "http.request", "body": body}

                receive = again
            if not secrets.compare_digest(token.encode(), scope["session"].get("csrf", " ").encode()):
                await HTMLResponse("forged request", status_code=403)(scope, receive, send_with_headers)
                return
        await self._app(scope, receive, send_with_headers)
