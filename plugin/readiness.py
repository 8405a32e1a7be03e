"""Whether the product can do its work now: what it needs, part by part, and what a load balancer should know."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from plugin.retention import Retention
from sgmri.settings import Settings
from worker.app import READING_QUEUE
from worker.bells import depth
from worker.delivery import breakers
from worker.journal import Journal
from worker.presence import present


class Part(StrEnum):
    """What is needed."""

    JOURNAL = "journal"
    DISK = "disk"
    BROKER = "broker"
    MODEL = "model"
    DESTINATION = "destination"


RECEIVING = frozenset({Part.JOURNAL, Part.DISK})
"""What receiving needs; the others may be away meanwhile, and nothing is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a part stands; ``name`` is the destination's, ``text`` says what is wrong."""

    part: Part
    is_ready: bool
    text: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Looks at the parts.

    Parameters
    ----------
    settings, journal, retention
        Of the listener.
    """

    settings: Settings
    journal: Journal
    retention: Retention

    def parts(self, needed: frozenset[Part]) -> tuple[Standing, ...]:
        """Return how some parts stand; a broker that hangs is not waited for where it is not needed."""
        try:
            of_journal = tuple(self._of_journal())
        except SQLAlchemyError:
            of_journal = (Standing(part=Part.JOURNAL, is_ready=False, text="cannot be read"),)
        broker = (self._broker(),) if Part.BROKER in needed else ()
        return tuple(one for one in (*of_journal, self._disk(), *broker) if one.part in needed)

    def _of_journal(self) -> Iterator[Standing]:
        workers = [one for one in present(self.journal) if READING_QUEUE in one.queues]
        yield Standing(part=Part.JOURNAL, is_ready=True, text="answers")
        loaded = sum(bool(one.engine) for one in workers)
        text = f"{loaded} of {len(workers)} reading processes have it loaded"
        yield Standing(part=Part.MODEL, is_ready=loaded > 0, text=text)
        away = breakers(self.journal, self.settings).open()
        for outlet in self.settings.outlets:
            text = "cannot be reached and is only probed" if outlet.name in away else "is called as usual"
            yield Standing(part=Part.DESTINATION, is_ready=outlet.name not in away, text=text, name=outlet.name)

    def _disk(self) -> Standing:
        try:
            _, free = self.retention.disk(self.retention.spool.root)
        except OSError as error:
            return Standing(part=Part.DISK, is_ready=False, text=f"cannot be asked (errno {error.errno})")
        least = self.settings.listener.min_free_bytes
        text = f"{free >> 20} MiB free, {least >> 20} MiB needed to receive"
        return Standing(part=Part.DISK, is_ready=free >= least, text=text)

    def _broker(self) -> Standing:
        is_there = depth(self.settings.broker.url, READING_QUEUE) is not None
        return Standing(part=Part.BROKER, is_ready=is_there, text="answers" if is_there else "does not answer")
