"""What a worker says to the audit log, and that without it nothing is done where the settings ask for that."""

from collections.abc import Callable
from pathlib import Path

from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.errors import AuditUnavailable
from sgmri.lifecycle import State
from sgmri.settings import Settings, parse
from tests.deliveries import pacs_at, to, waiting
from tests.worker.place import Place, small


def refuse(event: AuditEvent) -> None:
    raise AuditUnavailable("expected an audit log, found none")


def test_a_reading_is_begun_and_ended(make_place: Callable[[Settings], Place], files: tuple[Path, ...]) -> None:
    """In the log before the engine begins, and with the state that it came to; a failed try is no success."""
    place = make_place(parse({}))
    events: list[AuditEvent] = []
    object.__setattr__(place.workplace, "audit", events.append)
    place.receive(*files)
    place.engine.failure = RuntimeError("no")
    place.read()
    place.engine.failure = None
    place.clock.now += 3600
    place.engine.meanwhile = lambda: events.append(AuditEvent(action=Action.ASK, who="engine"))
    place.read()
    said = [(event.action, event.outcome, event.detail) for event in events]
    assert said[:2] == [
        (Action.READ, Outcome.SUCCESS, "begun"),
        (Action.READ, Outcome.FAILURE, "ended: QUEUED ENGINE_FAILED"),
    ]
    assert said[2] == (Action.READ, Outcome.SUCCESS, "begun")
    assert said[3][0] is Action.ASK
    assert said[-1] == (Action.READ, Outcome.SUCCESS, "ended: READ NONE")


def test_nothing_is_read_or_sent_that_cannot_be_recorded(tmp_path: Path) -> None:
    """on_failure = stop: the delivery stays where it was, and goes on when the log can be written again."""
    events: list[AuditEvent] = []
    (tmp_path / "site").mkdir()
    with small(tmp_path) as pacs, waiting(to(pacs_at(pacs.port)), tmp_path / "site") as place:
        object.__setattr__(place.workplace, "audit", refuse)
        place.deliver()
        assert place.state() is State.READ
        object.__setattr__(place.workplace, "audit", events.append)
        place.clock.now += 3600
        place.deliver()
        assert place.state() is State.STORED
    assert [(event.action, event.outcome, event.detail, event.count) for event in events] == [
        (Action.BEGIN_SEND, Outcome.SUCCESS, "to pacs", 2),
        (Action.SEND, Outcome.SUCCESS, "to pacs", 2),
    ]
