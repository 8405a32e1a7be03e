"""Who belongs to which split: by folder of the images, by a list, or by the published sizes; never one patient in two.

The published split is that of fastMRI's folders: multicoil_train is "train", multicoil_val is "test". Where neither
the images nor a list of it are at hand, volumes are drawn so that each group has its published size. Published scores
cannot be compared volume by volume then; shares (such as how often the answer is yes) can.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.generator.chance import drawn
from benchmark.generator.volumes import AnnotatedVolume
from benchmark.items import Split
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy

_TEST_SHARES: Mapping[tuple[Anatomy, str], tuple[int, int]] = {
    (Anatomy.KNEE, "boxes"): (154, 969),
    (Anatomy.KNEE, "study labels"): (1, 5),
    (Anatomy.KNEE, "nothing"): (44, 199),
    (Anatomy.BRAIN, "boxes"): (120, 476),
    (Anatomy.BRAIN, "study labels"): (93, 383),
    (Anatomy.BRAIN, "left out"): (34, 138),
    (Anatomy.BRAIN, "nothing"): (1, 4),
}
"""Published number of test volumes of each group (of how many); that of four brains without any label is ours."""
_LEFT_OUT = frozenset(
    {"Small vessel chronic white matter ischemic change", "Global white matter disease", "Global Ischemia"}
)


def is_left_out(volume: AnnotatedVolume) -> bool:
    """Tell whether the published benchmark leaves a volume out: no box, and a study label written with "Global"."""
    return not volume.boxes and not _LEFT_OUT.isdisjoint(volume.study_labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """Where the splits come from.

    Parameters
    ----------
    by_folder, by_list, assumed
        Volumes by how they were assigned.
    moved
        Volumes that went to test because their patient has another volume there.
    patients_known
        Volumes whose patient is known.
    """

    by_folder: int
    by_list: int
    assumed: int
    moved: int
    patients_known: int


def read_split_list(path: Path) -> dict[str, Split]:
    """Read a list of volumes: a CSV file with the columns ``file`` and ``split`` (train or test).

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["file"].removesuffix(".h5"): Split(row["split"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"expected a CSV file with the columns file and split (train or test), found {path} ({error})"
        ) from error


def assign(
    volumes: Sequence[AnnotatedVolume], listed: Mapping[str, Split]
) -> tuple[tuple[AnnotatedVolume, ...], SplitReport]:
    """Give every volume its split.

    Parameters
    ----------
    volumes
        Their scans name the folder's split where the image was found, and the patient where it is known.
    listed
        Splits by volume, for those without an image.
    """
    by_folder = {volume.volume_id: volume.scan.split for volume in volumes if volume.scan.split is not None}
    ids = [volume.volume_id for volume in volumes]
    by_list = {volume_id: listed[volume_id] for volume_id in ids if volume_id in listed and volume_id not in by_folder}
    known = {**by_folder, **by_list}
    assumed = _assumed([volume for volume in volumes if volume.volume_id not in known])
    splits = {**known, **assumed}
    tested = {v.scan.patient_id for v in volumes if splits[v.volume_id] is Split.TEST and v.scan.patient_id}
    moved = [v.volume_id for v in volumes if v.scan.patient_id in tested and splits[v.volume_id] is Split.TRAIN]
    splits |= dict.fromkeys(moved, Split.TEST)
    report = SplitReport(
        by_folder=len(by_folder),
        by_list=len(by_list),
        assumed=len(assumed),
        moved=len(moved),
        patients_known=sum(volume.scan.patient_id is not None for volume in volumes),
    )
    return tuple(replace(v, scan=replace(v.scan, split=splits[v.volume_id])) for v in volumes), report


def _assumed(volumes: Sequence[AnnotatedVolume]) -> dict[str, Split]:
    groups: defaultdict[tuple[Anatomy, str], list[str]] = defaultdict(list)
    for volume in volumes:
        groups[volume.anatomy, _group(volume)].append(volume.volume_id)
    splits: dict[str, Split] = {}
    for key, names in groups.items():
        tested, of = _TEST_SHARES[key]
        names.sort(key=lambda volume_id: drawn("split", volume_id))
        count = round(len(names) * tested / of)
        splits |= dict.fromkeys(names[:count], Split.TEST) | dict.fromkeys(names[count:], Split.TRAIN)
    return splits


def _group(volume: AnnotatedVolume) -> str:
    if volume.boxes:
        return "boxes"
    if is_left_out(volume):
        return "left out"
    return "study labels" if volume.study_labels else "nothing"
