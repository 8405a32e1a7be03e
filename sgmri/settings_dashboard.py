"""The settings of the dashboard: where it listens, what it leads to, and how much it does at a time."""

import re
from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.setting_keys import check_port, setting

_ADDRESS = re.compile(r"https?://[^/@\s?#]+(/[^\s?#]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The pages for those who operate the plug-in and look at its readings."""

    enabled: bool = setting(False, "whether sgmri serve all runs the dashboard, too")
    host: str = setting("127.0.0.1", "address to listen on; another one than this machine's needs TLS before it")
    port: int = setting(8080, "TCP port")
    viewer_url: str = setting(
        "", "address of an OHIF viewer (sgmri viewer) that readings are linked to; empty: no link"
    )
    questions: bool = setting(
        True, "whether questions may be asked by hand; the first one loads the engine into the dashboard's process"
    )
    max_live_pages: int = setting(32, "pages that are kept up to date at a time; more must be loaded again by hand")
    max_test_files: int = setting(200, "files of one rule test")
    max_test_bytes: int = setting(60 << 20, "size of all files of one rule test together", unit="bytes")


def check_dashboard(dashboard: Dashboard) -> None:
    """Check the table ``[dashboard]``.

    Raises
    ------
    ConfigError
        If the port or the viewer's address is none.
    """
    check_port("dashboard.port", dashboard.port)
    if dashboard.viewer_url and not _ADDRESS.fullmatch(dashboard.viewer_url):
        raise ConfigError("dashboard.viewer_url: expected http(s)://host[:port]/path, found another")
