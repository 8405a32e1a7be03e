"""The dashboard's process."""

from contextlib import closing

from plugin.dashboard.access import Access
from plugin.dashboard.app import application
from plugin.dashboard.ask import Asking
from plugin.listener import open_journal
from sgmri.audit import Auditor
from sgmri.settings import Settings


def serve(settings: Settings, remember: Auditor, asking: Asking | None) -> None:
    """Serve the dashboard until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        The configuration.
    remember
        Who remembers what was seen and done.
    asking
        Who answers questions by hand; None where nobody does.

    Raises
    ------
    ConfigError
        If the journal, or who may log in, cannot be used as the settings say.
    """
    with closing(open_journal(settings)) as journal:
        access = Access(settings, auditor=remember)
        app = application(settings, journal, access=access, auditor=remember, asking=asking)
        access.serve(app, host=settings.dashboard.host, port=settings.dashboard.port)
