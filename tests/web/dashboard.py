"""The dashboard as the product serves it, for the scan."""

from starlette.applications import Starlette

from plugin.dashboard.access import Access
from plugin.dashboard.app import application
from plugin.engine_answers import EngineAnswers
from plugin.listener import open_journal
from sgmri.settings import Settings
from worker.audit import auditor


def create_app(settings: Settings) -> Starlette:
    """Make it."""
    remember = auditor(settings, "dashboard")
    return application(
        settings,
        open_journal(settings),
        access=Access(settings, auditor=remember),
        auditor=remember,
        asking=EngineAnswers(settings, remember),
    )
