"""Who writes the objects and under which UIDs: the product's identity, and UIDs derived from the reading.

UIDs are derived, never drawn (ADR 0005): the same series, engine and questions give the same UIDs, so that a
redelivered task stores nothing twice.

References
----------
PS3.5 B.2 (UUID derived UIDs), PS3.3 C.7.5.1 (General Equipment), PS3.7 D.3.3.2 (implementation identification)
"""

import hashlib
import uuid
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from dicom_io.kinds import ResultKind
from sgmri.findings import Finding, Tracklet
from sgmri.readings import EngineIdentity, Reading

_NAMESPACE: Final = uuid.UUID("7f0c5a52-3f0e-5b0e-9d55-6c1f1d0a5e17")
"""Never changes: a new namespace would store every result a second time."""

_SEPARATOR: Final = "\x1f"
"""Unit separator: occurs in no UID, name or number, so that parts cannot run into each other."""


def derived_uid(*parts: str) -> str:
    """Return the UID of these words: the same words, the same UID, on every machine.

    Parameters
    ----------
    *parts
        What the object is, from general to particular.

    Returns
    -------
    A UUID derived UID under 2.25 (at most 44 characters).
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, _SEPARATOR.join(parts)).int}"


def _installed_version() -> str:
    try:
        return version("sgmri")
    except PackageNotFoundError:
        return "0"  # a bare checkout


MANUFACTURER: Final = "sgmri project"
MODEL_NAME: Final = "sgmri"
SOFTWARE_VERSION: Final = _installed_version()
IMPLEMENTATION_CLASS_UID: Final = derived_uid("implementation", MODEL_NAME)
IMPLEMENTATION_VERSION_NAME: Final = f"SGMRI_{SOFTWARE_VERSION}"[:16]
"""At most 16 characters (PS3.7 D.3.3.2.3)."""


def device_uid(engine: EngineIdentity) -> str:
    """Return the Device UID (0018,1002): a new one whenever the engine's answers could change."""
    return derived_uid("device", MODEL_NAME, engine.name, engine.version, engine.digest)


def reading_key(reading: Reading) -> str:
    """Return the key of a reading: what was read, by whom, what was asked, also by hand, retracted before, which form.

    The order of the frames does not matter; when they were read does not either.

    Returns
    -------
    sha256 as 64 hexadecimal digits.
    """
    sources = sorted(f"{ref.sop_instance_uid}#{ref.frame_number or ''}" for ref in reading.frames)
    engine = reading.engine
    words = [*sources, engine.name, engine.version, engine.digest, reading.question_set_id]
    if reading.edition:
        words.append(f"edition {reading.edition}")
    if reading.form:
        words.append(f"form {reading.form}")
    words += [question.question_id for question in reading.asked]
    return hashlib.sha256(_SEPARATOR.join(words).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultUids:
    """Every UID that the results of one reading bear.

    Parameters
    ----------
    key
        :func:`reading_key` of the reading.
    """

    key: str

    def series(self, kind: ResultKind, *forms: str) -> str:
        """Return the Series Instance UID of an object: each kind has a series of its own.

        Parameters
        ----------
        kind
            Which.
        *forms
            In what it differs from the usual: other content never goes out under a UID that a PACS may know already.
        """
        return derived_uid(f"{kind} series", self.key, *forms)

    def instance(self, kind: ResultKind, *forms: str) -> str:
        """Return the SOP Instance UID of an object; ``forms`` as in :meth:`series`."""
        return derived_uid(f"{kind} instance", self.key, *forms)

    def box_uid(self, tracklet: Tracklet, finding: Finding) -> str:
        """Return the Tracking Unique Identifier of one box: its own, for viewers merge boxes that share one."""
        return finding.tracking_uid or derived_uid("box", self.key, tracklet.tracklet_id, str(finding.frame_index))

    def segment_uid(self, tracklet: Tracklet) -> str:
        """Return the Tracking UID (0062,0021) of one tracklet's segment."""
        return tracklet.tracking_uid or derived_uid("segment", self.key, tracklet.tracklet_id)


def result_uids(reading: Reading) -> ResultUids:
    """Return the UIDs of a reading's results."""
    return ResultUids(key=reading_key(reading))
