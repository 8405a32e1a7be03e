"""At the start: what is in the spool and not in the journal.

An instance is acknowledged before the journal has it. The journal's checkpoint says since when one may be missing;
only directories that changed after it are looked into.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance
from plugin.indexer import received
from sgmri.errors import MalformedInstance
from worker.journal import Journal

_log = logging.getLogger(__name__)

_MARGIN_S = 600.0
"""A directory's time is older than the moment its instance was handed over, and may be another machine's."""


def index_spool(spool: Spool, journal: Journal) -> int:
    """Journal what the journal does not know.

    Parameters
    ----------
    spool
        Recovered (:meth:`dicom_io.spool.Spool.recover`).
    journal
        Its journal; afterwards its checkpoint is now.

    Returns
    -------
    How many instances were new to the journal.
    """
    began = journal.clock()
    checkpoint = journal.checkpoint()
    # A checkpoint in the future is from a clock that was wrong
    since = checkpoint - _MARGIN_S if checkpoint is not None and checkpoint <= began else 0.0
    indexed = 0
    for key, names in groupby(spool.names(changed_since=since), lambda name: name[0]):
        found = _unknown(spool, journal, key, [name for _, name in names])
        indexed += journal.receive(*(received(instance) for instance in found))
    journal.receive(checkpoint=began)
    return indexed


def _unknown(spool: Spool, journal: Journal, key: str, names: list[str]) -> Iterator[StoredInstance]:
    """Yield the instances of which the journal does not know that they came, came again or came otherwise."""
    known = set(journal.file_names(key))
    changed_at = journal.series(key).updated_at if known else 0.0
    others = {path.name.partition(".")[0] for path in spool.path(key, "").glob("*.other")}
    for name in names:
        path = spool.path(key, name)
        # Of a known instance: its file is newer than anything the journal says of its series
        was_missing = path.stat().st_mtime > changed_at
        differs = path.stem in others
        if name in known and not was_missing and not differs:
            continue
        try:
            yield replace(spool.instance(key, name), was_there=not was_missing, differs=differs)
        except MalformedInstance:
            _log.warning("a file in the spool is no instance; it is left alone")
