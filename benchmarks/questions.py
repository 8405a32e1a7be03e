"""What sharing one prefix saves: N questions about a volume, asked in three ways.

    python -m benchmarks.questions

naive    transformers' own generate for every question: vision tower, prefix and question anew
in turn  prefix once, the questions one after another
packed   prefix once, all questions as one sequence with a block mask

A random model of a few layers stands in for the weights, so only the ratios mean something, and only within one
line. Each cell is the median of three runs, in CPU seconds of one thread; the answers are compared token by token.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from tests.worker.engine.tiny_language import TinyLanguage, TinyVolume, build
from worker.engine.packing import Decoding

FRAMES = 16
GRID = (16, 16)
NEW_TOKENS = 32
QUESTIONS = (1, 5, 20)
REPEATS = 3

Tokens = list[tuple[int, ...]]
Figures = tuple[Tokens, int, int]
"""Answers, prompt tokens that were computed, most bytes of keys and values at one time."""


def naive(tiny: TinyLanguage, volume: TinyVolume, asked: list[list[int]]) -> Figures:
    answers = [tuple(tiny.naive(volume, question, NEW_TOKENS)) for question in asked]
    longest = len(volume.prefix) + max(len(question) for question in asked) + NEW_TOKENS
    prompts = sum(len(volume.prefix) + len(question) for question in asked)
    return answers, prompts, longest * token_bytes(tiny)


def in_turn(tiny: TinyLanguage, volume: TinyVolume, asked: list[list[int]]) -> Figures:
    session = tiny.open(volume)
    runs = [tiny.language.run(session, [question], max_new_tokens=NEW_TOKENS) for question in asked]
    working = max(run.working_bytes for run in runs)
    return [tokens(run)[0] for run in runs], session.length + sum(map(len, asked)), session.bytes + working


def packed(tiny: TinyLanguage, volume: TinyVolume, asked: list[list[int]]) -> Figures:
    session = tiny.open(volume)
    run = tiny.language.run(session, asked, max_new_tokens=NEW_TOKENS)
    return tokens(run), session.length + sum(map(len, asked)), session.bytes + run.working_bytes


def tokens(run: Decoding) -> Tokens:
    return [answer.token_ids for answer in run.answers]


def token_bytes(tiny: TinyLanguage) -> int:
    config = tiny.peer.config.get_text_config()
    width: int = config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return 2 * 4 * width  # keys, values; float32


def timed(way: Callable[[], Figures]) -> tuple[float, Figures]:
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        figures = way()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), figures


def main() -> None:
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers
    with tempfile.TemporaryDirectory() as directory:
        tiny = build(Path(directory), layers=4)
    volume = tiny.volume(1, frames=FRAMES, grid=GRID)
    print(f"{FRAMES} frames, prefix of {len(volume.prefix)} tokens, {NEW_TOKENS} new tokens an answer at most")
    print("questions  way       CPU s  faster  prompt tokens  KV MB  same tokens")
    for count in QUESTIONS:
        asked = [tiny.question(number) for number in range(count)]
        base, expected = 0.0, []
        for name, way in (("naive", naive), ("in turn", in_turn), ("packed", packed)):
            seconds, (answers, prompts, held) = timed(partial(way, tiny, volume, asked))
            if way is naive:  # the peer that the others are measured against
                base, expected = seconds, answers
            same = sum(a == b for a, b in zip(answers, expected, strict=True))
            print(
                f"{count:9d}  {name:8s} {seconds:6.2f} {base / seconds:6.1f}x  {prompts:13d} {held / 1e6:6.1f}"
                f"  {same}/{count}",
                flush=True,
            )


if __name__ == "__main__":
    main()
