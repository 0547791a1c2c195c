"""Guards: an equality with a constant that a changed row must meet to matter, so that others need not be looked at.

A guard may always be left out, never be wrong: what it excludes must be unable to change the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keepdb.query.catalog import Kind, QueryField
from keepdb.query.predicate import Group, Predicate, Term

#: A list of more values than this is no guard: each is an entry in the router.
_VALUES_MAX = 64
#: Which guard to take where there are several: the one that few rows share.
_SHARED_BY: dict[Kind, int] = {
    "ref": 1,
    "text": 2,
    "integer": 3,
    "timestamp": 3,
    "real": 3,
    "enum": 4,
    "boolean": 5,
}


@dataclass(frozen=True, slots=True)
class Guard:
    """A row of a table matters only if the column holds one of the values (storage form, None for missing)."""

    table: str
    column: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        shown = " or ".join("null" if value is None else repr(value) for value in self.values)
        return f"{self.table.replace('__', '.')}.{self.column} = {shown}"


def best_guard(where: Predicate) -> Guard | None:
    """The most selective equality that every row meeting the filter meets; None if there is none."""
    found = [(_rank(term), term) for term in _conjuncts(where) if _is_equality(term)]
    if not found:
        return None
    _, term = min(found, key=lambda ranked: ranked[0])
    return guard_of(term.field, (None,) if term.op == "isNull" else _values(term))


def guard_of(field: QueryField, values: tuple[Any, ...]) -> Guard:
    return Guard(field.table, field.name, values)


def _conjuncts(where: Predicate) -> Iterator[Term]:
    match where:
        case Term():
            yield where
        case Group("and", parts):
            for part in parts:
                yield from _conjuncts(part)


def _is_equality(term: Term) -> bool:
    if term.op == "isNull":
        # Almost all rows miss a deletedAt; almost none miss what is worth asking for.
        return bool(term.operand) and term.field.name != "deletedAt"
    return term.op in ("=", "in") and 0 < len(_values(term)) <= _VALUES_MAX


def _values(term: Term) -> tuple[Any, ...]:
    return term.operand if term.op == "in" else (term.operand,)


def _rank(term: Term) -> tuple[int, int]:
    """Smaller is better."""
    if term.field.name == "id":
        return 0, 0
    missing = term.op == "isNull"
    return _SHARED_BY.get(term.field.kind, 6) + missing, 1 if missing else len(_values(term))
