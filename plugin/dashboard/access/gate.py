"""The gate before every page: who has logged in, and is the request one that their own page sent.

Whatever is not named as open needs a log-in, also paths that lead nowhere. Whatever may change something needs the
token of a form, whatever it is addressed to.
"""

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugin.dashboard.access.bodies import form_token, limited
from plugin.dashboard.access.headers import STATIC
from plugin.dashboard.access.rates import Rates
from plugin.dashboard.access.roles import Role, User
from plugin.dashboard.access.sessions import Sessions
from plugin.dashboard.access.visits import Visit, enter, too_often
from sgmri.audit import Action, Auditor
from sgmri.settings_access import AccessSettings

LOGIN: Final = "/login"
OPEN: Final = (LOGIN, f"{LOGIN}/oidc", f"{LOGIN}/oidc/callback", f"{LOGIN}/style.css", "/healthz", "/readyz")
"""Pages that need no log-in, beside static files; none of them shows anything of a study."""

_READS: Final = ("GET", "HEAD", "OPTIONS")
_MAX_ANONYMOUS_BYTES: Final = 64 * 1024
_MAX_TARGET_LENGTH: Final = 8000  # RFC 9110 4.1 asks for as many at least
_LOOK_AGAIN_S: Final = 15.0
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class _SessionOver(Exception):
    """A session ended while its answer (live updates) was still being sent."""


class Gate:
    """Lets requests through to the pages.

    Parameters
    ----------
    app
        The pages.
    settings, sessions, rates, auditor
        Of the dashboard.
    key
        Of form tokens.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: AccessSettings,
        sessions: Sessions,
        rates: Rates,
        auditor: Auditor,
        key: str,
    ) -> None:
        self._app = app
        self._settings = settings
        self._sessions = sessions
        self._rates = rates
        self._auditor = auditor
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # there are none (RFC 6455 7.4.1)
        else:
            try:
                await self._pass(Request(scope, receive), send)
            except _SessionOver:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except HTTPException as refusal:
                answer = PlainTextResponse(refusal.detail, refusal.status_code, refusal.headers)
                await answer(scope, receive, send)

    async def _pass(self, request: Request, send: Send) -> None:
        _check_framing(request)
        if self._settings.has_tls and not _is_secure(request):
            raise HTTPException(403, f"Use {self._settings.public_url} instead.")
        visit = await self._visit(request)
        enter(request, visit)
        answer = self._refusal(request, visit)
        if answer is not None:
            await answer(request.scope, request.receive, send)
            return
        receive = await self._checked_body(request, visit)
        if visit.user is not None:
            send = self._while_in(visit.token, send)
        await self._app(request.scope, receive, send)

    async def _visit(self, request: Request) -> Visit:
        token = request.cookies.get(cookie_name(self._settings), "")
        if not _TOKEN.fullmatch(token):
            token = secrets.token_urlsafe(32)
        acts = "text/event-stream" not in request.headers.get("accept", "")
        found = await run_in_threadpool(self._sessions.find, token, acts=acts)
        return Visit(
            token=token,
            user=None if found is None else user(*found, self._settings),
            key=self._key,
            auditor=self._auditor,
            rates=self._rates,
        )

    def _refusal(self, request: Request, visit: Visit) -> Response | None:
        """Return what is answered to who has not logged in; None where they have, or need not."""
        path = request.scope["path"]  # as the routes take it: an URL made of it could end at a "?" that was encoded
        if visit.user is not None or path in OPEN or path.startswith(STATIC):
            return None
        if "hx-request" in request.headers:
            return PlainTextResponse("Log in first.", 401, {"HX-Redirect": LOGIN})
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            query = request.scope["query_string"].decode("latin-1")
            target = quote(path) + (f"?{query}" if query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(target, safe='')}", 303)
        return PlainTextResponse("Log in first.", 401)

    async def _checked_body(self, request: Request, visit: Visit) -> Receive:
        max_bytes = self._settings.max_body_bytes if visit.user else _MAX_ANONYMOUS_BYTES
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > max_bytes:
            raise HTTPException(413, f"Too large: at most {max_bytes} bytes.", headers={"Connection": "close"})
        receive = limited(request.receive, max_bytes=max_bytes, timeout_s=self._settings.body_timeout_s)
        if request.method in _READS:
            return receive
        if not self._is_own_page(request):
            await visit.audit(Action.REFUSE, refused="sent by another site's page")
            raise HTTPException(403, "This came from another site's page.")
        token = request.headers.get("x-csrf-token", "")
        if not token:
            token, receive = await form_token(Request(request.scope, receive))
        if not hmac.compare_digest(token.encode(), visit.csrf_token.encode()):
            await visit.audit(Action.REFUSE, refused="without the token of a form")
            raise HTTPException(403, "The form is too old, or not ours; load the page again.")
        if visit.user is not None and not self._rates.may_change(visit.user.name):
            await visit.audit(Action.REFUSE, refused="too many changes a minute")
            raise too_often()
        return receive

    def _is_own_page(self, request: Request) -> bool:
        # Our pages send no referrer, and then browsers say the origin "null" of a form (Fetch 3.2)
        own = self._settings.public_url or f"http://{request.headers.get('host', '')}"
        origin = request.headers.get("origin", "null")
        return origin in ("null", own) and request.headers.get("sec-fetch-site", "none") in ("none", "same-origin")

    def _while_in(self, token: str, send: Send) -> Send:
        """Return a channel that ends an answer once its user has logged out: live updates would go on for hours."""
        clock: Callable[[], float] = time.monotonic
        looked = clock()

        async def send_while_in(message: Message) -> None:
            nonlocal looked
            if message.get("more_body") and clock() - looked > _LOOK_AGAIN_S:
                looked = clock()
                if await run_in_threadpool(self._sessions.find, token, acts=False) is None:
                    raise _SessionOver
            await send(message)

        return send_while_in


def cookie_name(settings: AccessSettings) -> str:
    """Return the name of the session's cookie; over TLS one that no other host can set (RFC 6265bis 4.1.3.2)."""
    return "__Host-sgmri" if settings.has_tls else "sgmri"


def set_cookie(response: Response, settings: AccessSettings, token: str) -> None:
    """Give a browser its token, until it is closed."""
    # Not strict: a browser would not send it when it comes back from the OpenID provider
    response.set_cookie(cookie_name(settings), token, httponly=True, samesite="lax", secure=settings.has_tls, path="/")


def user(name: str, role: Role, settings: AccessSettings) -> User:
    """Return the user of a session."""
    return User(name=name, role=role, may_see_identity=role in settings.identity_roles)


def _check_framing(request: Request) -> None:
    if "content-length" in request.headers and "transfer-encoding" in request.headers:
        # A proxy may have taken the other one for the end (RFC 9112 6.1): what follows is not believed
        raise HTTPException(400, "This request has two lengths.", headers={"Connection": "close"})
    if len(request.scope["path"]) + len(request.scope["query_string"]) > _MAX_TARGET_LENGTH:
        raise HTTPException(414, "This address is too long.", headers={"Connection": "close"})


def _is_secure(request: HTTPConnection) -> bool:
    """Return whether a request came over TLS as far as it left its machine, or is a probe that shows nothing."""
    if request.scope["scheme"] == "https" or request.scope["path"] in ("/healthz", "/readyz"):
        return True
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
