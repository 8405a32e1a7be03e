"""The conditions of rules, checked as a whole at start: syntax, size, names, and what facts are compared with.

What passes is a tree of ``and``, ``or`` and ``not`` over comparisons of facts, header values, texts and numbers. A rule
that could never match, such as for a plane that does not exist, is an error here and no riddle later.
"""

import ast
import difflib
import warnings
from collections.abc import Mapping

from dicom_io.header_values import is_readable
from plugin.expressions import OPERATORS, Expression, private_tag
from sgmri.errors import ConfigError

MAX_CHARACTERS = 1000
MAX_PARTS = 200
MAX_DEPTH = 20

_FUNCTIONS = {"has": 1, "private": 2, "contains": 2, "word": None, "count": 1}
"""Each with the number of its arguments, None for two or more; all but ``count`` and ``private`` say yes or no."""


def check(text: object, facts: Mapping[str, frozenset[str] | None]) -> Expression:
    """Check a condition before it is ever evaluated.

    Parameters
    ----------
    text
        As written in the rule file.
    facts
        The facts by name, and the values that each can have; None for numbers.

    Raises
    ------
    ConfigError
        With what was expected: of its length, syntax, names, and the values that facts are compared with.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("expected a condition as text, found none")
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"expected a condition of at most {MAX_CHARACTERS} characters, found {len(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own about odd comparisons: what they mean is checked below
            body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError(
            'expected one condition such as anatomy == "knee" and frames > 10, found other syntax'
        ) from None
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise ConfigError("expected one condition, found a statement or several")
    nodes = list(ast.walk(body[0]))
    if len(nodes) > MAX_PARTS or _depth(body[0]) > MAX_DEPTH:
        raise ConfigError(f"expected at most {MAX_PARTS} parts and {MAX_DEPTH} levels, found more")
    checker = _Checker(facts)
    checker.condition(body[0].value)
    return Expression(
        text=text.strip(), tree=body[0], keywords=frozenset(checker.keywords), private=frozenset(checker.private)
    )


def _depth(node: ast.AST) -> int:
    depth, level = 0, [node]
    while level:
        depth, level = depth + 1, [child for one in level for child in ast.iter_child_nodes(one)]
    return depth


class _Checker:
    """Walks a syntax tree: conditions of comparisons of values, and nothing else."""

    def __init__(self, facts: Mapping[str, frozenset[str] | None]) -> None:
        self._facts = facts
        self.keywords: set[str] = set()
        self.private: set[tuple[str, int, int]] = set()

    def condition(self, node: ast.expr) -> None:
        """Check what says yes or no."""
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self.condition(part)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                self.condition(part)
            case ast.Compare(left=left, ops=ops, comparators=others):
                if unknown := [op for op in ops if type(op) not in OPERATORS]:
                    raise ConfigError(f"expected ==, !=, <, <=, >, >=, in or not in, found {type(unknown[0]).__name__}")
                self._comparison([left, *others])
            case ast.Call(func=ast.Name(id="has" | "contains" | "word")):
                self._call(node)
            case ast.Constant(value=bool()):
                pass
            case _:
                raise ConfigError(
                    "expected a comparison, has(), contains() or word(), or several joined by and, or and not; found "
                    f"{_shown(node)}"
                )

    def _comparison(self, sides: list[ast.expr]) -> None:
        for side in sides:
            self._value(side)
        named = [side.id for side in sides if isinstance(side, ast.Name)]
        constants = [one for side in sides for one in _constants(side)]
        for name in named:
            allowed = self._facts[name]
            for constant in constants:
                if allowed is None and isinstance(constant, str):
                    raise ConfigError(f"expected a number beside {name}, found the text {constant!r}")
                if allowed is not None and constant not in allowed:
                    raise ConfigError(f"expected {name} to be {_or(allowed)}, found {constant!r}")

    def _value(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=str() | int() | float()):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
                pass
            case ast.List(elts=parts) | ast.Tuple(elts=parts) if all(isinstance(one, ast.Constant) for one in parts):
                for part in parts:
                    self._value(part)
            case ast.Name(id=name):
                if name not in self._facts:
                    raise ConfigError(
                        f"unknown name {name!r}; did you mean {_nearest(name, [*self._facts, 'header'])!r}?"
                    )
            case ast.Attribute(value=ast.Name(id="header"), attr=keyword):
                self._keyword(keyword)
            case ast.Call(func=ast.Name(id="count" | "private")):
                self._call(node)
            case _:
                raise ConfigError(f"expected a fact, header.Keyword, a text, a number or a list; found {_shown(node)}")

    def _keyword(self, keyword: str) -> None:
        if not is_readable(keyword):
            raise ConfigError(
                f"expected the keyword of an attribute with texts or numbers (PS3.6), such as SeriesDescription; found "
                f"{keyword!r}"
            )
        self.keywords.add(keyword)

    def _call(self, node: ast.Call) -> None:
        assert isinstance(node.func, ast.Name)
        name, expected = node.func.id, _FUNCTIONS[node.func.id]
        if node.keywords or (len(node.args) != expected if expected else len(node.args) < 2):
            raise ConfigError(f"{name}(): expected {expected or 'two or more'} arguments, found others")
        if name in ("has", "private"):
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            if len(texts) != len(node.args):
                raise ConfigError(f"{name}(): expected its arguments as texts in quotes, found something else")
            self._named(name, texts)
            return
        self._value(node.args[0])
        for argument in node.args[1:]:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value):
                raise ConfigError(f"{name}(): expected a text in quotes to look for, found {_shown(argument)}")

    def _named(self, name: str, texts: list[str]) -> None:
        if name == "has":
            self._keyword(texts[0])
            return
        try:
            self.private.add((texts[0], *private_tag(texts[1])))
        except ValueError:
            raise ConfigError(
                f'private(): expected a creator and a tag such as "0019xx0c" (odd group), found {texts[1]!r}'
            ) from None


def _constants(node: ast.expr) -> list[object]:
    if isinstance(node, ast.List | ast.Tuple):
        return [one.value for one in node.elts if isinstance(one, ast.Constant)]
    return [node.value] if isinstance(node, ast.Constant) else []


def _shown(node: ast.expr) -> str:
    return repr(ast.unparse(node)[:60])


def _nearest(name: str, known: list[str]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _or(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))
