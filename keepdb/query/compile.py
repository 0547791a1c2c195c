"""Structured queries to SQL. Identifiers come from the schema and values are bound: no input is code."""

from functools import lru_cache
from typing import Any

from keepdb.errors import InvalidRequest
from messages.queries import Query

from .aggregate import read_aggregates, read_groups
from .catalog import Catalog, QueryField, Source
from .cursor import decode_cursor
from .limits import QueryLimits
from .order import page_conditions, read_order, signature
from .plan import CompiledQuery, ResultColumn, Shape, child_read, result_column
from .predicate import Group, Predicate, to_sql
from .refusal import bad_value
from .where import WhereReader

_EVERYTHING = Group("and", ())


def compile_query(query: Query, catalog: Catalog, limits: QueryLimits) -> CompiledQuery:
    """Check a query against the schema and the limits, and compile it. Raises InvalidRequest.

    The SQL asks for one row more than the limit: its presence means that there is another page.
    """
    source = catalog.source(query.source)
    where = WhereReader(source, limits).read(query.where) if query.where else _EVERYTHING
    grouping = bool(query.aggregates or query.group_by)
    if grouping:
        shape = _groups(query, source, limits)
    else:
        shape = _rows(query.select, query.order_by, source, limits)
    limit = _limit(query.limit, limits)
    with_deleted = query.with_deleted or not source.soft_delete
    sql, params = _sql(source, where, with_deleted, shape, _after(query, catalog, source, shape, limits))
    return CompiledQuery(
        schema_hash=catalog.schema_hash,
        source=source,
        shape=shape,
        sql=sql,
        params=(*params, limit + 1),
        where=where,
        limit=limit,
        with_deleted=with_deleted,
        cursor_chars=limits.cursor_chars,
    )


# Apps ask in few shapes; remembering them makes compiling a point read 6 times faster (37 to 7 µs).
@lru_cache(maxsize=512)
def _rows(select: tuple[str, ...], order_by: tuple[str, ...], source: Source, limits: QueryLimits) -> Shape:
    """Plain rows. They always carry their id: live queries and the app need it to tell rows apart."""
    shown = _shown(select, source)
    key = next(at for at, field in enumerate(shown) if field.name == "id")
    order = read_order(order_by, source, limits)
    fields = [*shown, *(term.field for term in order if term.field not in shown)]
    children = tuple(child_read(at, field.rows) for at, field in enumerate(shown) if field.rows is not None)
    reads = {(source.table, field.name) for field in fields if field.rows is None}
    return Shape(
        selected=", ".join(field.sql or "NULL" for field in fields),
        columns=tuple(result_column(field, source, key) for field in shown),
        order=order,
        order_at=tuple(fields.index(term.field) for term in order),
        tables=frozenset((source.table, *(child.table for child in children))),
        reads=frozenset(reads.union(*(child.reads for child in children))),
        key=key,
        children=children,
    )


def _groups(query: Query, source: Source, limits: QueryLimits) -> Shape:
    for name, given in (("select", query.select), ("orderBy", query.order_by)):
        if given:
            raise InvalidRequest(
                "query_bad_value",
                f"{name}: not possible together with aggregates or groupBy.",
                fix="Leave it out: the result has the groupBy fields, then the aggregates, ordered by group.",
            )
    groups = read_groups(query.group_by, source, limits)
    made = read_aggregates(query.aggregates, groups, source, limits)
    group_sql = tuple(group.field.sql for group in groups)
    return Shape(
        selected=", ".join([*group_sql, *(aggregate.sql for aggregate in made)]),
        columns=(
            *(result_column(group.field, source, -1) for group in groups),
            *(ResultColumn(aggregate.name) for aggregate in made),
        ),
        order=groups,
        order_at=tuple(range(len(groups))),
        tables=frozenset((source.table,)),
        reads=frozenset((source.table, name) for name in (*query.group_by, *(a.field for a in made)) if name),
        grouped=f" GROUP BY {', '.join(group_sql)}" if groups else "",
    )


def _sql(
    source: Source, where: Predicate, with_deleted: bool, shape: Shape, after: list[Any] | None
) -> tuple[str, list[Any]]:
    params: list[Any] = []
    arms = []
    for page, page_values in page_conditions(shape.order, after):
        conditions = [] if with_deleted else ['"deletedAt" IS NULL']
        if where is not _EVERYTHING:
            conditions.append(to_sql(where, params))
        if page:
            conditions.append(page)
            params.extend(page_values)
        filtered = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        arms.append(f"SELECT {shape.selected} FROM {source.sql}{filtered}{shape.grouped}")
    return f"{' UNION ALL '.join(arms)}{shape.ordered} LIMIT ?", params


def _after(
    query: Query, catalog: Catalog, source: Source, shape: Shape, limits: QueryLimits
) -> list[Any] | None:
    if query.after is None:
        return None
    if not shape.order:
        raise InvalidRequest(
            "cursor_invalid",
            "after: the result is a single row, nothing comes after it.",
            fix="Leave `after` out.",
        )
    order = signature(source, shape.order)
    return decode_cursor(query.after, catalog.schema_hash, order, shape.order, limits.cursor_chars)


def _shown(select: tuple[str, ...], source: Source) -> list[QueryField]:
    # Rows fields have no bound of their own, so they come only where they are asked for by name.
    if not select:
        return list(source.plain)
    shown: list[QueryField] = []
    for index, name in enumerate(select):
        shown.extend(source.plain if name == "*" else [source.field(name, f"select[{index}]")])
    if len({field.name for field in shown}) < len(shown):
        raise bad_value("select", list(select), "each field once")
    return shown if source.fields["id"] in shown else [source.fields["id"], *shown]


def _limit(given: int | None, limits: QueryLimits) -> int:
    if given is None:
        return limits.limit_default
    if given < 1:
        raise bad_value("limit", given, "an integer of at least 1")
    if given > limits.limit_max:
        raise InvalidRequest(
            "query_too_large",
            f"limit: {given} rows, at most {limits.limit_max} can be read at once.",
            fix="Use a smaller limit and read on with the cursor.",
        )
    return given
