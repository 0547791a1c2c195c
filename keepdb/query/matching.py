"""Filters as Python functions over row images, for live queries: they say of a changed row what SQLite would say.

The same predicate is compiled to SQL in predicate.py; tests compare the two. Each shape of filter becomes Python
source once, with its operands as arguments of a factory: no input is ever part of the source, and ten thousand
queries that differ only in their operands share one code object. A term costs some 30 ns.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from keepdb.storage.changes import Row

from .predicate import Group, Not, Predicate, Term

Match = Callable[[Row], bool]
Named = TypeVar("Named")
#: Filters of one shape by name, each with its operands.
Filters = Iterable[tuple[Named, tuple[Any, ...]]]

_json = msgspec.json.Decoder(list[Any])

#: What a term becomes. v: the row's value, k: the operand. Comparisons with a missing value are false.
_FORMS = {
    "=": "{v} == {k}",
    "!=": "{v} != {k}",
    "<": "{v} is not None and {v} < {k}",
    "<=": "{v} is not None and {v} <= {k}",
    ">": "{v} is not None and {v} > {k}",
    ">=": "{v} is not None and {v} >= {k}",
    "in": "{v} in {k}",
    "notIn": "{v} not in {k}",
    "between": "{v} is not None and {k}[0] <= {v} <= {k}[1]",
    "like": "{v} is not None and {k}({v}) is not None",
    "contains": "{v} is not None and {k} in {v}",
    "listed": "{v} is not None and {k} in items({v})",
}
#: What is cheap is asked first.
_COSTS = {"like": 2, "contains": 2, "listed": 3}


class FilterShape:
    """Filters that differ only in their operands. of: the function over a row that some operands make.

    Over many filters at once, given with their operands, and without a call for each: where the row meets them (one),
    where one of two rows does (either).
    """

    __slots__ = ("either", "of", "one")

    def __init__(self, expression: str, operands: int) -> None:
        names = "".join(f"k{number}, " for number in range(operands))
        other = re.sub(r"\br\[", "o[", expression)
        each = f"for name, ({names}) in filters if" if names else "for name, _ in filters if"
        self.of: Callable[..., Match] = _evaluate(f"lambda {names}: lambda r: {expression}")
        self.one: Callable[[Filters[Any], Row], list[Any]] = _evaluate(
            f"lambda filters, r: [name {each} {expression}]"
        )
        self.either: Callable[[Filters[Any], Row, Row], list[Any]] = _evaluate(
            f"lambda filters, r, o: [name {each} {expression} or {other}]"
        )


class Filter:
    """One compiled filter. matches: tells whether a row meets it."""

    __slots__ = ("matches", "operands", "shape")

    def __init__(self, shape: FilterShape, operands: tuple[Any, ...]) -> None:
        self.shape = shape
        self.operands = operands
        self.matches = shape.of(*operands)


def compile_filter(predicate: Predicate, columns: Sequence[str]) -> Filter:
    """The filter over rows of these columns, which must include all that it names.

    Rows hold storage values, as in storage.changes.Change.
    """
    operands: list[Any] = []
    expression = _write(predicate, _positions(tuple(columns)), operands)
    return Filter(_shape(expression, len(operands)), tuple(operands))


def matcher(predicate: Predicate, columns: Sequence[str]) -> Match:
    """A function that tells whether a row of these columns meets the filter."""
    return compile_filter(predicate, columns).matches


@lru_cache(maxsize=256)
def _positions(columns: tuple[str, ...]) -> Mapping[str, int]:
    return {name: at for at, name in enumerate(columns)}


# As many shapes as an app is likely to have; one more costs some 300 µs.
@lru_cache(maxsize=1024)
def _shape(expression: str, operands: int) -> FilterShape:
    return FilterShape(expression, operands)


def _evaluate(source: str) -> Any:
    return eval(compile(source, "<filter>", "eval"), {"items": _json.decode})


def _write(predicate: Predicate, positions: Mapping[str, int], operands: list[Any]) -> str:
    """The filter as a Python expression over the row `r`; appends what it compares with to `operands`."""
    match predicate:
        case Term(field, "isNull", operand):
            return f"r[{positions[field.name]}] is {'' if operand else 'not '}None"
        case Term(field, op, operand):
            form, constant = _constant(op, operand)
            operands.append(constant)
            return f"({_FORMS[form].format(v=f'r[{positions[field.name]}]', k=f'k{len(operands) - 1}')})"
        case Not(part):
            return f"(not {_write(part, positions, operands)})"
        case Group(op, parts):
            if not parts:
                return "True" if op == "and" else "False"
            ordered = sorted(parts, key=_cost)
            return "(" + f" {op} ".join([_write(part, positions, operands) for part in ordered]) + ")"


def _constant(op: str, operand: Any) -> tuple[str, Any]:
    """Name of the form, and the operand in the shape that it needs."""
    match op:
        case "in" | "notIn":
            return op, frozenset(operand)
        case "like":
            return op, _like(operand)
        case "contains":
            kind, wanted = operand
            return ("contains" if kind == "text" else "listed"), wanted
        case _:
            return op, operand


def _cost(predicate: Predicate) -> int:
    match predicate:
        case Term(_, op):
            return _COSTS.get(op, 0)
        case Not(part):
            return _cost(part)
        case Group(_, parts):
            return max(map(_cost, parts), default=0)


def _like(pattern: str) -> Callable[[str], Any]:
    """LIKE … ESCAPE '\\' as a regular expression: ASCII letters of either case, and texts end at a NUL, as in SQLite.

    Each piece between two % takes the first place that fits and never looks back, so that no pattern takes more
    than length times length steps.
    """
    pattern = pattern.partition("\0")[0]
    pieces = [""]
    for token in re.findall(r"\\.|.", pattern, re.DOTALL):
        if token == "%":
            pieces.append("")
        elif token == "\\":
            return _never
        else:
            pieces[-1] += r"[^\0]" if token == "_" else re.escape(token[-1])
    first, *later = pieces
    end = r"(?=\0|\Z)"
    if not later:
        source = first + end
    else:
        middle = "".join(rf"(?>[^\0]*?{piece})" for piece in later[:-1])
        source = rf"{first}{middle}[^\0]*{later[-1]}{end}" if later[-1] else first + middle
    return re.compile(source, re.IGNORECASE | re.ASCII).match


def _never(_text: str) -> None:
    """A pattern that ends in its escape character fits nothing."""
