"""The event log, the only truth: an append-only, hash-chained, encrypted SQLite file per generation.

Only the writer appends, inside `transaction`; backup, search and roll-forward read. What an event means is no
concern of this module: it stores and chains bytes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import apsw
import msgspec

from keepdb.errors import InvariantBroken, StorageError
from keepdb.files import FileLock, sync_directory

from .connection import (
    CheckpointMode,
    WalBacklog,
    checkpoint,
    delete_database,
    explained,
    file_bytes,
    open_database,
    rows,
    storage_error,
)
from .entries import Head, LogEntry, LogEvent, Recorded, genesis, link, pack_ids, unpack_ids
from .faults import CommitFailed, LogDamaged
from .filelock import lock_for_writing
from .generations import log_generations, log_path

LOG_FORMAT = 1

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY, device BLOB NOT NULL, n INTEGER NOT NULL, type TEXT NOT NULL,
  collection INTEGER NOT NULL, entity TEXT NOT NULL, subject TEXT, key_id INTEGER, at INTEGER NOT NULL,
  clear BLOB NOT NULL, body BLOB, sealed BLOB,
  request_client BLOB NOT NULL, request_number INTEGER NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TABLE requests (
  client BLOB, number INTEGER, digest BLOB NOT NULL, seq_first INTEGER NOT NULL, seq_last INTEGER NOT NULL,
  at INTEGER NOT NULL, ids BLOB NOT NULL, PRIMARY KEY (client, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency (
  key TEXT PRIMARY KEY, digest BLOB NOT NULL, seq_first INTEGER NOT NULL, seq_last INTEGER NOT NULL,
  at INTEGER NOT NULL, ids BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE subjects (subject TEXT PRIMARY KEY, key_id INTEGER NOT NULL UNIQUE) STRICT, WITHOUT ROWID;
"""
_COLUMNS = ", ".join(LogEvent.__struct_fields__)
_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(LogEvent.__struct_fields__))})"
_SET_SUBJECT = (
    "INSERT INTO subjects VALUES (?, ?) ON CONFLICT (subject) DO UPDATE SET key_id = excluded.key_id"
)
_SET_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class EventLog:
    """One open generation of the log.

    connection: for tests and the backup API; nobody else writes through it. db_id, device: 16 bytes each.
    base: the head of the generation before, or the genesis; the first event is base.seq + 1.
    """

    def __init__(self, path: Path, connection: apsw.Connection, lock: FileLock | None) -> None:
        """Use create() or open()."""
        self.path = path
        self.connection = connection
        self._lock = lock
        self._backlog = WalBacklog(connection, path)
        meta = self._meta()
        self.generation: int = meta["generation"]
        self.db_id: bytes = meta["db_id"]
        self.device: bytes = meta["device"]
        self.complete = bool(meta["complete"])
        self.base = Head(meta["base_seq"], meta["base_hash"])
        self._head: Head | None = None
        self._n = 0
        self._synchronous_full = True
        # SQLite checkpoints on close and deletes the WAL. Until this connection has committed, nobody has
        # vouched for the log's end, and what is left of a damaged tail must stay for its rescue.
        self._vouched = False
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # A tail that came through a crash of the process may not have been synced.
        self._unsynced = self.wal_bytes > 0

    @classmethod
    def create(
        cls,
        directory: Path,
        generation: int,
        key: bytes,
        db_id: bytes,
        device: bytes,
        *,
        base: Head | None = None,
        complete: bool = True,
    ) -> Self:
        """Make the log of a new generation and open it for writing.

        It is built under another name and renamed, so that a crash leaves no half-made log behind. base: head
        of the generation it continues. complete=False: open() passes it over until mark_complete().
        """
        path = log_path(directory, generation)
        if path.exists():
            raise StorageError(
                "file_exists",
                f"{path.name} is there already and is not overwritten.",
                fix="Open it, or use the next generation.",
            )
        draft = path.with_name(path.name + ".new")
        delete_database(draft)
        base = base or genesis(db_id)
        meta = {
            "format": LOG_FORMAT,
            "db_id": db_id,
            "device": device,
            "generation": generation,
            "complete": int(complete),
            "base_seq": base.seq,
            "base_hash": base.hash,
        }
        connection = open_database(draft, key, kind="log", access="create")
        with explained(draft):
            try:
                with connection:
                    connection.execute(_TABLES)
                    connection.executemany(_SET_META, meta.items())
            finally:
                connection.close()
            draft.rename(path)
            sync_directory(directory)
        return cls._open(path, key, "write")

    @classmethod
    def open(cls, directory: Path, key: bytes, access: Literal["write", "read"]) -> Self:
        """Open the highest complete generation.

        Raises StorageError: log_missing (there is none at all), log_incomplete (none is finished),
        second_writer, file_newer, and those of open_database. A generation that cannot be read is never
        passed over.
        """
        generations = log_generations(directory)
        for generation in generations:
            log = cls._open(log_path(directory, generation), key, access)
            if log.complete:
                return log
            log.close()
        if generations:
            raise StorageError(
                "log_incomplete",
                "No generation of the log was ever finished.",
                fix="Restore a backup with `keepdb restore`.",
            )
        raise StorageError(
            "log_missing",
            f"There is no event log in {directory}.",
            fix="Start with an empty data directory, or restore a backup.",
        )

    @classmethod
    def _open(cls, path: Path, key: bytes, access: Literal["write", "read"]) -> Self:
        lock = lock_for_writing(path.with_suffix(".lock")) if access == "write" else None
        try:
            connection = open_database(path, key, kind="log", access=access)
            try:
                with explained(path):
                    return cls(path, connection, lock)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if lock:
                lock.release()
            raise

    @property
    def head(self) -> Head:
        """The last event's position and hash; inside a transaction those of the last appended one."""
        return self._load_head() if self._head is None or self._lock is None else self._head

    @property
    def wal_bytes(self) -> int:
        """Bytes of the write-ahead log that are not in the main file yet. For the writer only."""
        return self._backlog.bytes

    @property
    def file_bytes(self) -> int:
        """Size of the main file."""
        return file_bytes(self.path)

    @property
    def unsynced(self) -> bool:
        """Whether events may be lost at a power cut, because no synced commit came after them."""
        return self._unsynced

    @contextmanager
    def transaction(self, sync: bool) -> Iterator[None]:
        """Everything appended inside is committed together, or not at all.

        sync: True returns after the disk has it, False after the system has it. Raises CommitFailed when
        COMMIT raised (outcome unknown); any other exception means that nothing was committed. Either way the
        connection is rolled back and usable.
        """
        with explained(self.path):
            self._set_synchronous(sync)
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            self._require_own_tail()
            yield
        except BaseException:
            self._rollback()
            self._head = None
            raise
        self._commit()
        self._unsynced = not sync
        if not self._vouched:
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._vouched = True

    def append(self, batch: Sequence[LogEntry]) -> list[Recorded]:
        """Store requests with their events at the next positions; returns what each one's receipt says.

        Only inside `transaction`. A request or idempotency key stored before raises InvariantBroken: the
        caller looks them up first.
        """
        if not self.connection.in_transaction:
            raise InvariantBroken(
                "log_not_in_transaction", "append() outside transaction().", fix="Report a bug."
            )
        seq, previous = self.head
        events: list[tuple[Any, ...]] = []
        recorded: list[Recorded] = []
        for entry in batch:
            seq_first = seq + 1
            for new in entry.events:
                seq += 1
                self._n += 1
                stored = (
                    seq,
                    self.device,
                    self._n,
                    new.type,
                    new.collection,
                    new.entity,
                    new.subject,
                    new.key_id,
                    entry.at,
                    new.clear,
                    new.body,
                    new.sealed,
                    entry.client,
                    entry.number,
                )
                previous = link(previous, stored)
                events.append((*stored, previous))
            if seq < seq_first:
                raise InvariantBroken(
                    "request_without_events", "A request has no event.", fix="Report a bug."
                )
            recorded.append(Recorded(entry.digest, seq_first, seq, entry.at, entry.ids))
        try:
            with explained(self.path):
                self._insert(batch, events, recorded)
        except StorageError as error:
            if isinstance(error.__cause__, apsw.ConstraintError):
                raise InvariantBroken(
                    "request_stored_twice", "A request or key is in the log already.", fix="Report a bug."
                ) from error
            raise
        self._head = Head(seq, previous)
        return recorded

    def assign_subjects(self, assignments: Sequence[tuple[str, int]]) -> None:
        """Bind subjects to key ids, inside `transaction`. A subject seen before gets the new key for new
        writes.
        """
        with explained(self.path):
            self.connection.executemany(
                _SET_SUBJECT,
                assignments,
            )

    def subject_keys(self) -> dict[str, int]:
        """The key id that seals new writes of each subject."""
        with explained(self.path):
            return dict(rows(self.connection, "SELECT subject, key_id FROM subjects"))

    def find_request(self, client: bytes, number: int) -> Recorded | None:
        """What became of a request; None if it was not carried out."""
        return self._find(
            "SELECT digest, seq_first, seq_last, at, ids FROM requests WHERE client = ? AND number = ?",
            (client, number),
        )

    def find_idempotency(self, key: str) -> Recorded | None:
        """The request that carried this idempotency key; None if there was none."""
        return self._find(
            "SELECT digest, seq_first, seq_last, at, ids FROM idempotency WHERE key = ?", (key,)
        )

    def last_number(self, client: bytes) -> int:
        """The highest number of this client that was carried out; 0 if none."""
        with explained(self.path):
            row = self.connection.execute(
                "SELECT max(number) FROM requests WHERE client = ?", (client,)
            ).fetchone()
        return (row and row[0]) or 0

    def read(self, after_seq: int, limit: int) -> list[LogEvent]:
        """Up to `limit` events after a position, in order. Raises LogDamaged where a page cannot be read."""
        events: list[LogEvent] = []
        try:
            for row in self.connection.execute(
                f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
            ):
                events.append(LogEvent(*row))
        except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, TypeError) as error:
            raise LogDamaged(
                self.path.name, after_seq + len(events) + 1, "its page cannot be read"
            ) from error
        except apsw.Error as error:
            raise storage_error(error, self.path) from error
        return events

    def hash_at(self, seq: int) -> bytes | None:
        """Chain hash at a position; None if this generation does not have it."""
        if seq == self.base.seq:
            return self.base.hash
        with explained(self.path):
            row = self.connection.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
        return row[0] if row else None

    def verify(self, from_seq: int, to_seq: int) -> Head:
        """Recompute the chain over from_seq..to_seq (both included) and return the head there.

        Takes about 3 µs an event: call it in slices. Raises LogDamaged with the first position that is wrong.
        """
        previous = self.hash_at(from_seq - 1)
        if previous is None:
            raise LogDamaged(self.path.name, from_seq - 1, "it is missing")
        head = Head(from_seq - 1, previous)
        while head.seq < to_seq:
            events = self.read(head.seq, min(500, to_seq - head.seq))
            if not events:
                raise LogDamaged(self.path.name, head.seq + 1, "it is missing")
            head = self.chain(head, events)
        return head

    def chain(self, previous: Head, events: Sequence[LogEvent]) -> Head:
        """The head after `events`, which must follow `previous` without gap and carry the right hashes."""
        seq, chain_hash = previous
        for event in events:
            seq += 1
            if event.seq != seq:
                raise LogDamaged(self.path.name, seq, "it is missing")
            chain_hash = link(chain_hash, msgspec.structs.astuple(event)[:-1])
            if chain_hash != event.hash:
                raise LogDamaged(self.path.name, seq, "its content does not fit the hash chain")
        return Head(seq, chain_hash)

    def sync(self) -> None:
        """Make everything committed so far survive a power cut. May raise CommitFailed."""
        if self._unsynced:
            with self.transaction(True):
                self.connection.execute(_SET_META, ("synced_seq", self.head.seq))

    def checkpoint(self, mode: CheckpointMode) -> tuple[int, int]:
        """Move pages from the WAL into the main file; returns (frames in the WAL, frames moved)."""
        with explained(self.path):
            done = checkpoint(self.connection, mode)
        self._backlog.moved(*done)
        return done

    def mark_complete(self) -> None:
        """From now on open() finds this generation."""
        with self.transaction(True):
            self.connection.execute(_SET_META, ("complete", 1))
        self.complete = True

    def close(self) -> None:
        """Close the file and let go of the lock. Safe to call twice."""
        self.connection.close()
        if self._lock:
            self._lock.release()

    def _meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = dict(rows(self.connection, "SELECT key, value FROM meta"))
        if meta["format"] > LOG_FORMAT:
            raise StorageError(
                "file_newer",
                f"{self.path.name} has format {meta['format']}, this program knows {LOG_FORMAT}.",
                fix="Install the newer KeepDB; the file was not touched.",
            )
        return meta

    def _load_head(self) -> Head:
        with explained(self.path):
            row = self.connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            own = self.connection.execute(
                "SELECT n FROM events WHERE device = ? ORDER BY seq DESC LIMIT 1", (self.device,)
            ).fetchone()
        self._n = own[0] if own else 0
        self._head = Head(*row) if row else self.base
        return self._head

    def _require_own_tail(self) -> None:
        """Someone else's append would break the chain; the lock forbids it, this notices it all the same."""
        with explained(self.path):
            (last,) = self.connection.execute("SELECT max(seq) FROM events").fetchall()[0]
        if (last or self.base.seq) != self.head.seq:
            raise StorageError(
                "second_writer",
                f"{self.path.name} was changed by another writer.",
                fix="Stop the other program, then restart this one.",
            )

    def _set_synchronous(self, full: bool) -> None:
        if full != self._synchronous_full:
            # SQLite ignores this pragma inside a transaction.
            self.connection.pragma("synchronous", "FULL" if full else "NORMAL")
            self._synchronous_full = full

    def _insert(
        self, batch: Sequence[LogEntry], events: list[tuple[Any, ...]], recorded: list[Recorded]
    ) -> None:
        receipts = [(one.digest, one.seq_first, one.seq_last, one.at, pack_ids(one.ids)) for one in recorded]
        pairs = list(zip(batch, receipts, strict=True))
        self.connection.executemany(_INSERT_EVENT, events)
        self.connection.executemany(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(one.client, one.number, *row) for one, row in pairs],
        )
        keyed = [(one.idempotency_key, *row) for one, row in pairs if one.idempotency_key is not None]
        if keyed:
            self.connection.executemany("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?, ?)", keyed)

    def _commit(self) -> None:
        try:
            self.connection.execute("COMMIT")
        except apsw.Error as error:
            self._rollback()
            # Unknown until it is read again: the commit may be there.
            self._head = None
            raise CommitFailed(self.path.name, error) from error

    def _rollback(self) -> None:
        if self.connection.in_transaction:
            try:
                self.connection.execute("ROLLBACK")
            except apsw.Error:
                # The reason for rolling back matters more; SQLite ends the transaction on such errors itself.
                return

    def _find(self, sql: str, key: tuple[bytes | str | int, ...]) -> Recorded | None:
        with explained(self.path):
            row = self.connection.execute(sql, key).fetchone()
            return Recorded(row[0], row[1], row[2], row[3], unpack_ids(row[4])) if row else None
