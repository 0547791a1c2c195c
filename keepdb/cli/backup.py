"""`keepdb backup`: a sealed snapshot while writes go on, and the list of those there are."""

from typing import Any

import click

from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.figures import number, rfc3339, size, span
from keepdb.cli.terminal.jobs import run_job
from keepdb.cli.terminal.options import Command, CommandGroup, Session, with_session
from keepdb.cli.terminal.status import OK
from keepdb.clock import SystemClock
from messages.backups import Backups, ListBackups, MakeBackup

EXAMPLES = (
    "keepdb backup",
    "keepdb backup --label 'before the update'",
    "keepdb backup list",
    "keepdb backup --json | jq -r .backup",
)
LIST_EXAMPLES = ("keepdb backup list", "keepdb backup list --json | jq -r '.backups[0].id'")
LIST_S = 10.0


@click.group(cls=CommandGroup, examples=EXAMPLES, invoke_without_command=True)
@click.option("--label", default="", metavar="TEXT", help="A note that is kept with the backup.")
@with_session
def backup(session: Session, label: str) -> int:
    """Make a backup of the running database; writes go on meanwhile."""
    if click.get_current_context().invoked_subcommand is not None:
        return OK
    clock = SystemClock()
    began = clock.monotonic()
    with connect(session) as db:
        made = run_job(db, MakeBackup(label=label), "backup", session.console)
    elapsed_ms = int((clock.monotonic() - began) * 1000)
    if session.console.json:
        session.console.data({"schema": 1, **made, "elapsedMs": elapsed_ms})
    else:
        session.console.line(
            f"{made['backup']}  seq {number(made['seq'])}  {size(made['bytes'])}  in {span(elapsed_ms)}",
            "green",
        )
        session.console.say(f"Prove it: keepdb verify {made['backup']}", "dim")
    return OK


@backup.command("list", cls=Command, examples=LIST_EXAMPLES)
@with_session
def list_backups(session: Session) -> int:
    """List the backups, newest first."""
    with connect(session) as db:
        found = db.ask("backup", ListBackups(), Backups, timeout=LIST_S).backups
    if session.console.json:
        session.console.data({"schema": 1, "backups": [as_map(entry) for entry in found]})
        return OK
    session.console.table(
        ("BACKUP", "MADE", "SEQ", "SIZE", "VERIFIED", "LABEL"),
        [
            (
                entry["id"], _time(entry["at"]), number(entry["seq"]), size(entry["bytes"]),
                entry.get("error") or _time(entry["verifiedAt"]) or "never", entry["label"],
            )
            for entry in found
        ],
    )  # fmt: skip
    return OK


def as_map(entry: dict[str, Any]) -> dict[str, Any]:
    """A backup as the service lists it, with times as RFC 3339; a damaged one has no times but `error`."""
    return {**entry, "at": _time(entry["at"]) or None, "verifiedAt": _time(entry["verifiedAt"]) or None}


def _time(ms: int | None) -> str:
    return rfc3339(ms) if ms else ""
