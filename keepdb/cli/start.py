"""`keepdb start`: run the tree in this process, or start one that stays when we go.

Nothing secret is ever taken from argv or the environment: the passphrase comes from a hidden prompt or the
first line of standard input, and goes on through a pipe.
"""

import contextlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import click

from keepdb.cli.terminal.console import Console
from keepdb.cli.terminal.options import Command, Session, with_session, with_settings
from keepdb.cli.terminal.passphrase import PassphraseSource, source_of_passphrase
from keepdb.cli.terminal.status import OK, exit_status
from keepdb.errors import KeepError, Unavailable

EXAMPLES = (
    "keepdb start",
    "keepdb start --data ./mydata --detach",
    "pass show keepdb | keepdb start --passphrase-stdin",
    "keepdb start --set query.workers=1 --set logs.level=debug",
)
#: A start compiles the schema and derives a key (1 s); a large state that is built anew takes minutes.
READY_S = 120.0
READY_BYTES_MAX = 64 * 1024


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--detach", is_flag=True, help="Return when it is ready; it runs on until `keepdb stop`.")
@click.option(
    "--passphrase-stdin", is_flag=True, help="Take the passphrase from the first line of standard input."
)
@click.option("--recovery-code", "recovery", is_flag=True, help="Ask for the recovery code instead.")
@click.option(
    "--transport", type=click.Choice(["auto", "ipc", "tcp"]), help="Short for --set transport.kind=…"
)
@click.option(
    "--start-method", type=click.Choice(["auto", "forkserver", "spawn"]),
    help="Short for --set transport.start_method=…",
)  # fmt: skip
@with_settings
@with_session
def start(
    session: Session,
    detach: bool,
    passphrase_stdin: bool,
    recovery: bool,
    transport: str | None,
    start_method: str | None,
    config_files: tuple[Path, ...],
    settings: dict[str, str],
) -> int:
    """Run the database until Ctrl-C or `keepdb stop`.

    The passphrase is asked for without showing it, twice when the database is new; a new database also shows
    its recovery code, once. When everything is up, one line is printed: the ready line.
    """
    for name, value in (("transport.kind", transport), ("transport.start_method", start_method)):
        if value is not None:
            settings[name] = value
    source = source_of_passphrase(session, passphrase_stdin, recovery)
    if detach:
        return _start_detached(session, source, config_files, settings)
    return _start_here(session, source, config_files, settings)


def _start_here(
    session: Session, source: PassphraseSource, config_files: tuple[Path, ...], settings: dict[str, str]
) -> int:
    from keepdb.runtime.main import Options, run_supervisor

    outcome: list[dict[str, Any]] = []

    def emit(line: dict[str, object]) -> None:
        if line["event"] == "ready":
            _show_ready(session, line, "Ctrl-C stops it")
        else:
            outcome.append(line)

    options = Options(data=session.data, config_files=config_files, settings=settings)
    status = run_supervisor(session.registry(), options, source.frame, emit)
    if outcome:
        failure = KeepError(outcome[0]["code"], outcome[0]["message"], fix=outcome[0]["fix"])
        session.console.error(failure)
        return exit_status(failure) if status == 1 else status
    return status


def _start_detached(
    session: Session, source: PassphraseSource, config_files: tuple[Path, ...], settings: dict[str, str]
) -> int:
    from keepdb.client.sidecar import program
    from keepdb.runtime.secret_frame import encode_frame

    frame = encode_frame(source.frame(lifeline=False))
    arguments = [*program(), "host", "--data", str(session.data)]
    for file in config_files:
        arguments += ["--config", str(file.absolute())]
    for name, value in settings.items():
        arguments += ["--set", f"{name}={value}"]
    # A session of its own: neither Ctrl-C nor the terminal's end reaches it. What it has to say is in its logs.
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        line = _exchange(process, frame)
    except BaseException:
        process.kill()
        raise
    if line.get("event") == "ready":
        _show_ready(session, line, f"`keepdb stop --data {session.data}` stops it")
        return OK
    status = process.wait(READY_S)
    failure = KeepError(line["code"], line["message"], fix=line["fix"])
    session.console.error(failure)
    return exit_status(failure) if status == 1 else status


def _exchange(process: "subprocess.Popen[bytes]", frame: bytes) -> dict[str, Any]:
    """Hand over the frame, take the ready line."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(frame)
        process.stdin.close()
    timer = threading.Timer(READY_S, process.kill)
    timer.start()
    try:
        text = process.stdout.readline(READY_BYTES_MAX)
    finally:
        timer.cancel()
    try:
        return dict(json.loads(text))
    except ValueError:
        raise Unavailable(
            "start_failed",
            f"The database process ended, or was silent for {READY_S:.0f} s, without a ready line.",
            fix="`keepdb logs` shows what it was doing; `keepdb doctor` checks what it depends on.",
            retryable=False,
        ) from None


def _show_ready(session: Session, line: dict[str, Any], how_to_stop: str) -> None:
    console = session.console
    code = line.pop("recovery_code", "")
    if code:
        _show_recovery_code(console, code)
    if console.json:
        console.data(line)
    else:
        console.line(f"ready  pid {line['pid']}  {session.data}", "green")
        console.say(f"{how_to_stop}.", "dim")


def _show_recovery_code(console: Console, code: str) -> None:
    console.say("")
    console.say(f"  Recovery code:  {code}", "bold")
    console.say(
        "  It opens this database if the passphrase is lost. It is shown only now and stored nowhere:"
    )
    console.say("  write it down and keep it away from this computer.")
    console.say("")
