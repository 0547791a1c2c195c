"""`keepdb restore`: a backup becomes a data directory. Works without a running database, by the passphrase that
was valid when the backup was made; what was in the target directory is kept."""

import sys
from pathlib import Path

import click

from keepdb.cli.terminal.figures import number, span
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.passphrase import source_of_passphrase
from keepdb.cli.terminal.status import OK
from keepdb.clock import SystemClock
from keepdb.config import load_config
from keepdb.errors import InvalidRequest, KeepError

EXAMPLES = (
    "keepdb restore 20261122T225500123Z-000000001200 --to ./restored",
    "keepdb restore /mnt/usb/backups/20261122T225500123Z-000000001200 --to ./restored",
    "pass show keepdb | keepdb restore ID --to ./mydata --yes --passphrase-stdin",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("backup", metavar="ID_OR_PATH")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="The data directory to make.")  # fmt: skip
@click.option(
    "--yes", is_flag=True, help="If DIR exists, put it aside under another name and take its place."
)
@click.option(
    "--passphrase-stdin", is_flag=True, help="Take the passphrase from the first line of standard input."
)
@click.option("--recovery-code", "recovery", is_flag=True, help="Use the recovery code instead.")
@with_session
def restore(
    session: Session, backup: str, target: Path, yes: bool, passphrase_stdin: bool, recovery: bool
) -> int:
    """Restore a backup into the directory DIR.

    ID is a backup of --data; a path may lead anywhere. Nothing is ever overwritten: with --yes an existing DIR
    is kept as DIR.before-TIME.
    """
    from keepdb.backup import restore as restore_backup
    from keepdb.backup import unlock

    console, clock = session.console, SystemClock()
    path, target = find(session.data, backup), target.absolute()
    replace = yes
    if target.exists() and not yes and sys.stdin.isatty() and not passphrase_stdin:
        replace = click.confirm(f"{target} exists. Keep it under another name and take its place?", err=True)
        if not replace:
            raise KeepError("not_confirmed", "Nothing was changed.", fix="Choose another directory for --to.")
    # The secret is that of the backup, which carries its keyring.
    source = source_of_passphrase(
        Session(path, console, session.registry), passphrase_stdin, recovery, may_be_new=False
    )
    began = clock.monotonic()
    keys = unlock(path, source.secrets())
    with console.progress("restore") as progress:
        made = restore_backup(
            path, target, keys, replace=replace, clock=clock,
            progress=lambda step: progress.update(step.done, step.total),
        )  # fmt: skip
    elapsed_ms = int((clock.monotonic() - began) * 1000)
    if console.json:
        console.data(
            {
                "schema": 1, "backup": made.backup, "data": str(made.target), "seq": made.seq, "events": made.events,
                "erasedKeys": made.erased, "kept": str(made.kept) if made.kept else None, "elapsedMs": elapsed_ms,
            }
        )  # fmt: skip
        return OK
    console.line(f"{made.target}  seq {number(made.seq)}  restored in {span(elapsed_ms)}", "green")
    if made.kept:
        console.line(f"{made.kept}  is what was there before")
    console.say(f"Start it: keepdb start --data {made.target}", "dim")
    return OK


def find(data: Path, backup: str) -> Path:
    """The backup's directory. Raises InvalidRequest (`backup_unknown`)."""
    direct = Path(backup)
    if (direct / "manifest.json").exists() or (direct.is_dir() and len(direct.parts) > 1):
        return direct.absolute()
    user_file = data / "config.yaml"
    config = load_config((user_file,) if user_file.exists() else ())
    found = data / (config.backup.directory or "backups") / backup
    if backup in ("", ".", "..") or len(direct.parts) > 1 or not found.is_dir():
        raise InvalidRequest(
            "backup_unknown",
            f"{backup!r} is neither a backup of {data} nor the path of one.",
            fix="`keepdb backup list` shows the ids; a path must lead to the backup's own folder.",
        )
    return found
