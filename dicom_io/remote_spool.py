"""The spool between machines that share no directory: complete series and results, mirrored in an S3 bucket.

``<url>/spool/<series key>/<instance key>.dcm`` and ``<url>/outbox/<series key>/<generation>/...``. The listener's own
directory stays the truth of what was received, and answers C-STORE; a series comes here when it is complete and is
going to be read, so that a worker elsewhere can fetch it. Results come here before the journal calls a series READ.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_io.series_cache import SeriesCache
from sgmri.errors import ConfigError, SpoolUnavailable

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 1}}  # seconds; the caller retries
_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remote:
    """An object in the bucket: its path, size and the store's word for its content."""

    path: str
    size_bytes: int
    etag: str


class RemoteSpool:
    """Complete series, and results, in a bucket.

    Parameters
    ----------
    url
        ``s3://BUCKET/PREFIX``; endpoint and credentials are the environment's (AWS_ENDPOINT_URL ...).
    cache
        Where series lie that were fetched.

    Raises
    ------
    ConfigError
        If the extra "s3" is not installed.
    """

    def __init__(self, url: str, cache: SeriesCache) -> None:
        self._cache = cache
        self._root = url.removeprefix("s3://").rstrip("/")
        self._fs = _s3()

    def publish(self, key: str, paths: Collection[Path]) -> None:
        """Bring the instances of a complete series into the bucket; what is there already stays.

        Raises
        ------
        SpoolUnavailable
            If the bucket does not take them.
        """
        place = f"spool/{key}"
        with _reached():
            there = self._listing(place)
            new = [
                path for path in paths if path.name not in there or there[path.name].size_bytes != path.stat().st_size
            ]
            self._put(place, {path.name: path for path in new})

    @contextmanager
    def series(self, key: str, file_names: Collection[str]) -> Iterator[list[Path]]:
        """Have the instances of a series on this machine for as long as the context lasts.

        Parameters
        ----------
        key, file_names
            The series, and its files by the journal.

        Raises
        ------
        SpoolUnavailable
            If they cannot be fetched.
        """
        with ExitStack() as held:
            with _reached():
                directory = held.enter_context(self._entry(key, file_names))
            yield [directory / name for name in sorted(file_names)]

    def _entry(self, key: str, file_names: Collection[str]) -> AbstractContextManager[Path]:
        there = self._listing(f"spool/{key}")
        missing = set(file_names) - there.keys()
        if missing:
            raise SpoolUnavailable(
                f"expected {len(file_names)} instances in the shared spool, found that {len(missing)} are missing; "
                "was the series complete before storage.spool_url was set? Then let a worker beside the listener "
                "read it"
            )
        wanted = [there[name] for name in sorted(file_names)]
        # What was sent again after a removal may have other bytes under the same names
        content = hashlib.sha256(" ".join(f"{one.path} {one.etag}" for one in wanted).encode()).hexdigest()
        size_bytes = sum(one.size_bytes for one in wanted)
        return self._cache.entry(f"{key}-{content[:16]}", size_bytes, lambda part: self._get(wanted, part))

    def desk(self) -> AbstractContextManager[Path]:
        """Have a directory for results on their way to or from the bucket, on a machine that does not keep them."""
        return self._cache.desk()

    def publish_results(self, key: str, directory: Path) -> None:
        """Bring the results of one generation into the bucket; ``directory`` bears its number.

        Raises
        ------
        SpoolUnavailable
            If the bucket does not take them.
        """
        files = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
        with _reached():
            self._put(f"outbox/{key}/{directory.name}", files)

    def fetch_results(self, key: str, directory: Path) -> None:
        """Fetch the results of one generation into a directory that bears its number, over what it holds.

        Raises
        ------
        SpoolUnavailable
            If it cannot be fetched.
        """
        with _reached():
            for name, one in self._listing(f"outbox/{key}/{directory.name}").items():
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part = path.with_name(f".{path.name}.part")
                self._fs.get_file(one.path, str(part))
                part.replace(path)

    def remove(self, key: str, file_names: Collection[str], generation: int) -> None:
        """Delete instances of a series, and its results up to a generation; harmless a second time.

        Raises
        ------
        SpoolUnavailable
            If the bucket does not let them go.
        """
        with _reached():
            there = self._listing(f"spool/{key}")
            going = [one.path for name, one in there.items() if name in file_names]
            for name, one in self._listing(f"outbox/{key}").items():
                number = name.partition("/")[0]
                if number.isdecimal() and int(number) <= generation:
                    going.append(one.path)
            if going:
                self._fs.rm(going)

    def probe(self) -> None:
        """Ask whether the bucket answers and lets us list it.

        Raises
        ------
        SpoolUnavailable
            If not.
        """
        with _reached():
            self._fs.info(self._root.partition("/")[0])

    def _put(self, place: str, files: dict[str, Path]) -> None:
        if files:
            self._fs.put([str(path) for path in files.values()], [f"{self._root}/{place}/{name}" for name in files])

    def _get(self, wanted: Sequence[_Remote], part: Path) -> None:
        self._fs.get([one.path for one in wanted], [str(part / Path(one.path).name) for one in wanted])

    def _listing(self, place: str) -> dict[str, _Remote]:
        found = self._fs.find(f"{self._root}/{place}", detail=True)
        return {
            path.removeprefix(f"{self._root}/{place}/"): _Remote(path=path, size_bytes=one["size"], etag=one["ETag"])
            for path, one in found.items()
        }


def _s3() -> "S3FileSystem":
    try:
        import fsspec

        # Listings are asked for anew: other machines write as well
        fs = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, config_kwargs=_TIMEOUTS)
    except ImportError:
        raise ConfigError(
            "storage.spool_url: expected s3fs for a bucket, found that it is not installed; pip install 'sgmri[s3]'"
        ) from None
    fs.retries = _TRIES
    return fs


@contextmanager
def _reached() -> Iterator[None]:
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise SpoolUnavailable(
            f"expected the shared spool (storage.spool_url) to answer, found {type(error).__name__}; look at the "
            "bucket, its credentials and the network, and at the disk of storage.state_dir; it is tried again"
        ) from None
