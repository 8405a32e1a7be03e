"""Questions by hand answered by the engine that the settings name, in the dashboard's own process."""

from collections.abc import Callable
from functools import cached_property

from plugin.answers import answer_text
from plugin.celery import open_engine, open_workplace
from plugin.dashboard.ask import Said
from plugin.rules import load_rules
from sgmri.asking import Answered, AskEvent, BoxShown, FrameCited, Piece, confidence
from sgmri.audit import Auditor
from sgmri.interfaces import AskedEngine
from sgmri.settings import Settings
from worker.asking import Question, ask_series
from worker.journal import SeriesRow
from worker.tasks import Workplace


class EngineAnswers:
    """Answers questions; journal, rules and engine are opened by the first one.

    Parameters
    ----------
    settings
        The configuration.
    auditor
        Who remembers who asked about what.
    """

    def __init__(self, settings: Settings, auditor: Auditor) -> None:
        self._settings = settings
        self._auditor = auditor

    def __call__(self, row: SeriesRow, *, question: str, frames: str, who: str, tell: Callable[[Said], None]) -> None:
        """Answer a question; see :class:`plugin.dashboard.ask.Asking`."""
        ask_series(
            self._place,
            row,
            engine=self._engine,
            question=Question(text=question, frames=frames),
            tell=lambda event: tell(said(event)),
            who=who,
            audit=self._auditor,
        )

    @cached_property
    def _place(self) -> Workplace:
        return open_workplace(self._settings, load_rules(self._settings.selection.rules))

    @cached_property
    def _engine(self) -> AskedEngine:
        return open_engine(self._settings.worker)

    def close(self) -> None:
        """Close what was opened."""
        if "_engine" in self.__dict__:
            self._engine.close()
        if "_place" in self.__dict__:
            self._place.journal.close()


def said(event: AskEvent) -> Said:
    """Return an event of the engine as the page takes it."""
    match event:
        case Piece():
            return Said(kind="text", text=event.text)
        case FrameCited():
            return Said(kind="frame", frame_number=event.frame_number)
        case BoxShown():
            box = event.box.as_tuple()
            return Said(kind="box", text=event.label, frame_number=event.frame_number, box=box)
        case Answered():
            parts = (f"{event.question.text} {answer_text(event.answer)}", confidence(event.answer), event.note)
            return Said(kind="final", text="; ".join(filter(None, parts)))
