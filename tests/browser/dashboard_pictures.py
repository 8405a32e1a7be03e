"""Makes the pictures of docs/dashboard.md: ``scripts/browser --dashboard-pictures``."""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from plugin.dashboard.access import Role
from sgmri.lifecycle import Reason, State
from tests.browser.dashboards import Served, largest, log_in, running_dashboard
from tests.browser.studies import chromium

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
WIDTHS = {"desktop": (1280, 900), "phone": (375, 812)}


def main() -> int:
    """Take every picture at both widths."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_dashboard(Path(directory)) as served,
        sync_playwright() as playwright,
    ):
        board = served.board
        board.place.receive(*served.files)
        board.place.read()
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name, (width, height) in WIDTHS.items():
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            log_in(page, served.url, Role.OPERATOR)
            _take(page, f"dashboard-studies-{name}")
            page.goto(f"{served.url}{board.path}")
            _take(page, f"dashboard-series-{name}")
            _show_largest(page, served)
            _take(page, f"dashboard-reading-{name}")
        board.journal.move(board.place.row, State.FAILED, reason=Reason.STORE_REFUSED)
        for path in ("failures", "throughput", "worklist", "rules"):
            page.goto(f"{served.url}/{path}")
            _take(page, f"dashboard-{path}-phone")
        browser.close()
    return 0


def _show_largest(page: Page, served: Served) -> None:
    page.goto(f"{served.url}{served.board.path}/readings/0")
    page.wait_for_selector("#viewer[data-frame]")
    tracklet_id, key = largest(served.reading)
    page.locator(f'.answers button[data-tracklets="{tracklet_id}"]').last.click()
    page.wait_for_selector(f'#viewer[data-frame="{key.frame_index + 1}"]')
    page.wait_for_timeout(500)


def _take(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(128, Image.Quantize.FASTOCTREE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
