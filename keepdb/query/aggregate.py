"""Reads groupBy and aggregates. Names of results come from the client and stay outside the SQL."""

from dataclasses import dataclass
from typing import Any

from keepdb.errors import InvalidRequest

from .catalog import QueryField, Source, refuse_sealed
from .limits import QueryLimits
from .order import OrderTerm, sortable
from .refusal import bad_value, too_large, unknown

_FUNCTIONS = ("count", "sum", "avg", "min", "max")
_NUMBERS = frozenset({"integer", "real"})
_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate. field: what it reads, "" for count of rows."""

    name: str
    sql: str
    field: str


def read_groups(group_by: tuple[str, ...], source: Source, limits: QueryLimits) -> tuple[OrderTerm, ...]:
    """The fields to group by, which are also the order of the result. Raises InvalidRequest."""
    if len(group_by) > limits.order_terms:
        raise too_large("groupBy", len(group_by), "fields", limits.order_terms)
    if len(set(group_by)) < len(group_by):
        raise bad_value("groupBy", list(group_by), "each field once")
    return tuple(OrderTerm(sortable(source, name, f"groupBy[{i}]")) for i, name in enumerate(group_by))


def read_aggregates(
    aggregates: dict[str, dict[str, str]], groups: tuple[OrderTerm, ...], source: Source, limits: QueryLimits
) -> list[Aggregate]:
    """The checked aggregates, in the order given. Raises InvalidRequest."""
    if len(aggregates) > limits.aggregates:
        raise too_large("aggregates", len(aggregates), "aggregates", limits.aggregates)
    taken = {group.field.name for group in groups}
    return [_read(name, given, taken, source) for name, given in aggregates.items()]


def _read(name: str, given: Any, taken: set[str], source: Source) -> Aggregate:
    path = f"aggregates.{name[:_NAME_CHARACTERS]}"
    if not 0 < len(name) <= _NAME_CHARACTERS or name in taken:
        raise bad_value(path, name, f"a name of 1 to {_NAME_CHARACTERS} characters that no groupBy field has")
    if len(given) != 1:
        raise bad_value(path, given, 'one function, like {"sum": "usageCount"}')
    ((function, argument),) = given.items()
    if function not in _FUNCTIONS:
        raise unknown("query_bad_operator", path, "a function", function, _FUNCTIONS)
    path = f"{path}.{function}"
    if argument == "*":
        if function != "count":
            raise bad_value(path, argument, "the name of a field; only count takes *")
        return Aggregate(name, "count(*)", "")
    field = source.field(argument, path)
    _check(function, field, path)
    return Aggregate(name, f"{function}({field.sql})", field.name)


def _check(function: str, field: QueryField, path: str) -> None:
    refuse_sealed(field, path, "in an aggregate")
    fits = field.kind != "rows"
    if function in ("sum", "avg"):
        fits = field.kind in _NUMBERS
    elif function in ("min", "max"):
        fits = field.kind in _NUMBERS | {"timestamp", "text", "enum", "ref"}
    if not fits:
        raise InvalidRequest(
            "query_bad_operator",
            f"{path}: {field.name} is a {field.kind}, which {function} does not take.",
            fix="sum and avg take numbers; min and max also times, texts, enums and refs; count takes all.",
        )
