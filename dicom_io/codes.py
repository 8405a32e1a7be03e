"""The coded concepts that may be written, from one table: a code that is not in it cannot be written.

The findings come from :mod:`sgmri.vocabulary`; beside them stand the concepts of the templates (TID 1500, 1410,
4019) and of the Segmentation IOD, those included that highdicom writes by itself. Writers name concepts through
:func:`written`, and :func:`require_known` looks at every finished object. Meanings are those of DICOM's own dictionary
wherever it has the code: viewers match some of them by meaning.

References
----------
PS3.16 Annex D (DCM), PS3.16 TID 1500, TID 1410, CID 7150, CID 7162, CID 219, CID 240
"""

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Final

from highdicom.sr import CodedConcept as WrittenConcept
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from sgmri import vocabulary
from sgmri.errors import EngineError, MalformedInstance, SgmriError
from sgmri.findings import Laterality
from sgmri.questions import Presence, Unanswered
from sgmri.vocabulary import CodedConcept, FindingConcept
from sgmri.volume import Anatomy


def _dcm(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme="SCT", meaning=meaning)


# TID 1500 and the report-level answers
REPORT: Final = _dcm("126000", "Imaging Measurement Report")
IMAGING_MEASUREMENTS: Final = _dcm("126010", "Imaging Measurements")
MEASUREMENT_GROUP: Final = _dcm("125007", "Measurement Group")
LANGUAGE: Final = _dcm("121049", "Language of Content Item and Descendants")
PROCEDURE_REPORTED: Final = _dcm("121058", "Procedure reported")
QUALITATIVE_EVALUATIONS: Final = CodedConcept(value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations")
ENGLISH: Final = CodedConcept(value="en", scheme="RFC5646", meaning="English")
PROCEDURE: Final = MappingProxyType(
    {
        Anatomy.BRAIN: CodedConcept(value="24590-2", scheme="LN", meaning="Brain MRI"),
        # No code of CID 646 or CID 100 says "MRI of the knee" without asserting a particular technique
        Anatomy.KNEE: _sct("363679005", "Imaging procedure"),
    }
)
COMMENT: Final = _dcm("121106", "Comment")
SUMMARY: Final = _dcm("121111", "Summary")
TRACKING_IDENTIFIER: Final = _dcm("112039", "Tracking Identifier")
TRACKING_UID: Final = _dcm("112040", "Tracking Unique Identifier")
LESION_IDENTIFIER: Final = _dcm("121151", "Lesion Identifier")
SHORT_LABEL: Final = _dcm("125309", "Short Label")
EQUIVALENT_MEANING: Final = _dcm("121050", "Equivalent Meaning of Concept Name")
REFERENCED_SEGMENT: Final = _dcm("121191", "Referenced Segment")
CERTAINTY_OF_FINDING: Final = _dcm("111012", "Certainty of Finding")
NUMBER_OF_LESIONS: Final = _sct("246206008", "Number of lesions")
NUMBER_OF_OCCURRENCES: Final = _sct("246432004", "Number of occurrences")
PROCESSING_SUMMARY: Final = _dcm("111017", "CAD Processing and Findings Summary")
ALL_WITHOUT_FINDINGS: Final = _dcm("111241", "All algorithms succeeded; without findings")
ALL_WITH_FINDINGS: Final = _dcm("111242", "All algorithms succeeded; with findings")
SOME_WITHOUT_FINDINGS: Final = _dcm("111243", "Not all algorithms succeeded; without findings")
SOME_WITH_FINDINGS: Final = _dcm("111244", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED: Final = _dcm("111245", "No algorithms succeeded; without findings")

NOT_EVALUATED: Final = _sct("373121007", "Not Evaluated")
OPERATING_POINT: Final = _dcm("111081", "CAD Operating Point Description")

# The text report
TEXT_REPORT: Final = CodedConcept(value="11528-7", scheme="LN", meaning="Radiology Report")
FINDINGS: Final = _dcm("121070", "Findings")
REQUEST: Final = _dcm("121062", "Request")
CONCLUSION: Final = _dcm("121077", "Conclusion")
REFERENCED_FRAMES: Final = _dcm("121190", "Referenced Frames")

# TID 1410
IMAGE_REGION: Final = _dcm("111030", "Image Region")
GEOMETRIC_PURPOSE: Final = _dcm("130400", "Geometric purpose of region")
FINDING_CATEGORY: Final = _sct("276214006", "Finding category")
FINDING: Final = _dcm("121071", "Finding")
FINDING_SITE: Final = _sct("363698007", "Finding Site")
LATERALITY: Final = _sct("272741003", "Laterality")
TOPOGRAPHICAL_MODIFIER: Final = _sct("106233006", "Topographical modifier")
SEVERITY: Final = _sct("246112005", "Severity")
BOUNDED_BY: Final = _sct("75958009", "Bounded by")
ABNORMAL_STRUCTURE: Final = vocabulary.GENERIC_FINDING
SPATIAL_CONCEPT: Final = _sct("309825002", "Spatial and Relational Concept")

# Key objects (TID 2010, CID 7010, CID 7011)
OF_INTEREST: Final = _dcm("113000", "Of Interest")
KEY_OBJECT_DESCRIPTION: Final = _dcm("113012", "Key Object Description")
REJECTED_FOR_QUALITY: Final = _dcm("113001", "Rejected for Quality Reasons")
REJECTED_FOR_SAFETY: Final = _dcm("113037", "Rejected for Patient Safety Reasons")
INCORRECT_WORKLIST_ENTRY: Final = _dcm("113038", "Incorrect Modality Worklist Entry")
RETENTION_EXPIRED: Final = _dcm("113039", "Data Retention Policy Expired")

# Segmentation (CID 7203, CID 7202)
SEGMENTATION: Final = _dcm("113076", "Segmentation")
BACKGROUND: Final = _dcm("125040", "Background")
SOURCE_IMAGE: Final = _dcm("121322", "Source image for image processing operation")

# Observer, equipment and algorithm (TID 1004, TID 4019, CID 7005, CID 7162)
_OBSERVER: Final = (
    _dcm("121005", "Observer Type"),
    _dcm("121007", "Device"),
    _dcm("121012", "Device Observer UID"),
    _dcm("121013", "Device Observer Name"),
    _dcm("121014", "Device Observer Manufacturer"),
    _dcm("121015", "Device Observer Model Name"),
    _dcm("121016", "Device Observer Serial Number"),
)
_ALGORITHM: Final = (
    _dcm("111001", "Algorithm Name"),
    _dcm("111002", "Algorithm Parameters"),
    _dcm("111003", "Algorithm Version"),
)
ACQUISITION_EQUIPMENT: Final = _dcm("109101", "Acquisition Equipment")
SOURCE_OF_MEASUREMENT: Final = _sct("260753009", "Source")
PROCESSING_EQUIPMENT: Final = _dcm("109102", "Processing Equipment")
ARTIFICIAL_INTELLIGENCE: Final = _dcm("123110", "Artificial Intelligence")
HISTOGRAM_ANALYSIS: Final = _dcm("123105", "Histogram Analysis")

# Units
NO_UNITS: Final = CodedConcept(value="1", scheme="UCUM", meaning="no units")
PERCENT: Final = CodedConcept(value="%", scheme="UCUM", meaning="Percent")

PRESENCE: Final = MappingProxyType(
    {
        Presence.PRESENT: vocabulary.PRESENT,
        Presence.ABSENT: vocabulary.ABSENT,
        Presence.UNDETERMINED: vocabulary.UNDETERMINED,
    }
)
"""CID 240."""

NOT_ASSESSED: Final = MappingProxyType(
    {
        Unanswered.OUTSIDE_ENGINE_SCOPE: _dcm("111225", "Not Attempted"),
        Unanswered.UNPARSABLE: _dcm("114008", "Calculation failure"),
        Unanswered.CONTRADICTION: _dcm("114011", "Value indeterminate"),
        Unanswered.LOW_QUALITY: _dcm("110531", "Insufficient quality for interpretation"),
        Unanswered.UNFAMILIAR: _dcm("114009", "Value out of range"),
        Unanswered.CONTROL_FAILED: _dcm("111224", "Failed"),
        Unanswered.DEADLINE: _dcm("110527", "Resource inadequate"),
    }
)
"""Why there is no answer: the nearest concepts of CID 42, CID 71, CID 6042 and CID 9301, each its own, so that they
are told apart."""

SIDE: Final = MappingProxyType(
    {
        Laterality.LEFT: vocabulary.LEFT,
        Laterality.RIGHT: vocabulary.RIGHT,
        Laterality.BILATERAL: vocabulary.BILATERAL,
    }
)
"""CID 244."""

IMAGE_ARTIFACT: Final = _dcm("111207", "Image artifact(s)")
_MOTION_BLUR: Final = _dcm("111210", "Motion blur")
ARTIFACTS: Final = frozenset({IMAGE_ARTIFACT, _MOTION_BLUR})

_SEVERITIES: Final = frozenset({vocabulary.MILD, vocabulary.MILD_TO_MODERATE, vocabulary.SEVERE})
_NO_TISSUE_CHANGE: Final = ARTIFACTS | {_sct("17621005", "Normal")}
"""Places in the image, not abnormal structures."""


def _constants() -> Iterator[CodedConcept]:
    for value in globals().copy().values():
        if isinstance(value, CodedConcept):
            yield value


def _vocabulary() -> Iterator[CodedConcept]:
    for row in vocabulary.FINDINGS.values():
        yield from (row.written, row.site, *row.modifiers)
    for table in (vocabulary.BODY_PART, PRESENCE, NOT_ASSESSED, SIDE, PROCEDURE):
        yield from table.values()
    yield from (*_OBSERVER, *_ALGORITHM)


def _table(concepts: Iterable[CodedConcept]) -> MappingProxyType[tuple[str, str], CodedConcept]:
    return MappingProxyType({(concept.scheme, concept.value): concept for concept in concepts})


CODES: Final = _table([*_constants(), *_vocabulary()])
"""(scheme, value) -> concept: everything that may be written."""


def written(concept: CodedConcept) -> WrittenConcept:
    """Return a concept in the form that a Dataset takes.

    Raises
    ------
    SgmriError
        If it is not in :data:`CODES` exactly as it stands there.
    """
    _require_in_table(concept)
    return WrittenConcept(value=concept.value, scheme_designator=concept.scheme, meaning=concept.meaning)


def require_known(ds: Dataset) -> None:
    """Refuse a finished object that holds a code outside the table, whoever put it there.

    Raises
    ------
    SgmriError
        If a code is not in :data:`CODES` exactly as it stands there.
    MalformedInstance
        If a code is incomplete.
    """
    for concept in set(written_in(ds)):
        _require_in_table(concept)


def written_in(ds: Dataset) -> Iterator[CodedConcept]:
    """Yield every code of an object, at any depth; those of an item that stands in several places once."""
    seen: set[int] = set()
    waiting = [ds]
    while waiting:
        here = waiting.pop()
        for element in here.values():
            if element.VR != "SQ":
                continue
            # What comes from a file is parsed only when asked for through its Dataset
            items = element.value if isinstance(element, DataElement) else here[element.tag].value
            for item in items or ():
                if id(item) in seen:
                    continue
                seen.add(id(item))
                if "CodeMeaning" in item:
                    yield read(item)
                waiting.append(item)


def _require_in_table(concept: CodedConcept) -> None:
    if CODES.get((concept.scheme, concept.value)) != concept:
        raise SgmriError(
            f"expected a concept of the code table, found ({concept.value}, {concept.scheme}); add it to "
            "dicom_io.codes or sgmri.vocabulary"
        )


def read(item: Dataset) -> CodedConcept:
    """Return the concept of one item of a code sequence.

    Raises
    ------
    MalformedInstance
        If the item is no code of PS3.3 section 8.
    """
    try:
        return CodedConcept(
            value=str(item.CodeValue), scheme=str(item.CodingSchemeDesignator), meaning=str(item.CodeMeaning)
        )
    except AttributeError:
        raise MalformedInstance(
            "expected Code Value, Coding Scheme Designator and Code Meaning, found an incomplete code; check who wrote "
            "the object"
        ) from None


def finding_concept(label: str) -> FindingConcept:
    """Return how a finding's label is coded.

    Raises
    ------
    EngineError
        If the label is not in the vocabulary.
    """
    try:
        return vocabulary.concept(label)
    except KeyError:
        raise EngineError(
            "expected a label of the vocabulary, found another one; make the engine answer with labels of "
            "sgmri.vocabulary"
        ) from None


def category(finding: CodedConcept) -> CodedConcept:
    """Return the category (CID 7150) of a finding: abnormal structure, or only a place in the image."""
    return SPATIAL_CONCEPT if finding in _NO_TISSUE_CHANGE else ABNORMAL_STRUCTURE


def severity(concept: FindingConcept) -> CodedConcept | None:
    """Return the severity among a label's modifiers, if it has one."""
    return next((modifier for modifier in concept.modifiers if modifier in _SEVERITIES), None)


def topographical_modifier(concept: FindingConcept) -> CodedConcept | None:
    """Return the modifier of a label's site (medial, lateral, posterior), if it has one.

    "Bilateral" belongs to the whole patient, not to the place of a box, and is left out.
    """
    sides = set(SIDE.values())
    return next((m for m in concept.modifiers if m not in _SEVERITIES and m not in sides), None)


def algorithm_family(engine_name: str) -> CodedConcept:
    """Return the family (CID 7162) of an engine: the classical one weighs grey values, others learnt."""
    return HISTOGRAM_ANALYSIS if engine_name == "classical" else ARTIFICIAL_INTELLIGENCE
