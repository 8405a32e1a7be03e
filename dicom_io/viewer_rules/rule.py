"""One rule, and the parts of objects that rules look at.

An object of another product may lack anything: what is missing is an empty sequence here, and the rule that needs it
is broken.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_io.codes import IMAGING_MEASUREMENTS, MEASUREMENT_GROUP
from dicom_io.objects import tree
from sgmri.vocabulary import CodedConcept

SEGMENTATION_CLASSES: Final = (SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation and Label Map Segmentation."""
_CORNERS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one viewer needs of one kind of object.

    Parameters
    ----------
    name
        Begins with the viewer's name.
    why
        What the viewer does with an object that breaks it, and the version in which that was seen or read.
    applies_to, holds
        Functions of an object.
    """

    name: str
    why: str
    applies_to: Callable[[Dataset], bool]
    holds: Callable[[Dataset], bool]


def is_measurement_report(ds: Dataset) -> bool:
    """Tell whether an object is an SR that says, or looks like, TID 1500: it has Imaging Measurements."""
    return is_report(ds) and (template_of(ds) == "1500" or tree.first(ds, IMAGING_MEASUREMENTS) is not None)


def is_report(ds: Dataset) -> bool:
    """Tell whether an object is an SR of any template."""
    return bool(ds.get("Modality") == "SR")


def is_segmentation(ds: Dataset) -> bool:
    """Tell whether an object is a segmentation of either class."""
    return ds.get("SOPClassUID") in SEGMENTATION_CLASSES


def is_any(_: Dataset) -> bool:
    """Tell that a rule is for every object."""
    return True


def template_of(ds: Dataset) -> str:
    """Return the template identifier of an SR's root; empty where it has none."""
    template = ds.get("ContentTemplateSequence")
    return str(template[0].get("TemplateIdentifier", "")) if template else ""


def groups(ds: Dataset) -> tuple[Dataset, ...]:
    """Return the measurement groups in every Imaging Measurements container of an SR."""
    return tuple(
        group for place in tree.children(ds, IMAGING_MEASUREMENTS) for group in tree.children(place, MEASUREMENT_GROUP)
    )


def of_type(item: Dataset, value_type: str) -> tuple[Dataset, ...]:
    """Return the children of one value type."""
    return tuple(child for child in tree.children(item) if child.get("ValueType") == value_type)


def descendants(item: Dataset) -> Iterator[Dataset]:
    """Yield every item below an item, parents first."""
    for child in tree.children(item):
        yield child
        yield from descendants(child)


def regions(group: Dataset) -> tuple[Dataset, ...]:
    """Return the coordinates of a group: SCOORD items directly in it and in its NUM items, the same shape once."""
    own = of_type(group, "SCOORD")
    shapes = {_shape(region) for region in own}
    inner = (region for number in of_type(group, "NUM") for region in of_type(number, "SCOORD"))
    return (*own, *(region for region in inner if _shape(region) not in shapes))


def _shape(region: Dataset) -> tuple[str, ...]:
    return (str(region.get("GraphicType")), *map(str, points(region)))


def points(region: Dataset) -> list[tuple[float, float]]:
    """Return the points of an SCOORD as (column, row) in pixels."""
    values = [float(value) for value in region.get("GraphicData") or []]
    return list(zip(values[::2], values[1::2], strict=False))


def is_closed_rectangle(region: Dataset) -> bool:
    """Tell whether a region is a polyline around an upright rectangle of some size that ends where it began."""
    found = points(region)
    if region.get("GraphicType") != "POLYLINE" or len(found) != _CORNERS + 1 or found[0] != found[-1]:
        return False
    x, y = sorted({point[0] for point in found}), sorted({point[1] for point in found})
    steps = pairwise(found)
    upright = all((before[0] == after[0]) != (before[1] == after[1]) for before, after in steps)
    return upright and len(x) == len(y) == 2 and len(set(found)) == _CORNERS


def referenced(item: Dataset) -> Dataset | None:
    """Return the item of Referenced SOP Sequence of an IMAGE or COMPOSITE item; None where it has none."""
    found = item.get("ReferencedSOPSequence")
    return found[0] if found else None


def evidence_series(ds: Dataset) -> Sequence[Dataset]:
    """Return the series in the current procedure's evidence, in order."""
    studies = ds.get("CurrentRequestedProcedureEvidenceSequence") or []
    return [series for study in studies for series in study.get("ReferencedSeriesSequence") or []]


def instances(series: Dataset) -> Sequence[Dataset]:
    """Return the references in one series of the evidence."""
    return list(series.get("ReferencedSOPSequence") or [])


def all_have(ds: Dataset, concept: CodedConcept, value_type: str) -> bool:
    """Tell whether every measurement group has an item of this name and type with a value."""
    return all(
        any(item.get("ValueType") == value_type and _has_value(item) for item in tree.children(group, concept))
        for group in groups(ds)
    )


def _has_value(item: Dataset) -> bool:
    return any(item.get(keyword) for keyword in ("TextValue", "UID", "ConceptCodeSequence"))


def code(item: Dataset, keyword: str = "ConceptNameCodeSequence") -> CodedConcept:
    """Return an item's name, or another of its codes; what is missing in it is empty."""
    found = (item.get(keyword) or [Dataset()])[0]
    value, scheme, meaning = (
        str(found.get(name, "")) for name in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    )
    return CodedConcept(value=value, scheme=scheme, meaning=meaning)
