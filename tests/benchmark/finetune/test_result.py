"""The bundle of a fine-tuning: sealed, honest about itself, and read with by the worker."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from benchmark.finetune.config import FinetuneConfig
from benchmark.finetune.run import finetune
from benchmark.finetune.train import LOG_FILE, read_log
from conformance.phantoms import make, write
from plugin.cli.main import main
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.interfaces import ReadingControl
from sgmri.questions import QuestionKind, Unanswered
from worker.engine.bundle import Bundle
from worker.engine.conversation import Ask
from worker.engine.guard import guard
from worker.engine.loading import load_engine, open_engine
from worker.engine.local import Device
from worker.engine.parsing import parse
from worker.engine.prompts import about_one_frame
from worker.pipeline import load_frames


def test_the_worker_reads_with_it(taught: Bundle, tmp_path: Path) -> None:
    """It opens, its golden case is read as sealed, every question of a phantom gets an answer or a reason."""
    frames = load_frames(list(write(make("brain"), tmp_path)))
    engine = open_engine(taught.directory, Device())
    questions = STANDARD[frames.anatomy]
    answers = guard(engine.answer(frames, questions, ReadingControl()), frames, questions)
    engine.close()
    assert {answer.question_id for answer in answers} >= {"brain.any", "brain.screen.mass", "brain.summary"}
    assert all(answer.unanswered in (None, *Unanswered) for answer in answers)


def test_its_answers_parse(taught: Bundle, tmp_path: Path) -> None:
    """Asked about one frame, it writes what the product's parser reads without a problem but an empty place."""
    frames = load_frames(list(write(make("brain"), tmp_path)))
    engine, speaker = load_engine(taught, Device())
    profile = speaker.profile
    question = about_one_frame(QuestionKind.DETECTION, ("Lacunar infarct",), profile)
    conversation = speaker.open(frames, ReadingControl())
    (said,) = conversation.say([Ask(question=question, frame_index=3)], ReadingControl())
    conversation.close()
    engine.close()
    assert said is not None
    _, rows, columns = frames.pixels.shape
    parsed = parse(said, question, profile, (rows, columns, 1), anatomy=frames.anatomy)
    assert parsed.presence is not None


def test_it_is_verified(taught: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """``sgmri model verify`` passes, golden cases included."""
    assert main(["model", "verify", str(taught.directory), "--device", "cpu"]) == 0
    assert "ok  golden cases: read as sealed" in capsys.readouterr().out


def test_it_says_what_it_was_taught(taught: Bundle) -> None:
    """Card and manifest name base, recipe, data and limits; nothing claims an accuracy, a calibration or a path."""
    card = taught.path("MODEL_CARD.md").read_text(encoding="utf-8")
    for said in ("random-tiny", "`grounded`", "from phantoms", "lora: language, merger", "synthetic phantoms"):
        assert said in card, said
    assert RESEARCH_USE_STATEMENT in card and "No accuracy was measured" in card
    assert {"eval.json", "calibration.json", "auxiliary.safetensors"}.isdisjoint(taught.files)
    assert taught.manifest.question_set_ids == ("brain-1",)  # the knee is held out
    assert taught.manifest.labels == ("Lacunar infarct", "Nonspecific white matter lesion")
    assert taught.manifest.profile["pixel_budget"] == {"min_pixels": 16_384, "max_pixels": 16_384}
    provenance = json.loads(taught.path("finetune.json").read_text(encoding="utf-8"))
    assert provenance["config"]["train"]["method"] == "lora" and provenance["items"]["held_out"] > 0
    assert str(taught.directory.parent) not in json.dumps(provenance) + card


def test_weights_keep_their_precision(taught: Bundle, base: Path) -> None:
    """Stored as the base model's are: what was not taught is bit for bit the same."""
    before, after = (load_file(folder / "model.safetensors") for folder in (base, taught.directory))
    assert before.keys() == after.keys()
    assert all(before[name].dtype == tensor.dtype for name, tensor in after.items())
    moved = {name for name, tensor in after.items() if not before[name].equal(tensor)}
    assert moved and all("_proj" in name or "linear_fc" in name for name in moved)
    assert not any("visual.blocks" in name for name in moved)


def test_a_bundle_is_never_replaced(config: FinetuneConfig) -> None:
    """Where a bundle lies, nothing is trained."""
    (config.out / "bundle").mkdir(parents=True)
    with pytest.raises(ConfigError, match="expected a folder without a bundle"):
        finetune(config)


def test_what_is_held_out_measures_and_does_not_teach(taught: Bundle) -> None:
    """Loss and accuracies of the other patients' items are logged before the first step and after the last."""
    rows = [row for row in read_log(taught.directory.parent / LOG_FILE) if "eval_loss" in row]
    provenance = json.loads(taught.path("finetune.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in rows] == [0, 4]
    assert rows[-1]["eval_loss"] < rows[0]["eval_loss"]
    assert all(row["eval_examples"] == provenance["items"]["held_out"] for row in rows)
    assert all(0 <= row[f"eval_{name}_accuracy"] <= 1 for row in rows for name in ("token", "value"))
