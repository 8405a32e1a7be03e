"""``sgmri model evaluate|bench|verify|export --bundle`` and ``sgmri read --model`` as a user meets them."""

import json
from pathlib import Path

import pytest

from conformance.phantoms import make, write
from plugin.cli.main import main
from sgmri import RESEARCH_USE_STATEMENT, readings
from tests.worker.engine.small_bundle import checkpoint
from worker.engine.bundle import load
from worker.engine.places import embedded_bundle


def test_a_model_is_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores with intervals by label and slices, the classical engine beside it, strangers; the same for machines."""
    out = tmp_path / "scores.json"
    assert main(["model", "evaluate", "--volumes", "2", "--strangers", "1", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    for word in ("| grounded | volumes |", "| classical | volumes |", "strict V*", "slices", "Parse rate 100.0%"):
        assert word in printed
    assert "Neither head nor knee, of kinds never met: nothing said on" in printed
    assert RESEARCH_USE_STATEMENT in printed
    document = json.loads(out.read_text(encoding="utf-8"))
    assert [one["engine"] for one in document["reports"]] == ["grounded", "classical"]
    overall = document["reports"][0]["overall"]
    assert overall["volumes"] == 2
    assert 0 <= overall["accuracy"]["low"] <= overall["accuracy"]["value"] <= overall["accuracy"]["high"] <= 1
    assert document["strangers never met"][1] == 1


def test_the_classical_engine_is_examined_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the model: one table."""
    assert main(["model", "evaluate", "--engine", "classical", "--volumes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| classical | volumes |" in printed
    assert "grounded" not in printed


def test_real_volumes_that_are_not_there_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--real wants a folder with them, and says which."""
    arguments = ["model", "evaluate", "--volumes", "1", "--strangers", "0", "--real", str(tmp_path)]
    assert main(arguments) == 2
    assert "ms_ljubljana_long" in capsys.readouterr().err


def test_a_model_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds of loading and of reading a phantom with and without findings, and the most memory."""
    assert main(["model", "bench", "--rounds", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {name.split(",")[0] for name in document["read_s"]} == {"brain", "brain-normal"}
    assert all(seconds > 0 for seconds in document["read_s"].values())
    assert document["peak_mb"] > 100


def test_the_embedded_model_verifies(capsys: pytest.CaptureFixture[str]) -> None:
    """Each file as sealed, and the golden cases read as sealed on this machine."""
    assert main(["model", "verify", str(embedded_bundle()), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "ok  model.safetensors" in printed
    assert "ok  golden cases: read as sealed" in printed


def test_a_checkpoint_becomes_a_bundle_that_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exported with the base model's profile, verified, and used for a reading; a random model's word is no claim."""
    directory = tmp_path / "bundle"
    made = checkpoint(tmp_path / "checkpoint")
    arguments = ["model", "export", str(made), "--bundle", str(directory), "--profile", "sgmri", "--device", "cpu"]
    assert main(arguments) == 0
    bundle = load(directory)
    assert RESEARCH_USE_STATEMENT in bundle.manifest.intended_use
    assert "Not calibrated" in bundle.manifest.intended_use
    write(make("brain-normal"), tmp_path / "in")
    assert main(["read", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--model", str(directory)]) == 0
    reading = readings.from_json((tmp_path / "out" / "reading.json").read_text(encoding="utf-8"))
    assert (reading.engine.name, reading.engine.digest) == (bundle.manifest.model_id, bundle.digest)
    assert not any(answer.calibrated for answer in reading.answers)
    capsys.readouterr()
    assert main([*arguments]) == 2
    assert "does not exist yet" in capsys.readouterr().err
