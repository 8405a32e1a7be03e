"""A listener and workers that share no directory, over a real S3 server (moto's, on loopback)."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from dicom_io.remote_spool import RemoteSpool
from dicom_io.series_cache import SeriesCache
from dicom_io.spool import Spool
from plugin.dispatch import Dispatcher
from plugin.retention import Retention
from sgmri.errors import SpoolUnavailable
from sgmri.lifecycle import Reason, State
from tests.worker.conftest import files  # noqa: F401 - a fixture
from tests.worker.place import Clock, NegativeEngine, Place, delivering_to, small
from worker import removals
from worker.app import create_app
from worker.database import sqlite_url
from worker.journal import Journal
from worker.outbox import Outbox
from worker.revisions import readings
from worker.tasks import Workplace

moto_server = pytest.importorskip("moto.server", reason="moto's S3 server is not installed")

KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """An empty place in the bucket, and a file system that looks at it."""

    url: str
    fs: S3FileSystem

    def names(self) -> list[str]:
        self.fs.invalidate_cache()
        return [name.partition("/")[2].partition("/")[2] for name in self.fs.find(self.url.removeprefix("s3://"))]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    fs = S3FileSystem(skip_instance_cache=True, endpoint_url=endpoint)
    fs.mkdirs("hospital", exist_ok=True)
    return Bucket(url=f"s3://hospital/{secrets.token_hex(4)}", fs=fs)


def remote(bucket: Bucket, machine: Path, cache_bytes: int = 1 << 30) -> RemoteSpool:
    return RemoteSpool(bucket.url, SeriesCache(machine / "cache", cache_bytes))


def written(directory: Path, count: int, size_bytes: int) -> list[Path]:
    directory.mkdir(parents=True)
    paths = [directory / f"{number}.dcm" for number in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(size_bytes))
    return paths


def test_the_cache_is_bounded_and_never_takes_what_is_in_use(bucket: Bucket, tmp_path: Path) -> None:
    """The same bytes arrive; the oldest goes when there is no room, unless in use; a torn fetch leaves nothing."""
    listener = remote(bucket, tmp_path / "listener")
    worker = remote(bucket, tmp_path / "worker", cache_bytes=25_000)
    series = {key: written(tmp_path / key, 3, 4_000) for key in ("first", "second", "third")}
    names = [path.name for path in series["first"]]
    for key, paths in series.items():
        listener.publish(key, paths)
    cached = tmp_path / "worker" / "cache"
    (cached / "part").mkdir(parents=True)
    (cached / "part" / "0.dcm").write_bytes(b"torn")

    with worker.series("first", names) as here:
        assert [path.read_bytes() for path in here] == [path.read_bytes() for path in series["first"]]
        with worker.series("second", names):
            pass
        with worker.series("third", names):
            assert [path.name.partition("-")[0] for path in sorted(cached.glob("*-*"))] == ["first", "third"]
            assert all(path.exists() for path in here)
    (cached / "desk-of-a-killed-one").mkdir()
    with worker.desk() as mine, worker.desk():
        assert [path for path in cached.glob("desk-*") if path == mine] and len(list(cached.glob("desk-*"))) == 2
    os.utime(next(cached.glob("first-*")), (1, 1))
    with worker.series("second", names):
        assert [path.name.partition("-")[0] for path in sorted(cached.glob("*-*"))] == ["second", "third"]

    series["second"][0].write_bytes(os.urandom(5_000))
    listener.publish("second", series["second"])
    with worker.series("second", names) as here:
        assert here[0].read_bytes() == series["second"][0].read_bytes(), "sent again with other bytes"
    with pytest.raises(SpoolUnavailable, match="1 are missing"), worker.series("first", [*names, "9.dcm"]):
        pass


@dataclass
class Site:
    """A listener's machine and a worker's, which share the journal and a bucket."""

    directory: Path
    bucket: Bucket
    journal: Journal
    clock: Clock

    def machine(self, name: str, port: int) -> Place:
        root = self.directory / name
        engine = NegativeEngine()
        return Place(
            workplace=Workplace(
                settings=delivering_to(port, commitment=False),
                journal=self.journal,
                spool=Spool(root / "spool"),
                outbox_dir=root / "outbox",
                engine=lambda: engine,
                remote=remote(self.bucket, root),
            ),
            clock=self.clock,
            engine=engine,
        )

    def complete(self, place: Place) -> None:
        """Close the series and decide on it as the listener of that machine."""
        Dispatcher(
            journal=self.journal,
            spool=place.workplace.spool,
            app=create_app("redis://127.0.0.1:1/0"),
            remote=place.workplace.remote,
        ).complete(place.row)


@pytest.fixture
def site(tmp_path: Path, bucket: Bucket) -> Iterator[Site]:
    clock = Clock()
    (tmp_path / "database").mkdir()
    journal = Journal(sqlite_url(tmp_path / "database"), clock=clock)
    yield Site(directory=tmp_path, bucket=bucket, journal=journal, clock=clock)
    journal.close()


def test_a_worker_elsewhere_reads_and_a_third_machine_delivers(site: Site, files: tuple[Path, ...]) -> None:  # noqa: F811
    """One machine receives, another reads, a third delivers, the first delivers again; then nothing is left of it."""
    with small(site.directory) as pacs:
        listener, reader, sender = (site.machine(name, pacs.port) for name in ("listener", "reader", "sender"))
        listener.store(*files)
        site.complete(listener)
        assert listener.state() is State.QUEUED
        assert reader.read()
        (result,) = Outbox(journal=site.journal).results(reader.row)
        sender.deliver()
        assert listener.state() is State.STORED
        assert len(pacs.archive) == 1
    key = listener.row.series_key
    assert sorted(site.bucket.names()) == sorted(
        [f"outbox/{key}/0/reading.json", f"outbox/{key}/0/sr.dcm", *(f"spool/{key}/{n}" for n in names_of(site))]
    )
    kept = [path for name in ("reader", "sender") for path in (site.directory / name).rglob("*.dcm")]
    assert {path.parent.parent.name for path in kept} == {"cache"}, "only the cache keeps anything"
    assert not list(site.directory.glob("*/cache/desk-*"))

    home = listener.workplace.results_dir(listener.row)
    remote(site.bucket, site.directory / "listener").fetch_results(key, home)
    assert (home / result.file_name).exists()
    retention = Retention(
        settings=listener.workplace.settings,
        journal=site.journal,
        spool=listener.workplace.spool,
        outbox_dir=listener.workplace.outbox_dir,
        remote=listener.workplace.remote,
    )
    assert removals.begin(site.journal, listener.row) is not None
    retention.finish()
    assert site.bucket.names() == []
    assert not list((site.directory / "listener").rglob("*.dcm"))


def names_of(site: Site) -> tuple[str, ...]:
    return site.journal.file_names(site.journal.all_series()[0].series_key)


def test_a_bucket_that_is_away_costs_neither_series_nor_attempt(
    site: Site,
    files: tuple[Path, ...],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listener keeps the series and queues it later; a worker gives it back; a delivery waits: each coded."""
    listener, reader = site.machine("listener", 1), site.machine("reader", 1)
    for place in (listener, reader):
        assert place.workplace.remote is not None
        place.workplace.remote.probe()  # connected before the bucket goes away
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        cut_off = {name: site.machine(name, 1) for name in ("listener", "reader")}
        listener.store(*files)
        site.complete(cut_off["listener"])
        assert listener.state() is State.COMPLETE
        Dispatcher(
            journal=site.journal,
            spool=listener.workplace.spool,
            app=create_app("redis://127.0.0.1:1/0"),
            remote=listener.workplace.remote,
        ).decide(listener.row)
        assert listener.state() is State.QUEUED
        assert not cut_off["reader"].read()
        row = reader.row
        assert (row.state, row.reason, row.attempts) == (State.QUEUED, Reason.SPOOL_UNAVAILABLE, 0)
        site.clock.now = row.next_try_at
        assert reader.read()
        cut_off["reader"].deliver()
        assert (reader.row.state, reader.row.reason) == (State.READ, Reason.NONE)
        retention = Retention(
            settings=listener.workplace.settings,
            journal=site.journal,
            spool=listener.workplace.spool,
            outbox_dir=listener.workplace.outbox_dir,
            remote=cut_off["listener"].workplace.remote,
        )
        site.journal.move(reader.row, State.FAILED)
        assert removals.begin(site.journal, listener.row) is not None
        retention.finish()
        assert len(list(removals.begun(site.journal))) == 1
    replace(retention, remote=listener.workplace.remote).finish()
    assert not list(removals.begun(site.journal)) and site.bucket.names() == []


def test_a_second_reading_revises_the_first_that_another_machine_made(
    site: Site,
    files: tuple[Path, ...],  # noqa: F811
) -> None:
    """A worker that never saw the first reading names it as the predecessor of its own."""
    with small(site.directory) as pacs:
        listener, one, two = (site.machine(name, pacs.port) for name in ("listener", "one", "two"))
        listener.store(*files[:-1])
        site.complete(listener)
        assert one.read()
        one.deliver()
        listener.store(files[-1])
        site.clock.now += 60
        site.complete(listener)
        assert two.read()
    first, second = readings(site.journal, two.row.series_key)
    assert second.revises == first.generation == 0


def test_the_bucket_is_asked_whether_it_answers(bucket: Bucket, tmp_path: Path) -> None:
    """A bucket that is not there is said, with what to look at."""
    remote(bucket, tmp_path).probe()
    nowhere = RemoteSpool("s3://no-such-bucket/x", SeriesCache(tmp_path, 1))
    with pytest.raises(SpoolUnavailable, match="credentials"):
        nowhere.probe()
