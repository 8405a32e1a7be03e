"""``sgmri serve``: run the listener, a worker, the dashboard, or everything on one machine."""

import argparse
import logging
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from plugin import celery
from plugin.beginnings import audited
from plugin.dashboard import require_libraries
from plugin.listener import ListenerService
from plugin.logging import set_up
from plugin.processes import PartFailed, Processes
from plugin.rules import load_rules
from plugin.settings import load
from sgmri.settings import Settings
from worker.audit import auditor

_log = logging.getLogger(__name__)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("serve", help="run the listener, a worker, the dashboard, or all on one machine")
    parser.add_argument("what", choices=["listener", "worker", "dashboard", "all"])
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.add_argument(
        "--queues", default=",".join(celery.QUEUES), help="for a worker: reading, delivery or both (default: both)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = load(arguments.config)
    set_up(settings.log)
    if arguments.what == "listener":
        return _listen(settings, arguments.config)
    if arguments.what == "worker":
        queues = [queue for queue in arguments.queues.split(",") if queue]
        if not queues or not set(queues) <= set(celery.QUEUES):
            print(
                f"sgmri: --queues: expected {' or '.join(celery.QUEUES)}, found {arguments.queues!r}", file=sys.stderr
            )
            return 2
        with audited(auditor(settings, "worker"), settings, "worker", arguments.config):
            celery.run(settings, queues)
        return 0
    if arguments.what == "dashboard" or settings.dashboard.enabled:
        require_libraries()
    if arguments.what == "dashboard":
        _serve_dashboard(settings, arguments.config)
        return 0
    load_rules(settings.selection.rules)  # a mistake in them ends this process, not its children one by one
    return _serve_all(settings, arguments.config)


def _serve_dashboard(settings: Settings, config: Path | None) -> None:
    from plugin.dashboard.serving import serve  # these need the libraries, an extra
    from plugin.engine_answers import EngineAnswers

    remember = auditor(settings, "dashboard")
    with audited(remember, settings, "dashboard", config), closing(EngineAnswers(settings, remember)) as answers:
        serve(settings, remember, answers if settings.dashboard.questions else None)


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _listen(settings: Settings, config: Path | None) -> int:
    stop = _stop_event()
    gave_up = threading.Event()

    def give_up() -> None:
        gave_up.set()
        stop.set()

    remember = auditor(settings, "listener")
    service = ListenerService(settings, give_up, remember)
    with audited(remember, settings, "listener", config):
        try:
            service.start()
        except OSError as error:
            print(
                f"sgmri: cannot listen on {settings.listener.host}:{_ports(settings)}: {error.strerror}; choose "
                "another listener.port (listener.tls.port), or stop what uses it",
                file=sys.stderr,
            )
            return 1
        stop.wait()
        service.stop()
    if gave_up.is_set():
        _log.error("the audit log cannot be written: the listener ends (audit.on_failure)")
    return int(gave_up.is_set())


def _ports(settings: Settings) -> str:
    tls, plain = settings.listener.tls, str(settings.listener.port)
    if not tls.is_on:
        return plain
    return f"{tls.port} or {plain}" if tls.plain else str(tls.port)


def _serve_all(settings: Settings, config: Path | None) -> int:
    stop = _stop_event()
    log_dir = Path(settings.storage.state_dir) / "logs"
    log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "plugin.cli", "serve"]
    with Processes(log_dir) as processes:
        processes.start("listener", [*command, "listener", *_config(config)])
        for queue in celery.QUEUES:
            processes.start(f"worker-{queue}", [*command, "worker", "--queues", queue, *_config(config)])
        if settings.dashboard.enabled:
            processes.start("dashboard", [*command, "dashboard", *_config(config)])
        _log.info("listener and workers run; their log lines are in the state directory's logs")
        while not stop.wait(1.0):
            try:
                processes.check()
            except PartFailed as error:
                _log.error("%s", error)
                return 1
    return 0


def _config(path: Path | None) -> list[str]:
    return [] if path is None else ["--config", str(path)]
