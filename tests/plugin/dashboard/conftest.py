"""A dashboard over a real journal, with series in it, and a browser that is logged in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from starlette.applications import Starlette
from starlette.testclient import TestClient

from conformance.phantoms import make, write
from dicom_io.spool import Spool
from plugin.dashboard.access import Access, Role
from plugin.dashboard.access.passwords import Passwords
from plugin.dashboard.access.tables import open_tables
from plugin.dashboard.access.users import Users
from plugin.dashboard.app import application
from plugin.dashboard.ask import Asking, OneAtATime
from sgmri.audit import Action, AuditEvent
from sgmri.settings import Settings, parse
from tests.worker.place import Clock, Place
from worker.database import sqlite_url
from worker.engine.classical import ClassicalEngine
from worker.journal import Journal
from worker.tasks import Workplace

ADDRESS = "http://127.0.0.1:8080"
PASSWORD = "plum-vector-teapot-91"
_CHEAP = Passwords(PasswordHasher.from_parameters(CHEAPEST))


@dataclass
class Board:
    """A dashboard and what lies behind it."""

    place: Place
    settings: Settings
    audited: list[AuditEvent]
    app: Starlette

    @property
    def journal(self) -> Journal:
        return self.place.workplace.journal

    @property
    def path(self) -> str:
        """Where the pages of the only series lie."""
        return f"/series/{self.place.row.series_key}"

    def client(self, role: Role) -> TestClient:
        """Return the browser of somebody who has logged in."""
        client = log_in(TestClient(self.app, base_url=ADDRESS), role)
        self.audited[:] = [event for event in self.audited if event.action is not Action.LOG_IN]
        return client

    def answer_by(self, asking: Asking) -> None:
        """Let questions by hand be answered."""
        self.app.state.asking = OneAtATime(asking=asking)


def access_to(settings: Settings, audited: list[AuditEvent]) -> Access:
    """Return access for a user of each role."""
    users = Users(open_tables(settings), _CHEAP)
    if not users.any():
        for role in Role:
            users.add(f"{role.value}-1", role, PASSWORD)
    return Access(settings, passwords=_CHEAP, auditor=audited.append)


def with_settings(board: Board, settings: Settings) -> TestClient:
    """Return an operator's browser on a dashboard with other settings, over the same journal."""
    app = application(settings, board.journal, access=access_to(settings, board.audited), auditor=board.audited.append)
    return log_in(TestClient(app, base_url=ADDRESS), Role.OPERATOR)


def log_in(client: TestClient, role: Role) -> TestClient:
    """Log in, and let every further request bear the session's token."""
    token = client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]
    fields = {"csrf": token, "name": f"{role.value}-1", "password": PASSWORD}
    answer = client.post("/login", data=fields, follow_redirects=False)
    assert answer.status_code == 303
    text = client.get("/").text
    client.headers["X-CSRF-Token"] = text.partition('name="csrf-token" content="')[2].partition('"')[0]
    return client


@contextmanager
def opened(directory: Path, copied_from: Path | None = None) -> Iterator[Board]:
    """Open a dashboard over a state directory; over a copy of another one, where it is given."""
    clock = Clock()
    directory.mkdir(exist_ok=True)
    if copied_from is not None:
        shutil.copytree(copied_from, directory, dirs_exist_ok=True)
        clock.now += 100
    settings = parse(
        {
            "storage": {"state_dir": str(directory)},
            "worker": {"engine": "classical"},
            "access": {"identity_roles": ["admin"]},
            "dashboard": {"viewer_url": "http://127.0.0.1:3000", "max_test_files": 30, "max_test_bytes": 8 << 20},
        }
    )
    journal = Journal(sqlite_url(directory), clock=clock)
    engine = ClassicalEngine()
    workplace = Workplace(
        settings=settings,
        journal=journal,
        spool=Spool(directory / "spool"),
        outbox_dir=directory / "outbox",
        engine=lambda: engine,
    )
    audited: list[AuditEvent] = []
    app = application(settings, journal, access=access_to(settings, audited), auditor=audited.append)
    place = Place(workplace=workplace, clock=clock, engine=engine)  # type: ignore[arg-type]  # a real engine
    try:
        yield Board(place=place, settings=settings, audited=audited, app=app)
    finally:
        journal.close()


@pytest.fixture(scope="session")
def brain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write(make("brain"), tmp_path_factory.mktemp("brain"))


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory, brain: tuple[Path, ...]) -> dict[str, Path]:
    """State directories in which the phantom is queued, and was read."""
    queued, read = (tmp_path_factory.mktemp(name) for name in ("queued", "read"))
    with opened(queued) as board:
        board.place.receive(*brain)
    with opened(read, queued) as board:
        assert board.place.read()
    return {"queued": queued, "read": read}


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with opened(tmp_path) as board:
        yield board


@pytest.fixture
def queued(tmp_path: Path, states: dict[str, Path]) -> Iterator[Board]:
    """A dashboard over a series that waits to be read."""
    with opened(tmp_path, states["queued"]) as board:
        yield board


@pytest.fixture
def read(tmp_path: Path, states: dict[str, Path]) -> Iterator[Board]:
    """A dashboard over a series that was read by the engine without weights."""
    with opened(tmp_path, states["read"]) as board:
        yield board
