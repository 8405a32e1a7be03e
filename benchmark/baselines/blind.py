"""Boxes without a look at the image: of each label the median box of the training volumes, on every frame.

The published V-score lets extra boxes be free, so that this scores about as much as the fine-tuned model of the paper
does at volume level (5.97 %).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmark.baselines.volumes import BoxedVolume, written
from benchmark.items import Level, Split, TruthBox
from benchmark.metrics import Interval, bootstrap_mean
from benchmark.scoring.published_boxes import WrittenBox, published_v_score
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy

Medians = Mapping[str, WrittenBox]
"""Label -> its box, without a frame."""


def median_boxes(volumes: Iterable[BoxedVolume]) -> Medians:
    """Return of each label the median left edge, top edge, width and height over all boxes of the training split."""
    found: defaultdict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for volume in volumes:
        if volume.split is Split.TRAIN:
            for box in volume.boxes:
                found[box.label].append((box.x, box.y, box.width, box.height))
    medians = {label: np.median(np.array(boxes), axis=0) for label, boxes in sorted(found.items())}
    return {
        label: WrittenBox(x=float(x), y=float(y), width=float(width), height=float(height))
        for label, (x, y, width, height) in medians.items()
    }


def blind_v(
    volumes: Sequence[BoxedVolume], medians: Medians, anatomy: Anatomy, level: Level, *, labels_known: bool = True
) -> Interval:
    """Return the published V of the blind boxes on the test volumes of one anatomy, 0 to 1.

    Parameters
    ----------
    volumes
        All of them.
    medians
        Of :func:`median_boxes`.
    anatomy, level
        Which score.
    labels_known
        Whether only the boxes of labels that are there are written; without, those of every label.
    """
    return bootstrap_mean(*_values(volumes, medians, anatomy, level, labels_known=labels_known))


def v_of_some(
    volumes: Sequence[BoxedVolume],
    medians: Medians,
    anatomy: Anatomy,
    count: int,
    *,
    rounds: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the blind V at volume level of some of the test volumes, drawn again and again: float64 (rounds,), 0 to 1.

    The published test split has fewer brains with boxes than the annotations; which ones, nobody has said.
    """
    values = np.array(_values(volumes, medians, anatomy, Level.VOLUME, labels_known=True)[0])
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(values, count, replace=False).mean() for _ in range(rounds)])


def _values(
    volumes: Sequence[BoxedVolume], medians: Medians, anatomy: Anatomy, level: Level, *, labels_known: bool
) -> tuple[list[float], list[str]]:
    """Return the V of every sample, and its volume."""
    values, names = [], []
    for volume in volumes:
        if volume.anatomy is anatomy and volume.split is Split.TEST:
            for boxes in _samples(volume, level):
                labels = {box.label for box in boxes} if labels_known else labels_of(anatomy, medians)
                frames = {box.frame_number for box in boxes}  # on any other frame a box neither costs nor gains
                said = [
                    replace(medians[label], frame_number=frame) for label in labels & medians.keys() for frame in frames
                ]
                scored = published_v_score([written(box) for box in boxes], said, is_volume=True)
                assert scored is not None
                values.append(scored.v)
                names.append(volume.volume_id)
    return values, names


def labels_of(anatomy: Anatomy, medians: Medians) -> set[str]:
    """Return the labels of an anatomy that have a box."""
    return {label for label in medians if FINDINGS[label].anatomy is anatomy}


def _samples(volume: BoxedVolume, level: Level) -> Iterator[Sequence[TruthBox]]:
    if level is Level.VOLUME:
        yield volume.boxes
        return
    frames: defaultdict[int, list[TruthBox]] = defaultdict(list)
    for box in volume.boxes:
        frames[box.frame_number].append(box)
    yield from frames.values()
