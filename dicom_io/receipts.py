"""What an association brought, for the audit log: counted while it runs, told at its end."""

from collections import Counter
from dataclasses import dataclass, field

from sgmri.audit import Action, AuditEvent, Auditor, Outcome


@dataclass(slots=True, kw_only=True)
class Receipt:
    """Counts the instances of one association, by series.

    Parameters
    ----------
    who
        The peer, of :func:`peer_name`.
    was_aborted
        Whether it ended otherwise than by a release.
    """

    who: str
    was_aborted: bool = False
    _instances: Counter[str] = field(default_factory=Counter)

    def add(self, series_key: str) -> None:
        """Count an instance that is stored."""
        self._instances[series_key] += 1

    def tell(self, audit: Auditor) -> None:
        """Tell what came, an event a series."""
        detail = "the association was aborted afterwards" if self.was_aborted else ""
        for series_key, count in self._instances.items():
            audit(AuditEvent(action=Action.RECEIVE, who=self.who, series_key=series_key, detail=detail, count=count))


def peer_name(ae_title: str, address: str) -> str:
    """Return how the audit log names a peer: ``AE_TITLE@address``."""
    return f"{ae_title}@{address}"


def refusal(who: str, why: str) -> AuditEvent:
    """Return the event of an association that is rejected."""
    return AuditEvent(action=Action.REFUSE, who=who, outcome=Outcome.FAILURE, detail=why)
