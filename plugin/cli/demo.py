"""``sgmri demo``: watch a phantom study travel from scanner to PACS and back."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from conformance.phantoms import NAMES
from plugin.answers import answer_lines
from plugin.demo import Options, Outcome
from plugin.demo import run as run_demo
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.findings import frames_as_text
from worker.engine.places import EMBEDDED
from worker.engines import DEFAULT_ENGINE, ENGINES


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("demo", help="a phantom study travels: scanner, listener, queue, worker, PACS")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="directory for what is shown")
    parser.add_argument("--phantom", choices=NAMES, default="brain")
    parser.add_argument("--seed", type=int, default=0, help="another patient")
    parser.add_argument("--engine", choices=sorted(ENGINES), default=DEFAULT_ENGINE)
    parser.add_argument("--broker", choices=["auto", "redis", "embedded"], default="auto")
    parser.add_argument("--pacs", choices=["auto", "orthanc", "embedded"], default="auto")
    parser.add_argument("--keep", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--view", action="store_true", help="show the result in a viewer (OHIF); --keep is implied")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; 0 only if SR and SEG read back from the PACS say what the worker found."""
    # SIGTERM unwinds like Ctrl-C, so that no process is left behind
    signal.signal(signal.SIGTERM, _interrupt)
    begin = time.monotonic()
    print(f"sgmri demo. {RESEARCH_USE_STATEMENT}")

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {line}", flush=True)

    options = Options(
        out=arguments.out.resolve(),
        phantom=arguments.phantom,
        seed=arguments.seed,
        broker=arguments.broker,
        pacs=arguments.pacs,
        engine=arguments.engine,
        keep=arguments.keep or arguments.view,
        view=arguments.view,
    )

    def show(outcome: Outcome) -> None:
        _show(outcome)
        print(f"\n{'done' if outcome.is_good else 'FAILED'} in {time.monotonic() - begin:.1f} s", flush=True)
        if options.keep:
            signal.pause()

    return 0 if run_demo(options, say, show).is_good else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(outcome: Outcome) -> None:
    _show_timeline(outcome)
    if outcome.reading is None:
        print(f"\nno reading: the series ended as {outcome.series.state} ({outcome.series.reason})", file=sys.stderr)
        return
    print("\nQuestions and answers")
    for line in answer_lines(outcome.reading):
        print(f"  {line}")
    print(f"\nPlanted lesions found: {outcome.found} of {outcome.planted}, by their own name {outcome.named}")
    engine = outcome.reading.engine
    print(f"Read by {engine.name} {engine.version}{_knows(engine.name)}")
    for tracklet in outcome.reading.tracklets:
        print(f"  {tracklet.tracklet_id}: {tracklet.label}, frames {frames_as_text(tracklet.frame_indices)}")
    print(f"\nIn the PACS ({outcome.pacs_name}, asked with C-FIND)")
    for match in outcome.in_pacs:
        print(f"  {match['Modality']:3}  series {match['SeriesNumber']}  {match['SeriesDescription']}")
    if outcome.differences:
        print("\nRead back with C-GET, the objects differ from what the worker found:")
        for difference in outcome.differences:
            print(f"  {difference}")
    else:
        boxes = len(outcome.reading.findings)
        print(
            f"\nRead back with C-GET: the objects say what the worker found ({boxes} boxes, "
            f"{len(outcome.reading.tracklets)} segments, {len(outcome.reading.answers)} answers)"
        )
    print(f"Contact sheet: {outcome.contact_sheet}")
    if outcome.link:
        print(f"\nOpen the result in a browser on this machine:\n{outcome.link}")


def _knows(engine: str) -> str:
    """Return what has to be said of an engine beside its findings."""
    return ", a demonstration model that knows synthetic lesions" if engine == EMBEDDED else ""


def _show_timeline(outcome: Outcome) -> None:
    print("\nTimeline")
    start = outcome.timeline[0].at if outcome.timeline else 0.0
    for event in outcome.timeline:
        took = "" if event.duration_s is None else f"  took {event.duration_s * 1000:.0f} ms"
        print(f"  {event.at - start:6.2f} s  {event.stage}{took}")
