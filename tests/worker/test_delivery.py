"""Deliveries to one and several destinations, with real SCPs on loopback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.pacs import PacsBehaviour, SmallPacs
from dicom_io.kinds import ResultKind
from dicom_io.scu import StoreScu, sendable
from sgmri.errors import PeerUnavailable
from sgmri.geometry import Box
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings, parse
from tests.deliveries import pacs_at, to, waiting
from tests.worker.one_box_engine import OneBoxEngine
from tests.worker.place import Place, small
from worker.deliveries import DeliveryRow
from worker.delivery import breakers
from worker.destinations import further_profiles, peer
from worker.retractions import retract, send_note
from worker.revisions import readings
from worker.tasks import deliver_one

BOXES = {index: Box(x0=10, y0=12, x1=30, y1=28) for index in (3, 4)}


@pytest.fixture
def read_place(make_place: Callable[[Settings], Place], files: tuple[Path, ...]) -> Callable[[Settings], Place]:
    """Make a place where a series with one lesion was read: a SEG and an SR wait."""

    def made(settings: Settings) -> Place:
        place = make_place(settings)
        engine = OneBoxEngine(BOXES, "Mass")
        workplace = replace(place.workplace, engine=lambda: engine, further_profiles=further_profiles(settings))
        place = replace(place, workplace=workplace)
        place.receive(*files)
        assert place.read()
        return place

    return made


@pytest.fixture
def wait(tmp_path: Path) -> Iterator[Callable[[Settings], Place]]:
    """Make a place where small objects wait, a SEG and an SR."""
    with ExitStack() as places:
        yield lambda settings: places.enter_context(waiting(settings, tmp_path))


def deliveries(place: Place) -> dict[str, DeliveryRow]:
    return {one.destination: one for one in place.workplace.outbox.deliveries.of(place.row)}


def standing(place: Place) -> dict[str, tuple[State, Reason]]:
    return {name: (one.state, one.reason) for name, one in deliveries(place).items()}


def test_a_dead_destination_holds_no_other_back(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """The one that lives has SEG and SR at the first try; the series waits for the dead one, with its reason."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(1, "dead"), pacs_at(pacs.port, "alive")))
        place.deliver()
        assert len(pacs.archive) == 2
    assert standing(place) == {
        "dead": (State.READ, Reason.PEER_UNAVAILABLE),
        "alive": (State.STORED, Reason.NONE),
    }
    assert (place.row.state, place.row.reason) == (State.READ, Reason.PEER_UNAVAILABLE)
    assert place.row.next_try_at == deliveries(place)["dead"].next_try_at > place.clock.now


def test_the_series_is_committed_when_all_that_prove_have_proved(
    wait: Callable[[Settings], Place], tmp_path: Path
) -> None:
    """One destination lists what it has, one is not asked: both stored and one proof make the series COMMITTED."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(pacs.port, "proves", commitment="query"), pacs_at(pacs.port, "trusted")))
        place.deliver()
    assert standing(place) == {
        "proves": (State.COMMITTED, Reason.NONE),
        "trusted": (State.STORED, Reason.NONE),
    }
    assert place.state() is State.COMMITTED
    assert all(result.committed_at is not None for result in place.workplace.outbox.results(place.row))


def test_given_up_at_one_is_failed_for_the_series(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """After the days that are allowed the dead destination is FAILED; what the other took stays taken."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(1, "dead"), pacs_at(pacs.port, "alive")))
        place.deliver()
        place.clock.now += 604_801
        place.deliver()
    assert standing(place)["dead"] == (State.FAILED, Reason.PEER_UNAVAILABLE)
    assert standing(place)["alive"] == (State.STORED, Reason.NONE)
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.PEER_UNAVAILABLE)


def test_destinations_with_other_profiles_get_other_objects(
    read_place: Callable[[Settings], Place], tmp_path: Path
) -> None:
    """Equal profiles share objects and UIDs, another profile has its own; no UID goes out with two contents."""
    with small(tmp_path / "a") as first, small(tmp_path / "b") as second, small(tmp_path / "c") as third:
        place = read_place(
            to(
                pacs_at(first.port, "first"),
                pacs_at(second.port, "second", viewers=["slicer"], label_map=True),
                pacs_at(third.port, "third", viewers=[]),
            )
        )
        place.deliver()
    assert place.state() is State.STORED
    results = place.workplace.outbox.results(place.row)
    by_form = {form: [one for one in results if one.form == form] for form in sorted({one.form for one in results})}
    assert [len(objects) for objects in by_form.values()] == [2, 2]
    assert [one.kind for one in list(by_form.values())[1]] == [ResultKind.LABELMAP, ResultKind.SR]
    assert len({one.sop_instance_uid for one in results}) == 4
    held = [
        {one.sop_instance_uid for one in results if pacs.archive.sop_class_of(one.sop_instance_uid)}
        for pacs in (first, second, third)
    ]
    assert held[0] == held[2]
    assert not held[0] & held[1]
    assert [len(one) for one in held] == [2, 2, 2]


def test_only_readings_of_its_question_sets_go_to_a_destination(
    wait: Callable[[Settings], Place], tmp_path: Path
) -> None:
    """A destination for knees hears nothing of a brain."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(1, "knees", question_sets=["knee-1"]), pacs_at(pacs.port, question_sets=["brain-1"])))
        place.deliver()
    assert standing(place) == {"pacs": (State.STORED, Reason.NONE)}
    assert place.state() is State.STORED


def test_a_destination_set_later_gets_what_still_waits(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """A series that was read without any destination is rung for, and delivered, once there is one."""
    place = wait(parse({}))
    assert place.workplace.outbox.waiting() == ()
    with small(tmp_path) as pacs:
        place = replace(place, workplace=replace(place.workplace, settings=to(pacs_at(pacs.port))))
        assert len(place.workplace.outbox.waiting()) == 1
        place.deliver()
    assert place.state() is State.STORED
    assert place.workplace.outbox.waiting() == ()


def test_a_delivery_that_was_cut_off_is_completed(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """Killed between SEG and SR: when the lease has run out the SR alone is sent, and no sooner."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(pacs.port)))
        ours = place.workplace.outbox.deliveries
        held = ours.take_lease(deliveries(place)["pacs"], "killed", 60.0)
        assert held is not None
        seg, sr = ours.objects(held)
        ours.mark(held, [seg.sop_instance_uid], stored_at=place.clock.now)
        place.deliver()
        assert len(pacs.archive) == 0
        assert place.workplace.outbox.waiting() == ()
        place.clock.now += 61
        assert len(place.workplace.outbox.waiting()) == 1
        place.deliver()
        assert len(pacs.archive) == 1
        assert pacs.archive.sop_class_of(sr.sop_instance_uid) is not None
    assert place.state() is State.STORED


def test_many_messages_at_once_send_nothing_twice(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """Four workers rung for one series make one of them send each object once."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(pacs.port)))
        row = place.row
        arguments = (place.workplace, row.series_key, row.generation)
        workers = [threading.Thread(target=deliver_one, args=arguments) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(pacs.archive) == 2
    stores = [e for e in place.workplace.journal.timeline(place.row.series_key) if e.stage == "store"]
    assert len(stores) == 1
    assert place.state() is State.STORED


def test_a_refusal_of_what_is_there_already_is_success(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """A PACS that answers Cannot Understand to a second copy, but lists the object, has it."""
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(pacs.port)))
        directory = place.workplace.results_dir(place.row)
        paths = [directory / result.file_name for result in place.workplace.outbox.results(place.row)]
        scu = StoreScu(peer(place.workplace.settings, place.workplace.settings.outlets[0]))
        assert [refusal for _, refusal in scu.store([sendable(path) for path in paths])] == [None, None]
        scu.close()
    behaviour = PacsBehaviour(store_status=0xC001, answers_commitment=False)
    with small(tmp_path, behaviour) as pacs:
        place = replace(place, workplace=replace(place.workplace, settings=to(pacs_at(pacs.port))))
        place.deliver()
    assert place.state() is State.STORED


def test_one_object_that_is_refused_holds_back_no_other(wait: Callable[[Settings], Place], tmp_path: Path) -> None:
    """The refused object is tried again in an hour, and stays with its reason; the destination is not left alone."""
    with small(tmp_path, PacsBehaviour(store_status=0xC001, answers_commitment=False)) as pacs:
        place = wait(to(pacs_at(pacs.port)))
        place.deliver()
        (one,) = deliveries(place).values()
        assert (one.state, one.reason) == (State.READ, Reason.STORE_REFUSED)
        objects = place.workplace.outbox.deliveries.objects(one)
        assert [each.reason for each in objects] == [Reason.STORE_REFUSED] * 2
        assert one.next_try_at - place.clock.now >= 3600


def test_what_a_destination_does_not_list_in_time_is_sent_again(
    wait: Callable[[Settings], Place], tmp_path: Path
) -> None:
    """Proof by C-FIND: an object that was lost after its C-STORE is asked for until the time is up, then sent again."""
    settings = {"commitment": "query"}
    with small(tmp_path) as pacs:
        place = wait(to(pacs_at(pacs.port, **settings)))
        lost = place.workplace.outbox.results(place.row)[0]
        # the destination lost the SEG: the journal says stored, and it does not list it
        ours = place.workplace.outbox.deliveries
        ours.mark(deliveries(place)["pacs"], [lost.sop_instance_uid], stored_at=place.clock.now)
        place.deliver()
        assert place.state() is State.STORED
        assert pacs.archive.sop_class_of(lost.sop_instance_uid) is None
        place.clock.now += 3601
        place.deliver()
        assert standing(place) == {"pacs": (State.READ, Reason.COMMITMENT_LATE)}
        place.deliver()
        assert pacs.archive.sop_class_of(lost.sop_instance_uid) is not None
    assert place.state() is State.COMMITTED


def test_a_dead_pacs_is_probed_and_the_queue_drains_when_it_is_back(
    wait: Callable[[Settings], Place], tmp_path: Path
) -> None:
    """After three failures nobody calls it; one probe an interval, by one series; when it answers all is due."""
    port = _free(tmp_path)
    place = wait(to(pacs_at(port), max_connection_failures=3, probe_interval_s=60.0))
    outbox = place.workplace.outbox
    for _ in range(3):
        place.deliver()
        place.clock.now = place.row.next_try_at
    tries = deliveries(place)["pacs"].tries
    assert tries == 3
    place.clock.now = _probe_at(place) - 1
    assert outbox.waiting() == ()
    place.deliver()
    assert deliveries(place)["pacs"].tries == tries
    place.clock.now += 2
    assert len(outbox.waiting()) == 1
    place.deliver()
    assert deliveries(place)["pacs"].tries == tries
    assert outbox.waiting() == ()
    with small_at(tmp_path, port) as pacs:
        place.clock.now = _probe_at(place) + 1
        assert len(outbox.waiting()) == 1
        place.deliver()
        assert len(pacs.archive) == 2
    assert place.state() is State.STORED


def _probe_at(place: Place) -> float:
    return breakers(place.workplace.journal, place.workplace.settings).open()["pacs"]


def _free(tmp_path: Path) -> int:
    with small(tmp_path / "gone") as pacs:
        return pacs.port


def small_at(tmp_path: Path, port: int) -> SmallPacs:
    quiet = PacsBehaviour(answers_commitment=False)
    peers = {"SGMRI": ("127.0.0.1", 1)}
    return SmallPacs("SMALLPACS", directory=tmp_path / "back", peers=peers, port=port, behaviour=quiet)


def test_a_retracted_reading_is_rejected_at_every_destination(
    read_place: Callable[[Settings], Place], tmp_path: Path
) -> None:
    """Each destination gets the note once; a dead one holds it back from no other, and gets it when it is back."""
    port = _free(tmp_path)
    with small(tmp_path) as pacs:
        place = read_place(to(pacs_at(port, "away"), pacs_at(pacs.port, "there")))
        place.deliver()
        reading = retract(place.workplace.journal, place.row, Reason.REJECTED_QUALITY)
        directory = place.workplace.results_dir(place.row)
        arguments = (place.workplace.journal, place.workplace.settings, place.row, reading, directory)
        with pytest.raises(PeerUnavailable):
            send_note(*arguments)
        assert len(pacs.archive) == 3
        with small_at(tmp_path, port) as back:
            path = send_note(*arguments)
            note = dcmread(path)
            assert back.archive.sop_class_of(str(note.SOPInstanceUID)) == str(note.SOPClassUID)
    (known,) = readings(place.workplace.journal, place.row.series_key)
    assert known.note_sent_at is not None
