"""The structured report: TID 1500 with one planar ROI group (TID 1410) a box, and every question's answer.

What viewers taught: a box group holds one SCOORD on one image and no NUM, its Tracking UID is its own, and "Imaging
Measurements" holds nothing without coordinates; each of these broken, a common viewer shows nothing at all.
Boxes are written unchanged: SCOORD and :class:`sgmri.geometry.Box` share their origin (ADR 0003).

References
----------
PS3.16 TID 1500, TID 1410, TID 4019; PS3.3 A.35.13 (Comprehensive 3D SR IOD), C.18.6 (SCOORD)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects import answers, envelope, tree
from dicom_io.objects.answers import DecodedAnswer
from dicom_io.objects.document import Document, observer
from dicom_io.objects.sources import leniently, ordered_sources
from sgmri import catalogue
from sgmri.errors import EngineError, MalformedInstance
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.questions import QuestionSet
from sgmri.readings import Reading, ReportRef
from sgmri.vocabulary import CodedConcept
from sgmri.volume import FrameRef

RECTANGLE_TOOL: Final = "Cornerstone3DTools@^0.1.0:RectangleROI"
"""How the tracking identifier of a box begins for OHIF up to 3.11, which makes measurements of these only."""
_SIDE_OF: Final = MappingProxyType({concept: side for side, concept in codes.SIDE.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBox:
    """One box, as read back from its measurement group.

    Parameters
    ----------
    tracklet_id, tracking_uid
        Tracking Identifier (shared by a finding's boxes) and Tracking Unique Identifier (the box's own).
    label
        Label of the vocabulary.
    finding, site
        Codes.
    laterality
        The patient's side; None where none is stated.
    sop_instance_uid, frame_number
        The source frame; frame number None for a single-frame source.
    box
        Where, in pixels.
    comment
        What a viewer shows beside the box.
    score
        The engine's certainty of the box, 0 to 1; None where none is stated.
    """

    tracklet_id: str
    tracking_uid: str
    label: str
    finding: CodedConcept
    site: CodedConcept
    laterality: Laterality | None
    sop_instance_uid: str
    frame_number: int | None
    box: Box
    comment: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedReport:
    """A structured report of this product, as read back.

    Parameters
    ----------
    boxes
        One a measurement group, in order.
    answers
        One a question that was asked, in order.
    labels
        (tracklet id, label) of every tracklet.
    notes
        Sentences about the whole report.
    predecessor
        The report that it revises; None where it names none.
    is_complete
        Completion Flag (0040,A491) is COMPLETE.
    """

    boxes: tuple[DecodedBox, ...]
    answers: tuple[DecodedAnswer, ...]
    labels: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    predecessor: ReportRef | None
    is_complete: bool


def question_set_of(reading: Reading) -> QuestionSet:
    """Return what a reading answers: the standard question set, and what was asked by hand beside it.

    Raises
    ------
    EngineError
        If there is no such set.
    """
    try:
        standard = catalogue.by_id(reading.question_set_id)
    except KeyError:
        raise EngineError(
            "expected the id of a standard question set, found another; hand the question set over as questions="
        ) from None
    return replace(standard, questions=standard.questions + reading.asked)


def comment(tracklet: Tracklet, finding: Finding) -> str:
    """Return what a viewer shows beside a box, such as "Mass, lesion-1 (score 0.83)"."""
    score = "" if finding.score is None else f" (score {finding.score:.2f})"
    return f"{codes.finding_concept(tracklet.label).label}, {tracklet.tracklet_id}{score}"


def encode_report(
    reading: Reading,
    sources: Sequence[Dataset],
    *,
    segmentation: Dataset | None,
    no_segmentation_reason: str = "",
    questions: QuestionSet | None = None,
    cornerstone_tracking: bool = False,
) -> Dataset:
    """Write a reading as a structured report.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.
    segmentation
        The segmentation of the same reading; None where none was written.
    no_segmentation_reason
        Why none was written; empty where there was nothing to segment.
    questions
        The set that was asked; None for the standard set of the reading's ``question_set_id``.
    cornerstone_tracking
        Whether tracking identifiers begin with :data:`RECTANGLE_TOOL`.

    Raises
    ------
    IncompleteSeries, MalformedInstance
        If the sources are not those of the reading.
    EngineError
        If a label or the question set is unknown.
    """
    sources = ordered_sources(reading, sources)
    evaluations = answers.encode_answers(
        reading,
        questions or question_set_of(reading),
        segmentation=segmentation,
        no_segmentation_reason=no_segmentation_reason,
    )
    uids = identity.result_uids(reading)
    document = Document(
        sop_class=Comprehensive3DSR,
        series_instance_uid=uids.series(ResultKind.SR),
        sop_instance_uid=uids.instance(ResultKind.SR),
        series_number=envelope.SR_SERIES_NUMBER,
    )
    with leniently():
        root = _root(reading, evaluations)
        if cornerstone_tracking:
            for group in measurement_groups(root):
                _name_the_tool(group)
        return document.around(root, reading, sources, segmentation)


def _root(reading: Reading, evaluations: ContainerContentItem) -> Dataset:
    """Return the root container of TID 1500."""
    groups = list(_groups(reading))
    report = MeasurementReport(
        observation_context=observer(reading),
        procedure_reported=codes.written(codes.PROCEDURE[reading.anatomy]),
        imaging_measurements=groups or [_placeholder()],
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(codes.written(codes.ENGLISH)),
    )
    root: Dataset = report[0]
    # highdicom cannot write a report without measurements; an empty container would break PS3.16 TID 1500, so that
    # it goes with its placeholder
    kept = [item for item in root.ContentSequence if groups or tree.name_of(item) != codes.IMAGING_MEASUREMENTS]
    root.ContentSequence = ContentSequence([*kept, evaluations])
    return root


def _placeholder() -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=identity.derived_uid("placeholder"), identifier="placeholder")
    )


def _groups(reading: Reading) -> Iterator[PlanarROIMeasurementsAndQualitativeEvaluations]:
    uids = identity.result_uids(reading)
    for tracklet in reading.tracklets:
        for finding in tracklet.findings:
            tracking = TrackingIdentifier(uid=uids.box_uid(tracklet, finding), identifier=tracklet.tracklet_id)
            yield _group(reading, tracklet, finding, tracking)


def _group(
    reading: Reading, tracklet: Tracklet, finding: Finding, tracking: TrackingIdentifier
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return the TID 1410 group of one box."""
    concept = codes.finding_concept(tracklet.label)
    # That it is present is what a finding's box says; said again in each of hundreds of them, it only takes room
    severity = codes.severity(concept)
    evaluations = [] if severity is None else [(codes.SEVERITY, severity)]
    engine, ref = reading.engine, reading.frames[finding.frame_index]
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_region=_region(finding.box, ref),
        finding_type=codes.written(concept.written),
        finding_sites=[_finding_site(tracklet)],
        # The weights' digest stands once in the report, not in each of hundreds of boxes
        algorithm_id=AlgorithmIdentification(engine.name, engine.version),
        qualitative_evaluations=[
            QualitativeEvaluation(name=codes.written(name), value=codes.written(value)) for name, value in evaluations
        ],
        geometric_purpose=codes.written(codes.BOUNDED_BY),
    )
    group[0].ContentSequence.append(tree.text(codes.COMMENT, comment(tracklet, finding), tree.CONTAINS))
    if finding.score is not None:
        # No NUM, which hides all boxes from OHIF; repr gives a float back exactly
        score = tree.text(codes.CERTAINTY_OF_FINDING, repr(float(finding.score)), tree.CONTAINS)
        group[0].ContentSequence.append(score)
    return group


def _name_the_tool(group: Dataset) -> None:
    for item in tree.children(group, codes.TRACKING_IDENTIFIER):
        item.TextValue = f"{RECTANGLE_TOOL}:{item.TextValue}"


def _region(box: Box, ref: FrameRef) -> ImageRegion:
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.asarray(box.polyline(), dtype=np.float64),
        source_image=SourceImageForRegion(
            referenced_sop_class_uid=ref.sop_class_uid,
            referenced_sop_instance_uid=ref.sop_instance_uid,
            referenced_frame_numbers=None if ref.frame_number is None else [ref.frame_number],
        ),
    )
    # Needed for whole slides only (PS3.3 C.18.6), but 3D Slicer reads it of every box; highdicom refuses it for
    # single-frame sources
    region.PixelOriginInterpretation = "FRAME"
    return region


def _finding_site(tracklet: Tracklet) -> FindingSite:
    concept = codes.finding_concept(tracklet.label)
    modifier = codes.topographical_modifier(concept)
    return FindingSite(
        anatomic_location=codes.written(concept.site),
        laterality=None if tracklet.laterality is None else codes.written(codes.SIDE[tracklet.laterality]),
        topographical_modifier=None if modifier is None else codes.written(modifier),
    )


def decode_report(ds: Dataset) -> DecodedReport:
    """Read a structured report of this product.

    Raises
    ------
    MalformedInstance
        If the object is no TID 1500 report, or lacks what :func:`encode_report` writes.
    """
    template = ds.get("ContentTemplateSequence")
    if not template or template[0].get("TemplateIdentifier") != "1500":
        raise MalformedInstance("expected a structured report of TID 1500, found another object; hand over the SR")
    evaluations = tree.first(ds, codes.QUALITATIVE_EVALUATIONS)
    if evaluations is None:
        raise MalformedInstance(
            "expected the report-level answers (C0034375, UMLS), found none; the report was changed on its way or "
            "written by another product"
        )
    with envelope.as_written("a report", KeyError):
        return DecodedReport(
            boxes=tuple(_decoded_box(group) for group in measurement_groups(ds)),
            answers=answers.decode_answers(evaluations),
            labels=tuple(answers.decode_labels(evaluations).items()),
            notes=answers.decode_notes(evaluations),
            predecessor=envelope.decode_predecessor(ds),
            is_complete=ds.get("CompletionFlag") == "COMPLETE",
        )


def measurement_groups(ds: Dataset) -> tuple[Dataset, ...]:
    """Return the measurement groups of a report, in order; none where it has no "Imaging Measurements"."""
    measurements = tree.first(ds, codes.IMAGING_MEASUREMENTS)
    return () if measurements is None else tuple(tree.children(measurements, codes.MEASUREMENT_GROUP))


def _decoded_box(group: Dataset) -> DecodedBox:
    def item(name: CodedConcept) -> Dataset:
        child = tree.first(group, name)
        if child is None:
            raise AttributeError(name.meaning)
        return child

    tracklet_id = tree.text_of(item(codes.TRACKING_IDENTIFIER)).removeprefix(f"{RECTANGLE_TOOL}:")
    shown = tree.text_of(item(codes.COMMENT))
    score = tree.first(group, codes.CERTAINTY_OF_FINDING)
    site, region = item(codes.FINDING_SITE), item(codes.IMAGE_REGION)
    side = tree.code_of(tree.first(site, codes.LATERALITY))
    reference = next(tree.children(region), Dataset()).ReferencedSOPSequence[0]
    number = reference.get("ReferencedFrameNumber")
    return DecodedBox(
        tracklet_id=tracklet_id,
        tracking_uid=str(item(codes.TRACKING_UID).UID),
        label=shown.rpartition(f", {tracklet_id}")[0],
        finding=codes.read(item(codes.FINDING).ConceptCodeSequence[0]),
        site=codes.read(site.ConceptCodeSequence[0]),
        laterality=None if side is None else _SIDE_OF.get(side),
        sop_instance_uid=str(reference.ReferencedSOPInstanceUID),
        frame_number=None if number is None else int(number),
        box=box_of(region),
        comment=shown,
        score=None if score is None else float(tree.text_of(score)),
    )


def box_of(region: Dataset) -> Box:
    """Return the box of a closed polyline; ValueError where it is none."""
    values = [float(value) for value in region.GraphicData]
    points = list(zip(values[::2], values[1::2], strict=True))
    x, y = [point[0] for point in points], [point[1] for point in points]
    box = Box(x0=min(x), y0=min(y), x1=max(x), y1=max(y))
    if region.GraphicType != "POLYLINE" or tuple(points) != box.polyline():
        raise ValueError("not the closed rectangle TL, TR, BR, BL, TL")
    return box
