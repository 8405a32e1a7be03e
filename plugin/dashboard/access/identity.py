"""A patient's identity, shown to who may see it and asks for it, and never kept."""

import re
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dicom_io.patient import PatientIdentity, read_patient
from dicom_io.stored import KEY_LENGTH
from plugin.dashboard.access.visits import user_of, visit_of
from sgmri.audit import Action
from sgmri.errors import MalformedInstance

_SERIES_KEY = re.compile(f"[a-z2-7]{{{KEY_LENGTH}}}")


async def reveal_identity(request: Request, series_key: str, spool_dir: Path) -> PatientIdentity:
    """Return who the patient of a series is, from the first instance in the spool; the look is audited before.

    Parameters
    ----------
    request
        Of the user who asks.
    series_key
        Whole key of the series.
    spool_dir
        The spool.

    Raises
    ------
    HTTPException
        403 if the user may not see it; 404 if the series is not in the spool (any more).
    """
    visit = visit_of(request)
    if not user_of(request).may_see_identity:
        await visit.audit(Action.REVEAL_IDENTITY, refused="the role may not see identities", series_key=series_key[:8])
        raise HTTPException(403, "Your role may not see who a patient is.")
    path = await run_in_threadpool(_first, spool_dir, series_key)
    if path is None:
        raise HTTPException(404, "The images of this series are not in the spool.")
    await visit.audit(Action.REVEAL_IDENTITY, series_key=series_key[:8])
    try:
        return await run_in_threadpool(read_patient, path)
    except (MalformedInstance, FileNotFoundError):
        raise HTTPException(404, "The images of this series cannot be read.") from None


def _first(spool_dir: Path, series_key: str) -> Path | None:
    if not _SERIES_KEY.fullmatch(series_key):  # it becomes part of a path
        return None
    return min((spool_dir / series_key).glob("*.dcm"), default=None)
