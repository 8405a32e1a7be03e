"""Engines by name: what the setting ``worker.engine`` may say."""

from collections.abc import Callable
from types import MappingProxyType

from sgmri.errors import ConfigError
from sgmri.interfaces import Engine
from worker.engine.classical import ClassicalEngine

ENGINES: MappingProxyType[str, Callable[[], Engine]] = MappingProxyType({"classical": ClassicalEngine})
"""Name -> how to make one."""


def create_engine(name: str) -> Engine:
    """Make the engine of this name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    try:
        return ENGINES[name]()
    except KeyError:
        raise ConfigError(f"worker.engine: expected one of {', '.join(ENGINES)}, found {name!r}") from None
