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


def read_order(order_by: tuple[str, ...], source: Source, limits: QueryLimits) -> tuple[OrderTerm, ...]:
    """Checked order, made total by the id: it follows the direction of the last term.

    So an index over (…, field, id) serves both directions without sorting. Raises InvalidRequest.
    """
    if len(order_by) > limits.order_terms:
        raise too_large("orderBy", len(order_by), "fields", limits.order_terms)
    terms: list[OrderTerm] = []
    for index, name in enumerate(order_by):
        path = f"orderBy[{index}]"
        term = OrderTerm(sortable(source, name.removeprefix("-"), path), name.startswith("-"))
        if any(term.field is earlier.field for earlier in terms):
            raise bad_value(path, name, "each field once")
        terms.append(term)
        if term.field.name == "id":
            # The id is unique: what follows cannot matter.
            return tuple(terms)
    terms.append(OrderTerm(source.fields["id"], bool(terms) and terms[-1].descending))
    return tuple(terms)


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


def page_conditions(terms: Sequence[OrderTerm], key: Sequence[Any] | None) -> list[tuple[str, list[Any]]]:
    """Conditions, each with what it binds, that together hold for exactly the rows after `key` in the order.

    Each is one range of an index on the first term. Descending that takes two: SQLite cannot see that
    "smaller or missing" is the end of an index, and would walk over all earlier pages. No key: one empty one.
    """
    if key is None:
        return [("", [])]
    first, start = terms[0].field, key[0]
    values: list[Any] = []
    later = _later_rows(terms, key, values)
    if not terms[0].descending:
        return [(later, values)] if start is None else [(f"{first.sql} >= ? AND {later}", [start, *values])]
    if start is None:
        return [(f"{first.sql} IS NULL AND {later}", values)]
    bounded = (f"{first.sql} <= ? AND {later}", [start, *values])
    return [bounded] if first.name == "id" else [bounded, (f"{first.sql} IS NULL", [])]


def _later_rows(terms: Sequence[OrderTerm], key: Sequence[Any], values: list[Any]) -> str:
    """Row by row: later in the first term, or equal there and later in the second, and so on."""
    rows: list[str] = []
    for index, term in enumerate(terms):
        later = _later(term, key[index])
        if later is None:
            continue
        equal = [f"{earlier.field.sql} IS ?" for earlier in terms[:index]]
        values.extend(key[:index])
        if "?" in later:
            values.append(key[index])
        rows.append("(" + " AND ".join([*equal, later]) + ")")
    return "(" + " OR ".join(rows) + ")" if rows else "0"


def _later(term: OrderTerm, value: Any) -> str | None:
    column = term.field.sql
    if not term.descending:
        return f"{column} IS NOT NULL" if value is None else f"{column} > ?"
    if value is None:
        # Nothing comes after the missing values, which come last.
        return None
    return f"{column} < ?" if term.field.name == "id" else f"({column} < ? OR {column} IS NULL)"


def signature(source: Source, terms: Sequence[OrderTerm]) -> bytes:
    """8 bytes that tell apart cursors of different orders."""
    plain = [source.name, [[term.field.name, term.descending] for term in terms]]
    return hashlib.blake2b(msgspec.msgpack.encode(plain), digest_size=8).digest()
