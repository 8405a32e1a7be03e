from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.baselines.answers import write_baselines
from benchmark.baselines.blind import blind_v, labels_of, median_boxes
from benchmark.baselines.ceilings import Ceiling, ceiling, visible_share
from benchmark.baselines.volumes import BoxedVolume, from_items
from benchmark.items import ITEMS_FILE, Item, Level, Split, Task, TruthBox, write_items
from benchmark.running.card import ANSWERS_FILE, Benchmark, RunCard
from benchmark.running.ledger import read_answers
from benchmark.scoring.answers import TextOptions
from benchmark.scoring.score import score_run
from sgmri.volume import Anatomy
from tests.benchmark.scoring.examples import EVERY, IS_NOT_THERE, IS_THERE, TEAR


def _volume(name: str, split: Split, *boxes: tuple[int, int, int, int, int]) -> BoxedVolume:
    return BoxedVolume(
        volume_id=name,
        anatomy=Anatomy.KNEE,
        split=split,
        boxes=tuple(
            TruthBox(label=TEAR, frame_number=frame, x=x, y=y, width=width, height=height)
            for frame, x, y, width, height in boxes
        ),
        frame_count=32,
    )


def test_the_blind_box_is_the_median_of_the_training_split() -> None:
    """Each edge and size is a median of its own; what is tested teaches nothing, and extra frames are free."""
    train = _volume("a", Split.TRAIN, (1, 10, 10, 20, 10), (2, 20, 10, 20, 10), (3, 30, 30, 40, 10))
    test = _volume("b", Split.TEST, (7, 20, 10, 20, 10), (8, 200, 200, 5, 5))
    medians = median_boxes([train, test])
    assert medians[TEAR].edges == (20, 10, 40, 20)
    assert labels_of(Anatomy.BRAIN, medians) == set()
    assert blind_v([train, test], medians, Anatomy.KNEE, Level.VOLUME).value == 0.5
    assert blind_v([train, test], medians, Anatomy.KNEE, Level.IMAGE).value == 0.5


def test_ceilings_of_a_lesion_that_grows_evenly() -> None:
    """Straight lines between the ends are exact; the middle box alone is not; half of 32 frames are seen of 16."""
    grown = _volume("a", Split.TEST, *((frame, 10, 10, 10 + 2 * frame, 10) for frame in range(1, 6)))
    assert ceiling([grown], Anatomy.KNEE, Ceiling.ENDS).value == pytest.approx(1.0)
    assert ceiling([grown], Anatomy.KNEE, Ceiling.KEY).value < 0.9
    everywhere = _volume("a", Split.TEST, *((frame, 10, 10, 10, 10) for frame in range(1, 33)))
    assert visible_share([everywhere], Anatomy.KNEE, 16).value == 0.5


def _benchmark(folder: Path) -> Benchmark:
    train = [
        replace(item, item_id=f"train/{item.item_id}", volume_id=f"train-{item.volume_id}", split=Split.TRAIN)
        for item in EVERY
    ]
    write_items([*EVERY, *train], folder / ITEMS_FILE)
    return Benchmark.load(folder)


def _said(folder: Path, item: Item) -> str:
    return read_answers(folder / ANSWERS_FILE)[item.item_id].text


def test_every_baseline_is_a_run_that_can_be_scored(tmp_path: Path) -> None:
    """Always yes and always A say so; the same items answered in training are known by their words."""
    benchmark = _benchmark(tmp_path)
    folders = {folder.name: folder for folder in write_baselines(benchmark, tmp_path / "runs")}
    assert _said(folders["always-yes"], IS_THERE) == "Yes."
    scores = {name: score_run(folder, benchmark, TextOptions(), rounds=20) for name, folder in folders.items()}
    yes = scores["always-yes"].find(Level.VOLUME, Task.DETECTION, "accuracy")
    box = scores["median-box-no-image"]
    assert yes is not None and yes.value == 0.5
    where = box.find(Level.VOLUME, Task.LOCALIZATION, "V"), box.find(Level.VOLUME, Task.LOCALIZATION, "V*")
    assert [None if one is None else one.value for one in where] == [pytest.approx(1.0), pytest.approx(3 / 36)]
    assert all(scores[name].certainty.answered for name in ("majority", "words-only-no-image", "always-A"))


def test_writing_baselines_again_adds_nothing(tmp_path: Path) -> None:
    """The second time every answer is there already."""
    benchmark = _benchmark(tmp_path)
    (folder, *_) = write_baselines(benchmark, tmp_path / "runs")
    before = (folder / ANSWERS_FILE).read_bytes()
    write_baselines(benchmark, tmp_path / "runs")
    assert (folder / ANSWERS_FILE).read_bytes() == before
    assert RunCard.read(folder).name == "always yes"


def test_volumes_come_from_items_of_whole_volumes() -> None:
    """One volume for all its questions; without a box it is none."""
    assert [volume.volume_id for volume in from_items([IS_THERE, *EVERY, IS_NOT_THERE])] == ["file1000291"]
