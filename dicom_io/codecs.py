"""Coded frames decoded: which decoder serves which transfer syntax, and what is checked before.

imagecodecs comes first where its decoders are as good as pydicom's: they are faster and release Python's lock
(ADR 0012). Whatever they do not take goes to pydicom's decoders, each named, so that every machine decodes alike, and
whose failure is the reason given. JPEG Extended streams that break the standard (old encoders wrote scan parameters
that ISO 10918-1 forbids) are tried once more with DCMTK's ``dcmdjpeg`` where that is installed.

References
----------
PS3.5 8.2, 10, A.4 and G
"""

import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    MRImageStorage,
    RLELossless,
)

from dicom_io.codestreams import check_stream, truncated
from dicom_io.headers import LIBRARY_ERRORS
from dicom_io.instances import InstanceFacts
from dicom_io.native import without_unused_bits
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
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedFrame:
    """One coded frame of an instance, which :func:`coded_frames` has checked.

    Parameters
    ----------
    stream
        What is coded, its fragments joined.
    precision
        Bits of a sample, as the stream says; Bits Stored where it does not.
    header
        The description of the frame's pixels and nothing else; shared by the frames of an instance.
    """

    stream: bytes = field(repr=False)
    precision: int
    header: Dataset = field(repr=False)


def pays_in_threads(syntax: UID) -> bool:
    """Tell whether frames of a transfer syntax are decoded faster side by side (measured: docs/measurements.md).

    Run lengths are decoded faster than threads take turns, uncompressed pixels are only copied, and the decoder of
    lossy JPEG holds Python's lock.
    """
    return syntax in (JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)


def decoded_natively(dataset: FileDataset) -> NDArray[np.integer]:
    """Decode pixel data that is not encapsulated; call it within ``quietly``.

    Returns
    -------
    signed or unsigned integers
        All frames one after another. Unused bits are dropped and signs carried up (PS3.5 8.1.1).
    """
    return _by_pydicom(dataset, "")


def decoded(frame: CodedFrame) -> NDArray[np.integer]:
    """Decode a frame, in any thread; call it within ``quietly``.

    Returns
    -------
    signed or unsigned integers (rows, columns)
        Unused bits are dropped and signs carried up (PS3.5 8.1.1).

    Raises
    ------
    MalformedInstance
        If a JPEG Extended stream needs DCMTK's tool, and that is missing or gives up too.
    RuntimeError and others
        What pydicom raises where a decoder gives up.
    """
    stored = _by_imagecodecs(frame)
    if stored is not None:
        return stored
    dataset, syntax = _with_header(frame), frame.header.file_meta.TransferSyntaxUID
    try:
        return _by_pydicom(dataset, _PLUGINS.get(syntax, "pylibjpeg"))
    except RuntimeError:
        if syntax != JPEGExtended12Bit:
            raise
    return _by_dcmtk(dataset)


def _by_imagecodecs(frame: CodedFrame) -> NDArray[np.integer] | None:
    """Return the stored values; None where pydicom shall decode the frame, or say what is wrong with it."""
    header = frame.header
    syntax = header.file_meta.TransferSyntaxUID
    is_signed, bits = header.PixelRepresentation == 1, int(header.BitsStored)
    try:
        if syntax == RLELossless:
            cells = _run_lengths(frame)
        elif syntax in (JPEGLossless, JPEGLosslessSV1):
            cells = imagecodecs.jpeg8_decode(frame.stream)
        elif syntax in JPEGLSTransferSyntaxes:
            cells = imagecodecs.jpegls_decode(frame.stream)
            bits = frame.precision if is_signed else bits  # the sign lies where the encoder saw it, as for pydicom
        elif syntax in JPEG2000TransferSyntaxes:
            cells = imagecodecs.jpeg2k_decode(frame.stream)
            bits = frame.precision
        else:
            return None
    except (RuntimeError, ValueError, struct.error):
        return None
    is_regular = cells.shape == (header.Rows, header.Columns) and 8 * cells.itemsize == header.BitsAllocated
    if not is_regular or header.PixelRepresentation not in (0, 1):
        return None
    return without_unused_bits(cells, bits, is_signed=is_signed)


def _run_lengths(frame: CodedFrame) -> NDArray[np.integer]:
    """Decode RLE Lossless: a segment for each byte of a cell, the most significant first (PS3.5 G.2)."""
    rows, columns, cell_bytes = frame.header.Rows, frame.header.Columns, frame.header.BitsAllocated // 8
    segments, *offsets = struct.unpack_from("<16L", frame.stream)
    if segments != cell_bytes:
        raise ValueError("another number of segments")
    ends = [*offsets[1:segments], len(frame.stream)]
    planes = [
        imagecodecs.packbits_decode(frame.stream[begin:end], out=rows * columns)
        for begin, end in zip(offsets, ends, strict=False)
    ]
    cells = np.stack([np.frombuffer(plane, np.uint8) for plane in planes], axis=-1)
    return cells.view(f">u{cell_bytes}").astype(f"u{cell_bytes}").reshape(rows, columns)


def _by_pydicom(dataset: Dataset, plugin: str) -> NDArray[np.integer]:
    # pydicom annotates each option as if it were the dictionary of all options
    options: dict[str, Any] = {"allow_excess_frames": False}
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    stored, _ = decoder.as_array(dataset, raw=True, decoding_plugin=plugin, **options)
    return stored


def _by_dcmtk(dataset: Dataset) -> NDArray[np.integer]:
    tool = shutil.which(_LAST_RESORT)
    if tool is None:
        raise MalformedInstance(
            "expected a JPEG Extended stream that keeps to ISO 10918-1, found one that pylibjpeg refuses; install "
            "DCMTK (dcmdjpeg, Debian package dcmtk), which reads more of them, or send the instance uncompressed"
        )
    with tempfile.TemporaryDirectory(prefix="sgmri-") as directory:
        coded, plain = Path(directory, "coded.dcm"), Path(directory, "plain.dcm")
        # It has nothing but the description of the pixels, which has been checked: that bounds what the tool may write,
        # and no identity lies in a temporary file
        dataset.save_as(coded, enforce_file_format=True)
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


def _header(dataset: FileDataset) -> Dataset:
    """Return the description of an instance's pixels and nothing else."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, "2.25.1"
    for keyword in _PIXEL_DESCRIPTION:
        if keyword in dataset:
            header[keyword] = dataset[keyword]
    return header


def _with_header(frame: CodedFrame) -> Dataset:
    """Return an instance of one frame, which bears no identity."""
    dataset = Dataset(frame.header)
    dataset.file_meta = frame.header.file_meta
    dataset.PixelData = encapsulate([frame.stream])
    return dataset


def _native_bytes(dataset: Dataset) -> int:
    return int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8


def coded_frames(dataset: FileDataset, facts: InstanceFacts) -> list[CodedFrame]:
    """Return the frames of an instance; refuse those of another size, or that cost too much memory (PS3.5 A.4).

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
    header = _header(dataset)
    coded = generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets)
    frames = [
        CodedFrame(stream=stream, precision=_precision(stream, header), header=header)
        for stream in islice(coded, count)
    ]
    if len(frames) < count:
        raise truncated("fewer frames")
    return frames


def _precision(stream: bytes, header: Dataset) -> int:
    if not stream:
        raise truncated("an empty frame")
    if header.file_meta.TransferSyntaxUID != RLELossless:
        return check_stream(stream, header.Rows, header.Columns)
    if len(stream) > 2 * _native_bytes(header) + 64:
        raise MalformedInstance("expected run-length coding to save space, found more than twice the pixels")
    return int(header.BitsStored)
