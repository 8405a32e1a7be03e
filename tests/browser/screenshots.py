"""Makes the pictures of docs/viewers.md: ``scripts/browser --screenshots``."""

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.studies import Archive, chromium, running_archive

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LOADED = "() => document.querySelector('canvas') && window.services.measurementService.getMeasurements().length > 0"
OVERLAID = "() => window.services?.segmentationService?.getSegmentations().length > 0"
DRAWN_MS = 4000
"""For OHIF to draw what it holds: a picture can wait, and is looked at."""


def main() -> int:
    """Take every picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        running_archive(Path(directory), by_hand=False) as archive,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        with _page(browser, archive, "brain", "SR", LOADED) as page:
            page.locator('[data-cy="data-row"]').nth(2).click()
            _take(page, "sr-brain")
        with _page(browser, archive, "brain", "SEG", OVERLAID) as page:
            page.locator('[data-cy="data-row"]').nth(0).click()
            _take(page, "seg-brain")
        with _page(browser, archive, "knee-enhanced", "SR", LOADED) as page:
            page.locator('[data-cy="data-row"]').nth(1).click()
            _take(page, "sr-knee-enhanced")
        browser.close()
    return 0


@contextmanager
def _page(browser: Browser, archive: Archive, name: str, modality: str, ready: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1200, "height": 720})
    context.add_init_script("sessionStorage.setItem('investigationalUseDialog', 'hidden')")
    page = context.new_page()
    archive.open(page, name, modality)
    page.wait_for_function(ready, timeout=90_000)
    yield page
    context.close()


def _take(page: Page, name: str) -> None:
    page.wait_for_timeout(DRAWN_MS)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        # The octree keeps the colours of the boxes, which are few pixels, where median cut gives them to the greys
        path = IMAGES / f"viewer-{name}.png"
        picture.quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
