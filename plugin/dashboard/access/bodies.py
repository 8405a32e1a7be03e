"""Bodies of requests: no larger and no slower than allowed, and looked into for the token of a form."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive

_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_MAX_FIELDS: Final = 1000


def limited(receive: Receive, *, max_bytes: int, timeout_s: float) -> Receive:
    """Return a channel that ends with 413 where a body is too large, and with 408 where it is not whole in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    size_bytes, whole = 0, False

    async def receive_limited() -> Message:
        nonlocal size_bytes, whole
        if whole:  # what comes now is that the browser has gone, and that may take as long as it likes
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "The request took too long.", headers={"Connection": "close"}) from None
        size_bytes += len(message.get("body", b""))
        if size_bytes > max_bytes:
            raise HTTPException(413, f"Too large: at most {max_bytes} bytes.", headers={"Connection": "close"})
        whole = not message.get("more_body", False)
        return message

    return receive_limited


async def form_token(request: Request) -> tuple[str, Receive]:
    """Return the field ``csrf`` of a form, and a channel that gives the body to whoever reads it next.

    Raises
    ------
    HTTPException
        400, if the body is no form; and what the request's own channel raises.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _FORMS:
        return "", request.receive
    body = await request.body()
    token = await _field(kind, request, body)
    return token, _replayed(body, request.receive)


async def _field(kind: str, request: Request, body: bytes) -> str:
    again = Request(request.scope, _replayed(body, request.receive))
    try:
        if kind == _FORMS[0]:
            form = await FormParser(request.headers, again.stream()).parse()
        else:
            form = await MultiPartParser(
                request.headers, again.stream(), max_files=_MAX_FIELDS, max_fields=_MAX_FIELDS
            ).parse()
    except (MultiPartException, KeyError) as error:  # KeyError: multipart without a boundary
        raise HTTPException(400, f"This is no form: {type(error).__name__}.") from None
    try:
        value = form.get("csrf")
        return value if isinstance(value, str) else ""
    finally:
        await form.close()


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    pop: Callable[[], Message] = waiting.pop

    async def receive_again() -> Message:
        return pop() if waiting else await receive()

    return receive_again
