from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.items import Level, Prediction, Split, Task
from benchmark.running.card import Origin, RunCard, Selection
from benchmark.running.ledger import Ledger, read_answers
from sgmri.errors import ConfigError
from tests.benchmark.scoring.examples import EVERY


def _said(name: str) -> Prediction:
    return Prediction(item_id=name, text=f"answer\nto {name}", latency_s=0.1, certainty=0.5, prompt_tokens=3)


def test_answers_are_kept_and_read_again(tmp_path: Path) -> None:
    """What was appended is there for the next process."""
    with Ledger(tmp_path / "answers") as ledger:
        ledger.append(_said("a"))
    with Ledger(tmp_path / "answers") as ledger:
        assert dict(ledger.answers) == {"a": _said("a")}
        ledger.append(_said("b"))
    assert read_answers(tmp_path / "answers") == {"a": _said("a"), "b": _said("b")}


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_line_that_was_cut_off_is_no_answer(tmp_path: Path, cut: int) -> None:
    """A process killed in the middle of a line loses that line alone, and the next one starts afresh."""
    path = tmp_path / "answers"
    with Ledger(path) as ledger:
        ledger.append_all([_said("a"), _said("b")])
    path.write_bytes(path.read_bytes()[:-cut])
    with Ledger(path) as ledger:
        assert list(ledger.answers) == ["a"]
        ledger.append(_said("b"))
    assert list(read_answers(path)) == ["a", "b"]


def test_an_item_is_answered_once(tmp_path: Path) -> None:
    """A second answer is refused when it is written, and when it is read."""
    path = tmp_path / "answers"
    with Ledger(path) as ledger:
        ledger.append(_said("a"))
        with pytest.raises(ConfigError, match="one answer to a"):
            ledger.append(_said("a"))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ConfigError, match="line 2"):
        read_answers(path)


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    """The file is locked while a run is at work."""
    with Ledger(tmp_path / "answers"), pytest.raises(ConfigError, match="no other process"):
        Ledger(tmp_path / "answers")


_CARD = RunCard(
    name="model",
    origin=Origin.MODEL,
    profile="sgmri",
    items_sha256="0" * 64,
    selection=Selection(levels=(Level.VOLUME,), limit=3),
)


def test_a_run_is_taken_up_again_with_the_same_card_only(tmp_path: Path) -> None:
    """Another model or another selection would mix two runs in one file."""
    _CARD.write(tmp_path)
    _CARD.write(tmp_path)
    assert RunCard.read(tmp_path) == _CARD
    for other in (replace(_CARD, name="other"), replace(_CARD, selection=Selection()), replace(_CARD, is_blank=True)):
        with pytest.raises(ConfigError, match="another folder"):
            other.write(tmp_path)
    with pytest.raises(ConfigError, match=r"run\.json"):
        RunCard.read(tmp_path / "nowhere")


def test_a_selection_takes_the_same_items_for_everybody() -> None:
    """Split, level and task are filters; a limit draws by name, and keeps the order."""
    assert list(Selection().of(EVERY)) == list(EVERY)
    assert list(Selection(split=Split.TRAIN).of(EVERY)) == []
    assert {item.task for item in Selection(tasks=(Task.DETECTION,)).of(EVERY)} == {Task.DETECTION}
    some = list(Selection(limit=3).of(EVERY))
    assert len(some) == 3
    assert some == list(reversed(list(Selection(limit=3).of(reversed(EVERY)))))


def test_any_text_of_a_model_is_kept_as_it_came(tmp_path: Path) -> None:
    """A lone surrogate, which JSON may spell and UTF-8 may not, does not end a run."""
    said = Prediction(item_id="a", text="a\ud800b \u00f6\u2028\x00", latency_s=0.1)
    with Ledger(tmp_path / "answers") as ledger:
        ledger.append(said)
    assert read_answers(tmp_path / "answers") == {"a": said}


@pytest.mark.parametrize(
    "wrong",
    [
        '"text": 5',
        '"text": null',
        '"item_id": ""',
        '"latency_s": null',
        '"latency_s": NaN',
        '"latency_s": -1',
        '"certainty": 1.5',
        '"certainty": -0.1',
        '"certainty": NaN',
        '"certainty": "0.5"',
        '"cost_usd": Infinity',
        '"prompt_tokens": "many"',
    ],
)
def test_an_answer_with_a_value_that_cannot_be_is_refused_with_its_line(tmp_path: Path, wrong: str) -> None:
    """A certainty of 150 %, a time that is no number or a text that is none never becomes a score."""
    line = f'{{"item_id": "a", "text": "Yes.", "latency_s": 0.1, {wrong}}}\n'
    (tmp_path / "answers").write_text(line, encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        read_answers(tmp_path / "answers")


def test_a_run_that_is_taken_up_again_leaves_its_card_alone(tmp_path: Path) -> None:
    """A process killed while it takes a run up again cannot leave the run without its card."""
    _CARD.write(tmp_path)
    (tmp_path / "run.json").chmod(0o444)
    before = (tmp_path / "run.json").stat().st_mtime_ns
    _CARD.write(tmp_path)
    assert (tmp_path / "run.json").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
