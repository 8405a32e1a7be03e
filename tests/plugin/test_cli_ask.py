"""``sgmri ask`` as a user meets it."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.phantoms import make, write
from dicom_io.objects.sr import decode_report
from dicom_io.rulings import BUILT_IN
from plugin.celery import open_workplace
from plugin.cli.main import main
from plugin.settings import load
from sgmri.lifecycle import State
from tests.worker.place import Clock, NegativeEngine, Place


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The upper eight frames of a phantom with lesions."""
    directory = tmp_path_factory.mktemp("brain")
    for path in write(make("brain"), directory)[:-8]:
        path.unlink()
    return directory


def _ask(*words: str | Path) -> int:
    return main(["ask", *map(str, words), "--engine", "classical"])


def test_an_answer_has_its_frames_boxes_and_confidence(brain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text, and as one JSON object that says the same."""
    assert _ask(brain, "brain.where.any") == 0
    printed = capsys.readouterr().out
    assert _ask(brain, "Where is an abnormality, and on which frames?", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["boxes"]
    assert f"-> {document['text']}" in printed
    assert printed.count("box on frame") == len(document["boxes"])
    assert {box["frame_number"] for box in document["boxes"]} == set(document["frames"])
    assert document["confidence"] == "no certainty is stated"
    first, last = document["frames"][0], document["frames"][-1]
    assert _ask(brain, "brain.where.any", "--frames", f"{first}-{last}", "--json") in (0, 1)
    some = json.loads(capsys.readouterr().out)
    assert f"frames {first}-{last} only" in some["question"]


def test_what_an_engine_cannot_answer_is_refused_with_the_reason(
    brain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Free text of an engine of rules, a catalogue question beyond it: exit code 2, no negative, nothing written."""
    out = brain.parent / "nothing"
    for question in ("Is the ventricle wide?", "brain.screen.mass"):
        assert _ask(brain, question, "--frames", "1-4", "--json", "--write-sr", "--out", out) == 2
        document = json.loads(capsys.readouterr().out)
        assert (document["unanswered"], document["presence"]) == ("outside the engine's scope", None)
        assert "by rules" in document["note"]
    assert not out.exists()


def test_a_report_of_a_path_revises_the_one_before(brain: Path, tmp_path: Path) -> None:
    """It says all that a reading's results say, and the answer. The second time the same bytes."""
    assert main(["read", str(brain), "--out", str(tmp_path / "read"), "--engine", "classical"]) == 0
    question = ("brain.where.any", "--frames", "1-7", "--write-sr", "--out")
    for name in ("one", "two"):
        assert _ask(brain, *question, tmp_path / name, "--revises", tmp_path / "read") == 0
    before, revised = (decode_report(dcmread(tmp_path / name / "sr.dcm")) for name in ("read", "one"))
    assert revised.answers[:-1] == before.answers
    assert revised.answers[-1].question.endswith("(asked of frames 1-7 only)")
    assert revised.predecessor is not None
    assert (tmp_path / "one" / "sr.dcm").read_bytes() == (tmp_path / "two" / "sr.dcm").read_bytes()


def test_a_series_of_the_journal_is_asked_and_its_report_queued(
    brain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the study's UID and by its key; the new report waits for delivery, and the timeline has both."""
    config = tmp_path / "sgmri.toml"
    config.write_text(
        f'[storage]\nstate_dir = "{tmp_path / "state"}"\n[worker]\nengine = "classical"\n', encoding="utf-8"
    )
    place = Place(workplace=open_workplace(load(config), BUILT_IN), clock=Clock(), engine=NegativeEngine())
    with closing(place.workplace.journal):
        place.receive(*sorted(brain.iterdir()))
        assert place.read()
        before = place.row
        for target in (before.study_instance_uid, before.series_key[:8]):
            words = [target, "brain.where.any", "--frames", "1-7", "--config", str(config)]
            if target == before.series_key[:8]:
                words += ["--write-sr", "--deliver"]
            assert main(["ask", *words]) == 0
        assert (place.row.state, place.row.generation) == (State.READ, before.generation + 1)
        assert "is to be delivered" in capsys.readouterr().out
        report = decode_report(dcmread(place.workplace.results_dir(place.row) / "sr.dcm"))
        assert report.answers[-1].question.endswith("(asked of frames 1-7 only)")
        stages = [line.stage for line in place.workplace.journal.timeline(before.series_key)]
    assert stages[-5:] == ["asked", "asked", "QUEUED", "READING", "READ"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["{brain}"], "a question"),
        (["{brain}", "brain.any", "--frames", "40-50"], "from 1 to 8"),
        (["{brain}", "brain.any", "--frames", "0-3"], "from 1 to 8"),
        (["{brain}", "knee.any"], "id that it does not have"),
        (["{brain}", "a\x07b"], "control"),
        (["{brain}", "brain.any", "--series", "zzzz"], "found 0"),
        (["{brain}", "brain.any", "--deliver"], "need --write-sr"),
        (["{brain}", "brain.any", "--write-sr", "--deliver"], "of the journal"),
        (["{brain}", "brain.any", "--write-sr"], "--out DIR"),
        (["zzzz", "brain.any"], "found none"),
        (["1.2.3", "brain.any"], "found 0"),
    ],
)
def test_wrong_usage_is_refused(
    words: list[str], why: str, brain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, what was expected, and no traceback."""
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path / "state"}"\n', encoding="utf-8")
    assert _ask(*(word.format(brain=brain) for word in words), "--config", config) == 2
    assert why in capsys.readouterr().err


def test_the_catalogue_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Every question of both sets, with its id."""
    assert main(["ask", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "brain.screen.mass " in printed
    assert "knee.summary " in printed
