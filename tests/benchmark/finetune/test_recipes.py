"""What is asked and what is to be learnt, word for word, and read back by the product's own parser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.finetune.exchange import Exchange, Recipe
from benchmark.finetune.grounded import GroundedRecipe
from benchmark.finetune.published import PublishedRecipe, published_answer, sampled
from benchmark.items import Item, Level, Prediction, Task
from benchmark.running.pictures import dicom_frames
from benchmark.scoring.strict import Outcome, strict_score
from sgmri.geometry import FrameScaling
from sgmri.interfaces import Frames
from sgmri.volume import Anatomy
from worker.engine.profiles import PROFILES
from worker.engine.prompts import Role, Segment, chatml

LABELS = {
    Anatomy.BRAIN: ("Lacunar infarct", "Nonspecific white matter lesion"),
    Anatomy.KNEE: ("Bone- Subchondral edema", "Joint Effusion", "Periarticular cysts"),
}
GROUNDED = GroundedRecipe(profile=PROFILES["sgmri"], labels=LABELS)
OWN_WORDS, WORKERS_WORDS = 0.0, 0.9


class Drawn(np.random.Generator):
    """Draws one number first, whatever the seed."""

    def __init__(self, first: float, seed: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self._first = first

    def random(self) -> float:  # type: ignore[override]  # all that a recipe asks for
        return self._first


@pytest.fixture(scope="session")
def shown(phantoms: Path) -> Callable[[Item], Frames]:
    volumes: dict[str, Frames] = {}

    def frames(item: Item) -> Frames:
        if item.volume_id not in volumes:
            volumes[item.volume_id] = dicom_frames(phantoms, item)
        whole = volumes[item.volume_id]
        if item.level is Level.VOLUME:
            return whole
        return replace(whole, pixels=whole.pixels[[number - 1 for number in item.frame_numbers]])

    return frames


def _of(items: tuple[Item, ...], ending: str) -> Item:
    return next(item for item in items if item.item_id.endswith(ending))


def _asked(recipe: Recipe, item: Item, frames: Frames, first: float = OWN_WORDS, seed: int = 0) -> Exchange:
    return recipe.exchange(item, frames, Drawn(first, seed))


def test_published_target_of_an_image(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """The answer, a full stop, the reasoning; boxes as corner and size in whole pixels. Nothing but the question."""
    item = _of(items, "brain/14/localization/Lacunar infarct")
    exchange = _asked(PublishedRecipe(), item, shown(item))
    assert exchange.question == "\nQuestion: What is the location of the lacunar infarct?"
    assert exchange.answer == (
        "Brain, the right side of the image. <bbx>[153,132,9,10]</bbx>. This is an axial FLAIR MRI image of the brain. "
        "A small sharply bordered cavity in deep tissue is seen on the right side of the image: "
        "<bbx>[153,132,9,10]</bbx>. This is suggestive of lacunar infarct.",
    )
    assert chatml(exchange.segments).endswith("<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>")


def test_published_target_of_a_count(items: tuple[Item, ...]) -> None:
    """The number stands first."""
    assert published_answer(_of(items, "brain/volume/counting/kinds")) == (
        "2. This is an axial FLAIR MRI volume of the brain. Lacunar infarct: 3 boxes. Nonspecific white matter lesion: "
        "11 boxes. Total = 2."
    )


def test_a_published_volume_is_a_clip(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """Of 22 frames 16 are shown, in pairs behind their time, though the prompt tells of all 22."""
    item = _of(items, "brain/volume/detection")
    exchange = _asked(PublishedRecipe(), item, shown(item))
    blocks = [one.frame_indices for one in exchange.segments if one.frame_indices]
    assert blocks == [(0, 1), (3, 4), (6, 7), (8, 10), (11, 13), (14, 15), (17, 18), (20, 21)]
    assert [one.text for one in exchange.segments if one.text][1:3] == ["<0.1 seconds>", "<0.9 seconds>"]
    assert "22 frames (Frame 1 through Frame 22)" in chatml(exchange.segments)
    assert (exchange.budget.min_pixels, exchange.budget.max_pixels) == (200_704 // 16, 1_304_576 // 16)


@pytest.mark.parametrize(("count", "frames"), [(1, 1), (5, 5), (16, 16), (50, 16)])
def test_a_clip_begins_and_ends_with_the_volume(count: int, frames: int) -> None:
    """At most 16 frames, each once, the first and the last among them."""
    found = sampled(count)
    assert len(set(found)) == len(found) == frames
    assert found[0] == 0 and found[-1] == count - 1


def test_a_frame_without_a_partner_is_shown_twice(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """A clip of five frames has three pairs."""
    item = _of(items, "brain/volume/detection")
    frames = shown(item)
    exchange = _asked(PublishedRecipe(), item, replace(frames, pixels=frames.pixels[:5]))
    assert [one.frame_indices for one in exchange.segments if one.frame_indices] == [(0, 1), (2, 3), (4, 4)]


def test_grounded_target_follows_the_lesion(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """The extent of the lesion is said, then a box on each of its frames, in thousandths, with the frame's name."""
    item = _of(items, "brain/volume/localization/Lacunar infarct")
    exchange = _asked(GROUNDED, item, shown(item))
    assert exchange.question == (
        "\nQuestion: Where is the lacunar infarct located?\n"
        "Say where it is, and list one box for every frame on which it is seen.\n"
        "Label boxes with: Lacunar infarct.\nRespond ONLY with the JSON object."
    )
    assert exchange.answer == (
        '{"answer": "',
        'middle centre of the image.", "reasoning": "Lacunar infarct, frames 14-16, largest on 15.", "bboxes": ['
        '{"frame": 14, "label": "Lacunar infarct", "bbox": [598, 516, 633, 555]}, '
        '{"frame": 15, "label": "Lacunar infarct", "bbox": [594, 512, 637, 559]}, '
        '{"frame": 16, "label": "Lacunar infarct", "bbox": [605, 527, 625, 547]}]}',
    )
    shown_text = chatml(exchange.segments)
    assert "Frame 1: <|vision_start|><|image_pad|><|vision_end|>Frame 2: " in shown_text
    assert shown_text.count("<|image_pad|>") == 22


def test_grounded_boxes_are_those_of_the_frame_that_is_shown(
    items: tuple[Item, ...], shown: Callable[[Item], Frames]
) -> None:
    """A frame that is shown at another size has its boxes in the same thousandths."""
    item = _of(items, "brain/14/localization/Lacunar infarct")
    frames = shown(item)
    small = replace(
        frames,
        pixels=frames.pixels[:, ::2, :192],
        scaling=FrameScaling(scale_x=0.75, scale_y=0.5, source_rows=256, source_columns=256),
    )
    assert _asked(GROUNDED, item, small).answer == _asked(GROUNDED, item, frames).answer


def test_a_choice_is_parted_before_its_letter(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """What the worker writes itself stands in pieces of its own, for it puts them into tokens by themselves."""
    item = _of(items, "brain/volume/classification")
    exchange = _asked(GROUNDED, item, shown(item))
    assert exchange.answer == (
        '{"answer": "',
        "(",
        'C)", "reasoning": "Lacunar infarct, frames 14-16, largest on 15."}',
    )


def test_the_worker_asks_one_frame_alone(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """What lies on a frame is affirmed, what does not is denied, in the words that the worker asks a frame in."""
    item = _of(items, "knee/3/detection")
    found = {
        _asked(GROUNDED, item, shown(item), WORKERS_WORDS, seed).question.split("\n")[1]: _asked(
            GROUNDED, item, shown(item), WORKERS_WORDS, seed
        ).answer[1][:3]
        for seed in range(30)
    }
    assert found == {
        "Question: Is there evidence of Joint Effusion in this MRI image?": "Yes",
        "Question: Is there evidence of Periarticular cysts in this MRI image?": 'No"',
        "Question: Is there evidence of Bone- Subchondral edema in this MRI image?": 'No"',
    }


def test_the_worker_asks_what_must_be_denied(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """Of a whole volume the controls are asked too: another organ, and findings that it cannot have."""
    item = _of(items, "brain/volume/detection")
    found = {
        exchange.question.split("\n")[1].removeprefix("Question: "): exchange.answer[1].split('"')[0]
        for seed in range(40)
        for exchange in [_asked(GROUNDED, item, shown(item), WORKERS_WORDS, seed)]
    }
    assert found == {
        "Is there an abnormality in this brain volume?": "Yes",
        "Is this a volume of the brain?": "Yes",
        "Is this a volume of the knee?": "No",
        "Is there a joint effusion in this volume?": "No",
        "Is there a periarticular cyst in this volume?": "No",
    }


def test_the_worker_tells_what_was_found(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """Summary and main finding are asked behind the findings, as a reading asks them."""
    item = _of(items, "brain/volume/captioning")
    exchange = _asked(GROUNDED, item, shown(item), WORKERS_WORDS)
    assert exchange.question == (
        "\nQuestion: Summarise the findings of this volume in two sentences.\nFindings: Lacunar infarct, places: 1, "
        "frames: 14-16; Nonspecific white matter lesion, places: 3, frames: 14-19.\nAnswer in two or three sentences.\n"
        "Respond ONLY with the JSON object."
    )
    assert exchange.answer[1] == (
        "Seen: Lacunar infarct in 1 place on frames 14 to 16; Nonspecific white matter lesion in 3 places on frames 14 "
        'to 19. Nothing else that was asked for is seen.", "reasoning": "", "bboxes": []}'
    )
    which = _of(items, "brain/volume/classification")
    chosen = _asked(GROUNDED, which, shown(which), WORKERS_WORDS)
    letter = chosen.answer[2][0]
    assert f"({letter}) Nonspecific white matter lesion" in chosen.question


@pytest.mark.parametrize("recipe", [PublishedRecipe(), GROUNDED], ids=["published", "grounded"])
def test_the_product_reads_every_target_as_the_truth(
    recipe: Recipe, items: tuple[Item, ...], shown: Callable[[Item], Frames]
) -> None:
    """A model that has learnt its targets scores fully: no target is unparsable, or wrong."""
    for item in items:
        text = "".join(_asked(recipe, item, shown(item)).answer)
        scored = strict_score(item, Prediction(item_id=item.item_id, text=text, latency_s=0.0), recipe.profile)
        assert scored.outcome is Outcome.ANSWERED, item.item_id
        if item.task is not Task.CAPTIONING:
            wanted = {name: 0.0 if name == "count error" else pytest.approx(1.0, abs=0.1) for name in scored.scores}
            assert scored.scores == wanted, item.item_id


def test_only_the_system_turn_is_not_the_users(items: tuple[Item, ...], shown: Callable[[Item], Frames]) -> None:
    """The published prefix is one system turn and the clip."""
    item = _of(items, "knee/volume/detection")
    segments = _asked(PublishedRecipe(), item, shown(item)).segments
    assert [one for one in segments if one.role is Role.SYSTEM] == [segments[0]]
    assert isinstance(segments[0], Segment)
