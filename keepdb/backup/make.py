"""Making a backup while writes go on.

The end is fixed first: the position S of one snapshot of the state, whose digest is taken in that snapshot. Then
the log is copied up to exactly S, slice by slice, and the keyring last, because a key that the log uses was on
disk before its first use (W7). The manifest is written at the very end and the directory gets its name after it.
"""

import os
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

import keepdb
from keepdb.clock import Clock
from keepdb.crypto import keyfile
from keepdb.errors import InvalidRequest, StorageError
from keepdb.schema.load import parse_schema
from keepdb.schema.model import Schema
from keepdb.storage.connection import explained
from keepdb.storage.digest import digest_steps
from keepdb.storage.entries import Head
from keepdb.storage.log import EventLog
from keepdb.storage.state import StateFile

from .faults import not_now
from .files import put
from .keycheck import check_copy
from .keys import Keys
from .manifest import FORMAT, KEYRING, LABEL_CHARS_MAX, SCHEMA, FileEntry, LogPart, Manifest, write_manifest
from .pieces import SALT_BYTES, PieceWriter, pieces_cipher
from .progress import Progress, Steps, run
from .rows import EVENTS, IDEMPOTENCY, REQUESTS, SUBJECTS, Chain, end_record, read_slices
from .scratch import PARTIAL, Scratch

Random = Callable[[int], bytes]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What is backed up. data: the data directory. schema_text: the schema.yaml that `schema` was read from.

    db_id: 16 bytes. chunk_bytes: size of one sealed chunk.
    """

    data: Path
    keys: Keys
    db_id: bytes
    schema: Schema
    schema_text: bytes
    chunk_bytes: int


class _Snapshot(msgspec.Struct, frozen=True):
    """The end of the backup and what the state looks like there."""

    head: Head
    digest: str
    ddl: tuple[str, ...]


def make(
    source: Source,
    directory: Path,
    label: str,
    clock: Clock,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Path, Manifest]:
    """make_steps in one go."""
    return run(make_steps(source, directory, label, clock), progress)


def make_steps(
    source: Source, directory: Path, label: str, clock: Clock, random: Random = os.urandom
) -> Steps[tuple[Path, Manifest]]:
    """Make a backup in `directory` (created if missing); returns its path and manifest.

    label: at most 200 characters, kept in clear. Raises `state_not_ready` (retryable), `label_too_long`,
    `schema_not_the_running_one`, and what the log and the disk raise. An unfinished backup is removed, also when
    the generator is closed.
    """
    _check_request(source, label)
    with explained(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = EventLog.open(source.data, source.keys.log, "read")
    try:
        snapshot = yield from _snapshot(source, log)
        final, created_ms = _new_name(directory, snapshot.head.seq, clock)
        draft = Scratch(directory / (final.name + PARTIAL))
        try:
            salt = random(SALT_BYTES)
            pieces, used = yield from _copy_log(source, log, snapshot.head, draft.path, (final.name, salt))
            files = _copy_files(source, draft.path, used)
            manifest = Manifest(
                format=FORMAT,
                kind="full",
                backup=final.name,
                db_id=source.db_id.hex(),
                version=keepdb.__version__,
                created_ms=created_ms,
                label=label,
                log=LogPart(
                    log.generation,
                    log.device.hex(),
                    log.base.seq,
                    log.base.hash.hex(),
                    snapshot.head.seq,
                    snapshot.head.hash.hex(),
                ),
                events=snapshot.head.seq - log.base.seq,
                schema_hash=source.schema.hash,
                digest=snapshot.digest,
                ddl=snapshot.ddl,
                salt=salt.hex(),
                chunk_bytes=source.chunk_bytes,
                files=files,
                pieces=pieces,
            )
            write_manifest(draft.path, source.keys.backup, manifest)
            draft.publish(final)
        finally:
            draft.discard()
    finally:
        log.close()
    return final, manifest


def _check_request(source: Source, label: str) -> None:
    if len(label) > LABEL_CHARS_MAX:
        raise InvalidRequest(
            "label_too_long",
            f"The label has {len(label)} characters; {LABEL_CHARS_MAX} are allowed.",
            fix="Shorten it.",
        )
    # The state is that of the schema in force; a file edited since would rebuild another one.
    if parse_schema(source.schema_text.decode(), SCHEMA).hash != source.schema.hash:
        raise StorageError(
            "schema_not_the_running_one",
            f"{SCHEMA} was changed since the database was started, and the old one is not on disk any more.",
            fix="Restart the database, then make the backup.",
        )


def _snapshot(source: Source, log: EventLog) -> Steps[_Snapshot]:
    """Position and digest of the current state.

    This holds one read transaction for 3 µs a row, and the state's WAL grows meanwhile: 1 million rows take 3 s,
    in which the writer would have to write 64 MiB before it answered `busy`. Nothing else is done inside.
    """
    state = StateFile.open_current(source.data, source.schema.hash, source.keys.state, "read")
    if state is None:
        raise not_now("the state is being built")
    try:
        ddl = state.ddl()
        with explained(state.path):
            state.connection.execute("BEGIN")
            head = _position(state, log)
            digest = yield from _digest(source, state, head.seq)
            state.connection.execute("COMMIT")
    finally:
        state.close()
    return _Snapshot(head, digest, ddl)


def _digest(source: Source, state: StateFile, events: int) -> Generator[Progress, None, str]:
    steps = digest_steps(state.connection, source.schema)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value.total)
        yield Progress("digest", 0, max(1, events))


def _position(state: StateFile, log: EventLog) -> Head:
    """Where the snapshot stands in the log; it must be the end of a request, and of this very log."""
    seq, log_hash, _ = state.position
    if state.log_generation != log.generation:
        raise not_now("the state is being built from another generation of the log")
    if seq <= log.base.seq:
        return log.base
    known = log.hash_at(seq)
    if known != log_hash:
        raise StorageError(
            "log_replaced",
            f"Event {seq} in the log is not the one that the state was built from.",
            fix="Run `keepdb doctor`; do not rely on a backup made now.",
        )
    # While it rolls forward, the state may stand in the middle of a request.
    both = log.connection.execute(
        "SELECT count(DISTINCT request_client), count(DISTINCT request_number), count(*) FROM events "
        "WHERE seq IN (?, ?)",
        (seq, seq + 1),
    ).fetchall()[0]
    if both == (1, 1, 2):
        raise not_now("the state is being rolled forward")
    return Head(seq, log_hash)


def _copy_log(
    source: Source, log: EventLog, head: Head, directory: Path, name: tuple[str, bytes]
) -> Steps[tuple[tuple[FileEntry, ...], set[int]]]:
    """Write the pieces; returns them and the ids of the data keys that the log uses."""
    backup_id, salt = name
    cipher = pieces_cipher(source.keys.backup, backup_id, salt)
    writer = PieceWriter(directory, cipher, backup_id, source.chunk_bytes)
    chain = Chain(log.path.name, log.base)
    counts = dict.fromkeys((table.name for table in (EVENTS, REQUESTS, IDEMPOTENCY, SUBJECTS)), 0)
    total = max(1, head.seq - log.base.seq)
    try:
        for table in (EVENTS, REQUESTS, IDEMPOTENCY, SUBJECTS):
            for rows in read_slices(log, table, head.seq):
                for row, record in rows:
                    if table is EVENTS:
                        chain.add(row)
                    elif table is SUBJECTS and row[1] not in chain.key_ids:
                        # Assigned after the head: the transaction that assigns a key also uses it.
                        continue
                    writer.write(record)
                    counts[table.name] += 1
                yield Progress("copy", min(total, counts[EVENTS.name]), total)
        if chain.head != head:
            raise StorageError(
                "log_damaged",
                f"{log.path.name} ends at event {chain.head.seq} for a reader, the state knows {head.seq}.",
                fix="Run `keepdb doctor`; do not rely on a backup made now.",
            )
        writer.write(end_record(counts))
        return writer.finish(), chain.key_ids
    finally:
        writer.close()


def _copy_files(source: Source, directory: Path, used: set[int]) -> tuple[FileEntry, ...]:
    """Keyring and schema. The keyring is read here, after the log, and replaced atomically by its writers."""
    contents = {KEYRING: keyfile.read(source.data / KEYRING), SCHEMA: source.schema_text}
    for name, data in contents.items():
        put(directory / name, data)
    check_copy(directory, source.keys, source.db_id.hex(), used)
    return tuple(FileEntry(name, len(data), sha256(data).hexdigest()) for name, data in contents.items())


def _new_name(directory: Path, seq: int, clock: Clock) -> tuple[Path, int]:
    """A name that sorts by time: UTC to the millisecond, and the seq it ends at."""
    now = clock.now_ms()
    while True:
        at = datetime.fromtimestamp(now / 1000, UTC)
        path = directory / f"{at:%Y%m%dT%H%M%S}{now % 1000:03d}Z-{seq:012d}"
        if not path.exists() and not path.with_name(path.name + PARTIAL).exists():
            return path, now
        now += 1
