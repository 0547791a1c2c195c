"""`keepdb demo`: real text, a live query, a writer killed in the middle, and proof that nothing was lost."""

import contextlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from keepdb.cli.demonstration.checking import account, canaries, query_times, search_files
from keepdb.cli.demonstration.docstrings import Document, read_documents
from keepdb.cli.demonstration.watching import Watcher
from keepdb.cli.demonstration.writing import Written, write
from keepdb.cli.terminal.console import Console
from keepdb.cli.terminal.figures import number, size, span
from keepdb.cli.terminal.jobs import run_job
from keepdb.cli.terminal.options import Command, with_output
from keepdb.cli.terminal.status import FAILED, OK, usage
from keepdb.client.database import Database
from keepdb.client.sidecar import Sidecar
from keepdb.clock import Clock, SystemClock
from keepdb.errors import KeepError
from messages.backups import MakeBackup, VerifyBackup

EXAMPLES = (
    "keepdb demo",
    "keepdb demo --docs 2000",
    "keepdb demo --data ./demo-data --keep",
    "keepdb demo --json | jq .nextAcknowledgementMs",
)
#: Fewer documents are committed before the writer could be killed in the middle.
DOCS_MIN = 100


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="A new or empty directory, kept at the end. Default: a temporary one.")  # fmt: skip
@click.option(
    "--docs", type=click.IntRange(DOCS_MIN), metavar="N", help="At most N documents. Default: all there are."
)
@click.option("--keep", is_flag=True, help="Keep the temporary directory and show the recovery code.")
@with_output
def demo(console: Console, data: Path | None, docs: int | None, keep: bool) -> int:
    """Show on real text that nothing acknowledged is lost.

    Commits the docstrings of the standard library and of all installed packages as memories, one persona per
    package, while a live query is open; kills the writer in the middle; accounts for every acknowledged
    document; makes a backup and verifies it; looks for plain text in every file. Ends with 1 if anything is
    amiss. The passphrase is random and never leaves memory.
    """
    if data is not None and data.exists() and any(data.iterdir()):
        raise usage(
            f"{data} is not empty.", "The demo wants a new directory of its own; leave out --data for one."
        )
    keep = keep or data is not None
    place = data.absolute() if data is not None else Path(tempfile.mkdtemp(prefix="keepdb-demo-"))
    run_directory: Path | None = None
    try:
        documents = _read(console, docs)
        with Sidecar.start(place, passphrase=secrets.token_urlsafe(24)) as sidecar:
            run_directory = run_directory_of(sidecar)
            figures, problems = _perform(console, sidecar, documents, run_directory)
            code = sidecar.recovery_code
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
            if run_directory is not None:
                with contextlib.suppress(OSError):
                    run_directory.rmdir()
    _show(console, figures, problems)
    if keep:
        console.say(f"Kept in {place}. It opens with the recovery code {code}")
    return FAILED if problems else OK


def run_directory_of(sidecar: Sidecar) -> Path | None:
    """Where its sockets are; None if they are on tcp."""
    endpoint = str(sidecar.ready["endpoints"]["supervisor"])
    return Path(endpoint.removeprefix("ipc://")).parent if endpoint.startswith("ipc://") else None


def _read(console: Console, docs: int | None) -> list[Document]:
    console.say("Reading the docstrings of the standard library and the installed packages …")
    with console.progress("read") as progress:
        documents = read_documents(docs, progress.update)
    if len(documents) < DOCS_MIN:
        raise KeepError(
            "no_documents",
            f"Only {len(documents)} docstrings were found; the demo needs {DOCS_MIN}.",
            fix="Run it with a Python that has the sources of its standard library.",
        )
    return documents


def _perform(
    console: Console, sidecar: Sidecar, documents: list[Document], run_directory: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """All acts in order; returns what was measured and what was amiss."""
    clock = SystemClock()
    watcher = Watcher(sidecar)
    with sidecar.connect() as db:
        watcher.start()
        console.say(f"Committing {number(len(documents))} documents; the writer is killed half-way …")
        with console.progress("commit") as progress:
            written = write(db, documents, clock, progress.update)
        console.say(
            f"Writer {written.killed_pid} was killed, {written.unanswered} commits on their way. Checking …"
        )
        live_agrees = watcher.agrees_with(db, clock)
        watcher.stop()
        found = account(db, written.acknowledged)
        seq = db.writer_status().seq
        times = query_times(db, written.acknowledged, clock)
        console.say("Making a backup and verifying it …")
        backup = _back_up(console, db, clock)
        storage = db.writer_status()
    needles = canaries(documents)
    folders = [sidecar.data, *([run_directory] if run_directory is not None else [])]
    files, size_read, hits = search_files(folders, needles)
    events = len(documents) + written.personas
    figures: dict[str, Any] = {
        **_written_figures(documents, written), "rows": found.rows, "lost": found.lost, "surplus": found.surplus,
        "altered": found.altered, "seq": seq, "events": events, "liveDiffs": watcher.diffs,
        "liveSnapshots": watcher.snapshots, "liveAgrees": live_agrees, **times, **backup,
        "logBytes": storage.log_bytes, "stateBytes": storage.state_bytes, "walBytes": storage.wal_bytes,
        "canaries": len(needles), "canaryFiles": files, "canaryBytes": size_read, "canaryHits": len(hits),
    }  # fmt: skip
    problems = [
        text
        for amiss, text in (
            (
                len(written.acknowledged) != len(documents),
                "not every document was acknowledged under an id of its own",
            ),
            (found.lost, f"{found.lost} acknowledged documents are missing"),
            (found.surplus, f"{found.surplus} rows are there that nobody acknowledged"),
            (found.altered, f"{found.altered} documents differ from what was committed"),
            (seq != events, f"the log stands at seq {seq}, but {events} events were committed"),
            (
                not live_agrees,
                f"the live query does not show what is there ({watcher.error or 'it stands still'})",
            ),
            (
                backup["backupEvents"] != events,
                f"the backup holds {backup['backupEvents']} of {events} events",
            ),
            (hits, f"plain text was found in {', '.join(hits[:5])}"),
        )
        if amiss
    ]
    return figures, problems


def _written_figures(documents: list[Document], written: Written) -> dict[str, Any]:
    return {
        "documents": len(documents),
        "personas": written.personas,
        "textBytes": sum(len(document.text.encode()) for document in documents),
        "commits": written.commits,
        "commitsPerS": round(written.commits / written.seconds),
        "documentsPerS": round(len(documents) / written.seconds),
        "commitMs": round(written.seconds * 1000),
        "unansweredAtKill": written.unanswered,
        "nextAcknowledgementMs": round(written.next_acknowledgement_s * 1000, 1),
        "acknowledged": len(written.acknowledged),
    }


def _back_up(console: Console, db: Database, clock: Clock) -> dict[str, Any]:
    began = clock.monotonic()
    made = run_job(db, MakeBackup(label="demo"), "backup", console)
    middle = clock.monotonic()
    proven = run_job(db, VerifyBackup(backup=made["backup"]), "verify", console)
    return {
        "backupMs": round((middle - began) * 1000), "verifyMs": round((clock.monotonic() - middle) * 1000),
        "backupBytes": made["bytes"], "backupEvents": proven["events"],
    }  # fmt: skip


def _show(console: Console, figures: dict[str, Any], problems: list[str]) -> None:
    if console.json:
        console.data({"schema": 1, "ok": not problems, "problems": problems, **figures})
        return
    console.table(("MEASURED", "RESULT"), _rows(figures))
    for problem in problems:
        console.line(f"AMISS: {problem}.", "red")
    if not problems:
        console.line(
            "Nothing acknowledged was lost, nothing was doubled, nothing is readable on disk.", "green"
        )


def _rows(of: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("documents", f"{number(of['documents'])} under {of['personas']} personas, {size(of['textBytes'])} of text"),
        ("commits, synced", f"{number(of['commitsPerS'])}/s, {number(of['documentsPerS'])} documents/s"),
        ("all of them", span(of["commitMs"])),
        ("killed writer", f"{of['unansweredAtKill']} commits on their way"),
        ("next acknowledgement", f"{of['nextAcknowledgementMs']} ms after the kill"),
        ("acknowledged", f"{number(of['acknowledged'])}; lost {of['lost']}, surplus {of['surplus']}, "
                         f"altered {of['altered']}"),
        ("log", f"seq {number(of['seq'])} for {number(of['events'])} events"),
        ("live query", f"{number(of['liveDiffs'])} diffs, {of['liveSnapshots']} snapshots, "
                       f"{'agrees' if of['liveAgrees'] else 'does not agree'} in the end"),
        ("read by id", f"{of['pointReadMs']} ms"),
        ("filter and sort", f"{of['filterSortMs']} ms for some 75 rows with sealed content"),
        ("count by SQL", f"{of['countAllMs']} ms"),
        ("backup", f"{span(of['backupMs'])}, {size(of['backupBytes'])}; verified in {span(of['verifyMs'])}"),
        ("on disk", f"log {size(of['logBytes'])}, state {size(of['stateBytes'])}, WAL {size(of['walBytes'])}"),
        ("plain text", f"{of['canaryHits']} of {of['canaries']} sentences and names found in {of['canaryFiles']} files "
                       f"({size(of['canaryBytes'])})"),
    ]  # fmt: skip
