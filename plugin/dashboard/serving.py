"""The dashboard's process."""

import logging
from contextlib import closing

import uvicorn

from plugin.dashboard.access import Access
from plugin.dashboard.app import application
from plugin.listener import open_journal
from sgmri.settings import Settings
from worker.audit import auditor

_log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 256


def serve(settings: Settings) -> None:
    """Serve the dashboard until SIGTERM or SIGINT.

    Raises
    ------
    ConfigError
        If the journal or who may log in cannot be used as the settings say.
    """
    table = settings.dashboard
    with closing(open_journal(settings)) as journal:
        app = application(settings, journal, access=Access(settings), auditor=auditor(settings))
        _log.info("the dashboard listens on port %d", table.port)
        # No access log: the addresses hold series keys, and what is looked at stands in the audit log
        uvicorn.run(
            app,
            host=table.host,
            port=table.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(table.trusted_proxy),
            forwarded_allow_ips=table.trusted_proxy or None,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
