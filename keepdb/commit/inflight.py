"""What a writer's successor must know if it dies, in memory that survives it (W6, W8).

The requests in flight: after one crash they are suspects and groups hold one request, so that a second crash
names the culprit, which is then refused instead of taking the database down again. And whether the log's last
sync had failed: then the file cannot be trusted although it reads well.
"""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

RequestId = tuple[bytes, int]

#: 64 requests of 16 + 8 bytes and as many suspects, with room to spare.
_SIZE = 16 * 1024
#: A request that was in flight in so many crashes is refused.
CRASHES_MAX = 2

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[RequestId], list[tuple[RequestId, int]], bool]).decode


class InFlight:
    """suspects: request -> number of crashes it was in flight in. sync_failed: no sync since has succeeded.

    Backed by a file in the run directory: it outlives processes, but not the machine's memory, and neither do
    the pages a failed sync left there.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, _SIZE)
        self._path = path
        self._map = mmap.mmap(descriptor, _SIZE)
        os.close(descriptor)
        in_flight, suspects, self.sync_failed = self._load()
        self.suspects: dict[RequestId, int] = dict(suspects)
        for request in in_flight:
            self.suspects[request] = self.suspects.get(request, 0) + 1
        self._in_flight: list[RequestId] = []
        self._store()

    def note_sync(self, *, failed: bool) -> None:
        """The log's sync failed, or the log was closed and opened cleanly since."""
        if failed != self.sync_failed:
            self.sync_failed = failed
            self._store()

    def is_poisoned(self, request: RequestId) -> bool:
        return self.suspects.get(request, 0) >= CRASHES_MAX

    def begin(self, requests: Iterable[RequestId]) -> None:
        """These are being carried out from now on, together with those begun before."""
        self._in_flight += requests
        self._store()

    def end(self) -> None:
        """All that were begun have been answered, whatever the answer."""
        for request in self._in_flight:
            if not self.is_poisoned(request):
                self.suspects.pop(request, None)
        self._in_flight.clear()
        self._store()

    def forget_suspects(self) -> None:
        """They were not sent again: whoever sent them has gone, and groups may be large again."""
        self.suspects = {request: count for request, count in self.suspects.items() if count >= CRASHES_MAX}
        self._store()

    @property
    def has_suspects(self) -> bool:
        """Whether a request is about that a crash may be due to; those found guilty are refused anyway."""
        return any(count < CRASHES_MAX for count in self.suspects.values())

    def close(self) -> None:
        """The writer ends in order; the file goes unless a successor must know something."""
        self._map.close()
        if not self.suspects and not self.sync_failed:
            self._path.unlink(missing_ok=True)

    def _load(self) -> tuple[list[RequestId], list[tuple[RequestId, int]], bool]:
        size = int.from_bytes(self._map[:4], "little")
        if not 0 < size <= _SIZE - 4:
            return [], [], False
        try:
            return _decode(self._map[4 : 4 + size])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [], [], False

    def _store(self) -> None:
        body = _encode((self._in_flight, list(self.suspects.items())[:64], self.sync_failed))
        # Length 0 while the body is half written: a crash in between finds nothing rather than nonsense.
        self._map[:4] = bytes(4)
        self._map[4 : 4 + len(body)] = body
        self._map[:4] = len(body).to_bytes(4, "little")
