from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.phantoms import Phantom, make
from plugin.parts import free_port, start_broker
from plugin.processes import Processes
from tests.e2e.system import System, require


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Broker and an empty state; the test starts the rest."""
    require("redis-server")
    logs = tmp_path / "logs"
    logs.mkdir()
    with Processes(logs) as processes:
        broker = start_broker("redis", processes, tmp_path / "broker")
        running = System(
            state_dir=tmp_path,
            processes=processes,
            broker_url=broker.url,
            port=free_port(),
            reviewer_port=free_port(),
        )
        yield running
        running.journal.close()


@pytest.fixture
def brain() -> Phantom:
    """The default phantom."""
    return make("brain")
