"""What the header of one instance says, read tolerantly and without its pixels.

One attribute that cannot be read counts as missing; only what nothing can be done without (the UIDs, the transfer
syntax) is demanded. Texts and UIDs stay inside the facts: they are not part of any ``repr``, message or log line.

References
----------
PS3.10 7.1, PS3.3 C.7.6.16 (functional groups), C.8.3.1 and C.8.13 (MR, Enhanced MR)
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from dicom_io.frames import FrameFacts, Groups, either, frames_of, median_of
from dicom_io.headers import HEADER_BYTES, Header, Parsed, is_uid, quietly, read_file
from dicom_io.native import NativePixels
from sgmri.errors import MalformedInstance, UnsupportedSeries
from sgmri.lifecycle import Reason

MR_SOP_CLASSES = frozenset(
    {MRImageStorage, EnhancedMRImageStorage, EnhancedMRColorImageStorage, LegacyConvertedEnhancedMRImageStorage}
)
"""SOP classes whose instances count as MR images."""
COLOUR_SOP_CLASSES = frozenset({EnhancedMRColorImageStorage})
"""MR SOP classes that are colour by definition."""
_ALWAYS_LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
_PERHAPS_LOSSY = frozenset({JPEGLSNearLossless, JPEG2000, HTJ2K})
"""Transfer syntaxes that carry lossy or lossless streams (PS3.5 A.4.3, A.4.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """What the header of one instance says.

    Parameters
    ----------
    path
        The PS3.10 file.
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid, transfer_syntax_uid
        Always present and made of digits and dots only.
    frame_of_reference_uid
        Empty where missing or no UID.
    modality, photometric_interpretation
        Empty where missing.
    is_lossy
        Whether the pixels have been compressed with loss at any time, or may have been (PS3.3 C.7.6.1.1.5).
    rows, columns, samples_per_pixel, number_of_frames
        0 where missing from, or unreadable in, an object that may be no image.
    frames
        The frames that have a description: all of them in a healthy MR instance.
    image_type
        Image Type (0008,0008), in capitals.
    repetition_time_ms, echo_time_ms, inversion_time_ms, flip_angle_deg
        None where the header does not say; the median over the frames, but ``flip_angle_deg`` of the first.
    scanning_sequence
        Scanning Sequence (0018,0020); SE, GR, IR, EP derived from the Enhanced attributes.
    sequence_variant, scan_options
        (0018,0021) and (0018,0022).
    fat_suppressed
        What the Enhanced attributes or Scan Options say; None where they say nothing.
    region_texts, region_codes
        Body Part Examined; meanings and ``scheme:value`` codes of Anatomic Region Sequence.
    series_texts, study_texts, coil_texts
        Free texts that may name an anatomy. Never logged.
    instance_number
        None where missing.
    pixels
        Where uncompressed pixels lie in the file; None where they are to be decoded.
    agent_texts
        Contrast/Bolus Agent, and the meanings in its sequence (of Enhanced images, too).
    species_texts
        Patient Species Description, and the codes and meanings of Patient Species Code Sequence.
    is_quality_control
        Whether Quality Control Image (0028,0300) says that it shows a test object, beside a patient or alone.
    """

    path: Path = field(repr=False)
    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    study_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    transfer_syntax_uid: str
    frame_of_reference_uid: str = field(repr=False)
    modality: str
    photometric_interpretation: str
    is_lossy: bool
    rows: int
    columns: int
    samples_per_pixel: int
    number_of_frames: int
    frames: tuple[FrameFacts, ...] = field(repr=False)
    image_type: tuple[str, ...]
    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    flip_angle_deg: float | None
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...]
    fat_suppressed: bool | None
    region_texts: tuple[str, ...] = field(repr=False)
    region_codes: tuple[str, ...] = field(repr=False)
    series_texts: tuple[str, ...] = field(repr=False)
    study_texts: tuple[str, ...] = field(repr=False)
    coil_texts: tuple[str, ...] = field(repr=False)
    instance_number: int | None = None
    pixels: NativePixels | None = field(default=None, repr=False, compare=False)
    agent_texts: tuple[str, ...] = field(default=(), repr=False)
    species_texts: tuple[str, ...] = field(default=(), repr=False)
    is_quality_control: bool = False

    @property
    def is_mr(self) -> bool:
        """Whether this is an MR image by its SOP class."""
        return self.sop_class_uid in MR_SOP_CLASSES


def inspect(path: Path) -> InstanceFacts:
    """Read what the header of a PS3.10 file says.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    MalformedInstance
        If the file is no PS3.10 file, cannot be parsed, or lacks a UID that identifies it.
    UnsupportedSeries
        If the file is a DICOMDIR.
    IncompleteSeries
        If there is no such file.
    """
    with quietly():
        parsed = read_file(path, header_only=True, max_bytes=HEADER_BYTES)
        if Header(parsed.dataset.file_meta).text("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            raise UnsupportedSeries("expected an image, found a DICOMDIR; it is not needed", Reason.NOT_MR)
        try:
            return _facts(path, Header(parsed.dataset), parsed)
        except RecursionError:
            raise MalformedInstance("expected a parsable header, found sequences nested too deeply") from None


def _uid(header: Header, keyword: str) -> str:
    uid = header.text(keyword)
    if not is_uid(uid):
        raise MalformedInstance(f"expected a valid {keyword}, found none; the instance cannot be identified")
    return uid


def _facts(path: Path, header: Header, parsed: Parsed) -> InstanceFacts:
    shared = header.item("SharedFunctionalGroupsSequence")
    number_of_frames = header.count("NumberOfFrames") if header.has("NumberOfFrames") else 1
    frames = frames_of(header, shared, number_of_frames)
    first = Groups(frames=header.items("PerFrameFunctionalGroupsSequence")[:1], shared=shared)
    frame_of_reference_uid = header.text("FrameOfReferenceUID")
    timing, modifier = first.group("MRTimingAndRelatedParametersSequence"), first.group("MRModifierSequence")
    is_image = header.has("Rows")
    return InstanceFacts(
        path=path,
        sop_class_uid=_uid(header, "SOPClassUID"),
        sop_instance_uid=_uid(header, "SOPInstanceUID"),
        study_instance_uid=_uid(header, "StudyInstanceUID"),
        series_instance_uid=_uid(header, "SeriesInstanceUID"),
        transfer_syntax_uid=parsed.syntax,
        frame_of_reference_uid=frame_of_reference_uid if is_uid(frame_of_reference_uid) else "",
        modality=header.text("Modality"),
        photometric_interpretation=header.text("PhotometricInterpretation"),
        is_lossy=_is_lossy(header, parsed.syntax),
        rows=header.count("Rows"),
        columns=header.count("Columns"),
        samples_per_pixel=header.count("SamplesPerPixel"),
        number_of_frames=number_of_frames if is_image else 0,
        frames=frames if is_image else (),
        image_type=header.codes("ImageType"),
        repetition_time_ms=median_of(frame.repetition_time_ms for frame in frames),
        echo_time_ms=median_of(frame.echo_time_ms for frame in frames),
        inversion_time_ms=median_of(frame.inversion_time_ms for frame in frames),
        flip_angle_deg=either(timing, header, "FlipAngle"),
        scanning_sequence=_scanning_sequence(header, modifier),
        sequence_variant=header.texts("SequenceVariant"),
        scan_options=header.texts("ScanOptions"),
        fat_suppressed=_fat_suppressed(header, modifier),
        instance_number=header.count("InstanceNumber") or None,
        pixels=parsed.pixels,
        is_quality_control=header.text("QualityControlImage") in ("YES", "BOTH"),
        **_evidence(header, first),
    )


def _is_lossy(header: Header, syntax: str) -> bool:
    said = header.text("LossyImageCompression")
    # a header that says nothing of a syntax which can be either is taken for the worse
    return said == "01" or syntax in _ALWAYS_LOSSY or (said != "00" and syntax in _PERHAPS_LOSSY)


def _scanning_sequence(header: Header, modifier: Header) -> tuple[str, ...]:
    classic = header.texts("ScanningSequence")
    pulse = header.text("EchoPulseSequence")  # PS3.3 C.8.13.4: SPIN, GRADIENT, BOTH
    found = {
        "SE": pulse in ("SPIN", "BOTH"),
        "GR": pulse in ("GRADIENT", "BOTH"),
        "EP": header.text("EchoPlanarPulseSequence") == "YES",
        "IR": modifier.text("InversionRecovery") == "YES",
    }
    return tuple(dict.fromkeys([*classic, *(name for name, is_so in found.items() if is_so)]))


def _fat_suppressed(header: Header, modifier: Header) -> bool | None:
    suppression = header.text("SpectrallySelectedSuppression")  # PS3.3 C.8.13.4: FAT, WATER, FAT_AND_WATER, ...
    excitation = modifier.text("SpectrallySelectedExcitation")
    if suppression:
        return suppression.startswith("FAT") or excitation == "WATER"
    options = [option for option in header.texts("ScanOptions") if option != "OTHER"]
    return "FS" in options if options else None


def _evidence(header: Header, first: Groups) -> dict[str, tuple[str, ...]]:
    regions = [*header.items("AnatomicRegionSequence")]
    regions += first.group("FrameAnatomySequence").items("AnatomicRegionSequence")
    meanings = [text for region in regions for text in region.texts("CodeMeaning")]
    coils = [*header.texts("ReceiveCoilName"), *first.group("MRReceiveCoilSequence").texts("ReceiveCoilName")]
    codes = [f"{region.text('CodingSchemeDesignator')}:{region.text('CodeValue')}" for region in regions]
    series = ("SeriesDescription", "ProtocolName")
    study = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
    kinds = header.items("PatientSpeciesCodeSequence")
    species = [text for item in kinds for text in (*item.texts("CodeValue"), *item.texts("CodeMeaning"))]
    agents = [text for item in header.items("ContrastBolusAgentSequence") for text in item.texts("CodeMeaning")]
    return {
        "agent_texts": (*header.texts("ContrastBolusAgent"), *agents),
        "region_texts": (*header.texts("BodyPartExamined"), *meanings),
        "region_codes": tuple(codes),
        "series_texts": tuple(text for keyword in series for text in header.texts(keyword)),
        "study_texts": tuple(text for keyword in study for text in header.texts(keyword)),
        "coil_texts": tuple(coils),
        "species_texts": (*header.texts("PatientSpeciesDescription"), *species),
    }
