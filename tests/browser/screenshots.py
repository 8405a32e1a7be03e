"""Makes the pictures of docs/viewers.md: ``scripts/browser --screenshots``; those of the page and the capture, too."""

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pypdfium2
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from dicom_io.kinds import ResultKind
from dicom_io.profiles import Profile
from dicom_io.results import read_object, write_results
from tests.browser.studies import Archive, chromium, images, read, running_archive

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LOADED = "() => document.querySelector('canvas') && window.services.measurementService.getMeasurements().length > 0"
OVERLAID = "() => window.services?.segmentationService?.getSegmentations().length > 0"
WRITTEN = "() => document.querySelector('[data-cy=viewport-pane]')?.innerText.includes('Findings')"
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
        with _page(browser, archive, "brain", ResultKind.SR, LOADED) as page:
            page.locator('[data-cy="data-row"]').nth(2).click()
            _take(page, "sr-brain")
        with _page(browser, archive, "brain", ResultKind.SEG, OVERLAID) as page:
            page.locator('[data-cy="data-row"]').nth(0).click()
            _take(page, "seg-brain")
        with _page(browser, archive, "knee-enhanced", ResultKind.SR, LOADED) as page:
            page.locator('[data-cy="data-row"]').nth(1).click()
            _take(page, "sr-knee-enhanced")
        with _page(browser, archive, "brain", ResultKind.TEXT_SR, WRITTEN) as page:
            _take(page, "text-brain")
        browser.close()
        _take_forms(Path(directory))
    return 0


@contextmanager
def _page(browser: Browser, archive: Archive, name: str, kind: ResultKind, ready: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1200, "height": 720})
    context.add_init_script("sessionStorage.setItem('investigationalUseDialog', 'hidden')")
    page = context.new_page()
    archive.open(page, name, kind)
    page.wait_for_function(ready, timeout=90_000)
    yield page
    context.close()


def _take(page: Page, name: str) -> None:
    page.wait_for_timeout(DRAWN_MS)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        _save(picture, f"viewer-{name}.png")


def _take_forms(directory: Path) -> None:
    """Draw the first page of the document, and a picture of the secondary capture."""
    paths = images("brain", directory / "forms-sources")
    profile = Profile(kinds=frozenset({ResultKind.SC, ResultKind.PDF}))
    results = write_results(read(paths), paths, directory, profile=profile)
    capture, document = (read_object(result.path) for result in results)
    _save(pypdfium2.PdfDocument(document.EncapsulatedDocument)[0].render(scale=1.5).to_pil(), "form-pdf.png")
    frames = capture.pixel_array
    _save(Image.fromarray(frames[len(frames) // 2]), "form-sc.png")


def _save(picture: Image.Image, name: str) -> None:
    # The octree keeps the colours of the boxes, which are few pixels, where median cut gives them to the greys
    path = IMAGES / name
    picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
