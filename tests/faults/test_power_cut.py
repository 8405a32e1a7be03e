"""Row 19 of the fault table: the power goes, and every instance that was answered with Success is there.

The receiver runs under strace. Its system calls show what was synced before each response; and they are replayed onto
a model of a disk that forgets, at any response, whatever had not been synced: recovery starts from what is left.
"""

import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dicom_io.spool import Spool
from tests.faults import wire
from tests.faults.receive import elsewhere
from tests.receivers import mr_instance

_CALLS = "openat,mkdir,rename,unlink,ftruncate,write,pwrite64,pwritev2,fsync,fdatasync,sendto,setsockopt"
_SYNCED = "RWF_DSYNC"
_LINE = re.compile(r"([0-9.]+) (\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass(frozen=True)
class Call:
    """A system call that succeeded."""

    name: str
    arguments: str
    result: int

    def texts(self) -> list[bytes]:
        assert '"...' not in self.arguments, "strace cut a text short"
        return [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(self.arguments)]

    def number(self, place: int) -> int:
        return int(self.arguments.split(", ")[place])

    def path(self, place: int = 0) -> Path:
        return Path(self.texts()[place].decode())


def calls(directory: Path) -> list[Call]:
    """Return the calls of all threads in the order in which they began."""
    found = []
    for file in directory.glob("trace.*"):
        for line in file.read_text().splitlines():
            match = _LINE.match(line)
            if match and int(match[4]) >= 0:
                found.append((float(match[1]), Call(match[2], match[3], int(match[4]))))
    return [call for _, call in sorted(found, key=lambda pair: pair[0])]


def is_response(call: Call) -> bool:
    return call.name == "sendto" and call.texts()[0][:1] == b"\4"


@dataclass
class File:
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""

    def put(self, content: bytes, offset: int) -> None:
        self.content.extend(bytes(max(0, offset - len(self.content))))
        self.content[offset : offset + len(content)] = content


@dataclass
class Disk:
    """A disk that may forget what was not synced: entries of directories, and bytes of files.

    Directories are followed by their path, files by what was opened: a rename keeps the file.
    """

    root: Path
    entries: dict[Path, File | None] = field(default_factory=dict)  # None: a directory
    durable: dict[Path, File | None] = field(default_factory=dict)
    open: dict[int, File | Path] = field(default_factory=dict)

    def apply(self, call: Call) -> None:
        step = getattr(self, f"_{call.name}", None)
        if step is not None:
            step(call)

    def _openat(self, call: Call) -> None:
        path = call.path()
        if self.root not in (path, *path.parents):
            self.open.pop(call.result, None)
            return
        if "O_CREAT" in call.arguments and path not in self.entries:
            self.entries[path] = File()
        self.open[call.result] = self.entries.get(path) or path

    def _mkdir(self, call: Call) -> None:
        if self.root in (call.path(), *call.path().parents):
            self.entries[call.path()] = None

    def _rename(self, call: Call) -> None:
        self.entries[call.path(1)] = self.entries.pop(call.path(0))

    def _unlink(self, call: Call) -> None:
        self.entries.pop(call.path(), None)

    def _file(self, call: Call) -> File:
        file = self.open.get(call.number(0))
        return file if isinstance(file, File) else File()  # a socket, a pipe

    def _write(self, call: Call) -> None:
        file = self._file(call)
        file.put(call.texts()[0][: call.result], len(file.content))

    def _pwrite64(self, call: Call) -> None:
        self._file(call).put(call.texts()[0][: call.result], call.number(-1))

    def _pwritev2(self, call: Call) -> None:
        content, offset = b"".join(call.texts())[: call.result], call.number(-2)  # then flags
        file = self._file(call)
        file.put(content, offset)
        if _SYNCED in call.arguments:  # these bytes and no others
            file.synced = file.synced.ljust(offset, b"\0")[:offset] + content + file.synced[offset + len(content) :]

    def _ftruncate(self, call: Call) -> None:
        del self._file(call).content[call.number(1) :]

    def _fsync(self, call: Call) -> None:
        what = self.open.get(call.number(0))
        if isinstance(what, File):
            what.synced = bytes(what.content)
        elif isinstance(what, Path):
            for path in [path for path in self.durable if path.parent == what]:
                del self.durable[path]
            self.durable.update({path: file for path, file in self.entries.items() if path.parent == what})

    _fdatasync = _fsync

    def after_power_cut(self, onto: Path, luck: random.Random | None) -> None:
        """Write what is left; without luck nothing that was not synced, else any part of it."""
        entries = dict(self.durable)
        for path, file in self.entries.items():
            if luck and luck.random() < 0.5:
                entries[path] = file
        for path, file in sorted(entries.items()):
            place = onto / path.relative_to(self.root)
            if not place.parent.is_dir() or (file is not None and place.exists()):
                continue  # its directory's entry is lost
            if file is None:
                place.mkdir()
            else:
                place.write_bytes(bytes(file.content) if luck and luck.random() < 0.5 else file.synced)


def traced(kind: str, tmp_path: Path) -> tuple[list[Call], list[bytes]]:
    """Return the calls of a receiver to which instances were sent, and the data sets in the order of the responses."""
    changed = wire.data_set(mr_instance("2.25.2"), pixel_bytes=500)
    late = mr_instance("2.25.6")
    other = mr_instance("2.25.5")
    other.SeriesInstanceUID = "2.25.22"
    sent = [(f"2.25.{number}", wire.data_set(mr_instance(f"2.25.{number}"))) for number in (1, 2, 3)]
    sent += [("2.25.5", wire.data_set(other)), sent[0], ("2.25.2", changed), ("2.25.6", wire.data_set(late))]
    (tmp_path / "disk").mkdir()
    strace = ["strace", "-ff", "--seccomp-bpf", "-qq", "-ttt", "-xx", "-s", "2000000", "-e", f"trace={_CALLS}"]
    with elsewhere(kind, tmp_path / "disk" / "spool", under=[*strace, "-o", str(tmp_path / "trace")]) as (place, _):
        for half in (sent[:4], sent[4:]):
            with wire.associated(place, timeout_s=120.0) as peer:
                for uid, content in half:
                    assert peer.store(content, uid) == 0x0000
                peer.send(wire.RELEASE_RQ)
                assert peer.pdu() is not None
    return calls(tmp_path), [content for _, content in sent]


def after_each_response(found: list[Call], root: Path) -> Iterator[Disk]:
    disk = Disk(root)
    for call in found:
        if is_response(call):
            yield disk
        disk.apply(call)


def lost(found: list[Call], contents: list[bytes], tmp_path: Path) -> int:
    """Return how many acknowledged instances are missing after recovery, over power cuts at all responses."""
    missing = 0
    acknowledged = 0
    for acknowledged, disk in enumerate(after_each_response(found, tmp_path / "disk"), start=1):
        for luck in (None, *(random.Random(seed) for seed in range(5))):  # noqa: S311 - luck, not secrecy
            left = tmp_path / "left"
            left.mkdir()
            disk.after_power_cut(left, luck)
            spool = Spool(left / "spool")
            spool.recover()
            files = [path.read_bytes() for path in left.rglob("*") if path.suffix in (".dcm", ".other")]
            missing += sum(not any(file.endswith(one) for file in files) for one in contents[:acknowledged])
            shutil.rmtree(left)
    assert acknowledged == len(contents)
    return missing


def test_no_acknowledged_instance_is_lost(kind: str, tmp_path: Path) -> None:
    """At every response: syncs came before it, and what had not been synced is not needed for any instance so far."""
    found, contents = traced(kind, tmp_path)
    _check_order(found, kind)
    assert lost(found, contents, tmp_path) == 0
    # The same calls without their syncs do lose instances: the model forgets
    unsynced = [replace(call, arguments=call.arguments.replace(_SYNCED, "0")) for call in found]
    assert lost([call for call in unsynced if call.name not in ("fsync", "fdatasync")], contents, tmp_path) > 0


def _check_order(found: list[Call], kind: str) -> None:
    """Between two responses: file, name and directory are safe in this order, or the record is."""
    since: list[str] = []
    orders = []
    for call in found:
        if is_response(call):
            orders.append(since)
            since = []
        elif call.name in ("fsync", "fdatasync", "rename"):
            since.append(call.name)
        elif _SYNCED in call.arguments:
            since.append("synced write")
    first = [name for name in orders[1] if name]  # the first one also makes directories
    assert first == (["synced write"] if kind == "own-journal" else ["fsync", "rename", "fsync"])
    answered = next(place for place, call in enumerate(found) if is_response(call))
    assert any("TCP_NODELAY" in call.arguments for call in found[:answered] if call.name == "setsockopt")
