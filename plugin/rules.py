"""The rules of a site: a TOML file that says which volume is asked which question set, and which is left.

The rules are tried in the order of the file, and the first that matches decides; where none does, the built-in rule
asks a brain the brain set and a knee the knee set. The file may also say what a question set prefers, where several
volumes of a series could be read.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from dicom_io.anatomy import Evidence
from dicom_io.header_values import Value, read_values
from dicom_io.preferences import LOOKS, Preferences, look_of, parse
from dicom_io.rulings import BUILT_IN, Candidate, Ruler, Rules, Ruling
from dicom_io.series import SeriesFacts
from plugin.expression_check import check
from plugin.expressions import Expression, Facts
from sgmri.catalogue import APPLICABILITY
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy

MAX_RULES = 200
MAX_BYTES = 1 << 18
_MAX_NAME = 60
_KEYS = ("name", "when", "take", "leave")
_UNKNOWN = "unknown"

FACTS: Mapping[str, frozenset[str] | None] = {
    "anatomy": frozenset({*Anatomy, _UNKNOWN}),
    "evidence": frozenset(Evidence),
    **LOOKS,
    "frames": None,
    "missing_frames": None,
    "rows": None,
    "columns": None,
    "row_spacing_mm": None,
    "column_spacing_mm": None,
    "slice_spacing_mm": None,
    "coverage_mm": None,
    "echo_time_ms": None,
    "repetition_time_ms": None,
    "inversion_time_ms": None,
    "flip_angle_deg": None,
    "b_value": None,
}
"""The facts of a volume that a condition may name, and the values that each can have; None for numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRule:
    """One rule of the file.

    Parameters
    ----------
    name
        Unique in the file.
    when
        Its condition.
    question_set_id
        What is asked of a volume that matches; None where it is left.
    """

    name: str
    when: Expression
    question_set_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRules:
    """The rules of a file, before the built-in one.

    Parameters
    ----------
    rules
        In the order in which they are tried.
    preferences
        The file's; the built-in ones of question sets that the file has none for.
    """

    rules: tuple[SiteRule, ...]
    preferences: Preferences

    def for_series(self, series: SeriesFacts) -> Ruler:
        """Return a ruler by the first matching rule, or the built-in one where none matches."""
        built_in = BUILT_IN.for_series(series)

        @cache
        def header() -> Mapping[str, tuple[Value, ...]]:
            # once for all sub-volumes, and of the whole series: what one of its instances says is true of all
            keywords = frozenset[str]().union(*(rule.when.keywords for rule in self.rules))
            private = frozenset[tuple[str, int, int]]().union(*(rule.when.private for rule in self.rules))
            paths = [image.path for image in series.images]
            return read_values(paths, keywords, private) if keywords or private else {}

        def ruler(candidate: Candidate) -> Ruling:
            failures: list[str] = []
            facts = facts_of(candidate)
            for order, rule in enumerate(self.rules):
                failure = rule.when.failure(facts, header())
                if not failure:
                    return Ruling(
                        rule=rule.name,
                        question_set_id=rule.question_set_id,
                        order=order,
                        not_matching=tuple(failures),
                    )
                failures.append(f"The rule {rule.name!r} does not match: {failure}.")
            return replace(built_in(candidate), order=len(self.rules), not_matching=tuple(failures))

        return ruler


def facts_of(candidate: Candidate) -> Facts:
    """Return the facts of a volume by name; None where one is not known.

    Parameters
    ----------
    candidate
        The volume.
    """
    facts, stack = candidate.facts, candidate.stack
    image, _ = stack.frames[0]
    b_values = [frame.b_value for _, frame in stack.frames if frame.b_value is not None]
    row_mm, column_mm = stack.orientation.pixel_spacing_mm
    found: dict[str, Value | None] = {
        "anatomy": (candidate.series.anatomy or _UNKNOWN),
        "evidence": candidate.series.evidence,
        **look_of(facts),
        "frames": len(stack.frames),
        "missing_frames": stack.missing,
        "rows": image.rows,
        "columns": image.columns,
        "row_spacing_mm": row_mm,
        "column_spacing_mm": column_mm,
        "slice_spacing_mm": stack.slice_spacing_mm,
        "coverage_mm": stack.coverage_mm,
        "echo_time_ms": image.echo_time_ms,
        "repetition_time_ms": image.repetition_time_ms,
        "inversion_time_ms": image.inversion_time_ms,
        "flip_angle_deg": image.flip_angle_deg,
        "b_value": max(b_values, default=None),
    }
    # plain texts: an enumeration is an object with attributes, and none of these belongs into an expression
    return {name: str(value) if isinstance(value, str) else value for name, value in found.items()}


def load_rules(path: Path | str | None) -> Rules:
    """Load a rule file.

    Parameters
    ----------
    path
        The TOML file; None or empty for the built-in rule alone.

    Raises
    ------
    ConfigError
        If it cannot be read, or a rule in it is wrong; names the file, the rule and what was expected.
    """
    if not path:
        return BUILT_IN
    try:
        content = Path(path).read_bytes()
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: expected a rule file of at most {MAX_BYTES} bytes, found {len(content)}")
        mapping = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable rule file, found {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, found: {error}") from None
    try:
        return _parse(mapping)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _parse(mapping: Mapping[str, object]) -> SiteRules:
    if set(mapping) - {"rule", "prefer"}:
        strange = sorted(set(mapping) - {"rule", "prefer"})[0]
        raise ConfigError(f"expected nothing but [[rule]] and [[prefer]] tables, found {strange!r}")
    if "prefer" in mapping:
        own = parse(mapping["prefer"])
        sets = {preference.question_set_id for preference in own}
        preferences = (*own, *(one for one in BUILT_IN.preferences if one.question_set_id not in sets))
        return SiteRules(rules=_rules(mapping["rule"]) if "rule" in mapping else (), preferences=preferences)
    return SiteRules(rules=_rules(mapping.get("rule", [])), preferences=BUILT_IN.preferences)


def _rules(tables: object) -> tuple[SiteRule, ...]:
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError("expected at least one [[rule]] or [[prefer]] table, found none")
    if len(tables) > MAX_RULES:
        raise ConfigError(f"expected at most {MAX_RULES} rules, found {len(tables)}")
    rules: list[SiteRule] = []
    for number, table in enumerate(tables, start=1):
        named = table.get("name")
        where = f"rule {number}" + (f" ({named!r})" if isinstance(named, str) else "")
        try:
            rules.append(_rule(table, {rule.name for rule in rules}))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return tuple(rules)


def _rule(table: Mapping[str, object], taken: set[str]) -> SiteRule:
    strange = sorted(set(table) - set(_KEYS))
    if strange:
        raise ConfigError(f"unknown key {strange[0]!r}; expected {', '.join(_KEYS)}")
    name = table.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise ConfigError(f"name: expected a text of 1 to {_MAX_NAME} printable characters")
    if name in taken:
        raise ConfigError("name: expected another one than a rule before it has")
    return SiteRule(name=name, when=_when(table.get("when")), question_set_id=_question_set_id(table))


def _when(text: object) -> Expression:
    try:
        return check(text, FACTS)
    except ConfigError as error:
        raise ConfigError(f"when: {error}") from None


def _question_set_id(table: Mapping[str, object]) -> str | None:
    if ("take" in table) is ("leave" in table):
        raise ConfigError('expected either take = "QUESTION SET" or leave = true, found both or none')
    if "leave" in table:
        if table["leave"] is not True:
            raise ConfigError("leave: expected true")
        return None
    take = table["take"]
    if not isinstance(take, str) or take not in APPLICABILITY:
        raise ConfigError(f"take: expected a question set ({', '.join(sorted(APPLICABILITY))}), found {take!r}")
    return take
