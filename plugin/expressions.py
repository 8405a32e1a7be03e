"""The conditions of rules, evaluated over header values and facts; :mod:`plugin.expression_check` checked them before.

A part of Python's syntax, evaluated by simpleeval, which never hands it to Python itself (ADR 0011). What is left of it
(``and``, ``or``, ``not``, comparisons, ``in``, five functions) has no loop, no arithmetic and no pattern: an evaluation
takes a step for each of its parts and values, whatever a sender writes into a header.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simpleeval import EvalWithCompoundTypes, InvalidExpression

from dicom_io.anatomy import words
from dicom_io.header_values import Value, private_key

Facts = Mapping[str, Value | None]
"""What is derived of a volume, by name; None where it is not known."""


class Values(tuple[Value, ...]):
    """The different values of one attribute: a comparison holds if it holds for any of them, ``!=`` if none is equal.

    One value is by far the usual case, and then it is an ordinary comparison.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # equal to many things

    def __eq__(self, other: object) -> bool:
        return any(mine == its for mine in self for its in _each(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: object) -> bool:
        return self._holds(operator.lt, other)

    def __le__(self, other: object) -> bool:
        return self._holds(operator.le, other)

    def __gt__(self, other: object) -> bool:
        return self._holds(operator.gt, other)

    def __ge__(self, other: object) -> bool:
        return self._holds(operator.ge, other)

    def _holds(self, compare: Callable[..., bool], other: object) -> bool:
        return any(compare(mine, its) for mine in self for its in _each(other))


def _each(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, Values) else (value,)


class Missing(InvalidExpression):
    """Something that the expression asks for is not there."""


def _texts(value: object) -> list[str]:
    return [str(single) for single in _each(value)]


def _contains(value: object, part: str) -> bool:
    return any(part.casefold() in text.casefold() for text in _texts(value))


def _word(value: object, *named: str) -> bool:
    wanted = {word for one in named for word in words(one)}
    return any(wanted & set(words(text)) for text in _texts(value))


def _count(value: object) -> int:
    return len(_each(value))


OPERATORS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Not: operator.not_,
    ast.USub: operator.neg,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A condition that has been checked.

    Parameters
    ----------
    text
        As written.
    tree
        Its syntax.
    keywords
        The attributes that it asks for.
    private
        The private elements that it asks for: creator, group, element.
    """

    text: str
    tree: ast.Expr
    keywords: frozenset[str]
    private: frozenset[tuple[str, int, int]]

    def failure(self, facts: Facts, header: Mapping[str, tuple[Value, ...]]) -> str:
        """Say why the condition does not hold; empty where it does.

        Parameters
        ----------
        facts
            Derived of the volume.
        header
            From :func:`dicom_io.header_values.read_values`.
        """
        values = {key: Values(found) for key, found in header.items()}

        def private(creator: str, tag: str) -> Values:
            key = private_key(creator, *private_tag(tag))
            if key not in values:
                raise Missing(f"the private element {tag} is missing")
            return values[key]

        evaluator = EvalWithCompoundTypes(
            operators=OPERATORS,
            functions={
                "has": lambda keyword: keyword in values,
                "private": private,
                "contains": _contains,
                "word": _word,
                "count": _count,
            },
            names={**{name: fact for name, fact in facts.items() if fact is not None}, "header": values},
        )
        try:
            holds = bool(evaluator.eval(self.text, previously_parsed=self.tree))
        except Missing as error:
            return str(error)
        except InvalidExpression as error:
            # of a checked expression nothing else can be unknown; the name is the rule's, not the header's
            asked = getattr(error, "attr", "") or getattr(error, "name", "")
            return f"{asked} is missing" if asked else "it cannot be evaluated"
        except TypeError:
            return "it compares a number with a text"
        return "" if holds else "its condition does not hold"


def private_tag(text: str) -> tuple[int, int]:
    """Return group and element of a private tag such as ``0019xx0c``.

    Raises
    ------
    ValueError
        If it is none.
    """
    group, between, element = text[:4], text[4:6], text[6:]
    if between != "xx" or len(element) != 2 or int(group, 16) % 2 == 0:
        raise ValueError("no private tag")
    return int(group, 16), int(element, 16)
