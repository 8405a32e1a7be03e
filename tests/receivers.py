"""Both receivers of the listener, running, for tests that must hold for either."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from dicom_io.commitment import CommitmentResult
from dicom_io.network import Destination, settle
from dicom_io.receiver.listener import Receiver
from dicom_io.scp import Callbacks, StorageScp
from dicom_io.services import MR_IMAGE
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance
from sgmri.audit import Action, AuditEvent
from sgmri.settings import Listener, Peer

KINDS: dict[str, tuple[type[StorageScp] | type[Receiver], str]] = {
    "pynetdicom": (StorageScp, "strict"),
    "own": (Receiver, "strict"),
    "own-journal": (Receiver, "journal"),
}
"""Receiver and durability of each kind that is tested."""
SCANNER = Peer(ae_title="SCANNER")


@dataclass
class Running:
    """A receiver that runs, and what it told."""

    scp: StorageScp | Receiver
    spool: Spool
    stored: list[StoredInstance] = field(default_factory=list)
    committed: list[CommitmentResult] = field(default_factory=list)
    events: list[AuditEvent] = field(default_factory=list)

    def destination(self, *, calling: str = "SCANNER", called: str = "SGMRI") -> Destination:
        """Return the receiver as somebody to call."""
        return Destination(
            ae_title=called, host="127.0.0.1", port=self.scp.port, calling_ae_title=calling, timeout_s=5.0
        )

    def refusal(self) -> AuditEvent:
        """Return who was refused last; the other side may hear of it before the event is written."""
        while not self.refused:
            time.sleep(0.01)
        last = self.refused[-1]
        self.events.remove(last)
        return last

    @property
    def refused(self) -> list[AuditEvent]:
        """Who was refused."""
        return [event for event in self.events if event.action is Action.REFUSE]

    def files(self) -> list[Path]:
        """Return the files of the instances that were told, made from segments where necessary."""
        for instance in self.stored:
            self.spool.gather(instance.series_key)
        return [self.spool.path(instance.series_key, instance.file_name) for instance in self.stored]


@contextmanager
def running(kind: str, spool: Path | Spool, **settings: Any) -> Iterator[Running]:
    """Run a receiver on a free port; settings are those of the listener."""
    scp_class, durability = KINDS[kind]
    place = spool if isinstance(spool, Spool) else Spool(spool)
    listener = Listener(
        **{"port": 0, "peers": (SCANNER,), "network_timeout_s": 5.0, "durability": durability, **settings}
    )
    stored: list[StoredInstance] = []
    committed: list[CommitmentResult] = []
    events: list[AuditEvent] = []
    callbacks = Callbacks(stored=stored.append, committed=committed.append, audit=events.append)
    scp = scp_class(listener, place, callbacks)
    scp.start()
    try:
        yield Running(scp=scp, spool=place, stored=stored, committed=committed, events=events)
    finally:
        scp.stop()


def mr_instance(uid: str = "2.25.101") -> Dataset:
    """Make the smallest MR instance that can be placed."""
    dataset = Dataset()
    dataset.SOPClassUID = MR_IMAGE
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def send(place: Running, *datasets: Dataset) -> list[int | None]:
    """Send instances on one association; return the statuses."""
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(MR_IMAGE, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI")
    assert association.is_established
    statuses = []
    for dataset in datasets:
        settle(association)
        statuses.append(association.send_c_store(dataset).get("Status"))
    association.release()
    return [None if status is None else int(status) for status in statuses]
