"""Two worker hosts: network namespaces behind a bridge by which they reach PostgreSQL and Redis, and share the spool.

By a directory, or by a bucket: then each has a state directory of its own, and nothing in common but URLs.
"""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
from redis import Redis
from s3fs import S3FileSystem

from conformance.pacs import SmallPacs
from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.listener import ListenerService
from plugin.parts import free_port, wait_until
from plugin.processes import Processes
from plugin.settings import load
from sgmri.lifecycle import State
from tests.databases import Cluster, make_cluster
from tests.dicom_io.test_remote_spool import KEYS
from tests.e2e.system import require
from tests.hosts.network import BRIDGE, HOSTS, can_make_hosts, network, on_host
from worker import suspension
from worker.journal import Journal
from worker.outbox import Outbox
from worker.suspension import Mode

pytestmark = pytest.mark.hosts

SERIES = 12


@dataclass
class Site:
    """What both hosts share, and the hosts."""

    directory: Path
    cluster: Cluster
    processes: Processes
    redis_port: int
    postgres_port: int
    pacs_port: int
    spool_url: str

    def config(self, address: str, name: str = "state") -> Path:
        """Write the configuration of whoever reaches database and broker by this address, and where its state is."""
        path = self.directory / f"{address}-{name}.toml"
        path.write_text(
            f"""
[listener]
port = 0
min_free_bytes = 1
[[listener.peers]]
ae_title = "SCANNER"
[[listener.peers]]
ae_title = "SMALLPACS"
[storage]
state_dir = "{self.directory / name}"
spool_url = "{self.spool_url}"
journal_url = "postgresql+psycopg://sgmri@{address}:{self.postgres_port}/postgres"
[series]
quiet_period_s = 0.5
[broker]
url = "redis://{address}:{self.redis_port}/0"
[worker]
engine = "classical"
lease_s = 4.0
sweep_period_s = 0.5
min_free_memory_bytes = 1
[delivery]
ae_title = "SMALLPACS"
port = {self.pacs_port}
retry_first_s = 1.0
""",
            encoding="utf-8",
        )
        return path

    def start_host(self, name: str) -> "Popen[bytes]":
        """Start a reading worker on a host; its name is the host's, also in the journal."""
        own = self.config(BRIDGE, name if self.spool_url else "state")
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "").replace("127.0.0.1", BRIDGE)
        return self.processes.start(name, on_host(name, own), env={"AWS_ENDPOINT_URL": endpoint} if endpoint else None)

    def shares_nothing(self) -> bool:
        """Tell whether the host that lived has fetched what it read, and both keep nothing but the cache."""
        cached = (self.directory / "sgmri-two" / "cache").glob("*-*")
        return any(cached) and not any(self.directory.glob("sgmri-*/[so]*/*/*.dcm"))

    def start_redis(self) -> None:
        arguments = ["--bind", "127.0.0.1", BRIDGE, "--protected-mode", "no", "--port", str(self.redis_port)]
        self.processes.start("redis", ["redis-server", *arguments, "--save", "", "--dir", str(self.directory)])

    def start_postgres(self) -> None:
        self.cluster.start(f"-c listen_addresses=127.0.0.1,{BRIDGE}", f"-p {self.postgres_port}")


def start_bucket(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start an S3 server that the hosts reach as well, with an empty bucket; return its URL."""
    port = free_port()
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    processes.start("bucket", [sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(port)])
    wait_until(lambda: opens(port), processes, "the bucket", 120)
    S3FileSystem(skip_instance_cache=True).mkdirs("hospital")
    return "s3://hospital/spool"


def opens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(params=["directory", "bucket"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    require("redis-server")
    if not can_make_hosts():
        pytest.skip("network namespaces need root and iproute2")
    with network(), Processes(tmp_path) as processes:
        cluster = make_cluster()
        try:
            with (cluster.directory / "cluster" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {BRIDGE}/24 trust\n")
            running = Site(
                directory=tmp_path,
                cluster=cluster,
                processes=processes,
                redis_port=free_port(),
                postgres_port=free_port(),
                pacs_port=free_port(),
                spool_url=start_bucket(processes, monkeypatch) if request.param == "bucket" else "",
            )
            running.start_postgres()
            running.start_redis()
            yield running
            processes.stop_all()
            cluster.stop()
        finally:
            shutil.rmtree(cluster.directory, ignore_errors=True)


def wait_for(journal: Journal, what: str, there: Callable[[], bool], timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not there():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: {[(row.state, row.reason, row.attempts) for row in journal.all_series()]}")
        time.sleep(0.02)


def reading_hosts(journal: Journal) -> set[str]:
    return {(row.lease_owner or "").partition("/")[0] for row in journal.all_series(State.READING)}


@pytest.mark.timeout(900)
def test_two_hosts_share_the_load_and_one_that_dies_loses_nothing(site: Site) -> None:
    """Both read; one is killed in mid reading, the broker is wiped, the database restarts: every series comes once."""
    local = site.config("127.0.0.1")
    service = ListenerService(load(local))
    service.start()
    journal = service.journal
    peers = {"SGMRI": ("127.0.0.1", service.port)}
    with SmallPacs("SMALLPACS", directory=site.directory / "pacs", peers=peers, port=site.pacs_port) as pacs:
        try:
            suspension.change(journal, Mode.FINISHING)
            serve = [sys.executable, "-m", "plugin.cli", "serve", "worker", "--queues", "delivery"]
            site.processes.start("delivery", [*serve, "--config", str(local)])
            listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
            for seed in range(SERIES):
                paths = write(make("brain", seed=seed), site.directory / f"scanner-{seed}")
                store(listener, [sendable(path) for path in paths])
            wait_for(journal, "all queued", lambda: journal.counts() == {State.QUEUED: SERIES})

            hosts = {name: site.start_host(name) for name in HOSTS}
            logs = [site.processes.log(name) for name in HOSTS]
            wait_for(journal, "hosts are ready", lambda: all("[tasks]" in log.read_text() for log in logs))
            suspension.change(journal, Mode.RUNNING)
            seen: set[str] = set()

            def shared() -> bool:
                now = reading_hosts(journal)
                seen.update(now)
                return seen == set(HOSTS) and "sgmri-one" in now

            wait_for(journal, "both hosts read", shared)
            site.processes.kill(hosts["sgmri-one"])
            with Redis(port=site.redis_port) as client:
                client.flushall()
            site.cluster.stop("fast")
            site.start_postgres()
            wait_for(journal, "all committed", lambda: journal.counts() == {State.COMMITTED: SERIES})

            rows = journal.all_series()
            results = [result for row in rows for result in Outbox(journal=journal).results(row)]
            assert len(pacs.archive) == len(results) == len({result.sop_instance_uid for result in results})
            assert site.shares_nothing() if site.spool_url else True
            print(f"\nhosts that read: {sorted(seen)}; attempts: {sorted(row.attempts for row in rows)}; ", end="")
            print(f"objects at the PACS: {len(pacs.archive)} of {SERIES} series")
        finally:
            service.stop()
