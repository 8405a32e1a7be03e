"""What ``sgmri doctor`` finds: each misconfiguration is planted for real, and named with what to do."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pynetdicom import AE
from redis import Redis

from conformance.pacs import SmallPacs
from dicom_io.services import VERIFICATION
from plugin.cli.main import main
from plugin.doctor.check import Check, Verdict
from plugin.doctor.examination import examine_site
from plugin.doctor.secrets import is_weak
from plugin.doctor.storage import storage
from plugin.parts import free_port, start_broker
from plugin.processes import Processes
from sgmri.settings import parse
from tests.e2e.system import require
from tests.receivers import running
from worker.database import sqlite_url
from worker.journal import Journal
from worker.receipts import Received

pytestmark = pytest.mark.xdist_group("doctor")  # one broker, which is changed and put right again


@dataclass
class Site:
    """A healthy installation, to be spoilt."""

    directory: Path
    broker_url: str
    pacs_port: int
    cleanup: ExitStack
    tables: dict[str, dict[str, object]] = field(default_factory=dict)
    peers: str = '[[listener.peers]]\nae_title = "SCANNER"\n'
    clock: Callable[[], float] = time.time

    def set(self, table: str, **keys: object) -> None:
        self.tables.setdefault(table, {}).update(keys)

    def redis(self, key: str, value: str) -> None:
        """Set a key of the broker until the test has ended."""
        client = Redis.from_url(self.broker_url, decode_responses=True)
        before = str(client.config_get(key)[key])
        client.config_set(key, value)
        self.cleanup.callback(client.close)
        self.cleanup.callback(client.config_set, key, before)

    def config(self) -> Path:
        path = self.directory / "sgmri.toml"
        lines = [
            f"[{table}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
            for table, keys in self.tables.items()
        ]
        path.write_text("\n".join([*lines, self.peers]), encoding="utf-8")
        return path

    def faults(self) -> list[Check]:
        return [check for check in examine_site(self.config(), self.clock) if check.verdict is Verdict.FAIL]


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require("redis-server")
    directory = tmp_path_factory.mktemp("broker")
    with Processes(directory) as processes:
        yield start_broker("redis", processes, directory).url


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPacs]:
    peers = {"SGMRI": ("127.0.0.1", 1)}
    with SmallPacs("SMALLPACS", directory=tmp_path_factory.mktemp("pacs"), peers=peers) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, broker_url: str, pacs: SmallPacs) -> Iterator[Site]:
    with ExitStack() as cleanup:
        one = Site(directory=tmp_path, broker_url=broker_url, pacs_port=pacs.port, cleanup=cleanup)
        one.set("listener", port=free_port())
        one.set("storage", state_dir=str(tmp_path / "state"))
        one.set("broker", url=broker_url)
        one.set("worker", engine="classical")
        one.set("delivery", ae_title="SMALLPACS", port=pacs.port, timeout_s=5.0)
        yield one


def test_a_healthy_site_has_no_fault(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, as text and as JSON, and a running listener of ours on the port is no fault."""
    assert site.faults() == []
    assert main(["doctor", "--json", "--config", str(site.config())]) == 0
    answers = {one["name"]: one["text"] for one in json.loads(capsys.readouterr().out)}
    assert answers["destination delivery"] == "SMALLPACS answers, and takes what it is to get"
    site.peers = '[[listener.peers]]\nae_title = "SCANNER"\nhost = "127.0.0.0/8"\n'
    with running("own", site.directory / "spool") as listener:
        site.set("listener", port=listener.scp.port)
        assert site.faults() == []


def _misspelled(site: Site) -> None:
    site.set("listener", prot=11112)


def _occupied(site: Site) -> None:
    other = site.cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    other.settimeout(10)
    site.set("listener", port=other.getsockname()[1])

    # It closes whatever comes, as most programs do that are no DICOM
    def close_one() -> None:
        other.accept()[0].close()

    threading.Thread(target=close_one, daemon=True).start()


def _not_our_address(site: Site) -> None:
    site.set("listener", host="192.0.2.1")


def _no_directory(site: Site) -> None:
    (site.directory / "file").write_text("")
    site.set("storage", state_dir=str(site.directory / "file" / "state"))


def _full_disk(site: Site) -> None:
    site.set("listener", min_free_bytes=1 << 62)


def _no_broker(site: Site) -> None:
    site.set("broker", url="redis://127.0.0.1:1/0")


def _no_broker_url(site: Site) -> None:
    site.set("broker", url="127.0.0.1:6379")


def _wrong_password(site: Site) -> None:
    site.redis("requirepass", "correct-horse")
    site.set("broker", url=site.broker_url.replace("redis://", "redis://:wrong-horse@"))
    # what puts the broker right again must know the password
    client = Redis.from_url(site.broker_url.replace("redis://", "redis://:correct-horse@"))
    site.cleanup.callback(client.close)
    site.cleanup.callback(client.config_set, "requirepass", "")


def _evicting(site: Site) -> None:
    site.redis("maxmemory-policy", "allkeys-lru")


def _forgetting(site: Site) -> None:
    site.redis("appendonly", "no")


def _open_broker(site: Site) -> None:
    site.redis("protected-mode", "no")
    site.redis("bind", "127.0.0.1 127.0.0.2 -::2")


def _no_driver(site: Site) -> None:
    site.set("storage", journal_url="oracle+none://sgmri:horse-staple@127.0.0.1/sgmri")


def _no_database(site: Site) -> None:
    site.set("storage", journal_url="postgresql+psycopg://sgmri:horse-staple@127.0.0.1:1/sgmri")


def _no_journal_url(site: Site) -> None:
    site.set("storage", journal_url="horse-staple")


def _not_a_journal(site: Site) -> None:
    (site.directory / "state").mkdir()
    (site.directory / "state" / "journal.sqlite").write_bytes(b"horse-staple" * 1000)


def _no_pacs(site: Site) -> None:
    site.set("delivery", port=1)


def _unknown_there(site: Site) -> None:
    site.set("listener", ae_title="STRANGER")


def _called_otherwise(site: Site) -> None:
    site.set("delivery", ae_title="OTHER")


def _takes_nothing(site: Site) -> None:
    ae = AE(ae_title="SMALLPACS")
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    site.cleanup.callback(server.shutdown)
    site.set("delivery", port=server.server_address[1])


def _ourselves(site: Site) -> None:
    site.set("delivery", ae_title="SGMRI", port=site.tables["listener"]["port"])


def _unreachable_from_there(site: Site) -> None:
    site.set("delivery", host="192.0.2.7")


def _nobody_may_call(site: Site) -> None:
    site.peers = ""


def _peer_by_name(site: Site) -> None:
    site.peers = '[[listener.peers]]\nae_title = "SCANNER"\nhost = "scanner.example"\n'


def _peer_elsewhere(site: Site) -> None:
    site.peers = '[[listener.peers]]\nae_title = "SCANNER"\nhost = "192.0.2.21"\n'


def _nobody_may_log_in(site: Site) -> None:
    site.set("dashboard", enabled=True, port=free_port())


def _dashboard_for_all(site: Site) -> None:
    site.set("dashboard", enabled=True, host="0.0.0.0", port=free_port())


def _no_bundle(site: Site) -> None:
    site.set("worker", engine="grounded", model=str(site.directory / "none"))


def _other_bundle(site: Site) -> None:
    site.set("worker", engine="grounded", model_digest="0" * 64)


def _no_cuda(site: Site) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    site.set("worker", engine="grounded", device="cuda")


def _no_memory(site: Site) -> None:
    site.set("worker", min_free_memory_bytes=1 << 60)


def _broken_rules(site: Site) -> None:
    (site.directory / "rules.toml").write_text("[[rule]\n")
    site.set("selection", rules=str(site.directory / "rules.toml"))


def _wrong_clock(site: Site) -> None:
    site.clock = lambda: time.time() + 90


def _other_spool(site: Site) -> None:
    (site.directory / "state").mkdir()
    journal = Journal(sqlite_url(site.directory / "state"))
    journal.receive(
        Received(
            series_key="abcdefgh12345678",
            study_instance_uid="2.25.1",
            series_instance_uid="2.25.2",
            sop_instance_uid="2.25.3",
            sop_class_uid="2.25.4",
            file_name="a.dcm",
            size_bytes=1,
        )
    )
    journal.close()


def _no_archive(site: Site) -> None:
    site.set("sweep", ae_title="SMALLPACS", port=site.pacs_port)


def _no_secret(site: Site) -> None:
    site.set("sweep", url="http://127.0.0.1:1/dicom-web", authentication="bearer")


PLANTS: list[tuple[Callable[[Site], None], str, str, str]] = [
    (_misspelled, "configuration", "unknown key 'prot'", "did you mean 'port'"),
    (_occupied, "listener", "used by another program", "choose another listener.port"),
    (_not_our_address, "listener", "expected to listen on 192.0.2.1", "take an address of this machine"),
    (_no_directory, "state directory", "Not a directory", "change storage.state_dir"),
    (_full_disk, "disk", "bytes free (listener.min_free_bytes)", "free disk space"),
    (_no_broker, "broker", "does not answer", "start it"),
    (_no_broker_url, "broker", "a URL such as redis://", "correct it"),
    (_wrong_password, "broker", "let us in", "check user and password"),
    (_evicting, "broker eviction", "found allkeys-lru", "noeviction"),
    (_forgetting, "broker persistence", "neither append-only file nor snapshots", "set appendonly yes"),
    (_open_broker, "broker access", "found it on -::2", "requirepass"),
    (_no_driver, "journal", "whose driver is installed", "sgmri[postgres]"),
    (_no_database, "journal", "server at 127.0.0.1:1", "check host and port"),
    (_no_journal_url, "journal", "an SQLAlchemy URL", "correct it"),
    (_not_a_journal, "journal", "a journal that can be opened", "the file is a journal"),
    (_no_pacs, "destination delivery", "an association with SMALLPACS", "check that it runs"),
    (_unknown_there, "destination delivery", "it does not know us", "knows our AE title"),
    (_called_otherwise, "destination delivery", "it is not called so", "check that"),
    (_takes_nothing, "destination delivery", "found no SEG objects, SR objects, storage commitment", "administrator"),
    (_ourselves, "destination delivery", "found our own listener", "correct host, port and AE title"),
    (_unreachable_from_there, "destination delivery", "commitment results", "set it to this machine's address"),
    (_nobody_may_call, "peers", "at least one [[listener.peers]] table", "list the AE title"),
    (_peer_by_name, "configuration", "expected an IP address", "or a network such as"),
    (_peer_elsewhere, "peers", "192.0.2.21 to reach listener.host", "set listener.host"),
    (_no_bundle, "engine", "the directory of a model bundle", "check the path"),
    (_other_bundle, "engine", "the bundle of digest", "correct the digest"),
    (_no_memory, "memory", "of free memory", "lower worker.min_free_memory_bytes"),
    (_broken_rules, "rules", "expected TOML", "sgmri select --rules"),
    (_wrong_clock, "clock of the broker", "90 s ahead of", "NTP"),
    (_other_spool, "spool", "found none of 1", "mount the listener's state directory"),
    (_nobody_may_log_in, "dashboard", "found no user", "sgmri users add"),
    (_dashboard_for_all, "dashboard", "expected access.public_url", "listen on 127.0.0.1"),
    (_no_archive, "sweep", "found no C-MOVE", "allow queries and moves"),
    (_no_secret, "sweep", "expected the secret", "SGMRI_SECRET_SWEEP"),
]


@pytest.mark.parametrize(
    ("plant", "name", "found", "remedy"),
    [pytest.param(*row, id=row[0].__name__.strip("_")) for row in PLANTS]
    + [pytest.param(_no_cuda, "engine", "a CUDA device", "worker.device to cpu", id="no_cuda", marks=pytest.mark.slow)],
)
def test_what_is_wrong_is_named_with_its_remedy(
    site: Site, plant: Callable[[Site], None], name: str, found: str, remedy: str
) -> None:
    """One fault, by name, with what was expected and found and what to do; no password is shown."""
    plant(site)
    faults = site.faults()
    assert [fault.name for fault in faults] == [name]
    text = faults[0].text
    assert found in text
    assert remedy in text
    assert "horse" not in text


@pytest.mark.parametrize(
    ("mounted", "remedy"),
    [
        ("server:/export {} nfs4 rw 0 0", "put the journal into PostgreSQL"),
        ("tmpfs {} tmpfs rw 0 0", "mount a volume there"),
        ("/dev/sdb1 {} xfs rw 0 0", None),
    ],
)
def test_the_kind_of_file_system_counts(tmp_path: Path, mounted: str, remedy: str | None) -> None:
    """An SQLite journal on NFS, and anything in memory, is a fault; another disk is none."""
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n" + mounted.format(tmp_path) + "\n", encoding="utf-8")
    settings = parse({"storage": {"state_dir": str(tmp_path / "state")}})
    faults = [check.text for check in storage(settings, mounts) if check.verdict is Verdict.FAIL]
    assert len(faults) == (remedy is not None)
    assert all(remedy in text for text in faults if remedy)


@pytest.mark.parametrize(
    ("host", "password", "weak"),
    [
        ("127.0.0.1", None, False),
        ("localhost", "", False),
        (None, None, False),  # a socket in the file system
        ("redis.example", None, True),
        ("192.0.2.1", "redis", True),
        ("192.0.2.1", "ChangeMe", True),
        ("192.0.2.1", "a-long-word-of-its-own", False),
    ],
)
def test_weak_passwords(host: str | None, password: str | None, weak: bool) -> None:
    """A password counts where others can reach the service: none, a short one, or one that is tried first."""
    assert is_weak(host, password) is weak


def test_the_exit_code_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that cannot be read is a finding like the others, in JSON as well; no secret of it is shown."""
    config = tmp_path / "sgmri.toml"
    config.write_text("[listener\n")
    assert main(["doctor", "--json", "--config", str(config)]) == 1
    (fault,) = [one for one in json.loads(capsys.readouterr().out) if one["verdict"] == "FAIL"]
    assert fault["name"] == "configuration"
    assert "expected TOML" in fault["text"]
