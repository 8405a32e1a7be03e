"""The smallest dashboard: every kind of page that the real one has, behind the real access."""

from pathlib import Path

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from plugin.dashboard.access import Access, Role, csrf_token, limits_asks, requires, reveal_identity
from plugin.dashboard.access import login as login_pages
from plugin.listener import open_journal, spool_dir
from sgmri.settings import Settings

_PAGE = Environment(autoescape=True).from_string(
    "<!doctype html><html lang=en><title>{{ title }}</title><p>{{ text }}<form method=post><input name=csrf "
    "value={{ csrf }}></form></html>"
)


def create_app(settings: Settings) -> Starlette:
    """Make it."""
    access, journal = Access(settings), open_journal(settings)

    def page(request: Request, title: str, text: object) -> Response:
        return HTMLResponse(_PAGE.render(title=title, text=text, csrf=csrf_token(request)))

    def studies(request: Request) -> Response:
        return page(request, f"Studies {request.query_params.get('q', '')}", request.headers.get("user-agent"))

    def series(request: Request) -> Response:
        key = request.path_params["series_key"]
        row = next((one for one in journal.all_series() if one.series_key == key), None)
        if row is None:
            raise HTTPException(404, "No series has this key.")
        return page(request, "Series", row.state)

    async def identity(request: Request) -> Response:
        patient = await reveal_identity(request, request.path_params["series_key"], spool_dir(settings))
        return page(request, patient.patient_name, f"{patient.patient_id} {patient.accession_number}")

    @requires(Role.OPERATOR)
    def retry(request: Request) -> Response:
        return page(request, "Retried", request.path_params["series_key"])

    @limits_asks
    async def ask(request: Request) -> Response:
        async with request.form() as form:
            return JSONResponse({"question": str(form.get("question", ""))})

    def live(request: Request) -> Response:
        return StreamingResponse(iter(["data: x\n\n"]), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/", studies),
            Route("/series/{series_key}", series),
            Route("/series/{series_key}/identity", identity, methods=["POST"]),
            Route("/series/{series_key}/retry", retry, methods=["POST", "DELETE"]),
            Route("/ask", ask, methods=["POST"]),
            Route("/live", live),
            Mount("/static", StaticFiles(directory=Path(login_pages.__file__).parent / "files")),
            *access.routes(),
        ],
        middleware=access.middleware(),
    )


def create_weak_app(settings: Settings) -> Starlette:
    """Make one that trusts everybody, so that every check has something to find."""

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
