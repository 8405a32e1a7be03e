"""From a mapping, as a TOML parser gives it, to frozen dataclasses of settings, and to their documentation."""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any

from sgmri.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDoc:
    """One row of the settings table; ``[]`` in its path stands after the name of an array of tables."""

    path: str
    kind: str
    default: object
    unit: str
    doc: str


def keys_of(cls: type, path: str = "") -> Iterator[KeyDoc]:
    """Yield every key of a table with its documentation: its own first, then those of the tables within it."""
    hints = typing.get_type_hints(cls)
    below: list[tuple[type, str]] = []
    for key in fields(cls):
        name, hint = f"{path}{key.name}", hints[key.name]
        item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
        if is_dataclass(item) and isinstance(item, type):
            below.append((item, f"{name}." if item is hint else f"{name}[]."))
        else:
            yield _key_doc(name, key)
    for item, prefix in below:
        yield from keys_of(item, prefix)


def _key_doc(path: str, key: "Field[Any]") -> KeyDoc:
    kind = key.type if isinstance(key.type, str) else key.type.__name__
    default = key.default if key.default is not MISSING else ""
    return KeyDoc(path=path, kind=kind, default=default, unit=key.metadata["unit"], doc=key.metadata["doc"])


def from_mapping(cls: type, mapping: object, path: str = "") -> Any:
    """Make a table of settings; missing keys take their defaults.

    Raises
    ------
    ConfigError
        For an unknown key (naming the nearest), or a value of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"[{path}]: expected a table, found {type(mapping).__name__}")
    known = {key.name: key for key in fields(cls)}
    for name in mapping:
        if name not in known:
            raise ConfigError(_unknown(str(name), path, list(known)))
    hints = typing.get_type_hints(cls)
    values = {
        name: _value(hints[name], value, f"{path}.{name}" if path else str(name)) for name, value in mapping.items()
    }
    return cls(**values)


def _unknown(name: str, path: str, known: list[str]) -> str:
    where = f"[{path}]" if path else "the configuration"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{where}: unknown key {name!r}; did you mean {nearest[0]!r}? Known keys: {', '.join(known)}"


def _value(hint: Any, value: object, path: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, path)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path}: expected an array, found {type(value).__name__}")
        item = typing.get_args(hint)[0]
        return tuple(_value(item, entry, f"{path}[{place}]") for place, entry in enumerate(value))
    if origin is types.UnionType:  # pragma: no cover - no optional key so far
        raise TypeError(f"{path}: optional keys are not foreseen")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{path}: expected {hint.__name__}, found {type(value).__name__}")
    return value
