"""A request as the dashboard's pages see it: who sent it, what they may do, and the token of their forms."""

import functools
import hashlib
import hmac
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from plugin.dashboard.access.rates import RETRY_AFTER_S, Rates
from plugin.dashboard.access.roles import Role, User
from sgmri.audit import Action, AuditEvent, Auditor, Outcome

_KEY = "sgmri.visit"

Endpoint = Callable[[Request], Awaitable[Response] | Response]
"""What answers a request, as starlette's routes take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What is known of who sent a request.

    Parameters
    ----------
    token
        That the browser was given; it names a session, or nothing before log-in.
    user
        Who has logged in; None before.
    key
        Of form tokens.
    auditor, rates
        Those of the dashboard.
    """

    token: str
    user: User | None
    key: str
    auditor: Auditor
    rates: Rates

    @property
    def csrf_token(self) -> str:
        """What a form of this browser must hold: nobody who lacks the cookie or the key can make it."""
        return hmac.new(self.key.encode(), f"csrf:{self.token}".encode(), hashlib.sha256).hexdigest()

    async def audit(self, action: Action, *, refused: str = "", detail: str = "", series_key: str = "") -> None:
        """Write down what the user did, or why they were refused."""
        event = AuditEvent(
            action=action,
            outcome=Outcome.FAILURE if refused else Outcome.SUCCESS,
            who=self.user.name if self.user else "nobody",
            detail=refused or detail,
            series_key=series_key,
        )
        await run_in_threadpool(self.auditor, event)


def enter(connection: HTTPConnection, visit: Visit) -> None:
    """Let the pages see who visits."""
    connection.scope[_KEY] = visit


def visit_of(request: HTTPConnection) -> Visit:
    """Return what is known of who sent a request that came through our middleware."""
    visit: Visit = request.scope[_KEY]
    return visit


def user_of(request: HTTPConnection) -> User:
    """Return who sent a request.

    Raises
    ------
    HTTPException
        401, if nobody has logged in (on a page that needs no log-in).
    """
    user = visit_of(request).user
    if user is None:
        raise HTTPException(401, "Log in first.")
    return user


def csrf_token(request: HTTPConnection) -> str:
    """Return what the hidden field ``csrf`` of a form, or the header X-CSRF-Token, must hold."""
    return visit_of(request).csrf_token


def requires(role: Role) -> Callable[[Endpoint], Callable[[Request], Awaitable[Response]]]:
    """Let an endpoint be reached only by users who may what a role may; others get 403, and it is audited."""

    def decorate(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            if not user_of(request).role.covers(role):
                await visit_of(request).audit(Action.REFUSE, refused=f"needs the role {role}")
                raise HTTPException(403, f"This needs the role {role}; an admin can give it to you.")
            return await _answer(endpoint, request)

        return guarded

    return decorate


def limits_asks(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Let an endpoint, which asks the engine, be reached only so often a minute by one user; then 429."""

    @functools.wraps(endpoint)
    async def limited(request: Request) -> Response:
        visit = visit_of(request)
        if not visit.rates.may_ask(user_of(request).name):
            await visit.audit(Action.REFUSE, refused="too many questions a minute")
            raise too_often()
        return await _answer(endpoint, request)

    return limited


def too_often() -> HTTPException:
    """Return the refusal of whom a rate limits."""
    return HTTPException(429, "Too often; wait a minute.", headers={"Retry-After": str(RETRY_AFTER_S)})


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    if inspect.iscoroutinefunction(endpoint):
        answer: Any = await endpoint(request)
    else:
        answer = await run_in_threadpool(endpoint, request)
    assert isinstance(answer, Response)
    return answer
