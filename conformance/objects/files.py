"""Files found and read: whatever is broken becomes a finding, and nothing is read without a bound.

References
----------
PS3.10 7.1 (file meta information), PS3.5 A.5 (deflated data sets)
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from conformance.objects.findings import Check, Finding, Group, Severity
from dicom_io.objects.sources import leniently
from sgmri.errors import ConfigError

READABLE: Final = Check(
    name="file-readable",
    group=Group.FILE,
    says="a DICOM file in PS3.10 form that can be read to its end",
    source="PS3.10 7.1",
)
BOUNDED: Final = Check(
    name="file-bounded",
    group=Group.FILE,
    says=f"at most {(1 << 30) >> 20} MiB, inflated too",
    source="a limit of this program",
)
MOST_BYTES: Final = 1 << 30
MOST_FILES: Final = 200_000
_PREAMBLE_BYTES: Final = 132
_OTHER_SUFFIXES: Final = frozenset(
    [
        ".txt",
        ".md",
        ".json",
        ".xml",
        ".html",
        ".css",
        ".js",
        ".csv",
        ".tsv",
        ".toml",
        ".yaml",
        ".yml",
        ".pdf",
        ".png",
        ".jpg",
        ".jpeg",
        ".log",
        ".py",
        ".zip",
        ".gz",
    ]
)
"""Documents that lie beside objects; they are passed over."""


def find(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files named, and those in the folders named, each once.

    Raises
    ------
    ConfigError
        If a path is not there, or there are too many files.
    """
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: expected a file or folder, found nothing")
        inside = path.is_dir()
        for file in sorted(path.rglob("*")) if inside else [path]:
            if (inside and file.suffix.lower() in _OTHER_SUFFIXES) or not file.is_file() or file.resolve() in seen:
                continue
            seen.add(file.resolve())
            if len(seen) > MOST_FILES:
                raise ConfigError(f"{path}: expected at most {MOST_FILES} files, found more; check them in parts")
            yield file


def read(path: Path, *, only: Sequence[str] | None = None) -> Dataset | Finding:
    """Read a file; a finding where that cannot be done.

    Parameters
    ----------
    path
        The file.
    only
        Keywords of the attributes that are wanted, which leaves pixels out; None for all of them.
    """
    try:
        with leniently():
            refusal = _refusal(path)
            if refusal is not None:
                return refusal
            ds = dcmread(path, specific_tags=None if only is None else list(only), stop_before_pixels=only is not None)
            for element in ds:  # values are converted when asked for: errors of conversion belong here
                _ = element.value
            return ds
    except Exception as error:  # noqa: BLE001 -- the border to hostile input: pydicom has errors of its own
        return READABLE.found("", f"a file that fails with {type(error).__name__}")


def _refusal(path: Path) -> Finding | None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        return BOUNDED.found("", f"{size >> 20} MiB")
    with path.open("rb") as stream:
        start = stream.read(_PREAMBLE_BYTES)
    if start[128:] != b"DICM":
        return READABLE.found("", "a file without the prefix DICM", severity=Severity.ERROR)
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian and _inflates_too_far(path):
        return BOUNDED.found("", "a deflated data set that grows beyond that")
    return None


def _inflates_too_far(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(_PREAMBLE_BYTES)
        header = stream.read(12)  # (0002,0000) UL: the length of the rest of the group
        stream.seek(_PREAMBLE_BYTES + 12 + int(struct.unpack("<L", header[8:])[0]))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        grown = 0
        while piece := stream.read(1 << 16):
            while piece:
                grown += len(inflater.decompress(piece, 1 << 20))
                piece = inflater.unconsumed_tail
                if grown > MOST_BYTES:
                    return True
    return False
