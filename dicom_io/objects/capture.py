"""The secondary capture: pictures of the frames with boxes, boxes and a banner burnt in, for what shows images only.

The last resort: nothing in it can be switched off, measured or read by software. One multi-frame object holds all
pictures: viewers scroll through it in order, and it is stored, committed and rejected as one; a PACS that does not take
Multi-frame True Color refuses it whole, and the journal says so. Grey values are windowed by percentiles of the frames
that are shown (:func:`dicom_io.objects.pictures.windowed`), not by a window of the source, which many series lack.

References
----------
PS3.3 A.8.5 (Multi-frame True Color Secondary Capture IOD), C.8.6.3 (SC Multi-frame Image), C.8.6.4 (SC Multi-frame
Vector)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from dicom_io import codes
from dicom_io.kinds import ResultKind
from dicom_io.objects import envelope, pictures
from dicom_io.objects.marks import Mark, marks_by_frame
from dicom_io.objects.sources import by_instance, frame_geometry, leniently, ordered_sources
from sgmri.geometry import FrameScaling
from sgmri.readings import Reading
from sgmri.volume import FrameRef, Orientation

_DERIVATION: Final = "Windowed by percentiles, square pixels, AI boxes and labels burnt in. Not for diagnosis"
_TOWARDS: Final = ("LR", "PA", "HF")
"""Directions along the axes of the patient, growing and falling (PS3.3 C.7.6.1.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedPicture:
    """One picture of a secondary capture, as read back.

    Parameters
    ----------
    sop_instance_uid, frame_number
        The source frame; frame number None for a single-frame source.
    pixels
        uint8 (rows, columns, 3), RGB.
    """

    sop_instance_uid: str
    frame_number: int | None
    pixels: NDArray[np.uint8]


def encode_capture(
    reading: Reading, sources: Sequence[Dataset], *, pixels: Callable[[Sequence[int]], NDArray[np.float32]]
) -> Dataset | None:
    """Burn a reading's boxes and labels into pictures of its frames.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.
    pixels
        Decodes frames, 0-based: float32 (frames, rows, columns), modality values.

    Returns
    -------
    None where the reading holds no box.

    Raises
    ------
    UnsupportedSeries
        If the source has no pixel spacing or orientation.
    SeriesError
        If the sources are not those of the reading, or their pixels cannot be decoded.
    """
    if not reading.tracklets:
        return None
    sources = ordered_sources(reading, sources)
    marks = marks_by_frame(reading)
    orientation = _orientation(reading, sources)
    scaling = pictures.scaling_of(reading, orientation)
    made = [
        _with_banner(pictures.marked_frame(grey, scaling, marks[frame_index]), reading, frame_index)
        for frame_index, grey in zip(marks, pictures.windowed(pixels(tuple(marks))), strict=True)
    ]
    ds = envelope.new_object(
        reading,
        ResultKind.SC,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
        modality="OT",
        series_number=envelope.SC_SERIES_NUMBER,
    )
    _place_pixels(ds, np.stack(made))
    _describe(ds, reading, [reading.frames[index] for index in marks], orientation)
    envelope.place_body_part(ds, reading, sources[0])
    envelope.seal(ds, reading, sources[0], texts=[envelope.engine_text(reading)])
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = ds.ContentDate, ds.ContentTime
    return ds


def _orientation(reading: Reading, sources: Sequence[Dataset]) -> Orientation:
    ref = reading.frames[0]
    return frame_geometry(by_instance(sources)[ref.sop_instance_uid], ref).orientation


def _with_banner(picture: Image.Image, reading: Reading, frame_index: int) -> NDArray[np.uint8]:
    # below the picture, so that nothing of the patient is covered
    strip = pictures.banner(picture.width, _caption(reading, frame_index))
    return np.concatenate([np.asarray(picture), np.asarray(strip)])


def _caption(reading: Reading, frame_index: int) -> str:
    # as many digits in each, so that all pictures get the same height
    of = len(reading.frames)
    return f"sgmri AI boxes, frame {frame_index + 1:0{len(str(of))}} of {of}, {envelope.engine_text(reading)}"


def _place_pixels(ds: Dataset, frames: NDArray[np.uint8]) -> None:
    ds.NumberOfFrames, ds.Rows, ds.Columns, ds.SamplesPerPixel = frames.shape
    ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if len(frames) > 1:  # forbidden for a single one (PS3.3 C.7.6.6)
        ds.FrameIncrementPointer = Tag("PageNumberVector")
        ds.PageNumberVector = list(range(1, len(frames) + 1))
    ds.PixelData = frames.tobytes() + b"\0" * (frames.size % 2)


def _describe(ds: Dataset, reading: Reading, refs: Sequence[FrameRef], orientation: Orientation) -> None:
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.BurnedInAnnotation = "YES"
    ds.LossyImageCompression = "01" if reading.is_lossy else "00"
    ds.DerivationDescription = _DERIVATION
    ds.PatientOrientation = [_towards(orientation.row_cosines), _towards(orientation.column_cosines)]
    ds.SourceImageSequence = DicomSequence([_source(ref) for ref in refs])


def _towards(cosines: Sequence[float]) -> str:
    axis = int(np.argmax(np.abs(cosines)))
    return _TOWARDS[axis][0 if cosines[axis] > 0 else 1]


def _source(ref: FrameRef) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ref.sop_class_uid, ref.sop_instance_uid
    if ref.frame_number is not None:
        item.ReferencedFrameNumber = ref.frame_number
    item.PurposeOfReferenceCodeSequence = [codes.written(codes.SOURCE_IMAGE)]
    return item


def decode_capture(ds: Dataset) -> tuple[DecodedPicture, ...]:
    """Read the pictures of a secondary capture of this product, in order.

    Raises
    ------
    MalformedInstance
        If the object is no secondary capture, or lacks what :func:`encode_capture` writes.
    """
    envelope.require_class(ds, MultiFrameTrueColorSecondaryCaptureImageStorage, what="a secondary capture", kind="SC")
    with envelope.as_written("a secondary capture"):
        with leniently():
            frames = np.asarray(ds.pixel_array, dtype=np.uint8).reshape(-1, ds.Rows, ds.Columns, 3)
        return tuple(
            DecodedPicture(
                sop_instance_uid=str(source.ReferencedSOPInstanceUID),
                frame_number=None if "ReferencedFrameNumber" not in source else int(source.ReferencedFrameNumber),
                pixels=pixels,
            )
            for source, pixels in zip(ds.SourceImageSequence, frames, strict=True)
        )


def shows(picture: DecodedPicture, reading: Reading, frame_index: int, marks: Sequence[Mark]) -> bool:
    """Tell whether a picture shows exactly these marks: all else of its frame is grey, and the banner is whole."""
    strip = np.asarray(pictures.banner(picture.pixels.shape[1], _caption(reading, frame_index)))
    rows, columns = picture.pixels.shape[0] - strip.shape[0], picture.pixels.shape[1]
    if rows < reading.rows or columns < reading.columns:
        return False
    scaling = FrameScaling(
        scale_x=columns / reading.columns,
        scale_y=rows / reading.rows,
        source_rows=reading.rows,
        source_columns=reading.columns,
    )
    over = np.asarray(pictures.drawn(scaling, marks))
    frame, is_drawn = picture.pixels[:rows], over[..., 3] > 0
    is_grey = (frame == frame[..., :1]).all(axis=2)
    return bool(
        is_grey[~is_drawn].all()
        and (frame[is_drawn] == over[is_drawn][:, :3]).all()
        and (picture.pixels[rows:] == strip).all()
    )
