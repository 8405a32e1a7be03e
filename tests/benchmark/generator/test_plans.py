import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.generator import plans
from benchmark.generator.annotations import read_annotations
from benchmark.generator.probe import shortcuts
from benchmark.generator.splits import assign, published_order
from benchmark.generator.volumes import NORMAL_LABEL, AnnotatedVolume, Scan
from benchmark.items import AnswerType, Counted, Item, Level, Split, Task, TruthBox
from sgmri.errors import ConfigError
from sgmri.questions import NONE_OF_THESE
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy


@pytest.fixture(scope="module")
def real(fastmri_plus: Path) -> Sequence[AnnotatedVolume]:
    return assign(read_annotations(fastmri_plus, {}).volumes, {}, published_order(fastmri_plus))[0]


@pytest.fixture(scope="module")
def published(real: Sequence[AnnotatedVolume]) -> list[Item]:
    return list(plans.paper(real))


def test_the_published_plan_has_the_published_counts(published: list[Item]) -> None:
    """41,665 items: 3,250 of each image task and anatomy, 974 and 859 of each volume task, none twice."""
    counts = Counter((item.anatomy, item.level, item.task) for item in published)
    assert len(published) == len({item.item_id for item in published}) == 41_665
    assert {count for (_, level, _), count in counts.items() if level is Level.IMAGE} == {3250}
    assert {n for (anatomy, level, _), n in counts.items() if (anatomy, level) == ("knee", "volume")} == {974}
    assert {n for (anatomy, level, _), n in counts.items() if (anatomy, level) == ("brain", "volume")} == {859}
    tested = Counter(item.level for item in published if item.split is Split.TEST)
    assert tested == {Level.IMAGE: 7500, Level.VOLUME: 5 * (155 + 213)}


def test_always_yes_is_right_as_often_as_published(published: list[Item]) -> None:
    """The test split says yes to 94.9 % of image and 74.7 % of volume detections."""
    answers = Counter(
        (item.level, item.answer) for item in published if item.task is Task.DETECTION and item.split is Split.TEST
    )
    assert answers[Level.IMAGE, "Yes"] / 1500 == pytest.approx(0.949, abs=0.0005)
    assert answers[Level.VOLUME, "Yes"] / 368 == pytest.approx(0.747, abs=0.0005)


def test_letters_are_balanced(published: list[Item]) -> None:
    """Of single choices, each letter is right 25 +- 2 % of the time, in every task, level, anatomy and split."""
    letters: dict[tuple[str, ...], Counter[str]] = {}
    for item in published:
        if item.answer_type is AnswerType.SINGLE:
            letters.setdefault((item.task, item.level, item.anatomy, item.split), Counter()).update(item.letters)
    assert len(letters) == 8
    for counts in letters.values():
        assert all(abs(counts[letter] / counts.total() - 0.25) < 0.02 for letter in "ABCD")


def test_a_question_of_one_label_has_boxes_of_that_label_only(published: list[Item]) -> None:
    """Truth is what is asked for; all other boxes of the frame or volume are context."""
    asked = [item for item in published if item.task is Task.LOCALIZATION and item.label]
    assert all({box.label for box in item.boxes} <= {item.label} for item in asked)
    assert any(len(item.context) > len(item.boxes) > 0 for item in asked)
    for item in asked:
        assert ("<bbx>" in item.answer) == bool(item.boxes)
        assert all(box.published in item.answer for box in item.boxes)


def test_options_are_labels_absent_from_the_volume_or_right(published: list[Item]) -> None:
    """A wrong option is nowhere in the volume, and "None of these" stands among the options of every choice."""
    everywhere: dict[str, set[str]] = {}
    for item in published:
        everywhere.setdefault(item.volume_id, set()).update(item.labels)
    for item in (item for item in published if item.is_choice):
        assert len(set(item.options)) == 4 and NONE_OF_THESE in item.options
        for letter, option in item.lettered_options.items():
            assert option == NONE_OF_THESE or FINDINGS[option].anatomy is item.anatomy
            assert (letter in item.letters) or option not in item.labels


def test_words_alone_do_not_answer_yes_or_no(published: list[Item]) -> None:
    """A bag of words is no more than 3 points better at detection than the majority."""
    found = shortcuts(item for item in published if item.task is Task.DETECTION)
    assert len(found) == 4
    assert all(one.probe - one.majority < 0.03 for one in found)


@pytest.mark.slow
def test_words_alone_do_not_answer(published: list[Item]) -> None:
    """A bag of words gains no 3 points on the majority, over all items, in large kinds, and beyond chance in any."""
    found = shortcuts(published)
    tested = sum(one.tested for one in found)
    gain = sum((one.probe - one.majority) * one.tested for one in found) / tested
    assert gain < 0.03
    assert all(one.probe - one.majority < 0.03 for one in found if one.tested >= 500)
    assert all(one.gain.low < 0.03 for one in found)


@pytest.mark.slow
def test_everything_that_the_annotations_support_is_as_much_as_counted(real: Sequence[AnnotatedVolume]) -> None:
    """107,230 items: 85,494 of images, 21,736 of volumes, none twice."""
    counts: Counter[tuple[Level, Task]] = Counter()
    seen = set()
    for item in plans.exhaustive(real):
        counts[item.level, item.task] += 1
        seen.add(item.item_id)
    assert len(seen) == counts.total() == 107_230
    assert counts[Level.IMAGE, Task.LOCALIZATION] == 19_484
    assert counts[Level.VOLUME, Task.COUNTING] == 5_434
    assert counts[Level.VOLUME, Task.DETECTION] == 2_012 + 6_844


def _volume(number: int, split: Split, *labels: str, study: str = "") -> AnnotatedVolume:
    boxes = tuple(
        TruthBox(label=label, frame_number=frame, x=10, y=10 + 40 * place, width=30, height=20)
        for frame in (4, 5)
        for place, label in enumerate(labels)
    )
    return AnnotatedVolume(
        volume_id=f"file_brain_AXT1_{number}",
        anatomy=Anatomy.BRAIN,
        boxes=boxes,
        study_labels=(study,) if study else (),
        scan=Scan(frame_count=16, rows=320, columns=320, is_size_known=True, split=split, patient_id=f"p{number}"),
    )


SMALL = [
    _volume(1, Split.TRAIN, "Edema", "Mass"),
    _volume(2, Split.TRAIN, "Lacunar infarct"),
    _volume(3, Split.TRAIN, study=NORMAL_LABEL),
    _volume(4, Split.TEST, "Mass"),
    _volume(5, Split.TEST, study=NORMAL_LABEL),
]
_NORMAL = ("file_brain_AXT1_3", "file_brain_AXT1_5")


def test_what_is_asked_of_a_volume_follows_from_its_boxes() -> None:
    """Places, counts, sides and thirds are written as they are annotated; a normal volume has none."""
    items = {item.item_id: item for item in plans.exhaustive(SMALL)}
    where = items["file_brain_AXT1_1/volume/localization/Edema"]
    assert where.answer == (
        "Brain, the left side of the image, lower third of the volume. "
        "Frame 4: <bbx>[10,10,30,20]</bbx>, Frame 5: <bbx>[10,10,30,20]</bbx>."
    )
    assert "Frames 4-5" in where.reasoning and "dark area" in where.reasoning  # oedema is dark on T1
    assert where.frame_numbers == tuple(range(1, 17)) and where.patient_id == "p1"
    kinds = items["file_brain_AXT1_1/volume/counting/kinds"]
    assert (kinds.count, kinds.counted) == (2, Counted.KINDS)
    assert items["file_brain_AXT1_1/volume/counting/lesions/Mass"].count == 1
    assert items["file_brain_AXT1_3/volume/detection"].answer == "No"
    assert items["file_brain_AXT1_3/volume/counting/kinds"].count == 0
    assert items["file_brain_AXT1_3/volume/captioning"].answer == "No abnormality is marked in this volume."
    which = items["file_brain_AXT1_3/volume/classification"]
    assert [which.lettered_options[letter] for letter in which.letters] == [NONE_OF_THESE]


def test_normal_frames_lie_two_frames_from_any_box() -> None:
    """Frames 3 and 6 beside boxes on 4 and 5 are asked about as neither normal nor abnormal."""
    for item in plans.exhaustive(SMALL):
        if item.level is Level.IMAGE and not item.context and item.volume_id not in _NORMAL:
            assert item.frame_numbers[0] not in (3, 4, 5, 6)


def test_absent_labels_are_asked_as_often_as_present_ones() -> None:
    """Whether a label is there cannot be told from its name, as far as there are volumes without it."""
    asked = Counter(
        (item.label, item.answer)
        for item in plans.exhaustive(SMALL)
        if item.task is Task.DETECTION and item.label and item.split is Split.TRAIN
    )
    assert {count for count in asked.values()} == {1}
    assert len(asked) == 6


def test_a_split_that_is_too_small_for_the_published_plan_is_refused() -> None:
    """Quotas are never filled with fewer frames without a word."""
    with pytest.raises(ConfigError, match="expected 2375 frames with findings of brain"):
        list(plans.paper(SMALL))


_DIGEST = """
from hashlib import sha256
from tests.benchmark.generator.test_plans import SMALL
from benchmark.generator import plans
print(sha256(repr(list(plans.exhaustive(SMALL))).encode()).hexdigest())
"""


def test_the_same_items_are_made_in_every_process() -> None:
    """No choice depends on the order of a set or on a hash that a process draws."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1
