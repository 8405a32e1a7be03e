"""What the listener does beside its work for those who watch it: alerts and traces, as far as the settings ask."""

from collections.abc import Iterator

from plugin.alert_channels import channels
from plugin.alert_watch import Alerting, Watch
from plugin.alerts import Desk
from plugin.periodic import Periodic
from plugin.retention import Retention
from sgmri.settings import Settings
from worker.journal import Journal


def observers(settings: Settings, journal: Journal, retention: Retention) -> Iterator[Periodic]:
    """Make them; nothing runs yet.

    Parameters
    ----------
    settings, journal, retention
        Of the listener.

    Raises
    ------
    ConfigError
        If a secret cannot be read, or a library is not installed.
    """
    desks = [Desk(channel=channel, settings=settings.alerts) for channel in channels(settings.alerts)]
    if desks:
        watch = Watch(settings=settings, journal=journal, retention=retention)
        yield Periodic("alerts", Alerting(watch=watch, desks=desks).step, settings.alerts.period_s)
    if settings.traces.endpoint:
        from plugin.traces import Exporter  # needs an extra, and is not loaded where it is off

        yield Periodic("traces", Exporter(settings, journal).step, settings.traces.period_s)
