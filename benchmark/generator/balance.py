"""How the items of a built benchmark are balanced: counts, letters, and what the words of questions give away."""

from collections import Counter, defaultdict
from pathlib import Path

from benchmark.generator.probe import shortcuts
from benchmark.generator.tables import Table, count_table
from benchmark.items import ITEMS_FILE, LETTERS, AnswerType, Item, read_items
from benchmark.metrics import Interval


def of_items(folder: Path) -> dict[str, Table]:
    """Return the tables of a built benchmark, by title.

    Raises
    ------
    ConfigError
        If there is no file of items in the folder.
    """
    items = list(read_items(folder / ITEMS_FILE))
    return {
        "Items": count_table(Counter((item.level, item.task, item.anatomy, item.split) for item in items)),
        "Letters of single choices": letters(items),
        "What words give away (test split)": _given_away(items),
    }


def letters(items: list[Item]) -> Table:
    """Return how often each letter is the right one, for each kind of single choice."""
    found: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for item in items:
        if item.answer_type is AnswerType.SINGLE:
            found[item.level, item.task, item.anatomy].update(item.letters)
    rows: Table = [("level", "task", "anatomy", *LETTERS)]
    for kind, counts in sorted(found.items()):
        rows.append((*kind, *(f"{counts[letter] / counts.total():.1%}" for letter in LETTERS)))
    return rows


def _given_away(items: list[Item]) -> Table:
    rows: Table = [
        ("level", "task", "anatomy", "answer", "items", "majority", "words", "words - majority", "most frequent option")
    ]
    found = shortcuts(items)
    for one in found:
        kind = one.level, f"{one.task} {one.counted or ''}".strip(), one.anatomy, one.answer_type
        option = "-" if one.option is None else f"{one.option:.1%}"
        rows.append((*kind, f"{one.tested:,}", f"{one.majority:.1%}", f"{one.probe:.1%}", _points(one.gain), option))
    tested = sum(one.tested for one in found)
    if tested:
        majority = sum(one.majority * one.tested for one in found) / tested
        probe = sum(one.probe * one.tested for one in found) / tested
        gain = f"{100 * (probe - majority):+.1f}"
        rows.append(("all", "all", "all", "all", f"{tested:,}", f"{majority:.1%}", f"{probe:.1%}", gain, "-"))
    return rows


def _points(gain: Interval) -> str:
    return f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
