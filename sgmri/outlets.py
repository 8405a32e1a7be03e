"""The destinations of results as data: where each is, what it gets, and how it proves that it keeps it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.setting_keys import check_ae_title, check_choice, check_port, setting, table
from sgmri.settings_tls import OutletTls, check_outlet_tls

OUTLET_KINDS = ("dimse", "stow")
"""C-STORE (PS3.4 Annex B), or Store Instances over the web (PS3.18 10.5)."""
PROOFS = ("storage-commitment", "query", "none")
"""How a destination says that it keeps what it took: by PS3.4 Annex J, by listing it, or not at all."""
AUTHENTICATIONS = ("none", "basic", "bearer")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
DEFAULT_NAME = "delivery"
"""Name of the destination that the table ``[delivery]`` describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """One destination; the table ``[delivery]`` says how patiently every one of them is tried."""

    name: str = setting("", "what sgmri status calls it: 1 to 32 letters, digits, - and _; never change it")
    kind: str = setting("dimse", "dimse (C-STORE) or stow (STOW-RS, needs sgmri[stow])")
    ae_title: str = setting("", "dimse: its AE title")
    host: str = setting("127.0.0.1", "dimse: its address")
    port: int = setting(104, "dimse: its port")
    url: str = setting("", "stow: root of its DICOMweb service, such as https://pacs.example/dicom-web")
    authentication: str = setting("none", "stow: none, basic or bearer")
    secret_file: str = setting(
        "",
        "stow: file that holds USER:PASSWORD (basic) or the token (bearer) alone, readable by its owner only; "
        "the environment's SGMRI_SECRET_NAME wins, with the destination's name in capitals and _ for -",
    )
    commitment: str = setting(
        "storage-commitment",
        "proof that it keeps what it took: storage-commitment (PS3.4 Annex J), query (it lists every object, by C-FIND "
        "or QIDO-RS) or none; COMMITTED is reached only with proof",
    )
    question_sets: tuple[str, ...] = setting((), "only readings of these question sets go there; empty: all")
    viewers: tuple[str, ...] = setting((), "as delivery.viewers")
    label_map: bool = setting(False, "as delivery.label_map")
    refined_masks: bool = setting(False, "as delivery.refined_masks")
    cornerstone_tracking: bool = setting(False, "as delivery.cornerstone_tracking")
    tls: OutletTls = table(OutletTls, "secure connections to it (PS3.15 B.12)")

    @property
    def proves(self) -> bool:
        """Whether it is asked for proof."""
        return self.commitment != "none"

    def takes(self, question_set_id: str | None) -> bool:
        """Return whether readings of a question set go there."""
        return not self.question_sets or question_set_id in self.question_sets


def check_outlets(outlets: Sequence[Outlet]) -> None:
    """Check what the settings say of the destinations.

    Raises
    ------
    ConfigError
        If a name is missing or there twice, or a destination lacks what its kind needs.
    """
    names: set[str] = set()
    for place, outlet in enumerate(outlets):
        path = f"destination[{place}]"
        if not _NAME.fullmatch(outlet.name):
            raise ConfigError(f"{path}.name: expected 1 to 32 letters, digits, - and _, found {outlet.name!r}")
        if outlet.name.upper() in names:
            raise ConfigError(f"{path}.name: expected a name of its own, found {outlet.name!r} twice")
        names.add(outlet.name.upper())
        check_choice(f"{path}.kind", outlet.kind, OUTLET_KINDS)
        check_choice(f"{path}.commitment", outlet.commitment, PROOFS)
        check_outlet_tls(f"{path}.tls", outlet.tls, is_dimse=outlet.kind == "dimse")
        if outlet.kind == "dimse":
            check_ae_title(f"{path}.ae_title", outlet.ae_title)
            check_port(f"{path}.port", outlet.port)
        else:
            _check_stow(path, outlet)


def _check_stow(path: str, outlet: Outlet) -> None:
    check_choice(f"{path}.authentication", outlet.authentication, AUTHENTICATIONS)
    if not re.match(r"https?://[^/@\s]+(/|$)", outlet.url):
        raise ConfigError(f"{path}.url: expected http:// or https:// and a host without user name or password")
    if outlet.commitment == "storage-commitment":
        raise ConfigError(f'{path}.commitment: STOW-RS has no storage commitment; take "query" or "none"')
