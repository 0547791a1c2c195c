"""The log's rows as records of a backup, and back: every table that a restored log needs to be the same log.

A record is a msgpack array: the number of its table, then the row's columns as they are stored. Record 0 is the
last one and counts the rows, so that a stream that ends early is noticed even by its own content.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from keepdb.crypto.sealing import Damaged, key_id_of
from keepdb.storage.connection import explained
from keepdb.storage.entries import Head, LogEvent, link
from keepdb.storage.faults import LogDamaged
from keepdb.storage.log import EventLog

Row = tuple[Any, ...]

#: A slice is at most so many rows or bytes: about 20 ms, and bounded memory even if every event is large.
SLICE_ROWS: Final = 1_000
SLICE_BYTES: Final = 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Any, ...]).decode
_decode_sealed = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class Table(NamedTuple):
    """One table of the log. key: its primary key. seq: the column that says which events a row belongs to."""

    number: int
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    seq: str

    @property
    def insert(self) -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"


_RECEIPT = ("digest", "seq_first", "seq_last", "at", "ids")
EVENTS: Final = Table(1, "events", LogEvent.__struct_fields__, ("seq",), "seq")
REQUESTS: Final = Table(2, "requests", ("client", "number", *_RECEIPT), ("client", "number"), "seq_last")
IDEMPOTENCY: Final = Table(3, "idempotency", ("key", *_RECEIPT), ("key",), "seq_last")
SUBJECTS: Final = Table(4, "subjects", ("subject", "key_id"), ("subject",), "")
TABLES: Final = (EVENTS, REQUESTS, IDEMPOTENCY, SUBJECTS)
_BY_NUMBER: Final = {table.number: table for table in TABLES}
_KEY_ID: Final = EVENTS.columns.index("key_id")
_BODY: Final = EVENTS.columns.index("body")
_SEALED: Final = EVENTS.columns.index("sealed")


def read_slices(log: EventLog, table: Table, head_seq: int) -> Iterator[list[tuple[Row, bytes]]]:
    """All rows of a table that belong to events up to head_seq, with their records, in slices.

    Each slice is a read transaction of its own, so the writer's checkpoints go on meanwhile; rows of events that
    are in the log never change.
    """
    after: Row = ()
    while True:
        found: list[tuple[Row, bytes]] = []
        size, whole = 0, False
        with explained(log.path):
            cursor = log.connection.execute(
                _select(table, bool(after)), (*after, *((head_seq,) if table.seq else ()))
            )
            for row in cursor:
                record = _encode((table.number, *row))
                found.append((row, record))
                size += len(record)
                if size >= SLICE_BYTES:
                    break
            else:
                whole = len(found) < SLICE_ROWS
            cursor.close()
        if found:
            yield found
        # The end as of this slice: waiting for an empty one would chase subjects that are being added.
        if whole:
            return
        # Every table's key is its first columns.
        after = found[-1][0][: len(table.key)]


def _select(table: Table, continued: bool) -> str:
    key = ", ".join(table.key)
    conditions = [f"({key}) > ({', '.join('?' * len(table.key))})"] if continued else []
    if table.seq:
        conditions.append(f"{table.seq} <= ?")
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return f"SELECT {', '.join(table.columns)} FROM {table.name} {where}ORDER BY {key} LIMIT {SLICE_ROWS}"


def end_record(counts: Mapping[str, int]) -> bytes:
    """The record after the last row. counts: rows by table name."""
    return _encode((0, dict(counts)))


def parse(record: bytes) -> tuple[Table | None, Row]:
    """A record's table and row; None and (counts,) for the last one. Raises ValueError."""
    try:
        number, *row = _decode(record)
    except msgspec.MsgspecError as error:
        raise ValueError("a record is not msgpack") from error
    if number == 0:
        return None, tuple(row)
    table = _BY_NUMBER.get(number)
    if table is None or len(row) != len(table.columns):
        raise ValueError("a record is of no table we know")
    return table, tuple(row)


def insert(connection: apsw.Connection, path: Path, rows: Mapping[Table, Sequence[Row]]) -> None:
    """Store rows of several tables in one transaction."""
    with explained(path), connection:
        for table, some in rows.items():
            connection.executemany(table.insert, some)


class Chain:
    """Checks the hash chain over event rows as they pass, and notes which data keys they use.

    head: the position reached. key_ids: of the events and of every record sealed in them.
    """

    def __init__(self, name: str, base: Head) -> None:
        self._name = name
        self.head = base
        self.key_ids: set[int] = set()

    def add(self, row: Row) -> None:
        """The next event. Raises LogDamaged."""
        seq = self.head.seq + 1
        if row[0] != seq:
            raise LogDamaged(self._name, seq, "it is missing")
        reached = link(self.head.hash, row[:-1])
        if reached != row[-1]:
            raise LogDamaged(self._name, seq, "its content does not fit the hash chain")
        try:
            self._note_keys(row)
        except (Damaged, msgspec.MsgspecError) as error:
            raise LogDamaged(self._name, seq, "a sealed record in it is malformed") from error
        self.head = Head(seq, reached)

    def _note_keys(self, row: Row) -> None:
        if row[_KEY_ID] is not None:
            self.key_ids.add(row[_KEY_ID])
        if row[_BODY] is not None:
            self.key_ids.add(key_id_of(row[_BODY]))
        if row[_SEALED] is not None:
            self.key_ids.update(key_id_of(record) for _, record in _decode_sealed(row[_SEALED]))
