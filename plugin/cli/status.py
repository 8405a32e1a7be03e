"""``sgmri status``: what the journal says of every series; names no patient and shows no UID."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plugin.listener import open_journal
from plugin.settings import load
from sgmri.lifecycle import Reason, State
from worker import suspension
from worker.app import DELIVERY_QUEUE, READING_QUEUE
from worker.bells import depth
from worker.deliveries import Deliveries
from worker.delivery import breakers
from worker.destinations import targets
from worker.journal import SeriesRow
from worker.revisions import ReadingRow, readings
from worker.suspension import Mode, WorklistRow
from worker.worklist import Worklist


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("status", help="show every series with its state, reason and age")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="show the N newest series (default: 20)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    settings = load(arguments.config)
    journal = open_journal(settings)
    try:
        counts = journal.counts()
        rows = journal.newest(arguments.last)
        readings_of = {row.series_key: readings(journal, row.series_key) for row in rows}
        worklist, mode = Worklist(journal=journal), suspension.look(journal)
        lanes, stalled_s = worklist.by_lane(), worklist.stalled_s(settings.queue.stalled_after_s)
        deliveries = Deliveries(journal=journal, targets=targets(settings))
        deliveries_of = {row.series_key: _deliveries(deliveries, row) for row in rows}
        away = sorted(breakers(journal, settings).open())
    finally:
        journal.close()
    waiting = {queue: depth(settings.broker.url, queue) for queue in (READING_QUEUE, DELIVERY_QUEUE)}
    now = time.time()
    if arguments.json:
        document = {
            "counts": {state.value: count for state, count in sorted(counts.items())},
            "messages": waiting,
            "worklist": {
                "mode": mode.mode.value,
                "mode_s": round(now - mode.mode_since, 1),
                "lanes": {lane.value: count for lane, count in lanes.items()},
                "stalled_s": None if stalled_s is None else round(stalled_s, 1),
            },
            "unreachable": away,
            "series": [
                _mapping(row, readings_of[row.series_key], now) | {"deliveries": deliveries_of[row.series_key]}
                for row in rows
            ],
        }
        print(json.dumps(document, indent=2))
        return 0
    print(" ".join(f"{state}={count}" for state, count in sorted(counts.items())) or "no series yet")
    print(" ".join(f"messages.{queue}={'?' if count is None else count}" for queue, count in waiting.items()))
    print("worklist: " + " ".join(f"{lane}={count}" for lane, count in lanes.items()) + _mode(mode, stalled_s, now))
    for name in away:
        print(f"{name} cannot be reached and is only probed; what is for it waits")
    for row in rows:
        why = "" if row.reason is Reason.NONE else f" ({row.reason})"
        lane = f" in lane {row.lane}" if row.state is State.QUEUED else ""
        print(
            f"{row.series_key[:8]}  {row.state}{lane}{why}, {row.instances} instances, {_age(now - row.updated_at)} ago"
            f"{_revision(readings_of[row.series_key])}{_where(deliveries_of[row.series_key])}"
        )
    return 0


def _mode(worklist: WorklistRow, stalled_s: float | None, now: float) -> str:
    """Say whether readings begin, and whether none does although it may."""
    if worklist.mode is not Mode.RUNNING:
        return f", {worklist.mode} for {_age(now - worklist.mode_since)} (sgmri resume lets readings begin again)"
    if stalled_s is not None:
        return f", STALLED: none has been begun for {_age(stalled_s)}; does a reading worker run?"
    return ""


def _deliveries(deliveries: Deliveries, row: SeriesRow) -> list[dict[str, object]]:
    """Return how far the present reading has come at each destination, and the objects that it does not take."""
    return [
        {
            "destination": one.destination,
            "state": one.state.value,
            "reason": one.reason.value,
            "tries": one.tries,
            "objects": len(objects),
            "stored": sum(each.stored_at is not None for each in objects),
            "committed": sum(each.committed_at is not None for each in objects),
            "refused": {each.kind: each.reason.value for each in objects if each.reason is not Reason.NONE},
        }
        for one in deliveries.of(row)
        for objects in [deliveries.objects(one)]
    ]


def _where(deliveries: Sequence[dict[str, Any]]) -> str:
    """Say how each destination stands where there are several, and which objects one does not take."""
    said = ""
    for one in deliveries:
        refused = "".join(f", {kind} {reason}" for kind, reason in one["refused"].items())
        if len(deliveries) > 1 or refused:
            why = "" if one["reason"] == Reason.NONE else f" ({one['reason']})"
            said += f"; {one['destination']}: {one['state']}{why}{refused}"
    return said


def _revision(known: Sequence[ReadingRow]) -> str:
    """Say which reading the newest one revises, whether it is of the instances now there, and what was retracted."""
    if not known:
        return ""
    newest = known[-1]
    said = "" if newest.revises is None else f"; reading {newest.generation} revises reading {newest.revises}"
    if newest.is_outgrown:
        said += f"; reading {newest.generation} is of fewer instances"
    for one in known:
        if one.retracted is not None:
            unsent = "" if one.note_sent_at is not None else ", its note is not sent yet"
            said += f"; reading {one.generation} is retracted{unsent}"
    return said


def _mapping(row: SeriesRow, known: Sequence[ReadingRow], now: float) -> dict[str, object]:
    return {
        "series": row.series_key,
        "state": row.state.value,
        "reason": row.reason.value,
        "generation": row.generation,
        "instances": row.instances,
        "question_set_id": row.question_set_id,
        "attempts": row.attempts,
        "deliveries": row.deliveries,
        "age_s": round(now - row.received_at, 1),
        "in_state_s": round(now - row.updated_at, 1),
        "readings": [
            {
                "generation": one.generation,
                "stored": one.stored_at is not None,
                "committed": one.committed_at is not None,
                "revises": one.revises,
                "superseded_by": one.superseded_by,
                "retracted": None if one.retracted is None else one.retracted.value,
                "note_sent": one.note_sent_at is not None,
            }
            for one in known
        ],
    }


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
