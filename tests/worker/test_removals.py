"""What becomes of a reading whose series has left the disk and comes again."""

import shutil
from dataclasses import replace
from pathlib import Path

from dicom_io.results import read_object
from sgmri.lifecycle import State
from sgmri.readings import EngineIdentity
from sgmri.settings import Queue
from tests.worker.place import NegativeEngine, Place
from worker import removals
from worker.outbox import Outbox
from worker.revisions import read_again


class Newer(NegativeEngine):
    """Another version of the engine: other objects."""

    def describe(self) -> EngineIdentity:
        return EngineIdentity(name="negative", version="2", digest="2" * 64)


def remove(place: Place) -> None:
    """Let the series leave the disk, as retention does."""
    journal, row = place.workplace.journal, place.row
    removal = removals.begin(journal, row)
    assert removal is not None
    place.workplace.spool.remove(row.series_key, removals.file_names(journal, removal))
    shutil.rmtree(place.workplace.outbox_dir / row.series_key)
    removals.end(journal, removal)


def test_the_same_engine_makes_the_same_objects_again(place: Place, files: tuple[Path, ...]) -> None:
    """Removed, sent again, read again on demand: the same SOP Instance UIDs, which the destination has."""
    place.receive(*files)
    assert place.read()
    outbox = Outbox(journal=place.workplace.journal)
    before = [result.sop_instance_uid for result in outbox.results(place.row)]
    remove(place)
    place.store(*files)
    assert place.state() is State.READ
    place.clock.now += 60
    assert read_again(place.workplace.journal, place.row, Queue())
    assert place.read()
    assert [result.sop_instance_uid for result in outbox.results(place.row)] == before


def test_another_engine_names_no_reading_that_has_left(place: Place, files: tuple[Path, ...]) -> None:
    """Its report is a first one: of the reading before it only the journal's rows are left."""
    place.receive(*files)
    assert place.read()
    remove(place)
    place.store(*files)
    place.clock.now += 60
    assert read_again(place.workplace.journal, place.row, Queue())
    newer = replace(place, workplace=replace(place.workplace, engine=Newer))
    assert newer.read()
    report = read_object(place.workplace.results_dir(place.row) / "sr.dcm")
    assert "PredecessorDocumentsSequence" not in report
