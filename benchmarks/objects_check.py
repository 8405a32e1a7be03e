"""How many result objects a second are checked, the external validators included.

    pip install "sgmri[conformance]"; python -m benchmarks.objects_check [PAIRS] [--workers N]

SR and SEG of a phantom, as many pairs as told, each with UIDs of its own, all against one series of sources: the first
pair is what `sgmri read` writes. The time is that of the whole check, from finding files to the report. Fewer than 20
objects a second, or any finding, ends the command with 1.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from pydicom import dcmread

from conformance import phantoms
from conformance.objects.checking import Options, check
from conformance.objects.validators import program
from dicom_io.parallel import permitted_cores
from plugin.cli.main import main as sgmri

LEAST_PER_S = 20.0


def pairs(folder: Path, count: int, out: Path) -> None:
    """Write a pair again and again, with instance and series UIDs of the same length."""
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("s*.dcm"))}
    own: list[str] = []
    for path in sorted(folder.glob("s*.dcm")):
        ds = dcmread(path, stop_before_pixels=True)
        own += [str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID)]
    for number in range(count):
        place = out / f"{number:05}"
        place.mkdir(parents=True)
        for name, content in found.items():
            for index, uid in enumerate(own):
                new = f"2.25.{number + 1}{index}".ljust(len(uid), "7")
                content = content.replace(uid.encode(), new.encode())
            (place / name).write_bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=int, nargs="?", default=1000)
    parser.add_argument("--workers", type=int, default=permitted_cores())
    arguments = parser.parse_args()
    if program("dciodvfy") is None or program("dcentvfy") is None:
        sys.exit("expected dciodvfy and dcentvfy, found none; pip install 'sgmri[conformance]'")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantoms.write(phantoms.make("brain"), folder / "sources")
        sgmri(["read", str(folder / "sources"), "--engine", "classical", "--out", str(folder / "read")])
        pairs(next(folder.rglob("sr.dcm")).parent, arguments.pairs, folder / "pairs")
        began = time.perf_counter()
        report = check([folder / "pairs"], [folder / "sources"], Options(workers=arguments.workers))
        took_s = time.perf_counter() - began
    rate = len(report.objects) / took_s
    for finding in report.findings[:5]:
        print(f"{finding.path.parent.name}/{finding.path.name}: {finding.check}: {finding.text}")
    print(
        f"{len(report.objects)} objects in {took_s:.1f} s: {rate:.1f} a second with {arguments.workers} processes "
        f"(at least {LEAST_PER_S:g}), {len(report.findings)} findings"
    )
    return 0 if rate >= LEAST_PER_S and not report.findings else 1


if __name__ == "__main__":
    sys.exit(main())
