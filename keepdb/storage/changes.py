"""What a batch did to the rows: capture through SQLite's preupdate hook, and the bounded ring in the state
file.

The ring is how every subscriber catches up, so it either has all changes after a position or says that it has
not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import apsw
import msgspec

from .connection import rows

Op = Literal["insert", "update", "delete"]
Row = tuple[Any, ...]

# Trimming goes in slices, so that no commit pays for a ring that was made smaller.
TRIM_ROWS_MAX = 64

RING_TABLE = """
CREATE TABLE _changes (
  seq_last INTEGER PRIMARY KEY, seq_first INTEGER NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
"""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One row's net change under one seq. collection: table name. before, after: storage values in column
    order.
    """

    seq: int
    collection: str
    op: Op
    id: str | int
    before: Row | None
    after: Row | None


class ChangeBatch(msgspec.Struct, frozen=True):
    """The changes of one applied transaction. It covers seq_first..seq_last even where no row changed."""

    seq_first: int
    seq_last: int
    changes: list[Change]


@dataclass(frozen=True)
class RingLimits:
    """How far the ring reaches back. max_seqs: events. max_bytes: sum of the stored bodies."""

    max_seqs: int = 10_000
    max_bytes: int = 16 * 1024 * 1024


DEFAULT_LIMITS = RingLimits()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


class Capture:
    """Collects raw row changes of one connection while it is armed.

    tables: table name -> position of its id column; changes of other tables are not seen.
    """

    def __init__(self, connection: apsw.Connection, tables: Mapping[str, int]) -> None:
        self._tables = dict(tables)
        self._raw: list[tuple[int, str, Row | None, Row | None]] = []
        self._images = True
        self.seq = 0
        connection.preupdate_hook(self._on_change, id=self)

    def arm(self, images: bool) -> None:
        """Start a batch. images=False notes only which tables changed, as a rebuild needs no ring."""
        self._raw.clear()
        self._images = images
        self.seq = 0

    def mark(self) -> int:
        """A point to return to with forget_after()."""
        return len(self._raw)

    def forget_after(self, mark: int) -> None:
        """Drop what was captured since mark()."""
        del self._raw[mark:]

    def last_seq(self) -> int:
        """The highest seq that changed a row; 0 if none did."""
        return self._raw[-1][0] if self._raw else 0

    def net(self) -> list[Change]:
        """First before image and last after image of each row and seq, in order; rows left as they were drop
        out.
        """
        if not self._images:
            return []
        merged: dict[tuple[int, str, Any], tuple[Row | None, Row | None]] = {}
        for seq, table, before, after in self._raw:
            at = self._tables[table]
            if before is not None and after is not None and before[at] != after[at]:
                # A new id is another row for every subscriber.
                _merge(merged, (seq, table, before[at]), before, None)
                _merge(merged, (seq, table, after[at]), None, after)
            else:
                row = cast(Row, before if after is None else after)
                _merge(merged, (seq, table, row[at]), before, after)
        return [
            Change(seq, table, _op(before, after), row_id, before, after)
            for (seq, table, row_id), (before, after) in merged.items()
            if before != after
        ]

    def versions(self, changes: list[Change]) -> dict[str, int]:
        """Table -> seq of its last change in this batch."""
        if not self._images:
            return {table: seq for seq, table, _, _ in self._raw}
        return {change.collection: change.seq for change in changes}

    def _on_change(self, update: apsw.PreUpdate) -> None:
        table = update.table_name
        if table not in self._tables:
            return
        if self._images:
            self._raw.append((self.seq, table, cast(Row | None, update.old), cast(Row | None, update.new)))
        elif update.op != "UPDATE" or update.old != update.new:
            self._raw.append((self.seq, table, None, None))


@dataclass
class Ring:
    """The ring's bookkeeping. floor: every change after this seq is in the ring. bytes: sum of the bodies."""

    floor: int
    bytes: int

    def store(
        self, db: apsw.Connection, changes: list[Change], first: int, last: int, limits: RingLimits
    ) -> None:
        """Add a batch and drop the oldest ones beyond the limits."""
        body = _encode(changes)
        if len(body) > limits.max_bytes:
            # A batch larger than the whole ring: subscribers must re-hydrate, and are told by the floor.
            self.clear(db, last)
            return
        db.execute("INSERT INTO _changes VALUES (?, ?, ?, ?)", (last, first, len(body), body))
        self.bytes += len(body)
        if last - self.floor > limits.max_seqs or self.bytes > limits.max_bytes:
            self._trim(db, last, limits)

    def clear(self, db: apsw.Connection, floor: int) -> None:
        """Empty the ring; it reaches back to `floor` from now on."""
        db.execute("DELETE FROM _changes")
        self.floor, self.bytes = floor, 0

    def _trim(self, db: apsw.Connection, last: int, limits: RingLimits) -> None:
        oldest = rows(db, "SELECT seq_last, bytes FROM _changes ORDER BY seq_last LIMIT ?", (TRIM_ROWS_MAX,))
        for seq_last, size in oldest:
            if last - self.floor <= limits.max_seqs and self.bytes <= limits.max_bytes:
                break
            # The newest batch stays, so that whoever is up to date can always go on.
            if seq_last == last:
                break
            self.floor, self.bytes = seq_last, self.bytes - size
        db.execute("DELETE FROM _changes WHERE seq_last <= ?", (self.floor,))


def read_ring(db: apsw.Connection, after_seq: int, limit_bytes: int) -> list[ChangeBatch] | None:
    """Batches after a position, oldest first; [] if there are none; None if they begin behind a gap.

    limit_bytes: stops after the batch that passes it, at least one batch comes. A batch that was seen in part
    gives its rest.
    """
    batches: list[ChangeBatch] = []
    size, seq = 0, after_seq
    for seq_first, seq_last, length, body in db.execute(
        "SELECT seq_first, seq_last, bytes, body FROM _changes WHERE seq_last > ? ORDER BY seq_last",
        (after_seq,),
    ):
        if seq_first > seq + 1:
            return None
        changes = _decode(body)
        if seq_first <= seq:
            changes = [change for change in changes if change.seq > seq]
        batches.append(ChangeBatch(seq + 1, seq_last, changes))
        seq = seq_last
        size += length
        if size >= limit_bytes:
            break
    return batches


def _merge(
    merged: dict[tuple[int, str, Any], tuple[Row | None, Row | None]],
    key: tuple[int, str, Any],
    before: Row | None,
    after: Row | None,
) -> None:
    known = merged.get(key)
    merged[key] = (known[0] if known else before, after)


def _op(before: Row | None, after: Row | None) -> Op:
    if before is None:
        return "insert"
    return "delete" if after is None else "update"
