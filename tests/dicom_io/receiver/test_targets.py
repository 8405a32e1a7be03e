from pathlib import Path

import pytest
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from dicom_io.blocks import RECORD_MEMORY_BYTES
from dicom_io.receiver.targets import Intake, file_meta
from dicom_io.services import MR_IMAGE
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from tests.dicom_io.test_spool import encoded


@pytest.mark.parametrize("uid", ["2.25.1", "2.25.12", "1." + "2" * 62])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000])
def test_the_file_meta_information_is_pynetdicoms(uid: str, syntax: UID) -> None:
    """Odd and even lengths: byte for byte what pynetdicom writes, so that both receivers make the same file."""
    meta = create_file_meta(sop_class_uid=UID(MR_IMAGE), sop_instance_uid=UID(uid), transfer_syntax=syntax)
    assert file_meta(MR_IMAGE, uid, syntax) == bytes(128) + b"DICM" + encode_file_meta(meta)


@pytest.mark.parametrize("in_segments", [False, True])
def test_what_is_discarded_leaves_nothing(tmp_path: Path, in_segments: bool) -> None:
    """A part file is removed; the next record is written over a discarded one, and only that one is recovered."""
    spool = Spool(tmp_path / "spool")
    intake = Intake(spool, in_segments=in_segments)
    begun = intake.begin()
    begun.append(b"x" * 2 * RECORD_MEMORY_BYTES)
    assert begun.read_at(2 * RECORD_MEMORY_BYTES - 10, 100) == b"x" * 10
    begun.discard()
    content = encoded()
    taken = intake.begin()
    taken.append(content[:500])
    taken.append(content[500:])
    assert taken.commit(read_header(content)).size_bytes == len(content)
    later = Spool(tmp_path / "spool")
    later.recover()
    assert [later.path(*name).read_bytes() for name in later.names()] == [content]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".dcm"] == []


def test_a_full_segment_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments do not grow for ever while an association lasts."""
    monkeypatch.setattr("dicom_io.segments._FULL_BYTES", 500)
    spool = Spool(tmp_path / "spool")
    intake = Intake(spool, in_segments=True)
    for number in range(1, 4):
        content = encoded(SOPInstanceUID=f"2.25.{number}")
        target = intake.begin()
        target.append(content)
        stored = target.commit(read_header(content))
    assert len(list((tmp_path / "spool" / "segments").iterdir())) > 1
    intake.close()
    spool.gather(stored.series_key)
    assert len(list(spool.names())) == 3
    assert list((tmp_path / "spool" / "segments").iterdir()) == []
