"""An archive that is asked which MR series it holds, and to send one of them here.

References
----------
PS3.4 C.4.1 (C-FIND), C.4.2 (C-MOVE), C.6.2.1 (Study Root keys)
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from dicom_io.headers import is_uid
from dicom_io.identity import MANUFACTURER
from dicom_io.network import Destination
from dicom_io.query import Level, find, move
from dicom_io.stored import series_key

STUDY_KEYS = {"StudyInstanceUID": "", "ModalitiesInStudy": "MR", "StudyDate": ""}
SERIES_KEYS = {"SeriesInstanceUID": "", "Modality": "MR", "NumberOfSeriesRelatedInstances": "", "Manufacturer": ""}
"""What is asked at each level; an archive may ignore what it need not match, so every answer is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedSeries:
    """A series as the archive lists it.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        Which.
    instances
        How many the archive has.
    """

    study_instance_uid: str
    series_instance_uid: str
    instances: int

    @property
    def series_key(self) -> str:
        """The journal's key of it."""
        return series_key(self.study_instance_uid, self.series_instance_uid)


class Archive(Protocol):
    """Where series that were missed can be had."""

    def series(self, since: date | None) -> Iterator[ArchivedSeries]:
        """Yield the MR series of the studies since a day (None: of all) that are not results of ours."""

    def study(self, study_instance_uid: str) -> Iterator[ArchivedSeries]:
        """Yield those of one study."""

    def fetch(self, series: ArchivedSeries) -> None:
        """Have a series come here; a failure is one of our errors."""


class DimseArchive:
    """An archive that is asked with C-FIND, and sends to our listener when it is told to with C-MOVE.

    Parameters
    ----------
    peer
        The archive.
    move_to
        Our listener's AE title, with an address that the archive knows.
    """

    def __init__(self, peer: Destination, move_to: str) -> None:
        self._peer = peer
        self._move_to = move_to

    def series(self, since: date | None) -> Iterator[ArchivedSeries]:
        """Ask at STUDY, then at SERIES level; raises PeerUnavailable."""
        for match in find(self._peer, Level.STUDY, {**STUDY_KEYS, "StudyDate": day_range(since)}):
            yield from self.study(match["StudyInstanceUID"])

    def study(self, study_instance_uid: str) -> Iterator[ArchivedSeries]:
        """Ask at SERIES level; raises PeerUnavailable."""
        for match in find(self._peer, Level.SERIES, {"StudyInstanceUID": study_instance_uid, **SERIES_KEYS}):
            yield from listed(study_instance_uid, match.values, self._count)

    def fetch(self, series: ArchivedSeries) -> None:
        """Have it sent to our listener (C-MOVE); raises PeerUnavailable."""
        move(self._peer, series.study_instance_uid, series.series_instance_uid, self._move_to)

    def _count(self, study_instance_uid: str, series_instance_uid: str) -> int:
        keys = {
            "StudyInstanceUID": study_instance_uid,
            "SeriesInstanceUID": series_instance_uid,
            "SOPInstanceUID": "",
        }
        return len({match["SOPInstanceUID"] for match in find(self._peer, Level.IMAGE, keys)})


def day_range(since: date | None) -> str:
    """Return the range matching of a day and what follows it (PS3.4 C.2.2.2.5); empty for any."""
    return "" if since is None else f"{since:%Y%m%d}-"


def listed(
    study_instance_uid: str, match: Mapping[str, str], count: Callable[[str, str], int]
) -> Iterator[ArchivedSeries]:
    """Yield the series of a match, if it is MR, none that we wrote ourselves, and has UIDs that we could store.

    Parameters
    ----------
    study_instance_uid
        Its study.
    match
        Keyword -> text.
    count
        Counts the instances of a study's series; the archive need not (an optional key).
    """
    uid = match.get("SeriesInstanceUID", "")
    if match.get("Modality") != "MR" or match.get("Manufacturer") == MANUFACTURER:
        return
    if is_uid(study_instance_uid) and is_uid(uid):
        text = match.get("NumberOfSeriesRelatedInstances", "")
        instances = int(text) if text.isdecimal() else count(study_instance_uid, uid)
        yield ArchivedSeries(study_instance_uid=study_instance_uid, series_instance_uid=uid, instances=instances)
