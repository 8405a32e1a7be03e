"""The demo: a phantom study travels from a scanner to a real PACS and back, and is compared with what was found.

Every part is a process of its own, as in production: broker, PACS, listener, reading worker, delivery worker. Nothing
is assumed: the objects are asked for with C-FIND, fetched with C-GET and read again.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.phantoms import Phantom, make, write
from dicom_io.identity import result_uids
from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.network import Destination, echo
from dicom_io.query import Level, Match, find, get
from dicom_io.results import differences_in_files
from dicom_io.scu import sendable, store
from dicom_io.services import Role, Use, for_use
from plugin.parts import PacsPart, free_port, start_broker, start_pacs, start_viewer, wait_until
from plugin.processes import PartFailed, Processes
from sgmri import readings
from sgmri.errors import PeerUnavailable
from sgmri.geometry import iou
from sgmri.lifecycle import FINAL_STATES, State
from sgmri.readings import Reading
from worker.contact_sheet import draw
from worker.database import sqlite_url
from worker.engines import DEFAULT_ENGINE
from worker.journal import EventRow, Journal, SeriesRow
from worker.pipeline import load_frames

LISTENER = "SGMRI"
SCANNER = "SCANNER"
REVIEWER = "SGMRI-DEMO"
_LOOPBACK = "127.0.0.1"
_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chose.

    Parameters
    ----------
    out
        Where contact sheet, reading and the objects as read back go.
    phantom, seed
        Which study travels.
    broker, pacs
        "auto", or which one.
    engine
        Who reads.
    keep
        Whether everything goes on running until Ctrl-C.
    view
        Whether a viewer shows the result.
    """

    out: Path
    phantom: str = "brain"
    seed: int = 0
    broker: str = "auto"
    pacs: str = "auto"
    engine: str = DEFAULT_ENGINE
    keep: bool = False
    view: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo saw.

    Parameters
    ----------
    series
        The series' last state.
    timeline
        What happened when.
    reading
        What the worker found; None if it found no end.
    pacs_name
        Which PACS it was.
    in_pacs
        Result series that C-FIND lists.
    differences
        Between the reading and the objects read back; empty is good.
    planted, found, named
        How many lesions the phantom has, on how many of them a box lies (IoU of at least 0.5 on a common frame), and
        on how many one of the lesion's own name.
    contact_sheet
        The picture.
    link
        The address at which the viewer opens the result; empty where there is no viewer.
    """

    series: SeriesRow
    timeline: tuple[EventRow, ...]
    reading: Reading | None
    pacs_name: str
    in_pacs: tuple[Match, ...] = ()
    differences: tuple[str, ...] = ()
    planted: int = 0
    found: int = 0
    named: int = 0
    contact_sheet: Path | None = None
    link: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the objects in the PACS say what the worker found, and the PACS is responsible for them."""
        return self.series.state is State.COMMITTED and self.reading is not None and not self.differences


def run(options: Options, say: Callable[[str], None], show: Callable[[Outcome], None]) -> Outcome:
    """Run the demo.

    Parameters
    ----------
    options
        What the user chose.
    say
        Told each step as a line.
    show
        Given the outcome while everything still runs; what it does not return from keeps it running.

    Raises
    ------
    SgmriError
        If a part does not start or a step fails; everything is stopped then.
    """
    state_dir = Path(tempfile.mkdtemp(prefix="sgmri-demo-"))
    try:
        with Processes(_made(state_dir / "logs")) as processes:
            outcome = _travel(options, say, show, processes, state_dir)
        return outcome
    except PartFailed:
        shutil.copytree(state_dir / "logs", _made(options.out) / "logs", dirs_exist_ok=True)
        say(f"the log lines of every part are in {options.out / 'logs'}")
        raise
    finally:
        shutil.rmtree(state_dir, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trip:
    """One study under way."""

    options: Options
    state_dir: Path
    pacs: PacsPart
    phantom: Phantom
    sent: tuple[Path, ...]
    journal: Journal
    viewer_url: str


def _travel(
    options: Options,
    say: Callable[[str], None],
    show: Callable[[Outcome], None],
    processes: Processes,
    state_dir: Path,
) -> Outcome:
    broker = start_broker(options.broker, processes, state_dir / "broker")
    say(f"broker    {broker.name}")
    port = free_port()
    peers = {LISTENER: port, REVIEWER: free_port(), SCANNER: free_port()}
    pacs = start_pacs(options.pacs, processes, state_dir / "pacs", peers)
    with pacs.running:
        say(f"PACS      {pacs.name} ({pacs.ae_title}, port {pacs.port})")
        viewer_url = ""
        if options.view:
            viewer_url = start_viewer(pacs, processes, say)
            say(f"viewer    OHIF, {viewer_url}")
        config = state_dir / "sgmri.toml"
        viewers = ("ohif",) if options.view else ()
        text = configuration(state_dir, port, broker.url, pacs, options.engine, viewers=viewers)
        config.write_text(text, encoding="utf-8")
        _start_plugin(processes, config)
        listener = Destination(ae_title=LISTENER, host=_LOOPBACK, port=port, calling_ae_title=SCANNER)
        wait_until(lambda: answers(listener), processes, "the listener")
        say(f"listener  {LISTENER}, port {port}; workers for reading and delivery")

        phantom = make(options.phantom, seed=options.seed)
        sent = write(phantom, state_dir / "scanner")
        if options.view:  # boxes are shown over the images, which a site's PACS has from the scanner
            store(replace(listener, ae_title=pacs.ae_title, port=pacs.port), [sendable(path) for path in sent])
        store(listener, [sendable(path) for path in sent])
        say(f"scanner   sent {len(sent)} instances of the {phantom.anatomy} phantom {phantom.name!r} ({SCANNER})")

        journal = Journal(sqlite_url(state_dir / "state"))
        try:
            trip = _Trip(
                options=options,
                state_dir=state_dir,
                pacs=pacs,
                phantom=phantom,
                sent=sent,
                journal=journal,
                viewer_url=viewer_url,
            )
            outcome = _review(trip, _follow(journal, processes, say))
        finally:
            journal.close()
        if options.keep:
            say(f"kept running with the configuration {config}; Ctrl-C stops everything")
        show(outcome)
        return outcome


def configuration(
    state_dir: Path, port: int, broker_url: str, pacs: PacsPart, engine: str, *, viewers: Sequence[str] = ()
) -> str:
    """Return the demo's configuration file; the destination has these viewers."""
    return f"""\
[listener]
ae_title = "{LISTENER}"
port = {port}
min_free_bytes = 1
[[listener.peers]]
ae_title = "{SCANNER}"
host = "{_LOOPBACK}"
[storage]
state_dir = "{state_dir / "state"}"
[series]
quiet_period_s = 2.0
[broker]
url = "{broker_url}"
[worker]
engine = "{engine}"
sweep_period_s = 1.0
[delivery]
ae_title = "{pacs.ae_title}"
port = {pacs.port}
viewers = {json.dumps(viewers)}
"""


def _start_plugin(processes: Processes, config: Path) -> None:
    # The environment's URLs would win over the file's; torch leaves a directory where temporary files go
    env = {"SGMRI_JOURNAL_URL": "", "SGMRI_BROKER_URL": "", "PYTHONUNBUFFERED": "1"}
    env["TMPDIR"] = str(_made(config.parent / "tmp"))
    command = [sys.executable, "-m", "plugin.cli", "serve"]
    processes.start("listener", [*command, "listener", "--config", str(config)], env=env)
    for queue in ("reading", "delivery"):
        processes.start(f"worker-{queue}", [*command, "worker", "--queues", queue, "--config", str(config)], env=env)


def _follow(journal: Journal, processes: Processes, say: Callable[[str], None]) -> SeriesRow:
    deadline = time.monotonic() + _TIMEOUT_S
    seen: State | None = None
    while True:
        processes.check()
        rows = journal.all_series()
        if rows and rows[0].state is not seen:
            seen = rows[0].state
            say(f"series    {rows[0].series_key[:8]} {seen}")
        if rows and seen in FINAL_STATES:
            return rows[0]
        if time.monotonic() > deadline:
            raise PartFailed(f"the series did not arrive within {_TIMEOUT_S:.0f} s; it stands at {seen}")
        time.sleep(0.05)


def _review(trip: _Trip, row: SeriesRow) -> Outcome:
    timeline = trip.journal.timeline(row.series_key)
    found = trip.state_dir / "state" / "outbox" / row.series_key / str(row.generation) / "reading.json"
    if not found.exists():
        return Outcome(series=row, timeline=timeline, reading=None, pacs_name=trip.pacs.name)
    reading = readings.from_json(found.read_text(encoding="utf-8"))
    out = _made(trip.options.out)
    shutil.copy(found, out / "reading.json")
    draw(load_frames(trip.sent), reading, out / "contact-sheet.png")
    in_pacs, differences = _compare(trip, row, reading)
    return Outcome(
        series=row,
        timeline=timeline,
        reading=reading,
        pacs_name=trip.pacs.name,
        in_pacs=in_pacs,
        differences=differences,
        planted=len(trip.phantom.lesions),
        found=_found(trip.phantom, reading),
        named=_found(trip.phantom, reading, by_name=True),
        contact_sheet=out / "contact-sheet.png",
        link=_link(trip.viewer_url, reading),
    )


def _link(viewer_url: str, reading: Reading) -> str:
    if not viewer_url:
        return ""
    from plugin.viewer.web import deep_link  # its libraries are an extra

    # OHIF shows a measurement report without measurements as a black page: then rather the answers as text
    opened = ResultKind.SR if reading.findings else ResultKind.TEXT_SR
    return deep_link(viewer_url, reading.study_instance_uid, result_uids(reading).series(opened))


def _compare(trip: _Trip, row: SeriesRow, reading: Reading) -> tuple[tuple[Match, ...], tuple[str, ...]]:
    """Ask the PACS what it holds, fetch it, and compare it with what the worker found."""
    reviewer = Destination(ae_title=trip.pacs.ae_title, host=_LOOPBACK, port=trip.pacs.port, calling_ae_title=REVIEWER)
    keys = {
        "StudyInstanceUID": row.study_instance_uid,
        "SeriesInstanceUID": "",
        "Modality": "",
        "SeriesNumber": "",
        "SeriesDescription": "",
    }
    uids = result_uids(reading)
    kind_of = {uids.series(kind): kind for kind in ResultKind}
    in_pacs = tuple(match for match in find(reviewer, Level.SERIES, keys) if match["SeriesInstanceUID"] in kind_of)
    for stale in FILE_NAME.values():
        (trip.options.out / stale).unlink(missing_ok=True)
    fetched = {}
    for match in in_pacs:
        kind = kind_of[match["SeriesInstanceUID"]]
        target = trip.options.out / FILE_NAME[kind]
        fetched[kind] = _fetch(reviewer, row, match["SeriesInstanceUID"], target)
    if ResultKind.SR not in fetched:
        return in_pacs, ("the PACS does not list the structured report in the study",)
    return in_pacs, differences_in_files(reading, fetched)


def _fetch(reviewer: Destination, row: SeriesRow, series_instance_uid: str, target: Path) -> Path:
    directory = target.with_suffix(".fetched")
    shutil.rmtree(directory, ignore_errors=True)
    classes = [service.sop_class_uid for service in for_use(Use.DELIVER, role=Role.SCU)]
    paths = get(reviewer, row.study_instance_uid, series_instance_uid, classes, directory)
    if len(paths) != 1:
        raise PeerUnavailable(f"expected one object in a series of results, fetched {len(paths)}")
    paths[0].replace(target)
    shutil.rmtree(directory)
    return target


def _found(phantom: Phantom, reading: Reading, *, by_name: bool = False) -> int:
    return sum(
        any(
            seen.frame_index == planted.frame_index
            and iou(seen.box, planted.box) >= 0.5
            and (not by_name or seen.label == lesion.label)
            for planted in lesion.findings
            for seen in reading.findings
        )
        for lesion in phantom.lesions
    )


def answers(destination: Destination) -> bool:
    """Tell whether a peer answers C-ECHO."""
    try:
        echo(destination)
    except PeerUnavailable:
        return False
    return True


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
