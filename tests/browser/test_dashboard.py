"""The dashboard in a real browser, from log-in to the box on the right frame, and as assistive technology meets it."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from plugin.dashboard.access import Role
from plugin.engine_answers import EngineAnswers
from sgmri.audit import Action
from sgmri.lifecycle import Reason, State
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.dashboards import Served, largest, log_in, running_dashboard

RULES = "[[rule]]\nname = 'no brains'\nwhen = 'anatomy == \"brain\"'\nleave = true\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with running_dashboard(tmp_path) as served:
        yield served


def require_accessible(page: Page) -> None:
    """Hold the page against axe-core's rules of WCAG 2.2 A and AA, and look for a horizontal scroll bar."""
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page.url


def colour_at(page: Page, x: float, y: float) -> list[int]:
    """Return the colour of the canvas at a place given in source pixels of a frame of the reading's matrix."""
    return list(
        page.evaluate(
            """async ([x, y]) => {
                const canvas = document.querySelector("canvas");
                const source = document.getElementById("viewer").dataset.source;
                const { rows, columns } = await (await fetch(`${source}/boxes`)).json();
                const at = [Math.round(x * canvas.width / columns), Math.round(y * canvas.height / rows)];
                return [...canvas.getContext("2d").getImageData(at[0], at[1], 1, 1).data].slice(0, 3);
            }""",
            [x, y],
        )
    )


def test_a_study_arrives_is_read_and_its_box_is_seen(page: Page, served: Served) -> None:
    """A study appears on the open page, its reading opens, and an answer leads to its frame with the box in place."""
    board = served.board
    log_in(page, served.url, Role.OPERATOR)
    expect(page.get_by_text("No series yet.")).to_be_visible()
    board.place.receive(*served.files)
    expect(page.locator("#studies .state.queued")).to_be_visible()  # nobody has touched the page
    assert board.place.read()
    expect(page.locator("#studies .state.read")).to_be_visible()
    page.locator("#studies td a").first.click()
    page.get_by_role("link", name="Reading 0").click()
    place = page.locator("#viewer")
    expect(place.get_by_role("status")).to_contain_text("Frame")

    tracklet_id, key = largest(served.reading)
    page.locator(f'.answers button[data-tracklets="{tracklet_id}"]').last.click()
    expect(place).to_have_attribute("data-frame", str(key.frame_index + 1))
    expect(place.get_by_role("status")).to_contain_text(tracklet_id)
    middle = (key.box.y0 + key.box.y1) / 2
    for x in (key.box.x0, key.box.x1):
        edge = colour_at(page, x, middle)
        assert max(edge) - min(edge) > 60, "an edge of the box has a colour"
    inside = colour_at(page, (key.box.x0 + key.box.x1) / 2, middle)
    assert max(inside) - min(inside) == 0, "inside it the image is grey"
    assert max(inside) > 100, "and shows the bright lesion"


def test_frames_are_scrolled_and_windowed(page: Page, served: Served) -> None:
    """Keys and wheel go through the frames; dragging down makes them darker, and R brings the first window back."""
    served.board.place.receive(*served.files)
    assert served.board.place.read()
    log_in(page, served.url, Role.VIEWER)
    page.goto(f"{served.url}{served.board.path}/readings/0")
    place, canvas = page.locator("#viewer"), page.locator("canvas")
    expect(place).to_have_attribute("data-frame", re.compile("."))
    canvas.focus()
    page.keyboard.press("Home")
    expect(place).to_have_attribute("data-frame", "1")
    canvas.hover()
    page.mouse.wheel(0, 120)
    expect(place).to_have_attribute("data-frame", "2")
    tracklet_id, key = largest(served.reading)
    page.locator(f'.answers button[data-tracklets="{tracklet_id}"]').last.click()
    expect(place).to_have_attribute("data-frame", str(key.frame_index + 1))
    lesion = ((key.box.x0 + key.box.x1) / 2, (key.box.y0 + key.box.y1) / 2)
    before = max(colour_at(page, *lesion))
    canvas.hover(position={"x": 50, "y": 50})
    page.mouse.down()
    canvas.hover(position={"x": 50, "y": 250}, force=True)
    page.mouse.up()
    expect(page.locator("#viewer .level")).to_have_value(re.compile("^-"))
    assert max(colour_at(page, *lesion)) < before
    canvas.focus()
    page.keyboard.press("r")
    expect(page.locator("#viewer .level")).to_have_value("0")
    assert max(colour_at(page, *lesion)) == before


def test_a_failed_series_is_retried_and_a_rule_is_tested(page: Page, served: Served) -> None:
    """The failure stands under its reason with a button that queues it again; dropped files are judged by the rules."""
    board = served.board
    board.place.receive(*served.files)
    board.journal.move(board.place.row, State.FAILED, reason=Reason.ENGINE_FAILED)
    log_in(page, served.url, Role.OPERATOR)
    page.get_by_role("link", name="Failures").click()
    expect(page.get_by_role("heading", name="ENGINE_FAILED: 1")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("The series is tried again.")).to_be_visible()
    assert board.place.state() is State.QUEUED

    page.get_by_role("link", name="Rule tester").click()
    page.get_by_label("Rules (TOML").fill(RULES)
    contents = [{"name": path.name, "bytes": list(path.read_bytes())} for path in served.files]
    dropped = page.evaluate_handle(
        """(contents) => {
            const transfer = new DataTransfer();
            for (const one of contents) transfer.items.add(new File([new Uint8Array(one.bytes)], one.name));
            return transfer;
        }""",
        contents,
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    expect(page.get_by_role("heading", name="0 of 1 series would be read")).to_be_visible()
    expect(page.get_by_text("The rule 'no brains' leaves it.").first).to_be_visible()


@pytest.mark.parametrize("width", [1280, 375])
def test_every_page_is_accessible_at_every_width(browser: Browser, served: Served, width: int) -> None:
    """No page breaks a rule of axe-core, or is wider than the screen; none needs a mouse to be left."""
    board = served.board
    board.place.receive(*served.files)
    assert board.place.read()
    context = browser.new_context(viewport={"width": width, "height": 812}, has_touch=width < 500)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(f"{served.url}/login")
    log_in(page, served.url, Role.ADMIN)
    pages = {
        "studies": "/", "series": board.path, "selection": f"{board.path}/selection",
        "reading": f"{board.path}/readings/0", "worklist": "/worklist", "failures": "/failures",
        "throughput": "/throughput", "model": "/model", "rules": "/rules", "nowhere": "/nowhere",
    }  # fmt: skip
    for path in pages.values():
        page.goto(f"{served.url}{path}")
        if path.endswith("/readings/0"):
            expect(page.locator("#viewer")).to_have_attribute("data-frame", str(-(-len(served.reading.frames) // 2)))
        require_accessible(page)
    page.goto(f"{served.url}{board.path}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.close()
    context.close()


def test_a_question_is_asked_by_hand(page: Page, served: Served) -> None:
    """The engine answers beside the images, its boxes are drawn on a frame, and what it cannot answer is said."""
    board = served.board
    board.place.receive(*served.files)
    assert board.place.read()
    with closing(EngineAnswers(board.settings, board.audited.append)) as answers:
        board.answer_by(answers)
        log_in(page, served.url, Role.VIEWER)
        page.goto(f"{served.url}{board.path}/readings/0")
        place, said = page.locator("#viewer"), page.locator("#said")
        expect(place).to_have_attribute("data-frame", re.compile("."))
        page.get_by_role("textbox", name="Question").fill("Where is an abnormality, and on which frames?")
        page.get_by_role("button", name="Ask").click()
        expect(said.locator("p.answer")).to_contain_text("frames", timeout=60_000)
        frames = {finding.frame_index + 1 for one in served.reading.tracklets for finding in one.findings}
        assert int(place.get_attribute("data-frame") or 0) in frames
        require_accessible(page)
        page.get_by_role("textbox", name="Question").fill("Is it raining?")
        page.get_by_role("button", name="Ask").click()
        expect(said.locator("p.answer")).to_contain_text("not assessed", timeout=60_000)
    assert [event.who for event in board.audited if event.action is Action.ASK] == ["viewer-1", "viewer-1"]
