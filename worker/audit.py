"""Where audit events go, for the listener, the workers, the command line and the dashboard alike."""

import logging

from sgmri.audit import AuditEvent, Auditor
from sgmri.settings import Settings

_log = logging.getLogger(__name__)


def auditor(settings: Settings) -> Auditor:
    """Return who remembers, as the settings say."""
    del settings  # the log lines of every process go where its other lines go
    return _write


def _write(event: AuditEvent) -> None:
    _log.info(
        "audit: %s %s by %s %s %s (%d)",
        event.action,
        event.outcome,
        event.who,
        event.series_key,
        event.detail,
        event.count,
    )
