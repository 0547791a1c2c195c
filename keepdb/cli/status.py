"""`keepdb status`: every actor in one table, and where log and state stand."""

from typing import TYPE_CHECKING, Any, TypeVar

import click

from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.figures import number, rfc3339, size, span
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import NOT_RUNNING, OK
from keepdb.clock import SystemClock
from keepdb.errors import KeepError
from messages.base import Message, Request
from messages.commits import WriterFigures, WriterStatus
from messages.control import ActorStatus, GetHealth, Health, Status

if TYPE_CHECKING:
    from keepdb.client.database import Database

Answer = TypeVar("Answer", bound=Message)

EXAMPLES = (
    "keepdb status",
    "keepdb status --json | jq .state",
    "keepdb status >/dev/null || echo 'not running, or not in order'",
)
#: Writer and health may be down; the table of actors is worth more than waiting for them.
ASK_S = 1.0
COLOURS = {"stable": "green", "ready": "green", "busy": "yellow", "starting": "yellow", "waiting": "yellow"}


@click.command(cls=Command, examples=EXAMPLES)
@with_session
def status(session: Session) -> int:
    """Show every actor, and where log and state stand.

    Ends with 0 if all is well, 3 if nothing runs or something is degraded.
    """
    with connect(session) as db:
        tree = db.status()
        figures = _ask(db, "writer", WriterStatus(), WriterFigures)
        health = _ask(db, "health", GetHealth(), Health)
    if session.console.json:
        session.console.data(as_map(tree, figures, health, SystemClock().now_ms()))
    else:
        _print(session, tree, figures, health)
    serving = figures is None or figures.mode == "serving"
    return OK if tree.state == "ready" and serving else NOT_RUNNING


def as_map(tree: Status, figures: WriterFigures | None, health: Health | None, now_ms: int) -> dict[str, Any]:
    """The stable shape of `status --json`, schema 1."""
    return {
        "schema": 1,
        "at": rfc3339(now_ms),
        "state": tree.state,
        "pid": tree.pid,
        "startedAt": rfc3339(now_ms - tree.uptime_ms),
        "uptimeMs": tree.uptime_ms,
        "version": tree.version,
        "protocol": tree.protocol,
        "data": tree.data,
        "actors": [
            {
                "name": row.name, "state": row.state, "restarts": row.restarts, "uptimeMs": row.uptime_ms,
                "pid": row.pid, "rssBytes": _memory(health, row.name), "reason": row.reason,
            }
            for row in tree.actors
        ],
        "storage": None if figures is None else {
            "mode": figures.mode, "reason": figures.reason, "schemaHash": figures.schema_hash,
            "seq": figures.seq, "stateSeq": figures.state_seq,
            "generation": figures.generation, "stateGeneration": figures.state_generation,
            "logBytes": figures.log_bytes, "walBytes": figures.wal_bytes, "stateBytes": figures.state_bytes,
            "quarantined": figures.quarantined,
        },
        "alerts": None if health is None else list(health.alerts),
    }  # fmt: skip


def _print(session: Session, tree: Status, figures: WriterFigures | None, health: Health | None) -> None:
    console = session.console
    good = tree.state == "ready"
    console.line(
        f"{tree.state}  keepdb {tree.version}  pid {tree.pid}  up {span(tree.uptime_ms)}  {tree.data}",
        "green" if good else "red",
    )
    console.table(
        ("ACTOR", "STATE", "RESTARTS", "UPTIME", "PID", "MEMORY", "REASON"),
        [_row(row, health) for row in tree.actors],
        [COLOURS.get(row.state, "red") for row in tree.actors],
    )
    if figures is None:
        console.line("writer  does not answer", "red")
    else:
        mode = "" if figures.mode == "serving" else f"  {figures.mode}: {figures.reason}"
        console.line(
            f"log     seq {number(figures.seq)}  {size(figures.log_bytes)}  WAL {size(figures.wal_bytes)}{mode}",
            "red" if mode else "",
        )
        skipped = f"  {figures.quarantined} events quarantined" if figures.quarantined else ""
        console.line(f"state   seq {number(figures.state_seq)}  {size(figures.state_bytes)}{skipped}")
    for alert in health.alerts if health is not None else ():
        console.line(f"alert   {alert['message']} {alert['fix']} [{alert['code']}]", "yellow")


def _row(row: ActorStatus, health: Health | None) -> tuple[Any, ...]:
    memory = _memory(health, row.name)
    return (
        row.name, row.state, row.restarts, span(row.uptime_ms) if row.pid else "", row.pid or None,
        size(memory) if memory is not None else "", row.reason,
    )  # fmt: skip


def _memory(health: Health | None, name: str) -> int | None:
    found = health.actors.get(name, {}).get("rss_bytes") if health is not None else None
    return int(found) if found is not None else None


def _ask(db: "Database", service: str, message: Request, answer: type[Answer]) -> Answer | None:
    try:
        return db.ask(service, message, answer, timeout=ASK_S)
    except KeepError:
        return None
