"""An engine that says one thing, an abnormality in boxes that it was given (:class:`sgmri.interfaces.Engine`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dicom_io.decode import decode
from dicom_io.selection import choose
from dicom_io.series import describe
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, Presence, QuestionKind, QuestionSet
from sgmri.readings import EngineIdentity
from worker.pipeline import Product, read_series
from worker.rendering import render


@dataclass
class OneBoxEngine:
    """Answers only that there is an abnormality: one given box on each given frame, in model pixels.

    With ``tracking_uid``, all boxes claim to be one and the same.
    """

    boxes: dict[int, Box]
    label: str
    text: str = ""
    tracking_uid: str | None = None

    def describe(self) -> EngineIdentity:
        return EngineIdentity(name="one box", version="1", digest="1" * 64)

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        tracklet = Tracklet(
            tracklet_id="lesion-1",
            findings=tuple(
                Finding(label=self.label, frame_index=index, box=box, tracking_uid=self.tracking_uid)
                for index, box in sorted(self.boxes.items())
            ),
        )
        question = questions[f"{questions.anatomy}.any"]
        return (
            Answer(
                question_id=question.question_id,
                kind=QuestionKind.DETECTION,
                presence=Presence.PRESENT,
                text=self.text,
                evidence=(tracklet,),
            ),
        )

    def close(self) -> None:
        pass


def read_brightest(paths: Sequence[Path], text: str = "") -> tuple[Product, dict[int, Box]]:
    """Read a series with an engine that marks the voxels of the highest value; return its boxes in model pixels too."""
    choice = choose(describe(paths))
    assert choice.sub_volume is not None and choice.anatomy is not None
    volume = decode(choice.sub_volume.facts, choice.anatomy)
    is_mark = volume.voxels == volume.voxels.max()
    scaling, boxes = render(volume).scaling, {}
    for index in np.flatnonzero(is_mark.any(axis=(1, 2))):
        rows, columns = np.flatnonzero(is_mark[index].any(axis=1)), np.flatnonzero(is_mark[index].any(axis=0))
        box = Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1] + 1), y1=float(rows[-1] + 1))
        boxes[int(index)] = scaling.to_model(box)
    engine = OneBoxEngine(boxes, "Nonspecific lesion", text)
    started_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return read_series(choice, engine, started_at=started_at, control=ReadingControl()), boxes
