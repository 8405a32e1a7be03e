"""The instance spool: received instances as PS3.10 files, durable before anybody is told so.

``<spool>/<series key>/<instance key>.dcm``. File names come from our own keys, never from a data set, so that no
peer chooses a path. A file is written under a temporary name, synced, renamed, and its directory synced; what is
left of an interrupted write is removed at the next start.
"""

import base64
import hashlib
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicom_io.headers import LIBRARY_ERRORS, is_uid
from sgmri.errors import MalformedInstance

KEY_LENGTH = 16
_PART = ".part"
_SUFFIX = ".dcm"
_PREAMBLE = 132  # PS3.10 7.1: preamble and "DICM"
_HEADER_BYTES = 1 << 20
_TRANSFER_SYNTAX, _SOP_CLASS, _SOP_INSTANCE = 0x00020010, 0x00080016, 0x00080018
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_LAST_HEADER_TAG = 0x00201002  # Images in Acquisition


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


def series_key(study_instance_uid: str, series_instance_uid: str) -> str:
    """Return the key of a series: 16 characters, derived; the first 8 stand in log lines."""
    return _key(f"{study_instance_uid}/{series_instance_uid}")


def _key(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:KEY_LENGTH]


class Spool:
    """Received instances on disk.

    Parameters
    ----------
    root
        The spool's directory; made when missing, readable by its owner only.
    min_free_bytes
        Below this much free disk nothing more is accepted.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self.root = root
        self._min_free_bytes = min_free_bytes
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether an instance of this size fits above the watermark."""
        return shutil.disk_usage(self.root).free - size_bytes >= self._min_free_bytes

    def store(self, instance: StoredInstance, encoded: bytes) -> StoredInstance:
        """Store one instance durably.

        Parameters
        ----------
        instance
            What :func:`read_header` found in ``encoded``.
        encoded
            The instance in PS3.10 form (preamble, file meta information, data set).

        Returns
        -------
        The same, with ``was_there`` and ``differs`` set if an instance of that UID had been stored before.

        Raises
        ------
        OSError
            If the disk refuses; nothing partial is left behind.
        """
        directory = self.root / instance.series_key
        path = directory / instance.file_name
        if path.exists():
            return replace(instance, was_there=True, differs=path.read_bytes() != encoded)
        if not directory.exists():
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(self.root)
        part = directory / f"{instance.file_name}.{secrets.token_hex(4)}{_PART}"
        try:
            with part.open("xb") as stream:
                stream.write(encoded)
                stream.flush()
                os.fsync(stream.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _sync_directory(directory)
        return instance

    def path(self, key: str, file_name: str) -> Path:
        """Return where an instance lies."""
        return self.root / key / file_name

    def recover(self) -> int:
        """Remove what interrupted writes left; return how many files that were."""
        parts = list(self.root.glob(f"*/*{_PART}"))
        for part in parts:
            part.unlink(missing_ok=True)
        return len(parts)

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield (series key, file name) of every stored instance."""
        for path in sorted(self.root.glob(f"*/*{_SUFFIX}")):
            yield path.parent.name, path.name

    def instance(self, key: str, file_name: str) -> StoredInstance:
        """Read a stored instance's identity again (for an index that is rebuilt at start).

        Raises
        ------
        MalformedInstance
            If the file is no instance.
        """
        path = self.path(key, file_name)
        with path.open("rb") as stream:
            return replace(read_header(stream.read(_HEADER_BYTES)), size_bytes=path.stat().st_size)

    def remove(self, key: str) -> None:
        """Delete a series from the spool; harmless when it is gone."""
        shutil.rmtree(self.root / key, ignore_errors=True)


def read_header(encoded: bytes) -> StoredInstance:
    """Read from an instance in PS3.10 form what the spool needs to place it.

    Raises
    ------
    MalformedInstance
        If it cannot be parsed or lacks a valid UID.
    """
    try:
        dataset = _header(encoded)
        uids = [_text(dataset, tag) for tag in (_STUDY, _SERIES, _SOP_INSTANCE, _SOP_CLASS)]
        expected = _count(_text(dataset, _LAST_HEADER_TAG))
    except (*LIBRARY_ERRORS, RecursionError) as error:
        raise MalformedInstance(
            f"expected a data set whose header can be parsed, found {type(error).__name__}; have the sender repair it"
        ) from None
    if not all(is_uid(uid) for uid in uids):
        raise MalformedInstance(
            "expected valid Study, Series and SOP Instance UIDs (PS3.5 9.1) in the data set; have the sender repair it"
        )
    study, series, instance, sop_class = uids
    return StoredInstance(
        series_key=series_key(study, series),
        file_name=f"{_key(instance)}{_SUFFIX}",
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        size_bytes=len(encoded),
        expected_instances=expected,
    )


def _header(encoded: bytes) -> Dataset:
    """Read the data set of a PS3.10 file up to Images in Acquisition, inflating no more than needed."""
    if encoded[_PREAMBLE - 4 : _PREAMBLE] != b"DICM":
        raise ValueError("no DICOM prefix")
    stream = BytesIO(encoded)
    stream.seek(_PREAMBLE)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group > 2)
    syntax = UID(_text(meta, _TRANSFER_SYNTAX))
    if syntax == DeflatedExplicitVRLittleEndian:
        # A deflate bomb would grow a thousandfold (PS3.5 A.5): the header is near the start
        stream = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), _HEADER_BYTES))
    return read_dataset(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, vr, length: int(tag) > _LAST_HEADER_TAG,
        specific_tags=[Tag(tag) for tag in (_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES, _LAST_HEADER_TAG)],
    )


def _text(dataset: Dataset, tag: int) -> str:
    # The bytes as they came: pydicom's conversion would warn of odd values, and warnings are not thread-safe
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    return value.rstrip(b"\0 ").decode("ascii", "replace").strip() if isinstance(value, bytes) else ""


def _count(text: str) -> int | None:
    try:
        count = int(text)
    except ValueError:
        return None
    return count if count > 0 else None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
