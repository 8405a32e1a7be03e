"""Faults of measurement reports (TID 1500): regions, references, content and flags."""

from typing import Final

from pydicom.dataset import Dataset

from conformance.faults import fault as part
from conformance.faults.fault import UNKNOWN_UID, Fault, collector

FAULTS: Final[list[Fault]] = []
fault = collector("SR", FAULTS)


@fault("box outside the image", "geometry-inside")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.GraphicData = [value + 5000 * (index % 2 == 0) for index, value in enumerate(box.GraphicData)]


@fault("box at a negative place", "geometry-inside")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.GraphicData = [value - 5000 for value in box.GraphicData]


@fault("box not closed", "geometry-box")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.GraphicData = list(box.GraphicData)[:-2]


@fault("box of no size", "geometry-box")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.GraphicData = list(box.GraphicData[:2]) * 5


@fault("corners swapped", "geometry-box")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    points = list(box.GraphicData)
    box.GraphicData = [*points[:2], *points[4:6], *points[2:4], *points[6:]]


@fault("corners against the clock", "profile-rectangle")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    x = list(box.GraphicData)
    box.GraphicData = [*x[:2], *x[6:8], *x[4:6], *x[2:4], *x[8:]]


@fault("slanted box", "geometry-box")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    points = list(box.GraphicData)
    box.GraphicData = [*points[:2], points[2], points[3] + 2, *points[4:]]


@fault("box one pixel off", "geometry-segment-extent")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.GraphicData = [value + (index % 2 == 0) for index, value in enumerate(box.GraphicData)]


@fault("box of inclusive corners", "geometry-segment-extent")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    x0, y0, x1, _, _, y1, *_ = box.GraphicData
    box.GraphicData = [x0, y0, x1 - 1, y0, x1 - 1, y1 - 1, x0, y1 - 1, x0, y0]


@fault("box removed", "geometry-segment-frames")
def _(ds: Dataset) -> None:
    part.needs(any(part.is_named(item, ("121191", "DCM")) for item in part.items(ds)))
    part.remove(ds, part.group(ds, 1))


@fault("odd number of coordinates", "content-value", "iod-dciodvfy")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.GraphicData = list(box.GraphicData)[:-1]


@fault("polygon in two dimensions", "content-graphic")
def _(ds: Dataset) -> None:
    part.region(ds).GraphicType = "POLYGON"


@fault("circle of five points", "content-graphic")
def _(ds: Dataset) -> None:
    part.region(ds).GraphicType = "CIRCLE"


@fault("unknown image", "reference-exists", "reference-evidence")
def _(ds: Dataset) -> None:
    part.reference(part.region(ds)).ReferencedSOPInstanceUID = UNKNOWN_UID


@fault("image of another class", "reference-class")
def _(ds: Dataset) -> None:
    part.reference(part.region(ds)).ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


@fault("no evidence", "reference-evidence")
def _(ds: Dataset) -> None:
    del ds.CurrentRequestedProcedureEvidenceSequence


@fault("incomplete evidence", "reference-evidence")
def _(ds: Dataset) -> None:
    uid = part.reference(part.region(ds)).ReferencedSOPInstanceUID
    for study in ds.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            kept = [one for one in series.ReferencedSOPSequence if one.ReferencedSOPInstanceUID != uid]
            series.ReferencedSOPSequence = kept


@fault("evidence under another series", "reference-hierarchy")
def _(ds: Dataset) -> None:
    ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].SeriesInstanceUID = UNKNOWN_UID


@fault("evidence under another study", "reference-hierarchy")
def _(ds: Dataset) -> None:
    ds.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = UNKNOWN_UID


@fault("frame number beyond the last", "reference-frame", "reference-frame-given")
def _(ds: Dataset) -> None:
    part.reference(part.region(ds)).ReferencedFrameNumber = 999


@fault("frame number 0", "reference-frame")
def _(ds: Dataset) -> None:
    part.reference(part.region(ds)).ReferencedFrameNumber = 0


@fault("frame number missing", "reference-frame-given")
def _(ds: Dataset) -> None:
    found = part.reference(part.region(ds))
    part.needs("ReferencedFrameNumber" in found)
    del found.ReferencedFrameNumber


@fault("another frame", "geometry-segment-frames", "geometry-segment-extent")
def _(ds: Dataset) -> None:
    groups = [item for item in part.items(ds) if part.is_named(item, part.MEASUREMENT_GROUP)]
    found, last = (part.reference(part.first(group, part.IMAGE_REGION)) for group in (groups[0], groups[-1]))
    places = [(one.ReferencedSOPInstanceUID, one.get("ReferencedFrameNumber")) for one in (found, last)]
    part.needs(places[0] != places[1])
    found.ReferencedSOPInstanceUID = last.ReferencedSOPInstanceUID
    if "ReferencedFrameNumber" in last:
        found.ReferencedFrameNumber = last.ReferencedFrameNumber


@fault("segment 97", "reference-segment")
def _(ds: Dataset) -> None:
    found = part.reference(part.first(ds, ("121191", "DCM")))
    part.needs("ReferencedSegmentNumber" in found)
    found.ReferencedSegmentNumber = 97


@fault("tracking UID that no segment has", "reference-tracking")
def _(ds: Dataset) -> None:
    link = part.first(ds, ("121191", "DCM"))
    part.first(part.parent_of(ds, link), part.TRACKING_UID).UID = UNKNOWN_UID


@fault("laterality flipped", "geometry-laterality")
def _(ds: Dataset) -> None:
    for item in part.items(part.group(ds)):
        if part.is_named(item, part.LATERALITY):
            is_left = item.ConceptCodeSequence[0].CodeValue == "7771000"
            other = part.code("24028007", "SCT", "Right") if is_left else part.code("7771000", "SCT", "Left")
            item.ConceptCodeSequence = [other]
            return
    raise part.NotApplicable


@fault("tracking UID missing", "template-missing-item", "profile-box-group")
def _(ds: Dataset) -> None:
    part.remove(ds, part.first(part.group(ds), part.TRACKING_UID))


@fault("tracking UID shared", "profile-own-tracking-uid")
def _(ds: Dataset) -> None:
    shared = part.first(part.group(ds), part.TRACKING_UID).UID
    part.first(part.group(ds, 1), part.TRACKING_UID).UID = shared


@fault("tracking UID that is none", "content-value", "content-tracking-uid")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.TRACKING_UID).UID = "1.02.lesion"


@fault("image contained instead of selected from", "template-relationship", "content-relationship")
def _(ds: Dataset) -> None:
    part.first(part.region(ds), None, "IMAGE").RelationshipType = "CONTAINS"


@fault("region without its image", "template-missing-item")
def _(ds: Dataset) -> None:
    box = part.region(ds)
    box.ContentSequence = []


@fault("region inferred instead of contained", "template-relationship", "content-relationship")
def _(ds: Dataset) -> None:
    part.region(ds).RelationshipType = "INFERRED FROM"


@fault("finding that modifies instead of being contained", "template-relationship")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING).RelationshipType = "HAS CONCEPT MOD"


@fault("finding as text", "template-value-type")
def _(ds: Dataset) -> None:
    item = part.first(part.group(ds), part.FINDING)
    item.ValueType, item.TextValue = "TEXT", item.ConceptCodeSequence[0].CodeMeaning
    del item.ConceptCodeSequence


@fault("two findings in a group", "template-multiplicity")
def _(ds: Dataset) -> None:
    one = part.group(ds)
    one.ContentSequence.append(part.copied(part.first(one, part.FINDING)))


@fault("two regions in a group", "template-multiplicity", "profile-box-group")
def _(ds: Dataset) -> None:
    part.group(ds).ContentSequence.append(part.copied(part.region(ds)))


@fault("number without coordinates beside a box", "profile-no-number")
def _(ds: Dataset) -> None:
    name, unit = part.code("111012", "DCM", "Certainty of Finding"), part.code("%", "UCUM", "Percent")
    part.group(ds).ContentSequence.append(part.number(name, "92", unit))


@fault("number without unit", "content-value")
def _(ds: Dataset) -> None:
    del part.first(ds, None, "NUM").MeasuredValueSequence[0].MeasurementUnitsCodeSequence


@fault("number that is none", "content-value", "file-value", "file-readable")
def _(ds: Dataset) -> None:
    measured = part.first(ds, None, "NUM").MeasuredValueSequence[0]
    measured.NumericValue = None


@fault("certainty of 140 per cent", "profile-percent")
def _(ds: Dataset) -> None:
    part.first(ds, ("111012", "DCM"), "NUM").MeasuredValueSequence[0].NumericValue = "140"


@fault("algorithm version missing", "template-missing-item", "profile-box-group")
def _(ds: Dataset) -> None:
    part.remove(ds, part.first(part.group(ds), ("111003", "DCM")))


@fault("finding site missing", "profile-box-group")
def _(ds: Dataset) -> None:
    part.remove(ds, part.first(part.group(ds), part.FINDING_SITE))


@fault("value type that does not exist", "content-value")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING).ValueType = "CODED"


@fault("relationship missing", "content-relationship")
def _(ds: Dataset) -> None:
    del part.first(part.group(ds), part.FINDING).RelationshipType


@fault("concept name missing", "content-concept-name")
def _(ds: Dataset) -> None:
    del part.first(part.group(ds), part.FINDING).ConceptNameCodeSequence


@fault("text empty", "content-value")
def _(ds: Dataset) -> None:
    part.first(ds, None, "TEXT").TextValue = ""
