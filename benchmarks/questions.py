"""What asking together saves: N questions about a volume, asked in three ways, and a whole reading beside them.

    python -m benchmarks.questions [--bundle DIR] [--json FILE]

naive     transformers' own generate for every question: vision tower, prefix and question anew
in turn   volume encoded once, one prefix, the questions one after another
packed    volume encoded once, one prefix, all questions in one sequence with a block mask
yes/no    as packed, but detection questions are only weighed: one forward pass, no token is written
reading   what the product does: controls, all 20 questions of the catalogue, single frames, boxes, summary

With the embedded model on held-out volumes of 24 frames, one normal and one with findings. Medians of three runs, in
seconds of wall clock on all cores; only the ratios within one table mean something. Memory is that of keys and values.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration
from transformers.utils import logging as transformers_logging

from benchmark import heldout
from benchmark.heldout import Case
from sgmri.catalogue import STANDARD
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Question, QuestionKind
from tests.worker.engine.whole_model import whole_inputs
from worker.engine.bundle import load
from worker.engine.conversation import Ask
from worker.engine.grounded import GroundedEngine
from worker.engine.loading import load_engine
from worker.engine.local import Device, LocalSpeaker
from worker.engine.places import embedded_bundle
from worker.engine.prompts import answer_start, question_text, turn

FRAMES = 24
NEW_TOKENS = 32
COUNTS = (1, 5, 20)
REPEATS = 3
_CONTROL = ReadingControl()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One cell: how long, how many tokens went through the language model, memory of keys and values."""

    volume: str
    way: str
    questions: int
    seconds: float
    tokens: int
    kv_mb: float


def timed(way: Callable[[], tuple[int, int]]) -> tuple[float, int, int]:
    """Return the median seconds of a way, with its tokens and bytes; the first run does not count."""
    figures = way()
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        figures = way()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), *figures


class Ways:
    """One volume, and the ways to ask about it."""

    def __init__(self, engine: GroundedEngine, speaker: LocalSpeaker, peer: Qwen3VLForConditionalGeneration) -> None:
        self._engine = engine
        self._speaker = speaker
        self._peer = peer

    def _turn(self, question: Question) -> str:
        profile = self._speaker.profile
        return turn(question_text(question, profile)) + answer_start(profile)

    def naive(self, frames: Frames, questions: list[Question]) -> tuple[int, int]:
        """Ask transformers' generate, everything anew each time."""
        tokens = longest = 0
        for question in questions:
            inputs = whole_inputs(self._speaker, frames, self._turn(question))
            with torch.inference_mode():
                written = self._peer.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            tokens += written.shape[1]
            longest = max(longest, written.shape[1])
        assert self._speaker.language is not None
        return tokens, longest * self._speaker.language.decoder.token_bytes

    def written(self, frames: Frames, questions: list[Question], *, packed: bool) -> tuple[int, int]:
        """Write the answers behind one prefix, all at once or one after another."""
        conversation = self._speaker.open(frames, _CONTROL)
        language, session = self._speaker.language, conversation._volume
        assert language is not None and session is not None
        asked = [self._speaker.tokens(self._turn(question)) for question in questions]
        tokens, working = session.length, 0
        for part in [asked] if packed else [[one] for one in asked]:
            run = language.run(session, part, max_new_tokens=NEW_TOKENS)
            tokens += sum(map(len, part)) + sum(len(answer.token_ids) for answer in run.answers)
            working = max(working, run.working_bytes)
        held = session.bytes + working
        conversation.close()
        return tokens, held

    def weighed(self, frames: Frames, questions: list[Question]) -> tuple[int, int]:
        """Weigh yes and no of detection questions in one pass."""
        conversation = self._speaker.open(frames, _CONTROL)
        session = conversation._volume
        assert session is not None
        tokens = session.length + sum(len(self._speaker.tokens(self._turn(q))) for q in questions)
        conversation.weigh([Ask(question=question) for question in questions], _CONTROL)
        held = session.bytes
        conversation.close()
        return tokens, held

    def reading(self, frames: Frames) -> tuple[int, int]:
        """Read as the product reads."""
        self._engine.answer(frames, STANDARD[frames.anatomy], _CONTROL)
        return 0, 0


def measured(ways: Ways, case: Case) -> Iterator[Measured]:
    """Yield every cell of a volume."""
    questions = list(STANDARD[case.frames.anatomy].questions)
    closed = [question for question in questions if question.kind is QuestionKind.DETECTION]
    name = "with findings" if case.truth else "normal"
    for count in COUNTS:
        some = questions[:count]
        table: dict[str, Callable[[], tuple[int, int]]] = {
            "naive": partial(ways.naive, case.frames, some),
            "in turn": partial(ways.written, case.frames, some, packed=False),
            "packed": partial(ways.written, case.frames, some, packed=True),
        }
        if count <= len(closed):
            table["yes/no"] = partial(ways.weighed, case.frames, closed[:count])
        else:
            table["reading"] = partial(ways.reading, case.frames)
        for way, run in table.items():
            seconds, tokens, held = timed(run)
            yield Measured(volume=name, way=way, questions=count, seconds=seconds, tokens=tokens, kv_mb=held / 1e6)


def volumes() -> list[Case]:
    """Return a normal head and one with findings, cut to the same number of frames."""
    cases = [case for case in heldout.volumes(60, seed=9, backgrounds=False) if case.slices >= FRAMES]
    found = next(case for case in cases if case.truth and case.frames.anatomy == "brain")
    normal = next(case for case in cases if not case.truth and case.frames.anatomy == "brain")
    return [_cut(normal), _cut(found)]


def _cut(case: Case) -> Case:
    first = max(0, _middle(case) - FRAMES // 2)
    first = min(first, case.slices - FRAMES)
    pixels = np.ascontiguousarray(case.frames.pixels[first : first + FRAMES])
    return replace(case, frames=replace(case.frames, pixels=pixels))


def _middle(case: Case) -> int:
    seen = [finding.frame_index for tracklet in case.truth for finding in tracklet.findings]
    return round(sum(seen) / len(seen)) if seen else case.slices // 2


def main() -> None:
    """Measure, and print the table and the two ratios that are promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=None, help="another than the embedded model's")
    parser.add_argument("--json", type=Path, help="write the cells for machines too")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers
    bundle = load(arguments.bundle or embedded_bundle())
    engine, speaker = load_engine(bundle, Device())
    peer: Qwen3VLForConditionalGeneration = Qwen3VLForConditionalGeneration.from_pretrained(
        bundle.directory, local_files_only=True, dtype=torch.float32
    )
    ways = Ways(engine, speaker, peer.train(False))
    print(f"{bundle.manifest.model_id}, {FRAMES} frames, {NEW_TOKENS} new tokens an answer at most")
    print("volume         questions  way       seconds  of naive  tokens  KV MB")
    cells: list[Measured] = []
    for case in volumes():
        for cell in measured(ways, case):
            cells.append(cell)
            base = next(c for c in cells if (c.volume, c.questions, c.way) == (cell.volume, cell.questions, "naive"))
            print(
                f"{cell.volume:14} {cell.questions:9d}  {cell.way:8} {cell.seconds:8.2f}"
                f" {cell.seconds / base.seconds:8.2f} {cell.tokens or '-':>8} {cell.kv_mb or 0:6.1f}",
                flush=True,
            )
    table = {(cell.volume, cell.questions, cell.way): cell.seconds for cell in cells}
    normal = table["normal", 20, "reading"] / table["normal", 1, "packed"]
    cheaper = table["with findings", 20, "naive"] / table["with findings", 20, "reading"]
    print(f"\na normal volume: 20 questions, read as the product reads, cost {normal:.2f} times one question")
    print(f"a volume with findings: 20 questions cost {cheaper:.1f} times less than asked naively")
    if arguments.json is not None:
        document = {"cells": [asdict(cell) for cell in cells], "normal_20_to_1": normal, "naive_to_reading": cheaper}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
