"""The lines of the audit log: each holds the hash of the one before, so that a later change of any of them shows."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sgmri.audit import Action, AuditEvent, Outcome

GENESIS = "0" * 64
"""What stands in the first line for the hash of the line before."""
_MAX_CHARACTERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a chain: how many lines it has, and the hash of the last; no lines: 0 and :data:`GENESIS`."""

    seq: int
    digest: str


NO_LINES = Head(seq=0, digest=GENESIS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One line.

    Parameters
    ----------
    seq
        Its number in the chain, from 1.
    at
        When it was written, UTC, ISO 8601.
    host, process
        Where: the machine, and the kind of the process (listener, worker, command, ...).
    event
        What was done.
    previous
        The hash of the line before.
    """

    seq: int
    at: str
    host: str
    process: str
    event: AuditEvent
    previous: str

    @property
    def head(self) -> Head:
        """The chain's end after this line."""
        return Head(seq=self.seq, digest=hashlib.sha256(_canonical(self._mapping())).hexdigest())

    def encode(self) -> bytes:
        """Return the line as it stands in the file, with its own hash and line end."""
        return _canonical({**self._mapping(), "hash": self.head.digest}) + b"\n"

    def _mapping(self) -> dict[str, Any]:
        own = {"seq": self.seq, "at": self.at, "host": self.host, "process": self.process, "previous": self.previous}
        return own | {name: _plain(value) for name, value in asdict(self.event).items()}


def decode(encoded: bytes) -> AuditLine:
    """Read a line back.

    Raises
    ------
    ValueError
        If it is not, byte for byte, what :meth:`AuditLine.encode` writes: its own hash included.
    """
    try:
        found = json.loads(encoded)
        line = _line(found)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"expected a line of the audit log, found {type(error).__name__}") from None
    if line.encode() != encoded:
        raise ValueError("expected a line of the audit log, found one whose hash is not that of its content")
    return line


def _line(found: Mapping[str, Any]) -> AuditLine:
    event = AuditEvent(
        action=Action(found["action"]),
        who=found["who"],
        outcome=Outcome(found["outcome"]),
        series_key=found["series_key"],
        detail=found["detail"],
        count=found["count"],
    )
    names = ("seq", "at", "host", "process", "previous")
    texts = (event.who, event.series_key, event.detail, *(found[name] for name in names[1:]))
    if type(found["seq"]) is not int or type(event.count) is not int or not all(type(text) is str for text in texts):
        raise ValueError("expected a line of the audit log, found a value of another type")
    if found["seq"] < 1:
        raise ValueError(f"expected a line of the audit log, found one with the number {found['seq']}")
    return AuditLine(event=event, **{name: found[name] for name in names})


def _canonical(mapping: Mapping[str, Any]) -> bytes:
    return json.dumps(mapping, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _plain(value: str | int) -> str | int:
    """Return a text that can stand in a line and in an XML message: an AE title comes from whoever calls."""
    if not isinstance(value, str):
        return value
    return "".join(mark if mark.isprintable() else "?" for mark in str(value)[:_MAX_CHARACTERS])
