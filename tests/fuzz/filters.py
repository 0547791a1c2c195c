"""Random filters, and what docs/queries.md says they mean: Python closures over rows, made without KeepDB."""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from .values import ITEMS, Domain
from .world import Row

Test = Callable[[Row], bool]
Where = dict[str, Any]

_ORDERING = ("<", "<=", ">", ">=", "between")
_PIECES = ("%", "%", "_", "a", "A", "b", "\\%", "\\_", "\\\\", "\\", "\0", "ä", "\U0001f600", "o", "1")


class Filters:
    """Makes filters over some fields. fields: name -> kind, sealed ones and rows left out."""

    def __init__(self, rng: Random, domain: Domain, fields: Mapping[str, str]) -> None:
        self._rng = rng
        self._domain = domain
        self._fields = dict(fields)

    def make(self, depth: int = 0) -> Where:
        """A filter; often a plain one, seldom a deep one."""
        choice = self._rng.random()
        if depth < 3 and choice < 0.12:
            return {"or": [self.make(depth + 1) for _ in range(self._rng.choice((0, 1, 2, 2, 3)))]}
        if depth < 3 and choice < 0.20:
            return {"and": [self.make(depth + 1) for _ in range(self._rng.choice((0, 1, 2, 2, 3)))]}
        if depth < 3 and choice < 0.30:
            return {"not": self.make(depth + 1)}
        if choice < 0.33:
            return {}
        names = self._rng.sample(list(self._fields), min(len(self._fields), self._rng.choice((1, 1, 1, 2))))
        return {name: self._condition(self._fields[name]) for name in names}

    def _condition(self, kind: str) -> Any:
        if self._rng.random() < 0.2 and kind not in ("json", "list"):
            return self._nullable(kind)
        operators = self._rng.choices(_operators(kind), k=self._rng.choice((1, 1, 1, 2)))
        return {operator: self._operand(operator, kind) for operator in operators}

    def _operand(self, operator: str, kind: str) -> Any:
        match operator:
            case "isNull":
                return self._rng.random() < 0.5
            case "=" | "!=":
                return self._nullable(kind)
            case "in" | "notIn":
                return [self._nullable(kind) for _ in range(self._rng.randrange(4))]
            case "between":
                return [self._value(kind), self._value(kind)]
            case "like":
                return "".join(self._rng.choices(_PIECES, k=self._rng.randrange(5)))
            case "contains":
                return self._rng.choice(ITEMS) if kind == "list" else self._value(kind)
            case _:
                return self._value(kind)

    def _nullable(self, kind: str) -> Any:
        return None if self._rng.random() < 0.1 else self._value(kind)

    def _value(self, kind: str) -> Any:
        value = self._domain.strange(kind) if self._rng.random() < 0.2 else self._domain.some(kind)
        # JavaScript clients send whole numbers as floats now and then.
        return float(value) if kind == "integer" and value == 2 else value


def _operators(kind: str) -> list[str]:
    if kind in ("json", "list"):
        return ["isNull"] + ["contains"] * 3 * (kind == "list")
    plain = ["=", "!=", "in", "notIn", "isNull"]
    if kind == "boolean":
        return plain
    return [*plain, *_ORDERING] + ["like", "contains"] * (kind in ("text", "ref"))


def meaning_of(where: Where) -> Test:
    """What a filter means: whether it holds for a row."""
    tests = [_entry(key, value) for key, value in where.items()]
    return _all(tests)


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda row: all(test(row) for test in tests)


def _entry(key: str, value: Any) -> Test:
    if key == "and":
        return _all([meaning_of(part) for part in value])
    if key == "or":
        parts = [meaning_of(part) for part in value]
        return lambda row: any(test(row) for test in parts)
    if key == "not":
        inner = meaning_of(value)
        return lambda row: not inner(row)
    operators = value if isinstance(value, dict) else {"=": value}
    return _all([_term(key, operator, given) for operator, given in operators.items()])


def _term(name: str, operator: str, given: Any) -> Test:
    """Two values, not three: a comparison with a missing value is false."""
    match operator:
        case "=":
            return lambda row: bool(row[name] == given)
        case "!=":
            return lambda row: bool(row[name] != given)
        case "in":
            return lambda row: row[name] in given
        case "notIn":
            return lambda row: row[name] not in given
        case "isNull":
            return lambda row: (row[name] is None) is given
    holds = _comparison(operator, given)
    return lambda row: row[name] is not None and holds(row[name])


def _comparison(operator: str, given: Any) -> Callable[[Any], bool]:
    match operator:
        case "<":
            return lambda value: bool(value < given)
        case "<=":
            return lambda value: bool(value <= given)
        case ">":
            return lambda value: bool(value > given)
        case ">=":
            return lambda value: bool(value >= given)
        case "between":
            return lambda value: bool(given[0] <= value <= given[1])
        case "contains":
            return lambda value: given in value
        case _:
            return _like(given)


def _like(pattern: str) -> Callable[[str], bool]:
    """LIKE as SQLite has it: ASCII letters match either case, and texts end at their first NUL."""
    expression = ""
    pieces = re.findall(r"\\.|.", pattern.partition("\0")[0], re.DOTALL)
    for piece in pieces:
        if piece == "\\":
            # Nothing is left to be taken literally.
            return _never
        expression += {"%": ".*", "_": "."}.get(piece, re.escape(piece[-1]))
    matches = re.compile(expression, re.IGNORECASE | re.ASCII | re.DOTALL).fullmatch
    return lambda value: matches(value.partition("\0")[0]) is not None


def _never(_text: str) -> bool:
    return False
