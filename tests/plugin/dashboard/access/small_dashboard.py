"""A dashboard of a few pages behind the real access, and what a browser does with it."""

from dataclasses import dataclass, field
from pathlib import Path

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from plugin.dashboard.access import Access, Role, csrf_token, limits_asks, requires, reveal_identity, user_of
from plugin.dashboard.access.passwords import Passwords
from plugin.dashboard.access.tables import open_tables
from plugin.dashboard.access.users import Users
from sgmri.audit import AuditEvent
from sgmri.settings import Settings

PASSWORD = "plum-vector-teapot-91"
CHEAP = Passwords(PasswordHasher.from_parameters(CHEAPEST))


@dataclass
class Dashboard:
    """One dashboard: its settings, what it audited, its clock, and a browser for it."""

    settings: Settings
    events: list[AuditEvent] = field(default_factory=list)
    now: float = 1_000_000.0

    @property
    def users(self) -> Users:
        return Users(open_tables(self.settings), CHEAP)

    def access(self) -> Access:
        return Access(self.settings, passwords=CHEAP, auditor=self.events.append, clock=lambda: self.now)

    def browser(self, **options: str) -> TestClient:
        base = {"base_url": "http://127.0.0.1:8080", **options}
        app = make_app(self.access(), Path(self.settings.storage.state_dir) / "spool")
        return TestClient(app, follow_redirects=False, **base)  # type: ignore[arg-type]  # all options are text

    def said(self) -> list[str]:
        return [f"{one.action} {one.outcome} {one.who} {one.series_key} {one.detail}" for one in self.events]


def make_app(access: Access, spool_dir: Path) -> Starlette:
    async def who(request: Request) -> Response:
        user = user_of(request)
        return PlainTextResponse(f"{user.name} {user.role} {user.may_see_identity} {csrf_token(request)}")

    @requires(Role.OPERATOR)
    def change(request: Request) -> Response:
        return PlainTextResponse("changed")

    @limits_asks
    async def ask(request: Request) -> Response:
        return PlainTextResponse("asked")

    async def upload(request: Request) -> Response:
        async with request.form() as form:
            return PlainTextResponse(f"{form['rule']} {len(await form['file'].read())}")  # type: ignore[union-attr]

    async def identity(request: Request) -> Response:
        found = await reveal_identity(request, request.path_params["key"], spool_dir)
        return PlainTextResponse(f"{found.patient_name} {found.patient_id}")

    async def fail(request: Request) -> Response:
        raise ValueError("CANARY^NIGHTINGALE")

    return Starlette(
        routes=[
            Route("/", who),
            Route("/change", change, methods=["POST", "DELETE"]),
            Route("/ask", ask, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            Route("/identity/{key}", identity, methods=["POST"]),
            Route("/fail", fail),
            *access.routes(),
        ],
        middleware=access.middleware(),
        debug=True,  # even so, no traceback may leave
    )


def form_token(browser: TestClient) -> str:
    """Return the token of the log-in form."""
    page = browser.get("/login").text
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def log_in(browser: TestClient, name: str, password: str = PASSWORD, **fields: str) -> str:
    """Log in, and return the token of forms."""
    answer = browser.post("/login", data={"csrf": form_token(browser), "name": name, "password": password, **fields})
    assert answer.status_code == 303, answer.text
    return browser.get("/").text.rpartition(" ")[2]
