"""The archive that is asked for what was missed, as data: where it is, how often, and how far back."""

import re
from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.lanes import off_peak
from sgmri.outlets import AUTHENTICATIONS
from sgmri.setting_keys import check_ae_title, check_choice, check_port, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the listener fetches by itself: MR series of an archive that the journal does not know completely."""

    ae_title: str = setting(
        "", "archive that is asked with C-FIND and sends us what we lack (C-MOVE); it is admitted as a peer"
    )
    host: str = setting("127.0.0.1", "its address")
    port: int = setting(104, "its port")
    url: str = setting("", "in place of ae_title: root of its DICOMweb service (QIDO-RS, WADO-RS; needs sgmri[stow])")
    authentication: str = setting("none", "for url: none, basic or bearer")
    secret_file: str = setting("", "for url: file with USER:PASSWORD or the token; SGMRI_SECRET_SWEEP wins")
    period_s: float = setting(3600.0, "asked at the start of the listener, and again every", unit="s")
    hours: str = setting("", "after the start only in these hours, local time, such as 20:00-06:00; empty: all")
    window_days: int = setting(7, "studies whose Study Date is not older than; 0: of any date, or none", unit="days")
    max_series: int = setting(100, "most series fetched in one run; the next one goes on")
    timeout_s: float = setting(120.0, "limit for connecting, and for each response", unit="s")

    @property
    def is_on(self) -> bool:
        """Whether there is an archive to ask."""
        return bool(self.ae_title or self.url)


def check_sweep(sweep: Sweep) -> None:
    """Check what the settings say of the archive.

    Raises
    ------
    ConfigError
        If it is named in two ways, or a value is out of range.
    """
    if sweep.ae_title and sweep.url:
        raise ConfigError("sweep: expected ae_title (C-FIND, C-MOVE) or url (DICOMweb), found both; remove one")
    if sweep.ae_title:
        check_ae_title("sweep.ae_title", sweep.ae_title)
    check_port("sweep.port", sweep.port)
    if sweep.url and not re.match(r"https?://[^/@\s]+(/|$)", sweep.url):
        raise ConfigError("sweep.url: expected http:// or https:// and a host without user name or password")
    check_choice("sweep.authentication", sweep.authentication, AUTHENTICATIONS)
    if sweep.window_days < 0:
        raise ConfigError(f"sweep.window_days: expected 0 or more, found {sweep.window_days}")
    try:
        off_peak(sweep.hours)
    except ConfigError as error:
        raise ConfigError(f"sweep.hours: {error}") from None
