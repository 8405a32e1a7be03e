"""What a stored instance is, by its header, and where in the spool it lies, by keys of our own."""

import base64
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dicom_io.header_scan import Identifiers, scan_file
from dicom_io.headers import is_uid
from sgmri.errors import MalformedInstance

KEY_LENGTH = 16
SUFFIX = ".dcm"
"""Of a stored instance's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """An instance that is safely on disk.

    Parameters
    ----------
    series_key, file_name
        Where: ``<spool>/<series_key>/<file_name>``.
    study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid
        What.
    size_bytes
        Size of the file.
    expected_instances
        Images in Acquisition (0020,1002); None where absent.
    was_there
        Whether the same instance had been stored before; the first copy is kept.
    differs
        Whether it had been stored before with other bytes.
    """

    series_key: str
    file_name: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    size_bytes: int
    expected_instances: int | None = None
    was_there: bool = False
    differs: bool = False


@lru_cache(maxsize=256)
def series_key(study_instance_uid: str, series_instance_uid: str) -> str:
    """Return the key of a series: 16 characters, derived; the first 8 stand in log lines."""
    return _key(f"{study_instance_uid}/{series_instance_uid}")


def _key(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b32encode(digest[: KEY_LENGTH * 5 // 8]).decode().lower()


def read_header(encoded: bytes) -> StoredInstance:
    """Read from an instance in PS3.10 form what the spool needs to place it.

    Raises
    ------
    MalformedInstance
        If it is none, is not whole, or lacks a valid UID.
    """
    return identify(scan_file(lambda offset, count: encoded[offset : offset + count], len(encoded)), len(encoded))


def read_file_header(path: Path) -> StoredInstance:
    """Do the same for a file.

    Raises
    ------
    MalformedInstance
        If it is none, is not whole, or lacks a valid UID.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        size = path.stat().st_size
        return identify(scan_file(lambda offset, count: os.pread(stream.fileno(), count, offset), size), size)


def identify(identifiers: Identifiers, size_bytes: int) -> StoredInstance:
    """Return the place of an instance.

    Parameters
    ----------
    identifiers
        What it says it is.
    size_bytes
        Of its file.

    Raises
    ------
    MalformedInstance
        If a UID is missing or invalid.
    """
    study, series = identifiers.study_instance_uid, identifiers.series_instance_uid
    instance, sop_class = identifiers.sop_instance_uid, identifiers.sop_class_uid
    if not all(is_uid(uid) for uid in (study, series, instance, sop_class)):
        raise MalformedInstance(
            "expected valid Study, Series and SOP Instance UIDs (PS3.5 9.1) in the data set; have the sender repair it"
        )
    return StoredInstance(
        series_key=series_key(study, series),
        file_name=f"{_key(instance)}{SUFFIX}",
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        size_bytes=size_bytes,
        expected_instances=identifiers.expected_instances,
    )
