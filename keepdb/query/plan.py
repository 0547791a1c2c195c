"""What the compilers hand to the reader: bound SQL, and how its columns become wire values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import msgspec

from .catalog import QueryField, Source
from .cursor import encode_cursor
from .order import OrderTerm, signature
from .predicate import Predicate, fields_of

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
class Shape:
    """What a query returns and in which order; the rest of it is about which rows.

    selected: SQL of the columns. key: column of the id, -1 where rows have none (aggregates). order_at: the
    order's columns in a raw row, which holds `columns` first, then what only the cursor needs. reads: (table,
    column) pairs shown or sorted by.
    """

    selected: str
    columns: tuple[ResultColumn, ...]
    order: tuple[OrderTerm, ...]
    order_at: tuple[int, ...]
    tables: frozenset[str]
    reads: frozenset[tuple[str, str]]
    key: int = -1
    grouped: str = ""
    children: tuple[ChildRead, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def opens(self) -> bool:
        """Whether a result may hold sealed values."""
        groups = (self.columns, *(child.columns for child in self.children))
        return any(column.sealed for columns in groups for column in columns)

    @cached_property
    def ordered(self) -> str:
        """ORDER BY, by number: the arms of a UNION can only be ordered by what they return."""
        directions = ["DESC" if term.descending else "ASC" for term in self.order]
        terms = [f"{at + 1} {direction}" for at, direction in zip(self.order_at, directions, strict=True)]
        return f" ORDER BY {', '.join(terms)}" if terms else ""


@dataclass(frozen=True)
class CompiledQuery:
    """A structured query ready to run. where, order (of the shape), limit: for incremental windows."""

    schema_hash: str
    source: Source
    shape: Shape
    sql: str
    params: tuple[Any, ...]
    where: Predicate = field(repr=False)
    limit: int
    with_deleted: bool
    cursor_chars: int
    #: Structured queries know no clock.
    volatile: ClassVar[bool] = False

    @property
    def key(self) -> int:
        """Column of the id in a row, -1 where rows have none."""
        return self.shape.key

    @property
    def tables(self) -> frozenset[str]:
        """Tables whose changes can change the result."""
        return self.shape.tables

    @cached_property
    def reads(self) -> frozenset[tuple[str, str]]:
        """(table, column) pairs whose changes can change the result."""
        names = [found.name for found in fields_of(self.where)] + ["deletedAt"] * (not self.with_deleted)
        return self.shape.reads.union((self.source.table, name) for name in names)

    @cached_property
    def canonical(self) -> bytes:
        """Equal only for queries with the same answer; part of cache keys and the name of a live window."""
        return _packer.encode([self.schema_hash[:12], self.sql, self.params, self.shape.names])

    def cursor_after(self, row: Any) -> str:
        """Cursor of the page that follows a raw row."""
        key = [row[at] for at in self.shape.order_at]
        order = signature(self.source, self.shape.order)
        return encode_cursor(self.schema_hash, order, key, self.cursor_chars)


@dataclass(frozen=True)
class SqlPlan:
    """Read-only SQL that passed the guard. Its rows have no key. dropped: columns never shown.

    reads_sealed: whether it touches encrypted columns; then results must be searched for stray records.
    volatile: whether it may depend on the clock; then an earlier result says nothing about the present one.
    """

    sql: str
    params: Any
    columns: tuple[ResultColumn, ...]
    dropped: tuple[int, ...]
    reads_sealed: bool
    volatile: bool
    tables: frozenset[str]
    reads: frozenset[tuple[str, str]]
    canonical: bytes
    key: int = -1

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for at, column in enumerate(self.columns) if at not in self.dropped)

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
