import os
import zlib
from pathlib import Path

import pytest

from dicom_io.segments import HEAD, Segment, Segments
from dicom_io.spool import Spool, read_header
from tests.dicom_io.test_spool import encoded


def append(segments: Segments, segment: Segment, content: bytes, *, series: str = "s", name: str = "n.dcm") -> None:
    os.pwrite(segment.descriptor, content, segment.end + HEAD.size)
    assert segments.keep(series, name, segments.seal(segment, len(content), zlib.crc32(content)))


def left(directory: Path) -> list[bytes]:
    found = []
    for segment, records in Segments(directory).left_behind():
        found += [os.pread(segment.descriptor, record.size_bytes, record.offset) for record in records]
        os.close(segment.descriptor)
    return found


def test_what_was_sealed_is_found_again(tmp_path: Path) -> None:
    """After a crash every sealed record is there, in order."""
    segments = Segments(tmp_path / "segments")
    segment = segments.lease()
    append(segments, segment, b"one", name="1")
    append(segments, segment, b"two" * 1000, name="2")
    assert left(tmp_path / "segments") == [b"one", b"two" * 1000]


@pytest.mark.parametrize("damage", ["cut", "changed", "unsealed"])
def test_a_record_that_is_not_whole_is_none(tmp_path: Path, damage: str) -> None:
    """What a power cut left of a record that was never acknowledged is not taken for an instance."""
    segments = Segments(tmp_path / "segments")
    segment = segments.lease()
    append(segments, segment, b"whole", name="1")
    start = segment.end
    if damage == "unsealed":
        os.pwrite(segment.descriptor, b"bytes" * 100, start + HEAD.size)
    else:
        append(segments, segment, b"bytes" * 100, name="2")
    if damage == "cut":
        os.ftruncate(segment.descriptor, segment.end - 1)
    if damage == "changed":
        os.pwrite(segment.descriptor, b"X", start + HEAD.size + 7)
    assert left(tmp_path / "segments") == [b"whole"]


def test_a_segment_goes_when_its_records_are_files(tmp_path: Path) -> None:
    """A free segment is used again while something in it waits, and removed when nothing does."""
    segments = Segments(tmp_path / "segments")
    first = segments.lease()
    append(segments, first, b"one")
    segments.give_back(first)
    assert segments.lease() is first
    segments.give_back(first)
    segments.done("s", segments.waiting("s"))
    assert list((tmp_path / "segments").iterdir()) == []
    assert segments.lease() is not first


def test_an_unused_segment_leaves_nothing(tmp_path: Path) -> None:
    """An association that stored nothing leaves no file."""
    segments = Segments(tmp_path / "segments")
    segments.give_back(segments.lease())
    assert list((tmp_path / "segments").iterdir()) == []


def test_gathering_makes_files_of_what_waits(tmp_path: Path) -> None:
    """A series becomes files byte for byte when it is gathered, and a late or repeated instance at once."""
    spool = Spool(tmp_path / "spool")
    segment = spool.segments.lease()
    contents = [encoded(SOPInstanceUID=f"2.25.{number}") for number in (1, 2, 3)]
    changed = encoded(SOPInstanceUID="2.25.1", PixelData=b"\2" * 64)

    def keep(content: bytes) -> tuple[Path, bool, bool]:
        os.pwrite(segment.descriptor, content, segment.end + HEAD.size)
        record = spool.segments.seal(segment, len(content), zlib.crc32(content))
        stored = spool.keep_record(read_header(content), record)
        return spool.path(stored.series_key, stored.file_name), stored.was_there, stored.differs

    (first, *_), (second, *_) = keep(contents[0]), keep(contents[1])
    assert not first.exists()
    spool.gather(first.parent.name)
    assert [path.read_bytes() for path in (first, second)] == contents[:2]
    third, *_ = keep(contents[2])
    assert third.read_bytes() == contents[2]
    assert keep(contents[0]) == (first, True, False)
    assert keep(changed) == (first, True, True)
    assert [path.read_bytes() for path in first.parent.glob("*.other")] == [changed]
    spool.segments.give_back(segment)
    assert list((tmp_path / "spool" / "segments").iterdir()) == []


def test_recovery_makes_files_of_what_waited(tmp_path: Path) -> None:
    """A listener that was killed leaves its segments; the next one makes files of them before it indexes."""
    spool = Spool(tmp_path / "spool")
    segment = spool.segments.lease()
    content = encoded()
    os.pwrite(segment.descriptor, content, segment.end + HEAD.size)
    spool.keep_record(read_header(content), spool.segments.seal(segment, len(content), zlib.crc32(content)))
    later = Spool(tmp_path / "spool")
    later.recover()
    ((key, name),) = later.names()
    assert later.path(key, name).read_bytes() == content
    assert list((tmp_path / "spool" / "segments").iterdir()) == []
