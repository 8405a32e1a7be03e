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
    others = [parts.new_part() for _ in range(4)]
    assert {path.name for path in (tmp_path / "in").iterdir()} == {part.parent.name for part in (slow, *others[-2:])}
    slow.rename(tmp_path / "placed")
    last = parts.new_part()
    assert {path.name for path in (tmp_path / "in").iterdir()} == {last.parent.name, others[-1].parent.name}


def test_a_part_that_was_named_can_still_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another association takes the next directory between the name of a part and its opening."""
    monkeypatch.setattr(incoming, "_PARTS", 1)
    parts = Incoming(tmp_path / "in")
    named = parts.new_part()
    parts.new_part()
    named.write_bytes(b"")


def test_a_directory_of_an_earlier_version_is_marked_too(tmp_path: Path) -> None:
    """An update finds the directory for parts already there."""
    _skip_without_marks(tmp_path)
    (tmp_path / "in").mkdir()
    Incoming(tmp_path / "in").new_part()
    assert _is_top(tmp_path / "in")


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
    _skip_without_marks(tmp_path)
    part = Incoming(tmp_path / "in").new_part()
    assert _is_top(part.parent.parent)
    assert not _is_top(part.parent)


def _skip_without_marks(directory: Path) -> None:
    if subprocess.run(["chattr", "+T", directory], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system knows no such mark")
    subprocess.run(["chattr", "-T", directory], check=True)


def _is_top(directory: Path) -> bool:
    said = subprocess.check_output(["lsattr", "-d", directory], text=True)
    return "T" in said.partition(" ")[0]
