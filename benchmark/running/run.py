"""Put every open question of a run to a model or an engine; every answer is on the disk before the next is counted."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby

from benchmark.items import Item, Prediction
from benchmark.running.chat import ChatModel
from benchmark.running.ledger import Ledger
from benchmark.running.reading import VolumeReading, read_volume
from sgmri.errors import SeriesError
from sgmri.interfaces import Engine, Frames

Progress = Callable[[int], None]
"""Told how many questions more have been answered."""
Shown = Callable[[Item], Frames]
"""The frames that an item is about."""


def open_items(items: Sequence[Item], ledger: Ledger) -> list[Item]:
    """Return the questions that have no answer yet."""
    return [item for item in items if item.item_id not in ledger.answers]


def ask_model(
    items: Sequence[Item],
    model: ChatModel,
    shown: Shown,
    ledger: Ledger,
    *,
    at_a_time: int = 4,
    progress: Progress = lambda count: None,
) -> None:
    """Ask a model behind a server, several questions at a time.

    Parameters
    ----------
    items
        The questions that are open.
    model, shown
        Who is asked, and what it is shown.
    ledger
        Where answers go as soon as they come.
    at_a_time
        Requests under way together.
    progress
        Told every answer.

    Raises
    ------
    EngineUnavailable
        If the server is gone; what was answered is kept.
    """

    def ask(item: Item) -> None:
        ledger.append(model.answer(item, shown(item)))

    with ThreadPoolExecutor(at_a_time) as pool:
        asked = [pool.submit(ask, item) for item in items]
        try:
            for one in as_completed(asked):
                one.result()
                progress(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def ask_engine(
    items: Sequence[Item],
    engine: Engine,
    shown: Shown,
    ledger: Ledger,
    *,
    progress: Progress = lambda count: None,
) -> None:
    """Have an engine read each volume once and answer all questions about it.

    Parameters
    ----------
    items
        The questions that are open.
    engine, shown
        Who reads, and what it is shown of the volume that an item is about.
    ledger
        Where answers go, all of a volume at once.
    progress
        Told every volume.
    """
    ordered = sorted(items, key=lambda item: item.volume_id)
    for _, group in groupby(ordered, key=lambda item: item.volume_id):
        of_volume = list(group)
        begin = time.perf_counter()
        try:
            reading: VolumeReading | str = read_volume(engine, shown(of_volume[0]))
        except SeriesError as error:
            reading = f"the volume was not read: {error}"
        # One reading answers all: each question has its share of the time
        share_s = (time.perf_counter() - begin) / len(of_volume)
        ledger.append_all(_said(item, reading, share_s) for item in of_volume)
        progress(len(of_volume))


def _said(item: Item, reading: VolumeReading | str, latency_s: float) -> Prediction:
    spoken = None if isinstance(reading, str) else reading.answer(item)
    if spoken is None:
        reason = reading if isinstance(reading, str) else "the reading says nothing about this"
        return Prediction(item_id=item.item_id, text="", latency_s=latency_s, error=reason)
    return Prediction(item_id=item.item_id, text=spoken.text, latency_s=latency_s, certainty=spoken.certainty)
