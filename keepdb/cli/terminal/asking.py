"""The options by which `query` and `watch` say what to read, and what they become."""

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from keepdb.cli.terminal.status import usage
from keepdb.cli.terminal.values import read_object, read_params, split_names
from messages.queries import Query, Sql

_AGGREGATE = re.compile(r"(?P<name>\w+)=(?P<function>\w+)(?:\((?P<field>[\w*]+)\))?")


def with_query_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add COLLECTION and the options of a query; the command gets `plan`, a Query, a Sql or None."""

    @click.argument("collection", required=False)
    @click.option("--where", metavar="JSON", help="Filter, as in the query language.")
    @click.option("--order", multiple=True, metavar="[-]FIELD", help="Sort by; - means descending. May be repeated.")
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="Rows at most.")
    @click.option("--select", multiple=True, metavar="FIELD", help="Only these fields. May be repeated, or a,b,c.")
    @click.option("--after", metavar="CURSOR", help="Go on where an earlier page ended.")
    @click.option("--group-by", multiple=True, metavar="FIELD", help="One row per value. May be repeated.")
    @click.option("--aggregate", multiple=True, metavar="NAME=FUNCTION(FIELD)", help="count(*), sum, avg, min, max.")
    @click.option("--with-deleted", is_flag=True, help="Rows that were deleted, too.")
    @click.option("--sql", metavar="SQL", help="Read-only SQL instead of all of the above.")
    @click.option("--param", "params", multiple=True, metavar="[NAME=]VALUE", help="A value for the SQL. May be repeated.")
    @functools.wraps(function)
    def wrapped(*args: Any, sql: str | None, params: tuple[str, ...], **options: Any) -> int:
        names = (
            "collection", "where", "order", "limit", "select", "after", "group_by", "aggregate", "with_deleted"
        )  # fmt: skip
        asked = {name: options.pop(name) for name in names}
        return function(*args, plan=read_plan(asked, sql, params), **options)

    return wrapped


def read_plan(asked: dict[str, Any], sql: str | None, params: tuple[str, ...]) -> Query | Sql | None:
    """None if neither a collection nor SQL was given. Raises ConfigError (`usage`)."""
    given = [name for name, value in asked.items() if value]
    if sql is not None:
        if given:
            raise usage(
                f"--sql stands alone, but {', '.join(given)} is given too.", "Put filter, order and limit into the SQL."
            )
        return Sql(sql=sql, params=read_params(params))
    if params:
        raise usage("--param is given without --sql.", "Values of a structured query stand in --where.")
    if not asked["collection"]:
        if given:
            raise usage("No collection is given.", "Name it first, as in `keepdb query personas`.")
        return None
    return Query(
        source=asked["collection"],
        where=read_object(asked["where"], "--where") if asked["where"] is not None else {},
        order_by=split_names(asked["order"]),
        limit=asked["limit"],
        after=asked["after"],
        select=split_names(asked["select"]),
        group_by=split_names(asked["group_by"]),
        aggregates=dict(read_aggregate(text) for text in asked["aggregate"]),
        with_deleted=asked["with_deleted"],
    )


def read_aggregate(text: str) -> tuple[str, dict[str, str]]:
    """`most=max(importance)` as the query language has it."""
    match = _AGGREGATE.fullmatch(text)
    if match is None:
        raise usage(f"--aggregate {text} is not understood.", "Write for example `--aggregate 'n=count(*)'`.")
    return match["name"], {match["function"]: match["field"] or "*"}


def wire_row(columns: tuple[str, ...], row: Any) -> dict[str, Any]:
    """A row as a map, values as they are on the wire."""
    return dict(zip(columns, row, strict=True))

