"""Ask a PACS what it holds (C-FIND), fetch objects from it (C-GET), or have it send them (C-MOVE).

References
----------
PS3.4 C.4.1, C.4.2, C.4.3
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_io.network import Destination, associate, status_of
from dicom_io.services import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, UNCOMPRESSED, Use, proposed
from sgmri.errors import PeerBusy, PeerRejects, PeerUnavailable

_PENDING = frozenset({0xFF00, 0xFF01})
_DESTINATION_UNKNOWN = 0xA801  # PS3.4 C.4.2.1.5


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052) of the Study Root model."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One row of a C-FIND answer: attribute keyword -> text."""

    values: Mapping[str, str]

    def __getitem__(self, keyword: str) -> str:
        return self.values.get(keyword, "")


def find(destination: Destination, level: Level, keys: Mapping[str, str]) -> tuple[Match, ...]:
    """Query the PACS.

    Parameters
    ----------
    destination
        Whom to ask.
    level
        At which level.
    keys
        Attribute keyword -> value to match; empty to have it returned.

    Raises
    ------
    PeerUnavailable
        If it does not answer, or (PeerBusy) answers with a failure.
    """
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level.value
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    matches = []
    with associate(destination, [proposed(STUDY_ROOT_FIND, Use.QUERY)]) as association:
        status: int | None = None
        for response, row in association.send_c_find(identifier, STUDY_ROOT_FIND):
            status = status_of(response)
            if status in _PENDING and row is not None:
                matches.append(Match(values={keyword: str(row.get(keyword, "") or "") for keyword in keys}))
    if status != 0x0000:
        raise _failure(destination, "C-FIND", status)
    return tuple(matches)


def get(
    destination: Destination, study_instance_uid: str, series_instance_uid: str, sop_classes: Sequence[str], out: Path
) -> tuple[Path, ...]:
    """Fetch a series with C-GET.

    Parameters
    ----------
    destination
        Whom to ask.
    study_instance_uid, series_instance_uid
        Which series.
    sop_classes
        SOP classes that it may hold.
    out
        Directory for the files, which are numbered in order of arrival.

    Raises
    ------
    PeerUnavailable
        If it does not answer, or (PeerBusy) answers with a failure.
    """
    received: list[Path] = []

    def on_store(event: evt.Event) -> int:
        path = out / f"{len(received) + 1:04d}.dcm"
        path.write_bytes(event.encoded_dataset())
        received.append(path)
        return 0x0000

    identifier = _series_identifier(study_instance_uid, series_instance_uid)
    out.mkdir(parents=True, exist_ok=True)
    contexts = [proposed(STUDY_ROOT_GET, Use.QUERY), *((uid, UNCOMPRESSED) for uid in sop_classes)]
    status: int | None = None
    with associate(destination, contexts, scp_roles=sop_classes, handlers=[(evt.EVT_C_STORE, on_store)]) as association:
        for response, _ in association.send_c_get(identifier, STUDY_ROOT_GET):
            status = status_of(response)
    if status != 0x0000:
        raise _failure(destination, "C-GET", status)
    return tuple(received)


def move(destination: Destination, study_instance_uid: str, series_instance_uid: str, to_ae_title: str) -> None:
    """Have a series sent to an application entity that the PACS knows (C-MOVE).

    Parameters
    ----------
    destination
        Whom to ask.
    study_instance_uid, series_instance_uid
        Which series.
    to_ae_title
        The move destination; the PACS knows its address.

    Raises
    ------
    PeerUnavailable
        If it does not answer, does not know the move destination (PeerRejects), answers with a failure, or could not
        send all of it (PeerBusy).
    """
    identifier = _series_identifier(study_instance_uid, series_instance_uid)
    status: int | None = None
    with associate(destination, [proposed(STUDY_ROOT_MOVE, Use.QUERY)]) as association:
        for response, _ in association.send_c_move(identifier, to_ae_title, STUDY_ROOT_MOVE):
            status = status_of(response)
    if status == _DESTINATION_UNKNOWN:
        raise PeerRejects(
            f"expected {destination.ae_title} to know {to_ae_title} as a move destination, found that it does not "
            "(status 0xA801); enter our AE title, address and port there"
        )
    if status != 0x0000:
        raise _failure(destination, "C-MOVE", status)


def _series_identifier(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = Level.SERIES.value
    identifier.StudyInstanceUID = study_instance_uid
    identifier.SeriesInstanceUID = series_instance_uid
    return identifier


def _failure(destination: Destination, service: str, status: int | None) -> PeerUnavailable:
    if status is None:
        return PeerUnavailable(f"{destination.ae_title} answered {service} with no status")
    return PeerBusy(f"{destination.ae_title} answered {service} with status 0x{status:04X}")
