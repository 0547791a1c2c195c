"""`keepdb verify`: restore a backup into a scratch directory and compare it with what it should hold."""

import click

from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.figures import span
from keepdb.cli.terminal.jobs import run_job
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK
from keepdb.clock import SystemClock
from messages.backups import VerifyBackup

EXAMPLES = (
    "keepdb verify",
    "keepdb verify 20261122T225500Z-1f3a",
    "keepdb backup && keepdb verify",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("backup_id", metavar="[ID]", default="")
@with_session
def verify(session: Session, backup_id: str) -> int:
    """Prove that a backup can be restored: the newest one, or ID.

    It is really restored, into a scratch directory, and the digest of its state is compared.
    """
    clock = SystemClock()
    began = clock.monotonic()
    with connect(session) as db:
        result = run_job(db, VerifyBackup(backup=backup_id), "verify", session.console)
    elapsed_ms = int((clock.monotonic() - began) * 1000)
    if session.console.json:
        session.console.data({"schema": 1, "verified": True, **result, "elapsedMs": elapsed_ms})
    else:
        name = result.get("backup", backup_id)
        session.console.line(f"{name}  restored and compared in {span(elapsed_ms)}: it is good", "green")
    return OK
