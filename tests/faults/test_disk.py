"""Rows 18 and 20 to 24 of the fault table: the process dies, the disk is full, or it fails."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_io.network import echo
from dicom_io.segments import Segments
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from plugin.listener import ListenerService, spool_dir
from sgmri.settings import parse
from tests import receivers
from tests.dicom_io.test_spool import encoded
from tests.faults import wire
from tests.faults.conftest import Run, SmallDisk
from tests.faults.receive import elsewhere
from tests.receivers import mr_instance


def partial_files(directory: Path) -> list[Path]:
    """Return what is neither a whole instance nor a segment in use."""
    return [path for path in directory.rglob("*") if path.is_file() and path.suffix not in (".dcm", ".segment")]


def test_a_killed_receiver_keeps_what_it_acknowledged(kind: str, tmp_path: Path) -> None:
    """Row 18: after kill -9 in mid instance, recovery drops the rest of it and has every acknowledged one."""
    spool = tmp_path / "spool"
    with elsewhere(kind, spool) as (place, process), wire.associated(place, timeout_s=60.0) as peer:
        uids = [f"2.25.{number}" for number in range(1, 6)]
        contents = [wire.data_set(mr_instance(uid), pixel_bytes=100_000) for uid in uids]
        assert [peer.store(*pair) for pair in zip(contents, uids, strict=True)] == [0] * 5
        peer.send((wire.c_store("2.25.6") + wire.data(contents[0]))[:70_000])
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    later = Spool(spool)
    later.recover()
    files = [later.path(*name).read_bytes() for name in later.names()]
    assert len(files) == 5
    assert all(any(found.endswith(content) for found in files) for content in contents)
    assert partial_files(spool) == []


@pytest.mark.parametrize("receiver", ["own", "pynetdicom"])
def test_an_instance_that_was_not_indexed_is_indexed_at_the_start(tmp_path: Path, receiver: str) -> None:
    """Row 20: power went between the rename and the journal's row: the next start finds the file."""
    settings = parse(
        {
            "listener": {"port": 0, "min_free_bytes": 1, "receiver": receiver},
            "storage": {"state_dir": str(tmp_path / "state")},
            "series": {"quiet_period_s": 600.0},
            "broker": {"url": "redis://127.0.0.1:1/0"},
        }
    )
    content = encoded()
    stored = Spool(spool_dir(settings)).store(read_header(content), content)
    service = ListenerService(settings)
    service.start()
    try:
        assert service.journal.file_names(stored.series_key) == (stored.file_name,)
    finally:
        service.stop()


@pytest.mark.parametrize("options", ["size=3m", "nr_inodes=14"], ids=["row 21: bytes", "row 23: inodes"])
def test_a_full_disk_refuses_and_recovers_by_itself(
    running: Run, kind: str, tmp_path: Path, small_disk: SmallDisk, options: str
) -> None:
    """Rows 21, 23: 0xA700 when nothing more fits, nothing partial stays, and it goes on when there is room again."""
    with (
        small_disk(options) as disk,
        running(disk / "spool", durability="strict") as place,
        wire.associated(place) as peer,
    ):
        statuses: list[int | None] = []
        while len(statuses) < 40 and 0xA700 not in statuses:
            uid = f"2.25.{len(statuses) + 1}"
            statuses.append(peer.store(wire.data_set(mr_instance(uid), pixel_bytes=300_000), uid))
        assert statuses[-1] == 0xA700
        assert set(statuses[:-1]) == {0x0000}
        assert len(place.stored) == len(statuses) - 1
        assert partial_files(disk) == []
        echo(place.destination())
        for path in place.files()[:2]:
            path.unlink()
        assert peer.store(wire.data_set(mr_instance("2.25.99")), "2.25.99") == 0x0000


def test_a_full_disk_refuses_appends_too(small_disk: SmallDisk) -> None:
    """Row 21, policy journal: a record that does not fit is refused, and those before it are whole."""
    with small_disk("size=3m") as disk:
        with receivers.running("own-journal", disk / "spool") as place, wire.associated(place) as peer:
            statuses = [
                peer.store(wire.data_set(mr_instance(f"2.25.{number}"), pixel_bytes=300_000), f"2.25.{number}")
                for number in range(1, 13)
            ]
            taken = statuses.count(0x0000)
            assert statuses == [0x0000] * taken + [0xA700] * (12 - taken)
            assert 5 <= taken <= 10
            assert peer.store(wire.data_set(mr_instance("2.25.99")), "2.25.99") == 0x0000
        subprocess.run(["mount", "-o", "remount,size=12m", str(disk)], check=True)
        later = Spool(disk / "spool")
        later.recover()
        assert len(list(later.names())) == taken + 1


def test_a_disk_that_became_read_only_refuses(running: Run, small_disk: SmallDisk) -> None:
    """Row 23: on a read-only disk every instance gets 0xA700; once it is writable again, 0x0000."""
    with small_disk("size=3m") as disk, running(disk / "spool", durability="strict") as place:
        with wire.associated(place) as peer:
            assert peer.store(wire.data_set(mr_instance("2.25.1")), "2.25.1") == 0x0000
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            assert peer.store(wire.data_set(mr_instance("2.25.2")), "2.25.2") == 0xA700
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            assert peer.store(wire.data_set(mr_instance("2.25.2")), "2.25.2") == 0x0000
        assert len(place.stored) == 2


def _fails(call: Callable[..., object], on: Callable[[int], bool]) -> Callable[[int], None]:
    def failing(descriptor: int) -> None:
        if on(descriptor):
            raise OSError(errno.EIO, "injected")
        call(descriptor)

    return failing


def _fails_when_synced(call: Callable[..., int]) -> Callable[..., int]:
    def failing(descriptor: int, slices: list[bytes], offset: int, flags: int) -> int:
        if flags & os.RWF_DSYNC:
            raise OSError(errno.EIO, "injected")
        return call(descriptor, slices, offset, flags)

    return failing


def _is_directory(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_dir()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_sync_that_fails_is_never_success(
    running: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Row 24: when the disk cannot sync, 0xA700, nothing stays under an instance's name, and the next try is whole."""
    with running(tmp_path / "spool", durability="strict") as place, wire.associated(place) as peer:
        with monkeypatch.context() as failing:
            failing.setattr(os, "fsync", _fails(os.fsync, lambda fd: _is_directory(fd) is (what == "directory")))
            assert peer.store(wire.data_set()) == 0xA700
        assert place.stored == []
        assert {path.name for path in place.spool.root.iterdir()} <= {"incoming"}
        assert partial_files(tmp_path) == []
        assert peer.store(wire.data_set()) == 0x0000


def test_an_append_that_cannot_be_synced_is_never_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 24, policy journal: 0xA700, and the segment is not appended to again."""
    with receivers.running("own-journal", tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(wire.data_set()) == 0x0000
        with monkeypatch.context() as failing:
            failing.setattr(os, "pwritev", _fails_when_synced(os.pwritev))
            assert peer.store(wire.data_set(mr_instance("2.25.2")), "2.25.2") == 0xA700
        assert peer.store(wire.data_set(mr_instance("2.25.2")), "2.25.2") == 0x0000
        assert len(place.stored) == 2
        segments = Segments(tmp_path / "spool" / "segments").left_behind()
        assert [len(records) for _, records in segments] == [1, 1]


def test_a_write_that_fails_discards_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 23: EIO in the middle of an instance: the rest is drained, 0xA700, no part file."""
    with receivers.running("own", tmp_path / "spool") as place, wire.associated(place) as peer:
        calls = iter(range(100))

        def pwritev(descriptor: int, slices: list[bytes], offset: int, flags: int) -> int:
            if next(calls) == 2:
                raise OSError(errno.EIO, "injected")
            return real(descriptor, slices, offset, flags)

        real = os.pwritev
        with monkeypatch.context() as failing:
            failing.setattr(os, "pwritev", pwritev)
            assert peer.store(wire.data_set(pixel_bytes=2_000_000)) == 0xA700
            assert next(calls) == 3
        assert partial_files(tmp_path) == []
        assert peer.store(wire.data_set(pixel_bytes=2_000_000)) == 0x0000
