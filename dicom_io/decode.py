"""From instances on disk to a volume: pixels decoded to modality values, frames in spatial order, all within limits.

Every claim of a header is checked against the limits and against the file before memory is taken for it, and every
failure is a :class:`sgmri.errors.SeriesError` with a coded reason.

References
----------
PS3.3 C.7.6.3.1 (pixel description), C.11.1 (rescale); PS3.5 8 and A.4
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from dicom_io.codecs import CodedFrame, coded_frames, decoded, decoded_natively, pays_in_threads
from dicom_io.codestreams import truncated
from dicom_io.frames import FrameFacts
from dicom_io.headers import HEADER_BYTES, LIBRARY_ERRORS, quietly, read_file
from dicom_io.instances import InstanceFacts
from dicom_io.native import are_low_bits, read
from dicom_io.parallel import permitted_cores, run_all
from dicom_io.series import SeriesFacts
from dicom_io.stacking import Limits, arrange, check_size
from sgmri.errors import MalformedInstance, UnsupportedSeries
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, FrameRef, Volume

__all__ = ["Limits", "decode", "decode_frames", "stored_frames"]

_log = logging.getLogger(__name__)

_Stored = Callable[[], NDArray[np.integer]]
"""Decodes one frame: (rows, columns)."""


def decode(facts: SeriesFacts, anatomy: Anatomy, limits: Limits | None = None) -> Volume:
    """Decode a series to a volume.

    Parameters
    ----------
    facts
        The series, or the facts of the sub-volume that :func:`dicom_io.selection.choose` took.
    anatomy
        What :func:`dicom_io.selection.choose` took it for.
    limits
        How large it may be; checked before memory is taken.

    Raises
    ------
    UnsupportedSeries, IncompleteSeries, MalformedInstance
        As :func:`dicom_io.stacking.arrange` and :func:`stored_frames`; also if a rescale cannot be used.
    """
    limits = limits or Limits()
    stack = arrange(facts, limits)
    if stack.missing:
        _log.warning("%d slices seem to be missing between %d", stack.missing, len(stack.frames))
    return Volume(
        voxels=decode_frames(stack.frames, limits),
        frames=tuple(_reference(owner, frame) for owner, frame in stack.frames),
        orientation=stack.orientation,
        slice_spacing_mm=stack.slice_spacing_mm,
        frame_of_reference_uid=facts.images[0].frame_of_reference_uid,
        study_instance_uid=facts.study_instance_uid,
        series_instance_uid=facts.series_instance_uid,
        anatomy=anatomy,
        weighting=facts.weighting,
        fat_suppressed=facts.fat_suppressed,
        is_lossy=any(one.is_lossy for one in facts.images),
        anatomy_certainty=facts.certainty,
    )


def decode_frames(frames: Sequence[tuple[InstanceFacts, FrameFacts]], limits: Limits) -> NDArray[np.float32]:
    """Decode frames to modality values, more is brighter.

    Parameters
    ----------
    frames
        Of one matrix and grey scale, as :class:`dicom_io.stacking.Stack` holds them, or some of these; at least one.
    limits
        How large an instance may be.

    Returns
    -------
    float32 (frames, rows, columns)
        In the order given.

    Raises
    ------
    UnsupportedSeries, MalformedInstance
        As :func:`stored_frames`; also if a rescale cannot be used.
    """
    image, _ = frames[0]
    voxels = np.empty((len(frames), image.rows, image.columns), dtype=np.float32)
    places: dict[str, list[int]] = {}
    for frame_index, (owner, _) in enumerate(frames):
        places.setdefault(owner.sop_instance_uid, []).append(frame_index)

    def fill(frame_index: int, stored: _Stored) -> None:
        voxels[frame_index] = _modality_values(stored(), frames[frame_index][1])

    jobs = (
        partial(fill, frame_index, stored[(frames[frame_index][1].frame_number or 1) - 1])
        for frame_indices in places.values()
        for stored in [_frames(frames[frame_indices[0]][0], limits)]
        for frame_index in frame_indices
    )
    # around all threads: what it changes belongs to the process
    with quietly():
        run_all(jobs, permitted_cores() if pays_in_threads(UID(image.transfer_syntax_uid)) else 1)
    if image.photometric_interpretation == "MONOCHROME1":
        _turn_grey_scale(voxels)
    return voxels


def _turn_grey_scale(voxels: NDArray[np.float32]) -> None:
    """Make more brighter, in place, where the lowest value is meant to be white (MONOCHROME1, PS3.3 C.7.6.3.1.2).

    The standard turns the display round after rescale and VOI, so that modality values are mirrored here and not
    stored ones: with a rescale of its own for each frame, stored values would be mirrored each at another place.
    The range of the volume stays as it is.
    """
    np.subtract(voxels.min() + voxels.max(), voxels, out=voxels)


def _reference(owner: InstanceFacts, frame: FrameFacts) -> FrameRef:
    assert frame.position_mm is not None  # arrange() has refused frames without one
    return FrameRef(
        sop_class_uid=owner.sop_class_uid,
        sop_instance_uid=owner.sop_instance_uid,
        frame_number=frame.frame_number,
        position_mm=frame.position_mm,
    )


def _modality_values(stored: NDArray[np.integer], frame: FrameFacts) -> NDArray[np.number[Any]]:
    slope, intercept = frame.rescale_slope, frame.rescale_intercept
    if (slope, intercept) == (1.0, 0.0):
        return stored  # at most 16 bits: exact in float32
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise MalformedInstance("expected a finite Rescale Slope other than 0 and a finite intercept, found others")
    values = stored.astype(np.float64) * slope + intercept
    if np.abs(values).max() > np.finfo(np.float32).max:
        raise MalformedInstance("expected modality values within float32, found larger ones; the rescale is wrong")
    return values


def stored_frames(facts: InstanceFacts, limits: Limits | None = None) -> NDArray[np.integer]:
    """Decode the stored values of one instance, unused bits removed.

    Parameters
    ----------
    facts
        The instance, as :func:`dicom_io.instances.inspect` read it.
    limits
        How large it may be.

    Returns
    -------
    signed or unsigned integers (frames, rows, columns)
        In the instance's own order.

    Raises
    ------
    MalformedInstance
        If the pixels cannot be decoded; TRUNCATED_INSTANCE if they end too early.
    UnsupportedSeries
        COLOUR, or TOO_LARGE.
    """
    with quietly():
        return np.stack([stored() for stored in _frames(facts, limits or Limits())])


def _frames(facts: InstanceFacts, limits: Limits) -> list[_Stored]:
    """Return what decodes each frame of an instance, after all checks that need no decoder; use it in ``quietly``."""
    check_size([facts], limits)
    if facts.samples_per_pixel != 1:
        raise UnsupportedSeries("expected one sample for each pixel, found several", Reason.COLOUR)
    native = read(facts.path, facts.pixels) if facts.pixels is not None else None
    if native is None:
        # What is deflated may not become more than its own matrix (of 16 bits) and a header need
        needed_bytes = 2 * facts.number_of_frames * facts.rows * facts.columns + HEADER_BYTES
        parsed = read_file(facts.path, header_only=False, max_bytes=min(needed_bytes, limits.max_instance_bytes))
        with _reasoned(parsed.syntax):
            _check_pixel_data(parsed.dataset, facts, limits)
            if parsed.dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                return [partial(_decoded, frame) for frame in coded_frames(parsed.dataset, facts)]
            native = decoded_natively(parsed.dataset).reshape(facts.number_of_frames, facts.rows, facts.columns)
    return [partial(np.asarray, frame) for frame in native]


def _decoded(frame: CodedFrame) -> NDArray[np.integer]:
    with _reasoned(frame.header.file_meta.TransferSyntaxUID):
        stored = decoded(frame)
        return stored.reshape(frame.header.Rows, frame.header.Columns)


@contextmanager
def _reasoned(syntax: str) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise MalformedInstance("expected decodable pixels, found sequences nested too deeply") from None
    except (*LIBRARY_ERRORS, RuntimeError, StopIteration) as error:
        raise MalformedInstance(
            f"expected decodable pixels{_named(syntax)}, the decoder gave up with {type(error).__name__}"
        ) from None


def _named(syntax: str) -> str:
    # only a UID of the standard may appear in a message
    return f" (transfer syntax {syntax})" if UID(syntax).is_transfer_syntax else ""


def _check_pixel_data(dataset: FileDataset, facts: InstanceFacts, limits: Limits) -> None:
    """Compare what the decoder will see with the facts, and the pixel data's length with both."""
    if "Rows" not in dataset:
        # pydicom drops the whole data set when encapsulated pixel data ends without its delimiter
        raise truncated("no end of it")
    seen = (dataset.Rows, dataset.Columns, int(dataset.get("NumberOfFrames", 1)), dataset.SamplesPerPixel)
    if seen != (facts.rows, facts.columns, facts.number_of_frames, facts.samples_per_pixel):
        raise MalformedInstance("expected the matrix that was inspected, found another; the file has changed")
    allocated, stored, high = dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit
    if not are_low_bits(allocated, stored, high):
        raise MalformedInstance("expected 8 or 16 bits allocated and the stored bits at their low end, found others")
    length = _length_of_pixel_data(dataset, facts)
    expected = facts.number_of_frames * facts.rows * facts.columns * allocated // 8
    native = not dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if length == 0 or (native and length < expected):
        raise truncated("less")
    if length > limits.max_instance_bytes:
        raise UnsupportedSeries(
            f"expected at most {limits.max_instance_bytes} bytes of pixel data, found more", Reason.TOO_LARGE
        )


def _length_of_pixel_data(dataset: FileDataset, facts: InstanceFacts) -> int:
    """Return how many bytes there are, without reading those still on disk."""
    # pydicom annotates only what comes back for elements that were accessed before
    element: object = dataset.get_item("PixelData", keep_deferred=True) if "PixelData" in dataset else None
    if not isinstance(element, RawDataElement):
        return 0
    if element.value is None and element.length:  # long, hence left on disk; its length field may lie
        return min(element.length, facts.path.stat().st_size - element.value_tell)
    return len(element.value or b"")
