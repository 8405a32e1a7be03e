"""Faults of presentation states and key object selections."""

from typing import Final

from pydicom.dataset import Dataset

from conformance.faults import fault as part
from conformance.faults.fault import UNKNOWN_UID, Fault, collector

FAULTS: Final[list[Fault]] = []
state = collector("PR", FAULTS)
selection = collector("KO", FAULTS)


def _graphic(ds: Dataset) -> Dataset:
    for annotation in ds.GraphicAnnotationSequence:
        for graphic in annotation.get("GraphicObjectSequence") or ():
            return graphic  # type: ignore[no-any-return]
    raise part.NotApplicable


@state("graphic outside the image", "geometry-inside")
def _(ds: Dataset) -> None:
    graphic = _graphic(ds)
    graphic.GraphicData = [value + 5000 for value in graphic.GraphicData]


@state("graphic one pixel off", "geometry-same-region")
def _(ds: Dataset) -> None:
    graphic = _graphic(ds)
    graphic.GraphicData = [value - 1 for value in graphic.GraphicData]


@state("layer undefined", "geometry-layer")
def _(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].GraphicLayer = "ELSEWHERE"


@state("annotated image unknown", "reference-exists", "reference-listed")
def _(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = UNKNOWN_UID


@state("side that was not imaged", "geometry-laterality")
def _(ds: Dataset) -> None:
    part.needs(ds.get("Laterality") in ("L", "R"))
    ds.Laterality = "R" if ds.Laterality == "L" else "L"


@state("patient's sex changed", "identity-attributes")
def _(ds: Dataset) -> None:
    ds.PatientSex = "M" if ds.PatientSex == "F" else "F"


@selection("no image selected", "template-missing-item")
def _(ds: Dataset) -> None:
    ds.ContentSequence = [item for item in ds.ContentSequence if item.ValueType != "IMAGE"]


@selection("selected image of another class", "reference-class")
def _(ds: Dataset) -> None:
    part.reference(part.first(ds, None, "IMAGE")).ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


@selection("selected image not in evidence", "reference-evidence")
def _(ds: Dataset) -> None:
    part.reference(part.first(ds, None, "IMAGE")).ReferencedSOPInstanceUID = UNKNOWN_UID
