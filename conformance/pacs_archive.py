"""The shelf of the small PACS: instances on disk, an index in memory, and the hierarchical query over it.

References
----------
PS3.4 C.2.2.2 (matching), C.4.1 (hierarchical search), C.6.2.1 (Study Root keys)
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from uuid import uuid4

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from sgmri.errors import ConfigError, MalformedInstance

MAX_INSTANCES = 20_000
"""Instances that an archive holds at most; it is for tests and demonstrations."""

SUCCESS, MISMATCH, UNABLE = 0x0000, 0xA900, 0xC000
"""DIMSE status of a query: success, identifier does not match SOP class, unable to process (PS3.4 C.4.1.1.4)."""

_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "STUDY": (
            "StudyInstanceUID",
            "SpecificCharacterSet",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
            "StudyDescription",
            "ReferringPhysicianName",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
        ),
        "SERIES": (
            "SeriesInstanceUID",
            "Modality",
            "SeriesNumber",
            "SeriesDescription",
            "SeriesDate",
            "SeriesTime",
            "BodyPartExamined",
            "Laterality",
            "ProtocolName",
            "Manufacturer",
            "FrameOfReferenceUID",
        ),
        "IMAGE": (
            "SOPInstanceUID",
            "SOPClassUID",
            "InstanceNumber",
            "ContentDate",
            "ContentTime",
            "Rows",
            "Columns",
            "NumberOfFrames",
        ),
    }
)
"""Keys that are kept and returned, by level; the first of each is the level's unique key."""
_LEVELS = tuple(_KEYS)
_NO_KEYS = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle", "InstanceAvailability"})

_COUNTED: Mapping[str, Mapping[str, Callable[[list[Dataset]], int | list[str]]]] = MappingProxyType(
    {
        "STUDY": {
            "NumberOfStudyRelatedSeries": lambda headers: len({h.SeriesInstanceUID for h in headers}),
            "NumberOfStudyRelatedInstances": len,
            "ModalitiesInStudy": lambda headers: sorted({str(h.get("Modality", "")) for h in headers}),
            "SOPClassesInStudy": lambda headers: sorted({str(h.SOPClassUID) for h in headers}),
        },
        "SERIES": {"NumberOfSeriesRelatedInstances": len},
        "IMAGE": {},
    }
)
"""What an entity's key is when it depends on all of its instances (PS3.4 C.3.4)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stored:
    path: Path
    header: Dataset


class Archive:
    """Instances by SOP Instance UID; safe for several threads.

    Parameters
    ----------
    directory
        Where the instances lie, under hashed names; made if it is not there, indexed if it holds some already.

    Raises
    ------
    ConfigError
        If the directory holds files of that kind which are no DICOM instances.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = Lock()
        self._stored: dict[str, _Stored] = {}
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob("*.part"):
            leftover.unlink()
        for path in sorted(directory.glob("*.dcm")):
            try:
                header = _header(path.read_bytes())
            except MalformedInstance as error:
                raise ConfigError(
                    "expected only stored instances in the directory of the PACS, found another file; "
                    "empty the directory or choose another"
                ) from error
            self._stored[str(header.SOPInstanceUID)] = _Stored(path=path, header=header)

    def __len__(self) -> int:
        with self._lock:
            return len(self._stored)

    @property
    def is_full(self) -> bool:
        """Whether no further instance is taken."""
        return len(self) >= MAX_INSTANCES

    def sop_class_of(self, sop_instance_uid: str) -> str | None:
        """Return the SOP class that an instance is stored with; None if it is not stored."""
        with self._lock:
            stored = self._stored.get(sop_instance_uid)
        return None if stored is None else str(stored.header.SOPClassUID)

    def put(self, encoded: bytes, *, sop_class_uid: str, sop_instance_uid: str) -> None:
        """Store an instance durably, in place of one with the same UID.

        Parameters
        ----------
        encoded
            The instance as a PS3.10 file.
        sop_class_uid, sop_instance_uid
            What the C-STORE request calls it.

        Raises
        ------
        MalformedInstance
            If it cannot be parsed, or is not what the request calls it.
        OSError
            If it cannot be written.
        """
        header = _header(encoded)
        if (header.SOPClassUID, header.SOPInstanceUID) != (sop_class_uid, sop_instance_uid):
            raise MalformedInstance("expected the SOP class and instance of the request in the data set, found others")
        # a name of our own: nothing that a peer sends becomes part of a path
        path = self._directory / f"{sha256(sop_instance_uid.encode()).hexdigest()[:40]}.dcm"
        part = path.with_name(f"{uuid4().hex}.part")
        try:
            with part.open("wb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        with self._lock:
            self._stored[sop_instance_uid] = _Stored(path=path, header=header)

    def refusal(self, identifier: Dataset, *, is_retrieval: bool = False) -> int:
        """Return the DIMSE status that a query is refused with; :data:`SUCCESS` where it can be answered.

        Refused are a query without the unique keys of the levels above its own (a retrieval needs that of its own
        level too), and wildcards and ranges, which this PACS does not have: an answer of "no match" would be wrong.
        """
        level = str(identifier.get("QueryRetrieveLevel", ""))
        if level not in _LEVELS:
            return MISMATCH
        for above in _LEVELS[: _LEVELS.index(level)]:
            value = identifier.get(_KEYS[above][0])
            if not value or isinstance(value, MultiValue):
                return MISMATCH
        if is_retrieval and not identifier.get(_KEYS[level][0]):
            return MISMATCH
        return UNABLE if any(_is_beyond_us(element) for element in identifier) else SUCCESS

    def find(self, identifier: Dataset) -> tuple[Dataset, ...]:
        """Return one row for each study, series or instance that matches, with the keys that were asked for.

        Parameters
        ----------
        identifier
            A query that :meth:`refusal` lets pass.
        """
        level = str(identifier.QueryRetrieveLevel)
        rows = []
        for entity in self._entities(level):
            if not all(_matches(entity, element) for element in identifier):
                continue
            row = Dataset()
            for element in identifier:
                row.add(entity[element.tag] if element.tag in entity else DataElement(element.tag, element.VR, None))
            row.QueryRetrieveLevel = level
            row.InstanceAvailability = "ONLINE"
            row.SpecificCharacterSet = entity.get("SpecificCharacterSet", "ISO_IR 6")
            rows.append(row)
        return tuple(rows)

    def paths(self, identifier: Dataset) -> tuple[Path, ...]:
        """Return the file of every instance under the entities that match, for a retrieval."""
        with self._lock:
            stored = list(self._stored.values())
        return tuple(item.path for item in stored if all(_matches(item.header, element) for element in identifier))

    def _entities(self, level: str) -> list[Dataset]:
        with self._lock:
            headers = [stored.header for stored in self._stored.values()]
        unique = _KEYS[level][0]
        groups: dict[str, list[Dataset]] = {}
        for header in headers:
            groups.setdefault(str(header[unique].value), []).append(header)
        known = [keyword for above in _LEVELS[: _LEVELS.index(level) + 1] for keyword in _KEYS[above]]
        entities = []
        for group in groups.values():
            entity = Dataset()
            for keyword in known:
                if keyword in group[0]:
                    entity.add(group[0][keyword])
            for keyword, count in _COUNTED[level].items():
                setattr(entity, keyword, count(group))
            entities.append(entity)
        return entities


def _header(encoded: bytes) -> Dataset:
    tags = [keyword for keys in _KEYS.values() for keyword in keys]
    try:
        header = Dataset(dcmread(BytesIO(encoded), stop_before_pixels=True, specific_tags=list(tags)))
        list(header)  # pydicom parses a value when it is first looked at: now, not in the middle of a query
    except (InvalidDicomError, EOFError, ValueError, NotImplementedError) as error:
        raise MalformedInstance("expected a DICOM instance, found bytes that cannot be parsed") from error
    for level in _LEVELS:
        if not header.get(_KEYS[level][0]):
            raise MalformedInstance(f"expected {_KEYS[level][0]} in an instance, found none")
    if not header.get("SOPClassUID"):
        raise MalformedInstance("expected SOPClassUID in an instance, found none")
    return header


def _values(element: DataElement) -> set[str]:
    value = element.value
    several = value if isinstance(value, MultiValue) else [value]
    return {str(one).strip() for one in several if one is not None and str(one).strip()}


def _is_beyond_us(element: DataElement) -> bool:
    if element.keyword in _NO_KEYS or element.VR == "SQ":
        return False
    values = _values(element) - {"*"}
    if element.VR in {"DA", "TM", "DT"}:
        return any("-" in value for value in values)
    return element.VR != "UI" and any("*" in value or "?" in value for value in values)


def _matches(entity: Dataset, element: DataElement) -> bool:
    """Tell whether an entity fits one key: universal, single value or list of UIDs (PS3.4 C.2.2.2.1 to .3)."""
    if element.keyword in _NO_KEYS or element.VR == "SQ":
        return True
    wanted = _values(element)
    if not wanted or wanted == {"*"}:
        return True
    return element.tag in entity and not wanted.isdisjoint(_values(entity[element.tag]))
