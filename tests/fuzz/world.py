"""A real state file with its writer and one reader, and beside it the model: the same rows as Python dicts.

The model is what the oracle reads. It takes every change when SQLite takes it, but never reads from SQLite.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from keepdb.clock import SystemClock
from keepdb.errors import Unavailable
from keepdb.query.catalog import make_catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import SealedItem
from keepdb.query.run import Reader
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import parse_schema
from keepdb.storage.changes import RingLimits
from keepdb.storage.state import StateFile

Row = dict[str, Any]
#: Table -> id -> row, in wire values. Rows and tables are replaced, never changed: moments share them.
Tables = dict[str, dict[str, Row]]

SCHEMA = """
version: 1
collections:
  things:
    number: 1
    fields:
      t:      {number: 1, type: text}
      u:      {number: 2, type: text}
      i:      {number: 3, type: integer}
      r:      {number: 4, type: real}
      b:      {number: 5, type: boolean}
      w:      {number: 6, type: timestamp}
      e:      {number: 7, type: enum, values: [low, mid, top]}
      x:      {number: 8, type: ref, ref: others}
      j:      {number: 9, type: json}
      l:      {number: 10, type: list}
      secret: {number: 11, type: json, encrypted: true}
      y:      {number: 12, type: ref, ref: others}
      z:      {number: 13, type: ref, ref: things}
    rows:
      parts:
        number: 3
        event: partAdded
        fields:
          label:  {number: 1, type: text, required: true}
          hidden: {number: 2, type: text, encrypted: true}
          done:   {number: 3, type: boolean}
    indexes: [[e, i], [i], [x, r]]
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
      rank: {number: 2, type: integer}
"""
SCHEMA_IN_FORCE = parse_schema(SCHEMA, "fuzz.yaml")
CATALOG = make_catalog(SCHEMA_IN_FORCE)
_DDL = compile_ddl(SCHEMA_IN_FORCE)
_KEY = b"k" * 32

#: Encrypted columns: (table, column) -> (collection number, field number).
SEALED = {("things", "secret"): (1, 11), ("things__parts", "hidden"): (3, 2)}
_PACKED = frozenset({"j", "l"})
_FLAGS = frozenset({"b", "done"})
#: The keys of these rows are destroyed: their sealed values are there, but read as NULL.
FORGOTTEN = frozenset({"a07", "p03"})


class Refused(Exception):
    """Raised inside a transaction: everything it has done is rolled back."""


class Moment:
    """The rows as of one position. answers: what SQL questions gave then, by SQLite itself (see Statement)."""

    __slots__ = ("answers", "seq", "tables")

    def __init__(self, seq: int, tables: Tables) -> None:
        self.seq = seq
        self.tables = tables
        self.answers: dict[int, list[list[Any]]] = {}


class World:
    """One state file at a time. moments: every position a reader may see, by seq. down: the vault is away."""

    def __init__(self, directory: Path, ring: RingLimits, limits: QueryLimits) -> None:
        self._directory = directory
        self._ring = ring
        self._limits = limits
        self._generation = 0
        self.down = False
        self.seq = 0
        self.tables: Tables = {"things": {}, "things__parts": {}, "others": {}}
        self.moments: dict[int, Moment] = {}
        self._open()

    def _open(self) -> None:
        self._generation += 1
        self.state = StateFile.create(
            self._directory, SCHEMA_IN_FORCE.hash, self._generation, _KEY, _DDL, 1, limits=self._ring
        )
        self.seen = StateFile.open(self.state.path, _KEY, "read")
        self.reader = WatchedReader(
            self.seen.connection,
            CATALOG,
            clock=SystemClock(),
            open_values=self.open_values,
            limits=self._limits,
        )

    def close(self) -> None:
        self.seen.close()
        self.state.close()

    def rebuild(self, seq: int) -> None:
        """Another state file with the same rows, at any position: as after a restore or a new schema."""
        self.close()
        self._open()
        self.seq = seq
        self.moments.clear()
        with self.state.batch(capture=False) as batch:
            batch.begin(seq)
            with batch.request():
                for table, rows in self.tables.items():
                    for row in rows.values():
                        self._insert(table, row)
            batch.finish(seq, b"h" * 32)
            batch.commit()
        self.note()

    def note(self) -> Moment:
        """Keep the present as a moment, which is what a reader sees from now on."""
        made = self.moments[self.seq] = Moment(self.seq, dict(self.tables))
        return made

    # -- one batch of transactions -------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator["Writing"]:
        """Transactions that become visible together."""
        before = self.seq
        with self.state.batch() as batch:
            yield Writing(self, batch.begin, batch.request)
            if self.seq == before:
                return
            batch.finish(self.seq, b"h" * 32)
            batch.commit()
        self.note()

    def _insert(self, table: str, row: Row) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        self.state.connection.execute(
            f'INSERT OR REPLACE INTO "{table}" ({names}, _subject) VALUES ({", ".join("?" * len(row))}, ?)',
            (*stored(table, row).values(), "s"),
        )

    # -- sealed values -------------------------------------------------------------------------------------

    def open_values(self, items: list[SealedItem]) -> Sequence[bytes | None]:
        if self.down:
            raise Unavailable("encryption_down", "The vault is away.", fix="Wait.")
        return [unsealed(*item) for item in items]


class WatchedReader(Reader):
    """head: the position of its last snapshot. meanwhile: runs once, as soon as a snapshot is taken."""

    head = -1
    meanwhile: Callable[[], None] | None = None

    def position(self) -> int:
        """Every snapshot begins with this."""
        self.head = super().position()
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return self.head


class Writing:
    """What a transaction does, to the file and to the model alike."""

    def __init__(self, world: World, begin: Any, request: Any) -> None:
        self._world = world
        self._begin = begin
        self._request = request

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One event under a seq of its own; Refused undoes it, and the seq is used by the next one."""
        world = self._world
        before = dict(world.tables)
        self._begin(world.seq + 1)
        try:
            with self._request():
                yield
        except Refused:
            world.tables = before
        else:
            world.seq += 1

    def put(self, table: str, row: Row) -> None:
        """Insert a whole row, or replace the one with its id."""
        self._world._insert(table, row)
        self._keep(table, row)

    def update(self, table: str, name: str, values: Row) -> None:
        """Set some columns of one row; another id moves it."""
        columns = ", ".join(f'"{column}" = ?' for column in values)
        # Sealed values are bound to the row's id.
        given = stored(table, {"id": name, **values})
        if "id" not in values:
            del given["id"]
        self._world.state.connection.execute(
            f'UPDATE "{table}" SET {columns} WHERE id = ?', (*given.values(), name)
        )
        rows = self._world.tables[table]
        if values.get("id", name) != name:
            self._world.tables[table] = {other: row for other, row in rows.items() if other != name}
        self._keep(table, rows[name] | values)

    def delete(self, table: str, name: str) -> None:
        self._world.state.connection.execute(f'DELETE FROM "{table}" WHERE id = ?', (name,))
        rows = self._world.tables[table] = dict(self._world.tables[table])
        del rows[name]

    def _keep(self, table: str, row: Row) -> None:
        # SQLite has no negative zero in a table: it stores whole numbers as integers.
        kept = {name: 0.0 if type(value) is float and value == 0 else value for name, value in row.items()}
        self._world.tables[table] = {**self._world.tables[table], row["id"]: kept}


def stored(table: str, row: Row) -> dict[str, Any]:
    """Storage values of a row or of a part of one that has its id."""
    return {name: _stored(table, name, value, row["id"]) for name, value in row.items()}


def _stored(table: str, name: str, value: Any, row: str) -> Any:
    if value is None:
        return None
    if (table, name) in SEALED:
        return seal(*SEALED[table, name], row, value)
    if name in _PACKED:
        return msgspec.json.encode(value).decode()
    return int(value) if name in _FLAGS else value


def seal(collection: int, field: int, row: str, value: Any) -> bytes:
    """A record that, like a real one, only opens under the collection, field and row it was made for."""
    return b"\x01\x01" + msgspec.msgpack.encode([collection, field, row, msgspec.msgpack.encode(value)])


def unsealed(collection: int, field: int, row: str, record: bytes) -> bytes | None:
    """The plaintext of a record as msgpack; None where the key is destroyed."""
    made_for = msgspec.msgpack.decode(record[2:])
    assert made_for[:3] == [collection, field, row], "a record was opened for another place"
    return None if row in FORGOTTEN else made_for[3]
