"""What every answer carries: the headers that tell a browser what it must not do, also on refusals and failures."""

import logging
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC: Final = "/static/"
"""Below it lie files of ours, which anybody may see and keep."""

_log = logging.getLogger(__name__)

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses hold keys of series
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS: Final = "max-age=31536000"


class SecureHeaders:
    """Adds the headers to every answer, and answers for an application that fails; the outermost part.

    A route may state a policy of its own (a viewer's scripts need one); nothing but static files may be kept.

    Parameters
    ----------
    app
        What is inside.
    has_tls
        Whether browsers reach us over TLS.
    """

    def __init__(self, app: ASGIApp, *, has_tls: bool) -> None:
        self._app = app
        self._has_tls = has_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._add(scope["path"], MutableHeaders(scope=message))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  # a border: one request's failure ends here
            # The type alone: a traceback, in a page or in the log, could hold what stands in a header
            _log.error("a request for a page failed with %s", type(error).__name__)
            if started:
                raise ConnectionError("the answer was begun and cannot be ended") from None
            answer = PlainTextResponse("This failed here; the log of the dashboard says more.", status_code=500)
            await answer(scope, receive, send_with_headers)

    def _add(self, path: str, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self._has_tls:
            headers["Strict-Transport-Security"] = _HSTS
        if path.startswith(STATIC):
            headers.setdefault("Cache-Control", "no-cache")  # kept, and asked for before it is used
        else:
            headers["Cache-Control"] = "no-store"
