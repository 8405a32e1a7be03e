"""A dashboard that a browser can reach, for the browser tests and the pictures."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from playwright.sync_api import Page

from conformance.phantoms import make, write
from plugin.dashboard.access import Role
from plugin.parts import free_port
from sgmri import readings
from sgmri.findings import Finding
from sgmri.readings import Reading
from tests.plugin.dashboard.conftest import PASSWORD, Board, opened


@dataclass(frozen=True)
class Served:
    """A dashboard that a browser can reach."""

    board: Board
    url: str
    files: tuple[Path, ...]

    @property
    def reading(self) -> Reading:
        directory = self.board.place.workplace.results_dir(self.board.place.row)
        return readings.from_json((directory / "reading.json").read_text(encoding="utf-8"))


@contextmanager
def running_dashboard(directory: Path) -> Iterator[Served]:
    """Serve a dashboard over an empty journal; beside it lie the files of a phantom to be received."""
    files = write(make("brain"), directory / "scanner")
    with opened(directory / "state") as board:
        board.place.clock.now = time.time()
        port = free_port()
        config = uvicorn.Config(board.app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield Served(board, f"http://127.0.0.1:{port}", files)
        server.should_exit = True
        thread.join()


def log_in(page: Page, url: str, role: Role) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill(f"{role.value}-1")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/")


def largest(reading: Reading) -> tuple[str, Finding]:
    """Return the tracklet that has the largest box, and this."""
    boxes = [(one.tracklet_id, finding) for one in reading.tracklets for finding in one.findings]
    return max(boxes, key=lambda pair: pair[1].box.area)
