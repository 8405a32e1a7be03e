"""A dashboard over a real journal, with series in it, and a browser that is logged in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conformance.phantoms import make, write
from dicom_io.spool import Spool
from plugin.dashboard.access import Access, Role, User
from plugin.dashboard.app import application
from sgmri.audit import AuditEvent
from sgmri.settings import Settings, parse
from tests.worker.place import Clock, Place
from worker.database import sqlite_url
from worker.engine.classical import ClassicalEngine
from worker.journal import Journal
from worker.tasks import Workplace

ADDRESS = "http://127.0.0.1:8080"
USERS = {role.value: User(name=f"{role.value}-1", role=role, may_see_identity=role is Role.ADMIN) for role in Role}


@dataclass
class Board:
    """A dashboard and what lies behind it."""

    place: Place
    settings: Settings
    audited: list[AuditEvent]
    client: Callable[[Role], TestClient]

    @property
    def journal(self) -> Journal:
        return self.place.workplace.journal


def log_in(client: TestClient, role: Role) -> TestClient:
    """Log in, and let every further request bear the session's token."""
    token = client.get("/login").text.partition("name='csrf' value='")[2].partition("'")[0]
    answer = client.post("/login", data={"csrf": token, "password": role.value}, follow_redirects=False)
    assert answer.status_code == 303
    text = client.get("/").text
    client.headers["X-CSRF-Token"] = text.partition('name="csrf-token" content="')[2].partition('"')[0]
    return client


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    settings = parse(
        {
            "storage": {"state_dir": str(tmp_path)},
            "worker": {"engine": "classical"},
            "dashboard": {"viewer_url": "http://127.0.0.1:3000", "max_test_files": 30, "max_test_bytes": 8 << 20},
        }
    )
    clock = Clock()
    journal = Journal(sqlite_url(tmp_path), clock=clock)
    engine = ClassicalEngine()
    workplace = Workplace(
        settings=settings,
        journal=journal,
        spool=Spool(tmp_path / "spool"),
        outbox_dir=tmp_path / "outbox",
        engine=lambda: engine,
    )
    audited: list[AuditEvent] = []
    app = application(settings, journal, access=Access(settings, USERS), auditor=audited.append)
    place = Place(workplace=workplace, clock=clock, engine=engine)  # type: ignore[arg-type]  # a real engine
    yield Board(
        place=place,
        settings=settings,
        audited=audited,
        client=lambda role: log_in(TestClient(app, base_url=ADDRESS), role),
    )
    journal.close()


@pytest.fixture(scope="session")
def brain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write(make("brain"), tmp_path_factory.mktemp("brain"))
