"""The dashboard: can it be served, and can anybody log in."""

from collections.abc import Iterator

from plugin.dashboard import require_libraries
from plugin.doctor.check import Check, fault, good
from plugin.doctor.peers import port_check
from sgmri.errors import ConfigError
from sgmri.settings import Settings


def dashboard(settings: Settings) -> Iterator[Check]:
    """Check the dashboard, where ``serve all`` runs it."""
    table = settings.dashboard
    if not table.enabled:
        return
    try:
        require_libraries()
        from plugin.dashboard.access import Access  # needs them

        access = Access(settings)
        access.check_start(table.host)
    except ConfigError as error:
        yield fault("dashboard", str(error))
        return
    if not access.has_users:
        yield fault(
            "dashboard",
            "expected somebody who may log in, found no user and no access.oidc; sgmri users add NAME --role admin",
        )
        return
    yield good("dashboard", "somebody may log in")
    yield port_check("port of the dashboard", table.host, table.port, "dashboard.port", None)
