"""Rows 48 to 50 of the fault table: destinations that are away, break, refuse, or never prove what they took."""

import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association

from conformance.pacs import PacsBehaviour, SmallPacs
from dicom_io.commitment import CommitmentResult
from dicom_io.network import Destination, echo
from dicom_io.receiver.listener import Receiver
from dicom_io.scp import Callbacks
from dicom_io.services import COMPREHENSIVE_3D_SR, SEGMENTATION, UNCOMPRESSED, VERIFICATION
from dicom_io.spool import Spool
from plugin.parts import free_port
from sgmri.errors import PeerUnavailable
from sgmri.lifecycle import Reason, State
from sgmri.settings import Listener, Peer, Settings
from tests.deliveries import delivery_of, pacs_at, to, waiting
from tests.worker.place import Place
from worker.delivery import breakers
from worker.tasks import Workplace, deliver_one

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def wait(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    with ExitStack() as places:
        yield lambda settings, count=1: places.enter_context(waiting(settings, tmp_path, count))


@dataclass
class Stub:
    """A storage SCP whose answers are told; it counts what comes."""

    answer: Callable[[evt.Event], int] = lambda event: 0x0000
    associations: int = 0
    association: Association | None = None
    released: threading.Event = field(default_factory=threading.Event)
    stored: list[str] = field(default_factory=list)
    port: int = 0

    def on_store(self, event: evt.Event) -> int:
        status = self.answer(event)
        if status == 0x0000:
            self.stored.append(str(event.dataset.SOPInstanceUID))
        return status

    def on_accepted(self, event: evt.Event) -> None:
        self.associations += 1
        self.association = event.assoc

    def on_released(self, event: evt.Event) -> None:
        self.released.set()


@contextmanager
def scp(stub: Stub) -> Iterator[Stub]:
    ae = AE(ae_title="SMALLPACS")
    for uid in (SEGMENTATION, COMPREHENSIVE_3D_SR, VERIFICATION):
        ae.add_supported_context(uid, list(UNCOMPRESSED))
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_C_STORE, stub.on_store),
        (evt.EVT_ACCEPTED, stub.on_accepted),
        (evt.EVT_RELEASED, stub.on_released),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    assert server.socket is not None
    stub.port = server.socket.getsockname()[1]
    try:
        yield stub
    finally:
        server.shutdown()


def _times_out(event: evt.Event) -> int:
    time.sleep(2.5)
    return 0xA700


def _aborts(event: evt.Event) -> int:
    event.assoc.abort()
    return 0x0000


@pytest.mark.parametrize(
    "answer",
    [lambda event: 0xA700, lambda event: 0x0110, _times_out, _aborts],
    ids=["out of resources", "processing failure", "no answer", "abort in mid send"],
)
def test_a_pacs_that_cannot_now_is_tried_again_soon(
    wait: Callable[..., Place], answer: Callable[[evt.Event], int]
) -> None:
    """Row 48: the delivery waits with its reason and seconds, not hours; when the PACS can again, all of it arrives."""
    with scp(Stub(answer=answer)) as stub:
        place = wait(to(pacs_at(stub.port), timeout_s=1.5))
        place.deliver()
        one = delivery_of(place)
        assert (one.state, one.reason) == (State.READ, Reason.PEER_UNAVAILABLE)
        assert 5.0 <= one.next_try_at - place.clock.now <= 5.5
        stub.answer = lambda event: 0x0000
        place.clock.now = one.next_try_at
        place.deliver()
        assert place.state() is State.STORED
        assert len(set(stub.stored)) == 2


def test_a_pacs_that_rejects_us_is_tried_slowly(wait: Callable[..., Place], tmp_path: Path) -> None:
    """Row 48: rejected for good (an unknown calling AE title) is tried once an hour, and is no loss."""
    with SmallPacs("SMALLPACS", directory=tmp_path / "pacs", peers={"ELSE": ("127.0.0.1", 1)}) as pacs:
        place = wait(to(pacs_at(pacs.port)))
        place.deliver()
    one = delivery_of(place)
    assert (one.state, one.reason) == (State.READ, Reason.PEER_REJECTS)
    assert one.next_try_at - place.clock.now >= 3600


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.kill)])
@pytest.mark.timeout(900)
def test_many_series_and_a_dead_pacs_cost_one_probe_an_interval(wait: Callable[..., Place], count: int) -> None:
    """Row 48: calls that go out while it is dead are counted; when it is back, every series arrives once."""
    with _counting_port() as (port, calls):
        place = wait(to(pacs_at(port), probe_interval_s=60.0), count)
        _ring(place)
        opened_after = len(calls)
        assert opened_after == 3
        for interval in range(1, 6):
            place.clock.now += 61.0
            _ring(place)
            assert len(calls) == opened_after + interval
            _ring(place)
            assert len(calls) == opened_after + interval
    with scp(Stub()) as stub:
        settings = to(pacs_at(stub.port), probe_interval_s=60.0)
        back = Place(workplace=_with(place, settings), clock=place.clock, engine=place.engine)
        back.workplace.senders.close()  # they know the old port
        back.clock.now += 61.0
        _ring(back)  # the probe, which closes the breaker
        for _ in range(1 + count // 500):  # a sweep rings for 500 at most
            _ring(back)
        assert breakers(back.workplace.journal, settings).open() == {}
        assert {row.state for row in back.workplace.journal.all_series()} == {State.STORED}
        assert len(stub.stored) == len(set(stub.stored)) == 2 * count
        assert stub.associations == 2  # the probe, and one for all


def _with(place: Place, settings: Settings) -> Workplace:
    return replace(place.workplace, settings=settings)


def _ring(place: Place) -> None:
    """Do what the sweeper's bells make workers do."""
    for row in place.workplace.outbox.waiting():
        deliver_one(place.workplace, row.series_key, row.generation)


@contextmanager
def _counting_port() -> Iterator[tuple[int, list[float]]]:
    """Listen, and close every connection at once: nobody is at home."""
    calls: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                calls.append(time.monotonic())
                connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], calls
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


_WORKER = """
import sys
from pathlib import Path
from dicom_io.spool import Spool
from plugin.settings import load
from worker.database import sqlite_url
from worker.journal import Journal
from worker.tasks import Workplace, deliver_one

directory = Path(sys.argv[1])
place = Workplace(
    settings=load(directory / "sgmri.toml", {}),
    journal=Journal(sqlite_url(directory)),
    spool=Spool(directory / "spool"),
    outbox_dir=directory / "outbox",
    engine=lambda: None,
)
deliver_one(place, place.journal.all_series()[0].series_key, 0)
"""


def test_a_worker_killed_between_two_objects_leaves_one_of_each(wait: Callable[..., Place], tmp_path: Path) -> None:
    """Row 44: kill -9 when the SEG is stored and the SR comes; another worker sends the SR, and no second SEG."""
    killed = threading.Event()
    with scp(Stub()) as stub:
        (tmp_path / "sgmri.toml").write_text(
            f'[[destination]]\nname = "pacs"\nae_title = "SMALLPACS"\nport = {stub.port}\ncommitment = "none"\n'
        )
        place = wait(to(pacs_at(stub.port)))
        with subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path)], cwd=_ROOT) as worker:

            def kill_at_the_second(event: evt.Event) -> int:
                if not stub.stored or killed.is_set():
                    return 0x0000
                worker.kill()
                worker.wait()
                killed.set()
                return 0xC000

            stub.answer = kill_at_the_second
        assert killed.wait(20)
        seg, sr = place.workplace.outbox.deliveries.objects(delivery_of(place))
        assert (seg.stored_at is None, sr.stored_at) == (False, None)
        place.clock.now = delivery_of(place).lease_until - 1
        place.deliver()
        assert len(stub.stored) == 1, "its lease still runs"
        place.clock.now = delivery_of(place).lease_until
        place.deliver()
        assert stub.stored == [seg.sop_instance_uid, sr.sop_instance_uid]
    assert place.state() is State.STORED


def test_an_association_is_kept_and_replaced_when_it_broke(wait: Callable[..., Place]) -> None:
    """Two series need one association; one that the PACS ended meanwhile is replaced; nothing is lost or doubled."""
    with scp(Stub()) as stub:
        place = wait(to(pacs_at(stub.port)), 3)
        rows = place.workplace.journal.all_series()
        for row in rows[:2]:
            _ring_one(place, row.series_key)
        assert stub.associations == 1
        assert stub.association is not None
        stub.association.abort()
        _ring_one(place, rows[2].series_key)
        assert stub.associations == 2
        assert len(stub.stored) == len(set(stub.stored)) == 6
    assert {row.state for row in place.workplace.journal.all_series()} == {State.STORED}


def test_an_idle_association_is_released(wait: Callable[..., Place]) -> None:
    """After the idle time the association is released in order (A-RELEASE), not aborted."""
    with scp(Stub()) as stub:
        place = wait(to(pacs_at(stub.port), idle_timeout_s=0.5))
        place.deliver()
        assert stub.released.wait(20)


def _ring_one(place: Place, series_key: str) -> None:
    deliver_one(place.workplace, series_key, 0)


def test_an_object_without_a_context_is_marked_and_the_others_go(wait: Callable[..., Place], tmp_path: Path) -> None:
    """Row 50: DCMTK's storescp that knows no SEG gets the SR; the SEG is UNDELIVERABLE until it is let in."""
    with _storescp(tmp_path, COMPREHENSIVE_3D_SR) as port:
        place = wait(to(pacs_at(port)))
        place.deliver()
    one = delivery_of(place)
    seg, sr = place.workplace.outbox.deliveries.objects(one)
    assert (seg.reason, seg.stored_at) == (Reason.UNDELIVERABLE, None)
    assert (sr.reason, sr.stored_at) == (Reason.NONE, place.clock.now)
    assert (place.row.state, place.row.reason) == (State.READ, Reason.UNDELIVERABLE)
    assert one.next_try_at - place.clock.now >= 3600
    with _storescp(tmp_path, COMPREHENSIVE_3D_SR, SEGMENTATION) as port:
        again = Place(workplace=_with(place, to(pacs_at(port))), clock=place.clock, engine=place.engine)
        again.workplace.senders.close()
        again.clock.now = one.next_try_at
        again.deliver()
    assert again.state() is State.STORED
    assert len(list((tmp_path / "received").iterdir())) == 2


@contextmanager
def _storescp(tmp_path: Path, *sop_classes: str) -> Iterator[int]:
    if shutil.which("storescp") is None:
        pytest.skip("dcmtk is not installed")
    contexts = "\n".join(
        f"PresentationContext{n} = {uid}\\Plain" for n, uid in enumerate((VERIFICATION, *sop_classes), 1)
    )
    config = tmp_path / "storescp.cfg"
    syntaxes = "\n".join(f"TransferSyntax{n} = {uid}" for n, uid in enumerate(UNCOMPRESSED, 1))
    config.write_text(
        f"[[TransferSyntaxes]]\n[Plain]\n{syntaxes}\n[[PresentationContexts]]\n[Few]\n{contexts}\n"
        "[[Profiles]]\n[Few]\nPresentationContexts = Few\n"
    )
    received, port = tmp_path / "received", free_port()
    received.mkdir(exist_ok=True)
    command = ["storescp", "--config-file", str(config), "Few", "--output-directory", str(received), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until_there(port)
            yield port
        finally:
            process.terminate()


def _until_there(port: int) -> None:
    for _ in range(200):
        try:
            echo(Destination(ae_title="SMALLPACS", host="127.0.0.1", port=port))
            return
        except PeerUnavailable:
            time.sleep(0.05)
    pytest.fail("storescp does not listen")


@pytest.mark.parametrize("behaviour", ["never", "failure", "late"])
def test_commitment_that_never_comes_fails_or_comes_late(
    wait: Callable[..., Place], tmp_path: Path, behaviour: str
) -> None:
    """Row 49: never: asked again with COMMITMENT_LATE; failure: sent again; on a new association, later: COMMITTED."""
    faults = {
        "never": PacsBehaviour(answers_commitment=False),
        "failure": PacsBehaviour(commitment_failures=True),
        "late": PacsBehaviour(commitment_delay_s=0.5),
    }
    answers: queue.SimpleQueue[CommitmentResult] = queue.SimpleQueue()
    port = free_port()
    with SmallPacs(
        "SMALLPACS", directory=tmp_path / "pacs", peers={"SGMRI": ("127.0.0.1", port)}, behaviour=faults[behaviour]
    ) as pacs:
        settings = to(pacs_at(pacs.port, commitment="storage-commitment"))
        place = wait(settings)
        with _listening(port, answers):
            place.deliver()
            assert place.state() is State.STORED
            if behaviour == "never":
                place.clock.now = delivery_of(place).next_try_at
                place.deliver()
                assert (place.row.state, place.row.reason) == (State.STORED, Reason.COMMITMENT_LATE)
                return
            answer = answers.get(timeout=20)
        place.workplace.outbox.answer_commitment(
            answer.transaction_uid, committed=answer.committed, refused=tuple(answer.failures), retry_s=60.0
        )
        if behaviour == "late":
            assert place.state() is State.COMMITTED
            return
        assert (place.row.state, place.row.reason) == (State.READ, Reason.COMMITMENT_REFUSED)
        place.clock.now = delivery_of(place).next_try_at
        place.deliver()
        assert place.state() is State.STORED


@contextmanager
def _listening(port: int, answers: "queue.SimpleQueue[CommitmentResult]") -> Iterator[None]:
    """Run the product's receiver for the answer, which comes on an association of the PACS's own."""
    with tempfile.TemporaryDirectory() as name:
        listener = Listener(port=port, peers=(Peer(ae_title="SMALLPACS"),), min_free_bytes=1)
        callbacks = Callbacks(stored=lambda instance: None, committed=answers.put)
        receiver = Receiver(listener, Spool(Path(name) / "spool"), callbacks)
        receiver.start()
        try:
            yield
        finally:
            receiver.stop()
