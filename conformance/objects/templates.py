"""Content trees held against the rows of their templates, which are data (``templates.toml``).

Templates may be extended (PS3.16 6.2.5): items that no row names are let through. An item that a row does name must
have the row's relationship and value type, and stand as often as the row says.

References
----------
PS3.16 section 6 (form of templates), TID 300, 1001, 1002, 1204, 1410, 1411, 1419, 1500, 1501, 2010, 4019
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from conformance.objects.code_tables import context_group, current
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Code, Item, Subject, sequence, text

Name = tuple[str, str]


def _check(name: str, says: str) -> Check:
    return Check(name=f"template-{name}", group=Group.TEMPLATE, says=says, source="PS3.16 Annex A")


ROOT: Final = _check("root", "Content Template Sequence to name the template whose title the document has")
MISSING: Final = _check("missing-item", "every item that the template demands")
RELATIONSHIP: Final = _check("relationship", "the relationship of the template's row")
VALUE_TYPE: Final = _check("value-type", "a value type of the template's row")
MULTIPLICITY: Final = _check("multiplicity", "an item as often as the template's row allows")
EXCLUSIVE: Final = _check("exclusive", "no items side by side that the template lets stand only for each other")
VALUE_SET: Final = _check("value-set", "a value of the row's context group")
CHECKS: Final = (ROOT, MISSING, RELATIONSHIP, VALUE_TYPE, MULTIPLICITY, EXCLUSIVE, VALUE_SET)

_GROUP_TEMPLATES: Final = ("1410", "1411", "1501")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a template, with the rows nested in it.

    Parameters
    ----------
    place
        Template and row, such as "TID 1410 row 8".
    relationship, types, names
        What its items have; any where empty.
    is_many, requirement
        Value multiplicity 1-n, and M, MC, U or UC.
    unless, when, xor
        Concept names of its condition.
    cid, is_warning, parents
        Context group of values; whether a breach is a warning; value types of the parent for which it holds.
    included
        Templates of which one stands in its place.
    rows
        Nested rows.
    """

    place: str
    relationship: str
    types: tuple[str, ...]
    names: tuple[Name, ...]
    is_many: bool
    requirement: str
    unless: tuple[Name, ...]
    when: tuple[Name, ...]
    xor: tuple[Name, ...]
    cid: int
    is_warning: bool
    parents: tuple[str, ...]
    included: tuple[str, ...]
    rows: tuple["Row", ...]

    @property
    def severity(self) -> Severity:
        """Of its breaches."""
        return Severity.WARNING if self.is_warning else Severity.ERROR


@dataclass(frozen=True, slots=True)
class Template:
    """A template: its rows, and the names by which it is told from others."""

    tid: str
    rows: tuple[Row, ...]
    chosen_by: tuple[Name, ...]


@cache
def templates() -> Mapping[str, Template]:
    """Return the templates by identifier."""
    table = tomllib.loads(files("conformance.objects").joinpath("templates.toml").read_text(encoding="utf-8"))
    return MappingProxyType(
        {tid: Template(tid, _nested(tid, entry["rows"], 0), _names(entry, "chosen_by")) for tid, entry in table.items()}
    )


def _nested(tid: str, rows: Sequence[Mapping[str, Any]], level: int) -> tuple[Row, ...]:
    starts = [index for index, row in enumerate(rows) if row["level"] == level]
    ends = [*starts[1:], len(rows)] if starts else []
    return tuple(
        _row(tid, rows[start], _nested(tid, rows[start + 1 : end], level + 1))
        for start, end in zip(starts, ends, strict=True)
    )


def _row(tid: str, row: Mapping[str, Any], nested: tuple[Row, ...]) -> Row:
    return Row(
        place=f"TID {tid} row {row['row']}",
        relationship=row.get("rel", ""),
        types=tuple(row.get("type", ())),
        names=_names(row, "name"),
        is_many=row["vm"] == "1-n",
        requirement=row["req"],
        unless=_names(row, "unless"),
        when=_names(row, "when"),
        xor=_names(row, "xor"),
        cid=row.get("cid", 0),
        is_warning=row.get("warn", False),
        parents=tuple(row.get("of", ())),
        included=tuple(row.get("include", "").split()),
        rows=nested,
    )


def _names(row: Mapping[str, Any], key: str) -> tuple[Name, ...]:
    pairs = (name.split() for name in row.get(key, ()))
    return tuple((scheme, value) for value, scheme in pairs)


def name_of(code: Code | None) -> Name | None:
    """Return a concept name as (scheme, value), retired SNOMED codes as today's."""
    return None if code is None else current(code.scheme, code.value)


def check(subject: Subject) -> Iterator[Finding]:
    """Yield where a content tree departs from its template; nothing for templates that are not in the table."""
    root = subject.root
    if root is None:
        return
    tid = template_of(root)
    named = next(
        (one for one in templates().values() if name_of(root.name) in one.chosen_by and one.tid == "1500"), None
    )
    if named is not None and tid != named.tid:
        yield ROOT.found("ContentTemplateSequence", f"TID {tid}" if tid else "none", expected=f"TID {named.tid}")
    template = templates().get(tid) or named
    if template is not None:
        for row in template.rows:
            yield from _children(root, row.rows)


def template_of(item: Item) -> str:
    """Return the template identifier of an item; empty where it names none."""
    found = sequence(item.ds, "ContentTemplateSequence")
    return text(found[0], "TemplateIdentifier") if found else ""


def group_template(item: Item) -> str:
    """Return which of TID 1410, 1411 and 1501 a measurement group follows: as it says, or as its items tell."""
    said = template_of(item)
    if said in _GROUP_TEMPLATES:
        return said
    beside = {name_of(child.name) for child in item.children}
    return next((tid for tid in _GROUP_TEMPLATES[:2] if beside & set(templates()[tid].chosen_by)), _GROUP_TEMPLATES[-1])


def _children(item: Item, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield what is wrong with the children of an item, of which some rows speak."""
    rows = [row for row in rows if not row.parents or item.value_type in row.parents]
    flat = [placed for row in rows for placed in _placed(row, item)]
    beside = {name_of(child.name) for child in item.children}
    for row in flat:
        if row.types == ("",):  # an included template that is chosen item by item
            yield from _groups(item, row)
            continue
        hits = [child for child in item.children if _fits(child, row, flat)]
        yield from _counted(item, row, hits, beside)
        for child in hits:
            yield from _valued(child, row)
            yield from _children(child, row.rows)
    for child in item.children:
        yield from _misplaced(child, flat)


def _placed(row: Row, item: Item) -> Iterator[Row]:
    """Yield a row, or the rows that stand in its place where it includes a template."""
    if not row.included:
        yield row
    elif len(row.included) > 1:
        yield _with(row, types=("",))
    else:
        top = templates()[row.included[0]].rows
        names = {name for one in top for name in one.names}
        is_there = row.requirement == "M" or any(name_of(child.name) in names for child in item.children)
        for one in top:
            inner = _with(
                one,
                relationship=one.relationship or row.relationship,
                requirement=one.requirement if is_there and one.names else "U",
                is_many=one.is_many or row.is_many,
            )
            yield from _placed(inner, item)


def _with(row: Row, **changed: Any) -> Row:
    return Row(**{name: changed.get(name, getattr(row, name)) for name in Row.__slots__})


def _groups(item: Item, row: Row) -> Iterator[Finding]:
    for child in item.children:
        if child.value_type == "CONTAINER":
            for inner in templates()[group_template(child)].rows:
                if child.relationship != row.relationship:
                    yield RELATIONSHIP.found(child.part, child.relationship or "none", expected=row.relationship)
                if name_of(child.name) not in inner.names:
                    yield MISSING.found(child.part, "another heading", expected="(125007, DCM, Measurement Group)")
                yield from _children(child, inner.rows)


def _fits(child: Item, row: Row, rows: Sequence[Row]) -> bool:
    if child.relationship != row.relationship or child.value_type not in row.types:
        return False
    if row.names:
        return name_of(child.name) in row.names
    # A row without a name is for what no other row names
    return not any(name_of(child.name) in other.names for other in rows if other.names)


def _counted(item: Item, row: Row, hits: Sequence[Item], beside: set[Name | None]) -> Iterator[Finding]:
    what = _named(row)
    if not hits and _is_demanded(row, beside):
        # A child with the right name in the wrong place is reported as such, once
        if not any(row.names and name_of(child.name) in row.names for child in item.children):
            yield MISSING.found(item.part, "none", expected=f"{what} ({row.place})", severity=row.severity)
    elif len(hits) > 1 and not row.is_many:
        yield MULTIPLICITY.found(hits[1].part, f"{len(hits)} of them", expected=f"one {what} ({row.place})")
    if hits and beside & set(row.xor):
        yield EXCLUSIVE.found(hits[0].part, "both", expected=f"{what} or what stands beside it ({row.place})")


def _is_demanded(row: Row, beside: set[Name | None]) -> bool:
    if row.requirement == "M":
        return True
    if row.requirement != "MC":
        return False
    return bool(beside & set(row.when)) if row.when else not beside & set(row.unless)


def _valued(child: Item, row: Row) -> Iterator[Finding]:
    if row.cid and child.value_type == "CODE":
        code = child.code()
        if code is not None and current(*code.key) not in context_group(row.cid):
            yield VALUE_SET.found(
                child.part,
                f"({code.value}, {code.scheme})",
                expected=f"a code of CID {row.cid} ({row.place})",
                severity=Severity.WARNING,
            )


def _misplaced(child: Item, rows: Sequence[Row]) -> Iterator[Finding]:
    named = [row for row in rows if row.names and name_of(child.name) in row.names]
    if not named or any(child.relationship == row.relationship and child.value_type in row.types for row in named):
        return
    typed = [row for row in named if child.value_type in row.types]
    if typed:
        wanted = " or ".join(dict.fromkeys(row.relationship for row in typed))
        yield RELATIONSHIP.found(
            child.part,
            child.relationship or "none",
            expected=f"{wanted} ({typed[0].place})",
            severity=typed[0].severity,
        )
    elif any(child.relationship == row.relationship for row in named):
        wanted = " or ".join(dict.fromkeys(kind for row in named for kind in row.types))
        yield VALUE_TYPE.found(child.part, child.value_type or "none", expected=f"{wanted} ({named[0].place})")


def _named(row: Row) -> str:
    named = " or ".join(f"({value}, {scheme})" for scheme, value in row.names)
    return f"{'/'.join(row.types)} {named}".strip()
