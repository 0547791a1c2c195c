"""A note in shared memory on which an actor says that its loop will not turn for a while, and why.

A message could not be sent from inside a stalled sync, and one per commit would wake the supervisor for
nothing. The supervisor reads the note only when heartbeats are missing or somebody asks for the status.
"""

import contextlib
import mmap
import os
import struct
from pathlib import Path

#: Deadline (monotonic seconds, the same clock in every process) and what is being done.
_NOTE = struct.Struct("<d56s")


def note_path(run: Path, actor: str) -> Path:
    return run / f"{actor}.busy"


class BusyNote:
    """The actor's end. Writing costs less than a microsecond."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, _NOTE.size)
        self._map = mmap.mmap(descriptor, _NOTE.size)
        os.close(descriptor)
        self.clear()

    def write(self, kind: str, until: float) -> None:
        """until: monotonic seconds at which whoever waits may lose patience."""
        _NOTE.pack_into(self._map, 0, until, kind.encode()[:56])

    def clear(self) -> None:
        _NOTE.pack_into(self._map, 0, 0.0, b"")


def read_note(path: Path) -> tuple[str, float]:
    """What the actor is doing and until when; ("", 0.0) if nothing is noted."""
    with contextlib.suppress(OSError, struct.error, UnicodeDecodeError):
        until, kind = _NOTE.unpack(path.read_bytes())
        return kind.rstrip(b"\0").decode(), until
    return "", 0.0
