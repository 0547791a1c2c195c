"""`keepdb query`: rows, once."""

import click

from keepdb.cli.terminal.asking import Asked, read_plan, wire_row, with_query_options
from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK
from messages.queries import Sql

EXAMPLES = (
    "keepdb query personas",
    "keepdb query memoryEntities --where '{\"importance\": {\">\": 80}}' --order -importance --limit 5 --select name",
    "keepdb query memoryEntities --group-by type --aggregate 'n=count(*)'",
    "keepdb query --sql 'SELECT name FROM personas WHERE isActive = ?' --param true",
    "keepdb query memoryEntities --limit 100 --json | jq -r '.rows[].name'",
)


@click.command(cls=Command, examples=EXAMPLES)
@with_query_options
@with_session
def query(session: Session, asked: Asked) -> int:
    """Read rows of a collection, or run read-only SQL.

    With --json the values are those of the wire: times are milliseconds since 1970. When there are more rows
    than the limit, the answer holds a cursor for --after.
    """
    plan = read_plan(asked)
    with connect(session) as db:
        result = db.sql(plan.sql, plan.params) if isinstance(plan, Sql) else db.query(plan)
    console = session.console
    if console.json:
        rows = [wire_row(result.columns, row) for row in result.rows]
        console.data(
            {"schema": 1, "columns": result.columns, "rows": rows, "seq": result.seq, "cursor": result.cursor}
        )
        return OK
    console.table(result.columns, result.rows)
    count = len(result.rows)
    console.say(f"{count} row{'' if count == 1 else 's'} at seq {result.seq}", "dim")
    if result.cursor:
        console.say(f"More rows: --after {result.cursor}", "dim")
    return OK
