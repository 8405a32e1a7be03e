"""Whatever is done to one line of an audit log shows, and the line is named."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.audit_chain import NO_LINES, AuditLine, Head, decode
from sgmri.audit_faults import FaultKind, faults

Lines = list[bytes]


def chain(count: int) -> list[AuditLine]:
    lines: list[AuditLine] = []
    for number in range(count):
        event = AuditEvent(action=Action.RECEIVE, who="SCANNER@192.0.2.1", series_key=f"{number:016x}", count=number)
        lines.append(following(lines[-1].head if lines else NO_LINES, event))
    return lines


def following(head: Head, event: AuditEvent) -> AuditLine:
    return AuditLine(
        seq=head.seq + 1,
        at="2026-11-27T12:00:00.000000+00:00",
        host="here",
        process="listener",
        event=event,
        previous=head.digest,
    )


CHAIN = chain(9)
GOOD = [line.encode() for line in CHAIN]
HEAD = CHAIN[-1].head


def found(lines: Lines, head: Head | None = HEAD, confirmed: int = 9) -> list[tuple[FaultKind, str, int, int]]:
    placed = [(f"f:{number}", line) for number, line in enumerate(lines, 1)]
    return [(one.kind, one.place, one.first, one.last) for one in faults(placed, head, confirmed)]


def forged(line: AuditLine) -> bytes:
    """Change a line and make its own hash right again."""
    return replace(line, event=replace(line.event, who="SOMEBODY@192.0.2.9")).encode()


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda: GOOD[:4] + GOOD[5:], (FaultKind.DELETED, "f:4", 5, 5)),
        (lambda: GOOD[1:], (FaultKind.DELETED, "", 1, 1)),
        (list, (FaultKind.TRUNCATED, "", 1, 9)),
        (lambda: GOOD[:7], (FaultKind.TRUNCATED, "f:7", 8, 9)),
        (lambda: [*GOOD[:4], GOOD[4].replace(b"SCANNER", b"SCAMMER"), *GOOD[5:]], (FaultKind.CHANGED, "f:5", 5, 5)),
        (lambda: [*GOOD[:4], forged(CHAIN[4]), *GOOD[5:]], (FaultKind.CHANGED, "f:5", 5, 5)),
        (lambda: [*GOOD[:4], b"\xff\n", *GOOD[5:]], (FaultKind.CHANGED, "f:5", 5, 5)),
        (lambda: [forged(replace(CHAIN[0], previous="1" * 64)), *GOOD[1:]], (FaultKind.CHANGED, "f:1", 1, 1)),
        (lambda: [*GOOD[:8], forged(CHAIN[8])], (FaultKind.CHANGED, "f:9", 9, 9)),
        (lambda: [*GOOD[:4], GOOD[1], *GOOD[4:]], (FaultKind.INSERTED, "f:5", 2, 2)),
        (lambda: [*GOOD[:4], forged(CHAIN[4]), *GOOD[4:]], (FaultKind.INSERTED, "f:5", 5, 5)),
        (lambda: [*GOOD[:4], b"{}\n", *GOOD[4:]], (FaultKind.INSERTED, "f:5", 5, 5)),
        (lambda: [*GOOD[:4], GOOD[5], GOOD[4], *GOOD[6:]], (FaultKind.MOVED, "f:6", 5, 5)),
        (lambda: [*GOOD, following(HEAD, CHAIN[0].event).encode()], (FaultKind.UNCONFIRMED, "f:10", 10, 10)),
    ],
)
def test_each_edit_is_named_by_its_line(edit: Callable[[], Lines], expected: tuple[FaultKind, str, int, int]) -> None:
    """Deletion, insertion, change, reordering and truncation, also where the line's own hash was made right again."""
    assert found(GOOD) == []
    assert found(edit()) == [expected]


@st.composite
def edited(draw: st.DrawFn) -> Lines:
    lines, place = list(GOOD), draw(st.integers(0, 8))
    match draw(st.sampled_from(["delete", "truncate", "insert", "move", "change", "forge"])):
        case "delete":
            del lines[place]
        case "truncate":
            del lines[place:]
        case "insert":
            copy = draw(st.integers(0, 8))
            lines.insert(place, draw(st.sampled_from([GOOD[copy], forged(CHAIN[copy]), b"\n", draw(st.binary())])))
        case "move":
            lines.insert(draw(st.integers(0, 8).filter(lambda to: to != place)), lines.pop(place))
        case "change":
            byte = draw(st.integers(0, len(lines[place]) - 1))
            other = draw(st.integers(0, 255).filter(lambda value: value != GOOD[place][byte]))
            lines[place] = GOOD[place][:byte] + bytes([other]) + GOOD[place][byte + 1 :]
        case "forge":
            seq, previous = draw(st.integers(1, 12)), draw(st.sampled_from([line.previous for line in CHAIN]))
            lines[place] = forged(replace(CHAIN[place], seq=seq, previous=previous))
    return lines


@given(edited())
def test_any_single_edit_is_detected(lines: Lines) -> None:
    """Whatever is done to one line of a log whose end is known elsewhere, something is found."""
    assert found(lines)


def test_a_rewritten_chain_does_not_end_as_known() -> None:
    """Who makes all hashes right again from the changed line on does not meet the end that is kept elsewhere."""
    rewritten = [*CHAIN[:4], replace(CHAIN[4], event=replace(CHAIN[4].event, who="X"))]
    for line in CHAIN[5:]:
        rewritten.append(following(rewritten[-1].head, line.event))
    assert found([line.encode() for line in rewritten])
    grown = [*rewritten, following(rewritten[-1].head, CHAIN[0].event)]
    assert found([line.encode() for line in grown], confirmed=10)


@given(st.text(max_size=300), st.text(max_size=300), st.integers(0, 10**6))
def test_a_line_is_read_back_as_it_was_written(who: str, detail: str, count: int) -> None:
    """Whatever a caller is called: one line of ASCII, without control characters, and bounded."""
    event = AuditEvent(action=Action.REFUSE, outcome=Outcome.FAILURE, who=who, detail=detail, count=count)
    encoded = following(NO_LINES, event).encode()
    assert encoded.isascii()
    assert encoded.count(b"\n") == 1
    assert decode(encoded).encode() == encoded
