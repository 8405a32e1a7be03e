"""The dashboard's process."""

from contextlib import closing

from plugin.dashboard.access import Access
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
    with closing(open_journal(settings)) as journal:
        access = Access(settings)
        app = application(settings, journal, access=access, auditor=auditor(settings))
        access.serve(app, host=settings.dashboard.host, port=settings.dashboard.port)
