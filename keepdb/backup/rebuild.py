"""A data directory out of a backup: what restoring and rehearsing have in common.

Everything is checked on the way in: sizes and hashes of the files, each chunk of the pieces, the hash chain from
its base to the head, the numbers of rows. The caller removes the directory if anything raises.
"""

from pathlib import Path
from typing import Final

import apsw
import msgspec

from keepdb.errors import StorageError
from keepdb.storage.connection import explained
from keepdb.storage.entries import Head, genesis
from keepdb.storage.faults import LogDamaged
from keepdb.storage.log import EventLog

from .faults import damaged
from .files import get, put
from .keys import Keys
from .manifest import Manifest
from .pieces import pieces_cipher, read_records
from .progress import Progress, Steps
from .rows import EVENTS, SLICE_BYTES, SLICE_ROWS, TABLES, Chain, Row, Table, insert, parse

#: The new log's WAL is emptied after so many slices (of up to 1 MiB), so that it needs no room twice.
CHECKPOINT_SLICES: Final = 16


class Rebuilt(msgspec.Struct, frozen=True):
    """head: where the log ends. key_ids: the data keys it uses."""

    head: Head
    key_ids: set[int]


def rebuild_steps(backup: Path, manifest: Manifest, directory: Path, keys: Keys) -> Steps[Rebuilt]:
    """Write keyring, schema and log into `directory`, synced. Raises `backup_damaged` and what the disk raises."""
    for entry in manifest.files:
        data = get(backup / entry.name, entry.bytes, entry.sha256)
        if data is None:
            raise damaged(backup, f"{entry.name} is missing or was changed")
        put(directory / entry.name, data)
    base = Head(manifest.log.base_seq, bytes.fromhex(manifest.log.base_hash))
    db_id = bytes.fromhex(manifest.db_id)
    if base.seq == 0 and base != genesis(db_id):
        raise damaged(backup, "its log does not begin at this database's beginning")
    log = EventLog.create(
        directory, manifest.log.generation, keys.log, db_id, bytes.fromhex(manifest.log.device), base=base
    )
    try:
        rebuilt = yield from _fill(backup, manifest, log, base, keys)
    finally:
        close_clean(log)
    return rebuilt


def _fill(backup: Path, manifest: Manifest, log: EventLog, base: Head, keys: Keys) -> Steps[Rebuilt]:
    cipher = pieces_cipher(keys.backup, manifest.backup, bytes.fromhex(manifest.salt))
    records = read_records(backup, cipher, manifest.backup, manifest.pieces, manifest.chunk_bytes)
    chain = Chain(backup.name, base)
    counts = {table.name: 0 for table in TABLES}
    rows: dict[Table, list[Row]] = {}
    size = slices = pending = 0
    ended: dict[str, int] | None = None
    total = max(1, manifest.events)
    for record in records:
        if ended is not None:
            raise damaged(backup, "it goes on after its end")
        table, row = _parsed(backup, record)
        if table is None:
            ended = row[0]
            continue
        if table is EVENTS:
            _chained(backup, chain, row)
        rows.setdefault(table, []).append(row)
        counts[table.name] += 1
        size, pending = size + len(record), pending + 1
        if size >= SLICE_BYTES or pending >= SLICE_ROWS:
            _store(backup, log, rows)
            rows, size, pending, slices = {}, 0, 0, slices + 1
            if slices % CHECKPOINT_SLICES == 0:
                log.checkpoint("TRUNCATE")
            yield Progress("restore", min(total, counts[EVENTS.name]), total)
    _store(backup, log, rows)
    if ended != counts or counts[EVENTS.name] != manifest.events:
        raise damaged(backup, "it does not have as many rows as it should")
    if chain.head != Head(manifest.log.seq, bytes.fromhex(manifest.log.hash)):
        raise damaged(backup, f"its log ends at event {chain.head.seq} otherwise than its manifest says")
    return Rebuilt(chain.head, chain.key_ids)


def _parsed(backup: Path, record: bytes) -> tuple[Table | None, Row]:
    try:
        return parse(record)
    except ValueError as error:
        raise damaged(backup, str(error)) from error


def _chained(backup: Path, chain: Chain, row: Row) -> None:
    try:
        chain.add(row)
    except LogDamaged as error:
        raise damaged(backup, f"its log breaks at event {error.seq}") from error


def _store(backup: Path, log: EventLog, rows: dict[Table, list[Row]]) -> None:
    try:
        insert(log.connection, log.path, rows)
    except StorageError as error:
        # Two rows under one key, or a value of the wrong type: the tables are strict.
        if isinstance(error.__cause__, apsw.ConstraintError):
            raise damaged(backup, "its rows contradict each other") from error
        raise


def close_clean(log: EventLog) -> None:
    """Close a log whose end was just checked; unlike after a crash, its WAL may be merged and removed."""
    log.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    log.close()


def open_rebuilt(directory: Path, keys: Keys, rebuilt: Rebuilt) -> EventLog:
    """The log just written, opened as the writer will open it."""
    log = EventLog.open(directory, keys.log, "write")
    with explained(log.path):
        if log.head != rebuilt.head:
            log.close()
            raise StorageError(
                "disk_error",
                f"{log.path.name} does not read back as it was written.",
                fix="Check the disk, then restore again.",
            )
    return log
