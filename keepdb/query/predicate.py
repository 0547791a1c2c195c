"""A checked filter as a tree, and its SQL. The tree is also what incremental live queries test rows with.

Logic has two values, not SQL's three: a comparison with a missing value is false, `!=` and `notIn` are true
for it, and `not` is the exact complement. That needs care where SQL negates, hence IS NOT and IS NOT TRUE.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from .catalog import QueryField

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "notIn", "between", "like", "isNull", "contains"]

_packer = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. operand: storage value; a tuple for in, notIn (None may be among them) and between."""

    field: QueryField
    op: Operator
    operand: Any


@dataclass(frozen=True, slots=True)
class Group:
    """All (and) or at least one (or) of the parts. No parts: true for and, false for or."""

    op: Literal["and", "or"]
    parts: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The complement."""

    part: "Predicate"


Predicate = Term | Group | Not


def to_sql(predicate: Predicate, values: list[Any]) -> str:
    """SQL condition for a predicate; appends what it binds to `values`, in order."""
    match predicate:
        case Term(field, "isNull", operand):
            return f"{field.sql} IS NULL" if operand else f"{field.sql} IS NOT NULL"
        case Term(field, op, operand):
            return _TERMS[op](field.sql, operand, values)
        case Not(part):
            return f"({to_sql(part, values)}) IS NOT TRUE"
        case Group(op, parts):
            if not parts:
                return "1" if op == "and" else "0"
            glue = " AND " if op == "and" else " OR "
            return "(" + glue.join([to_sql(part, values) for part in parts]) + ")"


def group(op: Literal["and", "or"], parts: Iterable[Predicate]) -> Predicate:
    """The parts as one predicate, in one order however they were given: equal filters give equal SQL."""
    listed = list(parts)
    if len(listed) == 1:
        return listed[0]
    return Group(op, tuple(sorted(listed, key=lambda part: _packer.encode(_plain(part)))))


def _plain(predicate: Predicate) -> list[Any]:
    match predicate:
        case Term(field, op, operand):
            return [op, field.name, operand]
        case Not(part):
            return ["not", _plain(part)]
        case Group(op, parts):
            return [op, *map(_plain, parts)]


def fields_of(predicate: Predicate) -> Iterable[QueryField]:
    """Every field the filter looks at."""
    match predicate:
        case Term(field):
            yield field
        case Not(part):
            yield from fields_of(part)
        case Group(_, parts):
            for part in parts:
                yield from fields_of(part)


def _comparison(sql_operator: str) -> Callable[[str, Any, list[Any]], str]:
    def write(column: str, operand: Any, values: list[Any]) -> str:
        values.append(operand)
        return f"{column} {sql_operator} ?"

    return write


def _in(column: str, operand: tuple[Any, ...], values: list[Any]) -> str:
    given = [value for value in operand if value is not None]
    values.extend(given)
    listed = f"{column} IN ({','.join('?' * len(given))})" if given else ""
    if len(given) == len(operand):
        return listed or "0"
    return f"({listed} OR {column} IS NULL)" if listed else f"{column} IS NULL"


def _not_in(column: str, operand: tuple[Any, ...], values: list[Any]) -> str:
    return f"({_in(column, operand, values)}) IS NOT TRUE"


def _between(column: str, operand: tuple[Any, Any], values: list[Any]) -> str:
    values.extend(operand)
    return f"{column} BETWEEN ? AND ?"


def _like(column: str, operand: str, values: list[Any]) -> str:
    values.append(operand)
    return f"{column} LIKE ? ESCAPE '\\'"


def _contains(column: str, operand: tuple[str, str], values: list[Any]) -> str:
    kind, wanted = operand
    values.append(wanted)
    if kind == "text":
        return f"instr({column}, ?) > 0"
    return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = ?)"


_TERMS: dict[Operator, Callable[[str, Any, list[Any]], str]] = {
    "=": _comparison("="),
    "!=": _comparison("IS NOT"),
    "<": _comparison("<"),
    "<=": _comparison("<="),
    ">": _comparison(">"),
    ">=": _comparison(">="),
    "in": _in,
    "notIn": _not_in,
    "between": _between,
    "like": _like,
    "contains": _contains,
}
