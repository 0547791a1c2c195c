"""The options by which `query` and `watch` say what to read, and what they become."""

import functools
import re
from collections.abc import Callable
from typing import Any

import click
import msgspec

from keepdb.cli.terminal.status import usage
from keepdb.cli.terminal.values import read_object, read_params, split_names
from messages.queries import Include, Query, Sql


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The options as they were given."""

    collection: str | None
    where: str | None
    order: tuple[str, ...]
    limit: int | None
    select: tuple[str, ...]
    after: str | None
    until: str | None
    distinct: bool
    include: str | None
    group_by: tuple[str, ...]
    aggregate: tuple[str, ...]
    having: str | None
    with_deleted: bool
    sql: str | None
    params: tuple[str, ...]

    def structured(self) -> list[str]:
        """Names of the options given that belong to a structured query."""
        given = [
            name for name in self.__struct_fields__ if name not in ("sql", "params") and getattr(self, name)
        ]
        return [name if name == "collection" else f"--{name.replace('_', '-')}" for name in given]


_AGGREGATE = re.compile(r"(?P<name>\w+)=(?P<function>\w+)(?:\((?P<field>[\w*]+)\))?")


def with_query_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add COLLECTION and the options of a query; the command gets them as `asked`."""

    @click.argument("collection", required=False)
    @click.option("--where", metavar="JSON", help="Filter, as in the query language.")
    @click.option(
        "--order", multiple=True, metavar="[-]FIELD", help="Sort by; - means descending. May be repeated."
    )
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="Rows at most.")
    @click.option(
        "--select", multiple=True, metavar="FIELD", help="Only these fields. May be repeated, or a,b,c."
    )
    @click.option("--after", metavar="CURSOR", help="Go on where an earlier page ended.")
    @click.option("--until", metavar="CURSOR", help="End with the page that this cursor ended.")
    @click.option("--distinct", is_flag=True, help="Each combination of the selected fields once.")
    @click.option("--include", metavar="JSON", help="Related rows, as in the query language.")
    @click.option("--group-by", multiple=True, metavar="FIELD", help="One row per value. May be repeated.")
    @click.option(
        "--aggregate", multiple=True, metavar="NAME=FUNCTION(FIELD)", help="count(*), sum, avg, min, max."
    )
    @click.option("--having", metavar="JSON", help="Filter over --group-by and --aggregate.")
    @click.option("--with-deleted", is_flag=True, help="Rows that were deleted, too.")
    @click.option("--sql", metavar="SQL", help="Read-only SQL instead of all of the above.")
    @click.option(
        "--param", "params", multiple=True, metavar="[NAME=]VALUE", help="A value for the SQL. Repeatable."
    )
    @functools.wraps(function)
    def wrapped(**options: Any) -> int:
        asked = Asked(**{name: options.pop(name) for name in Asked.__struct_fields__})
        return function(asked=asked, **options)

    return wrapped


def read_plan(asked: Asked) -> Query | Sql:
    """What to read. Raises ConfigError (`usage`) if the options contradict each other or say nothing."""
    if asked.sql is not None:
        if asked.structured():
            raise usage(
                f"--sql stands alone, but {', '.join(asked.structured())} is given too.",
                "Put filter, order and limit into the SQL.",
            )
        return Sql(sql=asked.sql, params=read_params(asked.params))
    if asked.params:
        raise usage("--param is given without --sql.", "Values of a structured query stand in --where.")
    if not asked.collection:
        raise usage(
            "Neither a collection nor --sql is given.", "Name one first, as in `keepdb query personas`."
        )
    return Query(
        source=asked.collection,
        where=_object(asked.where, "--where"),
        order_by=split_names(asked.order),
        limit=asked.limit,
        after=asked.after,
        until=asked.until,
        select=split_names(asked.select),
        distinct=asked.distinct,
        group_by=split_names(asked.group_by),
        aggregates=dict(read_aggregate(text) for text in asked.aggregate),
        having=_object(asked.having, "--having"),
        include=_include(asked.include),
        with_deleted=asked.with_deleted,
    )


def _object(text: str | None, name: str) -> dict[str, Any]:
    return {} if text is None else read_object(text, name)


def _include(text: str | None) -> dict[str, Include]:
    try:
        return msgspec.convert(_object(text, "--include"), dict[str, Include])
    except msgspec.ValidationError as error:
        raise usage(
            f"--include has not the right shape: {error}.",
            """Write for example '{"persona": {"via": "personaId"}}'.""",
        ) from None


def read_aggregate(text: str) -> tuple[str, dict[str, str]]:
    """`most=max(importance)` as the query language has it."""
    match = _AGGREGATE.fullmatch(text)
    if match is None:
        raise usage(f"--aggregate {text} is not understood.", "Write for example `--aggregate 'n=count(*)'`.")
    return match["name"], {match["function"]: match["field"] or "*"}


def wire_row(columns: tuple[str, ...], row: Any) -> dict[str, Any]:
    """A row as a map, values as they are on the wire."""
    return dict(zip(columns, row, strict=True))
