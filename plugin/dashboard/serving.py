"""The dashboard's process."""

from contextlib import ExitStack, closing

from plugin.dashboard.access import Access
from plugin.dashboard.answering import EngineAnswers
from plugin.dashboard.app import application
from plugin.listener import open_journal
from sgmri.settings import Settings
from worker.audit import auditor


def serve(settings: Settings) -> None:
    """Serve the dashboard until SIGTERM or SIGINT.

    Raises
    ------
    ConfigError
        If the journal, or who may log in, cannot be used as the settings say.
    """
    with ExitStack() as opened:
        journal = opened.enter_context(closing(open_journal(settings)))
        remember = auditor(settings, "dashboard")
        answers = opened.enter_context(closing(EngineAnswers(settings, remember)))
        access = Access(settings, auditor=remember)
        asking = answers if settings.dashboard.questions else None
        app = application(settings, journal, access=access, auditor=remember, asking=asking)
        access.serve(app, host=settings.dashboard.host, port=settings.dashboard.port)
