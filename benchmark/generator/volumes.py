"""A volume as the generator sees it: what was annotated, the size of its frames, and where that is known from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmark.items import Split, TruthBox
from sgmri.geometry import iou
from sgmri.volume import Anatomy

NORMAL_LABEL = "Normal for age"
NO_FINDINGS = frozenset({NORMAL_LABEL, "Motion artifact", "artifact"})
"""Labels of a whole study that name no finding."""
_LINKED = 0.1
"""Overlap (IoU) above which boxes of one label on neighbouring frames are one lesion."""
_BILATERAL_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the image file of a volume says, or what is assumed without it.

    Parameters
    ----------
    frame_count, rows, columns
        Size, in frames and pixels.
    is_size_known
        Whether it was read from the file.
    patient_id
        As the file says it; None where it is not known.
    split
        The folder that the file lies in; None where it is not known.
    sequence
        Acquisition in fastMRI's word, such as ``AXFLAIR`` or ``CORPDFS_FBK``; empty where it is not known.
    """

    frame_count: int
    rows: int
    columns: int
    is_size_known: bool = False
    patient_id: str | None = None
    split: Split | None = None
    sequence: str = ""


@dataclass(frozen=True, kw_only=True)
class AnnotatedVolume:
    """One volume and everything that was annotated in it.

    Parameters
    ----------
    volume_id
        Name of its file without the ending.
    anatomy
        Brain or knee.
    boxes
        In the order of frame, label and place.
    study_labels
        Labels of the whole study, in alphabetical order.
    scan
        Size and origin.
    is_listed
        Whether the annotations name it; False for one that was reviewed and has nothing.
    planted
        Its boxes by lesion, where that is known because they were painted; None where boxes are joined by overlap.
    """

    volume_id: str
    anatomy: Anatomy
    boxes: tuple[TruthBox, ...]
    study_labels: tuple[str, ...]
    scan: Scan
    is_listed: bool = True
    planted: tuple[tuple[TruthBox, ...], ...] | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of its boxes, in alphabetical order."""
        return tuple(sorted({box.label for box in self.boxes}))

    @cached_property
    def findings_of_study(self) -> tuple[str, ...]:
        """The labels of the whole study that name a finding."""
        return tuple(label for label in self.study_labels if label not in NO_FINDINGS)

    @cached_property
    def by_frame(self) -> dict[int, tuple[TruthBox, ...]]:
        """Frame number -> its boxes, for frames that have any, ascending."""
        frames: dict[int, list[TruthBox]] = {}
        for box in self.boxes:
            frames.setdefault(box.frame_number, []).append(box)
        return {number: tuple(frames[number]) for number in sorted(frames)}

    @property
    def is_normal(self) -> bool:
        """Whether it was reviewed and called normal, or nothing was annotated at all."""
        return not self.boxes and set(self.study_labels) <= {NORMAL_LABEL}

    def of(self, label: str) -> tuple[TruthBox, ...]:
        """Return the boxes of one label."""
        return tuple(box for box in self.boxes if box.label == label)

    def lesions_of(self, label: str) -> tuple[tuple[TruthBox, ...], ...]:
        """Return the boxes of one label by lesion."""
        if self.planted is not None:
            return tuple(lesion for lesion in self.planted if lesion[0].label == label)
        return lesions(self.of(label))


def lesions(boxes: Sequence[TruthBox]) -> tuple[tuple[TruthBox, ...], ...]:
    """Group boxes into lesions: one label, neighbouring frames, IoU above 0.1, and whatever that joins.

    Several boxes of one frame may belong to one lesion; :func:`sgmri.findings.link` would part them.
    """
    pairs = [
        (i, j)
        for j, box in enumerate(boxes)
        for i, other in enumerate(boxes[:j])
        if box.label == other.label
        and abs(box.frame_number - other.frame_number) == 1
        and iou(box.box, other.box) > _LINKED
    ]
    rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(boxes), len(boxes)))
    count, group = connected_components(graph, directed=False)
    return tuple(tuple(box for box, own in zip(boxes, group, strict=True) if own == one) for one in range(count))


def side(boxes: Iterable[TruthBox], columns: int) -> str:
    """Return on which side of the image boxes lie.

    It is the image's side, never the patient's: without an orientation nobody can tell them apart.
    """
    sides = set()
    for box in boxes:
        if box.width > _BILATERAL_SHARE * columns:
            return "both sides of the image"
        sides.add("left" if box.x + box.width / 2 < columns / 2 else "right")
    return "both sides of the image" if len(sides) > 1 else f"the {sides.pop()} side of the image"


def is_contiguous(frame_numbers: Iterable[int]) -> bool:
    """Tell whether frame numbers follow one another without a gap."""
    return all(later - earlier == 1 for earlier, later in pairwise(sorted(set(frame_numbers))))
