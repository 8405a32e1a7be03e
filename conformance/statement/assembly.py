"""The whole statement of a configuration, chapter by chapter.

References
----------
PS3.2 Annex N (template for conformance statements, 2024 and later)
"""

from conformance.statement.annexes import annexes
from conformance.statement.configuration import configuration
from conformance.statement.document import Document, Section, Table
from conformance.statement.measurement import measure
from conformance.statement.network import network
from conformance.statement.security import security
from conformance.statement.services import implementation_model, interoperability, introduction, overview
from dicom_io import identity
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.settings import Settings


def statement(settings: Settings) -> Document:
    """Return the conformance statement of a configuration; the same configuration gives the same statement.

    Parameters
    ----------
    settings
        The configuration, the destination being among the peers that may call.
    """
    measured = measure()
    chapters = (
        overview(settings, measured),
        introduction(),
        implementation_model(settings),
        interoperability(settings),
        configuration(settings),
        network(settings),
        security(settings),
        *annexes(settings, measured),
    )
    return Document(
        title="sgmri DICOM Conformance Statement",
        cover=(
            f"Product: {identity.MODEL_NAME} {identity.SOFTWARE_VERSION}",
            f"Manufacturer: {identity.MANUFACTURER}",
            f"AE title: {settings.listener.ae_title}",
            RESEARCH_USE_STATEMENT,
        ),
        sections=(chapters[0], _contents(chapters), *chapters[1:]),
    )


def _contents(chapters: tuple[Section, ...]) -> Section:
    number, title = "2", "Table of Contents"
    rows = [(one.number, one.title) for chapter in chapters for depth, one in chapter.walk() if depth < 2]
    rows.insert(next(place for place, row in enumerate(rows) if row[0] == "3"), (number, title))
    table = Table(key="contents", title="Sections", columns=("Section", "Title"), rows=tuple(rows))
    return Section(number=number, title=title, blocks=(table,))
