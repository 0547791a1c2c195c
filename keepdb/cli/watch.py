"""`keepdb watch`: a live query, or every change, as lines until Ctrl-C."""

from typing import Any

import click

from keepdb.cli.terminal.asking import Asked, read_plan, wire_row, with_query_options
from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.console import Console
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK, usage
from keepdb.cli.terminal.table import cell
from keepdb.client.live import ChangeStream, LiveQuery, LiveResult
from messages.queries import Changes, Diff, Rehydrate

EXAMPLES = (
    "keepdb watch personas --where '{\"isActive\": true}' --select name",
    "keepdb watch memoryEntities --order -importance --limit 10 --json",
    "keepdb watch --changes",
    "keepdb watch --changes --after 1200 --collection personas --json",
)
SIGNS = {"insert": "+", "update": "~", "delete": "-"}
COLOURS = {"+": "green", "~": "yellow", "-": "red", ">": "cyan"}


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--changes", is_flag=True, help="Every change instead of a query; --after is then a seq.")
@click.option(
    "--collection", "only", multiple=True, metavar="NAME", help="With --changes: only this one. Repeatable."
)
@click.option(
    "--count", type=click.IntRange(1), metavar="N", help="End after N updates instead of by Ctrl-C."
)
@with_query_options
@with_session
def watch(session: Session, asked: Asked, changes: bool, only: tuple[str, ...], count: int | None) -> int:
    """Print a query's result, then what changes in it, as it happens.

    Lines begin with + (came in), - (went out), ~ (changed) or > (moved). With --json each update is one object.
    Ends by Ctrl-C with status 130.
    """
    if changes:
        after = _read_seq(asked)
        with connect(session) as db, db.changes(after, only) as stream:
            return _follow_changes(session.console, stream, count)
    if only:
        raise usage(
            "--collection is given without --changes.", "Name the collection of a query as the argument."
        )
    plan = read_plan(asked)
    with connect(session) as db, db.watch(plan) as live:
        return _follow_query(session.console, live, count)


def _follow_query(console: Console, live: LiveQuery, count: int | None) -> int:
    before: dict[Any, Any] = {}
    for number, result in enumerate(live, start=1):
        if console.json:
            console.data(as_map(result))
        else:
            _print(console, result, before)
        before = _by_key(result)
        if number == count:
            break
    return OK


def as_map(result: LiveResult) -> dict[str, Any]:
    """An update: {"event": "snapshot", …} with all rows, or {"event": "diff", …} as docs/protocol.md has it."""
    if result.diff is None:
        rows = [wire_row(result.columns, row) for row in result.rows]
        return {
            "event": "snapshot",
            "seq": result.seq,
            "columns": result.columns,
            "rows": rows,
            "cursor": result.cursor,
        }
    diff = result.diff
    return {
        "event": "diff",
        "seq": result.seq,
        "exit": diff.exit,
        "update": [wire_row(result.columns, row) for row in diff.update],
        "enter": [[at, wire_row(result.columns, row)] for at, row in diff.enter],
        "move": [list(pair) for pair in diff.move],
        "cursor": result.cursor,
    }


def _print(console: Console, result: LiveResult, before: dict[Any, Any]) -> None:
    if result.diff is None:
        console.say(f"seq {result.seq}: {len(result.rows)} rows", "dim")
        for row in result.rows:
            console.line(_row(" ", result.columns, row))
        return
    diff: Diff = result.diff
    console.say(f"seq {result.seq}", "dim")
    for key in diff.exit:
        console.line(_row("-", result.columns, before[key]) if key in before else f"- {key}", COLOURS["-"])
    for sign, rows in (("~", diff.update), ("+", [row for _, row in diff.enter])):
        for row in rows:
            console.line(_row(sign, result.columns, row), COLOURS[sign])
    for at, key in diff.move:
        console.line(f"> {key} to row {at + 1}", COLOURS[">"])


def _row(sign: str, columns: tuple[str, ...], row: Any) -> str:
    return f"{sign} " + "  ".join(f"{name}={cell(value)}" for name, value in zip(columns, row, strict=True))


def _by_key(result: LiveResult) -> dict[Any, Any]:
    """Rows by id, to show what a row that went out had been."""
    if "id" not in result.columns:
        return {}
    at = result.columns.index("id")
    return {row[at]: row for row in result.rows}


def _follow_changes(console: Console, stream: ChangeStream, count: int | None) -> int:
    console.say(f"changes after seq {stream.seq}", "dim")
    for number, push in enumerate(stream, start=1):
        for line in change_maps(push):
            if console.json:
                console.data(line)
            elif line["event"] == "rehydrate":
                console.line(f"! read everything anew as of seq {line['seq']}: {line['reason']}", "yellow")
            else:
                sign = SIGNS[line["op"]]
                console.line(f"{line['seq']}  {sign} {line['collection']}  {line['id']}", COLOURS[sign])
        if number == count:
            break
    return OK


def change_maps(push: Changes | Rehydrate) -> list[dict[str, Any]]:
    """One map per change, or one that says that continuity is broken."""
    if isinstance(push, Rehydrate):
        return [{"event": "rehydrate", "seq": push.seq, "generation": push.generation, "reason": push.reason}]
    return [
        {"event": "change", "seq": seq, "collection": collection, "op": op, "id": key}
        for seq, collection, op, key in push.rows
    ]


def _read_seq(asked: Asked) -> int:
    """Where a change stream starts: -1 is now."""
    others = [name for name in asked.structured() if name != "--after"]
    if others or asked.sql is not None or asked.params:
        raise usage(
            f"--changes stands alone, but {', '.join(others) or '--sql'} is given too.",
            "Name collections with --collection, and where to start with --after.",
        )
    if asked.after is None:
        return -1
    if not asked.after.isascii() or not asked.after.isdigit():
        raise usage(
            f"--after {asked.after} is not a seq.", "With --changes give a number, 0 for all that is kept."
        )
    return int(asked.after)
