"""The whole system as processes of its own: real Redis, a real PACS, our listener and workers."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest

from conformance.phantoms import Phantom, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.demo import answers
from plugin.parts import PacsPart, start_pacs, wait_until
from plugin.processes import Processes
from sgmri.lifecycle import State
from worker.database import sqlite_url
from worker.journal import Journal, SeriesRow

REVIEWER = "SGMRI-DEMO"

_IN_CI = os.environ.get("CI") == "true"


def require(tool: str) -> None:
    """Skip where a real part is not installed; in CI that is a failure."""
    if shutil.which(tool, path="/usr/bin:/usr/sbin:/usr/local/bin") is None and not _IN_CI:
        pytest.skip(f"{tool} is not installed")


@dataclass
class System:
    """A running plug-in with its surroundings."""

    state_dir: Path
    processes: Processes
    broker_url: str
    port: int
    reviewer_port: int
    pacs: PacsPart | None = None
    settings: dict[str, str] = field(default_factory=dict)
    journal: Journal = field(init=False)
    children: dict[str, "Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.state_dir / "state").mkdir(parents=True, exist_ok=True)
        self.journal = Journal(sqlite_url(self.state_dir / "state"))

    @property
    def listener(self) -> Destination:
        return Destination(ae_title="SGMRI", host="127.0.0.1", port=self.port, calling_ae_title="SCANNER")

    @property
    def reviewer(self) -> Destination:
        assert self.pacs is not None
        return Destination(
            ae_title=self.pacs.ae_title, host="127.0.0.1", port=self.pacs.port, calling_ae_title=REVIEWER
        )

    def peers(self) -> dict[str, int]:
        return {"SGMRI": self.port, REVIEWER: self.reviewer_port}

    def start_pacs(self, kind: str = "orthanc") -> PacsPart:
        if kind == "orthanc":
            require("Orthanc")
        self.pacs = start_pacs(kind, self.processes, self.state_dir / "pacs", self.peers())
        return self.pacs

    def start_pacs_at(self, port: int) -> PacsPart:
        require("Orthanc")
        self.pacs = start_pacs("orthanc", self.processes, self.state_dir / "pacs", self.peers(), port=port)
        return self.pacs

    def configure(self, ae_title: str, pacs_port: int) -> Path:
        path = self.state_dir / "sgmri.toml"
        values = {"quiet_period_s": "1.0", "lease_s": "3.0", "retry_first_s": "1.0", "commitment_timeout_s": "3600.0"}
        # Most of what is driven here does not depend on who reads: the engine without weights starts at once
        values |= {"engine": "classical", "metrics_port": "0"} | self.settings
        path.write_text(
            f"""
[listener]
port = {self.port}
min_free_bytes = 1
[[listener.peers]]
ae_title = "SCANNER"
host = "127.0.0.1"
[storage]
state_dir = "{self.state_dir / "state"}"
[series]
quiet_period_s = {values["quiet_period_s"]}
[broker]
url = "{self.broker_url}"
[worker]
engine = "{values["engine"]}"
sweep_period_s = 0.5
lease_s = {values["lease_s"]}
[delivery]
ae_title = "{ae_title}"
port = {pacs_port}
retry_first_s = {values["retry_first_s"]}
retry_max_s = 5.0
probe_interval_s = 2.0
timeout_s = 5.0
commitment_timeout_s = {values["commitment_timeout_s"]}
[metrics]
port = {values["metrics_port"]}
[log]
level = "DEBUG"
""",
            encoding="utf-8",
        )
        return path

    def start(self, *parts: str, env: dict[str, str] | None = None) -> None:
        """Start listener, worker-reading or worker-delivery."""
        config = str(self.state_dir / "sgmri.toml")
        for part in parts:
            arguments = ["listener"] if part == "listener" else ["worker", "--queues", part.removeprefix("worker-")]
            command = [sys.executable, "-m", "plugin.cli", "serve", *arguments, "--config", config]
            self.children[part] = self.processes.start(part, command, env=env)
        if "listener" in parts:
            wait_until(lambda: answers(self.listener), self.processes, "the listener")

    def start_all(self) -> None:
        assert self.pacs is not None
        self.configure(self.pacs.ae_title, self.pacs.port)
        self.start("listener", "worker-reading", "worker-delivery")

    def send(self, phantom: Phantom) -> None:
        paths = write(phantom, self.state_dir / "scanner")
        store(self.listener, [sendable(path) for path in paths])

    def wait(self, *states: State, timeout_s: float = 60.0) -> SeriesRow:
        """Wait until the only series stands in one of the states."""

        def there() -> bool:
            rows = self.journal.all_series()
            return len(rows) == 1 and rows[0].state in states

        self.wait_for(there, f"{states}", timeout_s)
        return self.journal.all_series()[0]

    def wait_for(self, ready: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline:
                rows = [(row.state, row.reason, row.attempts) for row in self.journal.all_series()]
                logs = "\n".join(path.read_text()[-3000:] for path in self.state_dir.glob("logs/*.log"))
                pytest.fail(f"not reached within {timeout_s} s: {what}; the journal says {rows}\n{logs}")
            time.sleep(0.05)
