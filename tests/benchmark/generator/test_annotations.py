from collections import Counter
from pathlib import Path

import pytest

from benchmark.generator.annotations import Annotations, RepairKind, read_annotations
from benchmark.generator.volumes import AnnotatedVolume, Scan, is_contiguous, lesions, side
from benchmark.items import TruthBox
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy


def _volume(annotations: Annotations, volume_id: str) -> AnnotatedVolume:
    return next(volume for volume in annotations.volumes if volume.volume_id == volume_id)


def test_every_repair_is_made_and_listed_with_its_line(dirty: Path) -> None:
    """Boxes without a size, past an edge and twice, labels spelled otherwise or twice: each has its line."""
    read = read_annotations(dirty, {})
    assert [(repair.file, repair.line, repair.kind) for repair in read.repairs] == [
        ("brain.csv", 3, RepairKind.NORMAL_WITH_BOXES),
        ("brain.csv", 4, RepairKind.SPELLING),
        ("brain.csv", 5, RepairKind.SPELLING),
        ("brain.csv", 5, RepairKind.SAME_STUDY_LABEL),
        ("knee.csv", 3, RepairKind.SAME_BOX),
        ("knee.csv", 5, RepairKind.PAST_EDGE),
        ("knee.csv", 5, RepairKind.SPELLING),
        ("knee.csv", 6, RepairKind.ZERO_SIZE),
    ]
    knee = _volume(read, "file1")
    assert knee.labels == ("Joint Effusion", "Meniscus Tear")
    assert knee.of("Joint Effusion")[0] == TruthBox(
        label="Joint Effusion", frame_number=6, x=20, y=0, width=50, height=99
    )
    assert _volume(read, "file2").study_labels == ("artifact",)
    assert not _volume(read, "file3").is_listed
    assert [volume.volume_id for volume in read.volumes if volume.is_normal] == ["file_brain_AXT1_3", "file3"]


def test_frames_count_from_one_and_the_legacy_shift_is_for_knees_only(dirty: Path) -> None:
    """Slice 23 of a knee is frame 24, or 23 as published; slice 0 of a brain is frame 1 in both."""
    for legacy, knee_frame in ((False, 24), (True, 23)):
        read = read_annotations(dirty, {}, legacy_knee_shift=legacy)
        assert _volume(read, "file1").of("Meniscus Tear")[0].frame_number == knee_frame
        assert _volume(read, "file_brain_AXFLAIR_1").boxes[0].frame_number == 1


def test_boxes_are_clipped_to_the_true_size_where_it_is_known(dirty: Path) -> None:
    """A scan of 110 x 400 pixels and 24 frames cuts one box, and one that lies outside is dropped with its frame."""
    scan = Scan(frame_count=24, rows=400, columns=110, is_size_known=True)
    read = read_annotations(dirty, {"file1": scan})
    tears = _volume(read, "file1").of("Meniscus Tear")
    assert [(box.frame_number, box.width) for box in tears] == [(24, 8)]
    assert [repair.line for repair in read.repairs if repair.kind is RepairKind.OUTSIDE] == [4]


@pytest.mark.parametrize(
    "row",
    [
        "file1,1,No,1,1,2,2,Stubbed toe",
        "file1,1,No,1,1,2,2,Mass",
        "file1,-1,No,1,1,2,2,Meniscus Tear",
        "file1,1,No,1,1,2.5,2,Meniscus Tear",
        "file1,1,No,,,,,Meniscus Tear",
        "file1,1,Yes,1,1,2,2,artifact",
        "file1,1,No,1,1",
        "file9,1,No,1,1,2,2,Meniscus Tear",
        "file1,1,No,1,1,2,2,Meniscus Tear,5",
        "file1,9999999999,No,1,1,2,2,Meniscus Tear",
    ],
)
def test_a_row_that_cannot_be_read_stops_with_its_line(dirty: Path, row: str) -> None:
    """Unknown labels and volumes, broken numbers and short rows never become an item."""
    with (dirty / "knee.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ConfigError, match=r"knee\.csv, line 8"):
        read_annotations(dirty, {})


def test_missing_files_and_other_columns_say_what_to_do(dirty: Path) -> None:
    """No file and a file of other columns are told apart."""
    (dirty / "knee.csv").write_text("file,label\n")
    with pytest.raises(ConfigError, match="expected the columns"):
        read_annotations(dirty, {})
    (dirty / "knee.csv").unlink()
    with pytest.raises(ConfigError, match="clone"):
        read_annotations(dirty, {})


def test_a_lesion_goes_on_while_boxes_of_neighbouring_frames_overlap() -> None:
    """A gap of a frame and another label begin a new lesion; a box that splits in two stays one."""

    def box(frame_number: int, x: int, label: str = "Mass") -> TruthBox:
        return TruthBox(label=label, frame_number=frame_number, x=x, y=0, width=20, height=10)

    found = lesions([box(1, 0), box(2, 2), box(3, 0), box(3, 12), box(5, 0), box(5, 0, "Edema")])
    assert sorted(len(lesion) for lesion in found) == [1, 1, 4]
    assert lesions([]) == ()
    assert is_contiguous([3, 1, 2, 2]) and not is_contiguous([1, 3])


def test_a_side_is_the_images_side() -> None:
    """The centre decides; a box over 60 % of the width, or boxes on both, are on both."""

    def box(x: int, width: int) -> TruthBox:
        return TruthBox(label="Mass", frame_number=1, x=x, y=0, width=width, height=5)

    assert side([box(10, 20)], 320) == "the left side of the image"
    assert side([box(10, 20)], 36) == "the right side of the image"
    assert side([box(0, 200)], 320) == side([box(10, 20), box(300, 10)], 320) == "both sides of the image"


def test_the_real_annotations_have_the_known_faults_and_lesions(fastmri_plus: Path) -> None:
    """Rows that are known to be faulty are repaired and no others; lesions are as many as counted before."""
    read = read_annotations(fastmri_plus, {})
    found = Counter((repair.file, repair.kind) for repair in read.repairs)
    lines = {repair.line for repair in read.repairs if repair.kind is RepairKind.PAST_EDGE}
    assert lines == {6976, 7892, 10552, 11808, 14673, 16021}
    assert found["knee.csv", RepairKind.SAME_BOX] == 5
    assert (found["knee.csv", RepairKind.ZERO_SIZE], found["brain.csv", RepairKind.ZERO_SIZE]) == (1, 2)
    assert (found["knee.csv", RepairKind.OVERLAP], found["brain.csv", RepairKind.OVERLAP]) == (22, 105)
    assert (found["knee.csv", RepairKind.TWO_LABELS], found["brain.csv", RepairKind.TWO_LABELS]) == (6, 34)
    knees = [volume for volume in read.volumes if volume.anatomy is Anatomy.KNEE]
    assert sum(len(lesions(volume.boxes)) for volume in knees) == 3776
    published = {(box.frame_number, box.published) for box in _volume(read, "file1000291").boxes}
    assert (24, "<bbx>[102,180,15,13]</bbx>") in published


def test_other_encodings_are_read_or_refused(dirty: Path) -> None:
    """The mark that spreadsheets put in front changes nothing; bytes that are no text are refused with the file."""
    before = read_annotations(dirty, {})
    for name in ("knee.csv", "knee_file_list.csv"):
        (dirty / name).write_bytes(b"\xef\xbb\xbf" + (dirty / name).read_bytes())
    assert read_annotations(dirty, {}) == before
    (dirty / "brain.csv").write_bytes((dirty / "brain.csv").read_bytes() + b"\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"brain\.csv"):
        read_annotations(dirty, {})
