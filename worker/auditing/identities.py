"""Whose a series is, for audit messages of sites that ask for it: from the journal and from the spool."""

from collections.abc import Callable

from dicom_io.results import read_object
from dicom_io.spool import Spool
from sgmri.errors import SeriesError
from worker.auditing.messages import Identity
from worker.journal import Journal


def identities(journal: Journal, spool: Spool) -> Callable[[str], Identity | None]:
    """Return who tells whose a series is by its key: None if the journal does not have it.

    The Patient ID is that of an instance in the spool; where they have left, it is empty.
    """

    def identify(series_key: str) -> Identity | None:
        rows = journal.beginning_with(series_key, limit=2)
        if len(rows) != 1:
            return None
        (row,) = rows
        for name in journal.file_names(row.series_key):
            try:
                header = read_object(spool.path(row.series_key, name), only=("PatientID",))
            except (SeriesError, FileNotFoundError):
                continue
            return Identity(study_instance_uid=row.study_instance_uid, patient_id=str(header.get("PatientID") or ""))
        return Identity(study_instance_uid=row.study_instance_uid, patient_id="")

    return identify
