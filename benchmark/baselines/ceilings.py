"""How far a perfect reader could get who writes less than every box, or sees less than every frame.

Annotators interpolated themselves: the first and the last box of a lesion and straight lines between them are most of
what is to be known. What a model that is shown 16 frames of a volume cannot see, it cannot find.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np

from benchmark.baselines.volumes import BoxedVolume, written
from benchmark.generator.volumes import lesions
from benchmark.items import TruthBox
from benchmark.metrics import Interval, bootstrap_mean
from benchmark.scoring.published_boxes import WrittenBox, published_v_score
from sgmri.volume import Anatomy


class Ceiling(StrEnum):
    """What is written of each lesion."""

    KEY = "key box (the middle frame's) over the true extent"
    ENDS = "first and last box, interpolated"
    THREE = "first, middle and last box, interpolated"


_KEYS: dict[Ceiling, Callable[[int], list[int]]] = {
    Ceiling.KEY: lambda count: [count // 2],
    Ceiling.ENDS: lambda count: sorted({0, count - 1}),
    Ceiling.THREE: lambda count: sorted({0, count // 2, count - 1}),
}


def ceiling(volumes: Sequence[BoxedVolume], anatomy: Anatomy, kind: Ceiling) -> Interval:
    """Return the published V, 0 to 1, of a perfect reader over all volumes of an anatomy.

    Parameters
    ----------
    volumes
        All of them, of both splits.
    anatomy, kind
        Which ceiling.
    """
    chosen = [volume for volume in volumes if volume.anatomy is anatomy]
    values = []
    for volume in chosen:
        said = [box for lesion in lesions(volume.boxes) for box in _drawn(lesion, kind)]
        scored = published_v_score([written(box) for box in volume.boxes], said, is_volume=True)
        assert scored is not None
        values.append(scored.v)
    return bootstrap_mean(values, [volume.volume_id for volume in chosen])


def _drawn(lesion: Sequence[TruthBox], kind: Ceiling) -> list[WrittenBox]:
    """Return a box for every box of a lesion, all from its key boxes and straight lines between them."""
    first = {box.frame_number: box for box in reversed(lesion)}
    frames = sorted(first)
    edges = np.array([(first[n].x, first[n].y, first[n].width, first[n].height) for n in frames], float)
    keys = _KEYS[kind](len(frames))
    known = [frames[key] for key in keys]
    drawn = []
    for box in lesion:
        x, y, width, height = (float(np.interp(box.frame_number, known, edges[keys, axis])) for axis in range(4))
        drawn.append(WrittenBox(frame_number=box.frame_number, x=x, y=y, width=width, height=height))
    return drawn


_USUAL_FRAMES = {Anatomy.BRAIN: 16, Anatomy.KNEE: 36}
"""Published mean number of frames, for volumes without an image."""


def visible_share(volumes: Sequence[BoxedVolume], anatomy: Anatomy, shown: int) -> Interval:
    """Return the share of boxes that lie on one of some evenly drawn frames, 0 to 1.

    Parameters
    ----------
    volumes, anatomy
        Which volumes; where it is not known how many frames one has, it is taken for as long as most are.
    shown
        How many frames of each volume are shown.
    """
    values, names = [], []
    for volume in volumes:
        if volume.anatomy is anatomy:
            last = max(box.frame_number for box in volume.boxes)
            count = volume.frame_count or max(_USUAL_FRAMES[anatomy], last)
            frames = set(np.rint(np.linspace(1, count, min(shown, count))).astype(int).tolist())
            values += [float(box.frame_number in frames) for box in volume.boxes]
            names += [volume.volume_id] * len(volume.boxes)
    return bootstrap_mean(values, names)
