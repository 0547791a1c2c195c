"""What the compilers hand to the reader: bound SQL, and how its columns become wire values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import msgspec

from .aggregate import Aggregate
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
class Relation:
    """How to read what is related to all rows of a page at once: child rows, or an include.

    at: the column of the page it fills, with a list of objects (many), or with one or None. parent_at, match_at:
    where the page's raw rows and its own hold the values that connect them. sql: binds the page's values as one JSON
    list, then params; its raw rows hold `columns` first. reads: without those of `relations`.
    """

    at: int
    parent_at: int
    match_at: int
    many: bool
    table: str
    sql: str
    params: tuple[Any, ...]
    columns: tuple[ResultColumn, ...]
    reads: frozenset[tuple[str, str]]
    relations: tuple["Relation", ...] = ()

    def all(self) -> Iterator["Relation"]:
        """This one and all within it."""
        yield self
        for inner in self.relations:
            yield from inner.all()

    def plain(self) -> list[Any]:
        """All that makes a difference to what is shown, for comparing queries."""
        shown = [(column.name, column.table, column.column, column.id_at) for column in self.columns]
        inner = [relation.plain() for relation in self.relations]
        places = [self.at, self.parent_at, self.match_at, self.many]
        return [*places, self.table, self.sql, self.params, shown, inner]


@dataclass(frozen=True)
class Shape:
    """What a query returns and in which order; the rest of it is about which rows.

    selected: SQL of the columns. key: column of the id, -1 where rows have none (aggregates). order_at: the
    order's columns in a raw row, which holds `columns` first, then what only the cursor needs. reads: (table,
    column) pairs shown or sorted by. groups: fields of a grouped result, () for one row of aggregates, None for
    plain rows. children, includes: lists of child rows and related rows shown beside each row.
    """

    selected: str
    columns: tuple[ResultColumn, ...]
    order: tuple[OrderTerm, ...]
    order_at: tuple[int, ...]
    tables: frozenset[str]
    reads: frozenset[tuple[str, str]]
    key: int = -1
    grouped: str = ""
    groups: tuple[QueryField, ...] | None = None
    aggregates: tuple[Aggregate, ...] = ()
    children: tuple[Relation, ...] = ()
    includes: tuple[Relation, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def by_figures(self) -> bool:
        """Whether aggregates are among what the result is ordered by."""
        return self.groups is not None and any(at >= len(self.groups) for at in self.order_at)

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """Children and includes."""
        return self.children + self.includes

    @cached_property
    def opens(self) -> bool:
        """Whether a result may hold sealed values."""
        inner = [each.columns for relation in self.relations for each in relation.all()]
        return any(column.sealed for columns in (self.columns, *inner) for column in columns)

    @cached_property
    def ordered(self) -> str:
        """ORDER BY, by number: the arms of a UNION can only be ordered by what they return."""
        directions = ["DESC" if term.descending else "ASC" for term in self.order]
        terms = [f"{at + 1} {direction}" for at, direction in zip(self.order_at, directions, strict=True)]
        return f" ORDER BY {', '.join(terms)}" if terms else ""


@dataclass(frozen=True)
class CompiledQuery:
    """A structured query ready to run. body: the SQL without its LIMIT.

    where, having: as predicates, for incremental windows; the fields of having are columns of the result.
    after, until: order values as stored, where the rows begin (that one excluded) and end (included), if bounded.
    """

    schema_hash: str
    source: Source
    shape: Shape
    body: str
    params: tuple[Any, ...]
    where: Predicate = field(repr=False)
    limit: int
    with_deleted: bool
    cursor_chars: int
    having: Predicate | None = field(default=None, repr=False)
    after: tuple[Any, ...] | None = field(default=None, repr=False)
    until: tuple[Any, ...] | None = field(default=None, repr=False)
    #: Structured queries know no clock.
    volatile: ClassVar[bool] = False

    def first(self, rows_max: int) -> str:
        """SQL for at most so many rows. A bound LIMIT would make SQLite prepare the statement for every value anew
        (a point read costs 14 µs less so), and it plans better with one it knows."""
        return f"{self.body} LIMIT {rows_max:d}"

    @cached_property
    def sql(self) -> str:
        """What reads the result: one row more than `limit`, whose presence means that there is another page."""
        return self.first(self.limit + 1)

    @property
    def opens(self) -> bool:
        """Whether a result may hold sealed values."""
        return self.shape.opens

    @property
    def key(self) -> int:
        """Column of the id in a row, -1 where rows have none."""
        return self.shape.key

    @property
    def groups(self) -> tuple[QueryField, ...] | None:
        """Fields of a grouped result, () for one row of aggregates, None for plain rows."""
        return self.shape.groups

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The columns behind those of the groups."""
        return self.shape.aggregates

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
        relations = [relation.plain() for relation in self.shape.relations]
        return _packer.encode([self.schema_hash[:12], self.sql, self.params, self.shape.names, relations])

    def cursor_after(self, row: Any) -> str:
        """Cursor of the page that follows a raw row."""
        key = [row[at] for at in self.shape.order_at]
        return encode_cursor(self.schema_hash, self._signature, key, self.cursor_chars)

    @cached_property
    def _signature(self) -> bytes:
        return signature(self.source, self.shape.order)


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
