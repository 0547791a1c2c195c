"""What the compilers hand to the reader: bound SQL, and how its columns become wire values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from .catalog import QueryField, Source
from .cursor import encode_cursor
from .order import OrderTerm, signature
from .predicate import Predicate

_packer = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """One column of a result. table and column: where it comes from, "" for an expression.

    convert: storage (or opened plaintext) -> wire, None if they are the same. A sealed one is opened under
    (collection_number, field_number, the row's value at id_at).
    """

    name: str
    table: str = ""
    column: str = ""
    convert: Callable[[Any], Any] | None = None
    sealed: bool = False
    collection_number: int = 0
    field_number: int = 0
    id_at: int = -1


@dataclass(frozen=True, slots=True)
class ChildRead:
    """How to read a rows field of all parents on a page at once.

    at: its column in the result. sql: binds the parents' ids as one JSON list, then a row limit; its rows are
    `columns`, the id first, then the parent's id.
    """

    at: int
    table: str
    sql: str
    columns: tuple[ResultColumn, ...]
    reads: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class CompiledQuery:
    """A structured query ready to run. Raw rows hold `columns` first, then what only the cursor needs.

    key: column of the id, -1 where rows have none (aggregates). order_at: the order's columns in a raw row.
    reads: (table, column) pairs that can change the result. where, order, limit: for incremental windows.
    """

    schema_hash: str
    source: Source
    sql: str
    params: tuple[Any, ...]
    columns: tuple[ResultColumn, ...]
    key: int
    where: Predicate = field(repr=False)
    order: tuple[OrderTerm, ...]
    order_at: tuple[int, ...]
    limit: int
    with_deleted: bool
    children: tuple[ChildRead, ...]
    tables: frozenset[str]
    reads: frozenset[tuple[str, str]]
    cursor_chars: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def opens(self) -> bool:
        """Whether a result may hold sealed values."""
        groups = (self.columns, *(child.columns for child in self.children))
        return any(column.sealed for columns in groups for column in columns)

    @cached_property
    def canonical(self) -> bytes:
        """Equal only for queries with the same answer; part of cache keys and the name of a live window."""
        return _packer.encode([self.schema_hash[:12], self.sql, self.params, self.names])

    def cursor_after(self, row: Any) -> str:
        """Cursor of the page that follows a raw row."""
        key = [row[at] for at in self.order_at]
        return encode_cursor(self.schema_hash, signature(self.source, self.order), key, self.cursor_chars)


@dataclass(frozen=True)
class SqlPlan:
    """Read-only SQL that passed the guard. Its rows have no key. dropped: result columns never shown.

    reads_sealed: whether it touches encrypted columns; then results must be searched for stray records.
    """

    sql: str
    params: Any
    columns: tuple[ResultColumn, ...]
    dropped: tuple[int, ...]
    reads_sealed: bool
    tables: frozenset[str]
    reads: frozenset[tuple[str, str]]
    canonical: bytes
    key: int = -1

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def opens(self) -> bool:
        return any(column.sealed for column in self.columns)


Plan = CompiledQuery | SqlPlan


def result_column(found: QueryField, source: Source, id_at: int) -> ResultColumn:
    """The result column of a field read from its own table."""
    return ResultColumn(
        name=found.name,
        table=source.table,
        column=found.name,
        convert=found.to_wire,
        sealed=found.sealed,
        collection_number=source.number,
        field_number=found.number,
        id_at=id_at,
    )


def child_read(at: int, rows: Source) -> ChildRead:
    """How to read the child rows behind a field that is shown at column `at`."""
    shown = [field for field in rows.fields.values() if field.name not in ("parent", "position")]
    selected = ", ".join(field.sql for field in shown)
    return ChildRead(
        at=at,
        table=rows.table,
        sql=f"SELECT {selected}, parent FROM {rows.sql} WHERE parent IN (SELECT value FROM json_each(?))"
        " ORDER BY parent, position, id LIMIT ?",
        columns=tuple(result_column(field, rows, 0) for field in shown),
        reads=frozenset((rows.table, name) for name in rows.fields),
    )
