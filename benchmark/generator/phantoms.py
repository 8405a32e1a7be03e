"""A benchmark with images that needs no licence: phantoms, whose lesions were painted where the truth says.

Synthetic through and through: it proves that an engine can be run and scored from end to end, and says nothing about
patients. Every kind of phantom takes its turn, so that normal and oblique volumes and those of other pixels are in it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark.generator.images import Picture, as_published, series_folder, write_frames, write_series
from benchmark.generator.volumes import AnnotatedVolume, Scan
from benchmark.items import Split, TruthBox
from conformance.phantoms import Phantom, make
from dicom_io.decode import decode
from dicom_io.series import describe
from sgmri.errors import ConfigError
from sgmri.findings import Finding
from sgmri.volume import Anatomy

_TURNS = (
    "brain",
    "knee",
    "brain-normal",
    "knee-normal",
    "brain-oblique",
    "knee-oblique",
    "brain-nonsquare",
    "knee-nonsquare",
    "brain-enhanced",
    "knee-enhanced",
)
_SEEDS_APART = 100_000
"""Phantoms of one seed: another seed shares none with it."""


def phantom_volumes(
    folder: Path,
    count: int,
    *,
    seed: int,
    split: Split,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[AnnotatedVolume]:
    """Make phantoms, write their series and frames below a folder, and yield what is true of them.

    Raises
    ------
    ConfigError
        If the count or the seed cannot be used.
    """
    if not 0 < count <= _SEEDS_APART:
        raise ConfigError(f"--phantoms: expected 1 to {_SEEDS_APART}, found {count}")
    for number in range(count):
        name = _TURNS[number % len(_TURNS)]
        phantom = make(name, seed=seed * _SEEDS_APART + number)
        volume_id = f"phantom-{seed}-{number + 1:04d}-{name}"
        write_series(phantom.datasets, folder, volume_id)
        voxels = decode(describe(sorted(series_folder(folder, volume_id).iterdir())), phantom.anatomy).voxels
        write_frames(as_published(voxels), folder, Picture.PUBLISHED, volume_id)
        yield _annotated(phantom, volume_id, voxels.shape, split)
        progress(number + 1, count)


def _annotated(phantom: Phantom, volume_id: str, shape: tuple[int, ...], split: Split) -> AnnotatedVolume:
    planted = tuple(tuple(_box(finding) for finding in lesion.findings) for lesion in phantom.lesions)
    boxes = [box for lesion in planted for box in lesion]
    frame_count, rows, columns = shape
    return AnnotatedVolume(
        volume_id=volume_id,
        anatomy=phantom.anatomy,
        boxes=tuple(sorted(boxes, key=lambda box: (box.frame_number, box.label, box.y, box.x))),
        study_labels=(),
        planted=planted,
        scan=Scan(
            frame_count=frame_count,
            rows=rows,
            columns=columns,
            is_size_known=True,
            patient_id=volume_id,
            split=split,
            sequence="AXFLAIR" if phantom.anatomy is Anatomy.BRAIN else "CORPDFS",
        ),
    )


def _box(finding: Finding) -> TruthBox:
    box = finding.box
    return TruthBox(
        label=finding.label,
        frame_number=finding.frame_index + 1,
        x=int(box.x0),
        y=int(box.y0),
        width=int(box.width),
        height=int(box.height),
    )
