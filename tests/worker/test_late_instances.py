"""Instances that come late: before the reading's end, before its delivery, after it, and such as change nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.pacs import SmallPacs
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings
from tests.worker.place import Place, delivering_to
from worker.database import sqlite_url
from worker.outbox import Outbox
from worker.revisions import ReadingRow, readings


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    """SQLite alone: what is asked of the journal here, its own tests ask of both databases."""
    return sqlite_url(tmp_path)


@pytest.fixture
def delivered(make_place: Callable[[Settings], Place], files: tuple[Path, ...], pacs: SmallPacs) -> Place:
    """A place whose destination has the report of all instances but the last two."""
    place = make_place(delivering_to(pacs.port))
    place.receive(*files[:-2])
    assert place.read()
    place.deliver()
    assert place.state() is State.STORED
    return place


def report(place: Place, generation: int) -> Dataset:
    return dcmread(place.workplace.results_dir(replace(place.row, generation=generation)) / "sr.dcm")


def readings_of(place: Place) -> tuple[ReadingRow, ...]:
    return readings(place.workplace.journal, place.row.series_key)


def predecessors(ds: Dataset) -> list[str]:
    return [
        str(reference.ReferencedSOPInstanceUID)
        for study in ds.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def test_a_delivered_report_is_revised(delivered: Place, files: tuple[Path, ...], pacs: SmallPacs) -> None:
    """The second report names the first, both are at the destination, and the journal links them."""
    delivered.receive(*files[-2:])
    assert delivered.read()
    delivered.deliver()
    first, second = report(delivered, 0), report(delivered, 1)
    assert predecessors(second) == [first.SOPInstanceUID]
    assert all(pacs.archive.sop_class_of(str(ds.SOPInstanceUID)) for ds in (first, second))
    links = [(one.generation, one.revises, one.superseded_by) for one in readings_of(delivered)]
    assert links == [(0, None, 1), (1, 0, None)]


def test_the_same_instances_again_change_nothing(delivered: Place, files: tuple[Path, ...], pacs: SmallPacs) -> None:
    """Copies of instances that were read do not reopen their series."""
    before = delivered.row
    delivered.store(*files[:-2])
    assert delivered.row == before
    assert len(pacs.archive) == 1


def test_a_reading_that_is_overtaken_is_dropped(place: Place, files: tuple[Path, ...]) -> None:
    """An instance comes while the engine reads: nothing of that reading is recorded, and the next reads them all."""
    place.receive(*files[:-1])
    place.engine.meanwhile = lambda: place.store(files[-1])
    assert not place.read()
    assert (place.state(), place.row.generation) == (State.RECEIVING, 1)
    assert readings_of(place) == ()
    place.receive()
    assert place.read()
    assert predecessors(report(place, 1)) == []
    assert [one.generation for one in readings_of(place)] == [1]


def test_a_report_that_was_not_delivered_is_replaced(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """The destination is away when the series grows: it never sees the first report, and the second names none."""
    place = make_place(delivering_to(1))
    place.receive(*files[:-1])
    place.read()
    place.deliver()
    assert place.row.reason is Reason.PEER_UNAVAILABLE
    place.receive(files[-1])
    assert place.read()
    assert predecessors(report(place, 1)) == []
    assert [result.stored_at for result in Outbox(journal=place.workplace.journal).results(place.row)] == [None]


def test_without_a_destination_the_outbox_is_where_reports_are_out(place: Place, files: tuple[Path, ...]) -> None:
    """Where nothing is delivered, a report in the outbox is revised all the same."""
    place.receive(*files[:-1])
    place.read()
    place.receive(files[-1])
    assert place.read()
    assert predecessors(report(place, 1)) == [report(place, 0).SOPInstanceUID]


def edited(path: Path, to: Path, change: Callable[[Dataset], None]) -> Path:
    ds = dcmread(path)
    change(ds)
    ds.save_as(to)
    return to


def cut(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:-2000]


def coarser(ds: Dataset) -> None:
    ds.PixelSpacing = [float(ds.PixelSpacing[0]) * 1.5, float(ds.PixelSpacing[1]) * 1.5]


@pytest.mark.parametrize(
    ("change", "end"),
    [
        (cut, (State.FAILED, Reason.TRUNCATED_INSTANCE)),
        (coarser, (State.SKIPPED, Reason.MIXED_GEOMETRY)),
    ],
    ids=["cut", "coarser"],
)
def test_a_series_that_cannot_be_read_any_more_keeps_its_report(
    change: Callable[[Dataset], None],
    end: tuple[State, Reason],
    delivered: Place,
    files: tuple[Path, ...],
    pacs: SmallPacs,
    tmp_path: Path,
) -> None:
    """A late instance spoils the series: its state says why, the timeline that the first report stands, and it does."""
    delivered.receive(edited(files[-2], tmp_path / "late.dcm", change))
    assert not delivered.read()
    assert (delivered.row.state, delivered.row.reason) == end
    assert delivered.workplace.journal.timeline(delivered.row.series_key)[-1].stage == "earlier report stands"
    (first,) = readings_of(delivered)
    assert (first.generation, first.superseded_by) == (0, None)
    assert len(pacs.archive) == 1


def turned(ds: Dataset) -> None:
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def test_a_late_instance_that_is_not_read_makes_no_second_report(
    delivered: Place, files: tuple[Path, ...], pacs: SmallPacs, tmp_path: Path
) -> None:
    """A stray image of another orientation is another sub-volume: the report stands, and is not sent again."""
    first = report(delivered, 0)
    delivered.clock.now += 3600
    delivered.receive(edited(files[-1], tmp_path / "stray.dcm", turned))
    assert delivered.read()
    delivered.deliver()
    assert delivered.row.state is State.STORED
    assert report(delivered, 1) == first
    assert len(pacs.archive) == 1
    (only,) = readings_of(delivered)
    assert (only.generation, only.revises) == (1, None)
    delivered.receive(files[-2])
    assert delivered.read()
    assert predecessors(report(delivered, 2)) == [first.SOPInstanceUID]
