"""An actor's pulse: a page in shared memory on which its loop leaves the time, and what it is about to do.

Heartbeats as messages would wake the supervisor for every actor twice a second (measured: half of the CPU at
rest), and none could be sent from inside a stalled sync. The supervisor looks at the pages when it checks.
"""

import contextlib
import mmap
import os
import struct
from pathlib import Path

import msgspec

#: Last beat and end of the announced work (monotonic seconds, one clock for all processes), what that work is,
#: and why the actor does not do all it should.
_PAGE = struct.Struct("<dd48s192s")
_BUSY = struct.Struct("<d48s")
_BUSY_AT, _REASON_AT = 8, 64


class Reading(msgspec.Struct, frozen=True):
    """What the page says. busy, degraded: "" = nothing. Times in monotonic seconds, 0 = never."""

    beat_at: float = 0.0
    busy_until: float = 0.0
    busy: str = ""
    degraded: str = ""


class Pulse:
    """The actor's end. Writing costs less than a microsecond."""

    def __init__(self, run: Path, actor: str) -> None:
        descriptor = os.open(_path(run, actor), os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, _PAGE.size)
        self._page = mmap.mmap(descriptor, _PAGE.size)
        os.close(descriptor)
        _PAGE.pack_into(self._page, 0, 0.0, 0.0, b"", b"")

    def beat(self, now: float) -> None:
        """The loop turns."""
        struct.pack_into("<d", self._page, 0, now)

    def busy(self, kind: str, until: float) -> None:
        """The loop may not beat before `until`, because of `kind`; "" ends it."""
        _BUSY.pack_into(self._page, _BUSY_AT, until, kind.encode()[:48])

    def degraded(self, reason: str) -> None:
        """Why the actor does not do all it should; "" when it does."""
        struct.pack_into("192s", self._page, _REASON_AT, reason.encode()[:192])


def read_pulse(run: Path, actor: str) -> Reading:
    """The page of an actor; an empty reading while it has none."""
    with contextlib.suppress(OSError, struct.error):
        beat_at, busy_until, busy, degraded = _PAGE.unpack(_path(run, actor).read_bytes())
        return Reading(beat_at, busy_until, _text(busy), _text(degraded))
    return Reading()


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _path(run: Path, actor: str) -> Path:
    return run / f"{actor}.pulse"
