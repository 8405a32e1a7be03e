"""Parts of the product whose libraries are extras, and what to install where these are missing."""

import importlib.util
from collections.abc import Sequence

from sgmri.errors import ConfigError


def require(libraries: Sequence[str], *, purpose: str, extra: str) -> None:
    """Raise where the libraries of an extra are not installed.

    Parameters
    ----------
    libraries
        Names of modules.
    purpose
        What they are for, in a word.
    extra
        What to install.

    Raises
    ------
    ConfigError
        Naming what is missing.
    """
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"expected {', '.join(missing)} for the {purpose}, found none; run: pip install 'sgmri[{extra}]'"
        )
