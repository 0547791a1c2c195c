"""The state: the rows, derived from the log, in one encrypted SQLite file per schema and generation.

The writer applies batches; query actors open the same class read-only. A state file that cannot be read is
never mended, it is built anew from the log under the next generation.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import apsw

from keepdb.errors import InvariantBroken, StorageError
from keepdb.files import sync_directory

from .batch import Batch, Position
from .changes import DEFAULT_LIMITS, RING_TABLE, Capture, ChangeBatch, Ring, RingLimits, read_ring
from .connection import (
    FILE_BYTES_MIN,
    CheckpointMode,
    WalBacklog,
    checkpoint,
    delete_database,
    explained,
    file_bytes,
    open_database,
    rows,
)
from .generations import state_names, state_path

STATE_FORMAT = 1
#: The largest integer SQLite can bind; positions come from clients, too.
_SEQ_MAX = 2**63 - 1
_POSITION = "applied_seq, log_hash, durable_seq"
_RESUME = f"{_POSITION}, ring_floor, ring_bytes"

_TABLES = (
    """
CREATE TABLE _meta (
  one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, schema_hash TEXT NOT NULL,
  generation INTEGER NOT NULL, log_generation INTEGER NOT NULL, complete INTEGER NOT NULL,
  applied_seq INTEGER NOT NULL, log_hash BLOB NOT NULL, durable_seq INTEGER NOT NULL,
  ring_floor INTEGER NOT NULL, ring_bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE _versions (collection TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE _quarantine (
  seq INTEGER PRIMARY KEY, type TEXT NOT NULL, collection INTEGER NOT NULL, entity TEXT NOT NULL,
  error TEXT NOT NULL
) STRICT;
"""
    + RING_TABLE
)


class StateFile:
    """One open state file. connection: materializers write through it inside batch(), readers query it.

    schema_hash, generation, log_generation: what it was built from. complete: it has reached the head once.
    """

    def __init__(
        self, path: Path, connection: apsw.Connection, *, writable: bool, limits: RingLimits
    ) -> None:
        """Use create(), open() or open_current()."""
        self.path = path
        self.connection = connection
        self._backlog = WalBacklog(connection, path)
        self.limits = limits
        meta = self._meta("format, schema_hash, generation, log_generation, complete")
        if meta[0] > STATE_FORMAT:
            raise StorageError(
                "file_newer",
                f"{path.name} has format {meta[0]}, this program knows {STATE_FORMAT}.",
                fix="Install the newer KeepDB; the file was not touched.",
            )
        self.schema_hash: str = meta[1]
        self.generation: int = meta[2]
        self.log_generation: int = meta[3]
        self.complete = bool(meta[4])
        self._capture = Capture(connection, self._id_columns()) if writable else None

    @classmethod
    def create(
        cls,
        directory: Path,
        schema_hash: str,
        generation: int,
        key: bytes,
        ddl: Sequence[str],
        log_generation: int,
        *,
        limits: RingLimits = DEFAULT_LIMITS,
    ) -> Self:
        """Make an empty, incomplete state at position 0. ddl: what schema.ddl.compile_ddl() or ddl() gave."""
        path = state_path(directory, schema_hash, generation)
        connection = open_database(path, key, kind="state", access="create")
        try:
            with explained(path), connection:
                connection.execute(_TABLES)
                for statement in ddl:
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO _meta VALUES (1, ?, ?, ?, ?, 0, 0, x'', 0, 0, 0)",
                    (STATE_FORMAT, schema_hash, generation, log_generation),
                )
            return cls(path, connection, writable=True, limits=limits)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open(
        cls, path: Path, key: bytes, access: Literal["write", "read"], *, limits: RingLimits = DEFAULT_LIMITS
    ) -> Self:
        """Open one file, complete or not. Raises StorageError as open_database does, and file_newer."""
        connection = open_database(path, key, kind="state", access=access)
        try:
            with explained(path):
                return cls(path, connection, writable=access == "write", limits=limits)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open_current(
        cls,
        directory: Path,
        schema_hash: str,
        key: bytes,
        access: Literal["write", "read"],
        *,
        limits: RingLimits = DEFAULT_LIMITS,
    ) -> Self | None:
        """Open the highest complete generation of this schema; None if there is none, so build one.

        A file that cannot be read raises, for the caller to report before it builds the next generation.
        """
        for name in state_names(directory, schema_hash):
            if file_bytes(name.path) < FILE_BYTES_MIN or not _has_meta(name.path, key):
                continue
            state = cls.open(name.path, key, access, limits=limits)
            if state.complete and state.schema_hash == schema_hash:
                return state
            state.close()
        return None

    @property
    def position(self) -> Position:
        """How far the log has been applied, as of now (readers: as of their snapshot)."""
        with explained(self.path):
            return Position(*self._meta(_POSITION))

    @property
    def wal_bytes(self) -> int:
        """Bytes of the write-ahead log that are not in the main file yet. For the writer only."""
        return self._backlog.bytes

    @property
    def file_bytes(self) -> int:
        """Size of the main file."""
        return file_bytes(self.path)

    @property
    def quarantined(self) -> int:
        """Number of events that could not be materialized."""
        with explained(self.path):
            return int(rows(self.connection, "SELECT count(*) FROM _quarantine")[0][0])

    def quarantined_entities(self) -> set[tuple[int, str]]:
        """(collection number, entity) whose events are set aside; new events of them belong there too."""
        with explained(self.path):
            found = rows(self.connection, "SELECT DISTINCT collection, entity FROM _quarantine")
        return {(collection, entity) for collection, entity in found}

    def versions(self) -> dict[str, int]:
        """Seq of the last change of each table that ever changed."""
        with explained(self.path):
            return dict(rows(self.connection, "SELECT collection, version FROM _versions"))

    def changes_after(self, seq: int, limit_bytes: int) -> list[ChangeBatch] | None:
        """Batches after a position, oldest first, in slices of about `limit_bytes`; [] when up to date.

        None: the ring does not reach back that far, or the position is not of this state: re-hydrate.
        """
        with explained(self.path):
            if self.connection.in_transaction:
                return self._changes_after(seq, limit_bytes)
            with self.connection:
                batches = self._changes_after(seq, limit_bytes)
        return batches

    def _changes_after(self, seq: int, limit_bytes: int) -> list[ChangeBatch] | None:
        if seq > _SEQ_MAX:
            return None
        batches = read_ring(self.connection, seq, limit_bytes)
        if batches == []:
            applied, floor = self._meta("applied_seq, ring_floor")
            return [] if floor <= seq <= applied else None
        return batches

    def ddl(self) -> tuple[str, ...]:
        """The statements that made the collections' tables and indexes, for a rebuild without compiling."""
        with explained(self.path):
            found = rows(
                self.connection,
                r"SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name NOT LIKE '\_%' ESCAPE '\' "
                r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type = 'index', rowid",
            )
        return tuple(sql for (sql,) in found)

    @contextmanager
    def batch(self, *, capture: bool = True) -> Iterator[Batch]:
        """BEGIN IMMEDIATE; whatever is not committed when the block ends is rolled back.

        capture=False empties the changes ring instead of filling it, for rebuilds.
        """
        if self._capture is None:
            raise InvariantBroken(
                "state_not_writable", f"{self.path.name} is open for reading.", fix="Report a bug."
            )
        with explained(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            seq, log_hash, durable_seq, floor, size = self._meta(_RESUME)
        self._capture.arm(images=capture)
        start, ring = Position(seq, log_hash, durable_seq), Ring(floor, size)
        batch = Batch(self.connection, self.path, self._capture, start, ring, self.limits, keep_ring=capture)
        try:
            yield batch
        finally:
            batch.rollback()

    def mark_complete(self) -> None:
        """From now on open_current() finds this file, also after a power cut."""
        with explained(self.path):
            self.connection.execute("UPDATE _meta SET complete = 1")
            self.checkpoint("TRUNCATE")
            sync_directory(self.path.parent)
        self.complete = True

    def checkpoint(self, mode: CheckpointMode) -> tuple[int, int]:
        """Move pages from the WAL into the main file; returns (frames in the WAL, frames moved)."""
        with explained(self.path):
            done = checkpoint(self.connection, mode)
        self._backlog.moved(*done)
        return done

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self.connection.close()

    def _meta(self, columns: str) -> tuple[Any, ...]:
        return rows(self.connection, f"SELECT {columns} FROM _meta")[0]

    def _id_columns(self) -> dict[str, int]:
        tables = rows(
            self.connection,
            r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\_%' ESCAPE '\' "
            r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\'",
        )
        return {name: self._id_column(name) for (name,) in tables}

    def _id_column(self, table: str) -> int:
        columns = rows(self.connection, "SELECT cid, pk FROM pragma_table_info(?)", (table,))
        keys = [int(cid) for cid, pk in columns if pk]
        if len(keys) != 1:
            raise StorageError(
                "state_without_id",
                f"Table {table} needs exactly one primary key column.",
                fix="Report a bug in the schema compiler.",
            )
        return keys[0]


def remove_others(directory: Path, keep: Path) -> list[Path]:
    """Delete every state file but `keep`, with its -wal and -shm; returns those that are still held
    (Windows).
    """
    held = []
    for name in state_names(directory):
        if name.path.name != keep.name and not delete_database(name.path):
            held.append(name.path)
    return held


def _has_meta(path: Path, key: bytes) -> bool:
    """False for a file whose creation was cut short."""
    connection = open_database(path, key, kind="state", access="read")
    try:
        with explained(path):
            return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_meta'").fetchall())
    finally:
        connection.close()
