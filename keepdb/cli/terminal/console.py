"""Where output goes: data to standard output, messages and progress to standard error, errors as one block."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import msgspec

from keepdb.cli.terminal.colour import Choice, paint, wants_colour
from keepdb.cli.terminal.progress import Progress
from keepdb.cli.terminal.table import printable, render
from keepdb.errors import KeepError


class Console:
    """json: data as one JSON object (or a line each, for streams) instead of text."""

    def __init__(self, json: bool, colour: Choice) -> None:
        self.json = json
        self.colour_out = wants_colour(colour, os.environ, sys.stdout.isatty())
        self.colour_err = wants_colour(colour, os.environ, sys.stderr.isatty())

    def data(self, value: dict[str, Any]) -> None:
        """One JSON object on a line of its own. Values that only msgpack knows (bytes) become base64."""
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def line(self, text: str, colour: str = "") -> None:
        """One line of text for people, as data."""
        sys.stdout.write(paint(text, colour, self.colour_out) + "\n")
        sys.stdout.flush()

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[Any]], colours: Sequence[str] = ()
    ) -> None:
        """A table, cut to the terminal's width if there is a terminal. colours: one per row."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        first, *rest = render(header, rows, width)
        self.line(first, "bold")
        for at, text in enumerate(rest):
            self.line(text, colours[at] if colours else "")

    def say(self, text: str, colour: str = "") -> None:
        """A message beside the data."""
        sys.stderr.write(paint(text, colour, self.colour_err) + "\n")
        sys.stderr.flush()

    def progress(self, label: str) -> Progress:
        return Progress(
            sys.stderr, label, not self.json and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        )

    def error(self, error: KeepError) -> None:
        """What and why, what to do, code: one JSON object, three lines on a terminal, or one line."""
        if self.json:
            self.data({"error": error_map(error)})
            return
        write_error(sys.stderr, error, self.colour_err)


def error_map(error: KeepError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "fix": error.fix, "retryable": error.retryable}


def write_error(stream: TextIO, error: KeepError, colour: bool) -> None:
    """On a terminal three short lines are easier to read; in a file one line is easier to find."""
    what, fix = (printable(" ".join(text.split())) for text in (error.message, error.fix))
    head = paint("error:", "red", colour)
    if stream.isatty():
        stream.write(f"{head} {what}\n  fix: {fix}\n {paint(f'code: {error.code}', 'dim', colour)}\n")
    else:
        stream.write(f"{head} {what} {fix} [{error.code}]\n")
    stream.flush()
