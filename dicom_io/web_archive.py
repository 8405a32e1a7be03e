"""An archive that is asked over the web: QIDO-RS, and WADO-RS.

References
----------
PS3.18 10.6 (Search), 10.4 (Retrieve)
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from io import BytesIO
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError

from dicom_io.archive import SERIES_KEYS, STUDY_KEYS, ArchivedSeries, day_range, listed
from dicom_io.stow import StowUserAgent

_AS_STORED = (("application/dicom", "*"),)  # any transfer syntax: nothing is converted for us
_PAGE = 100


class WebArchive:
    """Asks an origin server and fetches by itself what it lists.

    Parameters
    ----------
    agent
        The connection.
    keep
        Takes each instance in PS3.10 form.
    """

    def __init__(self, agent: StowUserAgent, keep: Callable[[bytes], None]) -> None:
        self._agent = agent
        self._keep = keep

    def series(self, since: date | None) -> Iterator[ArchivedSeries]:
        """Search for studies, then for the series of each; raises PeerUnavailable or StoreRefused."""
        filters = {**STUDY_KEYS, "StudyDate": day_range(since)}
        for match in self._search(filters, self._agent.client().search_for_studies):
            yield from self.study(match["StudyInstanceUID"])

    def study(self, study_instance_uid: str) -> Iterator[ArchivedSeries]:
        """Search for the series of a study; raises as :meth:`series`."""
        for match in self._search(SERIES_KEYS, self._agent.client().search_for_series, study_instance_uid):
            yield from listed(study_instance_uid, match, lambda study, series: len(self._agent.held(study, series)))

    def fetch(self, series: ArchivedSeries) -> None:
        """Retrieve it, an instance in memory at a time; raises as :meth:`series`, and what ``keep`` does."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are looked at when the series is read
            instances = self._agent.asked(
                lambda: self._agent.client().iter_series(
                    series.study_instance_uid, series.series_instance_uid, media_types=_AS_STORED
                )
            )
            while (encoded := self._agent.asked(lambda: _encoded(instances))) is not None:
                self._keep(encoded)

    def _search(self, keys: Mapping[str, str], search: Callable[..., Any], *where: str) -> Iterator[dict[str, str]]:
        """Yield keyword -> text of each match, page by page, until one has nothing new.

        A server may give fewer than asked for, or ignore the offset.
        """
        filters = {keyword: value for keyword, value in keys.items() if value}
        seen: set[tuple[str, ...]] = set()

        def page() -> list[dict[str, str]]:
            options = {"search_filters": filters, "fields": [*keys], "limit": _PAGE, "offset": len(seen)}
            return [_texts(match, keys) for match in search(*where, **options)]

        while new := [one for one in self._agent.asked(page) if tuple(one.values()) not in seen]:
            yield from new
            seen.update(tuple(one.values()) for one in new)


def _texts(match: Mapping[str, Any], keywords: Iterable[str]) -> dict[str, str]:
    values = {one: match.get(f"{tag_for_keyword(one):08X}", {}).get("Value") or [""] for one in keywords}
    return {keyword: str(value[0] or "") for keyword, value in values.items()}


def _encoded(instances: Iterator[Any]) -> bytes | None:
    """Return the next instance in PS3.10 form; None behind the last."""
    try:
        dataset = next(instances, None)
    except InvalidDicomError:
        raise ValueError from None  # as unreadable as any other answer
    if dataset is None:
        return None
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
