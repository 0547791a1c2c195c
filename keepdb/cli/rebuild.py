"""`keepdb rebuild`: a new state file from the log, beside the one in use, then a switch."""

import threading

import click

from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.figures import number, span
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK
from keepdb.client.database import Database
from keepdb.clock import SystemClock
from keepdb.errors import KeepError
from messages.base import Done
from messages.commits import Rebuild, WriterFigures, WriterStatus

EXAMPLES = (
    "keepdb rebuild",
    "keepdb rebuild --json | jq .elapsedMs",
)
#: One slice of a rebuild may hold the writer up for some seconds.
ASK_S = 60.0
POLL_EVERY_S = 0.1


@click.command(cls=Command, examples=EXAMPLES)
@with_session
def rebuild(session: Session) -> int:
    """Build the state anew from the log and switch to it; reads and writes go on meanwhile."""
    clock = SystemClock()
    began = clock.monotonic()
    with connect(session) as db:
        before = _figures(db)
        db.ask("writer", Rebuild(), Done, timeout=ASK_S)
        after = _wait(session, db)
    if after.state_generation <= before.state_generation:
        raise KeepError(
            "rebuild_not_finished",
            "The writer gave up building the state anew; the old state is in use.",
            fix="`keepdb logs --actor writer` shows why. Then run it again.",
        )
    elapsed_ms = int((clock.monotonic() - began) * 1000)
    if session.console.json:
        session.console.data(
            {
                "schema": 1, "seq": after.state_seq, "stateGeneration": after.state_generation,
                "stateBytes": after.state_bytes, "quarantined": after.quarantined, "elapsedMs": elapsed_ms,
            }
        )  # fmt: skip
    else:
        session.console.line(
            f"state generation {after.state_generation} at seq {number(after.state_seq)}, built in {span(elapsed_ms)}",
            "green",
        )
    return OK


def _wait(session: Session, db: Database) -> WriterFigures:
    pause = threading.Event()
    with session.console.progress("rebuild") as progress:
        while True:
            figures = _figures(db)
            if figures.rebuild_total == 0:
                return figures
            progress.update(figures.rebuild_done, figures.rebuild_total)
            pause.wait(POLL_EVERY_S)


def _figures(db: Database) -> WriterFigures:
    return db.ask("writer", WriterStatus(), WriterFigures, timeout=ASK_S)
