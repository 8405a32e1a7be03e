"""What the header of an instance says of each of its frames: place, time, physics and kind.

Classic instances say it once for their one frame; Enhanced ones in functional groups, of all frames or of each.

References
----------
PS3.3 C.7.6.16 (functional groups), C.8.3.1 and C.8.13 (MR, Enhanced MR)
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from dicom_io import private
from dicom_io.headers import Header

Vector = tuple[float, float, float]
"""A point in mm or a direction in patient coordinates (LPS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What the header says about one frame.

    Parameters
    ----------
    frame_number
        Counted from 1; None where the instance has a single frame.
    position_mm
        Image Position (Patient) (0020,0032): centre of the first pixel in LPS; None where missing or unreadable.
    row_cosines, column_cosines
        Image Orientation (Patient) (0020,0037), LPS.
    pixel_spacing_mm
        (between rows, between columns): Pixel Spacing (0028,0030).
    rescale_slope, rescale_intercept
        ``modality value = stored value * slope + intercept``; 1 and 0 where the header has none (PS3.3 C.8.3.1
        has none for MR), not finite where it has one that cannot be used.
    repetition_time_ms, echo_time_ms, inversion_time_ms
        Of the frame; the effective echo time of an Enhanced one.
    temporal_position
        Temporal Position Index or Identifier, counted from 1; where there is none, the time offset in s, or the
        delay from the trigger in ms. To be compared within a series.
    acquisition_number
        Frame Acquisition Number or Acquisition Number, counted from 1.
    acquisition_time
        Frame Acquisition DateTime or Acquisition Time, as written: copies have the same. Never logged.
    stack_id
        Stack ID (0020,9056) of an Enhanced frame, or empty.
    b_value
        Diffusion b-value in s/mm2; of classic instances also from the vendors' private elements.
    frame_type
        Frame Type (0008,9007) of an Enhanced frame, in capitals; empty for classic instances.
    calculation
        Volume Based Calculation Technique (0008,9207): NONE, MAX_IP, MPR, ...; empty for classic instances.
    complex_component
        Complex Image Component (0008,9208): MAGNITUDE, PHASE, REAL, IMAGINARY, MIXED or empty; of classic GE
        instances the private equal.
    contrast
        Acquisition Contrast (0008,9209) or empty.
    agent_administered
        Contrast/Bolus Agent Administered (0018,9342) of any agent, else Detected (0018,9343); None for neither.
    """

    frame_number: int | None
    position_mm: Vector | None
    row_cosines: Vector | None
    column_cosines: Vector | None
    pixel_spacing_mm: tuple[float, float] | None
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    temporal_position: float | None = None
    acquisition_number: int | None = None
    acquisition_time: str = field(default="", repr=False)
    stack_id: str = ""
    b_value: float | None = None
    frame_type: tuple[str, ...] = ()
    calculation: str = ""
    complex_component: str = ""
    contrast: str = ""
    agent_administered: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The functional groups of one frame: its own before the shared ones (PS3.3 C.7.6.16.1)."""

    frames: list[Header]
    shared: Header

    def group(self, keyword: str) -> Header:
        """Return the group's first item; one without attributes where the frame has none."""
        items = self.items(keyword)
        return items[0] if items else self.shared.item(keyword)

    def items(self, keyword: str) -> list[Header]:
        """Return all items of the group."""
        own = [item for frame in self.frames for item in frame.items(keyword)]
        return own or self.shared.items(keyword)


def either(group: Header, header: Header, keyword: str, classic: str = "") -> float | None:
    """Return a number of a functional group, or that of the data set, which may bear another keyword, or None."""
    number = group.number(keyword)
    return header.number(classic or keyword) if number is None else number


def frames_of(header: Header, shared: Header, number_of_frames: int) -> tuple[FrameFacts, ...]:
    """Return what the header says of every frame; nothing where it has several and describes none of them.

    Parameters
    ----------
    header, shared
        The data set and its shared functional groups.
    number_of_frames
        Number of Frames.
    """
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    if per_frame:
        groups = [Groups(frames=[own], shared=shared) for own in per_frame]
    elif number_of_frames == 1:
        groups = [Groups(frames=[], shared=shared)]
    else:
        return ()  # several frames that nothing describes
    single = number_of_frames == 1
    return tuple(_frame(header, group, None if single else number) for number, group in enumerate(groups, start=1))


def median_of(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _frame(header: Header, groups: Groups, frame_number: int | None) -> FrameFacts:
    orientation = _geometry(groups, header, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = _geometry(groups, header, "PlanePositionSequence", "ImagePositionPatient")
    spacing = _geometry(groups, header, "PixelMeasuresSequence", "PixelSpacing")
    frame_type, content = groups.group("MRImageFrameTypeSequence"), groups.group("FrameContentSequence")
    echo_time = groups.group("MREchoSequence").number("EffectiveEchoTime")
    slope, intercept = _rescale(groups.group("PixelValueTransformationSequence"), header)
    b_value = either(groups.group("MRDiffusionSequence"), header, "DiffusionBValue")
    timing, modifier = groups.group("MRTimingAndRelatedParametersSequence"), groups.group("MRModifierSequence")
    acquisition = content.count("FrameAcquisitionNumber") or header.count("AcquisitionNumber")
    component = frame_type.text("ComplexImageComponent") or header.text("ComplexImageComponent")
    return FrameFacts(
        frame_number=frame_number,
        position_mm=(position[0], position[1], position[2]) if len(position) == 3 else None,
        row_cosines=(orientation[0], orientation[1], orientation[2]) if len(orientation) == 6 else None,
        column_cosines=(orientation[3], orientation[4], orientation[5]) if len(orientation) == 6 else None,
        pixel_spacing_mm=(spacing[0], spacing[1]) if len(spacing) == 2 else None,
        rescale_slope=slope,
        rescale_intercept=intercept,
        repetition_time_ms=either(timing, header, "RepetitionTime"),
        inversion_time_ms=either(modifier, header, "InversionTimes", "InversionTime"),
        echo_time_ms=header.number("EchoTime") if echo_time is None else echo_time,
        temporal_position=_temporal_position(groups, header),
        acquisition_number=acquisition or None,
        acquisition_time=content.text("FrameAcquisitionDateTime") or header.text("AcquisitionTime"),
        stack_id=content.text("StackID"),
        b_value=private.b_value(header) if b_value is None else b_value,
        frame_type=frame_type.codes("FrameType"),
        calculation=frame_type.text("VolumeBasedCalculationTechnique"),
        complex_component=component or private.complex_component(header),
        contrast=frame_type.text("AcquisitionContrast") or header.text("AcquisitionContrast"),
        agent_administered=_agent_administered(groups.items("ContrastBolusUsageSequence")),
    )


def _temporal_position(groups: Groups, header: Header) -> float | None:
    content, cardiac = groups.group("FrameContentSequence"), groups.group("CardiacSynchronizationSequence")
    index = content.count("TemporalPositionIndex") or header.count("TemporalPositionIdentifier")
    if index:
        return index
    offset_s = groups.group("TemporalPositionSequence").number("TemporalPositionTimeOffset")
    return either(cardiac, header, "NominalCardiacTriggerDelayTime", "TriggerTime") if offset_s is None else offset_s


def _agent_administered(usages: list[Header]) -> bool | None:
    for keyword in ("ContrastBolusAgentAdministered", "ContrastBolusAgentDetected"):
        said = {usage.text(keyword) for usage in usages}
        if said & {"YES", "NO"}:
            return "YES" in said
    return None


def _geometry(groups: Groups, header: Header, sequence: str, keyword: str) -> tuple[float, ...]:
    return groups.group(sequence).numbers(keyword) or header.numbers(keyword)


def _rescale(transformation: Header, header: Header) -> tuple[float, float]:
    source = transformation if transformation.has("RescaleSlope") else header
    if not source.has("RescaleSlope") and not source.has("RescaleIntercept"):
        return 1.0, 0.0
    slope, intercept = source.number("RescaleSlope"), source.number("RescaleIntercept")
    # present without a usable number: marked, and refused when the pixels are asked for
    return math.nan if slope is None else slope, math.nan if intercept is None else intercept
