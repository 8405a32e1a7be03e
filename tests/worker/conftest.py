"""A worker's place, with its journal on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.pacs import SmallPacs
from conformance.phantoms import make, write
from dicom_io.spool import Spool
from sgmri.interfaces import Engine
from sgmri.settings import Settings, parse
from tests.worker.place import Clock, NegativeEngine, Place, small
from worker.journal import Journal
from worker.tasks import Workplace


@pytest.fixture
def make_place(tmp_path: Path, journal_url: str) -> Iterator[Callable[[Settings], Place]]:
    """Make a place with other settings than the defaults."""
    clock, engine = Clock(), NegativeEngine()
    journal = Journal(journal_url, clock=clock)

    def made(settings: Settings) -> Place:
        def the_engine() -> Engine:
            return engine

        workplace = Workplace(
            settings=settings,
            journal=journal,
            spool=Spool(tmp_path / "spool"),
            outbox_dir=tmp_path / "outbox",
            engine=the_engine,
        )
        return Place(workplace=workplace, clock=clock, engine=engine)

    yield made
    journal.close()


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[SmallPacs]:
    """A destination."""
    with small(tmp_path) as pacs:
        yield pacs


@pytest.fixture
def place(make_place: Callable[[Settings], Place]) -> Place:
    """A place without a destination."""
    return make_place(parse({}))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Instances of a healthy brain, from inferior to superior."""
    return write(make("brain-normal"), tmp_path_factory.mktemp("brain"))
