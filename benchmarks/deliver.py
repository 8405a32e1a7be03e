"""Sending results: SR and SEG pairs by the product's own sender beside storescu, each on one association.

    python -m benchmarks.deliver [--rounds N] [--pairs N] [--peer storescp|Orthanc|all] [--json FILE]

sgmri       dicom_io.scu.StoreScu, as the delivery worker uses it: its association is kept open from pair to pair
storescu    DCMTK's, with every file on one association (a configuration proposes SR and SEG, which it lacks by default)

The peer is DCMTK's storescp or Orthanc as it comes, started anew for every run. Reading the files is a part of both.
TCP_NODELAY=1 for everybody: without it DCMTK waits some 40 ms for each instance. The senders take turns, in reversed
order every second round; the ratio is the median over the rounds of (storescu's time / our time), each within its
round: more is faster. storescu's time is that of its process, its start and association included, less the same for
a single C-ECHO (echoscu); ours is that of the calls, association included.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom import dcmread

from benchmarks.receivers import ENVIRONMENT
from conformance.phantoms import make, write
from dicom_io.network import Destination, echo
from dicom_io.results import write_results
from dicom_io.scu import StoreScu, sendable
from dicom_io.services import COMPREHENSIVE_3D_SR, SEGMENTATION, UNCOMPRESSED
from plugin.parts import free_port
from sgmri.errors import PeerUnavailable
from worker.engines import create_engine
from worker.pipeline import read_paths

PEERS = ("storescp", "Orthanc")
_PROFILE = f"""
[[TransferSyntaxes]]
[Uncompressed]
{chr(10).join(f"TransferSyntax{place} = {uid}" for place, uid in enumerate(UNCOMPRESSED, 1))}
[[PresentationContexts]]
[Results]
PresentationContext1 = {SEGMENTATION}\\Uncompressed
PresentationContext2 = {COMPREHENSIVE_3D_SR}\\Uncompressed
[[Profiles]]
[Results]
PresentationContexts = Results
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One peer: milliseconds a pair and ratio, round by round."""

    peer: str
    ours_ms: tuple[float, ...]
    storescu_ms: tuple[float, ...]
    ratios: tuple[float, ...]


def pairs(folder: Path, count: int) -> list[list[Path]]:
    """Write one SEG and SR, and copies with UIDs of their own."""
    from datetime import UTC, datetime

    from sgmri.settings import Worker

    source = write(make("brain"), folder / "source")
    reading = read_paths(source, create_engine("classical", Worker()), started_at=datetime.now(UTC)).reading
    made = write_results(reading, source, folder)
    copies = []
    for number in range(count):
        copies.append([folder / f"{number:04d}-{one.path.name}" for one in made])
        for one, path in zip(made, copies[-1], strict=True):
            ds = dcmread(one.path)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{one.sop_instance_uid[:50]}.{number + 1}"
            ds.save_as(path, enforce_file_format=True)
    return copies


@contextmanager
def peer(name: str, folder: Path) -> Iterator[Destination]:
    """Run a receiver with an empty folder."""
    port = free_port()
    folder.mkdir(parents=True)
    if name == "storescp":
        command = ["storescp", "--output-directory", str(folder), str(port)]
    else:
        config = folder / "orthanc.json"
        settings = {"DicomPort": port, "HttpServerEnabled": False, "Plugins": [], "DicomAlwaysAllowStore": True}
        directories = {"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")}
        config.write_text(json.dumps({**settings, **directories, "DicomAet": "PEER"}))
        command = [shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin") or "Orthanc", str(config)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=quiet, stderr=quiet)
    destination = Destination(ae_title="PEER", host="127.0.0.1", port=port)
    try:
        for _ in range(300):
            try:
                echo(destination)
                break
            except PeerUnavailable:
                time.sleep(0.1)
        yield destination
    finally:
        process.terminate()
        process.wait()


def ours(destination: Destination, sets: list[list[Path]]) -> float:
    """Send the pairs as the delivery worker does; return seconds."""
    begin = time.perf_counter()
    with closing(StoreScu(destination)) as scu:
        for paths in sets:
            outcomes = [refusal for _, refusal in scu.store([sendable(path) for path in paths])]
            assert outcomes == [None] * len(paths)
    return time.perf_counter() - begin


def storescu(destination: Destination, sets: list[list[Path]], profile: Path) -> float:
    """Send all files with storescu on one association; return seconds, less those of an echoscu."""
    address = ["--call", "PEER", destination.host, str(destination.port)]
    files = [str(path) for paths in sets for path in paths]
    begin = time.perf_counter()
    subprocess.run(["echoscu", *address], env=ENVIRONMENT, check=True)
    middle = time.perf_counter()
    command = ["storescu", "--config-file", str(profile), "Results", *address, *files]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return time.perf_counter() - middle - (middle - begin)


def compare(name: str, sets: list[list[Path]], rounds: int, folder: Path) -> Row:
    """Let the two senders take turns."""
    profile = folder / "storescu.cfg"
    profile.write_text(_PROFILE)
    seconds: dict[str, list[float]] = {"ours": [], "storescu": []}
    senders: dict[str, Callable[[Destination], float]] = {
        "ours": lambda destination: ours(destination, sets),
        "storescu": lambda destination: storescu(destination, sets, profile),
    }
    for number in range(rounds + 1):
        for sender in sorted(senders, reverse=bool(number % 2)):
            with peer(name, folder / f"{name}-{number}-{sender}") as destination:
                taken = senders[sender](destination)
            shutil.rmtree(folder / f"{name}-{number}-{sender}")
            if number:  # the first round warms up
                seconds[sender].append(1000 * taken / len(sets))
    ratios = [theirs / mine for mine, theirs in zip(seconds["ours"], seconds["storescu"], strict=True)]
    return Row(
        peer=name,
        ours_ms=tuple(seconds["ours"]),
        storescu_ms=tuple(seconds["storescu"]),
        ratios=tuple(ratios),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--peer", choices=[*PEERS, "all"], default="all")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="sgmri-deliver-") as name:
        folder = Path(name)
        sets = pairs(folder / "pairs", arguments.pairs)
        sizes = ", ".join(f"{path.name.partition('-')[2]} {path.stat().st_size} bytes" for path in sets[0])
        print(f"{len(sets)} pairs of {sizes}; {arguments.rounds} rounds; load {os.getloadavg()[0]:.1f}\n")
        print("| peer | ours, ms a pair | storescu, ms a pair | ratio (paired median) | from | to |")
        print("|---|---|---|---|---|---|")
        for one in PEERS if arguments.peer == "all" else (arguments.peer,):
            row = compare(one, sets, arguments.rounds, folder)
            rows.append(row)
            median = statistics.median
            print(
                f"| {row.peer} | {median(row.ours_ms):.1f} | {median(row.storescu_ms):.1f} | "
                f"{median(row.ratios):.2f} | {min(row.ratios):.2f} | {max(row.ratios):.2f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
