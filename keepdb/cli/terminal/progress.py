"""A progress bar for long work: on standard error, and only if that is a terminal."""

from types import TracebackType
from typing import Self, TextIO

from keepdb.cli.terminal.figures import number

WIDTH = 30


class Progress:
    """Use in a `with` block; the line is wiped at the end."""

    def __init__(self, stream: TextIO, label: str, shown: bool) -> None:
        self._stream = stream
        self._label = label
        self._shown = shown
        self._last = ""

    def update(self, done: int, total: int) -> None:
        """total 0: not known yet."""
        if not self._shown:
            return
        if total > 0:
            filled = min(WIDTH, WIDTH * done // total)
            bar = "█" * filled + "░" * (WIDTH - filled)
            line = f"{self._label} {bar} {100 * min(done, total) // total:3d} %  {number(done)} of {number(total)}"
        else:
            line = f"{self._label} …"
        if line != self._last:
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()
            self._last = line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
