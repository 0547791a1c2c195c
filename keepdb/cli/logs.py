"""`keepdb logs`: the log files of all processes as one stream, in the order of time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from keepdb.cli.terminal.colour import TURN, paint
from keepdb.cli.terminal.console import Console
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK
from keepdb.cli.terminal.table import printable
from keepdb.errors import KeepError

EXAMPLES = (
    "keepdb logs",
    "keepdb logs -f --actor writer",
    "keepdb logs --level warning -n 0",
    "keepdb logs --json | jq 'select(.level == \"error\")'",
)
LEVELS = ("debug", "info", "warning", "error", "critical")
POLL_EVERY_S = 0.25
NAME_WIDTH = 10


@click.command(cls=Command, examples=EXAMPLES)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--actor", metavar="NAME", help="Only this process: supervisor, writer, query-1 …")
@click.option("--level", type=click.Choice(LEVELS[:4]), default="debug", help="Only this level and above.")
@click.option("-n", "--lines", type=click.IntRange(0), default=100, show_default=True,
              help="The last N lines; 0 means all there are.")  # fmt: skip
@with_session
def logs(session: Session, follow: bool, actor: str | None, level: str, lines: int) -> int:
    """Show the logs of all processes in one stream. Works whether or not the database runs."""
    directory = session.data / "logs"
    if not directory.is_dir():
        raise KeepError(
            "no_logs", f"{session.data} has no logs: no database was ever started there.", fix="Check --data."
        )
    _check_actor(directory, actor)
    printer = Printer(session.console, LEVELS.index(level))
    tails = {path: Tail(path) for path in _files(directory, actor)}
    entries = _merged([*_old_entries(directory, actor), *(e for tail in tails.values() for e in tail.read())])
    wanted = [entry for entry in entries if printer.wants(entry)]
    for entry in wanted[-lines:] if lines else wanted:
        printer.print(entry)
    pause = threading.Event()
    while follow:
        pause.wait(POLL_EVERY_S)
        for path in _files(directory, actor):
            tails.setdefault(path, Tail(path))
        for entry in _merged([e for tail in tails.values() for e in tail.read()]):
            if printer.wants(entry):
                printer.print(entry)
    return OK


class Tail:
    """Reads what was added to a log file since the last time, through its rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        # The file is not kept open: on Windows that would keep its process from rotating it.
        try:
            inode = self._path.stat().st_ino
            data = b""
            if self._inode and inode != self._inode:
                data = self._end_of_rotated()
                self._offset = 0
            self._inode = inode
            data += self._take(self._path)
        except FileNotFoundError:
            return []
        # A line that is being written waits for its end.
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [entry for line in whole if (entry := decode_line(line)) is not None]

    def _end_of_rotated(self) -> bytes:
        """What was still added to the file before it was put aside."""
        aside = self._path.with_name(f"{self._path.name}.1")
        if aside.exists() and aside.stat().st_ino == self._inode:
            return self._take(aside)
        return b""

    def _take(self, path: Path) -> bytes:
        with open(path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        return data


class Printer:
    """Writes entries, each process in a colour of its own."""

    def __init__(self, console: Console, level: int) -> None:
        self._console = console
        self._level = level
        self._colours: dict[str, str] = {}

    def wants(self, entry: dict[str, Any]) -> bool:
        level = entry["level"]
        return level not in LEVELS or LEVELS.index(level) >= self._level

    def print(self, entry: dict[str, Any]) -> None:
        if self._console.json:
            self._console.data(entry)
            return
        name, level, on = entry["process"], entry["level"], self._console.colour_out
        colour = self._colours.setdefault(name, TURN[len(self._colours) % len(TURN)])
        text = paint(printable(entry["message"]), "red" if level in LEVELS[3:] else "", on)
        mark = paint(
            f"{level:7}", {"error": "red", "critical": "red", "warning": "yellow"}.get(level, "dim"), on
        )
        self._console.line(f"{entry['at']}  {paint(f'{name:{NAME_WIDTH}}', colour, on)}  {mark}  {text}")
        for line in str(entry.get("error", "")).splitlines():
            self._console.line(f"    {printable(line)}", "dim")


def decode_line(line: bytes) -> dict[str, Any] | None:
    """One entry, or None for a line that is none: a crash may have cut it off."""
    try:
        entry = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return (
        entry
        if all(isinstance(entry.get(key), str) for key in ("at", "level", "process", "message"))
        else None
    )


def _files(directory: Path, actor: str | None) -> list[Path]:
    return sorted(path for path in directory.glob("*.jsonl") if actor is None or path.stem == actor)


def _old_entries(directory: Path, actor: str | None) -> Iterator[dict[str, Any]]:
    """Entries of files that rotation has put aside: <name>.jsonl.1, .2 …"""
    for path in directory.glob("*.jsonl.*"):
        if actor is None or path.name.partition(".jsonl")[0] == actor:
            for line in path.read_bytes().splitlines():
                if (entry := decode_line(line)) is not None:
                    yield entry


def _merged(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry["at"]))


def _check_actor(directory: Path, actor: str | None) -> None:
    known = sorted(path.stem for path in directory.glob("*.jsonl"))
    if actor is not None and actor not in known:
        raise KeepError(
            "actor_unknown",
            f"There are no logs of a process called {actor!r}.",
            fix=f"There are: {', '.join(known)}.",
        )
