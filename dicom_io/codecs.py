"""Compressed and native pixel data decoded: which decoder serves which transfer syntax, and what is checked before.

pydicom's decoders do the work, each named, so that every machine decodes alike. JPEG Extended streams that break the
standard (old encoders wrote scan parameters that ISO 10918-1 forbids) are tried once more with DCMTK's ``dcmdjpeg``
where that is installed.

References
----------
PS3.5 8.2, 10 and A.4
"""

import shutil
import subprocess
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
)

from dicom_io.codestreams import check_stream, truncated
from dicom_io.headers import LIBRARY_ERRORS
from dicom_io.instances import InstanceFacts
from sgmri.errors import MalformedInstance

_PLUGINS: Final = {
    RLELossless: "pydicom",  # pylibjpeg-rle panics on damaged frames, with an error that no handler may catch
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
}
"""Which decoder of pydicom's serves a transfer syntax; pylibjpeg where none is named."""
_LAST_RESORT: Final = "dcmdjpeg"
_LAST_RESORT_TIMEOUT_S: Final = 120.0
_ROOM_FOR_HEADER_BYTES: Final = 1 << 16
_PIXEL_DESCRIPTION: Final = (
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)


def decoded(dataset: FileDataset) -> NDArray[np.integer]:
    """Decode the pixel data of one instance that :func:`check_frames` has passed; call it within ``quietly``.

    Returns
    -------
    signed or unsigned integers
        All frames one after another. Unused bits are dropped and signs carried up (PS3.5 8.1.1).

    Raises
    ------
    MalformedInstance
        If a JPEG Extended stream needs DCMTK's tool, and that is missing or gives up too.
    RuntimeError and others
        What pydicom raises where a decoder gives up.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    plugin = _PLUGINS.get(syntax, "pylibjpeg") if syntax.is_encapsulated else ""
    try:
        return _by_pydicom(dataset, plugin)
    except RuntimeError:
        if syntax != JPEGExtended12Bit:
            raise
    return _by_dcmtk(dataset)


def _by_pydicom(dataset: FileDataset, plugin: str) -> NDArray[np.integer]:
    # pydicom annotates each option as if it were the dictionary of all options
    options: dict[str, Any] = {"allow_excess_frames": False}
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    stored, _ = decoder.as_array(dataset, raw=True, decoding_plugin=plugin, **options)
    return stored


def _by_dcmtk(dataset: FileDataset) -> NDArray[np.integer]:
    tool = shutil.which(_LAST_RESORT)
    if tool is None:
        raise MalformedInstance(
            "expected a JPEG Extended stream that keeps to ISO 10918-1, found one that pylibjpeg refuses; install "
            "DCMTK (dcmdjpeg, Debian package dcmtk), which reads more of them, or send the instance uncompressed"
        )
    with tempfile.TemporaryDirectory(prefix="sgmri-") as directory:
        coded, plain = Path(directory, "coded.dcm"), Path(directory, "plain.dcm")
        # Nothing but the description of the pixels, which has been checked: it bounds what the tool may write, and no
        # identity lies in a temporary file
        _bare(dataset).save_as(coded, enforce_file_format=True)
        try:
            subprocess.run(  # noqa: S603 - an absolute path and two files of ours
                [str(Path(tool).absolute()), "--quiet", str(coded), str(plain)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_LAST_RESORT_TIMEOUT_S,
                check=True,
            )
            if plain.stat().st_size > _native_bytes(dataset) + _ROOM_FOR_HEADER_BYTES:
                raise OSError("more than the pixels")
            return _by_pydicom(dcmread(plain), "")
        except (*LIBRARY_ERRORS, RuntimeError, subprocess.SubprocessError):
            raise MalformedInstance(
                "expected a decodable JPEG Extended stream, neither pylibjpeg nor DCMTK's dcmdjpeg can read it; send "
                "the instance uncompressed"
            ) from None


def _bare(dataset: FileDataset) -> Dataset:
    """Return the pixels of an instance with their description and nothing else."""
    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID, bare.SOPInstanceUID = MRImageStorage, "2.25.1"
    for keyword in _PIXEL_DESCRIPTION:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    return bare


def _native_bytes(dataset: Dataset) -> int:
    pixels = int(dataset.get("NumberOfFrames", 1)) * int(dataset.Rows) * int(dataset.Columns)
    return pixels * int(dataset.BitsAllocated) // 8


def check_frames(dataset: FileDataset, facts: InstanceFacts) -> None:
    """Refuse missing frames, and frames that would decode to another size or cost too much memory (PS3.5 A.4).

    Parameters
    ----------
    dataset
        With encapsulated pixel data.
    facts
        What its header was seen to announce.

    Raises
    ------
    MalformedInstance
        TRUNCATED_INSTANCE if frames are missing or empty.
    """
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    count = facts.number_of_frames
    is_rle = dataset.file_meta.TransferSyntaxUID == RLELossless
    frame_bytes = facts.rows * facts.columns * dataset.BitsAllocated // 8
    coded = generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets)
    found = 0
    for frame in islice(coded, count):
        found += 1
        if not frame:
            raise truncated("an empty frame")
        if is_rle and len(frame) > 2 * frame_bytes + 64:
            raise MalformedInstance("expected run-length coding to save space, found more than twice the pixels")
        if not is_rle:
            check_stream(frame, facts.rows, facts.columns)
    if found < count:
        raise truncated("fewer frames")
