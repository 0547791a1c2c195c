"""Results of groups: groupBy, aggregates and having, or distinct, which is grouping without any figures."""

from dataclasses import replace

from keepdb.errors import InvalidRequest
from messages.queries import Query

from .aggregate import read_aggregates, read_groups
from .catalog import Source
from .limits import QueryLimits
from .order import read_order
from .plan import ResultColumn, Shape, result_column
from .predicate import Predicate
from .refusal import bad_value
from .where import WhereReader

_GROUPED = "groupBy or aggregates"


def is_grouped(query: Query) -> bool:
    """Whether the result holds groups instead of rows. Raises InvalidRequest for parts that exclude each other."""
    if not (query.group_by or query.aggregates or query.distinct or query.having):
        return False
    given = {
        _GROUPED: bool(query.group_by or query.aggregates),
        "distinct": query.distinct,
        "having": bool(query.having),
        "select": bool(query.select),
        "include": bool(query.include),
    }
    if query.having and not given[_GROUPED]:
        raise InvalidRequest(
            "query_bad_value",
            "having: it filters groups, and there is neither groupBy nor aggregates.",
            fix="Filter rows with where.",
        )
    if query.distinct:
        _exclude(
            "distinct", given, (_GROUPED, "include"), "distinct goes with select, which names its columns."
        )
        if not query.select:
            raise bad_value("select", [], "with distinct, the fields whose combinations are wanted")
    elif given[_GROUPED]:
        _exclude(
            _GROUPED, given, ("select", "include"), "The result has the groupBy fields, then the aggregates."
        )
    return query.distinct or given[_GROUPED]


def _exclude(part: str, given: dict[str, bool], others: tuple[str, ...], why: str) -> None:
    for other in others:
        if given[other]:
            raise InvalidRequest(
                "query_bad_value", f"{other}: not possible together with {part}.", fix=f"Leave one out. {why}"
            )


def read_grouping(query: Query, source: Source, limits: QueryLimits) -> tuple[Shape, Predicate | None]:
    """The shape of the groups, and the filter over them. Raises InvalidRequest."""
    if query.distinct:
        groups = read_groups(query.select, source, limits, "select")
    else:
        groups = read_groups(query.group_by, source, limits)
    aggregates = read_aggregates(query.aggregates, groups, source, limits)
    fields = [*groups, *(aggregate.result() for aggregate in aggregates)]
    result = replace(source, name="the result", fields={field.name: field for field in fields})
    order = read_order(query.order_by, result, limits, groups)
    having = WhereReader(result, limits).read(query.having, "having") if query.having else None
    read = [*groups, *(aggregate.field for aggregate in aggregates if aggregate.field)]
    shape = Shape(
        selected=", ".join(field.sql for field in fields),
        columns=(
            *(result_column(group, source, -1) for group in groups),
            *(ResultColumn(aggregate.name) for aggregate in aggregates),
        ),
        order=order,
        order_at=tuple(fields.index(term.field) for term in order),
        tables=frozenset((source.table,)),
        reads=frozenset((source.table, field.name) for field in read),
        # A single group field names its group.
        key=0 if len(groups) == 1 else -1,
        grouped=f" GROUP BY {', '.join(group.sql for group in groups)}" if groups else "",
        groups=groups,
        aggregates=aggregates,
    )
    return shape, having
