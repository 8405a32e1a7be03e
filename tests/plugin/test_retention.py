"""What leaves the disk by itself, what never does, and what is left when the process is killed meanwhile."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from dicom_io.blocks import memory
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance, read_header
from plugin.cli.main import main
from plugin.indexer import received
from plugin.listener import ListenerService, outbox_dir, spool_dir
from plugin.retention import Leaving, Retention, Tidier, Why
from sgmri.errors import ConfigError
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings, parse
from tests.dicom_io.test_spool import encoded
from tests.worker.place import Clock, leased
from worker import removals
from worker.database import sqlite_url
from worker.destinations import targets
from worker.journal import Journal
from worker.journal_tables import EVENTS, RETRACTIONS, SERIES
from worker.outbox import Outbox, ResultRow

_DAY_S = 86_400.0


def settings_with(*, commitment: bool = True, **tables: dict[str, int]) -> Settings:
    return parse({"delivery": {"ae_title": "PACS", "commitment": commitment}, **tables})


@dataclass
class Site:
    """A spool, an outbox and a journal, with series that are made to stand anywhere."""

    directory: Path
    settings: Settings = field(default_factory=lambda: settings_with(listener={"min_free_bytes": 1}))
    total_bytes: int = 1 << 40
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.journal = Journal(sqlite_url(self.directory), clock=self.clock)
        self.spool = Spool(self.directory / "spool")
        self.outbox = self.directory / "outbox"

    @property
    def retention(self) -> Retention:
        return Retention(
            settings=self.settings,
            journal=self.journal,
            spool=self.spool,
            outbox_dir=self.outbox,
            disk=lambda path: (self.total_bytes, self.total_bytes - self.used_bytes()),
        )

    def used_bytes(self) -> int:
        places = [path for root in (self.spool.root, self.outbox) for path in root.rglob("*")]
        return sum(path.stat().st_size for path in places if path.is_file())

    def receive(self, series: int, instance: int = 1) -> StoredInstance:
        """Store an instance and journal it, as the listener does."""
        content = encoded(SeriesInstanceUID=f"2.25.9{series}", SOPInstanceUID=f"2.25.8{series}{instance:03d}")
        stored = self.spool.store(read_header(content), content)
        self.made_now(self.spool.path(stored.series_key, stored.file_name))
        self.journal.receive(received(stored))
        return stored

    def made_now(self, path: Path) -> None:
        """Give a file and its directories the site's own time."""
        for one in (path, *path.parents[:2]):
            os.utime(one, (self.clock.now, self.clock.now))

    def put(self, series: int, state: State, *, instances: int = 2) -> str:
        """Bring a series into a state on its own way, with results if it is read on the way."""
        for instance in range(1, instances + 1):
            key = self.receive(series, instance).series_key
        outbox = Outbox(journal=self.journal, targets=targets(self.settings))
        failed = state is State.FAILED
        for after in self._way(state):
            row = self.journal.series(key)
            if after is State.READING:
                assert leased(self.journal, row, "worker", 60.0)
            elif after is State.READ:
                assert outbox.put(row, [self._result(key, row.generation)])
            elif after in (State.STORED, State.COMMITTED):
                (delivery,) = outbox.deliveries.of(row)
                assert outbox.deliveries.move(delivery, after)
                assert self.journal.series(key).state is after
            else:
                reason = Reason.ATTEMPTS_EXHAUSTED if failed else Reason.NONE
                assert self.journal.move(row, after, reason=reason, lease_owner=None, lease_until=0.0)
        return key

    def _way(self, state: State) -> list[State]:
        way = [State.COMPLETE, State.QUEUED, State.READING, State.READ, State.STORED, State.COMMITTED]
        if state in way:
            return way[: way.index(state) + 1]
        return {
            State.RECEIVING: [],
            State.SKIPPED: [State.COMPLETE, State.SKIPPED],
            State.FAILED: [State.COMPLETE, State.FAILED],
            State.RETRACTED: [*way, State.RETRACTED],
        }[state]

    def _result(self, key: str, generation: int) -> ResultRow:
        directory = self.outbox / key / str(generation)
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("sr.dcm", "reading.json"):
            (directory / name).write_bytes(bytes(1000))
            self.made_now(directory / name)
        return ResultRow(
            kind="SR",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            sop_instance_uid=f"2.25.7{len(key)}{generation}",
            series_instance_uid="2.25.8",
            file_name="sr.dcm",
            position=0,
        )

    def wait(self, days: float) -> None:
        self.clock.now += days * _DAY_S

    def is_on_disk(self, key: str) -> bool:
        return any((root / key).exists() for root in (self.spool.root, self.outbox))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "state")
    yield site
    site.journal.close()


def went(leaving: Iterator[Leaving]) -> dict[str, Why]:
    return {one.series_key: one.why for one in leaving}


@pytest.mark.parametrize(
    ("state", "days"), [(State.COMMITTED, 30), (State.RETRACTED, 30), (State.SKIPPED, 7), (State.FAILED, 90)]
)
def test_a_series_goes_when_it_is_as_old_as_its_state_is_kept(site: Site, state: State, days: float) -> None:
    """Not before, then with spool and outbox; the row stays, with its timeline."""
    key = site.put(1, state)
    site.wait(days - 0.1)
    assert went(site.retention.clean()) == {}
    assert site.is_on_disk(key)
    site.wait(0.2)
    assert went(site.retention.clean()) == {key: Why.AGE}
    assert not site.is_on_disk(key)
    row = site.journal.series(key)
    assert (row.state, row.instances) == (state, 2)
    assert site.journal.timeline(key)[-1].stage == "files removed"
    assert went(site.retention.clean()) == {}


def test_what_awaits_its_commitment_never_goes(site: Site) -> None:
    """However old it is and however full the disk, nothing goes that is not committed where commitment is asked."""
    states = (State.RECEIVING, State.COMPLETE, State.QUEUED, State.READING, State.READ, State.STORED)
    keys = [site.put(number, state) for number, state in enumerate(states)]
    site.wait(10_000)
    site.total_bytes = site.used_bytes()
    assert went(site.retention.clean()) == {}
    assert all(site.is_on_disk(key) for key in keys)


def test_without_commitment_stored_is_enough_and_without_a_destination_nothing_goes(site: Site) -> None:
    """STORED goes by age where no commitment is asked; what only lies in the outbox stays."""
    site.settings = settings_with(commitment=False)
    stored, read = site.put(1, State.STORED), site.put(2, State.READ)
    site.wait(31)
    assert went(site.retention.clean()) == {stored: Why.AGE}
    assert site.is_on_disk(read)


def test_a_failed_delivery_keeps_its_results(site: Site) -> None:
    """FAILED with results that nobody has taken: they are the only copy, and stay."""
    key = site.put(1, State.READ)
    assert site.journal.move(site.journal.series(key), State.FAILED, reason=Reason.PEER_UNAVAILABLE)
    site.wait(1000)
    assert went(site.retention.clean()) == {}


@pytest.mark.parametrize("state", [State.RETRACTED, State.COMMITTED])
def test_a_retraction_goes_only_with_its_note(site: Site, state: State) -> None:
    """While the destination has not got the note of a reading, also an earlier one, what the note is made of stays."""
    key = site.put(1, state)
    note = {"series_key": key, "generation": 0, "reason": "REJECTED_QUALITY", "retracted_at": 1.0}
    with site.journal.begin() as connection:
        connection.execute(insert(RETRACTIONS).values(**note))
    site.wait(31)
    assert went(site.retention.clean()) == {}
    with site.journal.begin() as connection:
        connection.execute(RETRACTIONS.update().values(sent_at=2.0))
    assert went(site.retention.clean()) == {key: Why.AGE}


def test_what_one_of_several_destinations_lacks_stays(site: Site) -> None:
    """Neither what another destination has not proved goes, nor what waits for one that left the settings."""
    other = {"name": "other", "ae_title": "OTHER", "host": "127.0.0.1", "port": 104}
    site.settings = parse({"delivery": {"ae_title": "PACS"}, "destination": [other]})
    key = site.receive(1).series_key
    for after in site._way(State.READING):
        row = site.journal.series(key)
        assert leased(site.journal, row, "w", 60.0) if after is State.READING else site.journal.move(row, after)
    outbox = Outbox(journal=site.journal, targets=targets(site.settings))
    row = site.journal.series(key)
    assert outbox.put(row, [site._result(key, row.generation)])
    first, second = outbox.deliveries.of(row)
    for after in (State.STORED, State.COMMITTED):
        assert outbox.deliveries.move(first, after)
        (first, _) = outbox.deliveries.of(row)
    assert site.journal.series(key).state is State.READ
    site.wait(1000)
    assert went(site.retention.clean()) == {}
    alone = Outbox(journal=site.journal, targets=targets(settings_with()))
    with site.journal.begin() as connection:
        connection.execute(SERIES.update().values(state=State.COMMITTED))  # as if by the destination that is left
    site.settings = settings_with()
    assert len(alone.deliveries.of(row)) == 1
    assert went(site.retention.clean()) == {}
    site.settings = parse({"delivery": {"ae_title": "PACS"}, "destination": [other]})
    for after in (State.STORED, State.COMMITTED):
        outbox.deliveries.move(second, after)
        (_, second) = outbox.deliveries.of(row)
    assert second.state is State.COMMITTED
    assert went(site.retention.clean()) == {key: Why.AGE}


def test_zero_days_are_for_ever(site: Site) -> None:
    """Each state's days can be switched off."""
    never = {"committed_days": 0, "skipped_days": 0, "failed_days": 0, "orphan_days": 0}
    site.settings = settings_with(listener={"min_free_bytes": 1}, retention=never)
    for number, state in enumerate((State.COMMITTED, State.SKIPPED, State.FAILED)):
        site.put(number, state)
    site.wait(10_000)
    assert went(site.retention.clean()) == {}


@pytest.mark.parametrize(
    "retention", [{"committed_days": -1}, {"low_water_percent": 95}, {"high_water_percent": 101}, {"period_s": 0}]
)
def test_a_policy_that_cannot_be_is_refused(retention: dict[str, float]) -> None:
    """Negative days, a low mark above the high one, more than a whole disk."""
    with pytest.raises(ConfigError, match=r"retention\."):
        parse({"retention": retention})


def test_a_full_disk_is_cleaned_oldest_committed_first_until_the_low_mark(site: Site) -> None:
    """At the high-water mark committed series go in the order of their commitment, and no more than are needed."""
    committed = []
    for number in range(6):
        committed.append(site.put(number, State.COMMITTED))
        site.wait(0.01)
    others = [site.put(10, State.SKIPPED), site.put(11, State.STORED), site.put(12, State.FAILED)]
    each = site.used_bytes() // 9
    site.total_bytes = int(site.used_bytes() / 0.91)
    assert went(site.retention.would_go()) == went(site.retention.would_go())
    announced = went(site.retention.would_go())
    gone = went(site.retention.clean())
    assert gone == announced
    assert list(gone) == committed[: len(gone)]
    assert 0 < len(gone) < 4
    assert 0.8 * site.total_bytes - each * 2 < site.used_bytes() < 0.8 * site.total_bytes
    assert set(gone.values()) == {Why.DISK_FULL}
    assert all(site.is_on_disk(key) for key in others)
    assert went(site.retention.clean()) == {}


def test_the_listeners_own_watermark_counts_too(site: Site) -> None:
    """Before instances are refused for want of min_free_bytes, committed series go."""
    key = site.put(1, State.COMMITTED)
    site.settings = settings_with(listener={"min_free_bytes": site.used_bytes()})
    site.total_bytes = site.used_bytes() + site.used_bytes() // 2
    site.settings = replace(site.settings, retention=replace(site.settings.retention, high_water_percent=100.0))
    assert went(site.retention.clean()) == {key: Why.DISK_FULL}


def test_a_removed_study_sent_again_is_known_and_not_read_again(site: Site) -> None:
    """The same instances: stored again, state and generation stay, and they go again when they are old enough."""
    key = site.put(1, State.COMMITTED)
    site.wait(31)
    assert went(site.retention.clean()) == {key: Why.AGE}
    before = site.journal.series(key)
    again = site.receive(1, 1)
    assert (again.was_there, site.spool.path(key, again.file_name).exists()) == (False, True)
    assert site.journal.series(key) == before
    site.wait(29)
    assert went(site.retention.clean()) == {}
    site.wait(2)
    assert went(site.retention.clean()) == {key: Why.AGE}


def test_a_removed_series_that_grows_says_what_is_missing(site: Site) -> None:
    """A late instance opens a new generation; the first ones are gone, and it is received whole when all come again."""
    key = site.put(1, State.COMMITTED)
    site.wait(31)
    assert went(site.retention.clean())
    site.receive(1, 3)
    row = site.journal.series(key)
    assert (row.state, row.generation) == (State.RECEIVING, 1)
    assert site.journal.move(row, State.COMPLETE)
    assert site.journal.move(site.journal.series(key), State.FAILED, reason=Reason.INCOMPLETE_SERIES)
    for instance in (1, 2, 3):
        site.receive(1, instance)
    assert site.journal.series(key).state is State.RECEIVING
    assert len(list(site.spool.names())) == 3


def test_what_comes_while_a_series_goes_stays(site: Site) -> None:
    """An instance that is new, or one of a removal that was begun long ago, is not taken for what goes."""
    key = site.put(1, State.COMMITTED)
    site.wait(31)
    removal = removals.begin(site.journal, site.journal.series(key))
    assert removal is not None
    late = site.receive(1, 3)
    site.retention.finish()
    assert [name for _, name in site.spool.names()] == [late.file_name]
    assert removals.begun(site.journal) == ()


def test_a_series_that_has_changed_is_left(site: Site) -> None:
    """Between the look and the removal it grew, or somebody began to work on it: nothing is begun."""
    key = site.put(1, State.COMMITTED)
    before = site.journal.series(key)
    site.receive(1, 3)
    assert removals.begin(site.journal, before) is None
    stored = site.put(2, State.STORED)
    assert leased(site.journal, site.journal.series(stored), "worker", 60.0)
    assert removals.begin(site.journal, site.journal.series(stored)) is None


def test_the_decision_is_durable_before_a_file_goes(site: Site) -> None:
    """The journal's transaction is synced at once: a power cut cannot bring back a series whose files are gone."""
    with site.journal.begin(durable=True) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    with site.journal.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def clean_and_die(site: Site, deletions: int) -> bool:
    """Clean in a process of its own, which is killed before one deletion; False if there were not so many."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = deletions

    def die(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("os.remove", "os.rmdir"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(die)
        list(site.retention.clean())
    finally:
        os._exit(0)


def test_killed_in_the_middle_of_a_clean_journal_and_disk_agree(site: Site) -> None:
    """Kill -9 before each deletion in turn: the next start ends what was begun, and nothing else is touched."""
    keys = [site.put(number, State.COMMITTED) for number in (1, 2)]
    site.put(3, State.STORED)
    stored = [path for path in site.directory.rglob("*") if path.is_file() and "journal" not in path.name]
    stored = [path for path in stored if not set(path.parts) & set(keys)]
    killed = 0
    site.wait(31)
    for deletions in (0, 1, 2, 3, 4, 5, 6):
        killed += clean_and_die(site, deletions)
        begun = {removal.series_key for removal in removals.begun(site.journal)}
        assert len(begun) <= 1
        # whatever has lost a file, the journal says so
        for key in keys:
            whole = len(list((site.spool.root / key).glob("*.dcm"))) == 2 and (site.outbox / key / "0/sr.dcm").exists()
            assert whole or removals.removed_generation(site.journal, key) == 0
    assert killed >= 5
    site.retention.finish()
    assert removals.begun(site.journal) == ()
    for key in keys:
        assert site.is_on_disk(key) == (removals.removed_generation(site.journal, key) is None)
    assert all(path.exists() for path in stored)


def test_a_listener_ends_a_begun_removal_before_it_listens(tmp_path: Path) -> None:
    """What is sent again after the restart cannot be taken by a removal of before."""
    settings = parse(
        {
            "listener": {"port": 0, "min_free_bytes": 1},
            "storage": {"state_dir": str(tmp_path)},
            "broker": {"url": "redis://127.0.0.1:1/0"},
        }
    )
    site = Site(tmp_path)
    key = site.put(1, State.COMMITTED)
    assert removals.begin(site.journal, site.journal.series(key))
    service = ListenerService(settings)
    service.start()
    try:
        assert not site.is_on_disk(key)
        assert removals.begun(site.journal) == ()
    finally:
        service.stop()
        site.journal.close()


def test_orphans_are_kept_then_set_aside(site: Site) -> None:
    """Files without a journal row, of a series that is known or not, go into the quarantine after their days."""
    known = site.put(1, State.STORED)
    stray = site.spool.root / known / "aaaaaaaaaaaaaaaa.dcm"
    alone = site.spool.root / "bbbbbbbbbbbbbbbb" / "cccccccccccccccc.dcm"
    result = site.outbox / "dddddddddddddddd" / "0" / "sr.dcm"
    for path in (stray, alone, result):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
        site.made_now(path)
    site.wait(6.9)
    assert went(site.retention.clean()) == {}
    site.wait(0.2)
    assert set(went(site.retention.clean()).values()) == {Why.ORPHAN}
    assert not any(path.exists() for path in (stray, alone, result))
    kept = sorted(path.read_bytes() for path in (site.spool.root / "quarantine").iterdir())
    assert kept == sorted(path.name.encode() for path in (stray, alone, result))
    assert len(list((site.spool.root / known).glob("*.dcm"))) == 2
    assert went(site.retention.clean()) == {}


def test_what_came_again_into_a_segment_goes_too(site: Site) -> None:
    """With policy journal an instance of a removed series waits in a segment: it ages out like a file."""
    key = site.put(1, State.COMMITTED)
    site.wait(31)
    assert went(site.retention.clean())
    content = encoded(SeriesInstanceUID="2.25.91", SOPInstanceUID="2.25.81001")
    segment = site.spool.segments.lease()
    writer = site.spool.segments.begin(segment, memory())
    writer.append(content)
    record = site.spool.segments.seal(segment, writer)
    site.spool.keep_record(read_header(content), record)
    site.spool.segments.give_back(segment)
    site.wait(31)
    assert went(site.retention.clean()) == {key: Why.AGE}
    assert list((site.spool.root / "segments").iterdir()) == []


def test_the_log_names_series_by_their_short_key_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """One line a series, with state, age, size and why; no UID and no path."""
    site.put(1, State.COMMITTED)
    site.wait(31)
    with caplog.at_level("INFO", "plugin.retention"):
        assert went(site.retention.clean())
    (line,) = [record.getMessage() for record in caplog.records if record.name == "plugin.retention"]
    assert line.startswith("COMMITTED for 31.0 days: ")
    assert line.endswith(" bytes have left the disk (age)")
    assert "2.25" not in line


def test_a_disk_that_does_not_let_go_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that fails leaves the removal begun; the next pass ends it."""
    key = site.put(1, State.COMMITTED)
    site.wait(31)
    with monkeypatch.context() as broken:

        def refuse(path: Path, missing_ok: bool = False) -> None:
            raise OSError(5, "injected")

        broken.setattr(Path, "unlink", refuse)
        assert went(site.retention.clean()) == {}
    assert [one.series_key for one in removals.begun(site.journal)] == [key]
    assert went(site.retention.clean()) == {}
    assert removals.begun(site.journal) == ()
    assert not site.is_on_disk(key)


def test_the_tidier_works_in_steps(site: Site) -> None:
    """A step ends after a fifth of a second; the next pass begins after the period, or when the disk is full."""
    for number in range(1, 6):
        site.put(number, State.SKIPPED, instances=1)
    site.wait(31)
    now, pace_s = 0.0, 0.15

    def monotonic() -> float:
        nonlocal now
        now += pace_s
        return now

    tidier = Tidier(site.retention, monotonic=monotonic)
    tidier.step()
    assert len(list(site.spool.names())) == 3
    pace_s = 0.0
    tidier.step()
    assert len(list(site.spool.names())) == 0
    site.put(90, State.COMMITTED)
    site.wait(31)
    now = 100.0
    tidier.step()
    assert len(list(site.spool.names())) == 2
    site.total_bytes = site.used_bytes()
    tidier.retention = site.retention
    tidier.step()
    assert len(list(site.spool.names())) == 0


def test_clean_says_what_would_go_and_lets_it_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`sgmri clean --dry-run` changes nothing; without it the same lines are printed and the files are gone."""
    config = tmp_path / "sgmri.toml"
    config.write_text(
        f'[storage]\nstate_dir = "{tmp_path}"\n[listener]\nmin_free_bytes = 1\n'
        "[retention]\nhigh_water_percent = 100\n"  # however full this disk is
    )
    site = Site(tmp_path)
    key = site.put(1, State.COMMITTED)
    for dry in (True, False):
        assert main(["clean", *(["--dry-run"] if dry else []), "--config", str(config)]) == 0
        line, total = capsys.readouterr().out.splitlines()
        assert line.startswith(f"{key[:8]}  COMMITTED for ")
        assert line.endswith(", 0.0 MB (age)")
        assert total.startswith("would remove 1, " if dry else "removed 1, ")
        assert site.is_on_disk(key) == dry
    for command in ("reread", "clean"):
        code = main([command, *([key[:8]] if command == "reread" else []), "--config", str(config)])
        assert code == (1 if command == "reread" else 0)
    assert "have the series sent again" in capsys.readouterr().err
    with site.journal.look() as connection:
        assert "files removed" in connection.execute(select(EVENTS.c.stage)).scalars().all()
    assert (spool_dir(parse({})).name, outbox_dir(parse({})).name) == ("spool", "outbox")
    site.journal.close()
