"""What is known of the instances that are handed over: who they are, where their frames lie, and in which file.

Only small, frozen facts are kept, so that a corpus of thousands of instances travels to other processes.

References
----------
PS3.3 C.7.6.2 (Image Plane), C.7.6.16.2 (functional groups: Pixel Measures, Plane Position, Plane Orientation)
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conformance.objects.subject import numbers, sequence, text

SR_MODALITIES: Final = ("SR", "KO")
SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP: Final = "1.2.840.10008.5.1.4.1.1.66.7"
PRESENTATION_STATE: Final = "1.2.840.10008.5.1.4.1.1.11.1"
KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
RESULT_CLASSES: Final = (
    *(SEGMENTATION, LABEL_MAP, KEY_OBJECTS),
    *("1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.67"),  # parametric map, real world value mapping
    *("1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2"),  # encapsulated PDF, CDA
    *(f"1.2.840.10008.5.1.4.1.1.7{end}" for end in ("", ".1", ".2", ".3", ".4")),  # secondary capture
)
"""SOP classes of what is made of images, beside every SR (88.*) and presentation state (11.*)."""
IDENTITY: Final = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    "ReferringPhysicianName",
)
"""Attributes of patient and study that a result repeats (PS3.3 C.7.1.1, C.7.2.1)."""
WANTED: Final = (
    *IDENTITY,
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "FrameOfReferenceUID"),
    *("Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
    *(
        "BodyPartExamined",
        "Laterality",
        "ImageLaterality",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    ),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID"),
)


@dataclass(frozen=True, slots=True)
class Plane:
    """Where a frame lies.

    Parameters
    ----------
    position_mm
        (x, y, z) of the first pixel's centre, LPS.
    cosines
        Of the row, then of the column direction.
    spacing_mm
        Between rows, between columns.
    """

    position_mm: tuple[float, ...]
    cosines: tuple[float, ...]
    spacing_mm: tuple[float, ...]

    def place(self, x: float, y: float) -> NDArray[np.float64]:
        """Return where a point of an SCOORD lies, in mm, LPS: its origin is the corner of the first pixel."""
        row, column = np.asarray(self.cosines[:3]), np.asarray(self.cosines[3:])
        return np.asarray(
            np.asarray(self.position_mm)
            + row * (x - 0.5) * self.spacing_mm[1]
            + column * (y - 0.5) * self.spacing_mm[0]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What is known of an instance.

    Parameters
    ----------
    path
        Its file.
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid, frame_of_reference_uid, modality
        As they stand there.
    rows, columns, frame_count
        Of its matrix; 0 where it has none.
    is_multi_frame
        Whether a reference to one of its frames needs a frame number.
    planes
        One a frame; None where the frame has no complete one.
    laterality, body_part
        L, R, or empty; Body Part Examined.
    identity
        Values of :data:`IDENTITY`; only to be compared.
    device
        Manufacturer, model, software versions, Device UID.
    is_result
        Whether it was made of images, rather than being one.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    rows: int
    columns: int
    frame_count: int
    is_multi_frame: bool
    planes: tuple[Plane | None, ...]
    laterality: str
    body_part: str
    identity: tuple[tuple[str, str], ...]
    device: tuple[str, ...]
    is_result: bool


def is_result(sop_class_uid: str, modality: str) -> bool:
    """Tell whether an instance was made of images: reports, segmentations, presentation states, captures and more."""
    prefixes = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")
    return modality in SR_MODALITIES or sop_class_uid in RESULT_CLASSES or sop_class_uid.startswith(prefixes)


def instance_of(ds: Dataset, path: Path) -> Instance:
    """Return what is known of an instance, of whose attributes those of :data:`WANTED` are enough."""
    frames = sequence(ds, "PerFrameFunctionalGroupsSequence")
    count = int(next(iter(numbers(ds, "NumberOfFrames")), 0)) or len(frames)
    sop_class, modality = text(ds, "SOPClassUID"), text(ds, "Modality")
    return Instance(
        path=path,
        sop_class_uid=sop_class,
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        study_instance_uid=text(ds, "StudyInstanceUID"),
        frame_of_reference_uid=text(ds, "FrameOfReferenceUID"),
        modality=modality,
        rows=int(next(iter(numbers(ds, "Rows")), 0)),
        columns=int(next(iter(numbers(ds, "Columns")), 0)),
        frame_count=max(count, 1) if "Rows" in ds else 0,
        is_multi_frame="NumberOfFrames" in ds,
        planes=tuple(planes_of(ds)),
        laterality=_laterality(ds),
        body_part=text(ds, "BodyPartExamined"),
        identity=tuple((keyword, text(ds, keyword)) for keyword in IDENTITY),
        device=tuple(text(ds, k) for k in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID")),
        is_result=is_result(sop_class, modality),
    )


def planes_of(ds: Dataset) -> Iterator[Plane | None]:
    """Yield the plane of every frame, from its own, the shared, or no functional groups."""
    frames = sequence(ds, "PerFrameFunctionalGroupsSequence")
    shared = sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    for group in frames or [ds]:
        places = [group, *shared, ds] if frames else [ds]
        yield _plane(
            _first(places, "PlanePositionSequence", "ImagePositionPatient"),
            _first(places, "PlaneOrientationSequence", "ImageOrientationPatient"),
            _first(places, "PixelMeasuresSequence", "PixelSpacing"),
        )


def _first(places: Iterable[Dataset], group: str, keyword: str) -> tuple[float, ...]:
    for place in places:
        for holder in (*sequence(place, group), place):
            if found := numbers(holder, keyword):
                return found
    return ()


def _plane(position: tuple[float, ...], cosines: tuple[float, ...], spacing: tuple[float, ...]) -> Plane | None:
    whole = len(position) == 3 and len(cosines) == 6 and len(spacing) == 2
    return Plane(position, cosines, spacing) if whole else None


def _laterality(ds: Dataset) -> str:
    stated = [text(ds, "ImageLaterality"), text(ds, "Laterality")]
    for group in (
        *sequence(ds, "SharedFunctionalGroupsSequence"),
        *sequence(ds, "PerFrameFunctionalGroupsSequence")[:1],
    ):
        stated += [text(item, "FrameLaterality") for item in sequence(group, "FrameAnatomySequence")]
    return next((side for side in stated if side in ("L", "R")), "")


class Corpus:
    """All instances that are handed over.

    Parameters
    ----------
    instances
        In the order of their files; of several with one SOP Instance UID the first counts.
    """

    def __init__(self, instances: Iterable[Instance]) -> None:
        self.instances = tuple(instances)
        found: dict[str, Instance] = {}
        for instance in self.instances:
            found.setdefault(instance.sop_instance_uid, instance)
        self.by_uid: Mapping[str, Instance] = found

    @cached_property
    def image_series(self) -> Mapping[str, tuple[Instance, ...]]:
        """Series Instance UID -> its images."""
        return _grouped((one.series_instance_uid, one) for one in self.by_uid.values() if not one.is_result)

    @cached_property
    def image_studies(self) -> Mapping[str, tuple[Instance, ...]]:
        """Study Instance UID -> its images."""
        return _grouped((one.study_instance_uid, one) for one in self.by_uid.values() if not one.is_result)

    def image(self, sop_instance_uid: str) -> Instance | None:
        """Return a source image; None where it is not among the files, or no image."""
        found = self.by_uid.get(sop_instance_uid)
        return None if found is None or found.is_result else found


def _grouped(pairs: Iterable[tuple[str, Instance]]) -> Mapping[str, tuple[Instance, ...]]:
    found: dict[str, list[Instance]] = {}
    for key, instance in pairs:
        found.setdefault(key, []).append(instance)
    return {key: tuple(those) for key, those in found.items()}
