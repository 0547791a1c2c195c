"""A small database for the query tests: every kind of field, sealed values, child rows, a real state file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from keepdb.clock import SystemClock
from keepdb.query.catalog import make_catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import SealedItem
from keepdb.query.run import RawResult, Reader
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import parse_schema
from keepdb.storage import StateFile
from messages.queries import Query, Sql

SCHEMA = """
version: 1
collections:
  things:
    number: 1
    fields:
      t:      {number: 1, type: text}
      i:      {number: 2, type: integer}
      r:      {number: 3, type: real}
      b:      {number: 4, type: boolean}
      w:      {number: 5, type: timestamp}
      e:      {number: 6, type: enum, values: [low, mid, top]}
      x:      {number: 7, type: ref, ref: others}
      j:      {number: 8, type: json}
      l:      {number: 9, type: list}
      v:      {number: 10, type: vector}
      secret: {number: 11, type: json, encrypted: true}
    rows:
      parts:
        number: 3
        event: partAdded
        fields:
          label:  {number: 1, type: text, required: true}
          hidden: {number: 2, type: text, encrypted: true}
          done:   {number: 3, type: boolean}
    indexes: [[e, i], [i]]
    events:
      partAdded:
        number: 10
        args:
          partId: {like: things.parts.id}
          label:  {like: things.parts.label, required: true}
        operations:
          - insert: {into: parts, values: {id: $data.partId, label: $data.label}}
  others:
    number: 2
    fields:
      name: {number: 1, type: text}
"""
SCHEMA_IN_FORCE = parse_schema(SCHEMA, "test.yaml")
CATALOG = make_catalog(SCHEMA_IN_FORCE)
LIMITS = QueryLimits()
COLUMNS = [
    "id",
    "t",
    "i",
    "r",
    "b",
    "w",
    "e",
    "x",
    "j",
    "l",
    "v",
    "secret",
    "createdAt",
    "updatedAt",
    "deletedAt",
]
_DDL = compile_ddl(SCHEMA_IN_FORCE)
_KEY = b"k" * 32


def seal(collection: int, field: int, row: str, value: Any) -> bytes:
    """A record that, like a real one, only opens under the collection, field and row it was made for."""
    return b"\x01\x01" + msgspec.msgpack.encode([collection, field, row, msgspec.msgpack.encode(value)])


class World:
    """One state file with its writer, and a reader on a connection of its own."""

    def __init__(self, directory: Path, limits: QueryLimits = LIMITS) -> None:
        self.state = StateFile.create(directory, SCHEMA_IN_FORCE.hash, 1, _KEY, _DDL, 1)
        self.seq = 0
        self.opened: list[int] = []
        self.erased: set[str] = set()
        self.file = StateFile.open(self.state.path, _KEY, "read")
        self.connection = self.file.connection
        self.reader = Reader(
            self.connection, CATALOG, clock=SystemClock(), open_values=self.open_values, limits=limits
        )

    def open_values(self, items: list[SealedItem]) -> Sequence[bytes | None]:
        self.opened.append(len(items))
        return [self._open(*item) for item in items]

    def _open(self, collection: int, field: int, row: str, record: bytes) -> bytes | None:
        made_for = msgspec.msgpack.decode(record[2:])
        assert made_for[:3] == [collection, field, row], "bound to another place"
        return None if row in self.erased else made_for[3]

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One event's worth of changes to the tables."""
        self.seq += 1
        with self.state.batch() as batch:
            batch.begin(self.seq)
            with batch.request():
                yield
            batch.finish(self.seq, b"h" * 32)
            batch.commit()

    def put(self, table: str, *rows: dict[str, Any]) -> None:
        """Insert or replace rows, given as storage values; `secret` and `hidden` are sealed on the way."""
        with self.batch():
            for row in rows:
                values = {"_subject": "s", **row}
                if "secret" in row:
                    values["secret"] = seal(1, 11, row["id"], row["secret"])
                if "hidden" in row:
                    values["hidden"] = seal(3, 2, row["id"], row["hidden"])
                names = ", ".join(f'"{name}"' for name in values)
                self.state.connection.execute(
                    f'INSERT OR REPLACE INTO "{table}" ({names}) VALUES ({", ".join("?" * len(values))})',
                    tuple(values.values()),
                )

    def delete(self, table: str, *ids: str) -> None:
        with self.batch():
            for row in ids:
                self.state.connection.execute(f'DELETE FROM "{table}" WHERE id = ?', (row,))

    def query(self, source: str = "things", **parts: Any) -> RawResult:
        return self.reader.run(self.reader.plan(Query(source=source, **parts), None))

    def ids(self, source: str = "things", **parts: Any) -> list[str]:
        result = self.query(source, **parts)
        return [row[result.key] for row in result.rows]

    def sql(self, text: str, params: Any = ()) -> RawResult:
        given = params if isinstance(params, dict) else list(params)
        return self.reader.run(self.reader.plan(None, Sql(sql=text, params=given)))

    def close(self) -> None:
        self.file.close()
        self.state.close()


@contextmanager
def world_in(directory: Path, limits: QueryLimits = LIMITS) -> Iterator[World]:
    """A world that is closed at the end."""
    made = World(directory, limits)
    try:
        yield made
    finally:
        made.close()
