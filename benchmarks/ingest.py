"""Receiving instances: the listener beside storescp, Orthanc and pynetdicom's storescp application.

    python -m benchmarks.ingest [--rounds N] [--small N] [--large N] [--only NAME ...] [--bare] [--state fresh]
                                [--json FILE]
    python -m benchmarks.ingest --memory

sgmri strict, journal, none    the whole listener with its SQLite journal, by listener.durability
sgmri pynetdicom               the same with pynetdicom's data path (strict)
bare strict, journal, none     our receiver without the listener's journal (--bare)
storescp                       DCMTK's, which never syncs; the base of all ratios
storescp +B                    the same, writing what comes without decoding it
Orthanc                        as it comes: fdatasync of files, SQLite index
pynetdicom app                 python -m pynetdicom storescp, which never syncs

dcmsend sends MR instances of 220 kB and 2 MB over one and over four associations. TCP_NODELAY=1 for everybody: without
it DCMTK waits some 40 ms for each instance. Every run starts its receiver anew with an empty folder, lets it take eight
instances of another series (none of this is measured), and counts what was stored. The receivers take turns, in
reversed order every second round; a ratio is the median over the rounds of (storescp's time / the receiver's time),
each within its round: more is faster. "to Orthanc" is the same against Orthanc. "cpu" is the receiver's processor time
an instance, its children's included. Only ratios within one table mean something. At the end: which bars are met (exit
1 if one is not), and how much the peak memory grows with one instance of 400 MB (--memory: only that).

What was deleted before changes what a new file costs: ext4 does not give an inode away again within minutes of its
deletion, and looks at each such one first; memory that a deleted file has left is used again, where other memory is
dear. In --state worn (what is measured if nothing is said) what a receiver stored is deleted after its run, beside the
next one's, as in a spool that loses as much as it gets. In --state fresh all stays until the end (17 GB for four
receivers and seven rounds).
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pynetdicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks.receivers import BASE, ENVIRONMENT, ORTHANC, RECEIVERS, STATES, cpu_ms, folder_in, receiving
from dicom_io.services import MR_IMAGE

SIZES = {"220 kB": 320, "2 MB": 1024}
"""Rows and columns of 16 bits."""
ASSOCIATIONS = (1, 4)
BARS = {
    "sgmri strict": {("220 kB", 1): 0.5, ("220 kB", 4): 0.65, ("2 MB", 1): 0.7},
    "sgmri journal": {("220 kB", 1): 1.0, ("220 kB", 4): 1.3, ("2 MB", 1): 0.9},
}
"""At least this ratio to storescp; none is set for 2 MB on four associations."""
ORTHANC_BARS = {"220 kB": 1.3, "2 MB": 2.0}
"""At least this ratio to Orthanc, for those that have bars."""
MOST_GROWTH_MIB = 16
_BREATH_S = 0.2
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One receiver in one setting."""

    size: str
    associations: int
    receiver: str
    seconds: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    ratios: tuple[float, ...]
    to_orthanc: tuple[float, ...]

    def bars(self) -> list[tuple[str, float, float]]:
        """Return the bars that are set for it: against whom, at least, found."""
        if self.receiver not in BARS:
            return []
        to_base = BARS[self.receiver].get((self.size, self.associations))
        bars = [] if to_base is None else [(BASE, to_base, statistics.median(self.ratios))]
        if self.to_orthanc:
            bars.append((ORTHANC, ORTHANC_BARS[self.size], statistics.median(self.to_orthanc)))
        return bars


def write_instances(folder: Path, count: int, side: int, *, frames: int = 1, series: str = "2.25.2") -> None:
    """Write instances of one series, with a private value as scanners have."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(7).integers(0, 4096, side * side * frames, dtype=np.uint16)
    for number in range(count):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = UID(MR_IMAGE), f"2.25.{1 + int(folder.name, 36)}{number:05d}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", series
        ds.Modality, ds.PatientID, ds.InstanceNumber = "MR", "BENCHMARK", number + 1
        ds.private_block(0x0019, "SGMRI BENCHMARK", create=True).add_new(0x10, "OB", bytes(15_000))
        ds.Rows = ds.Columns = side
        if frames > 1:
            ds.NumberOfFrames = frames
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = np.roll(noise, number).tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def send(port: int, folders: list[Path]) -> float:
    """Send each folder over an association of its own, all at once; return seconds."""
    begin = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["dcmsend", "-q", "-aet", "SENDER", "-aec", "SGMRI", "+sd", "127.0.0.1", str(port), str(folder)],
            env=ENVIRONMENT,
        )
        for folder in folders
    ]
    if any([sender.wait() for sender in senders]):
        sys.exit("dcmsend failed")
    return time.perf_counter() - begin


def _check_stored(name: str, folder: Path, count: int, size_bytes: int) -> None:
    stored_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if stored_bytes < count * size_bytes:
        sys.exit(f"{name} stored {stored_bytes} of {count * size_bytes} bytes")


def measure(names: list[str], source: Path, size: str, rounds: int, state: str) -> list[Row]:
    """Let the receivers take turns; each has already received a little, as one that has run for days."""
    folders = sorted((source / "timed").iterdir())
    seconds: dict[str, list[float]] = {name: [] for name in names}
    spent_ms: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[:: 1 if turn % 2 else -1]:
            with folder_in(source.parent, state) as stored:
                taken_s, an_instance_ms = _run(name, source, stored, size)
            seconds[name].append(taken_s)
            spent_ms[name].append(an_instance_ms)
    return [
        Row(
            size=size,
            associations=len(folders),
            receiver=name,
            seconds=tuple(times),
            cpu_ms=tuple(spent_ms[name]),
            ratios=_ratios(seconds[BASE], times),
            to_orthanc=_ratios(seconds[ORTHANC], times) if ORTHANC in seconds else (),
        )
        for name, times in seconds.items()
    ]


def _run(name: str, source: Path, stored: Path, size: str) -> tuple[float, float]:
    """Let a receiver take everything once; return seconds, and its processor time an instance in ms."""
    folders = sorted((source / "timed").iterdir())
    count = sum(1 for folder in folders for _ in folder.iterdir())
    with receiving(name, stored) as (port, process):
        send(port, [source / "before"])
        time.sleep(_SETTLE_S)
        before_ms = cpu_ms(process.pid)
        taken_s = send(port, folders)
        time.sleep(_BREATH_S)  # a child of storescp's may be ending, between its own account and its parent's
        spent_ms = cpu_ms(process.pid) - before_ms
        _check_stored(name, stored, count, SIZES[size] ** 2 * 2)
    return taken_s, spent_ms / count


def _ratios(base: list[float], own: list[float]) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(base, own, strict=True))


def memory(names: list[str]) -> bool:
    """Print how much a receiver's peak memory grows with one instance of 400 MB; return whether ours stay in bounds."""
    kept = True
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory)
        write_instances(source / "small", 20, 320)
        write_instances(source / "large", 1, 1024, frames=200)
        for name in names:
            with folder_in(source, "fresh") as stored, receiving(name, stored) as (port, process):
                send(port, [source / "small"])
                before_kib = _peak_kib(process.pid)
                send(port, [source / "large"])
                growth_mib = (_peak_kib(process.pid) - before_kib) / 1024
                met = growth_mib <= MOST_GROWTH_MIB
                kept &= met or name not in BARS
                verdict = f"  at most {MOST_GROWTH_MIB}: {_said(met)}" if name in BARS else ""
                print(f"{name:18} {before_kib / 1024:7.0f} MiB + {growth_mib:7.1f} MiB{verdict}", flush=True)
    return kept


def _peak_kib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def _said(met: bool) -> str:
    return "met" if met else "NOT MET"


def _print_table(rows: list[Row]) -> None:
    for row in rows:
        low, high = min(row.ratios), max(row.ratios)
        to_orthanc = f"{statistics.median(row.to_orthanc):6.2f}" if row.to_orthanc else ""
        print(
            f"{row.size:7} {row.associations:12d}  {row.receiver:18} {statistics.median(row.seconds):8.2f} "
            f"{statistics.median(row.cpu_ms):6.2f} {statistics.median(row.ratios):6.2f}  ({low:.2f} to {high:.2f})  "
            f"{to_orthanc}",
            flush=True,
        )


def _print_bars(rows: list[Row]) -> bool:
    """Print every bar and whether it is met; return whether all are."""
    kept = True
    for row in rows:
        for peer, bar, found in row.bars():
            kept &= found >= bar
            print(
                f"{row.size:7} {row.associations:12d}  {row.receiver:18} to {peer:9} at least {bar:4.2f}, found "
                f"{found:5.2f}: {_said(found >= bar)}"
            )
    return kept


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", type=int, default=500, help="instances of 220 kB on each table row")
    parser.add_argument("--large", type=int, default=100, help="instances of 2 MB on each table row")
    parser.add_argument("--only", nargs="+", default=[], choices=list(RECEIVERS), help="besides storescp")
    parser.add_argument("--bare", action="store_true", help="our receiver without the listener's journal, too")
    parser.add_argument("--state", choices=STATES, default=STATES[0], help="of the disk that is stored to")
    parser.add_argument("--memory", action="store_true", help="one instance of 400 MB instead")
    parser.add_argument("--json", type=Path, help="write the rows for machines too")
    options = parser.parse_args()
    chosen = options.only or [name for name in RECEIVERS if options.bare or not name.startswith("bare")]
    names = list(dict.fromkeys([BASE, *chosen]))
    print(
        f"Python {platform.python_version()}, pynetdicom {pynetdicom.__version__}, {os.cpu_count()} cores, {_load()}, "
        f"{options.rounds} rounds, TCP_NODELAY=1 for all, {options.state} disk"
    )
    large = [name for name in names if not name.startswith(BASE)]  # storescp --fork receives in a child
    if options.memory:
        return 0 if memory(large) else 1
    print("size    associations  receiver            seconds cpu ms  ratio  (its range)     to Orthanc")
    rows: list[Row] = []
    counts = {"220 kB": options.small, "2 MB": options.large}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        for size, associations in [(size, number) for size in SIZES for number in ASSOCIATIONS]:
            source = Path(directory) / f"{size}-{associations}".replace(" ", "")
            write_instances(source / "before", 8, SIZES[size], series="2.25.3")
            for number in range(associations):
                write_instances(source / "timed" / f"{number}", counts[size] // associations, SIZES[size])
            found = measure(names, source, size, options.rounds, options.state)
            _print_table(found)
            print(_load(), flush=True)
            rows += found
            if options.state == "worn":
                shutil.rmtree(source)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    kept = _print_bars(rows)
    print("one instance of 400 MB: peak memory before, and what it adds")
    return 0 if memory(large) and kept else 1


if __name__ == "__main__":
    sys.exit(main())
