"""The source images of a reading, as headers: found, checked, and their geometry read.

Source headers may hold what the standard forbids (real scanners do); they are read leniently here, so that neither
an error nor a warning about them escapes, and only what was understood is handed on.

References
----------
PS3.3 C.7.6.2 (Image Plane), C.7.6.16.2.1 to C.7.6.16.2.4 (Pixel Measures, Plane Position, Plane Orientation)
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType

from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from sgmri.errors import IncompleteSeries, MalformedInstance, UnsupportedSeries
from sgmri.readings import Reading
from sgmri.volume import FrameRef, Orientation

PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex"),
    *("PatientComments", "EthnicGroup", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "RequestingService"),
    *("OtherPatientIDs", "OtherPatientNames", "Occupation", "AdmissionID"),
    *("PatientAge", "PatientSize", "PatientWeight", "AdditionalPatientHistory"),
)
"""Attributes of the Patient, General Study and Patient Study modules that results repeat verbatim (PS3.3 C.7.1.1,
C.7.2.1, C.7.2.2)."""

_IMAGE = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"),
    *("InstanceNumber", "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"),
    *("BodyPartExamined", "Laterality", "ImageLaterality"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "Rows", "Columns", "NumberOfFrames", "SliceThickness"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)

_WANTED = [*PATIENT_AND_STUDY, *_IMAGE]

_SAME_ORIENTATION = 1e-4
"""How far direction cosines of frames of one volume may differ."""


@contextmanager
def leniently() -> Iterator[None]:
    """Keep quiet about values of source headers that the standard forbids: they are not ours to judge."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\b")
        yield


def read_sources(reading: Reading, paths: Sequence[Path]) -> tuple[Dataset, ...]:
    """Read the headers of the instances that a reading rests on, in the order of its frames.

    Parameters
    ----------
    reading
        Names the instances.
    paths
        Files in PS3.10 form; files of other instances are passed over.

    Returns
    -------
    One Dataset an instance, without pixels and with the attributes that results need only.

    Raises
    ------
    MalformedInstance
        If a file cannot be parsed.
    IncompleteSeries
        If an instance of the reading is in none of the files.
    """
    headers = (_header(path) for path in paths)
    return ordered_sources(reading, tuple(header for header in headers if header is not None))


def _header(path: Path) -> Dataset | None:
    # Only the wanted attributes are parsed: a hostile or odd rest of the header is of no concern here
    try:
        with leniently():
            return dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_WANTED))
    except (InvalidDicomError, EOFError, ValueError, RecursionError) as error:
        raise MalformedInstance(
            f"expected a DICOM file in PS3.10 form, found one that fails with {type(error).__name__}; receive the "
            "series again"
        ) from None


def ordered_sources(reading: Reading, sources: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Return the sources that a reading rests on, each once, in the order of its frames.

    Raises
    ------
    IncompleteSeries
        If one is missing.
    MalformedInstance
        If they are not of the reading's study, series or matrix.
    """
    by_uid = by_instance(sources)
    wanted = tuple(dict.fromkeys(ref.sop_instance_uid for ref in reading.frames))
    missing = sum(uid not in by_uid for uid in wanted)
    if missing:
        raise IncompleteSeries(
            f"expected the headers of all {len(wanted)} instances of the reading, {missing} are missing; hand over the "
            "files that were read"
        )
    chosen = tuple(by_uid[uid] for uid in wanted)
    for source in chosen:
        found = (str(source.get("StudyInstanceUID", "")), str(source.get("SeriesInstanceUID", "")))
        if found != (reading.study_instance_uid, reading.series_instance_uid):
            raise MalformedInstance(
                "expected sources of the reading's own study and series, found another; hand over the files that were "
                "read"
            )
        if (source.get("Rows"), source.get("Columns")) != (reading.rows, reading.columns):
            raise MalformedInstance(
                "expected sources with the reading's number of rows and columns, found others; hand over the files "
                "that were read"
            )
    return chosen


def by_instance(sources: Sequence[Dataset]) -> Mapping[str, Dataset]:
    """Return the sources by SOP Instance UID."""
    with leniently():
        return MappingProxyType({str(source.get("SOPInstanceUID", "")): source for source in sources})


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGeometry:
    """Where the pixels of one source frame lie.

    Parameters
    ----------
    orientation
        Directions and pixel size.
    thickness_mm
        Slice Thickness (0018,0050); None where the source has none, or 0.
    """

    orientation: Orientation
    thickness_mm: float | None

    def lies_like(self, other: "FrameGeometry") -> bool:
        """Tell whether two frames have the same directions and pixel size."""
        mine, theirs = self.orientation, other.orientation
        mine_all = (*mine.row_cosines, *mine.column_cosines, *mine.pixel_spacing_mm)
        theirs_all = (*theirs.row_cosines, *theirs.column_cosines, *theirs.pixel_spacing_mm)
        return all(abs(a - b) <= _SAME_ORIENTATION for a, b in zip(mine_all, theirs_all, strict=True))


def frame_geometry(source: Dataset, ref: FrameRef) -> FrameGeometry:
    """Read the geometry of one frame, from the functional groups where the source is multi-frame.

    Raises
    ------
    UnsupportedSeries
        If pixel spacing or orientation is missing or no number.
    """
    with leniently():
        spacing = _numbers(source, ref, "PixelMeasuresSequence", "PixelSpacing")
        cosines = _numbers(source, ref, "PlaneOrientationSequence", "ImageOrientationPatient")
        thickness = _numbers(source, ref, "PixelMeasuresSequence", "SliceThickness")
    if len(spacing) != 2 or len(cosines) != 6:
        raise UnsupportedSeries(
            "expected Pixel Spacing and Image Orientation (Patient) for every frame, found one without; no "
            "segmentation can be placed on it"
        )
    return FrameGeometry(
        orientation=Orientation(
            row_cosines=(cosines[0], cosines[1], cosines[2]),
            column_cosines=(cosines[3], cosines[4], cosines[5]),
            pixel_spacing_mm=(spacing[0], spacing[1]),
        ),
        thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
    )


def _numbers(source: Dataset, ref: FrameRef, group: str, keyword: str) -> list[float]:
    """Return an attribute's numbers from the frame's own group, the shared group, or the top level; else none."""
    per_frame = source.get("PerFrameFunctionalGroupsSequence") or []
    shared = source.get("SharedFunctionalGroupsSequence") or []
    frame_index = (ref.frame_number or 1) - 1  # a multi-frame instance of one frame has no number, yet its groups
    items = [*per_frame[frame_index : frame_index + 1], *shared[:1]]
    places = [*(place for item in items for place in item.get(group) or []), source]
    for place in places:
        value = place.get(keyword)
        if value is None or value == "":
            continue
        try:
            numbers = [float(number) for number in (value if isinstance(value, MultiValue) else [value])]
        except (TypeError, ValueError):
            continue
        if all(isfinite(number) for number in numbers):
            return numbers
    return []
