"""Loading a series: from files to a sorted float32 volume, beside SimpleITK and plain pydicom.

    pip install "sgmri[benchmarks]"; python -m benchmarks.loading [--rounds N] [--side PIXELS ...] [--json FILE]

sgmri      facts of every header, choice, geometry, checks, pixels: what the product does for a received series
one core   the same, the process held on one core: frames are decoded one after another
SimpleITK  GDCM's file names in order, ImageSeriesReader
pydicom    dcmread, sorted by position, pixel_array, np.stack

Square slices of 12 bits, page cache warm. The ways take turns in one process, in reversed order every second round; the
median of each counts. All ways must give the same voxels, within two grey levels for lossy JPEG; a way that cannot read
a syntax has no figure. Only ratios within one table mean something.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from scipy import ndimage

from conformance import phantoms
from dicom_io.decode import decode
from dicom_io.parallel import permitted_cores
from dicom_io.selection import choose
from dicom_io.series import describe

COUNTS = (24, 200)
SYNTAXES = (
    *(ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless),
    JPEGExtended12Bit,
)
_ENCODERS: dict[UID, Callable[[NDArray[np.uint16]], bytes]] = {
    JPEGLosslessSV1: partial(imagecodecs.jpeg8_encode, lossless=True, bitspersample=12),
    JPEGExtended12Bit: partial(imagecodecs.jpeg8_encode, level=95, bitspersample=12),
    HTJ2KLossless: imagecodecs.htj2k_encode,
}
"""For what pydicom does not encode."""
PROMISED = 1.2
"""At most so many times the time of the faster peer, for uncompressed series."""

Way = Callable[[Path], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: milliseconds a slice, the median, by wall clock and by processor; no figure for what cannot be read."""

    syntax: str
    side: int
    slices: int
    wall_ms: dict[str, float]
    cpu_ms: dict[str, float]

    def ratio(self, figures: dict[str, float]) -> float:
        """Return our time over that of the faster peer."""
        return figures["sgmri"] / min(figures[peer] for peer in ("SimpleITK", "pydicom") if peer in figures)


def with_sgmri(folder: Path) -> NDArray[np.float32]:
    """Load as the product does."""
    facts = describe(sorted(folder.iterdir()))
    choice = choose(facts)
    assert choice.anatomy is not None, choice.explanation
    return decode(facts, choice.anatomy).voxels


def on_one_core(folder: Path) -> NDArray[np.float32]:
    """Load as the product does on a machine of one core."""
    permitted = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(permitted)})
    try:
        return with_sgmri(folder)
    finally:
        os.sched_setaffinity(0, permitted)


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


WAYS: dict[str, Way] = {
    "sgmri": with_sgmri,
    "one core": on_one_core,
    "SimpleITK": with_simpleitk,
    "pydicom": with_pydicom,
}


def write_series(folder: Path, count: int, syntax: UID, side: int) -> None:
    """Write an axial brain phantom of so many slices, its instances in another order than its slices."""
    sources = [_enlarged(ds, syntax, side) for ds in phantoms.make("brain-normal").datasets]
    for number in range(count):
        ds = deepcopy(sources[number % len(sources)])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + number}"
        ds.ImagePositionPatient = [-120, -120, number]
        ds.save_as(folder / f"{number * 7919 % 100003:06d}.dcm", enforce_file_format=True)


def _enlarged(ds: Dataset, syntax: UID, side: int) -> Dataset:
    pixels = ndimage.zoom(ds.pixel_array.astype(np.float32), side / ds.Rows, order=1)
    noise = np.random.default_rng(int(ds.InstanceNumber)).normal(0, 6, pixels.shape)
    ds.Rows = ds.Columns = side
    cells = np.clip(pixels + noise, 0, 4095).astype(np.uint16)
    ds.PixelData = cells.tobytes()
    if syntax in _ENCODERS:
        ds.PixelData = encapsulate([_ENCODERS[syntax](cells)])
        ds.file_meta.TransferSyntaxUID = syntax
    elif syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    return ds


def measure(folder: Path, count: int, syntax: UID, side: int, rounds: int) -> Measured:
    """Let the ways take turns."""
    ours = with_sgmri(folder)
    ways = {name: way for name, way in WAYS.items() if _agrees(way, folder, ours, syntax)}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            begin, begin_cpu = time.perf_counter(), time.process_time()
            ways[name](folder)
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - begin_cpu)
    return Measured(
        syntax=syntax.name.split(" (")[0],
        side=side,
        slices=count,
        wall_ms={name: statistics.median(seconds) * 1000 / count for name, seconds in wall.items()},
        cpu_ms={name: statistics.median(seconds) * 1000 / count for name, seconds in cpu.items()},
    )


def _agrees(way: Way, folder: Path, ours: NDArray[np.float32], syntax: UID) -> bool:
    """Tell whether a way can read the series; it must not read it otherwise than we do."""
    try:
        voxels = way(folder)
    except RuntimeError:  # SimpleITK's
        return False
    difference = np.abs(voxels - ours).max()
    assert difference <= (2 if syntax == JPEGExtended12Bit else 0), "other voxels"
    return True


def main() -> int:
    """Measure, print the table, and say whether the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, nargs="+", default=[256, 512], help="rows and columns")
    parser.add_argument("--json", type=Path, help="write the rows for machines too")
    arguments = parser.parse_args()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    print(
        f"Python {platform.python_version()}, pydicom {pydicom.__version__}, numpy {np.__version__}, "
        f"SimpleITK {SimpleITK.Version.VersionString()}, imagecodecs {imagecodecs.__version__}; "
        f"{permitted_cores()} cores; {arguments.rounds} rounds; ms a slice"
    )
    print(
        f"{'transfer syntax':28} {'side':>4} slices "
        + " ".join(f"{name:>9}" for name in WAYS)
        + "  to the faster (cpu)"
    )
    rows = []
    for syntax, side, count in product(SYNTAXES, arguments.side, COUNTS):
        with tempfile.TemporaryDirectory() as directory:
            write_series(Path(directory), count, syntax, side)
            row = measure(Path(directory), count, syntax, side, arguments.rounds)
        rows.append(row)
        figures = " ".join(f"{row.wall_ms.get(name, math.nan):9.2f}" for name in WAYS)
        print(
            f"{row.syntax[:28]:28} {side:4d} {count:6d} {figures}  {row.ratio(row.wall_ms):.2f} "
            f"({row.ratio(row.cpu_ms):.2f})",
            flush=True,
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    kept = all(row.ratio(row.cpu_ms) <= PROMISED for row in rows if row.syntax.startswith("Explicit"))
    print(f"uncompressed within {PROMISED} times the faster peer, processor time: {'yes' if kept else 'NO'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
