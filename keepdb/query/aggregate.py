"""Reads groupBy and aggregates. Names of results come from the client and stay outside the SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from keepdb.errors import InvalidRequest

from .catalog import Kind, QueryField, Source, refuse_sealed
from .limits import QueryLimits
from .order import sortable
from .refusal import bad_value, too_large, unknown

Function = Literal["count", "sum", "avg", "min", "max"]

_FUNCTIONS: tuple[Function, ...] = get_args(Function)
_NUMBERS = frozenset({"integer", "real"})
NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate. field: what it reads, None where rows are counted."""

    name: str
    function: Function
    field: QueryField | None = None

    @property
    def sql(self) -> str:
        return f"{self.function}({self.field.sql})" if self.field else "count(*)"

    def result(self) -> QueryField:
        """Its column of the result as a field: what having and orderBy compare with."""
        kind: Kind = "integer"
        if self.field is not None and self.function != "count":
            kind = "real" if self.function == "avg" else self.field.kind
        choices = self.field.choices if self.field and self.function in ("min", "max") else ()
        return QueryField(self.name, kind, self.sql, choices=choices, nullable=self.function != "count")


def read_groups(
    names: tuple[str, ...], source: Source, limits: QueryLimits, path: str = "groupBy"
) -> tuple[QueryField, ...]:
    """The fields to group by. Raises InvalidRequest."""
    if len(names) > limits.order_terms:
        raise too_large(path, len(names), "fields", limits.order_terms)
    if len(set(names)) < len(names):
        raise bad_value(path, list(names), "each field once")
    return tuple(sortable(source, name, f"{path}[{index}]") for index, name in enumerate(names))


def read_aggregates(
    aggregates: dict[str, dict[str, str]], groups: Sequence[QueryField], source: Source, limits: QueryLimits
) -> tuple[Aggregate, ...]:
    """The checked aggregates, in the order given. Raises InvalidRequest."""
    if len(aggregates) > limits.aggregates:
        raise too_large("aggregates", len(aggregates), "aggregates", limits.aggregates)
    taken = {group.name for group in groups}
    return tuple(_read(name, given, taken, source) for name, given in aggregates.items())


def _read(name: str, given: Any, taken: set[str], source: Source) -> Aggregate:
    path = f"aggregates.{name[:NAME_CHARACTERS]}"
    if not 0 < len(name) <= NAME_CHARACTERS or name in taken:
        raise bad_value(path, name, f"a name of 1 to {NAME_CHARACTERS} characters that no groupBy field has")
    if len(given) != 1:
        raise bad_value(path, given, 'one function, like {"sum": "usageCount"}')
    ((function, argument),) = given.items()
    if function not in _FUNCTIONS:
        raise unknown("query_bad_operator", path, "a function", function, _FUNCTIONS)
    path = f"{path}.{function}"
    if argument == "*":
        if function != "count":
            raise bad_value(path, argument, "the name of a field; only count takes *")
        return Aggregate(name, "count")
    field = source.field(argument, path)
    _check(function, field, path)
    return Aggregate(name, function, field)


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
