"""`keepdb query`: rows, once."""

from typing import Any

import click
import msgspec

from keepdb.cli.terminal.asking import Asked, read_plan, wire_row, with_query_options
from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.console import Console
from keepdb.cli.terminal.figures import rfc3339
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK
from keepdb.client.database import Result
from messages.queries import Explanation, Sql

EXAMPLES = (
    "keepdb query personas",
    'keepdb query memoryEntities --where \'{"importance": {">": 80}}\' --order -importance --limit 5 --select name',
    "keepdb query memoryEntities --group-by type --aggregate 'n=count(*)'",
    'keepdb query memoryEntities --include \'{"persona": {"via": "personaId", "select": ["name"]}}\'',
    "keepdb query memoryEntities --order -importance --limit 20 --explain",
    "keepdb query --sql 'SELECT name FROM personas WHERE isActive = ?' --param true",
    "keepdb query memoryEntities --limit 100 --json | jq -r '.rows[].name'",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--explain", is_flag=True, help="Instead of rows: how they are found and kept up to date.")
@with_query_options
@with_session
def query(session: Session, asked: Asked, explain: bool) -> int:
    """Read rows of a collection, or run read-only SQL.

    With --json the values are those of the wire: times are milliseconds since 1970. When there are more rows
    than the limit, the answer holds a cursor for --after.
    """
    plan = read_plan(asked)
    with connect(session) as db:
        if explain:
            return _explain(session.console, db.explain(plan))
        result = db.sql(plan.sql, plan.params) if isinstance(plan, Sql) else db.query(plan)
        # JSON keeps the wire's values, and SQL names its columns as it likes.
        times = (
            set() if session.console.json or isinstance(plan, Sql) else timestamps(db.describe(), plan.source)
        )
    console = session.console
    if console.json:
        rows = [wire_row(result.columns, row) for row in result.rows]
        console.data(
            {"schema": 1, "columns": result.columns, "rows": rows, "seq": result.seq, "cursor": result.cursor}
        )
        return OK
    console.table(result.columns, readable(result, times))
    count = len(result.rows)
    console.say(f"{count} row{'' if count == 1 else 's'} at seq {result.seq}", "dim")
    if result.cursor:
        console.say(f"More rows: --after {result.cursor}", "dim")
    return OK


def _explain(console: Console, found: Explanation) -> int:
    if console.json:
        parts = msgspec.to_builtins(found)
        del parts["type"]
        console.data({"schema": 1, **parts})
        return OK
    decisions = [f"seq {seq}: {what}, {why}" for seq, what, why in found.decisions]
    figures = [f"{name} {figure}" for name, figure in found.live.items()]
    lines_of = {
        "sql": [found.sql],
        "plan": found.plan,
        "live": [f"{found.strategy}: {found.reason}"],
        "reads": found.reads,
        "guards": found.guards,
        "now": figures,
        "decisions": decisions,
    }
    for name, lines in lines_of.items():
        for line in lines:
            console.line(f"{name:<10}{line}")
            name = ""
    return OK


def timestamps(schema: dict[str, Any], collection: str) -> set[str]:
    """Names of the collection's fields that are times."""
    name, _, rows = collection.partition(".")
    found = schema["collections"].get(name, {})
    fields = found.get("rows", {}).get(rows, {}) if rows else found
    own = {field for field, about in fields.get("fields", {}).items() if about["type"] == "timestamp"}
    return own | {"createdAt", "updatedAt", "deletedAt"}


def readable(result: Result, times: set[str]) -> list[list[Any]]:
    """Rows with times as RFC 3339."""
    is_time = [name in times for name in result.columns]
    return [
        [
            rfc3339(value) if at and isinstance(value, int) else value
            for at, value in zip(is_time, row, strict=True)
        ]
        for row in result.rows
    ]
