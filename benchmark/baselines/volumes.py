"""Volumes with their boxes, from items or from annotations, as the baselines without images need them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.generator.volumes import AnnotatedVolume
from benchmark.items import Item, Level, Split, TruthBox
from benchmark.scoring.published_boxes import WrittenBox
from sgmri.volume import Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedVolume:
    """A volume with at least one box.

    Parameters
    ----------
    volume_id, anatomy, split
        Which one.
    boxes
        All of them, whatever their label.
    frame_count
        How many frames it has; None where that is not known.
    """

    volume_id: str
    anatomy: Anatomy
    split: Split
    boxes: tuple[TruthBox, ...]
    frame_count: int | None


def from_items(items: Iterable[Item]) -> list[BoxedVolume]:
    """Return the volumes that items are about; those of which only frames are asked are left out."""
    found: dict[str, BoxedVolume] = {}
    for item in items:
        if item.level is Level.VOLUME and item.context and item.volume_id not in found:
            found[item.volume_id] = BoxedVolume(
                volume_id=item.volume_id,
                anatomy=item.anatomy,
                split=item.split,
                boxes=item.context,
                frame_count=len(item.frame_numbers) if item.is_size_known else None,
            )
    return list(found.values())


def from_annotations(volumes: Iterable[AnnotatedVolume], splits: Mapping[str, Split]) -> list[BoxedVolume]:
    """Return the annotated volumes that have boxes, in the splits given."""
    return [
        BoxedVolume(
            volume_id=volume.volume_id,
            anatomy=volume.anatomy,
            split=splits[volume.volume_id],
            boxes=volume.boxes,
            frame_count=volume.scan.frame_count if volume.scan.is_size_known else None,
        )
        for volume in volumes
        if volume.boxes
    ]


def written(box: TruthBox) -> WrittenBox:
    """Return a box as the published score takes it."""
    return WrittenBox(frame_number=box.frame_number, x=box.x, y=box.y, width=box.width, height=box.height)
