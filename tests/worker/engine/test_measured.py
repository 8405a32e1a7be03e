import json
from pathlib import Path

import pytest

from sgmri.errors import EngineError
from sgmri.questions import QuestionKind
from worker.engine.bundle import load
from worker.engine.loading import card_of
from worker.engine.measured import read
from worker.engine.places import embedded_bundle


def test_the_embedded_model_carries_what_was_measured() -> None:
    """Its identity has detection, localisation and both counts as sealed, and nothing for what was not examined."""
    bundle = load(embedded_bundle())
    overall = json.loads(bundle.path("eval.json").read_text(encoding="utf-8"))["reports"][0]["overall"]
    engine = card_of(bundle).identity
    assert (engine.name, engine.digest) == ("sgmri-embedded", bundle.digest)
    figures = [(entry.kind, entry.value, entry.low, entry.high, entry.volumes) for entry in engine.accuracy]
    sealed = [overall[score] for score in ("accuracy", "published_v", "lesions", "kinds")]
    kinds = (QuestionKind.DETECTION, QuestionKind.LOCALISATION, QuestionKind.COUNTING, QuestionKind.COUNTING)
    expected = [(k, s["value"], s["low"], s["high"], s["samples"]) for k, s in zip(kinds, sealed, strict=True)]
    assert figures == expected
    assert "synthetic" in engine.accuracy_of(QuestionKind.DETECTION)
    assert engine.accuracy_of(QuestionKind.CLASSIFICATION).startswith("not measured")


def test_what_was_not_measured_is_left_out_and_what_is_wrong_is_refused(tmp_path: Path) -> None:
    """A null score gives no entry; another model's file, a part of one, and a figure beyond 1 are errors."""
    path = tmp_path / "eval.json"
    right = {"value": 0.5, "low": 0.4, "high": 0.6, "samples": 9}
    scores = {"accuracy": right, "published_v": {**right, "value": None}, "lesions": right, "kinds": right}

    def written(**changed: object) -> Path:
        path.write_text(json.dumps({"reports": [{"engine": "mine", "overall": {**scores, **changed}}]}))
        return path

    found = read(written(), "mine")
    assert [entry.kind.value for entry in found] == ["detection", "counting", "counting"]
    assert "synthetic" not in found[0].source, "nothing says so"
    with pytest.raises(EngineError, match="StopIteration"):
        read(path, "another")
    for wrong in ({**right, "value": 1.5}, {}, None):
        with pytest.raises(EngineError, match="examination of mine"):
            read(written(lesions=wrong), "mine")
