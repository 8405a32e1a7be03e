"""Chapters 1 to 5 of the statement: what is offered, by which application entity, and how the services behave.

References
----------
PS3.2 Annex N, N.1 to N.5
"""

from collections.abc import Iterator

from pydicom.charset import python_encoding

from conformance.statement.destinations import commitment, data_flow, store_scu, web_overview, web_services
from conformance.statement.document import NOT_SUPPORTED, Section, Table
from conformance.statement.measurement import Measurement
from dicom_io import identity, services
from dicom_io.objects.sources import PATIENT_AND_STUDY
from dicom_io.services import Role, Use, for_use
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.settings import Settings

AE = "SGMRI Application Entity"


def overview(settings: Settings, measured: Measurement) -> Section:
    """Return chapter 1."""
    private = ", ".join(measured.private()) or "none"
    return Section(
        number="1",
        title="Overview",
        blocks=(
            "sgmri receives MR series of brain and knee over the network, has them read by a vision-language model, "
            "and "
            "stores what the model says, and where, as DICOM objects into the study that was read.",
            RESEARCH_USE_STATEMENT,
        ),
        sections=(
            Section(
                number="1.1",
                title="Content and Transfer",
                blocks=(_content(), f"Private SOP classes: none. Private attributes: {private}."),
                sections=(
                    Section(number="1.1.1", title="Structured Reporting Root Template IDs", blocks=(_roots(measured),)),
                ),
            ),
            Section(number="1.2", title="DIMSE Services", blocks=(_dimse(),)),
            Section(number="1.3", title="DICOM Web Services", blocks=(web_overview(),)),
            Section(number="1.4", title="Media Services", blocks=(NOT_SUPPORTED,)),
            Section(number="1.5", title="Real-Time Video Services", blocks=(NOT_SUPPORTED,)),
            Section(
                number="1.6",
                title="De-identification Profiles",
                blocks=(f"{NOT_SUPPORTED} Patient and study attributes are carried unchanged from images to results.",),
            ),
            Section(number="1.7", title="Specific Character Sets", blocks=(_character_sets(),)),
        ),
    )


def _content() -> Table:
    rows: dict[str, dict[str, str]] = {}
    for service in services.SERVICES:
        if service.use in (Use.READ, Use.SET_ASIDE, Use.DELIVER):
            row = rows.setdefault(service.sop_class_uid, {"name": service.name})
            row["created" if service.role is Role.SCU else service.use.name.lower()] = "Y"
    cells = (
        (
            row["name"],
            uid,
            row.get("created", "N"),
            row.get("read", "N"),
            "Y" if "read" in row or "set_aside" in row else "N",
            row.get("created", "N"),
        )
        for uid, row in rows.items()
    )
    columns = ("SOP Class", "UID", "Created", "Read and interpreted", "Received (Storage SCP)", "Sent (Storage SCU)")
    return Table(
        key="content-and-transfer",
        title="Content and transfer; what is received but not interpreted is kept and journalled, never read",
        columns=columns,
        rows=tuple(cells),
    )


def _roots(measured: Measurement) -> Table:
    rows = tuple(
        (kind, measured.censuses[kind].sop_class_uid, ", ".join(tree.templates) or "none")
        for kind, tree in measured.trees.items()
    )
    return Table(
        key="root-templates",
        title="Root templates of the documents that are written (PS3.16)",
        columns=("Kind", "SOP Class UID", "Root template"),
        rows=rows,
    )


def _dimse() -> Table:
    rows: dict[tuple[str, str, str], set[Role]] = {}
    for service in services.SERVICES:
        group = {
            Use.ECHO: "1.2.1 Verification",
            Use.COMMIT: "1.2.2 Storage: Storage Commitment",
            Use.QUERY: "1.2.4 Query/Retrieve",
        }.get(service.use, "1.2.2 Storage")
        rows.setdefault((group, service.name, service.sop_class_uid), set()).add(service.role)
    cells = tuple(
        (*row, "Y" if Role.SCU in roles else "N", "Y" if Role.SCP in roles else "N")
        for row, roles in sorted(rows.items())
    )
    none = tuple(
        (name, NOT_SUPPORTED, "", "N", "N") for name in ("1.2.3 Workflow Management", "1.2.5 Print Management")
    )
    return Table(
        key="dimse-services",
        title="DIMSE services",
        columns=("Service", "SOP Class", "UID", "SCU", "SCP"),
        rows=cells + none,
    )


def _character_sets() -> Table:
    read = ", ".join(sorted(term for term in python_encoding if term.startswith(("ISO_IR", "ISO 2022", "GB"))))
    return Table(
        key="character-sets",
        title="Specific Character Set (0008,0005)",
        columns=("Direction", "Character sets"),
        rows=(
            ("received", f"kept as sent; understood: the default repertoire, {read}"),
            (
                "sent",
                "that of the images read; ISO_IR 192 where a text of ours has characters that it lacks and ISO_IR 100 "
                "does not serve",
            ),
        ),
    )


def introduction() -> Section:
    """Return chapter 3."""
    return Section(
        number="3",
        title="Introduction",
        sections=(
            Section(
                number="3.1",
                title="Revision History",
                blocks=(
                    f"Made by sgmri {identity.SOFTWARE_VERSION} of its own configuration and tables "
                    "(`sgmri conformance statement`); it is as new as the program that printed it. Changes of the "
                    "product are in its CHANGELOG.",
                ),
            ),
            Section(
                number="3.2",
                title="Audience",
                blocks=("Whoever connects sgmri with a PACS, an archive or a modality, and whoever tests that.",),
            ),
            Section(
                number="3.3",
                title="Remarks",
                blocks=(
                    "A conformance statement does not replace tests of two systems together. "
                    "`sgmri conformance` has these tests, for this product and any other.",
                    f"{RESEARCH_USE_STATEMENT} Results must not be used for decisions about patients.",
                ),
            ),
            Section(
                number="3.4",
                title="Terms and Definitions",
                blocks=("As in DICOM PS3. Reading: all answers of one engine to one question set on one series.",),
            ),
            Section(
                number="3.5",
                title="Abbreviations",
                blocks=(
                    "AE Application Entity; KO Key Object Selection; PR Presentation State; SC Secondary Capture; "
                    "SCP, SCU "
                    "Service Class Provider, User; SEG Segmentation; SR Structured Report; TID Template Identifier.",
                ),
            ),
            Section(
                number="3.6",
                title="References",
                blocks=(
                    "DICOM PS3.2 Annex N (the order of this document), PS3.3, PS3.4, PS3.5, PS3.7, PS3.8, PS3.16. "
                    "Modules: the tables of PS3.3 that highdicom carries.",
                ),
            ),
        ),
    )


def implementation_model(settings: Settings) -> Section:
    """Return chapter 4."""
    return Section(
        number="4",
        title="Implementation Model",
        sections=(
            Section(
                number="4.1",
                title="Application Entities and Data Flow",
                blocks=(
                    f"One Application Entity, {settings.listener.ae_title}: a listener that accepts associations, and "
                    "delivery workers that initiate them under the same AE title. Reading workers use no network "
                    "services.",
                    Table(
                        key="data-flow",
                        title="Data flow",
                        columns=("Remote system", "Direction", "Service", "What"),
                        rows=(
                            (
                                "peers that may call",
                                "in",
                                "Verification, Storage",
                                "MR series, and what comes with them",
                            ),
                            *data_flow(settings),
                        ),
                    ),
                    "Tools for tests beside the Application Entity: `sgmri send`, a stand-in for a modality, proposes "
                    "the SOP class and transfer syntax of the files that it is given; `sgmri demo` queries and "
                    "retrieves; `sgmri viewer` passes QIDO-RS and WADO-RS of a PACS through to a browser here.",
                ),
                sections=(
                    Section(
                        number="4.1.1",
                        title=f"Functional Definition of {AE}",
                        blocks=(
                            "Instances are written to a spool before Success is answered. A series is complete when no "
                            f"instance has come for {settings.series.quiet_period_s:g} s; selected series of brain "
                            "or knee "
                            "are read once, others are journalled with the reason why not. The objects of a reading "
                            "are "
                            "written to an outbox, read back and compared with the reading, then stored at every "
                            "destination, each of which is asked for proof in its own way. A series that grows is read "
                            "again, and its new report names the earlier one as predecessor. An operator may take a "
                            "reading back: then a rejection note (Key Object Selection, PS3.16 CID 7011) is stored.",
                        ),
                    ),
                ),
            ),
        ),
    )


def interoperability(settings: Settings) -> Section:
    """Return chapter 5."""
    dimse = (
        ("5.2.1", "Basic Worklist Management Service", (NOT_SUPPORTED,)),
        ("5.2.2", "Modality Performed Procedure Step Service", (NOT_SUPPORTED,)),
        ("5.2.3", "Unified Worklist and Procedure Step Service", (NOT_SUPPORTED,)),
        ("5.2.4", "Instance Availability Notification Service", (NOT_SUPPORTED,)),
        ("5.2.5", "Storage Service", tuple(_storage(settings))),
        ("5.2.6", "Storage Commitment Service", tuple(commitment(settings))),
        ("5.2.7", "Query/Retrieve Service", tuple(_query())),
        ("5.2.8", "Print Management Service", (NOT_SUPPORTED,)),
    )
    return Section(
        number="5",
        title="Service and Interoperability Description",
        sections=(
            Section(
                number="5.1",
                title="Mapping of Services to Application Entities",
                blocks=(f"All services belong to {AE}; see chapter 7.2.",),
            ),
            Section(
                number="5.2",
                title="DIMSE Services",
                sections=tuple(Section(number=number, title=title, blocks=blocks) for number, title, blocks in dimse),
            ),
            Section(number="5.3", title="DICOM Web Services", blocks=tuple(web_services(settings))),
            Section(number="5.4", title="Media Services", blocks=(NOT_SUPPORTED,)),
            Section(number="5.5", title="Real-Time Video Services", blocks=(NOT_SUPPORTED,)),
            Section(
                number="5.6",
                title="Cross-Service Considerations",
                blocks=(
                    "Results go into the study of the images that were read, in series of their own. UIDs are derived "
                    "from the images, the engine and the questions: the same reading gives the same objects under "
                    "the same "
                    "UIDs, so that one that is stored twice is the same one.",
                    "Repeated verbatim from the images, and left out where they lack it: "
                    f"{', '.join(PATIENT_AND_STUDY)}. "
                    "Values that the standard forbids are left empty.",
                ),
            ),
            Section(number="5.7", title="Specific Character Sets", blocks=("See 1.7.",)),
        ),
    )


def _storage(settings: Settings) -> Iterator[str | Table]:
    listener = settings.listener
    yield (
        "SCP: the data set is stored as it was sent, in its transfer syntax and with all attributes, private ones too "
        "(Level 2, full). It is not coerced. The first copy of a SOP instance is kept, a second one is answered "
        "Success. "
        f'Durability "{listener.durability}": see 6.1. Nothing that was received can be queried or retrieved.'
    )
    yield from store_scu(settings)


def _query() -> Iterator[str | Table]:
    names = ", ".join(service.name for service in for_use(Use.QUERY, role=Role.SCU))
    yield (
        f"SCU only: {names or 'none'}. The Application Entity asks with C-FIND at IMAGE level, by Study and Series "
        "Instance UID, which objects a DIMSE destination lists: as proof of storage where the destination is set to "
        "query, and where an object was refused, to see whether it is there already. It is no SCP of Query/Retrieve. "
        "For the archive of [sweep], where there is one, it asks at STUDY level by Modalities in Study (MR) and a "
        "range of Study Date, at SERIES level by Study Instance UID and Modality (MR), and has what the journal lacks "
        "sent to itself by C-MOVE at SERIES level. "
        "`sgmri demo` asks at SERIES level by Study Instance UID, and retrieves a series with C-GET, with the SCP role "
        "for the SOP classes that are delivered."
    )
