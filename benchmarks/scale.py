"""Studies per hour with one worker and with two, and what the queue takes of the workers' time.

    python -m benchmarks.scale [--engine classical|grounded] [--series N] [--rounds N]

Listener, delivery worker, Redis and PostgreSQL are real processes; each reading worker is a host of its own (network
namespaces behind a bridge, as root), or else a process. A study is one series of a brain phantom. In each run the
series are received first while readings are held, then the workers are let loose together, and the clock runs from the
first reading's begin to the last one's end, by the journal. One worker and two take turns; medians of the rounds are
printed.

The queue's share is the part of the workers' time in which they read nothing although series waited: the message, the
worklist, the journal's transactions, up to the begin of the last reading. On a machine with as many busy cores as
workers, two workers compete for what one alone can use.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from conformance.pacs import SmallPacs
from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.demo import answers
from plugin.parts import free_port, wait_until
from plugin.processes import Processes
from sgmri.lifecycle import State
from tests.databases import make_cluster
from tests.hosts.network import BRIDGE, HOSTS, can_make_hosts, network, on_host
from worker import suspension
from worker.journal import Journal
from worker.suspension import Mode

_PATIENCE_S = 900.0
_ENDED = (State.READ, State.STORED, State.COMMITTED)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run came to."""

    workers: int
    elapsed_s: float
    studies_per_hour: float
    reading_s: float
    queue_share: float


@dataclass(kw_only=True)
class Site:
    """Everything but the reading workers, running."""

    directory: Path
    processes: Processes
    journal: Journal
    listener: Destination
    config: Path
    has_hosts: bool
    seeds: "count[int]"

    def command(self, name: str) -> list[str]:
        """Return how a reading worker is started."""
        if self.has_hosts:
            return on_host(name, self.config)
        return [
            sys.executable,
            "-m",
            "plugin.cli",
            "serve",
            "worker",
            "--queues",
            "reading",
            "--config",
            str(self.config),
        ]

    def run(self, workers: int, series: int) -> Run:
        """Read that many series with that many workers."""
        suspension.change(self.journal, Mode.FINISHING)
        known = {row.series_key for row in self.journal.all_series()}
        for _ in range(series):
            seed = next(self.seeds)
            paths = write(make("brain", seed=seed), self.directory / "scanner" / str(seed))
            store(self.listener, [sendable(path) for path in paths])

        def new(*states: State) -> list[str]:
            return [row.series_key for row in self.journal.all_series(*states) if row.series_key not in known]

        wait_for(lambda: len(new(State.QUEUED)) == series, "all series queued")
        names = list(HOSTS)[:workers]
        logs = {name: self.processes.log(name) for name in names}
        begun = {name: log.stat().st_size if log.exists() else 0 for name, log in logs.items()}
        children = [self.processes.start(name, self.command(name)) for name in names]
        wait_for(
            lambda: all(b"[tasks]" in log.read_bytes()[begun[name] :] for name, log in logs.items()),
            "workers are ready",
        )
        suspension.change(self.journal, Mode.RUNNING)
        wait_for(lambda: len(new(*_ENDED)) == series, "all series read")
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
            self.processes.kill(child)
        return figures(self.journal, new(*_ENDED), workers)


def figures(journal: Journal, keys: Sequence[str], workers: int) -> Run:
    """Say what a run came to, by the timelines of its series."""
    spans = []
    for key in keys:
        at = {event.stage: event.at for event in journal.timeline(key) if event.duration_s is None}
        spans.append((at[State.READING], at[State.READ]))
    first, last = min(begin for begin, _ in spans), max(begin for begin, _ in spans)
    elapsed_s = max(end for _, end in spans) - first
    # While series waited: after the last one's begin a worker without work waits for no queue
    busy_s = sum(min(end, last) - begin for begin, end in spans)
    return Run(
        workers=workers,
        elapsed_s=elapsed_s,
        studies_per_hour=3600 * len(keys) / elapsed_s,
        reading_s=statistics.median(end - begin for begin, end in spans),
        queue_share=1 - busy_s / (workers * (last - first)),
    )


def wait_for(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not there():
        if time.monotonic() > deadline:
            raise SystemExit(f"expected: {what}; it did not come in {_PATIENCE_S:.0f} s; see the logs")
        time.sleep(0.2)


def configuration(directory: Path, engine: str, address: str, ports: dict[str, int]) -> Path:
    path = directory / "sgmri.toml"
    path.write_text(
        f"""
[listener]
port = {ports["listener"]}
min_free_bytes = 1
[[listener.peers]]
ae_title = "SCANNER"
[storage]
state_dir = "{directory / "state"}"
journal_url = "postgresql+psycopg://sgmri@{address}:{ports["postgres"]}/postgres"
[series]
quiet_period_s = 0.5
[broker]
url = "redis://{address}:{ports["redis"]}/0"
[worker]
engine = "{engine}"
device = "cpu"
min_free_memory_bytes = 1
sweep_period_s = 1.0
[delivery]
ae_title = "SMALLPACS"
port = {ports["pacs"]}
commitment = false
""",
        encoding="utf-8",
    )
    return path


def open_site(directory: Path, engine: str, running: ExitStack) -> Site:
    """Start everything but the reading workers."""
    has_hosts = can_make_hosts()
    if has_hosts:
        running.enter_context(network())
    address = BRIDGE if has_hosts else "127.0.0.1"
    ports = {name: free_port() for name in ("listener", "postgres", "redis", "pacs")}
    cluster = make_cluster()
    running.callback(shutil.rmtree, cluster.directory, ignore_errors=True)
    with (cluster.directory / "cluster" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {BRIDGE}/24 trust\n")
    cluster.start(f"-c listen_addresses={address}", f"-p {ports['postgres']}")
    running.callback(cluster.stop)
    (directory / "logs").mkdir()
    processes = running.enter_context(Processes(directory / "logs"))
    redis = ["redis-server", "--bind", address, "--protected-mode", "no", "--port", str(ports["redis"])]
    processes.start("redis", [*redis, "--save", "", "--dir", str(directory)])
    config = configuration(directory, engine, address, ports)
    peers = {"SGMRI": ("127.0.0.1", ports["listener"])}
    running.enter_context(SmallPacs("SMALLPACS", directory=directory / "pacs", peers=peers, port=ports["pacs"]))
    for what in (["listener"], ["worker", "--queues", "delivery"]):
        processes.start(what[-1], [sys.executable, "-m", "plugin.cli", "serve", *what, "--config", str(config)])
    listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=ports["listener"], calling_ae_title="SCANNER")
    wait_until(lambda: answers(listener), processes, "the listener", 180)
    journal = Journal(f"postgresql+psycopg://sgmri@{address}:{ports['postgres']}/postgres")
    running.callback(journal.close)
    return Site(
        directory=directory,
        processes=processes,
        journal=journal,
        listener=listener,
        config=config,
        has_hosts=has_hosts,
        seeds=count(1),
    )


def report(runs: Sequence[Run], options: argparse.Namespace, has_hosts: bool) -> dict[str, float]:
    """Print medians and ratios; return them."""
    found: dict[str, float] = {}
    print("workers  studies/hour  reading s  queue's share   (medians)")
    for workers in (1, 2):
        these = [run for run in runs if run.workers == workers]
        rate = statistics.median(run.studies_per_hour for run in these)
        reading_s = statistics.median(run.reading_s for run in these)
        share = statistics.median(run.queue_share for run in these)
        print(f"{workers:7} {rate:13.0f} {reading_s:10.2f} {100 * share:12.1f} %")
        found |= {f"per_hour_{workers}": rate, f"reading_s_{workers}": reading_s, f"queue_share_{workers}": share}
    found["ratio"] = found["per_hour_2"] / found["per_hour_1"]
    where = "hosts (network namespaces)" if has_hosts else "processes"
    print(f"2 / 1: {found['ratio']:.2f}; {options.engine} engine, {options.series} series a run, workers are {where}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["classical", "grounded"], default="classical")
    parser.add_argument("--series", type=int, default=12, help="series a run (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, help="runs with one worker, and as many with two (default: 3)")
    parser.add_argument("--json", type=Path, help="write every figure there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends, and the hosts' network goes
    with tempfile.TemporaryDirectory(prefix="sgmri-scale-") as name, ExitStack() as running:
        directory = Path(name)
        site = open_site(directory, options.engine, running)
        runs, loads = [], []
        for turn in range(options.rounds):
            for workers in (1, 2) if turn % 2 == 0 else (2, 1):
                loads.append(os.getloadavg()[0])
                runs.append(site.run(workers, options.series))
                print(f"{workers} worker(s): {runs[-1].studies_per_hour:.0f} studies an hour", flush=True)
        load = f"load {min(loads):.1f} to {max(loads):.1f} before the runs"
        print(f"\n{platform.machine()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}")
        found = report(runs, options, site.has_hosts)
    if options.json:
        options.json.write_text(json.dumps({**found, "loads": loads, "runs": [asdict(run) for run in runs]}))


if __name__ == "__main__":
    main()
