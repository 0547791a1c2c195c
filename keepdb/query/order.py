"""Total orders and what comes after a row in them: the ground under limits, cursors and live windows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from keepdb.errors import InvalidRequest

from .catalog import ORDERED, QueryField, Source, refuse_sealed
from .limits import QueryLimits
from .refusal import bad_value, too_large


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One key of an order. Missing values come first ascending and last descending, as in SQLite."""

    field: QueryField
    descending: bool = False


def read_order(
    order_by: Sequence[str],
    source: Source,
    limits: QueryLimits,
    unique: Sequence[QueryField] | None = None,
    path: str = "orderBy",
) -> tuple[OrderTerm, ...]:
    """Checked order, made total by what is unique (the id, or these fields together) in the direction of the last
    term.

    So an index over (…, field, id) serves both directions without sorting. Raises InvalidRequest.
    """
    if len(order_by) > limits.order_terms:
        raise too_large(path, len(order_by), "fields", limits.order_terms)
    terms: list[OrderTerm] = []
    missing = [source.fields["id"]] if unique is None else list(unique)
    for index, name in enumerate(order_by):
        at = f"{path}[{index}]"
        term = OrderTerm(sortable(source, name.removeprefix("-"), at), name.startswith("-"))
        if any(term.field is earlier.field for earlier in terms):
            raise bad_value(at, name, "each field once")
        terms.append(term)
        if term.field in missing:
            missing.remove(term.field)
            if not missing:
                # What follows cannot matter.
                return tuple(terms)
    descending = bool(terms) and terms[-1].descending
    return (*terms, *(OrderTerm(field, descending) for field in missing))


def sortable(source: Source, name: str, path: str) -> QueryField:
    """A field one can sort and group by. Raises InvalidRequest."""
    field = source.field(name, path)
    refuse_sealed(field, path, "for sorting or grouping")
    if field.kind not in ORDERED:
        raise InvalidRequest(
            "query_bad_value",
            f"{path}: {field.name} is a {field.kind} and has no order.",
            fix="Use a text, number, boolean, time, enum or ref.",
        )
    return field


def page_ranges(
    terms: Sequence[OrderTerm], after: Sequence[Any] | None, until: Sequence[Any] | None
) -> list[tuple[str, list[Any]]]:
    """Conditions, each with what it binds, that together hold for exactly the rows after one place in the order
    (that one excluded) and up to another (included). Unbounded: one empty condition.

    Each is one range of an index on the first term. Missing values are a range of their own: SQLite cannot see
    that "larger or missing" is one piece of an index, and would walk over all earlier pages.
    """
    bounds = _bounds(terms, after, until)
    if not bounds:
        return [("", [])]
    segments = (False, True) if terms[0].field.nullable else (False,)
    ranges = [_range(terms[0].field, missing, bounds) for missing in segments]
    return [found for found in ranges if found is not None] or [("0", [])]


def page_condition(
    terms: Sequence[OrderTerm], after: Sequence[Any] | None, until: Sequence[Any] | None, values: list[Any]
) -> str:
    """The same as a single condition, for orders that no index serves; "" if unbounded. Appends what it binds."""
    return " AND ".join(bound.condition(values) for bound in _bounds(terms, after, until))


@dataclass(frozen=True, slots=True)
class _Bound:
    """The rows after a place in an order; with it if inclusive."""

    terms: tuple[OrderTerm, ...]
    key: Sequence[Any]
    inclusive: bool = False

    def condition(self, values: list[Any]) -> str:
        """Row by row: later in the first term, or equal there and later in the second, and so on."""
        rows: list[str] = []
        equal: list[str] = []
        for index, term in enumerate(self.terms):
            later = _later(term, self.key[index])
            if later is not None:
                rows.append("(" + " AND ".join([*equal, later]) + ")")
                values.extend(self.key[: index + ("?" in later)])
            equal.append(f"{term.field.sql} IS ?")
        if self.inclusive:
            rows.append("(" + " AND ".join(equal) + ")")
            values.extend(self.key)
        return "(" + " OR ".join(rows) + ")" if rows else "0"


def _bounds(
    terms: Sequence[OrderTerm], after: Sequence[Any] | None, until: Sequence[Any] | None
) -> list[_Bound]:
    bounds = [] if after is None else [_Bound(tuple(terms), after)]
    if until is not None:
        # Up to a row is from it on in the opposite order, which also turns round where missing values come.
        bounds.append(
            _Bound(tuple(OrderTerm(t.field, not t.descending) for t in terms), until, inclusive=True)
        )
    return bounds


def _range(first: QueryField, missing: bool, bounds: Sequence[_Bound]) -> tuple[str, list[Any]] | None:
    """The bounds among the rows that have, or miss, a value in the first term; None if there can be no row."""
    conditions: list[str] = [f"{first.sql} IS NULL"] if missing else []
    values: list[Any] = []
    for bound in bounds:
        start, descending = bound.key[0], bound.terms[0].descending
        if (start is None) != missing:
            if missing != descending:
                return None
            continue
        if not missing:
            conditions.append(f"{first.sql} {'<=' if descending else '>='} ?")
            values.append(start)
        conditions.append(bound.condition(values))
    return " AND ".join(conditions) or f"{first.sql} IS NOT NULL", values


def _later(term: OrderTerm, value: Any) -> str | None:
    column = term.field.sql
    if not term.descending:
        return f"{column} IS NOT NULL" if value is None else f"{column} > ?"
    if value is None:
        # Nothing comes after the missing values, which come last.
        return None
    return f"({column} < ? OR {column} IS NULL)" if term.field.nullable else f"{column} < ?"


def signature(source: Source, terms: Sequence[OrderTerm]) -> bytes:
    """8 bytes that tell apart cursors of different orders."""
    plain = [source.name, [[term.field.sql, term.descending] for term in terms]]
    return hashlib.blake2b(msgspec.msgpack.encode(plain), digest_size=8).digest()
