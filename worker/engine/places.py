"""Where the model lies that comes with the product."""

from pathlib import Path

from sgmri.errors import ConfigError

EMBEDDED = "sgmri-embedded"
"""Directory of the model that comes with the product."""


def embedded_bundle() -> Path:
    """Return where the embedded model lies: in the installed package, or in the checkout.

    Raises
    ------
    ConfigError
        If it is in neither.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package / "models" / EMBEDDED, package.parent / "models" / EMBEDDED):
        if place.is_dir():
            return place
    raise ConfigError(
        f"expected the embedded model models/{EMBEDDED} in the package or the checkout, found none; set worker.model "
        "to the directory of a bundle, or worker.engine to classical"
    )
