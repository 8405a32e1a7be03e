import io
import resource
import zlib
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_io.headers import is_uid
from dicom_io.spool import Spool
from dicom_io.stored import read_header, series_key
from sgmri.errors import MalformedInstance

MR = UID("1.2.840.10008.5.1.4.1.1.4")


def encoded(**changes: object) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID = MR
    dataset.SOPInstanceUID = "2.25.101"
    dataset.StudyInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.ImagesInAcquisition = 7
    dataset.PixelData = b"\0" * 64
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MR
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = io.BytesIO()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_an_instance_is_stored_byte_for_byte_under_a_name_of_ours(tmp_path: Path) -> None:
    """The file equals what came, and neither its name nor its folder shows a UID."""
    spool = Spool(tmp_path / "spool")
    content = encoded()
    stored = spool.store(read_header(content), content)
    path = spool.path(stored.series_key, stored.file_name)
    assert path.read_bytes() == content
    assert "2.25" not in str(path.relative_to(tmp_path))
    assert stored.series_key == series_key("2.25.1", "2.25.2")
    assert stored.expected_instances == 7
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_instance_twice_is_one_file(tmp_path: Path) -> None:
    """A repeated instance is reported as known; one with other bytes is kept beside the first copy, once."""
    spool = Spool(tmp_path / "spool")
    content, other = encoded(), encoded(PixelData=b"\1" * 64)
    first = spool.store(read_header(content), content)
    again = spool.store(read_header(content), content)
    changed = spool.store(read_header(other), other)
    assert (first.was_there, again.was_there, again.differs, changed.differs) == (False, True, False, True)
    path = spool.path(first.series_key, first.file_name)
    assert path.read_bytes() == content
    assert len(list(spool.names())) == 1
    spool.store(read_header(other), other)
    assert [beside.read_bytes() for beside in path.parent.iterdir() if beside != path] == [other]


def test_what_is_no_instance_is_set_aside_within_bounds(tmp_path: Path) -> None:
    """The quarantine keeps what was refused, the newest of it, and it is no part of the spool's instances."""
    spool = Spool(tmp_path / "spool")
    for number in range(70):
        spool.quarantine.keep(spool.write_part(b"%d" % number))
    kept = list((tmp_path / "spool" / "quarantine").iterdir())
    assert len(kept) == 64
    assert b"69" in {path.read_bytes() for path in kept}
    assert not list(spool.names())
    assert spool.recover() == 0


def test_interrupted_writes_are_removed_at_start(tmp_path: Path) -> None:
    """What a killed listener left half-written is gone after recovery; whole instances stay."""
    spool = Spool(tmp_path / "spool")
    content = encoded()
    stored = spool.store(read_header(content), content)
    (tmp_path / "spool" / stored.series_key / "x.dcm.0123.part").write_bytes(content[:100])
    assert spool.recover() == 1
    assert [name for _, name in spool.names()] == [stored.file_name]
    assert spool.instance(stored.series_key, stored.file_name).sop_instance_uid == "2.25.101"


@pytest.mark.parametrize("uid", ["../../evil", "1.2\0.3", "1.2.abc", "1." + "2" * 64, "", "1", "1..2"])
def test_hostile_uids_are_no_uids(uid: str) -> None:
    """Paths, NUL, letters, overlong and empty texts are refused (PS3.5 9.1)."""
    assert not is_uid(uid)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_data_set_without_a_valid_uid_is_malformed(keyword: str) -> None:
    """A missing UID cannot place an instance: it is refused, not guessed."""
    uid = {"StudyInstanceUID": b"2.25.1", "SeriesInstanceUID": b"2.25.2", "SOPInstanceUID": b"2.25.101"}[keyword]
    place = encoded().rindex(uid)
    content = encoded()[:place] + b"../" + encoded()[place + 3 :]
    with pytest.raises(MalformedInstance):
        read_header(content)


def test_a_deflate_bomb_is_not_inflated() -> None:
    """The header of a deflated instance of 512 MiB is read without inflating its pixels."""
    dataset = encoded()
    start = dataset.index(b"\x08\x00\x16\x00", 132)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = squeeze.compress(dataset[start:])
    for _ in range(512):
        body += squeeze.compress(bytes(1 << 20))
    body += squeeze.flush()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MR
    meta.MediaStorageSOPInstanceUID = UID("2.25.101")
    holder = Dataset()
    holder.file_meta = meta
    stream = io.BytesIO()
    holder.save_as(stream, enforce_file_format=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # an empty data set deflates to two bytes
    header = read_header(stream.getvalue().removesuffix(b"\x03\x00") + body)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert header.sop_instance_uid == "2.25.101"
    assert grown_kib < 64 * 1024


def test_twenty_thousand_nested_sequences_are_refused_cleanly() -> None:
    """Nesting that would exhaust the stack becomes MalformedInstance (PS3.5 7.5)."""
    content = encoded()
    place = content.index(b"\x08\x00\x16\x00", 132)
    nest = (b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 20_000
    with pytest.raises(MalformedInstance):
        read_header(content[:place] + nest + content[place:])


@pytest.mark.parametrize("content", [b"", b"DICM", b"\0" * 128 + b"DICM", b"GET / HTTP/1.1\r\n" * 20, bytes(5000)])
def test_rubbish_is_malformed(content: bytes) -> None:
    """What is no DICOM is refused with our error, whatever it is."""
    with pytest.raises(MalformedInstance):
        read_header(content)


def test_the_watermark_refuses_before_the_disk_is_full(tmp_path: Path) -> None:
    """With a watermark above the free space nothing has room; without one it does."""
    assert not Spool(tmp_path / "a", min_free_bytes=1 << 60).has_room(1)
    assert Spool(tmp_path / "b").has_room(1)
