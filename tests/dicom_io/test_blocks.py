import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dicom_io.blocks import MEMORY_BYTES, Ahead, BlockWriter, memory, uncached_flag
from dicom_io.receiver.targets import Intake
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from tests.dicom_io.test_spool import encoded


def cached_bytes(path: Path) -> int:
    """Return how much of a file the page cache holds."""
    return int(subprocess.check_output(["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)]))


@pytest.mark.parametrize("size_bytes", [1, MEMORY_BYTES, MEMORY_BYTES + 1, 5 * MEMORY_BYTES - 1])
@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_is_appended_is_what_lies_in_the_file(tmp_path: Path, size_bytes: int, is_ahead: bool) -> None:
    """In pieces that fit no block, with the disk beginning early and without: the same bytes, and no more."""
    content = os.urandom(size_bytes)
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    ahead = Ahead(descriptor, uncached_flag(tmp_path)) if is_ahead else None
    writer = BlockWriter(path, descriptor, memory(), ahead=ahead)
    for place in range(0, size_bytes, 100_001):
        writer.append(content[place : place + 100_001])
    writer.finish(padded=False)
    os.close(descriptor)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["file"], "the trial of the flag leaves nothing"


@pytest.mark.parametrize("synced", [True, False])
def test_a_synced_instance_takes_no_memory(tmp_path: Path, synced: bool) -> None:
    """Stored and synced, none of it is left in the page cache; what is not synced lies nowhere else."""
    if not uncached_flag(tmp_path):
        pytest.skip("this kernel or file system cannot write past what it keeps (RWF_DONTCACHE, Linux 6.14)")
    content = encoded(PixelData=bytes(3 * MEMORY_BYTES), Rows=768, Columns=512)
    spool = Spool(tmp_path / "spool", synced=synced)
    target = Intake(spool, in_segments=False).begin()
    target.append(content)
    stored = target.commit(read_header(content))
    path = spool.path(stored.series_key, stored.file_name)
    cached = cached_bytes(path)  # before it is read
    assert (cached == 0) is synced
    assert path.read_bytes() == content


def test_a_file_system_that_cannot_is_written_as_ever() -> None:
    """In memory (tmpfs) there is nothing to write past: the flag is not used, and the instance is stored."""
    shared = Path("/dev/shm")  # noqa: S108 - the name of a mount, not of a file
    if not os.path.ismount(shared):
        pytest.skip("nothing in memory is mounted here")
    path = shared / f"sgmri-test-{os.getpid()}"
    try:
        spool = Spool(path)
        content = encoded()
        target = Intake(spool, in_segments=False).begin()
        target.append(content)
        stored = target.commit(read_header(content))
        assert spool.uncached_flag() == 0
        assert spool.path(stored.series_key, stored.file_name).read_bytes() == content
    finally:
        shutil.rmtree(path)


def test_a_trial_that_the_disk_refuses_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills before the first instance: nothing is left behind, and the next one is tried anew."""
    spool = Spool(tmp_path / "spool")
    intake = Intake(spool, in_segments=False)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", full)
        with pytest.raises(OSError, match="full"):
            intake.begin()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    intake.begin().discard()
