"""What is wrong with a chain of audit lines: deletion, insertion, change, moving and truncation, named by line.

The chain is followed from its end, which is kept elsewhere, to its beginning: what that leads to is genuine, everything
else was put there, and what it asks for in vain is gone.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sgmri.audit_chain import GENESIS, NO_LINES, Head, decode


class FaultKind(StrEnum):
    """What was done to the chain."""

    CHANGED = "changed"
    DELETED = "deleted"
    INSERTED = "inserted"
    MOVED = "moved"
    TRUNCATED = "truncated"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    Parameters
    ----------
    kind
        What.
    place
        ``FILE:LINE``; for lines that are gone, behind which they stood. Empty: at the beginning.
    first, last
        Number in the chain of the line, or of the first and last of several; 0 where it says none.
    """

    kind: FaultKind
    place: str
    first: int
    last: int

    def __str__(self) -> str:
        """Say it in one line."""
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first} to {self.last}"
        where = self.place or "the beginning"
        match self.kind:
            case FaultKind.DELETED:
                return f"{lines} behind {where}: deleted"
            case FaultKind.TRUNCATED:
                return f"{lines} behind {where}: cut off at the end of the log"
            case FaultKind.UNCONFIRMED:
                return (
                    f"{lines} at the end: the journal does not know of them; a process died there, or they were added"
                )
            case _:
                return f"{where}: {lines if self.first else 'a line'} {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """A line as a part of the chain; ``head`` is None where its hash is not that of its content."""

    position: int
    place: str
    seq: int
    head: Head | None = None
    previous: str = ""


def faults(lines: Iterable[tuple[str, bytes]], head: Head | None, confirmed: int) -> tuple[Fault, ...]:
    """Return what is wrong with a host's chain, in the order of the files.

    Parameters
    ----------
    lines
        Each line with its place, ``FILE:LINE``, in the order of the files, line end included.
    head
        Its end as it was kept elsewhere before the lines were read; None where none is kept.
    confirmed
        How many lines are known elsewhere after they were read; more are UNCONFIRMED.
    """
    links = [_link(position, place, encoded) for position, (place, encoded) in enumerate(lines)]
    genuine, lost = _follow(links, head)
    strangers = [link for link in links if link.position not in genuine]
    found = list(_moved([link for link in links if link.position in genuine]))
    claimed = set[int]()
    for stranger in strangers:
        seq = _claims(stranger, links, genuine)
        changes = any(seq in gap for gap in lost) and seq not in claimed
        claimed |= {seq} if changes else set()
        kind = FaultKind.CHANGED if changes else FaultKind.INSERTED
        found.append(Fault(kind=kind, place=stranger.place, first=seq, last=seq))
    known = sorted((link for link in links if link.position in genuine), key=lambda link: link.seq)
    for gap in lost:
        found += (_gone(part, known) for part in _without(gap, claimed))
    order = {link.place: link.position for link in links}
    found.sort(key=lambda fault: order.get(fault.place, -1))
    last = known[-1] if known else None
    if last is not None and last.seq > confirmed:
        found.append(Fault(kind=FaultKind.UNCONFIRMED, place=last.place, first=confirmed + 1, last=last.seq))
    return tuple(found)


def _link(position: int, place: str, encoded: bytes) -> _Link:
    try:
        line = decode(encoded)
    except ValueError:
        return _Link(position=position, place=place, seq=_said_seq(encoded))
    return _Link(position=position, place=place, seq=line.seq, head=line.head, previous=line.previous)


def _said_seq(encoded: bytes) -> int:
    """Return the number that a damaged line says it has; 0 if it says none."""
    try:
        found = json.loads(encoded)
    except (ValueError, RecursionError):
        return 0
    seq = found.get("seq") if isinstance(found, dict) else None
    return seq if isinstance(seq, int) else 0


def _follow(links: list[_Link], head: Head | None) -> tuple[set[int], list[range]]:
    """Return the positions of the genuine lines, and the numbers of those that are not there as they were."""
    by_digest: dict[str, _Link] = {}
    for link in links:
        if link.head is not None:
            by_digest.setdefault(link.head.digest, link)
    ascending = sorted(by_digest.values(), key=lambda link: link.seq)
    wanted = ascending[-1].head or NO_LINES if ascending else NO_LINES
    if head is not None and head.seq >= wanted.seq:
        wanted = head
    genuine, lost = set[int](), list[range]()
    while wanted.seq > 0:
        if head is not None and wanted.seq == head.seq and wanted.digest != head.digest:
            genuine.clear()  # what stands above does not follow from the line that is known elsewhere
            wanted = head
        found = by_digest.get(wanted.digest)
        if found is not None and found.seq == wanted.seq:
            genuine.add(found.position)
            wanted = Head(seq=found.seq - 1, digest=found.previous)
            continue
        place = bisect_left(ascending, wanted.seq, key=lambda link: link.seq)
        below = (ascending[place - 1].head or NO_LINES) if place else NO_LINES
        lost.append(range(max(below.seq, 0) + 1, wanted.seq + 1))
        wanted = below
    if wanted.seq == 0 and wanted.digest != GENESIS:
        lost.append(range(1, 2))  # the first line is not the first of its chain
        genuine -= {link.position for link in links if link.seq == 1}
    return genuine, lost


def _moved(genuine: list[_Link]) -> Iterator[Fault]:
    most = 0
    for link in genuine:
        if link.seq < most:
            yield Fault(kind=FaultKind.MOVED, place=link.place, first=link.seq, last=link.seq)
        most = max(most, link.seq)


def _claims(stranger: _Link, links: list[_Link], genuine: set[int]) -> int:
    """Return which number a line that is not genuine takes: the one that it says, or else the one of its place."""
    if stranger.seq or not stranger.position:
        return stranger.seq or 1
    before = links[stranger.position - 1]
    return before.seq + 1 if before.position in genuine else 0


def _without(gap: range, claimed: set[int]) -> Iterator[range]:
    start = gap.start
    for seq in sorted(seq for seq in claimed if seq in gap):
        if seq > start:
            yield range(start, seq)
        start = seq + 1
    if start < gap.stop:
        yield range(start, gap.stop)


def _gone(gap: range, known: list[_Link]) -> Fault:
    place = bisect_left(known, gap.start, key=lambda link: link.seq)
    kind = FaultKind.TRUNCATED if place == len(known) else FaultKind.DELETED
    return Fault(kind=kind, place=known[place - 1].place if place else "", first=gap.start, last=gap.stop - 1)
