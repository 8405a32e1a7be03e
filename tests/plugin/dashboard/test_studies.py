"""The studies, over a journal with series in it."""

from pathlib import Path

from plugin.dashboard.access import Role
from sgmri.lifecycle import Reason, State
from tests.plugin.dashboard.conftest import Board
from worker.receipts import Received


def instance(number: int) -> Received:
    study = f"2.25.{number // 2 + 1}"
    return Received(
        series_key=f"series{number:010d}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.{number}",
        sop_instance_uid=f"{study}.{number}.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        file_name="1.dcm",
        size_bytes=1,
        received_at=1000.0 + number,
    )


def test_studies_are_listed_filtered_and_paged(board: Board) -> None:
    """The newest series come first, a study together; a filter keeps what stands so; no page holds more than 50."""
    board.journal.receive(*map(instance, range(60)))
    failed = board.journal.series(f"series{7:010d}")
    board.journal.move(failed, State.COMPLETE)
    board.journal.move(board.journal.series(failed.series_key), State.FAILED, reason=Reason.INCOMPLETE_SERIES)
    client = board.client(Role.VIEWER)
    first = client.get("/").text
    assert first.count("<tr>") - first.count("<thead><tr>") == 50
    assert first.count("Study of 2 series") == 2 * 25  # heading and label
    assert "series0000000059" in first and "series0000000009" not in first
    older = first.partition(">Older<")[0].rpartition('href="')[2].rstrip('"').replace("&amp;", "&")
    second = client.get(older).text
    assert "series0000000009" in second and ">Older<" not in second
    only = client.get("/?state=FAILED&reason=INCOMPLETE_SERIES").text
    assert failed.series_key in only and only.count("<tr>") - only.count("<thead><tr>") == 1
    for odd in ("/?state=%00", "/?before=x~y", "/?before=1e999~", "/?state=FAILED'--&reason=<b>"):
        assert client.get(odd).status_code == 200


def test_nobody_sees_a_page_without_logging_in(board: Board) -> None:
    """Every page leads to the log-in, and no address leads to a file outside of the static ones."""
    client = board.client(Role.VIEWER)
    client.cookies.clear()
    page = client.get("/", follow_redirects=False, headers={"Accept": "text/html"})
    assert page.headers["location"].startswith("/login")
    assert client.get("/events", follow_redirects=False).status_code == 401
    for path in ("/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/../../pyproject.toml", "/series/..%2f..%2f"):
        assert client.get(path, follow_redirects=False).status_code in (401, 404), path


def test_every_page_says_what_it_is_for(board: Board, tmp_path: Path) -> None:
    """Research use only, on the log-in page too."""
    client = board.client(Role.VIEWER)
    for path in ("/", "/login", "/nowhere"):
        assert "Research use only. Not a medical device." in client.get(path).text
