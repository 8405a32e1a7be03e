"""Throughput, the model, and live updates."""

import asyncio
from pathlib import Path

from starlette.testclient import TestClient

from plugin.dashboard.access import Role
from plugin.dashboard.live import Watch
from sgmri.lifecycle import State
from sgmri.settings import parse
from tests.plugin.dashboard.conftest import Board, with_settings
from worker import watching
from worker.worklist import Worklist


def test_stages_and_turn_around_are_measured_per_scanner(queued: Board) -> None:
    """A series that waited 30 s, was read in 5 s and sent in 2 s says so, under the key of its scanner."""
    clock, journal = queued.place.clock, queued.journal
    clock.now = queued.place.row.updated_at + 30
    row = Worklist(journal=journal).take("worker", 60.0)
    assert row is not None
    clock.now += 5
    journal.move(row, State.READ, lease_owner=None, lease_until=0.0)
    clock.now += 2
    journal.move(queued.place.row, State.STORED)
    found = {one.name: one.duration_s for one in watching.stages(journal, since=0, limit=1000)}
    assert (found["waiting"], found["reading"], found["sending"]) == (30.0, 5.0, 2.0)
    client = queued.client(Role.VIEWER)
    shown = client.get("/throughput?hours=1").text
    assert "<td>turn-around</td><td>1</td><td>37.0 s</td><td>37.0 s</td>" in shown
    scanner = shown.partition('aria-label="Scanner"')[2].partition("<td>")[2].partition("</td>")[0]
    assert len(scanner) == 8 and scanner.isalnum()
    clock.now += 7200
    assert "turn-around</td>" not in client.get("/throughput?hours=1").text
    for odd in ("-1", "0", "x", "9" * 99, "١"):
        assert client.get(f"/throughput?hours={odd}").status_code == 200


def test_the_model_page_shows_card_digest_and_accuracy(board: Board) -> None:
    """The engine without weights says so; the embedded model shows what is sealed with it."""
    assert "<strong>classical</strong>" in board.client(Role.VIEWER).get("/model").text
    client = with_settings(board, parse({"storage": {"state_dir": board.settings.storage.state_dir}}))
    shown = client.get("/model").text
    for words in ("sgmri-embedded", "number of lesions exactly right", "Not replayed from here", "Verify now"):
        assert words in shown, words
    wrong = parse({"storage": {"state_dir": board.settings.storage.state_dir}, "worker": {"model_digest": "0" * 64}})
    assert "not the one that worker.model_digest demands" in with_settings(board, wrong).get("/model").text


def test_a_change_reaches_the_pages_that_are_open(board: Board, brain: tuple[Path, ...]) -> None:
    """An event follows a change of the journal; one page too many is refused, and one that goes makes room."""

    async def follow() -> list[str]:
        watch = Watch(journal=board.journal, most=1, look_s=0.01)
        events = watch.events()
        got = [await anext(events)]
        assert watch.connections == 1
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(board.place.store, *brain)
        got.append(await waiting)
        await events.aclose()
        assert watch.connections == 0
        return got

    assert asyncio.run(follow()) == ["retry: 3000\n\n", "event: changed\ndata:\n\n"]
    client: TestClient = board.client(Role.VIEWER)
    client.app.state.watch.connections = board.settings.dashboard.max_live_pages  # type: ignore[attr-defined]
    assert client.get("/events").status_code == 503
