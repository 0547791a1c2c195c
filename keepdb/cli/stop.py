"""`keepdb stop`: ask the supervisor to stop everything in order, and wait until it has gone."""

import contextlib
from pathlib import Path

import click
import psutil

from keepdb.cli.terminal.connecting import connect, living_owner
from keepdb.cli.terminal.figures import span
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK
from keepdb.clock import SystemClock
from keepdb.errors import KeepError, Unavailable
from keepdb.runtime.lock import Owner, own_directory
from keepdb.runtime.rundir import clear_run_directory
from messages.base import Done
from messages.control import Shutdown

EXAMPLES = (
    "keepdb stop",
    "keepdb stop --data ./mydata --timeout 60",
    "keepdb stop --kill",
)
ASK_S = 5.0
#: A killed supervisor's children end by themselves within two seconds.
KILL_S = 5.0


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--timeout", type=click.FloatRange(0.1, 3600), default=30.0, show_default=True, metavar="SECONDS",
              help="How long to wait for the orderly end.")  # fmt: skip
@click.option(
    "--kill", is_flag=True, help="If it has not ended by then, kill it. Nothing acknowledged is lost."
)
@with_session
def stop(session: Session, timeout: float, kill: bool) -> int:
    """Stop the running database in order.

    What has been begun is finished and answered first. Ends with 3 if nothing was running.
    """
    clock = SystemClock()
    began = clock.monotonic()
    owner = living_owner(session)
    if owner is None:
        connect(session).close()  # raises: there is nothing to connect to
        return OK
    how = _ask_to_stop(session)
    if not _gone(owner, timeout):
        if not kill:
            raise KeepError(
                "stop_timeout",
                f"Process {owner.pid} still runs {timeout:g} s after it was asked to stop.",
                fix="Wait and look at `keepdb status`, or run `keepdb stop --kill`; nothing acknowledged is lost.",
                retryable=True,
            )
        how = "killed"
        _kill(session, owner)
    elapsed_ms = int((clock.monotonic() - began) * 1000)
    if session.console.json:
        session.console.data(
            {"schema": 1, "stopped": True, "pid": owner.pid, "how": how, "elapsedMs": elapsed_ms}
        )
    else:
        session.console.line(f"stopped  pid {owner.pid}  after {span(elapsed_ms)}", "green")
    return OK


def _ask_to_stop(session: Session) -> str:
    """Over the wire; by signal if it does not listen. Returns which way it went."""
    try:
        with connect(session) as db:
            db.ask("supervisor", Shutdown(), Done, timeout=ASK_S)
            return "asked"
    except Unavailable as error:
        owner = living_owner(session)
        if owner is None:
            return "asked"
        session.console.say(f"The supervisor does not answer ({error.code}); it is sent SIGTERM.", "yellow")
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(owner.pid).terminate()
        return "signalled"


def _kill(session: Session, owner: Owner) -> None:
    """End the supervisor, wait for its children to follow, and clear away its sockets and connection file."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner.pid)
        family = [process, *process.children(recursive=True)]
        process.kill()
        psutil.wait_procs(family, timeout=KILL_S)
    # Only the owner of the directory may do this; somebody may have started it again meanwhile.
    with contextlib.suppress(KeepError, OSError):
        lock = own_directory(session.data)
        try:
            clear_run_directory(Path(owner.run))
        finally:
            lock.release()


def _gone(owner: Owner, timeout: float) -> bool:
    """Wait for the end of exactly this process; another one may have its pid by now."""
    try:
        process = psutil.Process(owner.pid)
        if owner.is_alive():
            process.wait(timeout)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True
