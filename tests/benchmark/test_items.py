from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.items import AnswerType, Counted, Item, Level, Prediction, Split, Task, TruthBox, read_items, write_items
from sgmri.errors import ConfigError
from sgmri.geometry import Box
from sgmri.volume import Anatomy

TEAR = TruthBox(label="Meniscus Tear", frame_number=24, x=102, y=180, width=15, height=13)
WHERE = Item(
    item_id="file1000291/volume/localization/Meniscus Tear",
    anatomy=Anatomy.KNEE,
    level=Level.VOLUME,
    task=Task.LOCALIZATION,
    answer_type=AnswerType.OPEN,
    volume_id="file1000291",
    split=Split.TRAIN,
    label="Meniscus Tear",
    question="Where is the meniscus tear located?",
    answer=f"On the image left. Frame 24: {TEAR.published}",
    reasoning="A bright line reaches the joint surface.",
    frame_numbers=tuple(range(1, 37)),
    rows=320,
    columns=320,
    boxes=(TEAR,),
    context=(TEAR,),
    labels=("Meniscus Tear",),
)
WHICH = replace(
    WHERE,
    item_id="file1000291/24/classification",
    task=Task.CLASSIFICATION,
    answer_type=AnswerType.MULTIPLE,
    options=("Meniscus Tear", "Joint Effusion", "Bone - Lesion", "None of these"),
    answer="(A), (C)",
)
HOW_MANY = replace(WHERE, item_id="file1000291/volume/counting", task=Task.COUNTING, counted=Counted.BOXES, answer="12")


def test_a_box_is_published_as_corner_and_size_and_is_half_open_here() -> None:
    """[102,180,15,13] of frame 24 is columns 102 to 116 and rows 180 to 192 of frame index 23."""
    assert TEAR.published == "<bbx>[102,180,15,13]</bbx>"
    assert TEAR.box == Box(x0=102, y0=180, x1=117, y1=193)
    assert TEAR.finding.frame_index == 23


def test_items_come_back_from_their_file_and_give_the_same_bytes_twice(tmp_path: Path) -> None:
    """Every field survives Parquet, and writing the same items again gives the same file."""
    items = [replace(WHERE, patient_id="p1", is_size_known=True), WHICH, HOW_MANY]
    for name in ("one", "two"):
        assert write_items(items, tmp_path / name) == 3
    assert list(read_items(tmp_path / "one")) == items
    digests = {sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("one", "two")}
    assert len(digests) == 1


def test_the_truth_of_a_choice_is_letters_and_of_a_count_a_number() -> None:
    """Letters and counts are read from the answer; other types have none."""
    assert WHICH.letters == ("A", "C")
    assert WHICH.lettered_options["C"] == "Bone - Lesion"
    assert HOW_MANY.count == 12
    assert WHERE.letters == () and WHERE.count is None


@pytest.mark.parametrize("change", [{"options": ()}, {"answer": "Meniscus Tear"}, {"options": ("Mass",)}])
def test_a_choice_without_its_options_or_letters_is_refused(change: dict[str, object]) -> None:
    """An item that nothing could score correctly cannot be made."""
    with pytest.raises(ConfigError, match="file1000291/24"):
        replace(WHICH, **change)  # type: ignore[arg-type]  # fields of several types


def test_a_file_that_holds_no_items_is_refused(tmp_path: Path) -> None:
    """Missing files, other formats and other columns say what was expected."""
    (tmp_path / "text").write_text("no parquet")
    pq.write_table(pa.table({"item_id": ["a"]}), tmp_path / "other")
    for name in ("missing", "text", "other"):
        with pytest.raises(ConfigError, match="expected"):
            list(read_items(tmp_path / name))


def test_a_prediction_is_one_line_and_comes_back() -> None:
    """Line ends and quotes of a model's text stay inside its line."""
    said = Prediction(item_id=WHERE.item_id, text='Yes.\n"Frame 1"', latency_s=0.25, cost_usd=0.001)
    assert "\n" not in said.to_line()
    assert Prediction.from_line(said.to_line()) == said
    for line in ("", '{"item_id": "a"', '{"item_id": "a", "said": "b"}', "3"):
        with pytest.raises(ConfigError, match="line of JSON"):
            Prediction.from_line(line)
