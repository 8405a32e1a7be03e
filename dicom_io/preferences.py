"""Which of several volumes a question set prefers, as data: ``preferences.toml``, or what a site puts in its place.

Preferences only rank what could be read: a volume that none of them names is still read where there is no other.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from dicom_io.series import SeriesFacts
from sgmri.catalogue import APPLICABILITY
from sgmri.errors import ConfigError
from sgmri.volume import ContrastAgent, Plane, Weighting

MAX_PREFERENCES = 200
_FILE = "preferences.toml"
_UNKNOWN = "unknown"

LOOKS: Mapping[str, frozenset[str]] = {
    "weighting": frozenset(Weighting),
    "contrast_agent": frozenset(ContrastAgent),
    "plane": frozenset({*Plane, _UNKNOWN}),
    "fat_suppressed": frozenset({"yes", "no", _UNKNOWN}),
}
"""What a preference may name, and the values of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One look that a question set prefers to those after it.

    Parameters
    ----------
    question_set_id
        Whose.
    looks
        By name of :data:`LOOKS`, the values that fit; what is not named may be anything.
    """

    question_set_id: str
    looks: Mapping[str, frozenset[str]]

    def misses(self, facts: SeriesFacts) -> str:
        """Return the name of the first look in which a volume is not what is meant; empty where it is."""
        look = look_of(facts)
        return next((name for name, values in self.looks.items() if look[name] not in values), "")


Preferences = tuple[Preference, ...]


def look_of(facts: SeriesFacts) -> dict[str, str]:
    """Return what a volume looks like, a value for each name of :data:`LOOKS`.

    Parameters
    ----------
    facts
        The volume's own.
    """
    return {
        "weighting": facts.weighting.value,
        "contrast_agent": facts.contrast_agent.value,
        "plane": facts.plane.value if facts.plane else _UNKNOWN,
        "fat_suppressed": {True: "yes", False: "no", None: _UNKNOWN}[facts.fat_suppressed],
    }


def rank(preferences: Preferences, question_set_id: str, facts: SeriesFacts) -> int:
    """Return the place of the first preference of a question set that fits a volume; the number of all if none does.

    Parameters
    ----------
    preferences
        Of all question sets.
    question_set_id
        The one that the volume would be asked.
    facts
        The volume's own.
    """
    for place, preference in enumerate(preferences):
        if preference.question_set_id == question_set_id and not preference.misses(facts):
            return place
    return len(preferences)


def built_in_text() -> str:
    """Return the file of the built-in preferences, with its comments."""
    return resources.files("dicom_io").joinpath(_FILE).read_text(encoding="utf-8")


@cache
def built_in() -> Preferences:
    """Return the built-in preferences.

    Raises
    ------
    ConfigError
        If the file that came with the product is damaged.
    """
    try:
        return parse(tomllib.loads(built_in_text()).get("prefer"))
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"{_FILE}: {error}; install the product again") from None


def parse(tables: object) -> Preferences:
    """Check ``[[prefer]]`` tables.

    Parameters
    ----------
    tables
        As tomllib gives them.

    Raises
    ------
    ConfigError
        If one is wrong; names its number and what was expected.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError("expected at least one [[prefer]] table, found none")
    if len(tables) > MAX_PREFERENCES:
        raise ConfigError(f"expected at most {MAX_PREFERENCES} preferences, found {len(tables)}")
    found = []
    for number, table in enumerate(tables, start=1):
        try:
            found.append(_preference(table))
        except ConfigError as error:
            raise ConfigError(f"preference {number}: {error}") from None
    return tuple(found)


def _preference(table: Mapping[str, object]) -> Preference:
    strange = sorted(set(table) - {"question_set", *LOOKS})
    if strange:
        raise ConfigError(f"unknown key {strange[0]!r}; expected question_set, {', '.join(LOOKS)}")
    question_set_id = table.get("question_set")
    if not isinstance(question_set_id, str) or question_set_id not in APPLICABILITY:
        raise ConfigError(
            f"question_set: expected one of {', '.join(sorted(APPLICABILITY))}, found {question_set_id!r}"
        )
    if len(table) == 1:
        raise ConfigError(f"expected at least one of {', '.join(LOOKS)}, found none")
    return Preference(
        question_set_id=question_set_id,
        looks={name: _values(name, table[name]) for name in LOOKS if name in table},
    )


def _values(name: str, value: object) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    for one in values or [value]:
        if not isinstance(one, str) or one not in LOOKS[name]:
            raise ConfigError(f"{name}: expected {', '.join(sorted(LOOKS[name]))}, or a list of these; found {one!r}")
    return frozenset(values)
