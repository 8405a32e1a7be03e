"""The sweep of an archive: what is fetched, what is left, and when."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.phantoms import make, write
from dicom_io.archive import ArchivedSeries, listed
from dicom_io.identity import MANUFACTURER
from dicom_io.scu import sendable, store
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance, series_key
from plugin.archive_sweep import ArchiveSweep, SweepThread, archive_peer, open_archive
from plugin.demo import answers
from plugin.parts import free_port, start_pacs, wait_until
from plugin.processes import Processes
from plugin.settings import admitted_peers
from sgmri.audit import AuditEvent
from sgmri.errors import ConfigError, PeerBusy
from sgmri.settings import parse
from tests.e2e.system import REVIEWER, require
from worker.database import sqlite_url
from worker.journal import Journal
from worker.receipts import Received

STUDY = "2.25.1"


@dataclass
class FakeArchive:
    """Lists what it is told, and keeps what it was asked for."""

    counts: dict[str, int]
    fetched: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    since: date | None = None

    def series(self, since: date | None) -> Iterator[ArchivedSeries]:
        self.since = since
        yield from self.study(STUDY)

    def study(self, study_instance_uid: str) -> Iterator[ArchivedSeries]:
        for uid, count in self.counts.items():
            yield ArchivedSeries(study_instance_uid=study_instance_uid, series_instance_uid=uid, instances=count)

    def fetch(self, series: ArchivedSeries) -> None:
        self.fetched.append(series.series_instance_uid)
        if series.series_instance_uid in self.broken:
            raise PeerBusy("it cannot now")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(sqlite_url(tmp_path), clock=lambda: 1_800_000_000.0)
    yield opened
    opened.close()


def known(journal: Journal, series_instance_uid: str, count: int) -> None:
    """Let the journal know so many instances of a series."""
    journal.receive(
        *(
            Received(
                series_key=series_key(STUDY, series_instance_uid),
                study_instance_uid=STUDY,
                series_instance_uid=series_instance_uid,
                sop_instance_uid=f"{series_instance_uid}.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                file_name=f"{number}.dcm",
                size_bytes=1,
            )
            for number in range(count)
        )
    )


def sweep_of(journal: Journal, archive: FakeArchive, heard: list[AuditEvent], **sweep: object) -> ArchiveSweep:
    return ArchiveSweep(parse({"sweep": {"ae_title": "PACS", **sweep}}), journal, archive, heard.append)


def test_only_what_the_journal_lacks_is_fetched(journal: Journal) -> None:
    """A complete series is left, a short and an unknown one are fetched; a run is audited; the window is days."""
    archive, heard = FakeArchive({"2.25.11": 3, "2.25.12": 3, "2.25.13": 3}), list[AuditEvent]()
    known(journal, "2.25.11", 3)
    known(journal, "2.25.12", 2)
    waited: list[float] = []

    def look_on(seconds: float) -> bool:
        waited.append(seconds)
        return False

    swept = sweep_of(journal, archive, heard, window_days=7).run(look_on)
    assert archive.fetched == ["2.25.12", "2.25.13"]
    assert (swept.lacking, swept.fetched, swept.failed) == (2, 2, 0)
    assert waited[0] == 15.0, "series.quiet_period_s"
    assert [(event.action, event.outcome, event.count) for event in heard] == [("query", "success", 2)]
    assert archive.since is not None
    assert (date(2027, 1, 15) - archive.since).days in (6, 7, 8)


def test_what_grows_while_it_is_looked_at_is_left(journal: Journal) -> None:
    """A series that the archive or we are just receiving would be read twice: the next run looks again."""
    archive = FakeArchive({"2.25.11": 3, "2.25.12": 3, "2.25.13": 3})

    def meanwhile(seconds: float) -> bool:
        if seconds:
            archive.counts["2.25.11"] = 4
            known(journal, "2.25.12", 1)
        return False

    sweep_of(journal, archive, []).run(meanwhile)
    assert archive.fetched == ["2.25.13"]


def test_what_cannot_be_had_holds_up_nothing(journal: Journal) -> None:
    """A failing series is tried three times, behind the others, and again once it has grown."""
    archive = FakeArchive({f"2.25.1{number}": 3 for number in range(4)}, broken={"2.25.10"})
    sweep = sweep_of(journal, archive, [], max_series=2, window_days=0)
    failed = [sweep.run(lambda seconds: False).failed for _ in range(6)]
    assert archive.since is None
    assert archive.fetched[:4] == ["2.25.10", "2.25.11", "2.25.12", "2.25.13"]
    assert sum(failed) == archive.fetched.count("2.25.10") == 3
    assert sweep.run(lambda seconds: False).lacking == 0
    archive.counts["2.25.10"] = 4
    assert sweep.run(lambda seconds: False).failed == 1


def test_a_sweep_ends_when_the_listener_does(journal: Journal) -> None:
    """Once waiting says that there is no time left, nothing more is asked for."""
    archive = FakeArchive({"2.25.11": 3})
    assert sweep_of(journal, archive, []).run(lambda seconds: True).fetched == 0
    assert archive.fetched == []


@pytest.mark.parametrize(
    ("match", "count"),
    [
        ({}, 5),
        ({"NumberOfSeriesRelatedInstances": ""}, 9),
        ({"NumberOfSeriesRelatedInstances": "many"}, 9),
        ({"Modality": "SR"}, None),
        ({"Modality": ""}, None),
        ({"Manufacturer": MANUFACTURER}, None),
        ({"SeriesInstanceUID": ""}, None),
        ({"SeriesInstanceUID": "../etc"}, None),
    ],
)
def test_only_series_that_may_be_read_are_listed(match: Mapping[str, str], count: int | None) -> None:
    """Archives that ignore the filter, do not count, or list our own results or no UIDs, mislead nobody."""
    row = {"SeriesInstanceUID": "2.25.11", "Modality": "MR", "NumberOfSeriesRelatedInstances": "5", **match}
    assert [one.instances for one in listed(STUDY, row, lambda study, series: 9)] == ([] if count is None else [count])


def test_the_schedule_keeps_to_its_hours(journal: Journal) -> None:
    """The next run comes after the period, or when the hours open behind it."""
    settings = parse({"sweep": {"ae_title": "PACS", "period_s": 60.0, "hours": "02:00-02:01"}})
    thread = SweepThread(settings, ArchiveSweep(settings, journal, FakeArchive({}), lambda event: None))
    assert 60.0 <= thread.pause_s(journal.clock()) <= 86_460.0
    assert (journal.clock() + thread.pause_s(journal.clock())) % 60 == 0
    assert admitted_peers(settings).listener.peers[0].ae_title == "PACS", "who is told to send here may"


@pytest.mark.parametrize(
    ("sweep", "found"),
    [
        ({"ae_title": "PACS", "url": "http://pacs"}, "found both"),
        ({"url": "pacs:8042"}, "expected http://"),
        ({"ae_title": "PACS", "hours": "8-9"}, "sweep.hours"),
        ({"ae_title": "PACS", "window_days": -1}, "0 or more"),
        ({"ae_title": "PACS", "max_series": 0}, "more than 0"),
        ({"ae_titel": "PACS"}, "did you mean 'ae_title'"),
    ],
)
def test_wrong_settings_are_named(sweep: dict[str, object], found: str) -> None:
    """Each mistake in [sweep] is an error that says what was expected."""
    with pytest.raises(ConfigError, match=found):
        parse({"sweep": sweep})


@pytest.mark.e2e
def test_orthanc_is_swept_over_the_web(tmp_path: Path) -> None:
    """QIDO-RS lists and WADO-RS gives what was stored, as C-FIND counts it, element by element."""
    require("Orthanc")
    spool, stored = Spool(tmp_path / "spool"), list[StoredInstance]()
    (tmp_path / "logs").mkdir()
    with Processes(tmp_path / "logs") as processes:
        pacs = start_pacs("orthanc", processes, tmp_path / "pacs", {REVIEWER: free_port()})
        if pacs.dicomweb_url is None:
            pytest.skip("orthanc-dicomweb is not installed")
        by_dimse = parse({"listener": {"ae_title": REVIEWER}, "sweep": {"ae_title": pacs.ae_title, "port": pacs.port}})
        archive = open_archive(by_dimse, spool, stored.append)
        phantom = make("brain")
        sources = write(phantom, tmp_path / "sources")
        wait_until(lambda: answers(archive_peer(by_dimse)), processes, "Orthanc")
        store(archive_peer(by_dimse), [sendable(path) for path in sources])
        (one,) = archive.series(date(2026, 1, 2))
        assert one.instances == len(sources)
        assert list(archive.series(date(2026, 1, 3))) == []
        web = open_archive(parse({"sweep": {"url": pacs.dicomweb_url}}), spool, stored.append)
        assert list(web.series(date(2026, 1, 2))) == [one]
        assert list(web.series(date(2026, 1, 3))) == []
        web.fetch(one)
    came = {instance.sop_instance_uid: dcmread(spool.path(one.series_key, instance.file_name)) for instance in stored}
    assert len(came) == len(sources)
    assert all(came[ds.SOPInstanceUID] == ds for ds in map(dcmread, sources))
