import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select

from sgmri.errors import ConfigError, StateError
from sgmri.lifecycle import Reason, State
from sgmri.outlets import Outlet
from tests.worker.place import Clock, leased
from worker.breakers import Breakers, Gate
from worker.deliveries import DeliveryRow
from worker.destinations import Target
from worker.journal import Journal, SeriesRow
from worker.journal_tables import INSTANCES
from worker.outbox import Outbox, ResultRow
from worker.receipts import Received
from worker.revisions import earlier_readings, leave, readings


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(journal_url: str, clock: Clock) -> Iterator[Journal]:
    """Each claim holds on both databases."""
    journal = Journal(journal_url, clock=clock)
    yield journal
    journal.close()


def received(number: int = 1, **changes: object) -> Received:
    values: dict[str, object] = {
        "series_key": "abcdefgh12345678",
        "study_instance_uid": "2.25.1",
        "series_instance_uid": "2.25.2",
        "sop_instance_uid": f"2.25.10{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "file_name": f"{number}.dcm",
        "size_bytes": 100,
    }
    return Received(**{**values, **changes})  # type: ignore[arg-type]  # a test's keyword soup


def queued(journal: Journal, number: int = 1) -> SeriesRow:
    journal.receive(received(number))
    row = journal.series("abcdefgh12345678")
    assert journal.move(row, State.COMPLETE, completed_at=journal.clock())
    assert journal.move(journal.series(row.series_key), State.QUEUED, question_set_id="brain-1")
    return journal.series(row.series_key)


def reading(journal: Journal, number: int = 1) -> SeriesRow:
    row = leased(journal, queued(journal, number), "me", 60.0)
    assert row is not None
    return row


def objects(first: int = 0, predecessor_uid: str | None = None) -> list[ResultRow]:
    """Return a SEG and an SR with the UIDs 2.25.<first> and 2.25.<first + 1>."""
    return [
        ResultRow(
            kind=kind,
            sop_class_uid="1.2",
            sop_instance_uid=f"2.25.{first + place}",
            series_instance_uid="2.25.9",
            file_name=f"{kind}.dcm",
            position=place,
            predecessor_uid=predecessor_uid if kind == "SR" else None,
        )
        for place, kind in enumerate(("SEG", "SR"))
    ]


def outbox_of(journal: Journal) -> Outbox:
    return Outbox(journal=journal, targets=(Target(outlet=Outlet(name="pacs", ae_title="PACS")),))


def delivery(outbox: Outbox) -> DeliveryRow:
    (one,) = outbox.deliveries.of(outbox.journal.series("abcdefgh12345678"))
    return one


def stored(outbox: Outbox) -> DeliveryRow:
    """Read a series, and let the destination take both of its objects."""
    assert outbox.put(reading(outbox.journal), objects())
    outbox.deliveries.mark(delivery(outbox), ["2.25.0", "2.25.1"], stored_at=outbox.journal.clock())
    assert outbox.deliveries.move(delivery(outbox), State.STORED)
    return delivery(outbox)


@pytest.mark.parametrize(
    ("states", "reason", "expected"),
    [
        ((), Reason.NONE, (State.RECEIVING, 0)),
        ((State.COMPLETE, State.QUEUED), Reason.NONE, (State.RECEIVING, 1)),
        ((State.COMPLETE, State.QUEUED, State.READING), Reason.NONE, (State.RECEIVING, 1)),
        ((State.COMPLETE, State.FAILED), Reason.INCOMPLETE_SERIES, (State.RECEIVING, 1)),
        ((State.COMPLETE, State.FAILED), Reason.MALFORMED_INSTANCE, (State.FAILED, 0)),
        ((State.COMPLETE, State.SKIPPED), Reason.LOCALISER, (State.SKIPPED, 0)),
        ((State.COMPLETE, State.QUEUED, State.READING, State.READ), Reason.NONE, (State.READ, 0)),
    ],
)
def test_an_instance_whose_file_was_lost_is_received_again(
    journal: Journal, clock: Clock, states: tuple[State, ...], reason: Reason, expected: tuple[State, int]
) -> None:
    """A series that is not read yet, or incomplete, is received again; what was decided on otherwise stays."""
    journal.receive(received())
    for state in states:
        journal.move(journal.series("abcdefgh12345678"), state, reason=reason if state is states[-1] else Reason.NONE)
    clock.now += 60
    assert not journal.receive(received(file_was_missing=True))
    row = journal.series("abcdefgh12345678")
    assert ((row.state, row.generation), row.instances) == (expected, 1)
    assert (row.last_instance_at == clock.now) is (row.state is State.RECEIVING)


def test_an_instance_that_was_there_changes_nothing(journal: Journal) -> None:
    """A study sent again does not reopen its series."""
    before = queued(journal)
    assert not journal.receive(received())
    assert journal.series(before.series_key) == before


def test_a_new_instance_reopens_a_complete_series(journal: Journal) -> None:
    """A late instance opens the next generation in RECEIVING, with its attempts forgotten."""
    row = queued(journal)
    assert journal.receive(received(2))
    grown = journal.series(row.series_key)
    assert (grown.state, grown.generation, grown.instances) == (State.RECEIVING, 1, 2)


def test_many_instances_at_once_are_as_many_one_by_one(journal: Journal, clock: Clock) -> None:
    """Of two series, with copies, conflicts and a late one: each new instance counts once, with its own time."""
    other = {"series_key": "stuvwxyz12345678", "series_instance_uid": "2.25.3"}
    row = queued(journal)
    came = [
        received(2, received_at=10.0),
        received(1, differs=True),
        received(7, received_at=20.0, **other),
        received(3, received_at=30.0),
        received(3, received_at=40.0, differs=True),
    ]
    clock.now += 60
    assert journal.receive(*came, checkpoint=50.0) == 3
    late, new = journal.series(row.series_key), journal.series("stuvwxyz12345678")
    assert (late.state, late.generation, late.instances, late.last_instance_at) == (State.RECEIVING, 1, 3, 30.0)
    assert (new.state, new.generation, new.instances, new.last_instance_at) == (State.RECEIVING, 0, 1, 20.0)
    assert [event.stage for event in journal.timeline(row.series_key)][-1] == "grown"
    assert (journal.checkpoint(), late.updated_at) == (50.0, clock.now)
    with journal.look() as connection:
        found = connection.execute(select(INSTANCES.c.sop_instance_uid, INSTANCES.c.generation, INSTANCES.c.conflict))
        assert sorted(tuple(one) for one in found) == [
            ("2.25.101", 0, True),
            ("2.25.102", 1, False),
            ("2.25.103", 1, True),
            ("2.25.107", 0, False),
        ]


def test_quiet_is_measured_from_the_last_instance(journal: Journal, clock: Clock) -> None:
    """A series is complete when nothing has come for the quiet period, not since its first instance."""
    journal.receive(received())
    clock.now += 10
    journal.receive(received(2))
    clock.now += 10
    assert journal.quiet(15.0, at_expected_count=False) == ()
    clock.now += 6
    assert len(journal.quiet(15.0, at_expected_count=False)) == 1


def test_an_expected_count_completes_only_when_asked(journal: Journal) -> None:
    """Images in Acquisition ends the wait only where the site says that it can be trusted."""
    journal.receive(received(1, expected_instances=2))
    assert journal.quiet(15.0, at_expected_count=True) == ()
    journal.receive(received(2, expected_instances=2))
    assert len(journal.quiet(15.0, at_expected_count=True)) == 1
    assert journal.quiet(15.0, at_expected_count=False) == ()


def test_only_one_of_many_workers_gets_the_lease(journal: Journal) -> None:
    """Ten workers rung for the same series: exactly one reads it."""
    row = queued(journal)
    taken: list[SeriesRow | None] = []

    def take(name: str) -> None:
        taken.append(leased(journal, row, name, 60.0))

    threads = [threading.Thread(target=take, args=(f"worker-{number}",)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(row is not None for row in taken) == 1
    assert journal.series(row.series_key).attempts == 1


def at_once(*works: Callable[[], object]) -> list[object]:
    """Do all in threads of their own, begun together, and return what came of it."""
    start = threading.Barrier(len(works))
    done: list[object] = []

    def run(work: Callable[[], object]) -> None:
        start.wait()
        done.append(work())

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def test_only_one_of_many_makes_a_transition(journal: Journal) -> None:
    """Two ends of one reading, and an abandonment, at once: exactly one counts, whichever it is."""
    for number in range(10):
        journal.receive(received(number))
        row = journal.series("abcdefgh12345678")
        journal.move(row, State.COMPLETE)
        journal.move(journal.series(row.series_key), State.QUEUED)
        held = leased(journal, journal.series(row.series_key), "me", 60.0)
        assert held is not None

        def put(row: SeriesRow = held) -> object:
            return Outbox(journal=journal).put(row, objects())

        def requeue(row: SeriesRow = held) -> object:
            return journal.move(row, State.QUEUED, lease_owner=None, lease_until=0.0)

        def fail(row: SeriesRow = held) -> object:
            return journal.move(row, State.FAILED, lease_owner=None, lease_until=0.0)

        assert sorted(at_once(put, put, requeue, fail), key=bool) == [False, False, False, True]


def test_one_instance_received_at_once_is_counted_once(journal: Journal) -> None:
    """Eight writers bring overlapping instances of a new series: each is there once, and the count is right."""
    came = [[received(number + shift) for number in range(6)] for shift in range(8)]

    def bring(instances: list[Received]) -> Callable[[], object]:
        return lambda: journal.receive(*instances)

    new = at_once(*(bring(instances) for instances in came))
    row = journal.series("abcdefgh12345678")
    assert (row.state, row.generation, row.instances) == (State.RECEIVING, 0, 13)
    assert sum(int(str(count)) for count in new) == 13 == len(journal.file_names(row.series_key))


def test_an_instance_and_a_lease_at_once_leave_one_truth(journal: Journal) -> None:
    """A late instance while a worker takes the series: it is received again, and the worker's end is dropped."""
    for number in range(1, 11):
        row = queued(journal, number)
        at_once(
            lambda row=row: leased(journal, row, "me", 60.0),  # type: ignore[misc]  # bound now
            lambda number=number: journal.receive(received(100 + number)),  # type: ignore[misc]  # bound now
        )
        grown = journal.series(row.series_key)
        assert (grown.state, grown.generation, grown.lease_owner) == (State.RECEIVING, row.generation + 1, None)
        assert not Outbox(journal=journal).put(replace(row, state=State.READING, lease_owner="me"), objects())


def test_a_silent_worker_loses_its_lease(journal: Journal, clock: Clock) -> None:
    """After the lease has run out the reading counts as abandoned, and its late end is dropped."""
    row = leased(journal, queued(journal), "me", 60.0)
    assert row is not None
    clock.now += 59
    assert Outbox(journal=journal).abandoned() == ()
    assert journal.renew_lease(row.series_key, "me", 60.0)
    clock.now += 61
    (lost,) = Outbox(journal=journal).abandoned()
    assert journal.move(lost, State.QUEUED, lease_owner=None, lease_until=0.0)
    assert not journal.move(row, State.READ)
    assert not journal.renew_lease(row.series_key, "me", 60.0)


def test_a_series_that_grew_drops_the_reading_of_its_old_self(journal: Journal) -> None:
    """The end of a reading of generation 0 does not touch generation 1."""
    row = reading(journal)
    journal.receive(received(2))
    assert not Outbox(journal=journal).put(row, objects())
    assert journal.series(row.series_key).state is State.RECEIVING
    assert readings(journal, row.series_key) == ()
    assert Outbox(journal=journal).results(row) == ()


def test_readings_of_a_growing_series_are_linked(journal: Journal) -> None:
    """The report of the second generation names the first's, which is superseded and keeps what became of it."""
    outbox = outbox_of(journal)
    assert outbox.put(reading(journal), objects())
    first = delivery(outbox)
    journal.receive(received(2))
    # a delivery that was under way when the series grew tells its own generation
    outbox.deliveries.mark(first, ["2.25.1"], stored_at=journal.clock())
    second = reading(journal, 3)
    assert second.generation == 1
    assert [one.generation for one in earlier_readings(journal, second, delivered=True)] == [0]
    assert outbox.put(second, objects(10, predecessor_uid="2.25.1"))
    before, now = readings(journal, second.series_key)
    assert (before.generation, before.revises, before.superseded_by) == (0, None, 1)
    assert (now.generation, now.revises, now.superseded_by) == (1, 0, None)
    assert before.stored_at is not None
    assert now.stored_at is None


def test_a_report_that_the_destination_does_not_have_is_superseded_but_not_named(journal: Journal) -> None:
    """What was not delivered, or refused at commitment, is no predecessor where there is a destination."""
    outbox = outbox_of(journal)
    outbox.expect_commitment(stored(outbox), "2.25.77")
    second = reading(journal, 2)
    outbox.answer_commitment("2.25.77", committed=[], refused=["2.25.1"], retry_s=1)
    assert [one.generation for one in earlier_readings(journal, second, delivered=True)] == []
    assert [one.generation for one in earlier_readings(journal, second, delivered=False)] == [0]


def test_objects_that_did_not_change_are_not_sent_again(journal: Journal) -> None:
    """A late instance that is not read: the same objects, now of the new generation, as stored as they were."""
    outbox = outbox_of(journal)
    before = outbox.deliveries.objects(stored(outbox))
    second = reading(journal, 2)
    assert outbox.put(second, objects())
    assert outbox.deliveries.objects(delivery(outbox)) == before
    assert all(one.stored_at is not None for one in before)
    assert [one.generation for one in readings(journal, second.series_key)] == [1]


def test_a_series_that_is_no_longer_read_keeps_its_report(journal: Journal) -> None:
    """SKIPPED after a reading: the reason is the series', the timeline says that the report stands, and it does."""
    first = stored(outbox_of(journal))
    second = reading(journal, 2)
    assert leave(journal, second, Reason.MIXED_GEOMETRY)
    assert not leave(journal, second, Reason.MIXED_GEOMETRY)
    row = journal.series(first.series_key)
    assert (row.state, row.reason) == (State.SKIPPED, Reason.MIXED_GEOMETRY)
    event = journal.timeline(first.series_key)[-1]
    assert (event.stage, event.reason, event.generation) == ("earlier report stands", Reason.MIXED_GEOMETRY, 1)
    (report,) = readings(journal, first.series_key)
    assert (report.generation, report.superseded_by) == (0, None)


def test_a_transition_that_the_table_lacks_is_our_bug(journal: Journal) -> None:
    """QUEUED to COMMITTED does not exist and raises StateError."""
    with pytest.raises(StateError):
        journal.move(queued(journal), State.COMMITTED)


def test_commitment_ends_the_way(journal: Journal) -> None:
    """When every object is committed the series is COMMITTED; an unknown transaction changes nothing."""
    outbox = outbox_of(journal)
    row = stored(outbox)
    outbox.expect_commitment(row, "2.25.77")
    assert outbox.answer_commitment("2.25.1", committed=["2.25.0"], refused=[], retry_s=1) is None
    after = outbox.answer_commitment("2.25.77", committed=["2.25.0", "2.25.1"], refused=[], retry_s=1)
    assert after is not None
    assert after.state is State.COMMITTED
    again = outbox.answer_commitment("2.25.77", committed=["2.25.0", "2.25.1"], refused=[], retry_s=1)
    assert again is not None
    assert again.state is State.COMMITTED


def test_half_a_commitment_is_none(journal: Journal) -> None:
    """With one object of two committed the series stays STORED."""
    outbox = outbox_of(journal)
    row = stored(outbox)
    outbox.expect_commitment(row, "2.25.77")
    after = outbox.answer_commitment("2.25.77", committed=["2.25.0"], refused=[], retry_s=1)
    assert after is not None
    assert after.state is State.STORED


def test_a_refused_commitment_sends_again_what_was_refused(journal: Journal, clock: Clock) -> None:
    """Refused objects go back to READ with the coded reason, due later; the committed one is kept as stored."""
    outbox = outbox_of(journal)
    row = stored(outbox)
    outbox.expect_commitment(row, "2.25.77")
    after = outbox.answer_commitment("2.25.77", committed=["2.25.0"], refused=["2.25.1"], retry_s=30)
    assert after is not None
    assert (after.state, after.reason) == (State.READ, Reason.COMMITMENT_REFUSED)
    assert outbox.waiting() == ()
    clock.now += 31
    assert len(outbox.waiting()) == 1
    assert [one.stored_at is None for one in outbox.deliveries.objects(delivery(outbox))] == [False, True]


def test_an_answer_that_comes_while_the_lease_is_given_back_is_not_lost(journal: Journal) -> None:
    """Commitment arriving while the delivery worker still holds its lease commits all the same."""
    outbox = outbox_of(journal)
    held = outbox.deliveries.take_lease(stored(outbox), "delivery", 60.0)
    assert held is not None
    outbox.expect_commitment(held, "2.25.77")
    after = outbox.answer_commitment("2.25.77", committed=["2.25.0", "2.25.1"], refused=[], retry_s=1)
    assert after is not None
    assert after.state is State.COMMITTED
    assert not outbox.deliveries.move(held, State.STORED)


def test_what_waits_for_commitment_is_rung_only_when_it_is_overdue(journal: Journal, clock: Clock) -> None:
    """A stored series is left alone until its answer is overdue, and for ever where no proof is asked for."""
    outbox = outbox_of(journal)
    outbox.deliveries.move(stored(outbox), State.STORED, next_try_at=clock.now + 100)
    assert outbox.waiting() == ()
    clock.now += 101
    assert len(outbox.waiting()) == 1
    trusting = Target(outlet=Outlet(name="pacs", ae_title="PACS", commitment="none"))
    assert Outbox(journal=journal, targets=(trusting,)).waiting() == ()


def test_the_timeline_tells_each_state_once(journal: Journal) -> None:
    """Every change of state is a line, oldest first."""
    row = stored(outbox_of(journal))
    stages = [event.stage for event in journal.timeline(row.series_key)]
    assert stages == ["first instance", "COMPLETE", "QUEUED", "READING", "READ", "STORED"]
    assert journal.counts() == {State.STORED: 1}


@pytest.mark.parametrize("url", ["nonsense", "nodriver://host/base"])
def test_an_unusable_url_is_a_configuration_error(url: str) -> None:
    """The text names the key, not the URL, which may hold a password."""
    with pytest.raises(ConfigError, match=r"storage\.journal_url") as caught:
        Journal(url)
    assert url not in str(caught.value)


def test_all_workers_share_a_breaker(journal: Journal, clock: Clock) -> None:
    """Failures in a row open it; of many who come when a probe is due one gets it; an answer makes all due at once."""
    outbox = outbox_of(journal)
    first, second = (Breakers(journal=journal, max_failures=2, probe_interval_s=30.0) for _ in range(2))
    held = outbox.deliveries.move(
        _begun(outbox), State.READ, reason=Reason.PEER_UNAVAILABLE, next_try_at=clock.now + 3600
    )
    assert held
    assert not first.failed("pacs")
    assert second.gate("pacs") is Gate.CLOSED
    assert second.failed("pacs")
    assert (first.gate("pacs"), second.gate("pacs")) == (Gate.OPEN, Gate.OPEN)
    assert outbox.waiting() == ()
    clock.now += 31
    assert len(outbox.waiting()) == 1
    assert (first.gate("pacs"), second.gate("pacs")) == (Gate.PROBE, Gate.OPEN)
    assert outbox.waiting() == ()
    assert second.answered("pacs")
    assert first.open() == {}
    assert delivery(outbox).next_try_at == 0.0
    assert len(outbox.waiting()) == 1
    assert not first.failed("pacs"), "the count begins anew"


def _begun(outbox: Outbox) -> DeliveryRow:
    assert outbox.put(reading(outbox.journal), objects())
    return delivery(outbox)


def test_only_one_worker_delivers_to_a_destination(journal: Journal, clock: Clock) -> None:
    """Several workers want the same delivery: one gets it, and a silent one loses it after its lease."""
    outbox = outbox_of(journal)
    one, taken = _begun(outbox), []

    def want(name: str) -> None:
        taken.append(outbox.deliveries.take_lease(one, name, 60.0))

    threads = [threading.Thread(target=want, args=(f"w{place}",)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (held,) = [each for each in taken if each is not None]
    assert outbox.waiting() == ()
    clock.now += 61
    assert len(outbox.waiting()) == 1
    assert outbox.deliveries.take_lease(held, "another", 60.0) is not None
    assert not outbox.deliveries.move(held, State.STORED), "the first one's late word is dropped"
