"""What the listener does beside its work for those who watch it: traces, as far as the settings ask."""

from collections.abc import Iterator

from plugin.periodic import Periodic
from sgmri.settings import Settings
from worker.journal import Journal


def observers(settings: Settings, journal: Journal) -> Iterator[Periodic]:
    """Make them; nothing runs yet.

    Parameters
    ----------
    settings, journal
        Of the listener.

    Raises
    ------
    ConfigError
        If a library is not installed.
    """
    if settings.traces.endpoint:
        from plugin.traces import Exporter  # needs an extra, and is not loaded where it is off

        yield Periodic("traces", Exporter(settings, journal).step, settings.traces.period_s)
