"""The rules of a site: a TOML file that says which volume is asked which question set, which is left, and its lane.

The rules are tried in the order of the file, and the first that matches decides; where none does, the built-in rule
asks a brain the brain set and a knee the knee set. The file may also say what a question set prefers, where several
volumes of a series could be read. Its lane rules give series their lane on the worklist, and are tried in the same way.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

from dicom_io.anatomy import Evidence
from dicom_io.header_values import Value, read_values
from dicom_io.preferences import LOOKS, Preferences, look_of, parse
from dicom_io.rulings import BUILT_IN, Candidate, Ruler, Rules, Ruling
from dicom_io.series import SeriesFacts
from plugin.expression_check import check
from plugin.expressions import Expression, Facts
from sgmri.catalogue import APPLICABILITY
from sgmri.errors import ConfigError
from sgmri.lanes import Lane
from sgmri.volume import Anatomy

MAX_RULES = 200
MAX_BYTES = 1 << 18
_MAX_NAME = 60
_KEYS = ("name", "when", "take", "leave")
_LANE_KEYS = ("name", "when", "lane")
LANES = {"stat": Lane.STAT, "normal": Lane.NORMAL, "off-peak": Lane.OFF_PEAK}
"""The lanes as rules and people write them."""
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
class LaneRule:
    """One lane rule of the file: its name, its condition, and the lane of what matches."""

    name: str
    when: Expression
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRules:
    """The rules of a file, before the built-in one.

    Parameters
    ----------
    rules, lanes
        In the order in which they are tried.
    preferences
        The file's; the built-in ones of question sets that the file has none for.
    """

    rules: tuple[SiteRule, ...]
    preferences: Preferences
    lanes: tuple[LaneRule, ...] = ()

    def for_series(self, series: SeriesFacts) -> Ruler:
        """Return a ruler by the first matching rule, or the built-in one where none matches."""
        built_in = BUILT_IN.for_series(series)

        @cache
        def header() -> Mapping[str, tuple[Value, ...]]:
            # once for all sub-volumes, and of the whole series: what one of its instances says is true of all
            conditions = [*(rule.when for rule in self.rules), *(one.when for one in self.lanes)]
            keywords = frozenset[str]().union(*(when.keywords for when in conditions))
            private = frozenset[tuple[str, int, int]]().union(*(when.private for when in conditions))
            paths = [image.path for image in series.images]
            return read_values(paths, keywords, private) if keywords or private else {}

        def ruler(candidate: Candidate) -> Ruling:
            failures: list[str] = []
            facts = facts_of(candidate)
            lane = next((one.lane for one in self.lanes if not one.when.failure(facts, header())), Lane.NORMAL)
            for order, rule in enumerate(self.rules):
                failure = rule.when.failure(facts, header())
                if not failure:
                    return Ruling(
                        rule=rule.name,
                        question_set_id=rule.question_set_id,
                        order=order,
                        lane=lane,
                        not_matching=tuple(failures),
                    )
                failures.append(f"The rule {rule.name!r} does not match: {failure}.")
            return replace(built_in(candidate), order=len(self.rules), lane=lane, not_matching=tuple(failures))

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
    strange = sorted(set(mapping) - {"rule", "prefer", "lane"})
    if strange or not mapping:
        found = repr(strange[0]) if strange else "none"
        raise ConfigError(f"expected at least one [[rule]], [[lane]] or [[prefer]] table and no others, found {found}")
    preferences = BUILT_IN.preferences
    if "prefer" in mapping:
        own = parse(mapping["prefer"])
        sets = {preference.question_set_id for preference in own}
        preferences = (*own, *(one for one in preferences if one.question_set_id not in sets))
    return SiteRules(
        rules=_tables("rule", mapping, _rule), preferences=preferences, lanes=_tables("lane", mapping, _lane_rule)
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_R = TypeVar("_R", bound=_Named)


def _tables(kind: str, mapping: Mapping[str, object], make: Callable[[Mapping[str, object]], _R]) -> tuple[_R, ...]:
    """Make the rules of one kind; none where the file has no table of it."""
    tables = mapping.get(kind)
    if tables is None:
        return ()
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"expected at least one [[{kind}]] table, found none")
    if len(tables) > MAX_RULES:
        raise ConfigError(f"expected at most {MAX_RULES} {kind} tables, found {len(tables)}")
    made: list[_R] = []
    for number, table in enumerate(tables, start=1):
        named = table.get("name")
        where = f"{kind} {number}" + (f" ({named!r})" if isinstance(named, str) else "")
        try:
            one = make(table)
            if one.name in {before.name for before in made}:
                raise ConfigError("name: expected another one than a rule before it has")
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        made.append(one)
    return tuple(made)


def _rule(table: Mapping[str, object]) -> SiteRule:
    name, when = _named_condition(table, _KEYS)
    return SiteRule(name=name, when=when, question_set_id=_question_set_id(table))


def _lane_rule(table: Mapping[str, object]) -> LaneRule:
    name, when = _named_condition(table, _LANE_KEYS)
    lane = table.get("lane")
    if not isinstance(lane, str) or lane not in LANES:
        raise ConfigError(f"lane: expected {', '.join(LANES)}, found {lane!r}")
    return LaneRule(name=name, when=when, lane=LANES[lane])


def _named_condition(table: Mapping[str, object], keys: Sequence[str]) -> tuple[str, Expression]:
    strange = sorted(set(table) - set(keys))
    if strange:
        raise ConfigError(f"unknown key {strange[0]!r}; expected {', '.join(keys)}")
    name = table.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise ConfigError(f"name: expected a text of 1 to {_MAX_NAME} printable characters")
    return name, _when(table.get("when"))


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
