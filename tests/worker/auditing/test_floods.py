from dataclasses import replace

from sgmri.audit import Action, AuditEvent, Outcome
from worker.auditing.floods import MOST_LINES, WINDOW_S, Floods

REFUSED = AuditEvent(action=Action.REFUSE, who="A@192.0.2.1", outcome=Outcome.FAILURE, detail="why")


def test_a_flood_of_refusals_is_counted() -> None:
    """Whatever a caller calls itself, its address gets some lines a minute, then one with the number of the others."""
    now = [0.0]
    floods = Floods(lambda: now[0])
    written = [floods.take(replace(REFUSED, who=f"A{number}@192.0.2.1")) for number in range(1000)]
    assert [len(lines) for lines in written] == [1] * MOST_LINES + [0] * (1000 - MOST_LINES)
    other = replace(REFUSED, who="B@192.0.2.2")
    assert floods.take(other) == [other]
    now[0] = WINDOW_S
    first, second = floods.take(REFUSED)
    assert (first.action, first.who, first.count) == (Action.REFUSE, "@192.0.2.1", 1000 - MOST_LINES)
    assert second == REFUSED


def test_what_was_held_back_is_written_at_the_end() -> None:
    """Nothing that was counted is lost when the process stops, and what is no refusal is never held back."""
    floods = Floods(lambda: 0.0)
    for _ in range(MOST_LINES + 5):
        floods.take(REFUSED)
    read, stop = (replace(REFUSED, action=action) for action in (Action.READ, Action.STOP))
    assert [floods.take(read) for _ in range(100)] == [[read]] * 100
    counted, last = floods.take(stop)
    assert (counted.count, last) == (5, stop)


def test_addresses_without_end_take_no_memory() -> None:
    """The oldest are let go, with what was held back of them."""
    floods = Floods(lambda: 0.0)
    for _ in range(MOST_LINES + 1):
        floods.take(REFUSED)
    lines = [
        line
        for number in range(3000)
        for line in floods.take(replace(REFUSED, who=f"A@10.0.{number // 256}.{number % 256}"))
    ]
    assert len(lines) == 3001
    assert len(floods._windows) <= 1025
