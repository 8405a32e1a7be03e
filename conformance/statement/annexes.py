"""The annexes of the statement: what written objects hold, as counted on the specimens.

References
----------
PS3.2 Annex N, A.A to A.E
"""

from conformance.statement.document import Section, Table
from conformance.statement.measurement import REJECTION, Measurement
from dicom_io.kinds import ResultKind
from sgmri.settings import Settings

_TITLES = {
    ResultKind.SEG: "Segmentation (SEG)",
    ResultKind.LABELMAP: "Label Map Segmentation (LABELMAP)",
    ResultKind.SR: "Comprehensive 3D SR (SR)",
    ResultKind.TEXT_SR: "Enhanced SR with the answers as text (TEXT_SR)",
    ResultKind.PR: "Grayscale Softcopy Presentation State (PR)",
    ResultKind.SC: "Multi-frame True Color Secondary Capture Image (SC)",
    ResultKind.PDF: "Encapsulated PDF (PDF)",
    ResultKind.KO: "Key Object Selection Document (KO)",
    REJECTION: "Key Object Selection Document that rejects a reading (REJECTION)",
}
_LEGEND = (
    "Attribute: ALWAYS present, or ANAP (attribute not always present). Value: ALWAYS, VNAP (value not always "
    "present) or "
    "EMPTY. Source: COPY from the images that were read, FIXED in all objects of the kind, AUTO made for the object. "
    "Attributes of sequences, marked by >, are counted against the items that they stand in."
)


def annexes(settings: Settings, measured: Measurement) -> tuple[Section, ...]:
    """Return the annexes."""
    return (
        _objects(measured),
        Section(
            number="A.B",
            title="Structured Report Content Encoding",
            blocks=(
                "Counted on the same objects. Parents come before what is beneath them (>). A row without value has "
                "text, "
                "UIDs or numbers of the reading.",
            ),
            sections=tuple(
                Section(number=f"A.B.{place}", title=_TITLES[kind], blocks=(_tree(kind, measured),))
                for place, kind in enumerate((kind for kind in _TITLES if kind in measured.trees), start=1)
            ),
        ),
        Section(number="A.C", title="Security Details", blocks=("None beyond chapter 8.",)),
        Section(
            number="A.D",
            title="Mapping of Attributes",
            blocks=("From the images to results: the attributes with source COPY in A.A. No worklist, no MPPS.",),
        ),
        Section(number="A.E", title="Code Set Usage", blocks=(_codes(measured),)),
    )


def _objects(measured: Measurement) -> Section:
    counted = sum(census.objects for census in measured.censuses.values())
    private = ", ".join(measured.private()) or "none"
    return Section(
        number="A.A",
        title="Information Object Definitions",
        blocks=(
            f"Counted on {counted} objects that were written of phantoms: brain and knee, classic and Enhanced "
            "images, with "
            "a full and a bare header, three engines, every label of the vocabulary, with and without findings and "
            "answers, "
            "revised and taken back.",
            _LEGEND,
            f"Private attributes: {private}. (Standard Extended): in no module of the IOD in the tables of PS3.3.",
        ),
        sections=tuple(
            Section(number=f"A.A.{place}", title=_TITLES[kind], blocks=(_attributes(kind, measured),))
            for place, kind in enumerate((kind for kind in _TITLES if kind in measured.censuses), start=1)
        ),
    )


def _attributes(kind: str, measured: Measurement) -> Table:
    return Table(
        key=f"attributes-{kind.lower()}",
        title=f"Attributes of {_TITLES[kind]}",
        columns=("Module", "Attribute", "Tag", "VR", "Presence", "Value", "Source", "Values"),
        rows=tuple(measured.censuses[kind].rows()),
    )


def _tree(kind: str, measured: Measurement) -> Table:
    return Table(
        key=f"content-{kind.lower()}",
        title=f"Content of {_TITLES[kind]}",
        columns=("Level", "Relationship", "Value type", "Concept name", "Template", "Presence", "Values"),
        rows=tuple(measured.trees[kind].rows()),
    )


def _codes(measured: Measurement) -> Table:
    return Table(
        key="codes",
        title="Codes that may be written, all of which stand in one table of the program; and where they were met",
        columns=("Scheme", "Code", "Meaning", "Kinds", "Attributes"),
        rows=tuple(measured.codes.rows()),
    )
