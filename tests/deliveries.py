"""Series whose results wait in the outbox, without anything having been read: small objects, a real journal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io.services import COMPREHENSIVE_3D_SR, SEGMENTATION
from dicom_io.spool import Spool
from sgmri.lifecycle import State
from sgmri.settings import Settings, parse
from tests.worker.place import Clock, NegativeEngine, Place, leased
from worker.database import sqlite_url
from worker.deliveries import DeliveryRow
from worker.journal import Journal
from worker.outbox import ResultRow
from worker.receipts import Received
from worker.tasks import Workplace

KINDS = {"SEG": SEGMENTATION, "SR": COMPREHENSIVE_3D_SR}


def to(*destinations: dict[str, object], **delivery: object) -> Settings:
    """Return settings with these destinations."""
    patience = {"retry_first_s": 5.0, "timeout_s": 3.0, **delivery}
    return parse({"delivery": patience, "destination": list(destinations)})


def pacs_at(port: int, name: str = "pacs", **keys: object) -> dict[str, object]:
    """Return a destination on loopback that is asked for no proof."""
    return {"name": name, "ae_title": "SMALLPACS", "port": port, "commitment": "none", **keys}


@contextmanager
def waiting(settings: Settings, directory: Path, count: int = 1) -> Iterator[Place]:
    """Make a workplace where ``count`` series were read: a SEG and an SR of each wait."""
    clock, engine = Clock(), NegativeEngine()
    journal = Journal(sqlite_url(directory), clock=clock)
    workplace = Workplace(
        settings=settings,
        journal=journal,
        spool=Spool(directory / "spool"),
        outbox_dir=directory / "outbox",
        engine=lambda: engine,
    )
    for number in range(count):
        _read(workplace, number)
    try:
        yield Place(workplace=workplace, clock=clock, engine=engine)
    finally:
        workplace.senders.close()
        journal.close()


def delivery_of(place: Place, destination: str = "pacs") -> DeliveryRow:
    """Return the delivery of the only series to a destination."""
    row = place.row
    found = place.workplace.outbox.deliveries.one(row.series_key, row.generation, destination)
    assert found is not None
    return found


def _read(workplace: Workplace, number: int) -> None:
    journal, study = workplace.journal, f"2.25.1{number:06d}"
    received = Received(
        series_key=f"series{number:010d}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=f"{study}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        file_name="1.dcm",
        size_bytes=1,
    )
    journal.receive(received)
    journal.move(journal.series(received.series_key), State.COMPLETE, completed_at=journal.clock())
    journal.move(journal.series(received.series_key), State.QUEUED, question_set_id="brain-1")
    row = leased(journal, journal.series(received.series_key), "reader", 60.0)
    assert row is not None
    directory = workplace.results_dir(row)
    directory.mkdir(parents=True)
    results = []
    for position, (kind, sop_class_uid) in enumerate(KINDS.items()):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, f"{study}.{position + 2}.1"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.{position + 2}"
        ds.PatientID, ds.Modality = "CANARY", kind
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(directory / f"{kind}.dcm", enforce_file_format=True)
        results.append(
            ResultRow(
                kind=kind,
                sop_class_uid=sop_class_uid,
                sop_instance_uid=str(ds.SOPInstanceUID),
                series_instance_uid=str(ds.SeriesInstanceUID),
                file_name=f"{kind}.dcm",
                position=position,
            )
        )
    assert workplace.outbox.put(row, results)
