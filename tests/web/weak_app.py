"""An application that trusts everybody, so that every check has something to find."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from plugin.listener import spool_dir
from sgmri.settings import Settings


def create_app(settings: Settings) -> Starlette:
    """Make it."""

    async def everything(request: Request) -> Response:
        await request.body()
        name = request.path_params.get("name", "")
        parts = (request.query_params.get("q", ""), request.headers.get("x-http-method-override", ""), "CANARY", name)
        answer = HTMLResponse(f"<p>{' '.join(parts)} {spool_dir(settings)} Traceback (most recent call last)</p>")
        answer.headers["Access-Control-Allow-Origin"] = request.headers.get("origin", "*")
        answer.headers["Server"] = "weak"
        file = Path("/") / name
        if name and file.is_file():
            answer = HTMLResponse(file.read_bytes())
        if request.headers.get("x-http-method-override"):
            answer.status_code = 202
        if "next" in request.query_params:
            answer.status_code = 303
            answer.headers["Location"] = request.query_params["next"]
        if request.url.path == "/login":
            token = request.cookies.get("sgmri", "fixed")
            answer = HTMLResponse(f'<input name="csrf" value="x">{await request.body()!r}', 303)
            answer.headers["Location"] = "//evil.example"
            answer.set_cookie("sgmri", token, samesite="none")
        return answer

    methods = ["GET", "POST", "DELETE"]
    return Starlette(
        routes=[
            Route("/login", everything, methods=["GET", "POST"]),
            Route("/files/{name:path}", everything, methods=methods),
        ]
    )
