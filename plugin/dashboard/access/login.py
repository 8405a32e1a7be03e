"""Logging in and out: the page, local users, and the end of a session."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from plugin.dashboard.access.gate import LOGIN, cookie_name, set_cookie
from plugin.dashboard.access.rates import RETRY_AFTER_S
from plugin.dashboard.access.roles import LOCAL_NAME, Role
from plugin.dashboard.access.sessions import Sessions
from plugin.dashboard.access.users import Users
from plugin.dashboard.access.visits import csrf_token, visit_of
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.settings_access import AccessSettings

_FILES: Final = Path(__file__).parent / "files"
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this server in ASCII, without white space or backslash: browsers take // and /\\ for another server."""
_AT_A_TIME: Final = 2
"""Argon2 takes 64 MiB and every core: a flood of log-ins must not take the machine."""

_WRONG: Final = "Name or password is wrong."
_TOO_OFTEN: Final = "Too many log-ins failed; wait a minute."


class Login:
    """The pages of logging in and out.

    Parameters
    ----------
    settings, users, sessions
        Of the dashboard.
    """

    def __init__(self, settings: AccessSettings, users: Users, sessions: Sessions) -> None:
        self._settings = settings
        self._users = users
        self._sessions = sessions
        self._pages = Environment(loader=FileSystemLoader(_FILES), autoescape=select_autoescape(default=True))
        self._verifying = anyio.CapacityLimiter(_AT_A_TIME)

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes of the pages."""
        return [
            Route(LOGIN, self.show, methods=["GET"]),
            Route(LOGIN, self.log_in, methods=["POST"]),
            Route(f"{LOGIN}/style.css", lambda request: FileResponse(_FILES / "login.css")),
            Route("/logout", self.log_out, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show the form; who has logged in is led on."""
        target = local_path(request.query_params.get("next", ""))
        if visit_of(request).user is not None:
            return RedirectResponse(target, 303)
        return await self.page(request, target)

    async def page(self, request: Request, target: str, wrong: str = "", status: int = 200) -> Response:
        """Return the page with the form.

        Parameters
        ----------
        request
            Of a browser that has not logged in.
        target
            Where it is led afterwards.
        wrong
            What went wrong before.
        status
            Of the answer.
        """
        has_users = await run_in_threadpool(self._users.any)
        page = self._pages.get_template("login.html").render(
            csrf=csrf_token(request),
            next=target,
            wrong=wrong,
            has_users=has_users,
            has_oidc=bool(self._settings.oidc.issuer),
            research_use=RESEARCH_USE_STATEMENT,
        )
        answer = HTMLResponse(page, status)
        if status == 429:
            answer.headers["Retry-After"] = str(RETRY_AFTER_S)
        set_cookie(answer, self._settings, visit_of(request).token)
        return answer

    async def log_in(self, request: Request) -> Response:
        """Log a local user in."""
        async with request.form() as form:
            name, password, target = (str(form.get(field, "")) for field in ("name", "password", "next"))
        name, target = name.strip().lower(), local_path(target)
        if not LOCAL_NAME.fullmatch(name):
            name = ""  # nobody is called that, and it may be the password: it is kept nowhere
        visit, address = visit_of(request), request.client.host if request.client else ""
        async with self._verifying:
            if not visit.rates.may_log_in(address, name):
                await visit.audit(Action.LOG_IN, refused="too many log-ins failed")
                return await self.page(request, target, _TOO_OFTEN, 429)
            found, exists = await anyio.to_thread.run_sync(self._users.log_in, name, password)
            if found is None:
                visit.rates.failed_log_in(address, name)
        if found is None:
            await self._refuse(request, name if exists else "nobody")
            return await self.page(request, target, _WRONG, 403)
        return await self.begin(request, found.name, found.role, target)

    async def _refuse(self, request: Request, who: str) -> None:
        event = AuditEvent(action=Action.LOG_IN, outcome=Outcome.FAILURE, who=who, detail="name or password is wrong")
        await run_in_threadpool(visit_of(request).auditor, event)

    async def begin(self, request: Request, name: str, role: Role, target: str) -> Response:
        """Begin a session under a token that nobody has seen yet, and lead on; what was before ends."""
        visit = visit_of(request)
        event = AuditEvent(action=Action.LOG_IN, who=name, detail=f"as {role}")
        await run_in_threadpool(visit.auditor, event)  # first: without the line nobody gets in
        await run_in_threadpool(self._sessions.end, visit.token)
        token = await run_in_threadpool(self._sessions.begin, name, role)
        answer = RedirectResponse(target, 303)
        set_cookie(answer, self._settings, token)
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session: the cookie is worth nothing from now on, wherever it is kept."""
        visit = visit_of(request)
        await run_in_threadpool(self._sessions.end, visit.token)
        await visit.audit(Action.LOG_OUT)
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(cookie_name(self._settings), secure=self._settings.has_tls, httponly=True, samesite="lax")
        return answer


def local_path(target: str) -> str:
    """Return where a log-in leads: a path of this server, else its first page."""
    return target if _LOCAL_PATH.fullmatch(target) else "/"
