"""Speed, size and memory of writing result objects.

    python -m benchmarks.objects [--rounds N]

SR and text report: 12 findings on 8 frames each, 200 classic slices of 512 x 512, every standard question answered,
with a thousand letters of reasoning each.
SEG: 12 segments on all 200 slices, apart from each other and overlapping, as boxes, refined, and as a label map. Each
object is made in a process of its own; the best round counts. Times are of the process on all its cores (CPU) and of
the clock; memory is the peak of the process less what it held before. The limits stand beside the figures; a figure
beyond its limit ends the command with 1.
"""

import argparse
import io
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
from pydicom.dataset import Dataset

from dicom_io.objects.seg import encode_segmentation
from dicom_io.objects.sr import encode_report
from dicom_io.objects.text_report import encode_text_report
from sgmri.catalogue import STANDARD
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Presence, Question, QuestionKind
from sgmri.readings import EngineIdentity, Reading
from sgmri.volume import Anatomy, FrameRef

SLICES, SIDE, FINDINGS = 200, 512, 12
LABELS = ("Mass", "Edema", "Lacunar infarct", "Nonspecific white matter lesion")
ROOT = "1.2.840.113619.2.312.4120.8419247.13342.1393579562.123456"
"""As long as a scanner's UIDs are."""
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def sources() -> list[Dataset]:
    """Return the headers of an axial series."""
    made = []
    for place in range(SLICES):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = MR_IMAGE, f"{ROOT}.{1000 + place}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
        ds.Rows = ds.Columns = SIDE
        ds.InstanceNumber = place + 1
        ds.PixelSpacing, ds.SliceThickness = [0.5, 0.5], 1
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-128, -128, float(place)]
        made.append(ds)
    return made


def tracklets(frames_each: int, *, overlap: bool) -> tuple[Tracklet, ...]:
    """Return the findings: 4 x 3 boxes of 80 x 80 pixels, apart or each half over the next."""
    step = 40 if overlap else 120
    made = []
    for number in range(FINDINGS):
        x0, y0 = 20 + step * (number % 4), 20 + step * (number // 4)
        box = Box(x0=x0, y0=y0, x1=x0 + 80, y1=y0 + 80)
        first = 0 if frames_each == SLICES else number * 15
        indices = range(first, first + frames_each)
        label = LABELS[number % len(LABELS)]
        findings = tuple(Finding(label=label, frame_index=index, box=box, score=0.9) for index in indices)
        made.append(Tracklet(tracklet_id=f"lesion-{number + 1}", findings=findings))
    return tuple(made)


def reading(found: tuple[Tracklet, ...]) -> Reading:
    """Return a reading of the series that answers every question of the brain set."""
    questions = STANDARD[Anatomy.BRAIN]
    answers: dict[str, Answer] = {}
    while asked := questions.next_round(answers):
        answers |= {question.question_id: answer(question, found) for question in asked}
    return Reading(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        anatomy=Anatomy.BRAIN,
        question_set_id=questions.set_id,
        engine=EngineIdentity(name="benchmark", version="1", digest="0" * 64),
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        frames=tuple(
            FrameRef(
                sop_class_uid=MR_IMAGE,
                sop_instance_uid=f"{ROOT}.{1000 + place}",
                frame_number=None,
                position_mm=(-128.0, -128.0, float(place)),
            )
            for place in range(SLICES)
        ),
        rows=SIDE,
        columns=SIDE,
        answers=questions.in_order(answers.values()),
        tracklets=found,
    )


def answer(question: Question, found: tuple[Tracklet, ...]) -> Answer:
    """Return an answer with all that an answer may have; it rests on the findings that it is about."""
    seen = tuple(tracklet for tracklet in found if question.concerns({tracklet.label}))
    presence = (Presence.PRESENT if seen else Presence.ABSENT) if question.kind is QuestionKind.DETECTION else None
    return Answer(
        question_id=question.question_id,
        kind=question.kind,
        presence=presence,
        count=len(seen) if question.kind is QuestionKind.COUNTING else None,
        chosen=question.options[:1] if question.kind is QuestionKind.CLASSIFICATION else (),
        text="A sentence of usual length, as an engine says it.",
        reasoning="Brighter than its surroundings on neighbouring frames. " * 18,
        evidence=seen,
        certainty=0.83,
    )


def pixels() -> np.ndarray:
    """Return a noisy volume with a bright disc in each box."""
    volume = np.random.default_rng(0).normal(100, 10, (SLICES, SIDE, SIDE)).astype(np.float32)
    y, x = np.mgrid[:80, :80]
    disc = 100.0 * ((y - 39.5) ** 2 + (x - 39.5) ** 2 < 36**2)
    for number in range(FINDINGS):
        x0, y0 = 20 + 120 * (number % 4), 20 + 120 * (number // 4)
        volume[:, y0 : y0 + 80, x0 : x0 + 80] += disc.astype(np.float32)
    return volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One line of the table: what is made, and its limits."""

    make: Callable[[], Callable[[], Dataset]]
    seconds: float
    kilobytes: float
    megabytes: float


def _report() -> Callable[[], Dataset]:
    return partial(encode_report, reading(tracklets(8, overlap=False)), sources(), segmentation=None)


def _text() -> Callable[[], Dataset]:
    return partial(encode_text_report, reading(tracklets(8, overlap=False)), sources())


def _seg(*, overlap: bool = False, refine: bool = False, label_map: bool = False) -> Callable[[], Dataset]:
    found = reading(tracklets(SLICES, overlap=overlap))

    options = {"pixels": pixels()} if refine else {}
    return partial(encode_segmentation, found, sources(), as_label_map=label_map, **options)


SEG = {"seconds": 1.5, "kilobytes": float("inf"), "megabytes": 700}
TASKS = {
    "SR, 12 findings x 8 frames": Task(make=_report, seconds=1, kilobytes=300, megabytes=700),
    "text report of the same": Task(make=_text, seconds=1, kilobytes=300, megabytes=700),
    "SEG, 12 x 200 boxes": Task(make=_seg, **SEG),
    "SEG, overlapping": Task(make=partial(_seg, overlap=True), **SEG),
    "SEG, label map": Task(make=partial(_seg, label_map=True), **SEG),
    "SEG, refined": Task(make=partial(_seg, refine=True), seconds=float("inf"), kilobytes=float("inf"), megabytes=700),
}


def measured(name: str, rounds: int) -> tuple[float, float, float, float]:
    """Return CPU seconds, clock seconds, kB of the object, and MB at the peak above what was there before."""
    encode = TASKS[name].make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, clock = float("inf"), float("inf")
    for _ in range(rounds):
        start, start_cpu = time.perf_counter(), time.process_time()
        ds = encode()
        cpu = min(cpu, time.process_time() - start_cpu)
        clock = min(clock, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return cpu, clock, len(stream.getvalue()) / 1e3, (peak - before) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    good = True
    print(f"{'':28}{'CPU s':>8}{'clock s':>9}{'limit':>7}{'kB':>9}{'limit':>7}{'MB':>7}{'limit':>7}")
    for name, task in TASKS.items():
        # A process of its own: the peak of one object is not that of another
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cpu, clock, size, memory = pool.apply(measured, (name, arguments.rounds))
        good &= cpu <= task.seconds and size <= task.kilobytes and memory <= task.megabytes
        limits = (task.seconds, task.kilobytes, task.megabytes)
        seconds, kilobytes, megabytes = ("-" if limit == float("inf") else f"{limit:g}" for limit in limits)
        print(
            f"{name:28}{cpu:8.2f}{clock:9.2f}{seconds:>7}{size:9.0f}{kilobytes:>7}{memory:7.0f}{megabytes:>7}",
            flush=True,
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
