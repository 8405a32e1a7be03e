"""How the segments of a segmentation are described: label, code, algorithm, tracking and colour of each.

References
----------
PS3.3 C.8.20.4 (Segment Description Macro), C.10.16 (Algorithm Identification Macro)
"""

from types import MappingProxyType
from typing import Final

from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

from dicom_io import codes, identity
from dicom_io.objects import colours
from dicom_io.objects.masks import MaskForm, Masks
from sgmri.findings import Tracklet
from sgmri.readings import EngineIdentity, Reading

_LABEL_LENGTH: Final = 64
"""Most characters of Segment Label (0062,0005) and Algorithm Name (0066,0036), VR LO."""
_REFINED_NAME: Final = ", refined by Otsu threshold"
_HOW: Final = MappingProxyType(
    {
        MaskForm.BOX: "Filled boxes; no outline was drawn.",
        MaskForm.REFINED: "Otsu threshold inside the box on {count} of {frames} frames; on the others the filled box.",
    }
)


def segment_label(tracklet: Tracklet, form: MaskForm = MaskForm.BOX) -> str:
    """Return the label of a tracklet's segment, such as "Mass lesion-1 (box)", at most 64 characters."""
    tail = f" {tracklet.tracklet_id} ({form})"
    # In octets, as validators count
    room = _LABEL_LENGTH - len(tail.encode())
    return f"{codes.finding_concept(tracklet.label).label[:room].rstrip()}{tail}"


def descriptions(reading: Reading, masks: Masks) -> list[SegmentDescription]:
    """Return the segments of a reading, one a tracklet, in order."""
    uids = identity.result_uids(reading)
    descriptions = []
    for number, tracklet in enumerate(reading.tracklets, start=1):
        concept = codes.finding_concept(tracklet.label)
        forms = [masks[number, index].form for index in tracklet.frame_indices]
        form = MaskForm.REFINED if MaskForm.REFINED in forms else MaskForm.BOX
        description = SegmentDescription(
            segment_number=number,
            segment_label=segment_label(tracklet, form),
            segmented_property_category=codes.written(codes.category(concept.written)),
            segmented_property_type=codes.written(concept.written),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=_algorithm(reading.engine, form),
            tracking_uid=uids.segment_uid(tracklet),
            tracking_id=tracklet.tracklet_id,
            anatomic_regions=[codes.written(concept.site)],
            display_color=colours.cielab(number),
        )
        count = forms.count(MaskForm.REFINED)
        description.SegmentDescription = _HOW[form].format(count=count, frames=len(forms))
        descriptions.append(description)
    return descriptions


def _algorithm(engine: EngineIdentity, form: MaskForm) -> AlgorithmIdentificationSequence:
    """Return who made a segment: the engine, and where it is refined what refined it."""
    parameters = {"sha256": engine.digest}
    name = engine.name
    if form is MaskForm.REFINED:
        name = f"{engine.name[: _LABEL_LENGTH - len(_REFINED_NAME)]}{_REFINED_NAME}"
        parameters["refinement"] = "Otsu threshold inside the box"
    return AlgorithmIdentificationSequence(
        name=name,
        family=codes.written(codes.algorithm_family(engine.name)),
        version=engine.version,
        parameters=parameters,
    )
