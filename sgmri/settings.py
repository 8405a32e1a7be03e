"""Every setting of the product, with its unit, default and meaning, parsed from a mapping handed in.

The roof reads the TOML file and the environment; here a mapping becomes frozen dataclasses, and an unknown key is an
error that names the nearest known one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from sgmri.errors import ConfigError
from sgmri.lanes import off_peak
from sgmri.outlets import DEFAULT_NAME, Outlet, check_outlets
from sgmri.setting_keys import check_ae_title, check_bucket, check_port
from sgmri.setting_keys import setting as _key
from sgmri.setting_keys import table as _table
from sgmri.setting_tables import KeyDoc, from_mapping, keys_of
from sgmri.settings_access import AccessSettings, check_access
from sgmri.settings_audit import Audit, check_audit
from sgmri.settings_dashboard import Dashboard, check_dashboard
from sgmri.settings_monitoring import Alerts, Metrics, Traces, check_monitoring
from sgmri.settings_sweep import Sweep, check_sweep
from sgmri.settings_tls import ListenerTls, OutletTls, check_caller, check_listener_tls, check_outlet_tls

RECEIVERS = ("own", "pynetdicom")
"""Whose data path the listener uses."""
DURABILITIES = ("strict", "journal", "none")
"""What is safe on disk when Success is answered."""
DEVICES = ("auto", "cpu", "cuda")  # where a model may be told to run


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A remote application entity that may open associations to the listener."""

    ae_title: str = _key("", "AE title that the peer calls with")
    host: str = _key("", "IP address or network (192.0.2.0/24) that it must come from; empty: any address")
    certificate_sha256: tuple[str, ...] = _key(
        (), "SHA-256 fingerprints, one of which its certificate must have, over TLS; empty: any that listener.tls takes"
    )
    certificate_names: tuple[str, ...] = _key(
        (), "subject alternative names, one of which its certificate must bear, over TLS; empty: any"
    )

    @property
    def shows_certificate(self) -> bool:
        """Whether it must show a certificate of its own."""
        return bool(self.certificate_sha256 or self.certificate_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """The SCP: what it is called and whom it lets in."""

    ae_title: str = _key("SGMRI", "our AE title; also the calling AE title of deliveries")
    host: str = _key("127.0.0.1", "address to listen on; 0.0.0.0 for all interfaces")
    port: int = _key(11112, "TCP port; 0 takes a free one")
    peers: tuple[Peer, ...] = _table(tuple, "application entities that may call; everybody else is rejected")
    tls: ListenerTls = _table(ListenerTls, "secure associations (PS3.15 B.12)")
    receiver: str = _key("own", "whose data path receives: own, or pynetdicom (slower; keeps instances in memory)")
    durability: str = _key(
        "strict",
        "what Success means: strict (file and directory are synced), journal (receiver own: a synced append, made "
        "files when the series completes) or none (nothing is synced: a power cut loses what was acknowledged)",
    )
    max_associations: int = _key(32, "associations at a time; more are rejected (PS3.8 9.3.4)")
    max_associations_per_peer: int = _key(16, "associations at a time of one AE title (receiver own)")
    max_pdu_bytes: int = _key(131072, "largest PDU that we offer to receive", unit="bytes")
    max_instance_bytes: int = _key(1 << 30, "largest instance that is kept; larger ones get 0xA700", unit="bytes")
    network_timeout_s: float = _key(
        60.0, "an association without traffic, or with a PDU that takes longer, is aborted after", unit="s"
    )
    request_timeout_s: float = _key(30.0, "a connection without a whole association request is closed after", unit="s")
    association_timeout_s: float = _key(
        28800.0, "an association is aborted after, whatever it does (receiver own)", unit="s"
    )
    min_free_bytes: int = _key(
        1 << 30,
        "below this much free disk, C-STORE answers 0xA700, and no association for storage is accepted (receiver own)",
        unit="bytes",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where spool, outbox and journal lie."""

    state_dir: str = _key("/var/lib/sgmri", "directory of spool, outbox and (SQLite) journal; shared by all processes")
    journal_url: str = _key(
        "",
        "SQLAlchemy URL of the journal, such as postgresql+psycopg://...; empty: SQLite in state_dir. "
        "Environment: SGMRI_JOURNAL_URL",
    )
    spool_url: str = _key(
        "",
        "s3://BUCKET/PREFIX through which machines share series and results; empty: they share state_dir. "
        "Environment: SGMRI_SPOOL_URL",
    )
    cache_bytes: int = _key(
        20 << 30, "spool_url: most disk for series that a worker fetched, in state_dir/cache", unit="bytes"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """When a series counts as complete."""

    quiet_period_s: float = _key(15.0, "complete when no instance has come for", unit="s")
    complete_at_expected_count: bool = _key(
        False,
        "complete at once when Images in Acquisition (0020,1002) instances are there; only for senders known to "
        "fill it with the count of the series",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which series are read."""

    rules: str = _key(
        "", "TOML file of the site's rules, the same for the listener and reading workers; empty: the built-in rule"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The bell: Redis (or Valkey) for Celery."""

    url: str = _key("redis://127.0.0.1:6379/0", "Redis URL. Environment: SGMRI_BROKER_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """In which order series are read (``sgmri lane``)."""

    ageing_s: float = _key(1800.0, "a waiting series is raised by one lane (off-peak, normal, stat) each", unit="s")
    off_peak: str = _key(
        "", "hours in which off-peak series may begin, local time of the listener, such as 20:00-06:00; empty: all"
    )
    stalled_after_s: float = _key(
        600.0, "log and status say that readings do not go on when series wait and none has begun for", unit="s"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """How readings are run and retried."""

    engine: str = _key("grounded", "which engine reads: grounded (a vision-language model), classical, or served")
    model: str = _key("", "grounded: directory of a sealed model bundle; empty: the embedded demonstration model")
    model_digest: str = _key("", "grounded: the digest that the bundle must have; empty: its own word is taken")
    device: str = _key("auto", "grounded: cpu, cuda, or auto (cuda where torch can use it)")
    max_kv_bytes: int = _key(8 << 30, "grounded: most memory for keys and values of one reading", unit="bytes")
    allow_cpu_encoder: bool = _key(
        False, "grounded: with device cuda, whether the encoder may run on the CPU where onnxruntime has no CUDA"
    )
    served_url: str = _key("", "served: URL of an OpenAI-compatible server, up to /v1")
    served_model: str = _key("", "served: the model's name there. Its key: environment SGMRI_SERVED_KEY")
    served_profile: str = _key(
        "qwen3-vl", "served: prompt profile: sgmri, sgmri-vqa-sft, sgmri-vqa-sft-reference, qwen3-vl"
    )
    lease_s: float = _key(60.0, "a reading whose worker has been silent this long is given to another", unit="s")
    max_attempts: int = _key(3, "a reading that was started this often without an end is FAILED")
    time_limit_s: float = _key(900.0, "hard limit of one reading", unit="s")
    min_free_memory_bytes: int = _key(
        1 << 30,
        "least free memory (of the GPU, or of the machine) with which a reading begins; more where readings were "
        "measured to need more",
        unit="bytes",
    )
    readings_per_gpu: int = _key(
        1, "how many readings a worker runs at a time, each in a process with a model of its own"
    )
    sweep_period_s: float = _key(5.0, "how often the listener re-rings for what waits", unit="s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where the results go, and how patiently."""

    ae_title: str = _key("", "AE title of the destination; empty: results stay in the outbox")
    host: str = _key("127.0.0.1", "its address")
    port: int = _key(104, "its port")
    viewers: tuple[str, ...] = _key(
        (),
        "viewers of the destination: ohif, slicer, weasis, generic-pacs, images-only; they choose the result objects "
        "and the rules that these are held against. Empty: SR and SEG",
    )
    label_map: bool = _key(False, "segmentations as Label Map Segmentation: no overlap, and fewer readers know it")
    refined_masks: bool = _key(False, "segmentations hold what stands out inside each box, by its pixels, not the box")
    cornerstone_tracking: bool = _key(
        False, "for OHIF up to 3.11: tracking identifiers begin with the name of its rectangle tool"
    )
    commitment: bool = _key(True, "ask for storage commitment (PS3.4 Annex J); COMMITTED is reached only with it")
    commitment_timeout_s: float = _key(3600.0, "ask again when no N-EVENT-REPORT has come for", unit="s")
    timeout_s: float = _key(30.0, "limit for connecting, and for each response", unit="s")
    retry_first_s: float = _key(5.0, "first retry after; each further one waits three times as long", unit="s")
    retry_max_s: float = _key(3600.0, "longest wait between retries", unit="s")
    give_up_after_s: float = _key(604800.0, "FAILED when the objects could not be delivered for", unit="s")
    idle_timeout_s: float = _key(60.0, "an association that was idle this long is released", unit="s")
    max_connection_failures: int = _key(
        3, "after this many failed connections in a row, a destination is left alone and only probed"
    )
    probe_interval_s: float = _key(30.0, "time between two probes of a destination that is left alone", unit="s")
    tls: OutletTls = _table(OutletTls, "secure connections to it (PS3.15 B.12)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What leaves spool and outbox by itself; nothing does whose results still await the destination."""

    committed_days: float = _key(
        30.0,
        "a series leaves the disk after it was COMMITTED (without commitment: STORED; or RETRACTED) for; 0: never",
        unit="days",
    )
    skipped_days: float = _key(7.0, "a series leaves the disk after it was SKIPPED for; 0: never", unit="days")
    failed_days: float = _key(
        90.0, "a series leaves the disk after it was FAILED, without results, for; 0: never", unit="days"
    )
    orphan_days: float = _key(
        7.0, "a file that the journal does not know goes into the quarantine after; 0: never", unit="days"
    )
    high_water_percent: float = _key(
        90.0, "when the disk is as full, series that the destination answers for go, the oldest first", unit="%"
    )
    low_water_percent: float = _key(80.0, "until the disk is as full again", unit="%")
    period_s: float = _key(3600.0, "how often the listener looks what is old enough", unit="s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Log lines of every process."""

    level: str = _key("INFO", "DEBUG, INFO, WARNING or ERROR")
    format: str = _key("text", "text or json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration."""

    listener: Listener = _table(Listener, "The SCP")
    storage: Storage = _table(Storage, "Directories and the journal")
    series: Series = _table(Series, "Completeness of a series")
    selection: Selection = _table(Selection, "Which series are read")
    broker: Broker = _table(Broker, "Redis")
    queue: Queue = _table(Queue, "Order of the readings")
    worker: Worker = _table(Worker, "Readings")
    delivery: Delivery = _table(Delivery, "The destination of the results")
    destination: tuple[Outlet, ...] = _table(tuple, "Further destinations, one table each")
    sweep: Sweep = _table(Sweep, "The archive that is asked for what was missed")
    retention: Retention = _table(Retention, "What leaves the disk")
    dashboard: Dashboard = _table(Dashboard, "Pages for operators and readers")
    access: AccessSettings = _table(AccessSettings, "Who may use the dashboard")
    log: Log = _table(Log, "Logging")
    metrics: Metrics = _table(Metrics, "Metrics, health and readiness over HTTP")
    traces: Traces = _table(Traces, "OpenTelemetry")
    alerts: Alerts = _table(Alerts, "Who is told when something is wrong")
    audit: Audit = _table(Audit, "Who did what")

    @property
    def outlets(self) -> tuple[Outlet, ...]:
        """Every destination: the one of ``[delivery]`` if it names an AE title, then those of ``[[destination]]``."""
        one = self.delivery
        if not one.ae_title:
            return self.destination
        return (
            Outlet(
                name=DEFAULT_NAME,
                ae_title=one.ae_title,
                host=one.host,
                port=one.port,
                commitment="storage-commitment" if one.commitment else "none",
                viewers=one.viewers,
                label_map=one.label_map,
                refined_masks=one.refined_masks,
                cornerstone_tracking=one.cornerstone_tracking,
                tls=one.tls,
            ),
            *self.destination,
        )


def parse(mapping: Mapping[str, object]) -> Settings:
    """Turn a mapping (as a TOML parser gives it) into settings.

    Parameters
    ----------
    mapping
        Tables by name; missing keys take their defaults.

    Raises
    ------
    ConfigError
        For an unknown key (naming the nearest), a value of the wrong type, or one out of range.
    """
    settings: Settings = from_mapping(Settings, mapping)
    _check(settings)
    return settings


def documented_keys() -> Iterator[KeyDoc]:
    """Yield every key with its documentation, in the order of the file."""
    return keys_of(Settings)


def _check(settings: Settings) -> None:
    check_ae_title("listener.ae_title", settings.listener.ae_title)
    for place, peer in enumerate(settings.listener.peers):
        check_ae_title(f"listener.peers[{place}].ae_title", peer.ae_title)
        check_caller(
            f"listener.peers[{place}]",
            peer.host,
            peer.certificate_sha256,
            tls=settings.listener.tls,
            shows=peer.shows_certificate,
        )
    if settings.delivery.ae_title:
        check_ae_title("delivery.ae_title", settings.delivery.ae_title)
    check_port("listener.port", settings.listener.port)
    check_port("delivery.port", settings.delivery.port)
    check_listener_tls(settings.listener.tls, plain_port=settings.listener.port)
    check_outlet_tls("delivery.tls", settings.delivery.tls, is_dimse=True)
    check_outlets(settings.destination)
    check_access(settings.access)
    check_sweep(settings.sweep)
    check_dashboard(settings.dashboard)
    check_bucket("storage.spool_url", settings.storage.spool_url)
    if settings.delivery.ae_title and any(one.name.lower() == DEFAULT_NAME for one in settings.destination):
        raise ConfigError(f"destination.name: {DEFAULT_NAME!r} is what [delivery] is called; take another name")
    _check_receiver(settings.listener)
    _check_retention(settings.retention)
    check_audit(settings.audit)
    if settings.log.level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigError("log.level: expected DEBUG, INFO, WARNING or ERROR")
    if settings.log.format not in ("text", "json"):
        raise ConfigError("log.format: expected text or json")
    _check_queue(settings.queue)
    check_monitoring(settings.metrics, settings.traces, settings.alerts)
    if settings.worker.device not in DEVICES:
        raise ConfigError("worker.device: expected auto, cpu or cuda")
    for path, number in _positive(settings):
        if not number > 0:
            raise ConfigError(f"{path}: expected more than 0, found {number}")


def _check_queue(queue: Queue) -> None:
    try:
        off_peak(queue.off_peak)
    except ConfigError as error:
        raise ConfigError(f"queue.off_peak: {error}") from None


def _check_receiver(listener: Listener) -> None:
    if listener.receiver not in RECEIVERS:
        raise ConfigError("listener.receiver: expected own or pynetdicom")
    if listener.durability not in DURABILITIES:
        raise ConfigError("listener.durability: expected strict, journal or none")
    if listener.durability == "journal" and listener.receiver != "own":
        raise ConfigError('listener.durability: journal needs listener.receiver = "own"; take strict instead')


def _check_retention(retention: Retention) -> None:
    for key in fields(retention):
        if key.metadata["unit"] == "days" and not getattr(retention, key.name) >= 0:
            raise ConfigError(f"retention.{key.name}: expected 0 or more, found {getattr(retention, key.name)}")
    low, high = retention.low_water_percent, retention.high_water_percent
    if not 0 < low <= high <= 100:
        raise ConfigError(
            f"retention.high_water_percent: expected low_water_percent or more, and 100 at most, found {low} and {high}"
        )


def _positive(settings: Settings) -> Iterator[tuple[str, float]]:
    for table in fields(Settings):
        section = getattr(settings, table.name)
        for key in fields(section) if is_dataclass(section) else ():
            value = getattr(section, key.name)
            counts = key.name.startswith(("max_", "readings_")) or key.metadata["unit"] == "s"
            if counts and key.name != "min_free_bytes":
                yield f"{table.name}.{key.name}", value
