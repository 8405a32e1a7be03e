from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from plugin.viewer import ohif
from tests.browser.studies import Archive, chromium, running_archive
from tests.e2e.system import require

TIMEOUT_MS = 90_000
"""For whatever is waited for: generous, because the machine may be busy, and never slept through."""


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Orthanc and the viewer, once for all tests."""
    require("Orthanc")
    chromium()
    if not ohif.place().is_dir():
        pytest.skip("OHIF is not in the cache; scripts/browser fetches it")
    with running_archive(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    with sync_playwright() as playwright:
        # The sandbox needs what containers do not give; every page is ours
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own context; whatever goes wrong on it fails the test at the end."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    # As if the notice "for investigational use only" had been read and closed
    context.add_init_script("sessionStorage.setItem('investigationalUseDialog', 'hidden')")
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: wrong.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    yield page
    context.close()
    assert wrong == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a browser, and keep it on one xdist worker."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))
