import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.pacs import PacsBehaviour
from conformance.phantoms import make_non_mr
from dicom_io.kinds import ResultKind
from dicom_io.profiles import Profile
from dicom_io.stored import read_header
from sgmri.errors import EngineError, EngineUnavailable, MalformedInstance, OutOfMemory
from sgmri.geometry import Box
from sgmri.interfaces import ReadingControl
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings, parse
from tests.worker.one_box_engine import OneBoxEngine
from tests.worker.place import Place, delivering_to, small
from worker import suspension
from worker.admission import Admission
from worker.destinations import targets
from worker.outbox import Outbox
from worker.suspension import Mode


def test_a_reading_ends_with_its_objects_in_the_outbox(place: Place, files: tuple[Path, ...]) -> None:
    """A negative reading is one SR, no SEG, and a timeline with the duration of each stage."""
    place.receive(*files)
    assert place.state() is State.QUEUED
    assert place.read()
    assert place.state() is State.READ
    (result,) = Outbox(journal=place.workplace.journal).results(place.row)
    assert result.kind == "SR"
    assert (place.workplace.results_dir(place.row) / result.file_name).exists()
    stages = {event.stage: event.duration_s for event in place.workplace.journal.timeline(place.row.series_key)}
    assert all(stages[stage] is not None for stage in ("describe", "decode", "render", "answer", "write objects"))


def test_a_second_message_does_nothing(place: Place, files: tuple[Path, ...]) -> None:
    """A message that comes twice finds no work."""
    place.receive(*files)
    assert place.read()
    before = place.row
    assert not place.read()
    assert place.row == before


def test_a_repeated_reading_writes_the_same_bytes(place: Place, files: tuple[Path, ...]) -> None:
    """The same series, read again an hour later after a crash, gives the same SR byte for byte."""
    place.receive(*files)
    place.read()
    first = (place.workplace.results_dir(place.row) / "sr.dcm").read_bytes()
    place.workplace.journal.move(place.row, State.FAILED)
    place.workplace.journal.move(place.row, State.QUEUED)
    place.clock.now += 3600
    assert place.read()
    assert (place.workplace.results_dir(place.row) / "sr.dcm").read_bytes() == first


def test_an_engine_that_is_away_is_tried_again_and_then_given_up(place: Place, files: tuple[Path, ...]) -> None:
    """Transient failures wait longer each time; after the allowed attempts the series is FAILED with its reason."""
    place.engine.failure = EngineUnavailable("starting")
    place.receive(*files)
    waits = []
    for _ in range(2):
        assert not place.read()
        assert (place.row.state, place.row.reason) == (State.QUEUED, Reason.ENGINE_FAILED)
        waits.append(place.row.next_try_at - place.clock.now)
        assert not place.read(), "read before its time"
        place.clock.now = place.row.next_try_at
    assert waits[1] > waits[0] > 0
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.ENGINE_FAILED)


def test_an_engine_that_recovers_ends_well(place: Place, files: tuple[Path, ...]) -> None:
    """One failure costs one attempt, no more."""
    place.engine.failure = EngineError("odd")
    place.receive(*files)
    place.read()
    place.engine.failure = None
    place.clock.now = place.row.next_try_at
    assert place.read()
    assert place.row.attempts == 2


def test_out_of_memory_is_tried_again_with_half_and_then_given_up(place: Place, files: tuple[Path, ...]) -> None:
    """Each attempt that ran out of memory, or was killed for it, leaves the next one half; then FAILED says so."""
    shares: list[float] = []
    place.engine.failure = OutOfMemory("none left")
    place.engine.told = lambda control: shares.append(control.memory_share)
    place.receive(*files)
    for reason in (Reason.OUT_OF_MEMORY, Reason.WORKER_LOST):
        assert not place.read()
        assert (place.row.state, place.row.reason) == (State.QUEUED, Reason.OUT_OF_MEMORY)
        place.clock.now = place.row.next_try_at
        place.workplace.journal.move(place.row, State.QUEUED, reason=reason)
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.OUT_OF_MEMORY)
    assert shares == [1.0, 0.5, 0.25]


def test_a_reading_waits_for_free_memory(make_place: Callable[[Settings], Place], files: tuple[Path, ...]) -> None:
    """With less than a reading needs none begins: a coded reason, no attempt, no line for each look, its place kept."""
    place = make_place(parse({"worker": {"sweep_period_s": 0.01}}))
    place.receive(*files)
    before, lines = place.row, len(place.workplace.journal.timeline(place.row.series_key))
    short = replace(place, workplace=replace(place.workplace, admission=Admission("cpu", least_bytes=1 << 60)))
    for _ in range(5):
        assert not short.read()
        row = place.row
        assert (row.state, row.reason, row.attempts) == (State.QUEUED, Reason.MEMORY_SHORT, 0)
        assert (row.next_try_at, row.first_lane_at) == (place.clock.now + 0.01, before.first_lane_at)
        place.clock.now = row.next_try_at
    assert len(place.workplace.journal.timeline(row.series_key)) == lines
    assert place.read()


def test_a_suspension_gives_the_reading_under_way_back(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """Within a quarter of a lease the engine is told; the series keeps its place and is no attempt poorer."""
    place = make_place(parse({"worker": {"lease_s": 0.4}}))
    place.receive(*files)
    before = place.row

    def until_cancelled(control: ReadingControl) -> None:
        suspension.change(place.workplace.journal, Mode.SUSPENDED)
        while not control.is_cancelled():
            time.sleep(0.02)

    place.engine.told = until_cancelled
    assert not place.read()
    assert (place.row.state, place.row.attempts, place.row.first_lane_at) == (State.QUEUED, 0, before.first_lane_at)
    assert not place.read(), "suspended"
    suspension.change(place.workplace.journal, Mode.RUNNING)
    place.engine.told = lambda control: None
    assert place.read()


def test_a_suspension_after_the_current_one_lets_it_end(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """The reading under way is not disturbed, and its delivery goes on."""
    place = make_place(parse({"worker": {"lease_s": 0.4}}))
    place.receive(*files)

    def a_while(control: ReadingControl) -> None:
        suspension.change(place.workplace.journal, Mode.FINISHING)
        time.sleep(0.5)
        assert not control.is_cancelled()

    place.engine.told = a_while
    assert place.read()
    somewhere = targets(parse({"delivery": {"ae_title": "PACS"}}))
    assert len(Outbox(journal=place.workplace.journal, targets=somewhere).waiting()) == 1


def test_a_series_that_is_not_for_us_is_skipped_with_its_reason(place: Place, tmp_path: Path) -> None:
    """A CT is SKIPPED as NOT_MR, and no worker is rung."""
    path = tmp_path / "ct.dcm"
    make_non_mr().save_as(path, enforce_file_format=True)
    place.receive(path)
    assert (place.row.state, place.row.reason) == (State.SKIPPED, Reason.NOT_MR)


def test_a_truncated_instance_fails_the_series_with_its_reason(place: Place, files: tuple[Path, ...]) -> None:
    """Pixel data that ends too early on disk is FAILED, never a negative reading; on arrival it is refused already."""
    cut = files[0].read_bytes()[:-5000]
    with pytest.raises(MalformedInstance, match="end within an element"):
        read_header(cut)
    place.receive(*files)
    stored = sorted(place.workplace.spool.root.glob(f"{place.row.series_key}/*.dcm"))
    assert len(stored) == len(files)
    stored[0].write_bytes(stored[0].read_bytes()[:-5000])
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.TRUNCATED_INSTANCE)
    assert Outbox(journal=place.workplace.journal).results(place.row) == ()


def test_results_that_a_viewer_would_not_show_are_not_sent(
    make_place: Callable[[Settings], Place],
    files: tuple[Path, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An object that breaks a viewer's rule ends the series as FAILED with its reason; the log names the rule alone."""
    boxes = {index: Box(x0=10, y0=12, x1=30, y1=28) for index in (3, 4)}
    made = make_place(parse({}))
    place = replace(
        made,
        workplace=replace(
            made.workplace,
            engine=lambda: OneBoxEngine(boxes, "Mass", tracking_uid="2.25.7"),
            profile=Profile(viewers=("ohif",), kinds=frozenset({ResultKind.SEG, ResultKind.SR})),
        ),
    )
    place.receive(*files)
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.VIEWER_RULE)
    assert Outbox(journal=place.workplace.journal).results(place.row) == ()
    assert "ohif-unique-tracking-uid by SR (viewer ohif)" in caplog.text


def test_a_reading_with_nothing_to_send_is_skipped(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """Where the destination gets pictures of boxes only, a reading without a box ends with its reason."""
    made = make_place(parse({}))
    profile = Profile(kinds=frozenset({ResultKind.SEG}))
    place = replace(made, workplace=replace(made.workplace, profile=profile))
    place.receive(*files)
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.SKIPPED, Reason.NOTHING_TO_SEND)


def test_a_delivery_is_stored_and_asked_to_be_committed(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], tmp_path: Path
) -> None:
    """The object arrives as it lies in the outbox, the series is STORED, and waits for the answer."""
    with small(tmp_path) as pacs:
        place = make_place(delivering_to(pacs.port))
        place.receive(*files)
        place.read()
        place.deliver()
        assert place.row.state is State.STORED
        assert place.row.next_try_at > place.clock.now
        assert place.row.lease_owner is None
        assert len(pacs.archive) == 1
        sent = dcmread(place.workplace.results_dir(place.row) / "sr.dcm")
        assert pacs.archive.sop_class_of(str(sent.SOPInstanceUID)) == str(sent.SOPClassUID)


def test_without_commitment_stored_is_the_end(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], tmp_path: Path
) -> None:
    """Where the site switches commitment off, the series ends as STORED and is never called committed."""
    with small(tmp_path) as pacs:
        place = make_place(delivering_to(pacs.port, commitment=False))
        place.receive(*files)
        place.read()
        place.deliver()
        assert place.row.state is State.STORED
        assert place.workplace.outbox.waiting() == ()


def test_a_pacs_that_is_away_is_tried_again_later_each_time(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """Nothing is lost: the series stays READ with its reason and a growing wait, up to the limit of days."""
    place = make_place(delivering_to(1))
    place.receive(*files)
    place.read()
    waits = []
    for _ in range(3):
        place.deliver()
        assert (place.row.state, place.row.reason) == (State.READ, Reason.PEER_UNAVAILABLE)
        waits.append(place.row.next_try_at - place.clock.now)
        place.clock.now = place.row.next_try_at
    assert waits == sorted(waits)
    assert waits[2] > 8 * waits[0]
    place.clock.now += 604_801
    place.deliver()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.PEER_UNAVAILABLE)


@pytest.mark.parametrize(("status", "reason"), [(0xA700, Reason.PEER_UNAVAILABLE), (0xC000, Reason.STORE_REFUSED)])
def test_the_pacs_answer_decides_how_patiently_it_is_tried(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], tmp_path: Path, status: int, reason: Reason
) -> None:
    """Out of resources is tried again soon, a refusal slowly; neither is dropped."""
    with small(tmp_path, PacsBehaviour(store_status=status)) as pacs:
        place = make_place(delivering_to(pacs.port))
        place.receive(*files)
        place.read()
        place.deliver()
        assert (place.row.state, place.row.reason) == (State.READ, reason)
        slow = place.row.next_try_at - place.clock.now >= 3600
        assert slow is (reason is Reason.STORE_REFUSED)
