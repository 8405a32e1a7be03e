"""A series that was read by the engine without weights, as its pages show it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.phantoms import CANARIES
from dicom_io.source_pixels import SourcePixels
from plugin.dashboard.access import Role
from plugin.dashboard.ask import Said
from plugin.engine_answers import EngineAnswers
from sgmri import readings
from sgmri.audit import Action, Outcome
from sgmri.errors import ConfigError
from tests.plugin.dashboard.conftest import Board

IDENTITY = (CANARIES.patient_name, CANARIES.patient_id, CANARIES.patient_birth_date, CANARIES.accession_number)


pytestmark = pytest.mark.xdist_group("dashboard")


def test_a_reading_shows_what_was_answered_where(read: Board, brain: tuple[Path, ...]) -> None:
    """Answers stand on the page, boxes come in source pixels, and a frame has the very values of its instance."""
    client = read.client(Role.VIEWER)
    directory = read.place.workplace.results_dir(read.place.row)
    reading = readings.from_json((directory / "reading.json").read_text(encoding="utf-8"))
    shown = client.get(f"{read.path}/readings/0").text
    assert "Is any abnormality visible in this volume?" in shown or reading.answers[0].question_id
    for tracklet in reading.tracklets:
        assert f'data-tracklets="{tracklet.tracklet_id}"' in shown
    assert "http://127.0.0.1:3000/viewer?StudyInstanceUIDs=" in shown
    drawn = client.get(f"{read.path}/readings/0/boxes").json()
    assert (drawn["rows"], drawn["columns"], drawn["frames"]) == (reading.rows, reading.columns, len(reading.frames))
    assert [[box[0] for box in one["boxes"]] for one in drawn["tracklets"]] == [
        [index + 1 for index in one.frame_indices] for one in reading.tracklets
    ]
    assert drawn["tracklets"][0]["boxes"][0][1:] == list(reading.tracklets[0].findings[0].box.as_tuple())
    for number in (1, len(reading.frames)):
        answer = client.get(f"{read.path}/readings/0/frames/{number}")
        low, high = (float(answer.headers[name]) for name in ("X-Frame-Low", "X-Frame-High"))
        got = low + np.frombuffer(answer.content, "<u2").reshape(reading.rows, reading.columns) * (high - low) / 65535
        assert np.allclose(got, SourcePixels(reading, brain)([number - 1])[0], atol=(high - low) / 65535)
    for wrong in ("readings/1", "readings/0/frames/0", f"readings/0/frames/{len(reading.frames) + 1}", "readings/x"):
        assert client.get(f"{read.path}/{wrong}").status_code == 404, wrong
    assert read.audited[0].action is Action.VIEW and read.audited[0].series_key == read.place.row.series_key[:8]


def test_images_that_have_left_the_disk_are_said(read: Board) -> None:
    """The answers stay; the images are refused in words, and the selection cannot be explained any more."""
    client = read.client(Role.VIEWER)
    for path in (read.place.workplace.spool.root / read.place.row.series_key).iterdir():
        path.unlink()
    assert client.get(f"{read.path}/readings/0").status_code == 200
    answer = client.get(f"{read.path}/readings/0/boxes")
    assert answer.status_code == 409 and "retention removes images" in answer.json()["problem"]
    assert "retention removes images" in client.get(f"{read.path}/readings/0/frames/1").text
    assert "Retention has removed" in client.get(f"{read.path}/selection").text


def test_the_series_page_tells_the_whole_story(read: Board) -> None:
    """State, timeline with durations, readings, and the selection in words."""
    client = read.client(Role.VIEWER)
    shown = client.get(read.path).text
    for words in ("first instance", "QUEUED", "READING", "write objects", "2 min", "Reading 0"):
        assert words in shown, words
    assert "Taken as brain" in client.get(f"{read.path}/selection").text
    assert client.get("/series/aaaaaaaaaaaaaaaa").status_code == 404


def test_identity_is_hidden_and_shown_only_to_whom_it_may_be(read: Board) -> None:
    """No page holds it; an admin is shown it on request, others are refused, and it is never kept."""
    for role in Role:
        client = read.client(role)
        below = ("", "/selection", "/readings/0", "/readings/0/boxes")
        pages = ["/", "/worklist", "/failures", "/throughput", "/model", *(f"{read.path}{end}" for end in below)]
        for path in pages:
            text = client.get(path).text
            assert not any(secret in text for secret in IDENTITY), path
        answer = client.post(f"{read.path}/identity")
        assert answer.status_code == (200 if role is Role.ADMIN else 403)
        assert (CANARIES.patient_id in answer.text) is (role is Role.ADMIN)
        assert ("Show the patient" in client.get(read.path).text) is (role is Role.ADMIN)
    assert not any(secret.encode() in path.read_bytes() for path in Path(read.settings.storage.state_dir).iterdir()
                   if path.is_file() for secret in IDENTITY)  # fmt: skip


def test_a_question_by_hand_is_streamed(read: Board) -> None:
    """Pieces come as events; a refusal is one too; what is too long, or while another is answered, is refused."""
    client = read.client(Role.VIEWER)
    assert "Ask a question" not in client.get(f"{read.path}/readings/0").text
    assert client.post(f"{read.path}/ask", data={"question": "Is there a mass?"}).status_code == 404

    def answer(row: object, *, question: str, frames: str, who: str, tell: object) -> None:
        assert callable(tell)
        if frames == "99":
            raise ConfigError("frames: expected 1 to 20, found 99")
        tell(Said(kind="text", text=f"{who} <b>{question}</b>\n\n"))
        tell(Said(kind="box", text="Mass", frame_number=3, box=(1.0, 2.0, 3.0, 4.0)))
        tell(Said(kind="final", text="yes"))

    read.answer_by(answer)
    assert "Ask a question" in client.get(f"{read.path}/readings/0").text
    events = client.post(f"{read.path}/ask", data={"question": "Is there a mass?"}).text.split("\n\n")
    assert [event.partition("\n")[0] for event in events[:3]] == ["event: text", "event: box", "event: final"]
    assert '"box": [1.0, 2.0, 3.0, 4.0]' in events[1] and "viewer-1" in events[0]
    assert "event: refused" in client.post(f"{read.path}/ask", data={"question": "x", "frames": "99"}).text
    for question in ("", "x" * 301):
        assert client.post(f"{read.path}/ask", data={"question": question}).status_code == 422
    client.app.state.asking.is_busy = True  # type: ignore[attr-defined]  # the application behind the client
    assert client.post(f"{read.path}/ask", data={"question": "x"}).status_code == 429


def test_nothing_that_is_read_becomes_markup(read: Board) -> None:
    """Text of a model, as of a header, that looks like markup is shown as text."""
    path = read.place.workplace.results_dir(read.place.row) / "reading.json"
    evil = "<script>alert(1)</script>"
    text = path.read_text(encoding="utf-8")
    reading = readings.from_json(text)
    path.write_text(text.replace(f'"text": "{reading.answers[-1].text}"', f'"text": "{evil}"'), encoding="utf-8")
    client = read.client(Role.VIEWER)
    shown = client.get(f"{read.path}/readings/0").text
    assert evil not in shown and "&lt;script&gt;alert(1)" in shown
    assert "unsafe-inline" not in client.get(read.path).headers["content-security-policy"]
    assert evil not in client.get("/?state=%3Cscript%3Ealert(1)%3C/script%3E&said=%3Cscript%3E").text
    assert Outcome.SUCCESS is read.audited[-1].outcome


def test_the_engine_answers_by_hand(read: Board) -> None:
    """The engine of the settings answers what it can, and refuses the rest in words; both are audited."""
    with closing(EngineAnswers(read.settings, read.audited.append)) as answers:
        read.answer_by(answers)
        client = read.client(Role.VIEWER)

        def ask(question: str, frames: str = "") -> list[dict[str, Any]]:
            text = client.post(f"{read.path}/ask", data={"question": question, "frames": frames}).text
            return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]

        *_, answered = ask("brain.any")
        assert answered["kind"] == "final" and "not assessed" not in answered["text"]
        *_, beyond = ask("Is it raining?")
        assert beyond["kind"] == "final" and "not assessed (outside the engine's scope)" in beyond["text"]
        (refused,) = ask("brain.any", frames="99")
        assert refused["kind"] == "refused"
    asked = [(event.who, event.outcome) for event in read.audited if event.action is Action.ASK]
    assert asked == [("viewer-1", outcome) for outcome in (Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILURE)]
