import os
import zlib
from pathlib import Path

import pytest

from dicom_io.blocks import BLOCK_BYTES, MEMORY_BYTES, RECORD_MEMORY_BYTES, BlockWriter, memory, uncached_flag
from dicom_io.segments import END, HEAD, Record, Segment, Segments
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from tests.dicom_io.test_spool import encoded


def sealed(segments: Segments, segment: Segment, content: bytes) -> Record:
    writer = segments.begin(segment, memory())
    writer.append(content)
    return segments.seal(segment, writer)


def append(segments: Segments, segment: Segment, content: bytes, *, series: str = "s", name: str = "n.dcm") -> None:
    assert segments.keep(series, name, sealed(segments, segment, content))


def damaged(segment: Segment, content: bytes, offset: int) -> None:
    with segment.path.open("rb+") as stream:
        stream.seek(offset)
        stream.write(content)


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


@pytest.mark.parametrize("end", [-1, 0, 1])
@pytest.mark.parametrize("blocks", [1, MEMORY_BYTES // BLOCK_BYTES, 2 * MEMORY_BYTES // BLOCK_BYTES])
def test_records_of_every_length_follow_each_other(tmp_path: Path, blocks: int, end: int) -> None:
    """A record that just fills its blocks, or the memory, or not, is found again, and what comes after it."""
    segments = Segments(tmp_path / "segments")
    segment = segments.lease()
    content = os.urandom(blocks * BLOCK_BYTES - HEAD.size - END.size + end)
    for place, one in enumerate((content, b"last")):
        append(segments, segment, one, name=str(place))
    assert segment.end % BLOCK_BYTES == 0
    assert left(tmp_path / "segments") == [content, b"last"]


def test_records_of_an_earlier_version_are_found(tmp_path: Path) -> None:
    """A segment that a listener left before records began at blocks is not lost by the update."""
    contents = [b"one", b"two" * 1000]
    records = [HEAD.pack(b"SGR1", len(one)) + one + END.pack(b"END1", len(one), zlib.crc32(one)) for one in contents]
    (tmp_path / "0.segment").write_bytes(b"".join(records))
    assert left(tmp_path) == contents


@pytest.mark.parametrize("damage", ["cut", "changed", "unsealed"])
def test_a_record_that_is_not_whole_is_none(tmp_path: Path, damage: str) -> None:
    """What a power cut left of a record that was never acknowledged is not taken for an instance."""
    segments = Segments(tmp_path / "segments")
    segment = segments.lease()
    append(segments, segment, b"whole", name="1")
    start = segment.end
    if damage == "unsealed":
        damaged(segment, b"bytes" * 100, start + HEAD.size)
    else:
        append(segments, segment, b"bytes" * 100, name="2")
    if damage == "cut":
        os.truncate(segment.path, start + HEAD.size + 500)
    if damage == "changed":
        damaged(segment, b"X", start + HEAD.size + 7)
    assert left(tmp_path / "segments") == [b"whole"]


def test_a_long_record_is_begun_early_only_while_no_other_comes(tmp_path: Path) -> None:
    """Alone, a record goes to the disk while it comes; beside another it waits for its end. Both are found again."""
    if not uncached_flag(tmp_path):
        pytest.skip("this kernel or file system cannot write past what it keeps (RWF_DONTCACHE, Linux 6.14)")
    segments = Segments(tmp_path / "segments")
    first, second = segments.lease(), segments.lease()
    contents = [os.urandom(2 * MEMORY_BYTES + number) for number in range(5)]

    def begun(segment: Segment, content: bytes) -> BlockWriter:
        writer = segments.begin(segment, memory(RECORD_MEMORY_BYTES))
        writer.append(content)
        return writer

    alone, beside = begun(first, contents[0]), begun(second, contents[1])
    assert not alone.is_in_memory
    assert beside.is_in_memory
    segments.seal(first, alone)
    behind = begun(first, contents[2])
    assert behind.is_in_memory, "the other is still coming"
    segments.seal(second, beside)
    segments.end(first)  # what was begun there comes no more
    again = begun(second, contents[3])
    assert not again.is_in_memory
    segments.seal(second, again)
    again = begun(first, contents[4])
    assert not again.is_in_memory
    segments.seal(first, again)
    assert sorted(left(tmp_path / "segments")) == sorted([*contents[:2], *contents[3:]])


def test_no_record_is_begun_early_where_the_page_cache_would_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel without RWF_DONTCACHE a lone record waits for its end too, and is found again."""
    monkeypatch.setattr("dicom_io.segments.uncached_flag", lambda _: 0)
    segments = Segments(tmp_path / "segments")
    segment = segments.lease()
    content = os.urandom(2 * MEMORY_BYTES)
    writer = segments.begin(segment, memory(RECORD_MEMORY_BYTES))
    writer.append(content)
    assert writer.is_in_memory
    segments.seal(segment, writer)
    assert left(tmp_path / "segments") == [content]


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
        stored = spool.keep_record(read_header(content), sealed(spool.segments, segment, content))
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
    spool.keep_record(read_header(content), sealed(spool.segments, segment, content))
    later = Spool(tmp_path / "spool")
    later.recover()
    ((key, name),) = later.names()
    assert later.path(key, name).read_bytes() == content
    assert list((tmp_path / "spool" / "segments").iterdir()) == []
