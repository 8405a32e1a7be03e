"""One line of the doctor's examination."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The outcome of one check."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, and what came of it."""

    name: str
    verdict: Verdict
    text: str


def good(name: str, text: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, verdict=Verdict.OK, text=text)


def note(name: str, text: str) -> Check:
    """Return a check that found what may be meant."""
    return Check(name=name, verdict=Verdict.NOTE, text=text)


def fault(name: str, text: str) -> Check:
    """Return a check that failed; its text says what was expected, what was found and what to do."""
    return Check(name=name, verdict=Verdict.FAIL, text=text)
