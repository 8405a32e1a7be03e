import csv
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.generator.annotations import read_annotations
from benchmark.generator.splits import assign, is_left_out, published_order, read_split_list
from benchmark.generator.volumes import AnnotatedVolume, Scan
from benchmark.items import Split
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy

_SCAN = Scan(frame_count=30, rows=320, columns=320)


def _volume(number: int, scan: Scan = _SCAN, study: tuple[str, ...] = ("Normal for age",)) -> AnnotatedVolume:
    return AnnotatedVolume(volume_id=f"file{number}", anatomy=Anatomy.BRAIN, boxes=(), study_labels=study, scan=scan)


def test_folder_goes_before_list_and_list_before_assumption() -> None:
    """Each volume has the split of the surest source, and the report says how many have which."""
    volumes = [_volume(1, replace(_SCAN, split=Split.TEST)), _volume(2), *(_volume(n) for n in range(3, 103))]
    assigned, report = assign(volumes, {"file1": Split.TRAIN, "file2": Split.TEST}, {})
    assert [volume.scan.split for volume in assigned[:2]] == [Split.TEST, Split.TEST]
    assert (report.by_folder, report.by_list, report.by_order, report.assumed, report.moved) == (1, 1, 0, 100, 0)
    # 93 of 383 such brains are in the published test split
    assert sum(volume.scan.split is Split.TEST for volume in assigned[2:]) == 24


def test_no_patient_is_in_both_splits() -> None:
    """A train volume of a patient who is tested goes to test, and is counted."""
    scans = [replace(_SCAN, split=split, patient_id=who) for split, who in zip(Split, ("one", "one"), strict=True)]
    other = replace(_SCAN, split=Split.TRAIN, patient_id="other")
    assigned, report = assign([_volume(1, scans[0]), _volume(2, scans[1]), _volume(3, other)], {}, {})
    assert [volume.scan.split for volume in assigned] == [Split.TEST, Split.TEST, Split.TRAIN]
    assert (report.moved, report.patients_known) == (1, 3)


def test_what_fastmri_calls_global_is_left_out_of_the_published_benchmark() -> None:
    """A brain without boxes that carries such a label is left out; others stay."""
    assert is_left_out(_volume(1, study=("Global Ischemia",)))
    assert not is_left_out(_volume(1, study=("Colpocephaly",)))


def test_a_list_of_splits_is_read_or_refused(tmp_path: Path) -> None:
    """File names lose their ending; other columns and other words are refused."""
    path = tmp_path / "splits.csv"
    path.write_text("file,split\nfile1.h5,train\nfile2,test\n")
    assert read_split_list(path) == {"file1": Split.TRAIN, "file2": Split.TEST}
    for text in ("file,part\nfile1,train\n", "file,split\nfile1,val\n", "file,split\nfile1\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="columns file and split"):
            read_split_list(path)
    with pytest.raises(ConfigError, match="splits"):
        read_split_list(tmp_path / "no splits.csv")


def test_the_published_split_is_the_order_of_the_csv_files(tmp_path: Path) -> None:
    """The 819 knees named first are for training, the 750 brains too."""
    for anatomy, count in (("knee", 974), ("brain", 997)):
        with (tmp_path / f"{anatomy}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "slice"])
            rows.writerows([f"{anatomy}{number}", frame] for number in range(count) for frame in (1, 2))
    splits = published_order(tmp_path)
    tested = [name for name, split in splits.items() if split is Split.TEST]
    assert "knee819" in tested and "knee818" not in tested
    assert [sum(name.startswith(anatomy) for name in tested) for anatomy in ("knee", "brain")] == [155, 247]


def test_the_published_split_is_kept_as_far_as_the_published_sizes_allow(fastmri_plus: Path) -> None:
    """Every knee, and all brains but four with boxes and four without, are on the side where they were published."""
    volumes = read_annotations(fastmri_plus, {}).volumes
    published = published_order(fastmri_plus)
    assigned, report = assign(volumes, {}, published)
    moved = [v for v in assigned if v.volume_id in published and v.scan.split is not published[v.volume_id]]
    assert {volume.anatomy for volume in moved} == {Anatomy.BRAIN}
    assert [sum(bool(volume.boxes) is boxed for volume in moved) for boxed in (True, False)] == [4, 4]
    assert (report.by_order, report.assumed) == (974 + 997 - 8, 2174 - (974 + 997 - 8))
    tested = [v for v in assigned if v.anatomy is Anatomy.KNEE and v.boxes and v.scan.split is Split.TEST]
    pairs = {(v.volume_id, box.frame_number, box.label) for v in tested for box in v.boxes}
    assert (len(tested), sum(len(v.by_frame) for v in tested), len(pairs)) == (154, 1524, 2209)
    assert sum(len(v.labels) for v in tested) == 398
