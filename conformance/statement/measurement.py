"""The objects of specimens, written as for a destination and counted: attributes, content and codes.

The specimens differ in whatever an object could depend on: anatomy, classic and Enhanced images, a full and a bare
header, character set, engine, findings or none, answers or none, a first and a revised reading, retraction.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from conformance import phantoms
from conformance.specimens import (
    STARTED_AT,
    all_unanswered,
    fully_answered,
    planted_reading,
    with_labels,
    without_findings,
)
from conformance.statement.attributes import Census, values
from conformance.statement.content import CodesUsed, Tree
from dicom_io import identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.key_objects import REJECTION_TITLE, encode_rejection
from dicom_io.objects.sources import PATIENT_AND_STUDY, leniently
from dicom_io.profiles import Profile
from dicom_io.results import read_object, write_object, write_results
from dicom_io.services import COMPREHENSIVE_3D_SR
from sgmri import vocabulary
from sgmri.lifecycle import Reason
from sgmri.questions import Presence
from sgmri.readings import EngineIdentity, Reading, ReportRef

REJECTION: Final = "REJECTION"
"""The kind of a rejection note, which is a key object selection beside the results."""
_ALL: Final = frozenset(ResultKind)
_WITHOUT_PAGE: Final = _ALL - {ResultKind.PDF}
"""A page takes a second or two, and depends on little."""
_REPORT: Final = frozenset({ResultKind.SR})
_MARKING: Final = frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.TEXT_SR, ResultKind.KO})
_LEGAL: Final[Mapping[str, str]] = {
    "PN": "SYNTHETIC^OTHER",
    "DA": "20260101",
    "TM": "101500",
    "AS": "042Y",
    "DS": "70",
    "CS": "YES",
    **dict.fromkeys(("LO", "SH", "LT", "ST"), "SYNTHETIC"),
}
"""A value for each representation of the attributes that are copied."""


@dataclass(slots=True)
class Measurement:
    """What was counted, by kind of object."""

    censuses: dict[str, Census] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    codes: CodesUsed = field(default_factory=CodesUsed)

    def add(self, kind: str, ds: Dataset, known: Mapping[str, frozenset[str]]) -> None:
        """Count one object that was made of images with these values."""
        self.censuses.setdefault(kind, Census(sop_class_uid=str(ds.SOPClassUID))).add(ds, known)
        self.codes.add(ds, kind)
        if "ValueType" in ds:
            self.trees.setdefault(kind, Tree()).add(ds)

    def private(self) -> tuple[str, ...]:
        """Return the private attributes of all objects."""
        return tuple(name for census in self.censuses.values() for name in census.private())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Specimen:
    reading: Reading
    paths: tuple[Path, ...]
    kinds: frozenset[ResultKind]
    is_refined: bool = False


@cache
def measure() -> Measurement:
    """Write the objects of all specimens and count them; once a process, for it takes many seconds."""
    found = Measurement()
    with tempfile.TemporaryDirectory(prefix="sgmri-statement-") as directory, leniently():
        for number, specimen in enumerate(_specimens(Path(directory))):
            out = Path(directory) / f"results-{number}"
            out.mkdir()
            profile = Profile(
                kinds=specimen.kinds, cornerstone_tracking=specimen.is_refined, refined_masks=specimen.is_refined
            )
            known = values(dcmread(path, stop_before_pixels=True) for path in specimen.paths)
            results = write_results(specimen.reading, specimen.paths, out, profile=profile)
            objects = {result.kind: read_object(result.path) for result in results}
            for kind, ds in objects.items():
                found.add(kind, ds, known)
            # one with marks and one without, whose notes refer to other kinds of objects
            for reason in REJECTION_TITLE if number < 2 else (Reason.REJECTED_QUALITY,):
                note = encode_rejection(
                    specimen.reading, list(objects.values()), reason, rejected_at=specimen.reading.started_at
                )
                write_object(note, out / "rejection.dcm")
                found.add(REJECTION, read_object(out / "rejection.dcm"), known)
    return found


def _specimens(directory: Path) -> Iterator[_Specimen]:
    reading, paths = _made("brain", directory, _fill)
    yield _Specimen(reading=fully_answered(reading), paths=paths, kinds=_ALL)
    for presence in (Presence.ABSENT, Presence.UNDETERMINED, None):
        yield _Specimen(reading=without_findings(reading, presence), paths=paths, kinds=_REPORT)
    bare, paths = _made("brain-enhanced", directory, _strip)
    engine = EngineIdentity(name="another engine", version="2", digest="ab" * 32)
    yield _Specimen(reading=replace(bare, engine=engine, is_lossy=True), paths=paths, kinds=_ALL)
    reading, paths = _made("knee", directory, _vary)
    engine = EngineIdentity(name="classical", version="3", digest="cd" * 32)
    yield _Specimen(reading=replace(reading, engine=engine), paths=paths, kinds=_WITHOUT_PAGE)
    yield _Specimen(reading=_labelled(reading), paths=paths, kinds=_MARKING)
    reading, paths = _made("brain-nonsquare", directory)
    yield _Specimen(reading=_labelled(reading), paths=paths, kinds=_MARKING)
    yield _Specimen(reading=_revised(reading), paths=paths, kinds=_ALL, is_refined=True)
    yield _Specimen(reading=all_unanswered(reading), paths=paths, kinds=_WITHOUT_PAGE)


def _made(
    name: str, directory: Path, change: Callable[[Dataset], None] = lambda ds: None
) -> tuple[Reading, tuple[Path, ...]]:
    phantom = phantoms.make(name)
    for ds in phantom.datasets:
        change(ds)
    paths = phantoms.write(phantom, directory / name)
    # Time and everything that follows from it differ between specimens
    started_at = STARTED_AT.replace(day=1 + phantoms.NAMES.index(name))
    return replace(planted_reading(phantom, paths), started_at=started_at), paths


def _fill(ds: Dataset) -> None:
    """Give a source every attribute that is copied, another character set and a time zone."""
    for keyword in PATIENT_AND_STUDY:
        if not ds.get(keyword):
            setattr(ds, keyword, _LEGAL[dictionary_VR(keyword)])
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "20"
    ds.LossyImageCompressionMethod = "ISO_15444_1"
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.TimezoneOffsetFromUTC = "+0100"


def _vary(ds: Dataset) -> None:
    """Make a source differ from the others in what these have in common."""
    ds.TimezoneOffsetFromUTC = "-0530"
    ds.DeviceSerialNumber = "1917"
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "10"
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.PositionReferenceIndicator = "PATELLA"
    pixels = ds.pixel_array[:, :-8]
    ds.Columns, ds.PixelData = pixels.shape[1], pixels.tobytes()


def _strip(ds: Dataset) -> None:
    """Leave a source only what it cannot do without."""
    for keyword in PATIENT_AND_STUDY:
        if keyword in ds and keyword != "StudyInstanceUID":
            delattr(ds, keyword)


def _labelled(reading: Reading) -> Reading:
    labels = [label for label, row in vocabulary.FINDINGS.items() if row.anatomy is reading.anatomy]
    return with_labels(reading, labels)


def _revised(reading: Reading) -> Reading:
    uids = identity.result_uids(reading)
    earlier = ReportRef(
        sop_class_uid=COMPREHENSIVE_3D_SR,
        sop_instance_uid=uids.instance(ResultKind.SR, "earlier"),
        series_instance_uid=uids.series(ResultKind.SR, "earlier"),
    )
    return replace(reading, predecessor=earlier)
