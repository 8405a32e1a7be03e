"""How long 10,000 answers take to score, and what matching costs against a naive loop.

    python -m benchmarks.scoring --benchmark DIR [--answers N] [--json FILE]

DIR is a built benchmark. The answers are the true ones with every box moved a little and a stray one beside it.

all scores    published and strict scores of every answer, with 95 % ranges: what `sgmri benchmark score` does
matching      the published V alone, of all boxes of every volume: overlaps of all pairs at once, scipy's assignment
naive         the same V: a Python loop over pairs, and the textbook Hungarian method in Python

Seconds of one core (everything here is one thread); only the ratio means something on another machine.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from benchmark.baselines.volumes import from_items, written
from benchmark.items import ITEMS_FILE, Item, Level, Prediction, Task, TruthBox, read_items
from benchmark.running.card import Origin, RunCard, Selection
from benchmark.running.profiles import MINIMAL
from benchmark.scoring.answers import TextOptions, score_answers
from benchmark.scoring.published_boxes import WrittenBox, published_v_score
from benchmark.scoring.report import report


def said(item: Item) -> str:
    """Return the true answer with moved and stray boxes."""
    if item.task is not Task.LOCALIZATION:
        return item.answer
    frames = "" if item.level is Level.IMAGE else "Frame {}: "
    tags = [frames.format(box.frame_number) + box.published for box in moved(item.boxes)]
    return ", ".join(tags) or "No findings to localize."


def moved(boxes: Sequence[TruthBox]) -> list[TruthBox]:
    return [one for box in boxes for one in (replace(box, x=box.x + 2, y=box.y + 1), replace(box, x=5, y=5))]


def naive_v(truth: Sequence[WrittenBox], predicted: Sequence[WrittenBox]) -> float:
    """Return the published V by plain Python."""
    table = [
        [overlap(real, one) if real.frame_number == one.frame_number else 0.0 for one in predicted] for real in truth
    ]
    return hungarian(table) / len(truth)


def overlap(a: WrittenBox, b: WrittenBox) -> float:
    ax0, ay0, ax1, ay1 = a.edges
    bx0, by0, bx1, by1 = b.edges
    shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    return shared / (a.width * a.height + b.width * b.height - shared)


def hungarian(gains: list[list[float]]) -> float:
    """Return the largest sum of gains, one a row and column (Kuhn-Munkres with potentials, O(n^2 m))."""
    if len(gains) > len(gains[0]):
        gains = [list(column) for column in zip(*gains, strict=True)]
    rows, columns = len(gains), len(gains[0])
    u, v = [0.0] * (rows + 1), [0.0] * (columns + 1)
    matched = [0] * (columns + 1)
    for row in range(1, rows + 1):
        matched[0] = row
        column, way = shortest_path(gains, u, v, matched)
        while column:
            matched[column] = matched[way[column]]
            column = way[column]
    return sum(gains[matched[j] - 1][j - 1] for j in range(1, columns + 1) if matched[j])


def shortest_path(
    gains: list[list[float]], u: list[float], v: list[float], matched: list[int]
) -> tuple[int, list[int]]:
    """Return the free column that the row in ``matched[0]`` reaches at least cost, and the way to it."""
    columns, column = len(v) - 1, 0
    way, least, used = [0] * len(v), [math.inf] * len(v), [False] * len(v)
    while matched[column]:
        used[column] = True
        here, delta, following = matched[column], math.inf, 0
        for j in range(1, columns + 1):
            if used[j]:
                continue
            cost = -gains[here - 1][j - 1] - u[here] - v[j]
            if cost < least[j]:
                least[j], way[j] = cost, column
            if least[j] < delta:
                delta, following = least[j], j
        for j in range(columns + 1):
            if used[j]:
                u[matched[j]] += delta
                v[j] -= delta
            else:
                least[j] -= delta
        column = following
    return column, way


def scipy_v(truth: Sequence[WrittenBox], predicted: Sequence[WrittenBox]) -> float:
    scored = published_v_score(truth, predicted, is_volume=True)
    assert scored is not None
    return scored.v


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--benchmark", type=Path, required=True)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    everything = list(read_items(arguments.benchmark / ITEMS_FILE))
    # evenly over the file, so that every task and level is in it
    items = list(islice(everything[:: max(1, len(everything) // arguments.answers)], arguments.answers))
    answers = {item.item_id: Prediction(item_id=item.item_id, text=said(item), latency_s=0.0) for item in items}
    card = RunCard(
        name="moved truth",
        origin=Origin.BASELINE,
        profile=MINIMAL.name,
        items_sha256="",
        selection=Selection(split=None),
    )
    begin = time.process_time()
    report(card, items, score_answers(items, answers, MINIMAL, TextOptions()))
    all_s = time.process_time() - begin

    pairs = [
        ([written(box) for box in volume.boxes], [written(box) for box in moved(volume.boxes)])
        for volume in from_items(everything)
    ]
    seconds, values = {}, {}
    for name, way in (("matching", scipy_v), ("naive", naive_v)):
        begin = time.process_time()
        values[name] = [way(*pair) for pair in pairs]
        seconds[name] = time.process_time() - begin
    assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(values["matching"], values["naive"], strict=True))
    ratio = seconds["naive"] / seconds["matching"]

    print(f"all scores   {len(items):6} answers        {all_s:8.2f} s")
    print(f"matching     {len(pairs):6} volumes        {seconds['matching']:8.2f} s")
    print(
        f"naive        {len(pairs):6} volumes        {seconds['naive']:8.2f} s   {ratio:.1f} times as long, same values"
    )
    if arguments.json is not None:
        facts = {"answers": len(items), "all_s": all_s, "volumes": len(pairs), **seconds, "ratio": ratio}
        arguments.json.write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
