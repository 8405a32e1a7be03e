"""The leaderboard: published rows, our runs, baselines and ceilings side by side, in Markdown and HTML.

Two tables in the published scores (image and volume level), with the paper's own rows marked as such; two in ours;
one of what became of the questions. Percent throughout, with 95 % ranges over resampled volumes where we have them.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.baselines.ceilings import Ceiling, ceiling, visible_share
from benchmark.baselines.volumes import BoxedVolume
from benchmark.items import Level, Task
from benchmark.metrics import Interval
from benchmark.running.card import Origin
from benchmark.scoring.published_table import COLUMNS, PUBLISHED_ROWS, PublishedRow
from benchmark.scoring.report import RunScores
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.volume import Anatomy

_OURS = {
    Level.IMAGE: (
        (Task.DETECTION, "accuracy"),
        (Task.CLASSIFICATION, "F1"),
        (Task.DIAGNOSIS, "accuracy"),
        (Task.LOCALIZATION, "V*"),
        (Task.CAPTIONING, "entity F1"),
    ),
    Level.VOLUME: (
        (Task.DETECTION, "accuracy"),
        (Task.COUNTING, "accuracy"),
        (Task.COUNTING, "count error"),
        (Task.CLASSIFICATION, "F1"),
        (Task.LOCALIZATION, "V*"),
        (Task.LOCALIZATION, "frame IoU"),
        (Task.LOCALIZATION, "key frame hit"),
        (Task.LOCALIZATION, "lesion F1"),
        (Task.CAPTIONING, "entity F1"),
    ),
}
_NOT_A_SHARE = "count error"
_SHOWN_FRAMES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: title, what its numbers are, and cells."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def leaderboard(runs: Sequence[RunScores], volumes: Sequence[BoxedVolume], *, published: bool = True) -> list[Table]:
    """Return the tables.

    Parameters
    ----------
    runs
        Scored runs, models and baselines.
    volumes
        Of the benchmark, for the ceilings; empty where there are none.
    published
        Whether the paper's own rows are shown.
    """
    ordered = sorted(runs, key=lambda run: (run.origin is Origin.BASELINE, run.name))
    tables = [_published(level, ordered, PUBLISHED_ROWS if published else ()) for level in Level]
    tables += [_ours(level, ordered) for level in Level]
    tables += [_outcomes(ordered), *([ceilings_table(volumes)] if volumes else [])]
    return [table for table in tables if table.rows]


def _published(level: Level, runs: Sequence[RunScores], published: Sequence[PublishedRow]) -> Table:
    rows = [
        (f"{row.model} (published)", *(f"{value:.2f}" for value in row.percent))
        for row in published
        if row.level is level
    ]
    for run in runs:
        found = [run.find(level, task, name) for task, name in COLUMNS[level]]
        if any(found):
            means = [one.value for one in found if one is not None and not math.isnan(one.value)]
            mean = f"{100 * sum(means) / len(means):.2f}" if len(means) == len(found) else "-"
            rows.append((_name(run), *(cell(one) for one in found), mean))
    return Table(
        title=f"Published scores, {level} level (%)",
        note="Scored as the paper's code scores, faults included (docs/benchmark.md). Rows marked (published) are the "
        "paper's own numbers, on its own items; the others are on the items of this benchmark.",
        head=("model", *(f"{task} {name}" for task, name in COLUMNS[level]), "average"),
        rows=tuple(rows),
    )


def _ours(level: Level, runs: Sequence[RunScores]) -> Table:
    rows = []
    for run in runs:
        cells = [cell(run.find(level, task, name), share=name != _NOT_A_SHARE) for task, name in _OURS[level]]
        if any(cell != "-" for cell in cells):
            rows.append((_name(run), *cells))
    return Table(
        title=f"Strict scores, {level} level (%; count error in findings)",
        note="Over the questions that were answered; how many that is, the table of outcomes says.",
        head=("model", *(f"{task} {name}" for task, name in _OURS[level])),
        rows=tuple(rows),
    )


def _outcomes(runs: Sequence[RunScores]) -> Table:
    rows = []
    for run in runs:
        asked = sum(tally.asked for tally in run.tallies)
        counts = [
            sum(getattr(tally, name) for tally in run.tallies)
            for name in ("answered", "unparsable", "unanswered", "missing")
        ]
        sure = run.certainty
        rows.append(
            (
                _name(run),
                str(asked),
                *(f"{count} ({_percent(count / asked)})" for count in counts),
                _percent(sure.error),
                _percent(sure.ece),
                _percent(sure.area),
                f"{run.latency_s:.2f}",
                "-" if run.cost_usd is None else f"{run.cost_usd:.2f}",
            )
        )
    return Table(
        title="What became of the questions",
        note="Unparsable and unanswered questions are neither right nor wrong. Error, calibration error (ECE) and mean "
        "risk over coverage are of detections, counts and choices; a model that states no certainty has no ECE.",
        head=(
            *("model", "asked", "answered", "unparsable", "unanswered", "not put yet"),
            *("error %", "ECE %", "mean risk %", "seconds each", "USD"),
        ),
        rows=tuple(rows),
    )


def ceilings_table(volumes: Sequence[BoxedVolume]) -> Table:
    """Return what a perfect reader would reach on volumes who writes, or sees, less than everything."""
    rows = [(f"V of the {kind}", *(cell(ceiling(volumes, anatomy, kind)) for anatomy in Anatomy)) for kind in Ceiling]
    seen = [cell(visible_share(volumes, anatomy, _SHOWN_FRAMES)) for anatomy in Anatomy]
    return Table(
        title="Ceilings (%)",
        note="What a perfect reader would reach who writes so little, or sees so little, of volumes. Where no image "
        "says how many frames a volume has, the published average is taken (16 brain, 36 knee).",
        head=("what is written or seen", *Anatomy),
        rows=(*rows, (f"boxes that lie on {_SHOWN_FRAMES} frames, drawn evenly", *seen)),
    )


def _name(run: RunScores) -> str:
    marks = [
        text for text, is_so in (("baseline", run.origin is Origin.BASELINE), ("black images", run.is_blank)) if is_so
    ]
    return f"{run.name} ({', '.join(marks)})" if marks else run.name


def cell(score: Interval | None, *, share: bool = True) -> str:
    """Write a score with its range, in percent where it is a share."""
    if score is None or math.isnan(score.value):
        return "-"
    factor, digits = (100, 1) if share else (1, 2)
    value, low, high = (f"{factor * number:.{digits}f}" for number in (score.value, score.low, score.high))
    return f"{value} [{low}, {high}]"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def as_markdown(tables: Sequence[Table], title: str = "Leaderboard") -> str:
    """Write tables as Markdown, under a title."""
    lines = [f"# {title}", "", RESEARCH_USE_STATEMENT]
    for table in tables:
        lines += ["", f"## {table.title}", "", table.note, ""]
        lines += [_line(table.head), _line(["---"] * len(table.head)), *(_line(row) for row in table.rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_in_markdown, cells)) + " |"


def _in_markdown(text: str) -> str:
    """Keep a text one cell: Markdown lets HTML through, a bar ends a cell and a line end the row."""
    plain = " ".join(html.escape(text, quote=False).split())
    return plain.replace("\\", "\\\\").replace("|", "\\|")


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:100rem}table{border-collapse:collapse}"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid #ccc;text-align:right;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}.published{color:#666}"
)


def as_html(tables: Sequence[Table]) -> str:
    """Write tables as one page of HTML that needs nothing else."""
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Leaderboard</title><style>{_STYLE}</style>',
        f"<h1>Leaderboard</h1><p>{html.escape(RESEARCH_USE_STATEMENT)}</p>",
    ]
    for table in tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p><table>")
        parts.append(_row("th", table.head))
        parts += [_row("td", row) for row in table.rows]
        parts.append("</table>")
    return "\n".join(parts) + "\n</html>\n"


def _row(tag: str, cells: Sequence[str]) -> str:
    mark = ' class="published"' if cells[0].endswith("(published)") else ""
    return f"<tr{mark}>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
