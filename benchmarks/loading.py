"""Loading a series: from files to a sorted float32 volume, beside SimpleITK and plain pydicom.

    pip install "sgmri[benchmarks]"; python -m benchmarks.loading [--rounds N] [--json FILE]

sgmri      facts of every header, choice, geometry, checks, pixels: what the product does for a received series
SimpleITK  GDCM's file names in order, ImageSeriesReader
pydicom    dcmread, sorted by position, pixel_array, np.stack

Slices of 384 x 384 and 12 bits, page cache warm. The ways take turns in one process, in reversed order every second
round; the best round of each counts. All ways must give the same voxels. Only ratios within one table mean something.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from scipy import ndimage

from conformance import phantoms
from dicom_io.decode import decode
from dicom_io.selection import choose
from dicom_io.series import describe

SIDE = 384
COUNTS = (24, 200)
SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
PROMISED = 1.2
"""At most so many times the time of the faster peer, for uncompressed series."""

Way = Callable[[Path], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: milliseconds a slice, best round, wall clock and processor."""

    syntax: str
    slices: int
    wall_ms: dict[str, float]
    cpu_ms: dict[str, float]

    def ratio(self, figures: dict[str, float]) -> float:
        """Return our time over that of the faster peer."""
        return figures["sgmri"] / min(figures["SimpleITK"], figures["pydicom"])


def with_sgmri(folder: Path) -> NDArray[np.float32]:
    """Load as the product does."""
    facts = describe(sorted(folder.iterdir()))
    choice = choose(facts)
    assert choice.anatomy is not None, choice.explanation
    return decode(facts, choice.anatomy).voxels


def with_simpleitk(folder: Path) -> NDArray[np.float32]:
    """Load with ITK's series reader."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute()), dtype=np.float32)


def with_pydicom(folder: Path) -> NDArray[np.float32]:
    """Load with pydicom alone, trusting everything."""
    datasets = [pydicom.dcmread(path) for path in folder.iterdir()]
    datasets.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    return np.stack([ds.pixel_array for ds in datasets]).astype(np.float32)


WAYS: dict[str, Way] = {"sgmri": with_sgmri, "SimpleITK": with_simpleitk, "pydicom": with_pydicom}


def write_series(folder: Path, count: int, syntax: UID) -> None:
    """Write an axial brain phantom of so many slices, its instances in another order than its slices."""
    sources = [_enlarged(ds, syntax) for ds in phantoms.make("brain-normal").datasets]
    for number in range(count):
        ds = deepcopy(sources[number % len(sources)])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + number}"
        ds.ImagePositionPatient = [-120, -120, number]
        ds.save_as(folder / f"{number * 7919 % 100003:06d}.dcm", enforce_file_format=True)


def _enlarged(ds: Dataset, syntax: UID) -> Dataset:
    pixels = ndimage.zoom(ds.pixel_array.astype(np.float32), SIDE / ds.Rows, order=1)
    noise = np.random.default_rng(int(ds.InstanceNumber)).normal(0, 6, pixels.shape)
    ds.Rows = ds.Columns = SIDE
    ds.PixelData = np.clip(pixels + noise, 0, 4095).astype(np.uint16).tobytes()
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    return ds


def measure(folder: Path, count: int, syntax: UID, rounds: int) -> Measured:
    """Let the ways take turns."""
    first = {name: way(folder) for name, way in WAYS.items()}
    for name, voxels in first.items():
        assert np.array_equal(voxels, first["sgmri"]), f"{name} gives other voxels"
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(rounds):
        for name in list(WAYS)[:: 1 if turn % 2 else -1]:
            begin, begin_cpu = time.perf_counter(), time.process_time()
            WAYS[name](folder)
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - begin_cpu)
    return Measured(
        syntax=syntax.name.split(" (")[0],
        slices=count,
        wall_ms={name: min(seconds) * 1000 / count for name, seconds in wall.items()},
        cpu_ms={name: min(seconds) * 1000 / count for name, seconds in cpu.items()},
    )


def main() -> int:
    """Measure, print the table, and say whether the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the rows for machines too")
    arguments = parser.parse_args()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    print(
        f"Python {platform.python_version()}, pydicom {pydicom.__version__}, numpy {np.__version__}, "
        f"SimpleITK {SimpleITK.Version.VersionString()}; {arguments.rounds} rounds; ms a slice"
    )
    print(
        f"{'transfer syntax':36} slices {'sgmri':>7} {'SimpleITK':>10} {'pydicom':>8}  to the faster (processor time)"
    )
    rows = []
    for syntax in SYNTAXES:
        for count in COUNTS:
            with tempfile.TemporaryDirectory() as directory:
                write_series(Path(directory), count, syntax)
                row = measure(Path(directory), count, syntax, arguments.rounds)
            rows.append(row)
            print(
                f"{row.syntax[:36]:36} {count:6d} {row.wall_ms['sgmri']:7.2f} {row.wall_ms['SimpleITK']:10.2f} "
                f"{row.wall_ms['pydicom']:8.2f}  {row.ratio(row.wall_ms):.2f} ({row.ratio(row.cpu_ms):.2f})",
                flush=True,
            )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    kept = all(row.ratio(row.cpu_ms) <= PROMISED for row in rows if row.syntax.startswith("Explicit"))
    print(f"uncompressed within {PROMISED} times the faster peer, processor time: {'yes' if kept else 'NO'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
