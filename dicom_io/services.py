"""The table of DICOM services: SOP class x role x transfer syntaxes.

The listener opens its presentation contexts from this table, deliveries propose from it, and the README's service
table is generated from it: each fact is written once.

References
----------
PS3.4 B.5, PS3.5 10, PS3.2 (conformance statement, AE specifications)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_io.kinds import ResultKind
from sgmri.errors import SgmriError


class Role(StrEnum):
    """What we are for a SOP class."""

    SCP = "SCP"
    SCU = "SCU"


class Use(StrEnum):
    """What becomes of the objects of a SOP class."""

    ECHO = "verification"
    READ = "read"
    SET_ASIDE = "received and set aside"
    DELIVER = "delivered"
    COMMIT = "storage commitment"
    QUERY = "query and retrieve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One row of the table.

    Parameters
    ----------
    sop_class_uid, name
        The SOP class.
    role
        Our role.
    use
        What for.
    transfer_syntaxes
        In order of preference; Explicit VR Little Endian stands first so that no sender converts its files.
    """

    sop_class_uid: str
    name: str
    role: Role
    use: Use
    transfer_syntaxes: tuple[UID, ...]


UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
IMAGE_TRANSFER_SYNTAXES = (
    *UNCOMPRESSED,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
"""What the decoder can decode with what is always installed (:mod:`dicom_io.codecs`); the lossy ones stand last."""

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_MR_COLOR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.3"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
TRUE_COLOUR_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"

_IMAGES = (
    (MR_IMAGE, "MR Image Storage"),
    (ENHANCED_MR_IMAGE, "Enhanced MR Image Storage"),
)
_TRAVELLERS = (
    # Colour is declined with a reason (COLOUR). The others are objects that scanners and PACS send along with MR:
    # kept in the spool, journalled as SKIPPED, never read.
    (ENHANCED_MR_COLOR_IMAGE, "Enhanced MR Color Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.2", "MR Spectroscopy Storage"),
    ("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.2", "Multi-frame Grayscale Byte Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.3", "Multi-frame Grayscale Word Secondary Capture Image Storage"),
    (TRUE_COLOUR_CAPTURE, "Multi-frame True Color Secondary Capture Image Storage"),
    (PRESENTATION_STATE, "Grayscale Softcopy Presentation State Storage"),
    ("1.2.840.10008.5.1.4.1.1.66", "Raw Data Storage"),
    (SEGMENTATION, "Segmentation Storage"),
    (LABEL_MAP_SEGMENTATION, "Label Map Segmentation Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
    (ENHANCED_SR, "Enhanced SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR Storage"),
    (COMPREHENSIVE_3D_SR, "Comprehensive 3D SR Storage"),
    (KEY_OBJECTS, "Key Object Selection Document Storage"),
    (ENCAPSULATED_PDF, "Encapsulated PDF Storage"),
)
_RESULTS = (
    (COMPREHENSIVE_3D_SR, "Comprehensive 3D SR Storage"),
    (ENHANCED_SR, "Enhanced SR Storage"),
    (SEGMENTATION, "Segmentation Storage"),
    (LABEL_MAP_SEGMENTATION, "Label Map Segmentation Storage"),
    (PRESENTATION_STATE, "Grayscale Softcopy Presentation State Storage"),
    (TRUE_COLOUR_CAPTURE, "Multi-frame True Color Secondary Capture Image Storage"),
    (ENCAPSULATED_PDF, "Encapsulated PDF Storage"),
    (KEY_OBJECTS, "Key Object Selection Document Storage"),
)


def _rows() -> Iterator[Service]:
    def row(uid: str, name: str, role: Role, use: Use, syntaxes: tuple[UID, ...] = UNCOMPRESSED) -> Service:
        return Service(sop_class_uid=uid, name=name, role=role, use=use, transfer_syntaxes=syntaxes)

    yield row(VERIFICATION, "Verification", Role.SCP, Use.ECHO)
    for uid, name in _IMAGES:
        yield row(uid, name, Role.SCP, Use.READ, IMAGE_TRANSFER_SYNTAXES)
    for uid, name in _TRAVELLERS:
        yield row(uid, name, Role.SCP, Use.SET_ASIDE, IMAGE_TRANSFER_SYNTAXES)
    for uid, name in _RESULTS:
        yield row(uid, name, Role.SCU, Use.DELIVER)
    yield row(STORAGE_COMMITMENT, "Storage Commitment Push Model", Role.SCU, Use.COMMIT)
    yield row(VERIFICATION, "Verification", Role.SCU, Use.ECHO)
    yield row(STUDY_ROOT_FIND, "Study Root Query/Retrieve Information Model - FIND", Role.SCU, Use.QUERY)
    yield row(STUDY_ROOT_MOVE, "Study Root Query/Retrieve Information Model - MOVE", Role.SCU, Use.QUERY)
    yield row(STUDY_ROOT_GET, "Study Root Query/Retrieve Information Model - GET", Role.SCU, Use.QUERY)


SERVICES = tuple(_rows())
"""Every service of the product."""


SOP_CLASSES: Final[Mapping[ResultKind, str]] = MappingProxyType(
    {
        ResultKind.SEG: SEGMENTATION,
        ResultKind.LABELMAP: LABEL_MAP_SEGMENTATION,
        ResultKind.SR: COMPREHENSIVE_3D_SR,
        ResultKind.TEXT_SR: ENHANCED_SR,
        ResultKind.PR: PRESENTATION_STATE,
        ResultKind.SC: TRUE_COLOUR_CAPTURE,
        ResultKind.PDF: ENCAPSULATED_PDF,
        ResultKind.KO: KEY_OBJECTS,
    }
)
"""The SOP class of each kind of result."""

Proposal = tuple[str, tuple[UID, ...]]
"""SOP class, and the transfer syntaxes that we propose for it."""


def for_use(*uses: Use, role: Role) -> tuple[Service, ...]:
    """Return the rows for some uses in one role."""
    return tuple(service for service in SERVICES if service.role is role and service.use in uses)


def proposed(sop_class_uid: str, use: Use) -> Proposal:
    """Return what we propose as SCU of a SOP class for a use.

    Raises
    ------
    SgmriError
        If the table has no such row.
    """
    for service in for_use(use, role=Role.SCU):
        if service.sop_class_uid == sop_class_uid:
            return service.sop_class_uid, service.transfer_syntaxes
    raise SgmriError(
        f"expected SOP class {sop_class_uid} among those of the use {use.value!r}, found no such row; add it to "
        "dicom_io.services"
    )
