"""The parts that are killed, each a process of its own, and the supervisor that starts them again."""

import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_io.network import Destination
from plugin.parts import broker_command, free_port, orthanc_config, orthanc_server
from plugin.processes import Processes
from worker.database import sqlite_url

REVIEWER = "REVIEWER"
_ROOT = Path(__file__).parents[2]
_POLL_S = 0.1
_SMALL_PACS = """
import json, sys, time
from pathlib import Path
from conformance.pacs import SmallPacs

peers = {title: ("127.0.0.1", port) for title, port in json.loads(sys.argv[3]).items()}
with SmallPacs("PACS", directory=Path(sys.argv[1]), peers=peers, port=int(sys.argv[2])):
    time.sleep(86400)
"""


@dataclass(slots=True)
class Part:
    """One process, and how often it was killed and fell by itself."""

    command: Sequence[str]
    cwd: Path = _ROOT
    process: "subprocess.Popen[bytes] | None" = None
    down_until: float = 0.0
    killed: int = 0
    fell: int = 0


@dataclass
class Installation:
    """All parts over one directory, kept running by a thread until closed.

    Parameters
    ----------
    directory
        Everything that is written lies here.
    pacs
        "orthanc", "embedded", or "auto".
    journal
        "sqlite", "postgresql" (a server of our own), or the URL of one that runs elsewhere and is not killed.
    durability
        Of the listener.
    """

    directory: Path
    pacs: str = "auto"
    journal: str = "sqlite"
    durability: str = "strict"
    parts: dict[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("logs", "state", "pacs"):
            (self.directory / name).mkdir(parents=True)
        self._processes = Processes(self.directory / "logs")
        self._ports = {name: free_port() for name in ("broker", "pacs", "pacs http", "SGMRI", REVIEWER)}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.parts["broker"] = Part(broker_command("auto", self._ports["broker"], self.directory / "broker")[1])
        self.parts["PACS"] = self._pacs_part()
        self.journal_url = self._make_journal()
        self._configure()
        ours = [sys.executable, "-m", "plugin.cli", "serve"]
        config = ["--config", str(self.directory / "sgmri.toml")]
        self.parts["listener"] = Part([*ours, "listener", *config])
        for queue in ("reading", "delivery"):
            self.parts[f"worker-{queue}"] = Part([*ours, "worker", "--queues", queue, *config])
        self._thread = threading.Thread(target=self._keep_up, name="supervisor")
        self._thread.start()

    @property
    def listener(self) -> Destination:
        """Where the sender sends."""
        return self._place("SGMRI", self._ports["SGMRI"], "SCANNER")

    @property
    def reviewer(self) -> Destination:
        """Where the results are asked for."""
        return self._place("PACS", self._ports["pacs"], REVIEWER)

    def kill(self, name: str, how: str, down_s: float) -> None:
        """Kill -9 a part: "all" of its process group, its "parent" alone, or its "children" alone."""
        part = self.parts[name]
        with self._lock:
            process = part.process
            if process is None or process.poll() is not None:
                return
            part.killed += 1
            if how == "children":
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
                return
            part.down_until, part.process = time.monotonic() + down_s, None
            if how == "parent":
                process.kill()
                process.wait()
            else:
                self._processes.kill(process)

    def close(self) -> None:
        """End the supervisor and every part."""
        self._closing.set()
        self._thread.join()
        self._processes.stop_all()

    def _keep_up(self) -> None:
        # All are started by this thread: the kernel ends a child with the thread that started it (PR_SET_PDEATHSIG)
        while not self._closing.wait(_POLL_S):
            with self._lock:
                for name, part in self.parts.items():
                    self._start_if_down(name, part)

    def _start_if_down(self, name: str, part: Part) -> None:
        now = time.monotonic()
        if part.process is not None and part.process.poll() is not None:
            part.fell += 1
            part.process, part.down_until = None, now + 1.0
        if part.process is None and now >= part.down_until:
            env = {"SGMRI_JOURNAL_URL": "", "SGMRI_BROKER_URL": ""}
            part.process = self._processes.start(name, part.command, env=env, cwd=part.cwd)

    def _place(self, ae_title: str, port: int, calling: str) -> Destination:
        return Destination(ae_title=ae_title, host="127.0.0.1", port=port, calling_ae_title=calling, timeout_s=10.0)

    def _pacs_part(self) -> Part:
        orthanc = orthanc_server() if self.pacs in ("auto", "orthanc") else None
        peers = {title: self._ports[title] for title in ("SGMRI", REVIEWER)}
        directory, port = self.directory / "pacs", self._ports["pacs"]
        if orthanc is None:
            return Part([sys.executable, "-c", _SMALL_PACS, str(directory), str(port), json.dumps(peers)])
        config = self.directory / "orthanc.json"
        settings = orthanc_config(directory, port, self._ports["pacs http"], peers) | {"DicomAet": "PACS"}
        config.write_text(json.dumps(settings), encoding="utf-8")
        return Part([orthanc, str(config)], cwd=directory)

    def _make_journal(self) -> str:
        if self.journal == "sqlite":
            return sqlite_url(self.directory / "state")
        if self.journal != "postgresql":
            return self.journal
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"))
        cluster = self.directory / "postgresql"
        cluster.mkdir(mode=0o700)
        # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        for directory in (cluster, *cluster.parents[:-2]):
            if directory.stat().st_uid != account.pw_uid:
                directory.chmod(directory.stat().st_mode | 0o011)
        os.chown(cluster, account.pw_uid, account.pw_gid)
        as_account = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        run = as_account if os.geteuid() == 0 else []
        initdb = [*run, str(binaries / "initdb"), "-D", str(cluster), "-U", "sgmri", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/")
        options = ["-D", str(cluster), "-k", str(cluster), "-c", "listen_addresses="]
        self.parts["PostgreSQL"] = Part([*run, str(binaries / "postgres"), *options], cwd=Path("/"))
        return f"postgresql+psycopg://sgmri@/postgres?host={cluster}"

    def _configure(self) -> None:
        (self.directory / "sgmri.toml").write_text(
            f"""
[listener]
port = {self._ports["SGMRI"]}
min_free_bytes = 1
durability = "{self.durability}"
[[listener.peers]]
ae_title = "SCANNER"
[storage]
state_dir = "{self.directory / "state"}"
journal_url = "{self.journal_url}"
[series]
quiet_period_s = 1.0
[broker]
url = "redis://127.0.0.1:{self._ports["broker"]}/0"
[worker]
engine = "classical"
sweep_period_s = 0.5
lease_s = 5.0
max_attempts = 1000    # a worker that we kill is not the series' fault
[delivery]
ae_title = "PACS"
port = {self._ports["pacs"]}
retry_first_s = 0.5
retry_max_s = 3.0
timeout_s = 10.0
commitment_timeout_s = 8.0
""",
            encoding="utf-8",
        )
