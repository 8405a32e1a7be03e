"""Refusals without end must not fill the disk: of one address a few a minute are written, the others are counted."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sgmri.audit import Action, AuditEvent, Outcome

WINDOW_S = 60.0
MOST_LINES = 20
"""Of one address in a window."""
_MOST_ADDRESSES = 1024


@dataclass(slots=True)
class _Window:
    begin: float
    lines: int = 0
    held_back: int = 0


@dataclass(slots=True)
class Floods:
    """Counts refusals by address.

    Parameters
    ----------
    clock
        Seconds that only go forward.
    """

    clock: Callable[[], float]
    _windows: dict[str, _Window] = field(default_factory=dict)  # by address, the oldest first

    def take(self, event: AuditEvent) -> list[AuditEvent]:
        """Return what is to be written now: the event unless it is held back, and before it what was held back."""
        due = self._ended(at_once=event.action is Action.STOP)
        if event.action is not Action.REFUSE:
            return [*due, event]
        window = self._windows.setdefault(event.who.rpartition("@")[2], _Window(self.clock()))
        window.lines += 1
        if window.lines <= MOST_LINES:
            return [*due, event]
        window.held_back += 1
        return due

    def _ended(self, *, at_once: bool) -> list[AuditEvent]:
        now = self.clock()
        ended = []
        for place, (address, window) in enumerate([*self._windows.items()]):
            is_over = at_once or now - window.begin >= WINDOW_S or len(self._windows) - place > _MOST_ADDRESSES
            if not is_over:
                break
            del self._windows[address]
            if window.held_back:
                ended.append(
                    AuditEvent(
                        action=Action.REFUSE,
                        who=f"@{address}",
                        outcome=Outcome.FAILURE,
                        detail="more refusals of this address within a minute, not written one by one",
                        count=window.held_back,
                    )
                )
        return ended
