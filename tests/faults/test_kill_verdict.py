"""The kill table's judge: it finds what was lost, changed or doubled, each as what it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from conformance.pacs import PacsBehaviour, SmallPacs
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from dicom_io.spool import Spool
from sgmri.lifecycle import State
from tests.faults.kill_verdict import Verdict, judge
from tests.faults.ward import HEALTHY, series
from tests.worker.place import Clock, NegativeEngine, Place, delivering_to
from worker.database import sqlite_url
from worker.journal import Journal
from worker.tasks import Workplace

GOOD = Verdict(
    instances_missing=0,
    instances_changed=0,
    series_without_final_state=0,
    series_not_committed=0,
    readings_lost=0,
    duplicate_instances=0,
    second_results=0,
    objects_changed=0,
)


@dataclass
class Done:
    """An installation in which one series has come to its end."""

    place: Place
    pacs: SmallPacs
    directory: Path
    sent: tuple[Path, ...]

    @property
    def report(self) -> Path:
        return next(self.directory.glob("outbox/*/0/sr.dcm"))

    @property
    def spooled(self) -> list[Path]:
        return sorted(self.directory.glob("spool/*/*.dcm"))

    def at_pacs(self) -> Path:
        (path,) = (self.directory / "pacs").glob("*.dcm")
        return path

    def judged(self) -> Verdict:
        reviewer = Destination(
            ae_title="PACS", host="127.0.0.1", port=self.pacs.port, calling_ae_title="REVIEWER", timeout_s=10.0
        )
        return judge(self.place.workplace.journal, self.directory, self.sent, reviewer, self.directory / "scratch")


@pytest.fixture
def done(tmp_path: Path) -> Iterator[Done]:
    peers = {"SGMRI": ("127.0.0.1", 1), "REVIEWER": ("127.0.0.1", 1)}
    quiet = PacsBehaviour(answers_commitment=False)
    with SmallPacs("PACS", directory=tmp_path / "pacs", peers=peers, behaviour=quiet) as pacs:
        journal = Journal(sqlite_url(tmp_path), clock=Clock())
        workplace = Workplace(
            settings=delivering_to(pacs.port, ae_title="PACS"),
            journal=journal,
            spool=Spool(tmp_path / "spool"),
            outbox_dir=tmp_path / "outbox",
            engine=NegativeEngine,
        )
        place = Place(workplace=workplace, clock=Clock(), engine=NegativeEngine())
        sent = series(HEALTHY, 1, tmp_path / "scanner")
        place.receive(*sent)
        assert place.read()
        place.deliver()
        assert journal.move(place.row, State.COMMITTED)
        yield Done(place, pacs, tmp_path, sent)
        journal.close()


def lose_an_instance(done: Done) -> None:
    done.spooled[0].unlink()


def change_an_instance(done: Done) -> None:
    path = done.spooled[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def lose_the_report(done: Done) -> None:
    done.pacs.stop()
    done.at_pacs().unlink()
    peers = {"REVIEWER": ("127.0.0.1", 1)}
    done.pacs = SmallPacs("PACS", directory=done.directory / "pacs", peers=peers)
    done.pacs.start()


def send_another_result(done: Done) -> None:
    ds = dcmread(done.report)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("2.25.99")
    send(done, ds.save_as)


def send_other_bytes(done: Done) -> None:
    ds = dcmread(done.report)
    ds.SeriesDescription = "another"
    send(done, ds.save_as)


def send(done: Done, save_as: Callable[..., object]) -> None:
    path = done.directory / "other.dcm"
    save_as(path)
    to = Destination(ae_title="PACS", host="127.0.0.1", port=done.pacs.port, calling_ae_title="SGMRI")
    store(to, [sendable(path)])


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda done: None, {}),
        (lose_an_instance, {"instances_missing": 1}),
        (change_an_instance, {"instances_changed": 1}),
        (lose_the_report, {"readings_lost": 1}),
        (send_another_result, {"second_results": 1}),
        (send_other_bytes, {"objects_changed": 1}),
    ],
    ids=["nothing", "instance lost", "instance changed", "report lost", "second result", "other bytes"],
)
def test_the_judge_finds_each_fault(done: Done, fault: Callable[[Done], None], found: dict[str, int]) -> None:
    """One fault, one figure; without one, all are zero."""
    fault(done)
    try:
        verdict = done.judged()
    finally:
        if fault is lose_the_report:
            done.pacs.stop()
    assert verdict == replace(GOOD, **found)
    assert verdict.is_good == (not found)
