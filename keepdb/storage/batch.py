"""One transaction of the state, in the order the write path needs it.

Rows first, each request under a savepoint; then, with the log's new head known, ring, versions and position;
the COMMIT last and apart, because the log commits in between.
"""

from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import apsw

from keepdb.errors import InvariantBroken, StorageError

from .changes import Capture, Change, Ring, RingLimits
from .connection import FILE_FAULTS, explained, storage_error

_SET_VERSION = (
    "INSERT INTO _versions VALUES (?, ?) ON CONFLICT (collection) DO UPDATE SET version = excluded.version"
)
_SET_POSITION = (
    "UPDATE _meta SET applied_seq = ?, log_hash = ?, durable_seq = ?, ring_floor = ?, ring_bytes = ?"
)


class Position(NamedTuple):
    """How far the log has been applied. log_hash: chain hash there, empty at seq 0.

    durable_seq: how much of that was synced in the log when it was applied; the rest was durability "os" and
    may be missing from the log after a power cut without any damage.
    """

    seq: int
    log_hash: bytes
    durable_seq: int


class Batch:
    """One state transaction: events applied, then finish(), then, once the log has committed, commit()."""

    def __init__(
        self,
        db: apsw.Connection,
        path: Path,
        capture: Capture,
        start: Position,
        ring: Ring,
        limits: RingLimits,
        *,
        keep_ring: bool,
    ) -> None:
        """Made by StateFile.batch(), inside its transaction."""
        self._db = db
        self._path = path
        self._capture = capture
        self._start = start
        self._ring = ring
        self._limits = limits
        self._keep_ring = keep_ring
        self._stage: Literal["open", "finished", "over"] = "open"
        self.changes: list[Change] = []
        self.versions: dict[str, int] = {}

    def begin(self, seq: int) -> None:
        """Row changes from now on belong to `seq`. May repeat a seq that a refused request gave back."""
        self._capture.seq = seq

    def request(self) -> "Savepoint":
        """A block whose rows and captured changes vanish together if it raises; the batch goes on.

        Errors of the file (disk full, damage) come out as StorageError and mean that the whole batch is over.
        """
        return Savepoint(self._db, self._capture, self._path)

    def quarantine(self, seq: int, event_type: str, collection: int, entity: str, error: str) -> None:
        """Set an event aside that could not be materialized. error: a code, never the event's content."""
        with explained(self._path):
            self._db.execute(
                "INSERT INTO _quarantine VALUES (?, ?, ?, ?, ?)", (seq, event_type, collection, entity, error)
            )

    def empty_ring(self) -> None:
        """Keep no images from before or of this batch, as after erasing a subject; subscribers re-hydrate."""
        self._keep_ring = False

    def finish(self, seq: int, log_hash: bytes, *, durable: bool = True) -> None:
        """Write ring, versions and position; afterwards `changes` and `versions` say what the batch did.

        seq, log_hash: the log's head with this batch. durable: the log syncs it before the state commits.
        """
        position = self._start
        if self._stage != "open" or seq <= position.seq or self._capture.last_seq() > seq:
            raise InvariantBroken(
                "batch_out_of_order",
                f"A batch after {position.seq} cannot end at {seq}.",
                fix="Report a bug.",
            )
        self.changes = self._capture.net()
        self.versions = self._capture.versions(self.changes)
        durable_seq = seq if durable else position.durable_seq
        with explained(self._path):
            if self._keep_ring:
                self._ring.store(self._db, self.changes, position.seq + 1, seq, self._limits)
            else:
                self._ring.clear(self._db, seq)
            self._db.executemany(
                _SET_VERSION,
                self.versions.items(),
            )
            self._db.execute(
                _SET_POSITION,
                (seq, log_hash, durable_seq, self._ring.floor, self._ring.bytes),
            )
        self._stage = "finished"

    def commit(self) -> None:
        """Commit what finish() wrote. If it raises, `position` of the state tells whether it is there."""
        if self._stage != "finished":
            raise InvariantBroken("batch_not_finished", "commit() before finish().", fix="Report a bug.")
        with explained(self._path):
            self._db.execute("COMMIT")
        self._stage = "over"

    def rollback(self) -> None:
        """Undo the whole batch unless it is committed. Safe to call twice."""
        if self._stage == "over":
            return
        self._stage = "over"
        if self._db.in_transaction:
            with explained(self._path):
                self._db.execute("ROLLBACK")


class Savepoint:
    """A class and not a generator: it runs once for every request (saves 1 µs)."""

    def __init__(self, db: apsw.Connection, capture: Capture, path: Path) -> None:
        self._db = db
        self._capture = capture
        self._path = path
        self._mark = 0

    def __enter__(self) -> None:
        with explained(self._path):
            self._db.execute("SAVEPOINT request")
        self._mark = self._capture.mark()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            with explained(self._path):
                self._db.execute("RELEASE request")
            return
        self._capture.forget_after(self._mark)
        if self._db.in_transaction:
            with explained(self._path):
                self._db.execute("ROLLBACK TO request; RELEASE request")
        if isinstance(error, FILE_FAULTS):
            raise storage_error(error, self._path) from error
        if not self._db.in_transaction:
            raise StorageError(
                "disk_error",
                f"{self._path.name}: SQLite gave up the transaction.",
                fix="Check the disk, then run `keepdb doctor`.",
            ) from error
