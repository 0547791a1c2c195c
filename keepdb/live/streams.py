"""Change streams: every change after a position, gap-free and in order, at each subscriber's own pace (L3).

Nothing is queued: a stream is a position in the changes ring, read on when the subscriber has credit. A
position the ring no longer reaches is answered with Rehydrate, never with silence.
"""

import logging
from collections.abc import Iterator

import msgspec

from keepdb.errors import StorageError
from keepdb.query.limits import QueryLimits
from keepdb.query.refusal import bad_value
from keepdb.storage.changes import ChangeBatch
from keepdb.storage.state import StateFile
from messages.queries import Changes, Rehydrate, SubscribeChanges

logger = logging.getLogger("keepdb.query")

#: Bytes of ring read for one push.
SLICE_BYTES = 256 * 1024


class _Stream(msgspec.Struct):
    """One subscription. seq: everything up to it has been sent. generation: of the log it counts in."""

    client: bytes
    sub: str
    seq: int
    generation: int
    collections: frozenset[str]
    credit: int


class ChangeStreams:
    """All change streams of one query actor."""

    def __init__(self, limits: QueryLimits) -> None:
        self._streams: dict[tuple[bytes, str], _Stream] = {}
        self._credit_max = limits.credit_max

    def __len__(self) -> int:
        return len(self._streams)

    def count(self, client: bytes) -> int:
        return sum(1 for owner, _ in self._streams if owner == client)

    def subscribe(self, client: bytes, message: SubscribeChanges, state: StateFile) -> int:
        """Add (or renew) a stream; returns the position it starts from. Raises InvalidRequest."""
        if not 1 <= message.credit <= self._credit_max:
            raise bad_value("credit", message.credit, f"an integer from 1 to {self._credit_max}")
        now = state.position.seq
        seq = now if message.after < 0 else message.after
        # Another generation counts other events: -1 makes the next push a Rehydrate.
        foreign = message.generation not in (0, state.log_generation)
        self._streams[client, message.sub] = _Stream(
            client, message.sub, -1 if foreign else seq, state.log_generation, frozenset(message.collections),
            message.credit,
        )  # fmt: skip
        return seq

    def unsubscribe(self, client: bytes, sub: str) -> bool:
        return self._streams.pop((client, sub), None) is not None

    def drop_client(self, client: bytes) -> None:
        for key in [key for key in self._streams if key[0] == client]:
            del self._streams[key]

    def restart(self) -> None:
        """Another state file: its rows were built anew, so every subscriber must read them anew."""
        for stream in self._streams.values():
            stream.seq = -1

    def ack(self, client: bytes, sub: str, count: int) -> bool:
        """Give credit back; False if there is no such stream."""
        stream = self._streams.get((client, sub))
        if stream is not None and count > 0:
            stream.credit = min(stream.credit + count, self._credit_max)
        return stream is not None

    def pushes(self, state: StateFile) -> Iterator[tuple[bytes, Changes | Rehydrate]]:
        """One push for every stream that is behind and has credit; call again until nothing comes."""
        head = state.position.seq
        for stream in list(self._streams.values()):
            if stream.seq == head or stream.credit < 1:
                continue
            stream.credit -= 1
            yield stream.client, self._next(stream, state, head)

    def _next(self, stream: _Stream, state: StateFile, head: int) -> Changes | Rehydrate:
        batches: list[ChangeBatch] | None = None
        reason = "the log was replaced"
        if stream.generation == state.log_generation and stream.seq >= 0:
            batches, reason = self._read(stream.seq, state)
        if not batches:
            stream.seq, stream.generation = head, state.log_generation
            return Rehydrate(sub=stream.sub, seq=head, generation=stream.generation, reason=reason)
        first, stream.seq = stream.seq + 1, batches[-1].seq_last
        rows = [
            (change.seq, name, change.op, str(change.id))
            for batch in batches
            for change in batch.changes
            if change.seq >= first and self._wanted(stream, name := change.collection.replace("__", "."))
        ]
        return Changes(sub=stream.sub, seq_first=first, seq_last=stream.seq, rows=rows)

    @staticmethod
    def _read(after: int, state: StateFile) -> tuple[list[ChangeBatch] | None, str]:
        """The next batches; where there are none, why. A damaged ring breaks streams, the rows may be intact."""
        try:
            return state.changes_after(after, SLICE_BYTES), "the changes since then are no longer kept"
        except StorageError as error:
            logger.error("the changes after %d cannot be read (%s)", after, error.code)
            return None, "the changes since then cannot be read"

    @staticmethod
    def _wanted(stream: _Stream, name: str) -> bool:
        """Child rows count as their collection's: "conversations.messages" is wanted with "conversations"."""
        return (
            not stream.collections
            or name in stream.collections
            or name.partition(".")[0] in stream.collections
        )
