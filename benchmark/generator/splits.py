"""Who belongs to which split: by folder of the images, by a list, or by the published sizes; never one patient in two.

The published split is that of fastMRI's folders: multicoil_train is "train", multicoil_val is "test". The annotations
keep it in their order. Where neither images nor a list are at hand, it is taken from there, and each group gets its
published size: of the knees this is the published split, and eight brains, which nobody has named, are on the other
side. Volumes that the annotations do not name are drawn.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
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
_FIRST_TEST_VOLUME: Mapping[Anatomy, int] = {Anatomy.KNEE: 819, Anatomy.BRAIN: 750}
"""How many volumes of the training folder the CSV files name before the first one of the validation folder."""
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
    by_folder, by_list, by_order, assumed
        Volumes by how they were assigned: by the images' folder, a list, the order of the annotations, or drawn.
    moved
        Volumes that went to test because their patient has another volume there.
    patients_known
        Volumes whose patient is known.
    """

    by_folder: int
    by_list: int
    by_order: int
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


def published_order(folder: Path) -> dict[str, Split]:
    """Return the published split of every volume that the CSV files name, from the order in which they name them.

    The files list the volumes of fastMRI's training folder first and those of its validation folder after them: the
    names of the 819th knee and the 750th brain start the alphabet anew, the sizes are the published ones (819 and 155
    knees, 750 and 247 brains), and the blind baseline on the knees is the published one to its second decimal.
    """
    splits: dict[str, Split] = {}
    for anatomy, first in _FIRST_TEST_VOLUME.items():
        lines = (folder / f"{anatomy}.csv").read_text(encoding="utf-8-sig").splitlines()[1:]
        names = [name for name, _ in groupby(line.partition(",")[0] for line in lines)]
        for place, name in enumerate(dict.fromkeys(names)):
            splits[name] = Split.TRAIN if place < first else Split.TEST
    return splits


def assign(
    volumes: Sequence[AnnotatedVolume], listed: Mapping[str, Split], published: Mapping[str, Split]
) -> tuple[tuple[AnnotatedVolume, ...], SplitReport]:
    """Give every volume its split.

    Parameters
    ----------
    volumes
        Their scans name the folder's split where the image was found, and the patient where it is known.
    listed
        Splits by volume, for those without an image.
    published
        Of :func:`published_order`, for those that are not listed either.
    """
    by_folder = {volume.volume_id: volume.scan.split for volume in volumes if volume.scan.split is not None}
    ids = [volume.volume_id for volume in volumes]
    by_list = {volume_id: listed[volume_id] for volume_id in ids if volume_id in listed and volume_id not in by_folder}
    known = {**by_folder, **by_list}
    assumed = _assumed([volume for volume in volumes if volume.volume_id not in known], published)
    by_order = sum(published.get(volume_id) is split for volume_id, split in assumed.items())
    splits = {**known, **assumed}
    tested = {v.scan.patient_id for v in volumes if splits[v.volume_id] is Split.TEST and v.scan.patient_id}
    moved = [v.volume_id for v in volumes if v.scan.patient_id in tested and splits[v.volume_id] is Split.TRAIN]
    splits |= dict.fromkeys(moved, Split.TEST)
    report = SplitReport(
        by_folder=len(by_folder),
        by_list=len(by_list),
        by_order=by_order,
        assumed=len(assumed) - by_order,
        moved=len(moved),
        patients_known=sum(volume.scan.patient_id is not None for volume in volumes),
    )
    return tuple(replace(v, scan=replace(v.scan, split=splits[v.volume_id])) for v in volumes), report


def _assumed(volumes: Sequence[AnnotatedVolume], published: Mapping[str, Split]) -> dict[str, Split]:
    groups: defaultdict[tuple[Anatomy, str], list[str]] = defaultdict(list)
    for volume in volumes:
        groups[volume.anatomy, _group(volume)].append(volume.volume_id)
    splits: dict[str, Split] = {}
    for key, names in groups.items():
        tested, of = _TEST_SHARES[key]
        names.sort(key=lambda volume_id: (published.get(volume_id) is not Split.TEST, drawn("split", volume_id)))
        count = round(len(names) * tested / of)
        splits |= dict.fromkeys(names[:count], Split.TEST) | dict.fromkeys(names[count:], Split.TRAIN)
    return splits


def _group(volume: AnnotatedVolume) -> str:
    if volume.boxes:
        return "boxes"
    if is_left_out(volume):
        return "left out"
    return "study labels" if volume.study_labels else "nothing"
