from dataclasses import replace

import pytest

from benchmark.items import Counted, Item, Level, Task, TruthBox
from benchmark.running.reading import Spoken, VolumeReading
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Presence, QuestionKind
from sgmri.volume import Anatomy
from tests.benchmark.scoring.examples import (
    CAPTION,
    HOW_MANY,
    IS_THERE,
    TEAR,
    WHERE,
    WHERE_IN_FRAME,
    WHICH,
    WHICH_ONE,
)

_EFFUSION = "Joint Effusion"


def _tracklet(name: str, label: str, first: int, last: int, side: float) -> Tracklet:
    box = Box(x0=100, y0=180, x1=100 + side, y1=180 + side)
    return Tracklet(
        tracklet_id=name,
        findings=tuple(Finding(label=label, frame_index=index, box=box) for index in range(first, last + 1)),
    )


_TEAR = _tracklet("lesion-1", TEAR, 22, 23, 20)
_FLUID = _tracklet("lesion-2", _EFFUSION, 23, 23, 50)


def _detection(name: str, presence: Presence, *evidence: Tracklet, certainty: float | None = None) -> Answer:
    return Answer(
        question_id=f"knee.{name}",
        kind=QuestionKind.DETECTION,
        presence=presence,
        evidence=evidence,
        certainty=certainty,
    )


_FOUND = VolumeReading(
    anatomy=Anatomy.KNEE,
    answers=(
        _detection("any", Presence.PRESENT, _TEAR, _FLUID, certainty=0.99),
        _detection("screen.meniscus", Presence.PRESENT, _TEAR, certainty=0.9),
        Answer(question_id="knee.summary", kind=QuestionKind.CAPTIONING, text="A torn meniscus and fluid."),
    ),
)
_CLEAR = VolumeReading(
    anatomy=Anatomy.KNEE,
    answers=(
        _detection("any", Presence.ABSENT, certainty=0.8),
        _detection("screen.meniscus", Presence.ABSENT, certainty=0.7),
    ),
)
_SILENT = VolumeReading(anatomy=Anatomy.KNEE, answers=(_detection("any", Presence.UNDETERMINED),))
_KINDS, _LESIONS = (replace(HOW_MANY, counted=one) for one in (Counted.KINDS, Counted.LESIONS))
_ANY = replace(IS_THERE, label="")
_OTHER_FRAME = replace(WHERE_IN_FRAME, frame_numbers=(9,))


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (IS_THERE, "Yes. Frame 23: <bbx>[100,180,20,20]</bbx>, Frame 24: <bbx>[100,180,20,20]</bbx>"),
        (replace(_ANY, level=Level.IMAGE, frame_numbers=(9,)), "No."),
        (WHERE, "Frame 23: <bbx>[100,180,20,20]</bbx>, Frame 24: <bbx>[100,180,20,20]</bbx>"),
        (WHERE_IN_FRAME, "<bbx>[100,180,20,20]</bbx>"),
        (_OTHER_FRAME, "No findings to localize."),
        (HOW_MANY, "3."),
        (_KINDS, "2."),
        (_LESIONS, "2."),
        (WHICH, "(A), (B)"),
        (replace(WHICH_ONE, level=Level.VOLUME), "(B)"),
        (CAPTION, "A torn meniscus and fluid."),
    ],
)
def test_what_was_seen_answers_the_benchmark(item: Item, text: str) -> None:
    """Boxes, counts and choices come from what the engine showed, in the published form."""
    spoken = _FOUND.answer(item)
    assert spoken is not None and spoken.text == text


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (IS_THERE, "No."),
        (WHERE, "No findings to localize."),
        (HOW_MANY, "0."),
        (WHICH, "(D)"),
        (CAPTION, "No abnormality is seen."),
    ],
)
def test_what_was_denied_answers_it_too(item: Item, text: str) -> None:
    """An engine that says "absent" has said so to every question of the volume."""
    spoken = _CLEAR.answer(item)
    assert spoken is not None and spoken.text == text


@pytest.mark.parametrize("item", [IS_THERE, WHERE, HOW_MANY, WHICH, CAPTION, _OTHER_FRAME])
def test_what_the_reading_does_not_say_is_not_made_up(item: Item) -> None:
    """Undetermined is neither yes nor no, and no box is no denial."""
    assert _SILENT.answer(item) is None


def test_certainty_is_that_of_the_very_question() -> None:
    """Of the volume and the one label, or of any; of a single frame nothing is known."""
    assert _CLEAR.answer(IS_THERE) == Spoken(text="No.", certainty=0.7)
    assert _CLEAR.answer(_ANY) == Spoken(text="No.", certainty=0.8)
    in_frame = _FOUND.answer(replace(_ANY, level=Level.IMAGE, frame_numbers=(24,)))
    assert in_frame is not None and in_frame.certainty is None


def test_boxes_are_in_the_pixels_of_the_truth() -> None:
    """A box that an engine marks exactly is written as the truth writes it."""
    (box,) = _FLUID.findings
    truth = TruthBox(label=_EFFUSION, frame_number=24, x=100, y=180, width=50, height=50)
    item = replace(WHERE_IN_FRAME, label=_EFFUSION, task=Task.LOCALIZATION)
    spoken = _FOUND.answer(item)
    assert spoken is not None and spoken.text == truth.published and box.box == truth.box
