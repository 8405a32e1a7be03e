import subprocess
from pathlib import Path

import pytest

from dicom_io import incoming
from dicom_io.incoming import Incoming
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from tests.dicom_io.test_spool import encoded


def test_every_name_is_used_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several directories and two processes' worth of them no two parts share a name, and each can be written."""
    monkeypatch.setattr(incoming, "_PARTS", 3)
    parts = [one.new_part() for one in (Incoming(tmp_path / "in"), Incoming(tmp_path / "in")) for _ in range(10)]
    for part in parts:
        if part.parent.exists():
            part.write_bytes(b"")
    assert len({part.name for part in parts}) == 20
    assert len({part.parent for part in parts}) == 8
    assert all(part.suffix == ".part" for part in parts)


def test_a_directory_goes_when_nothing_in_it_is_still_to_be_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old directory stays for the part that lies in it, and is removed once that has its name."""
    monkeypatch.setattr(incoming, "_PARTS", 1)
    parts = Incoming(tmp_path / "in")
    slow = parts.new_part()
    slow.write_bytes(b"slow")
    others = [parts.new_part() for _ in range(3)]
    assert {path.name for path in (tmp_path / "in").iterdir()} == {slow.parent.name, others[-1].parent.name}
    slow.rename(tmp_path / "placed")
    last = parts.new_part()
    assert list((tmp_path / "in").iterdir()) == [last.parent]


def test_a_directory_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    """A spool that is emptied under a running listener takes the next instance."""
    parts = Incoming(tmp_path / "in")
    first = parts.new_part()
    first.parent.rmdir()
    first.parent.parent.rmdir()
    parts.new_part().write_bytes(b"")


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    """Recovery removes parts and their directories, and says how many parts they were."""
    content = encoded()
    spool = Spool(tmp_path / "spool")
    for _ in range(2):
        spool.new_part().write_bytes(content[:100])
    later = Spool(tmp_path / "spool")
    later.store(read_header(content), content)
    assert later.recover() == 2
    assert list((tmp_path / "spool" / "incoming").iterdir()) == []
    assert spool.new_part().parent.exists(), "another process that goes on finds a directory again"


def test_directories_are_spread_where_the_file_system_can(tmp_path: Path) -> None:
    """The directory is marked as top of a hierarchy (chattr +T), by which ext4 begins each below in another region."""
    if subprocess.run(["chattr", "+T", tmp_path], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system knows no such mark")
    part = Incoming(tmp_path / "in").new_part()
    said = subprocess.check_output(["lsattr", "-d", part.parent.parent, part.parent], text=True)
    assert ["T" in line.partition(" ")[0] for line in said.splitlines()] == [True, False]
