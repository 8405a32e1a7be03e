"""Read the configuration: one TOML file, and secrets from the environment."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dicom_io.profiles import profile_for
from sgmri.errors import ConfigError
from sgmri.settings import Peer, Settings, documented_keys, parse

ENVIRONMENT = {
    "SGMRI_JOURNAL_URL": ("storage", "journal_url"),
    "SGMRI_SPOOL_URL": ("storage", "spool_url"),
    "SGMRI_BROKER_URL": ("broker", "url"),
}
"""Environment variable -> key; the environment wins, so that no password has to stand in the file. Each may instead be
given as the path of a file that holds the value alone, under the same name with ``_FILE`` (a container's secrets)."""

_ARRAYS = {
    "listener.peers": "One table for each application entity that may call us; everybody else is rejected.",
    "destination": "One table for each destination besides the one of [delivery].",
}


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Load the settings.

    Parameters
    ----------
    path
        TOML file; None for the defaults alone.
    environment
        Where the secrets come from.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no TOML, or holds an unknown key, an unknown viewer or a wrong value.
    """
    mapping: dict[str, object] = {}
    if path is not None:
        try:
            mapping = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: expected a readable TOML file, found {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected TOML, found: {error}") from None
    for variable, (table, key) in ENVIRONMENT.items():
        value = _secret(variable, environment)
        if value:
            section = mapping.setdefault(table, {})
            if isinstance(section, dict):
                section[key] = value
    try:
        settings = parse(mapping)
        profile_for(settings.delivery)
        for place, outlet in enumerate(settings.destination):
            profile_for(outlet, path=f"destination[{place}].viewers")
    except ConfigError as error:
        raise ConfigError(f"{path or 'environment'}: {error}") from None
    return settings


def _secret(variable: str, environment: Mapping[str, str]) -> str:
    path = environment.get(f"{variable}_FILE", "")
    if environment.get(variable) or not path:
        return environment.get(variable, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}_FILE: expected a readable file, found {type(error).__name__}") from None


def admitted_peers(settings: Settings) -> Settings:
    """Return the settings with those among the peers who call us because we asked.

    Destinations do with their commitment results, and the archive of the sweep with what it is told to move here.
    """
    known = {peer.ae_title for peer in settings.listener.peers}
    destinations = [outlet.ae_title for outlet in settings.outlets if outlet.kind == "dimse"]
    callers = dict.fromkeys([*destinations, *filter(None, [settings.sweep.ae_title])])
    peers = (*settings.listener.peers, *(Peer(ae_title=title) for title in callers if title not in known))
    return replace(settings, listener=replace(settings.listener, peers=peers))


def as_toml() -> str:
    """Write the default configuration, each key with its meaning and unit, as a file to start from."""
    lines = ["# sgmri configuration: every key with its default. Unknown keys are an error.", ""]
    table = ""
    arrays: dict[str, list[str]] = {}
    for key in documented_keys():
        section, _, name = key.path.rpartition(".")
        unit = f" [{key.unit}]" if key.unit else ""
        array, within, place = key.path.partition("[].")
        if within:
            arrays.setdefault(array, []).append(f"# {place} = {_toml(key.default)}  # {key.doc}{unit}")
            continue
        if section != table:
            lines += ([""] if table else []) + [f"[{section}]"]
            table = section
        lines += [f"# {key.doc}{unit}", f"{name} = {_toml(key.default)}"]
    for name, meaning in _ARRAYS.items():
        lines += ["", f"# {meaning}", f"# [[{name}]]", *arrays[name]]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """Write the settings table of the documentation."""
    lines = ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
    for key in documented_keys():
        lines.append(f"| `{key.path}` | {key.kind} | `{_toml(key.default)}` | {key.unit} | {key.doc} |")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
